// SPDX-License-Identifier: GPL-2.0

//! Reading: looking something up in an address space, and recording it if it still holds.

use super::{
    shadow::Guard,
    MmuIntervalNotifier,
    Registration, //
};
use crate::{
    bindings,
    mm::space::Patience,
    prelude::*,
    time::Delta, //
};

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
    ///   thread that is asked to stop;
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

    #[inline(always)]
    fn read_within<V, R>(
        &self,
        timeout: Option<Delta>,
        mut look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        let subscription = self.inner().subscription.get();
        let mut patience = None;
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
            patience
                .get_or_insert_with(|| Patience::new(timeout))
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
