// SPDX-License-Identifier: GPL-2.0

//! Read side: look up pages, then record them unless an invalidation raced.

use super::{
    shadow::Guard,
    MmuIntervalNotifier,
    Registration, //
};
use crate::{
    bindings,
    mm::space::WaitLimit,
    prelude::*,
    task::Task,
    tether::{
        may_lock,
        read_once, //
    },
    time::Delta, //
};

/// The time at which a look-up has begun; see [`Registration::begin`].
///
/// ```
/// use kernel::{
///     mm::mmu_interval_notifier::{
///         MmuIntervalNotifier,
///         Registration,
///         Sequence, //
///     },
///     prelude::*, //
/// };
///
/// /// Records one value for each registration, or none if one of the ranges has changed.
/// fn record<T: MmuIntervalNotifier<Shadow = u64>>(
///     registrations: &[Registration<T>],
///     look_up: impl Fn(&T) -> u64,
/// ) -> Result {
///     let mut found = KVec::new();
///     for registration in registrations {
///         let sequence = registration.begin()?;
///         found.push((sequence, look_up(registration.notifier())), GFP_KERNEL)?;
///     }
///     if found.iter().any(|(sequence, _)| sequence.is_stale()) {
///         return Err(EAGAIN);
///     }
///     for (sequence, value) in found {
///         sequence.commit(|shadow| *shadow = value)?;
///     }
///     Ok(())
/// }
/// # struct Example;
/// # impl MmuIntervalNotifier for Example {
/// #     type Shadow = u64;
/// #     type Passes = kernel::mm::mmu_interval_notifier::OnePass;
/// #     fn try_invalidate(
/// #         &self,
/// #         _: &kernel::mm::mmu_notifier::MmuNotifierRange<'_>,
/// #         _: &mut u64,
/// #     ) -> Result<(), kernel::mm::mmu_notifier::WouldSleep> {
/// #         Ok(())
/// #     }
/// # }
/// # impl kernel::mm::mmu_interval_notifier::Invalidate for Example {
/// #     fn invalidate(&self, _: &kernel::mm::mmu_notifier::MmuNotifierRange<'_>, _: &mut u64) {}
/// # }
/// # let none: &[Registration<Example>] = &[];
/// # record(none, |_| 1)?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `mmu_interval_read_begin()` has returned `sequence` for the subscription of `registration`.
pub struct Sequence<'a, T: MmuIntervalNotifier> {
    registration: &'a Registration<T>,
    sequence: usize,
}

impl<T: MmuIntervalNotifier> Sequence<'_, T> {
    /// Returns whether a part of the range was invalidated since the look-up has begun, or the
    /// registration was removed.
    ///
    /// The answer `false` may be out of date when this returns. It saves the rest of a long
    /// look-up; only [`Sequence::commit`] can rely on it.
    ///
    /// # Context
    ///
    /// Any context.
    #[doc(alias = "mmu_interval_check_retry")]
    #[inline]
    pub fn is_stale(&self) -> bool {
        let inner = self.registration.inner();
        inner.head.is_ended() || read_once(inner.sequence()) != self.sequence
    }

    /// Calls `f` with the locked shadow, unless a part of the range was invalidated since the
    /// look-up has begun. No part of the range is invalidated until `f` returns.
    ///
    /// In `f`, page faults are disabled and allocations do not reclaim; see
    /// [the module](super#guarantees).
    ///
    /// # Context
    ///
    /// Process context, may sleep. Must not be called in a callback.
    ///
    /// # Errors
    ///
    /// * [`EAGAIN`] if a part of the range was invalidated: begin again;
    /// * [`ENODEV`] if the teardown of the module has removed the registration;
    /// * [`EDEADLK`] if the caller has the shadow locked, or is in an interrupt, or has disabled
    ///   interrupts.
    #[doc(alias = "mmu_interval_read_retry")]
    pub fn commit<R>(&self, f: impl FnOnce(&mut T::Shadow) -> R) -> Result<R> {
        if !may_lock() {
            return Err(EDEADLK);
        }
        let task = Task::current_raw();
        let shadow = self.registration.lock_if_quiet(task, self.sequence)?;
        let mut shadow = shadow.ok_or(EAGAIN)?;
        Ok(f(&mut shadow))
    }
}

