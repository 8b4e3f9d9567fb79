// SPDX-License-Identifier: GPL-2.0

//! Pins: references to a module for callbacks that cannot be waited for.
//!
//! The first pin takes a reference to the module, and dropping the last pin releases the reference,
//! both under a lock. Adding or dropping any other pin is one atomic operation, because a task work
//! is pinned each time that it is queued.
//!
//! The models of this file are in `tests/model/tests/pins.rs`.

use super::{
    inc_unless_negative,
    raw_lock::RawLock, //
};
use crate::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    }, //
};
use core::ptr;

/// The count while there is no pin.
const NONE: isize = -1;
/// Added to the count when the pins are closed.
const CLOSED: isize = isize::MIN / 2;

/// The pins of a module.
///
/// # Invariants
///
/// * `count` is [`NONE`] plus the number of pins, plus [`CLOSED`] if the pins are closed. Hence
///   `count` is negative if there is no pin, or if no pin can be added.
/// * `count` changes from negative to zero only under the lock, after `held` was set.
/// * While `held` is set, a reference to the module is held, unless the module's init has failed.
#[pin_data]
pub(crate) struct Pins {
    count: Atomic<isize>,
    #[pin]
    reference: RawLock<Reference>,
}

/// The reference to the module.
struct Reference {
    module: *mut bindings::module,
    held: bool,
}

// SAFETY: `module` is only passed to `tether_module_get()` and `tether_module_put()`, which may be
// called by any task; `held` is a `bool`.
unsafe impl Send for Reference {}

impl Pins {
    /// Creates the pins of permanent text, which are open.
    pub(super) fn new() -> impl PinInit<Self> {
        let reference = Reference {
            module: ptr::null_mut(),
            held: false,
        };
        // SAFETY: `RawLock::new()` requires a function that initialises a `raw_spinlock_t`;
        // `tether_pins_lock_init()` is one.
        let reference = unsafe { RawLock::new(reference, bindings::tether_pins_lock_init) };
        // INVARIANT: There is no pin and the pins are open, so `count` is `NONE`; `held` is not
        // set.
        pin_init!(Self {
            count: Atomic::new(NONE),
            reference <- reference,
        })
    }

    /// Opens the pins for a module that is being loaded. There must be no pins.
    pub(super) fn open(&self, module: *mut bindings::module) {
        let mut reference = self.reference.lock();
        reference.module = module;
        // INVARIANT: There is no pin, and the pins are open from here on.
        self.count.store(NONE, Relaxed);
    }

    /// Closes the pins: no pin can be added afterwards.
    pub(super) fn close(&self) {
        let _guard = self.reference.lock();
        // INVARIANT: The pins are closed from here on, so `CLOSED` is added.
        self.count.fetch_add(CLOSED, Relaxed);
    }

    /// Adds a pin, unless the pins are closed or the module is being removed. The caller drops the
    /// pin by [`Pins::unpin`]. Returns whether the pin was added.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[inline]
    pub(crate) fn pin(&self) -> bool {
        // If there is a pin already, `held` is set, and no further module reference is needed.
        inc_unless_negative(&self.count) || self.pin_first()
    }

    #[cold]
    #[inline(never)]
    fn pin_first(&self) -> bool {
        let mut reference = self.reference.lock();
        if self.count.load(Relaxed) < NONE {
            return false;
        }
        // SAFETY: `tether_module_get()` requires null or a module that is not freed meanwhile. The
        // pins are open, and teardown of the module closes them under the lock that we hold before
        // the module is freed.
        if !reference.held && !unsafe { bindings::tether_module_get(reference.module) } {
            return false;
        }
        // INVARIANT: A reference to the module is held, and the lock is held while `count` changes.
        // `tether_module_get()` is ordered before this: a successful `atomic_inc_not_zero()` is
        // fully ordered, and a reference that was held already was taken under this lock.
        reference.held = true;
        self.count.fetch_add(1isize, Relaxed);
        true
    }

    /// Drops a pin.
    ///
    /// # Safety
    ///
    /// The caller must own a pin, which is dropped by this call. If the caller is in text of the
    /// module, that text must be kept mapped by other means.
    #[inline]
    pub(crate) unsafe fn unpin(&self) {
        // The last pin was dropped, or the pins are closed.
        if self.count.fetch_sub(1isize, Full) <= 0 {
            self.unpinned_last();
        }
    }

    #[cold]
    #[inline(never)]
    fn unpinned_last(&self) {
        let mut reference = self.reference.lock();
        // Another task may have added a pin meanwhile, which uses the same reference.
        let none = matches!(self.count.load(Relaxed) - NONE, 0 | CLOSED);
        if none && reference.held {
            reference.held = false;
            // SAFETY: `held` was set, so we own a reference to the module. `held` is cleared under
            // the lock, so the reference is put once.
            unsafe { bindings::tether_module_put(reference.module) };
        }
    }

    /// Drops the pin of a callback that was disarmed after a failed init. The kernel does not read
    /// the reference count of the module any more, so the module reference is not put.
    ///
    /// # Safety
    ///
    /// The caller must own a pin, which is dropped by this call, and the pins must be closed.
    pub(super) unsafe fn unpin_disarmed(&self) {
        let mut reference = self.reference.lock();
        self.count.fetch_sub(1isize, Relaxed);
        reference.held = false;
    }

    /// Returns the number of pins, after the pins were closed. If this returns 0, no task that has
    /// dropped a pin accesses the module afterwards.
    pub(super) fn pinned(&self) -> isize {
        let reference = self.reference.lock();
        // Pairs with the fully ordered decrement in `unpin()`, which is done without the lock. If
        // `held` was cleared by `unpin_disarmed()`, only this load orders the accesses of the task
        // that has dropped the last pin before the return.
        let mut count = self.count.load(Acquire);
        if count < NONE {
            count -= CLOSED;
        }
        match count - NONE {
            // The task that has dropped the last pin may not have called module_put() yet.
            0 => reference.held.into(),
            pins => pins,
        }
    }
}
