// SPDX-License-Identifier: GPL-2.0

//! The slot in which the first pass of an invalidation stores its result for the second pass.
//!
//! Each registration has one slot. Hence an invalidation cannot fail, and does not allocate. If two
//! invalidations overlap, the later one finds the slot taken, and calls the second pass directly
//! after the first one.
//!
//! The models of this file are in `tests/model/tests/interval.rs`.

use crate::{
    bindings,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    },
    types::Opaque, //
};
use core::{
    cell::UnsafeCell,
    mem::MaybeUninit, //
};

/// A slot for one value, with the structure that the kernel links until the second pass.
///
/// # Invariants
///
/// The task that has set `taken` has exclusive access to `finish` and `begun`, until the second
/// pass of the same invalidation clears `taken`. `begun` holds a value from the first pass to the
/// second.
#[doc(hidden)]
pub struct Slot<B> {
    finish: Opaque<bindings::mmu_interval_notifier_finish>,
    taken: Atomic<bool>,
    begun: UnsafeCell<MaybeUninit<B>>,
}

impl<B> Default for Slot<B> {
    fn default() -> Self {
        Self {
            finish: Opaque::uninit(),
            taken: Atomic::new(false),
            begun: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
}

impl<B> Slot<B> {
    /// Stores `begun` until the second pass, and returns the structure for the kernel's call of
    /// that pass.
    ///
    /// # Errors
    ///
    /// `begun`, if the slot is taken.
    pub(super) fn put(&self, begun: B) -> Result<*mut bindings::mmu_interval_notifier_finish, B> {
        // The acquire pairs with the release in `take()`, which has moved the value out before.
        if self.taken.cmpxchg(false, true, Acquire).is_err() {
            return Err(begun);
        }
        // SAFETY: By the type's invariants, this task has exclusive access, as it has set `taken`.
        unsafe { (*self.begun.get()).write(begun) };
        Ok(self.finish.get())
    }

    /// Takes the value of the first pass. The next invalidation may use the slot from then on.
    ///
    /// # Safety
    ///
    /// Must be called once, by the second pass of an invalidation whose first pass has put a value.
    pub(super) unsafe fn take(&self) -> B {
        // SAFETY: The caller guarantees that the first pass of this invalidation has taken the slot
        // and put a value, which is moved out once.
        let begun = unsafe { (*self.begun.get()).assume_init_read() };
        self.taken.store(false, Release);
        begun
    }
}
