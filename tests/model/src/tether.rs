// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/tether.rs`: a module with its pins, attachments and teardown.

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
    AttachmentOps, //
    OwnerGuard,
};
use pins::Pins;
pub use thing::Thing;

/// Returns true, because models run in task context only.
pub fn in_task() -> bool {
    true
}

/// Returns true, because models run in task context only.
pub fn may_sleep() -> bool {
    true
}

/// Returns false, because no task of a model exits while it waits.
pub fn is_exiting() -> bool {
    false
}

/// Returns false, because no thread of a model is a kernel thread.
pub fn current_is_kernel_thread() -> bool {
    false
}

/// Each thread of a model can be interrupted.
pub fn is_foreign_kernel_thread() -> bool {
    false
}

/// Returns false, because no wait of a model has a limit.
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
pub struct Refused<T> {
    /// The item that was passed to the call.
    pub item: T,
    /// The reason of the refusal.
    pub error: Error,
}

impl<T> Refused<T> {
    /// As in `rust/kernel/tether.rs`.
    pub fn new(item: T, error: Error) -> Self {
        Self { item, error }
    }
}

/// As in `rust/kernel/tether.rs`.
pub fn list_head() -> impl PinInit<Opaque<bindings::list_head>> {
    Opaque::ffi_init(|slot: *mut bindings::list_head| {
        // SAFETY: `slot` is valid for writes, and is not moved after its initialisation.
        unsafe { bindings::INIT_LIST_HEAD(slot) };
    })
}

/// The text of a module, or memory that is freed with it. Running freed text is a data race, which
/// `loom` reports.
#[derive(Clone)]
pub struct Text(Arc<(UnsafeCell<()>, AtomicBool)>);

impl Text {
    /// Runs the text.
    pub fn run(&self) {
        self.0 .0.with(|_| ());
        assert!(!self.0 .1.load(Ordering::Relaxed), "freed text runs");
    }

    fn free(&self) {
        self.0 .0.with_mut(|_| ());
        self.0 .1.store(true, Ordering::Relaxed);
    }
}

/// The modelled parts of `Owner` in `rust/kernel/tether.rs`, with the module. It is leaked.
pub struct Owner {
    pins: Pins,
    attached: Attached,
    module: bindings::module,
    text: Text,
}

impl Owner {
    /// Creates the record of a loaded module.
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
            // SAFETY: The value is leaked, so it is never moved out of its box.
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

    /// `Pins::unpin()`. The caller must hold a pin.
    pub fn unpin(&self) {
        // SAFETY: The caller holds a pin, and gives it up.
        unsafe { self.pins.unpin() };
    }

    fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Returns the module's text.
    pub fn text(&self) -> Text {
        self.text.clone()
    }

    /// As in `rust/kernel/tether.rs`.
    pub fn enter(&'static self) -> Result<impl Sized> {
        if !self.attached.enter() {
            return Err(ENODEV);
        }
        // SAFETY: `enter()` has succeeded, and this is the only guard for it.
        Ok(unsafe { OwnerGuard::new(self) })
    }

    /// As in `rust/kernel/tether.rs`.
    ///
    /// # Safety
    ///
    /// The teardown of the module must wait for the caller.
    pub unsafe fn enter_again(&'static self) -> impl Sized {
        self.attached.enter_again();
        // SAFETY: `enter_again()` was called, and this is the only guard for it.
        unsafe { OwnerGuard::new(self) }
    }

    /// `Pins::unpin_disarmed()`. The caller must hold a pin, and the pins must be closed.
    pub fn unpin_disarmed(&self) {
        // SAFETY: The caller holds a pin, and the pins are closed.
        unsafe { self.pins.unpin_disarmed() };
    }

    /// `delete_module()`. Returns whether the module was removed.
    pub fn remove(&'static self) -> bool {
        self.module.stop() && self.end()
    }

    /// `MODULE_STATE_GOING`: `Owner::end()`, followed by `free_module()`. If `Owner::end()` would
    /// sleep for a millisecond and try again, this returns false; see [`Owner::end_again`].
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

    /// Returns whether the module is being removed by `delete_module()`.
    pub fn is_going(&self) -> bool {
        self.module.is_going()
    }

    /// Returns the number of references to the module.
    pub fn references(&self) -> usize {
        self.module.references()
    }
}