impl<T: MmuIntervalNotifier> Registration<T> {
    /// Looks pages up in the address space, and records them in the shadow if they are still valid.
    ///
    /// `look_up` is called without a lock, and may sleep. If a part of the range was invalidated
    /// meanwhile, its result is dropped, and `look_up` is called again. Otherwise `commit` is
    /// called with the result and the locked shadow: no part of the range is invalidated until
    /// `commit` returns. In `commit`, page faults are disabled and allocations do not reclaim; see
    /// [the module](super#guarantees).
    ///
    /// # Context
    ///
    /// Process context, may sleep. Must not be called in a callback.
    ///
    /// # Errors
    ///
    /// * those of `look_up`;
    /// * [`ENODEV`] if the teardown of the module has removed the registration;
    /// * [`EDEADLK`] if the caller has the shadow locked, or is in an interrupt;
    /// * [`EINTR`] if the look-up has to be repeated, and the task is being killed or is a kernel
    ///   thread that is requested to stop;
    /// * [`EBUSY`] if the look-up has been repeated for ten seconds, and the caller is a kernel
    ///   thread or a task in its exit. In `open` of a misc device the limit is one second, for any
    ///   task.
    ///
    /// C: `mmu_interval_read_begin()` and `mmu_interval_read_retry()`.
    #[doc(alias = "mmu_interval_read_begin")]
    #[doc(alias = "mmu_interval_read_retry")]
    #[inline]
    pub fn read<V, R>(
        &self,
        look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        self.read_within(None, look_up, commit)
    }

    /// As [`Registration::read`], but returns [`EBUSY`] if the look-up has been repeated for
    /// `timeout`.
    #[inline]
    pub fn read_timeout<V, R>(
        &self,
        timeout: Delta,
        look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        self.read_within(Some(timeout), look_up, commit)
    }

    /// Begins to look something up, for a look-up that one closure cannot contain.
    ///
    /// This is [`Registration::read`] in two steps: [`Sequence::commit`] records the result. For
    /// example, a driver looks up the pages of several registrations, and then commits them all.
    ///
    /// # Context
    ///
    /// Process context, may sleep: waits for an invalidation of the range that is in progress. Must
    /// not be called in a callback.
    ///
    /// # Errors
    ///
    /// * [`ENODEV`] if the teardown of the module has removed the registration;
    /// * [`EDEADLK`] if the caller has a shadow locked, or is in an interrupt.
    #[doc(alias = "mmu_interval_read_begin")]
    pub fn begin(&self) -> Result<Sequence<'_, T>> {
        // SAFETY: The function has no requirements.
        let task = unsafe { bindings::tether_current_if_may_sleep() };
        // As in `read_within()`.
        if task.is_null() || self.inner().shadow.is_locked_by(task) {
            return Err(EDEADLK);
        }
        if self.inner().head.is_ended() {
            return Err(ENODEV);
        }
        let subscription = self.inner().subscription.get();
        // SAFETY: By the type's invariants, the subscription is valid and was inserted, and its
        // `mm_struct` is kept. The function accesses nothing else, even if the subscription was
        // removed meanwhile.
        let sequence = unsafe { bindings::mmu_interval_read_begin(subscription) };
        // INVARIANT: `sequence` was returned for the subscription of `self`.
        Ok(Sequence {
            registration: self,
            sequence,
        })
    }

    #[inline(always)]
    fn read_within<V, R>(
        &self,
        timeout: Option<Delta>,
        mut look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        let subscription = self.inner().subscription.get();
        let mut wait = None;
        // SAFETY: The function has no requirements.
        let task = unsafe { bindings::tether_current_if_may_sleep() };
        // In a callback that has the shadow locked, `mmu_interval_read_begin()` would wait for that
        // callback.
        if task.is_null() || self.inner().shadow.is_locked_by(task) {
            return Err(EDEADLK);
        }
        loop {
            if self.inner().head.is_ended() {
                return Err(ENODEV);
            }
            // SAFETY: By the type's invariants, the subscription is valid and was inserted, and its
            // `mm_struct` is kept. The function accesses nothing else, even if the subscription was
            // removed meanwhile.
            let sequence = unsafe { bindings::mmu_interval_read_begin(subscription) };
            let value = look_up()?;
            if let Some(mut shadow) = self.lock_if_quiet(task, sequence)? {
                return Ok(commit(value, &mut shadow));
            }
            wait.get_or_insert_with(|| WaitLimit::new(timeout))
                .check()?;
        }
    }

    /// Locks the shadow, unless the range was invalidated after `mmu_interval_read_begin()` has
    /// returned `sequence`.
    ///
    /// `task` is the current task.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the notifier was removed; [`EDEADLK`] if the current task has the shadow
    /// locked.
    #[inline(always)]
    pub(in crate::mm) fn lock_if_quiet(
        &self,
        task: *mut bindings::task_struct,
        sequence: usize,
    ) -> Result<Option<Guard<'_, T::Shadow>>> {
        let inner = self.inner();
        let shadow = inner.shadow.lock_by(task).ok_or(EDEADLK)?;
        // `ended` is set with this lock held, before the subscription is removed.
        if inner.head.is_ended() {
            return Err(ENODEV);
        }
        let quiet = shadow.is_quiet(inner.sequence(), sequence);
        Ok(quiet.then_some(shadow))
    }
}
