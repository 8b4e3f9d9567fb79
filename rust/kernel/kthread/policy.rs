// SPDX-License-Identifier: GPL-2.0

//! The scheduling policy of threads and workers.

use crate::{
    bindings,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Mutex, //
    },
    task::Task,
    tether::may_sleep,
    time::Delta, //
};
use core::{
    ops::RangeInclusive,
    ptr, //
};

/// The scheduling policy of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `SCHED_NORMAL` with this niceness, from -20 (highest priority) to 19 (`sched_set_normal()`).
    Normal {
        /// The niceness.
        nice: i32,
    },
    /// `SCHED_FIFO` with the lowest real-time priority: above all [`Policy::Normal`] threads, and
    /// below all other real-time threads (`sched_set_fifo_low()`).
    FifoLow,
    /// `SCHED_FIFO` with a medium real-time priority (`sched_set_fifo()`).
    Fifo,
    /// `SCHED_DEADLINE` (`sched_setattr_nocheck()`): in each `period`, the thread gets `runtime` of
    /// CPU time, within `deadline` from the beginning of the period.
    ///
    /// The policy is refused with [`EINVAL`] unless 1024 ns <= `runtime` <= `deadline` <= `period`,
    /// and if `period` is out of the kernel's limits
    /// (`/proc/sys/kernel/sched_deadline_period_min_us` and `_max_us`). It is also refused if
    /// `runtime` is less than a hundredth of `period`: a thread that has used more than its time is
    /// throttled until its later periods make up for it, and cannot be stopped meanwhile. The error
    /// is [`EBUSY`] if the CPUs do not have enough time left for a further deadline thread.
    ///
    /// The thread must be allowed to run on all CPUs that are online; otherwise the error is
    /// [`EINVAL`]. Only [`Builder::policy`] and the thread itself ([`Context::set_policy`]) can
    /// select this policy, and only the thread itself can select another policy afterwards: for a
    /// task that sleeps or has ended, the kernel does not release the CPU time.
    ///
    /// [`Builder::policy`]: super::Builder::policy
    /// [`Context::set_policy`]: super::Context::set_policy
    Deadline {
        /// The CPU time in each period.
        runtime: Delta,
        /// The time in which the thread gets `runtime`.
        deadline: Delta,
        /// The length of a period.
        period: Delta,
    },
}

impl Policy {
    pub(super) fn check(self) -> Result {
        const NICE: RangeInclusive<i32> = bindings::MIN_NICE..=bindings::MAX_NICE as i32;
        match self {
            Policy::Normal { nice } if !NICE.contains(&nice) => Err(EINVAL),
            Policy::Deadline {
                runtime,
                deadline,
                period,
            } if runtime.is_negative()
                || deadline > period
                || runtime.as_nanos() < period.as_nanos() / 100
                || period.is_zero() =>
            {
                Err(EINVAL)
            }
            _ => Ok(()),
        }
    }

    /// Sets the policy of a task, which must have passed [`Policy::check`]. For
    /// [`Policy::Deadline`], the task must be the current task, or must not have run yet.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::Deadline`].
    pub(super) fn apply(self, task: &Task) -> Result {
        let task = task.as_ptr();
        match self {
            // SAFETY: `sched_set_normal()` requires a valid task, which `task` was created from.
            Policy::Normal { nice } => unsafe { bindings::sched_set_normal(task, nice) },
            // SAFETY: `sched_set_fifo_low()` requires a valid task, which `task` was created from.
            Policy::FifoLow => unsafe { bindings::sched_set_fifo_low(task) },
            // SAFETY: `sched_set_fifo()` requires a valid task, which `task` was created from.
            Policy::Fifo => unsafe { bindings::sched_set_fifo(task) },
            Policy::Deadline {
                runtime,
                deadline,
                period,
            } => {
                // SAFETY: `tether_may_use_all_cpus()` requires a valid task, which `task` was
                // created from.
                if !unsafe { bindings::tether_may_use_all_cpus(task) } {
                    return Err(EINVAL);
                }
                let [runtime, deadline, period] =
                    [runtime, deadline, period].map(|time| time.as_nanos() as u64);
                // SAFETY: `tether_set_deadline()` requires a valid task, which `task` was created
                // from.
                return to_result(unsafe {
                    bindings::tether_set_deadline(task, runtime, deadline, period)
                });
            }
        }
        Ok(())
    }
}

/// The lock under which the policy of a thread changes.
#[pin_data]
pub(super) struct PolicyLock {
    #[pin]
    lock: Mutex<()>,
}

impl PolicyLock {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- new_mutex!((), "tether::kthread::PolicyLock"),
        })
    }

    /// Checks the policy and the context, and acquires the lock.
    fn acquire(&self, policy: Policy) -> Result<Guard<'_, (), MutexBackend>> {
        policy.check()?;
        if !may_sleep() {
            return Err(EDEADLK);
        }
        Ok(self.lock.lock())
    }

    /// Changes the policy of the current task, the thread of this lock.
    ///
    /// # Errors
    ///
    /// Those of [`Policy`]; [`EDEADLK`] if the task must not sleep.
    pub(super) fn change_own(&self, policy: Policy) -> Result {
        let _guard = self.acquire(policy)?;
        policy.apply(crate::current!())
    }

    /// Changes the policy of `task`, the thread of this lock, which may be any task.
    ///
    /// # Errors
    ///
    /// * those of [`Policy`]; [`EINVAL`] if `policy` is [`Policy::Deadline`];
    /// * [`EBUSY`] if the policy of the thread is [`Policy::Deadline`];
    /// * [`EDEADLK`] if the current task must not sleep.
    pub(super) fn change(&self, task: &Task, policy: Policy) -> Result {
        if matches!(policy, Policy::Deadline { .. }) {
            return Err(EINVAL);
        }
        let _guard = self.acquire(policy)?;
        // SAFETY: The task is valid. Only this lock's holders change the policy to or from a
        // deadline policy, and C code reads the field by a plain load as well.
        let now = unsafe { ptr::read_volatile(&raw const (*task.as_ptr()).policy) };
        if now == bindings::SCHED_DEADLINE {
            return Err(EBUSY);
        }
        policy.apply(task)
    }
}
