// SPDX-License-Identifier: GPL-2.0

//! Changing the scheduling policy of a thread that may end meanwhile.

use super::Policy;
use crate::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    task::Task,
    tether::{
        may_sleep,
        task_flags, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Added to the count when the thread ends.
const CLOSED: i32 = i32::MIN;

/// Counts the tasks that are changing the policy of a thread, so that the thread does not exit
/// meanwhile.
///
/// The kernel accepts a policy for a task that has exited. The bandwidth of such a deadline task
/// would never be released.
///
/// # Invariants
///
/// `count` is the number of these tasks, and `CLOSED` in addition after the thread has begun to end.
pub(super) struct PolicyChanges {
    count: Atomic<i32>,
}

impl PolicyChanges {
    pub(super) fn new() -> Self {
        // INVARIANT: No task changes the policy.
        Self {
            count: Atomic::new(0),
        }
    }

    /// Changes the policy of `task`. Its thread must call [`PolicyChanges::close`] before it exits.
    ///
    /// # Errors
    ///
    /// * those of [`Policy`];
    /// * [`EDEADLK`] if the current task must not sleep;
    /// * [`ESRCH`] if the thread is ending, or has panicked.
    pub(super) fn change(&self, task: &Task, policy: Policy) -> Result {
        policy.check()?;
        if !may_sleep() {
            return Err(EDEADLK);
        }
        // Do not change a count that the thread waits for.
        if self.count.load(Relaxed) < 0 || task_flags(task) & bindings::PF_EXITING != 0 {
            return Err(ESRCH);
        }
        // INVARIANT: This task is counted until it has changed the policy.
        let result = if self.count.fetch_add(1, Full) < 0 {
            Err(ESRCH)
        } else {
            policy.apply(task)
        };
        // Pairs with the acquire in `close()`: the thread exits after the change.
        self.count.fetch_sub(1, Release);
        result
    }

    /// Refuses further changes, and waits for those that are in progress. Sleeps.
    ///
    /// Must be called once, by the thread, before it exits.
    pub(super) fn close(&self) {
        // INVARIANT: The thread has begun to end.
        self.count.fetch_add(CLOSED, Full);
        while self.count.load(Acquire) != CLOSED {
            fsleep(Delta::from_millis(1));
        }
    }
}
