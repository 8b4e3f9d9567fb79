// SPDX-License-Identifier: GPL-2.0

//! Interrupting a kernel thread that is requested to stop.

use crate::{
    bindings,
    prelude::*,
    task::Task, //
};
use core::ptr;

/// Ends the interruptible sleep of a kernel thread that is requested to stop. Until the thread
/// calls [`clear`], each further interruptible sleep returns at once.
///
/// `kthread_stop()` sets the same flag and wakes the thread as well, but it also sets
/// `KTHREAD_SHOULD_STOP`, which is private to `kernel/kthread.c`, and waits.
///
/// # Context
///
/// Any context but NMI.
pub(super) fn interrupt(task: &Task) {
    set_flag(task);
    kill(task);
    task.wake_up();
}

/// Interrupts the thread like [`interrupt`], but does not send a signal, so that this may be called
/// under a raw spinlock.
pub(super) fn wake(task: &Task) {
    set_flag(task);
    task.wake_up();
}

fn set_flag(task: &Task) {
    // SAFETY: `set_tsk_thread_flag()` requires a valid task, which `task` is. The flag may be set
    // at any time: the task then has a pending signal.
    unsafe { bindings::set_tsk_thread_flag(task.as_ptr(), bindings::TIF_NOTIFY_SIGNAL as c_int) };
}

/// Sends SIGKILL to a kernel thread that uses the address space of a process (`with_mm()`), where
/// only a fatal signal ends its wait for a page. The signal does not end the thread.
///
/// # Context
///
/// Any context but NMI. On `PREEMPT_RT` the lock of signals sleeps, so that no signal is sent in
/// atomic context there. The task that waits for the end of the thread calls this again.
pub(super) fn kill(task: &Task) {
    let task = task.as_ptr();
    // SAFETY: `task` is valid, because it comes from a reference. The thread itself writes the
    // field by stores of its size, which may race with a volatile read.
    if unsafe { ptr::read_volatile(&raw const (*task).mm) }.is_null() {
        return;
    }
    // SAFETY: `preemptible()` has no requirements; it reads the state of this CPU.
    if cfg!(CONFIG_PREEMPT_RT) && !unsafe { bindings::tether_preemptible() } {
        return;
    }
    // SAFETY: `send_sig()` requires a valid task, which `task` is, and, on `PREEMPT_RT`, a context
    // that may sleep, which was tested above.
    unsafe { bindings::send_sig(bindings::SIGKILL as c_int, task, 1) };
}

/// Undoes [`interrupt`] for the current thread, so that it can sleep again.
pub(super) fn clear() {
    // SAFETY: `clear_notify_signal()` has no requirements; it clears a flag of the current task.
    unsafe { bindings::clear_notify_signal() };
}
