// SPDX-License-Identifier: GPL-2.0

//! Reading: looking something up in an address space, and recording it if it still holds.

use super::{
    shadow::Guard,
    IntervalNotifier,
    Registration, //
};
use crate::{
    bindings,
    mm::space::Patience,
    prelude::*,
    time::Delta, //
};

impl<T: IntervalNotifier> Registration<T> {
    /// Looks something up in the address space, and notes it in the shadow, if it still holds.
    ///
    /// `look_up` is called without a lock, and may sleep. If something in the range was
    /// invalidated meanwhile its result is dropped, and it is called again. Else `commit` gets it,
    /// with the shadow, which is locked: nothing in the range is invalidated until it returns. In
    /// `commit`, page faults are disabled and allocations do not reclaim; see
    /// [the module](super#what-holds).
    ///
    /// # Context
    ///
    /// Process context; sleeps. Must not be called inside a callback.
    ///
    /// # Errors
    ///
    /// * an error of `look_up` ends this;
    /// * [`ENODEV`] if the end of its module has removed the registration;
    /// * [`EDEADLK`] if the caller has the shadow locked, or is in an interrupt;
    /// * [`EINTR`] if the task is being killed, or a kernel thread asked to stop, while it begins
    ///   again; [`EBUSY`] if a kernel thread, or a task in its exit, has begun again for ten
    ///   seconds.
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

    /// As [`Registration::read`], but gives up with [`EBUSY`] if it has begun again for `timeout`.
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
        // In a callback that has the shadow locked, the kernel's function below would wait for that
        // callback.
        if task.is_null() || self.inner().shadow.is_locked_by(task) {
            return Err(EDEADLK);
        }
        loop {
            if self.inner().head.is_ended() {
                return Err(ENODEV);
            }
            // SAFETY: The subscription was inserted, and its address space is kept, by the type's
            // invariants: all that this looks at is valid, also if it was removed meanwhile.
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

    /// Locks the shadow, if nothing was invalidated since `mmu_interval_read_begin()` has returned
    /// `sequence`. `task` is the current task.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if it was removed; [`EDEADLK`] if the current task has the shadow locked.
    #[inline(always)]
    pub(in crate::mm) fn lock_if_quiet(
        &self,
        task: *mut bindings::task_struct,
        sequence: usize,
    ) -> Result<Option<Guard<'_, T::Shadow>>> {
        let inner = self.inner();
        let shadow = inner.shadow.lock_by(task).ok_or(EDEADLK)?;
        // Set under this lock, before the subscription is removed.
        if inner.head.is_ended() {
            return Err(ENODEV);
        }
        let quiet = shadow.is_quiet(inner.sequence(), sequence);
        Ok(quiet.then_some(shadow))
    }
}
