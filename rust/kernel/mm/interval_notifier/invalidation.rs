// SPDX-License-Identifier: GPL-2.0

//! Invalidation of a shadow, for both kinds of passes.

use super::{
    private::Sealed,
    shadow::{
        Guard,
        Missed,
        Scope, //
    },
    Inner,
    IntervalNotifier,
    Shadow, //
};
use crate::{
    bindings,
    container_of,
    mm::mmu_notifier::{
        without_blocking,
        Range, //
    },
    prelude::*,
    sync::atomic::Atomic,
    tether::write_once,
    types::Opaque, //
};
use core::ptr;

impl<T: IntervalNotifier> Inner<T> {
    /// Marks it as ended, and invalidates all of it, as the kernel does when the address space
    /// ends.
    pub(super) fn end(&self) {
        // By a work item, or by the task that removes the module: neither has it locked.
        let Some(shadow) = self.shadow.lock() else {
            return;
        };
        // INVARIANT: The lock is held.
        self.head.set_ended();
        self.invalidate_now(
            shadow,
            bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE,
            0,
            usize::MAX,
        );
    }

    /// Invalidates a range that the kernel does not call for, and unlocks.
    fn invalidate_now(
        &self,
        mut shadow: Guard<'_, T::Shadow>,
        event: bindings::mmu_notifier_event,
        start: usize,
        end: usize,
    ) {
        let mut raw = bindings::mmu_notifier_range {
            mm: self.head.space().mm().as_raw(),
            start,
            end,
            flags: bindings::MMU_NOTIFIER_RANGE_BLOCKABLE,
            event,
            owner: ptr::null_mut(),
        };
        let mut first_begun = None;
        let mut more_begun = KVec::new();
        // A notifier that invalidates a range itself, in its callback, misses that range. A call of
        // this function for each of them would need a stack without a limit.
        loop {
            let begun = {
                // SAFETY: The range is valid, as it is on the stack, and so is its address space.
                let range = unsafe { Range::from_raw(&raw) };
                <T::Passes as Sealed<T>>::begin(&self.notifier, &range, &mut shadow)
            };
            if first_begun.is_none() {
                first_begun = begun;
            } else if let Some(begun) = begun {
                if more_begun.push(begun, GFP_NOWAIT).is_err() {
                    // The lock stays locked, as after a panic in the notifier.
                    panic!("no memory to invalidate what an interval notifier has unmapped");
                }
            }
            let Some(missed) = shadow.take_missed() else {
                break;
            };
            raw.start = missed.start;
            raw.end = missed.end;
            raw.event = bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR;
        }
        drop(shadow);
        for begun in Iterator::chain(first_begun.into_iter(), more_begun) {
            <T::Passes as Sealed<T>>::finish(&self.notifier, begun, &self.shadow);
        }
    }

    /// Invalidates a range that the kernel has called for while the shadow was locked by the same
    /// task, and unlocks.
    ///
    /// # Safety
    ///
    /// `shadow` must be that of an `Inner<T>`, locked by the current task with `scope`, and not be
    /// used by it any more.
    #[cold]
    pub(super) unsafe fn catch_up(shadow: *const c_void, missed: Missed, scope: Scope) {
        let shadow = shadow.cast_mut().cast::<Shadow<T::Shadow>>();
        // SAFETY: By the function's contract `shadow` is a field of an `Inner<T>`, which is valid.
        let this = unsafe { &*container_of!(shadow, Self, shadow) };
        // SAFETY: By the function's contract this task has it locked with this scope.
        let guard = unsafe { Guard::of(&this.shadow, scope) };
        this.invalidate_now(
            guard,
            bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR,
            missed.start,
            missed.end,
        );
    }

    /// The task that has the shadow locked invalidates a part of the range, in a closure that uses
    /// the shadow. It cannot be waited for, nor can the kernel be told to do without.
    #[cold]
    #[inline(never)]
    pub(super) fn invalidate_while_locked(&self, range: &Range<'_>, sequence: usize) -> bool {
        // The lock is held, by this task.
        write_once(self.sequence(), sequence);
        self.notifier.invalidate_while_locked(range);
        // SAFETY: This task has it locked.
        unsafe { self.shadow.miss(range.start(), range.end()) };
        true
    }

    /// What a callback is for, and the range; or, where that needs no more, the callback's answer.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of an `Inner<T>`, inserted, and `range` be valid, both for
    /// `'a`.
    #[inline(always)]
    pub(super) unsafe fn called_for<'a>(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
    ) -> core::result::Result<(&'a Self, Range<'a>), bool> {
        let field = Opaque::cast_from(subscription).cast_mut();
        // SAFETY: By the function's contract. A registration that is inserted is valid.
        let (this, range) = unsafe {
            (
                &*container_of!(field, Self, subscription),
                Range::from_raw(range),
            )
        };
        if this.notifier.is_own(&range) {
            return Err(true);
        }
        if !range.is_blockable() {
            return Err(this.invalidate_without_blocking(range, sequence));
        }
        Ok((this, range))
    }

    /// The sequence of the subscription. It is written under the lock of the shadow.
    #[inline(always)]
    pub(super) fn sequence(&self) -> &Atomic<usize> {
        // SAFETY: The subscription is valid for as long as `self`. The kernel accesses this word by
        // `READ_ONCE()` and `WRITE_ONCE()` from when the subscription is inserted.
        unsafe { Atomic::from_ptr(&raw mut (*self.subscription.get()).invalidate_seq) }
    }

    /// Invalidates where the caller must not wait. Returns whether it could.
    #[cold]
    fn invalidate_without_blocking(&self, range: Range<'_>, sequence: usize) -> bool {
        // Who has the lock may sleep.
        let Some(mut shadow) = self.shadow.try_lock() else {
            return false;
        };
        // The sequence is updated also if the invalidation is refused: a concurrent reader merely
        // retries.
        shadow.set_sequence(self.sequence(), sequence);
        // The core checks this for notifiers of a whole address space only.
        without_blocking(|| self.notifier.try_invalidate(&range, &mut shadow)).is_ok()
    }
}
