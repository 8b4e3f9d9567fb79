// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/tether.rs`: a module with its pins and its attachments, and its end.

use crate::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release,
        Value, //
    },
    types::Opaque, //
};
use loom::cell::UnsafeCell;
use std::sync::{
    atomic::{
        AtomicBool,
        Ordering, //
    },
    Arc, //
};

#[path = "../../../rust/kernel/tether/attached.rs"]
mod attached;
#[path = "../../../rust/kernel/tether/pins.rs"]
mod pins;
pub mod raw_lock;
mod thing;

use attached::{
    Attached,
    Attachment,
    Entered,
    What, //
};
use pins::Pins;
pub use thing::Thing;

/// Models run in tasks only.
pub fn may_sleep() -> bool {
    true
}

/// No task of a model exits while it waits.
pub fn is_exiting() -> bool {
    false
}

/// No task of a model is a worker of a workqueue.
pub fn is_workqueue_worker() -> bool {
    false
}

/// No wait of a model has a limit.
pub fn is_short(_time: crate::time::Jiffies) -> bool {
    false
}

/// `READ_ONCE()`.
pub fn read_once<T: Value>(atomic: &Atomic<T>) -> T {
    atomic.load(Relaxed)
}

/// `smp_load_acquire()`.
pub fn load_acquire<T: Value>(atomic: &Atomic<T>) -> T {
    atomic.load(Acquire)
}

/// `WRITE_ONCE()`.
pub fn write_once<T: Value>(atomic: &Atomic<T>, value: T) {
    atomic.store(value, Relaxed);
}

/// `atomic_long_inc_unless_negative()`.
fn inc_unless_negative(atomic: &Atomic<isize>) -> bool {
    loop {
        let value = atomic.load(Relaxed);
        if value < 0 {
            return false;
        }
        if atomic.cmpxchg(value, value + 1, Full).is_ok() {
            return true;
        }
    }
}

/// `smp_store_release()`.
pub fn store_release<T: Value>(atomic: &Atomic<T>, value: T) {
    atomic.store(value, Release);
}

/// As in `rust/kernel/tether.rs`.
pub fn list_head() -> impl PinInit<Opaque<bindings::list_head>> {
    Opaque::ffi_init(|slot: *mut bindings::list_head| {
        // SAFETY: `slot` is valid for writes, and does not move.
        unsafe { bindings::INIT_LIST_HEAD(slot) };
    })
}

/// The text of a module, or what is freed with it. Running it while it is freed is a data race,
/// which `loom` reports.
#[derive(Clone)]
pub struct Text(Arc<(UnsafeCell<()>, AtomicBool)>);

impl Text {
    /// Runs it.
    pub fn run(&self) {
        self.0 .0.with(|_| ());
        assert!(!self.0 .1.load(Ordering::Relaxed), "freed text runs");
    }

    fn free(&self) {
        self.0 .0.with_mut(|_| ());
        self.0 .1.store(true, Ordering::Relaxed);
    }
}

/// As in `rust/kernel/tether.rs`, with its module. It is leaked.
pub struct Owner {
    pins: Pins,
    attached: Attached,
    module: bindings::module,
    text: Text,
}

impl Owner {
    /// Creates the record of a module that is loaded.
    pub fn new() -> &'static Self {
        let text = Text(Arc::new((UnsafeCell::new(()), AtomicBool::new(false))));
        let memory = text.clone();
        let init = crate::pin_init!(Self {
            pins <- Pins::new(),
            attached <- Attached::new(),
            module: bindings::module::new(memory),
            text,
        });
        let owner = match KBox::pin_init(init, GFP_KERNEL) {
            // SAFETY: It is not moved out of.
            Ok(owner) => Box::leak(unsafe { Pin::into_inner_unchecked(owner) }),
            Err(_) => unreachable!(),
        };
        owner.attached.open();
        owner.pins.open((&raw const owner.module).cast_mut());
        owner
    }

    /// `Pins::pin()`.
    pub fn pin(&self) -> bool {
        self.pins.pin()
    }

    /// `Pins::unpin()`. The caller must have a pin.
    pub fn unpin(&self) {
        // SAFETY: The caller has a pin.
        unsafe { self.pins.unpin() };
    }

    fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Its text.
    pub fn text(&self) -> Text {
        self.text.clone()
    }

    /// As in `rust/kernel/tether.rs`.
    pub fn enter(&'static self) -> Result<impl Sized> {
        if !self.attached.enter() {
            return Err(ENODEV);
        }
        // SAFETY: It was just entered.
        Ok(unsafe { Entered::new(self) })
    }

    /// As in `rust/kernel/tether.rs`.
    ///
    /// # Safety
    ///
    /// The end of the module must wait for the caller.
    pub unsafe fn enter_again(&'static self) -> impl Sized {
        self.attached.enter_again();
        // SAFETY: It was just entered.
        unsafe { Entered::new(self) }
    }

    /// `Pins::unpin_disarmed()`. The caller must have a pin, and they be closed.
    pub fn unpin_disarmed(&self) {
        // SAFETY: The caller has a pin, and the pins are closed.
        unsafe { self.pins.unpin_disarmed() };
    }

    /// `delete_module()`: returns whether the module was removed.
    pub fn remove(&'static self) -> bool {
        self.module.stop() && self.end()
    }

    /// `MODULE_STATE_GOING`: as `Owner::end()` and `free_module()`. Where that sleeps for a
    /// millisecond and looks again this gives up, and returns false; see [`Owner::end_again`].
    pub fn end(&'static self) -> bool {
        self.pins.close();
        self.attached.close();
        self.end_again()
    }

    /// One pass of the loop in `Owner::end()`. Returns whether the text was freed.
    pub fn end_again(&'static self) -> bool {
        loop {
            self.attached.request_all();
            if self.attached.end_all(|_| self.text.run()) {
                loom::thread::yield_now();
                continue;
            }
            break;
        }
        if self.pins.pinned() != 0 || self.attached.is_entered() {
            return false;
        }
        self.text.free();
        true
    }

    /// Whether the module is being removed by `delete_module()`.
    pub fn is_going(&self) -> bool {
        self.module.is_going()
    }

    /// How many references there are to the module.
    pub fn references(&self) -> usize {
        self.module.references()
    }
}
