// SPDX-License-Identifier: GPL-2.0

//! Pins: references to a module for callbacks that nothing can wait for.
//!
//! The first pin takes a reference to the module, and the last one gives it back, under a lock. The
//! pins between them are one atomic operation each: a task work is pinned each time that it is
//! queued.
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
        Relaxed,
        Release, //
    }, //
};
use core::ptr;

/// The count while there is no pin.
const NONE: isize = -1;
/// Is added to the count once there can be no more pins.
const CLOSED: isize = isize::MIN / 2;

/// The pins of a module.
///
/// # Invariants
///
/// * `count` is [`NONE`] and the number of pins, and [`CLOSED`] if the module goes. Hence it is
///   negative if there is no pin, or if there can be no more.
/// * `count` becomes positive or zero under the lock only, after `held` was set.
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

// SAFETY: The pointer is only passed to functions that may be called from any task.
unsafe impl Send for Reference {}

impl Pins {
    /// Creates the pins of text that stays, which are open.
    pub(super) fn new() -> impl PinInit<Self> {
        let reference = Reference {
            module: ptr::null_mut(),
            held: false,
        };
        // SAFETY: The function initialises a lock.
        let reference = unsafe { RawLock::new(reference, bindings::tether_pins_lock_init) };
        pin_init!(Self {
            count: Atomic::new(NONE),
            reference <- reference,
        })
    }

    /// Opens them, for a module that comes. There must be no pins.
    pub(super) fn open(&self, module: *mut bindings::module) {
        let mut reference = self.reference.lock();
        reference.module = module;
        self.count.store(NONE, Release);
    }

    /// Closes them: there are no more pins from here on.
    pub(super) fn close(&self) {
        let _guard = self.reference.lock();
        self.count.fetch_add(CLOSED, Relaxed);
    }

    /// Adds a pin, which the caller drops by [`Pins::unpin`], unless the module goes. Returns
    /// whether it was added.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[inline]
    pub(crate) fn pin(&self) -> bool {
        // If there is a pin already, its reference to the module is enough.
        inc_unless_negative(&self.count) || self.pin_first()
    }

    #[cold]
    #[inline(never)]
    fn pin_first(&self) -> bool {
        let mut reference = self.reference.lock();
        if self.count.load(Relaxed) < NONE {
            return false;
        }
        // SAFETY: The module is there: it is open, and its end closes the pins under this lock.
        if !reference.held && !unsafe { bindings::tether_module_get(reference.module) } {
            return false;
        }
        reference.held = true;
        self.count.fetch_add(1isize, Full);
        true
    }

    /// Drops a pin.
    ///
    /// # Safety
    ///
    /// One of the pins must be the caller's. If the caller is in text of the module, something else
    /// must keep that text.
    #[inline]
    pub(crate) unsafe fn unpin(&self) {
        // That was the last one, or the module goes.
        if self.count.fetch_sub(1isize, Full) <= 0 {
            self.unpinned_last();
        }
    }

    #[cold]
    #[inline(never)]
    fn unpinned_last(&self) {
        let mut reference = self.reference.lock();
        // There may be another pin by now, which uses the same reference.
        let none = matches!(self.count.load(Relaxed) - NONE, 0 | CLOSED);
        if none && reference.held {
            reference.held = false;
            // SAFETY: The reference to the module is given back, once.
            unsafe { bindings::tether_module_put(reference.module) };
        }
    }

    /// Drops a pin whose callback was disarmed after a failed init. The reference count of the
    /// module does not matter any more.
    ///
    /// # Safety
    ///
    /// One of the pins must be the caller's, and they must be closed.
    pub(super) unsafe fn unpin_disarmed(&self) {
        let mut reference = self.reference.lock();
        self.count.fetch_sub(1isize, Relaxed);
        reference.held = false;
    }

    /// How many pins there are, once they are closed. If there are none, no task that has dropped
    /// one touches the module after this has returned.
    pub(super) fn pinned(&self) -> isize {
        let reference = self.reference.lock();
        // Pairs with `unpin()`. If `held` was cleared by `unpin_disarmed()`, a task that drops
        // another pin does so without the lock.
        let mut count = self.count.load(Acquire);
        if count < NONE {
            count -= CLOSED;
        }
        match count - NONE {
            // The task that has dropped the last one may be about to put the reference.
            0 => reference.held.into(),
            pins => pins,
        }
    }
}
