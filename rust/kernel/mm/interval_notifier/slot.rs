// SPDX-License-Identifier: GPL-2.0

//! The place for what the first pass of an invalidation hands to the second one.
//!
//! There is one for a registration, so that an invalidation never fails and takes no memory. If two
//! invalidations overlap, the second one finds the place taken, and finishes its work in the first
//! pass.
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

/// A place for one value, and for what the kernel links until the second pass.
///
/// # Invariants
///
/// The task that has set `taken` has `finish` and `begun` for itself, until the second pass of the
/// same invalidation clears it. `begun` holds a value from the first pass until the second one.
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
    /// Keeps `begun` until the second pass, and returns what the kernel calls that with; or returns
    /// `begun` if the place is taken.
    pub(super) fn put(&self, begun: B) -> Result<*mut bindings::mmu_interval_notifier_finish, B> {
        // Pairs with `take()`: the value was moved out before.
        if self.taken.cmpxchg(false, true, Acquire).is_err() {
            return Err(begun);
        }
        // SAFETY: The place was taken just now, so that nothing else accesses it.
        unsafe { (*self.begun.get()).write(begun) };
        Ok(self.finish.get())
    }

    /// Takes the value of the first pass. The next invalidation may use the place from then on.
    ///
    /// # Safety
    ///
    /// This must be the second pass of an invalidation whose first one has put a value, and be
    /// called once for it.
    pub(super) unsafe fn take(&self) -> B {
        // SAFETY: By the function's contract the place is taken by this invalidation, and has a
        // value, which moves out.
        let begun = unsafe { (*self.begun.get()).assume_init_read() };
        self.taken.store(false, Release);
        begun
    }
}
