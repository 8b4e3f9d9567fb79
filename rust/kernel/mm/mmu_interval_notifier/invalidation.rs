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
    MmuIntervalNotifier,
    Shadow, //
};
use crate::{
    bindings,
    container_of,
    mm::mmu_notifier::{
        without_blocking,
        MmuNotifierRange, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::Atomic,
    tether::write_once,
    types::Opaque, //
};
use core::ptr;

impl<T: MmuIntervalNotifier> Inner<T> {
    /// Marks the notifier as ended, and invalidates the whole range, as the kernel does when the
    /// address space ends.
    pub(super) fn end(&self) {
        // A work item or the task that tears the module down calls this. Neither has the shadow
        // locked, so `lock()` does not fail.
        let Some(shadow) = self.shadow.lock() else {
            return;
        };
        // INVARIANT: The head is marked as ended with the lock of the shadow held.
        self.head.set_ended();
        self.invalidate_now(
            shadow,
            bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE,
            0,
            usize::MAX,
        );
    }

    /// Invalidates a range without a call by the kernel, and unlocks the shadow.
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
        let mut more_begun = Chunks(KVec::new());
        // A notifier that invalidates another range in its callback misses that range. Such ranges
        // are invalidated in a loop, because recursion would use an unlimited amount of stack.
        loop {
            let begun = {
                // SAFETY: `raw` is on the stack and valid during the use of `range`. The head keeps
                // the `mm_struct`.
                let range = unsafe { MmuNotifierRange::from_raw(&raw) };
                <T::Passes as Sealed<T>>::begin(&self.notifier, &range, &mut shadow)
            };
            if first_begun.is_none() {
                first_begun = begun;
            } else if let Some(begun) = begun {
                if more_begun.push(begun).is_err() {
                    // The shadow stays locked, as after a panic in the notifier.
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
        for begun in Iterator::chain(first_begun.into_iter(), more_begun.0.into_iter().flatten()) {
            <T::Passes as Sealed<T>>::finish(&self.notifier, begun, &self.shadow);
        }
    }

    /// Invalidates a range for which the kernel has called the notifier while the current task had
    /// the shadow locked, and unlocks the shadow.
    ///
    /// # Safety
    ///
    /// `shadow` must be that of an `Inner<T>`. The current task must have locked it with `scope`,
    /// and must not use it any more.
    #[cold]
    pub(super) unsafe fn catch_up(shadow: *const c_void, missed: Missed, scope: Scope) {
        let shadow = shadow.cast_mut().cast::<Shadow<T::Shadow>>();
        // SAFETY: The caller guarantees that `shadow` is a field of an `Inner<T>`. It is valid, as
        // its removal waits for the lock.
        let this = unsafe { &*container_of!(shadow, Self, shadow) };
        // SAFETY: The caller guarantees that the current task has locked the shadow with `scope`,
        // and leaves the lock to this function.
        let guard = unsafe { Guard::of(&this.shadow, scope) };
        this.invalidate_now(
            guard,
            bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR,
            missed.start,
            missed.end,
        );
    }

    /// Handles an invalidation that is caused by the task that has the shadow locked, in a closure
    /// that uses the shadow.
    ///
    /// Waiting for the lock would deadlock, and the kernel does not accept a refusal of a blockable
    /// range. Therefore the shadow is invalidated when the closure returns.
    #[cold]
    #[inline(never)]
    pub(super) fn invalidate_while_locked(
        &self,
        range: &MmuNotifierRange<'_>,
        sequence: usize,
    ) -> bool {
        // This task holds the lock, as the type's invariants require.
        write_once(self.sequence(), sequence);
        self.notifier.invalidate_while_locked(range);
        // SAFETY: This task has the shadow locked.
        unsafe { self.shadow.miss(range.start(), range.end()) };
        true
    }

    /// Returns the notifier and the range that the kernel calls a callback with.
    ///
    /// # Errors
    ///
    /// The return value of the callback, if the call has been handled already.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of an `Inner<T>`, and inserted for `'a`. `range` must be valid
    /// for `'a`.
    #[inline(always)]
    pub(super) unsafe fn called_for<'a>(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
    ) -> core::result::Result<(&'a Self, MmuNotifierRange<'a>), bool> {
        let field = Opaque::cast_from(subscription).cast_mut();
        // SAFETY: The caller guarantees that the subscription is a field of an `Inner<T>`, which is
        // valid while it is inserted, and that `range` is valid for `'a`.
        let (this, range) = unsafe {
            (
                &*container_of!(field, Self, subscription),
                MmuNotifierRange::from_raw(range),
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

    /// Returns the sequence of the subscription, which is only written with the shadow locked.
    #[inline(always)]
    pub(super) fn sequence(&self) -> &Atomic<usize> {
        // SAFETY: The subscription is valid for as long as `self`. After its insertion, the kernel
        // accesses this word by `READ_ONCE()` and `WRITE_ONCE()` only.
        unsafe { Atomic::from_ptr(&raw mut (*self.subscription.get()).invalidate_seq) }
    }

    /// Invalidates a range that is not blockable. Returns whether this succeeded.
    #[cold]
    fn invalidate_without_blocking(&self, range: MmuNotifierRange<'_>, sequence: usize) -> bool {
        // The holder of the lock may sleep.
        let Some(mut shadow) = self.shadow.try_lock() else {
            return false;
        };
        // Update the sequence even if the invalidation is refused; a concurrent reader merely
        // retries.
        shadow.set_sequence(self.sequence(), sequence);
        // The kernel's own code checks this for notifiers of a whole address space only.
        without_blocking(|| self.notifier.try_invalidate(&range, &mut shadow)).is_ok()
    }
}

/// Values in pieces of a page, which the kernel finds without waiting where it does not find one
/// large piece.
struct Chunks<B>(KVec<KVec<B>>);

impl<B> Chunks<B> {
    /// The number of values in a piece.
    const LENGTH: usize = match PAGE_SIZE / (size_of::<B>() + (size_of::<B>() == 0) as usize) {
        0 => 1,
        length => length,
    };

    /// Appends a value. Does not sleep.
    fn push(&mut self, value: B) -> Result {
        let is_full = self.0.last().is_none_or(|last| last.len() == Self::LENGTH);
        if is_full {
            let chunk = KVec::with_capacity(Self::LENGTH, GFP_NOWAIT)?;
            self.0.push(chunk, GFP_NOWAIT)?;
        }
        match self.0.last_mut() {
            Some(last) => last.push_within_capacity(value).map_err(|_| ENOMEM),
            None => Err(ENOMEM),
        }
    }
}
