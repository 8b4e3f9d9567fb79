// SPDX-License-Identifier: GPL-2.0

//! A wait that a fatal signal, a stop request or a timeout ends.

use crate::{
    bindings,
    prelude::*,
    task::Task,
    tether::{
        current_is_kernel_thread,
        is_exiting,
        is_opening, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// The limit of a wait in `open` of a misc device.
const OPENING_LIMIT: Delta = Delta::from_secs(1);

/// The limit of a wait that a signal cannot end, if the caller has set no limit.
pub(super) const DEFAULT_LIMIT: Delta = Delta::from_secs(10);

/// A wait that a fatal signal, a stop request or a timeout ends.
///
/// A fatal signal ends the wait of a user task. A kernel thread and a task in its exit do not
/// receive signals: the limit ends their wait. A stop request also ends the wait of a kernel
/// thread.
pub(in crate::mm) struct WaitLimit {
    pub(super) begun: Instant<Monotonic>,
    pub(super) limit: Option<Delta>,
    kernel_thread: bool,
    pub(super) killable: bool,
    pub(super) opening: bool,
}

impl WaitLimit {
    /// Begins a wait of the current task.
    ///
    /// Without `limit`, a task that cannot be killed waits for at most ten seconds. In `open` of a
    /// misc device the limit is one second, because no misc device can be opened meanwhile.
    pub(in crate::mm) fn new(limit: Option<Delta>) -> Self {
        let kernel_thread = current_is_kernel_thread();
        let killable = !kernel_thread && !is_exiting();
        let opening = is_opening();
        let limit = if opening {
            Some(limit.map_or(OPENING_LIMIT, |limit| limit.min(OPENING_LIMIT)))
        } else {
            limit.or((!killable).then_some(DEFAULT_LIMIT))
        };
        Self {
            begun: Instant::now(),
            limit,
            kernel_thread,
            killable,
            opening,
        }
    }

    /// Returns whether the wait has a limit.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(in crate::mm) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Checks that the wait may continue.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if the task is being killed, or requested to stop; [`EBUSY`] if the time is over.
    #[cold]
    pub(in crate::mm) fn check(&self) -> Result {
        let task = Task::current_raw();
        let interrupted = if self.kernel_thread {
            // SAFETY: The current task is valid, and is a kernel thread, as
            // `kthread_should_stop()` requires.
            unsafe { bindings::signal_pending(task) != 0 || bindings::kthread_should_stop() }
        } else {
            // SAFETY: The current task is valid.
            unsafe { bindings::fatal_signal_pending(task) != 0 }
        };
        if interrupted {
            return Err(EINTR);
        }
        if self
            .limit
            .is_some_and(|limit| self.begun.elapsed() >= limit)
        {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Sleeps for a millisecond, if the wait may continue.
    ///
    /// # Errors
    ///
    /// Those of [`WaitLimit::check`].
    #[cold]
    pub(in crate::mm) fn pause(&self) -> Result {
        self.check()?;
        fsleep(Delta::from_millis(1));
        Ok(())
    }
}
