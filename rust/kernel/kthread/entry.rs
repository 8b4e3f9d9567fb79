// SPDX-License-Identifier: GPL-2.0

//! The function of each thread.

use super::{
    thread_core::{
        Core,
        DETACHED,
        ORPHANED,
        RETURNED, //
    },
    waits,
    worker, //
};
use crate::{
    bindings,
    prelude::*,
    sync::atomic::Full,
    task::Task, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// What the kernel calls. It is in text that never goes away, and must never be copied into a
/// consumer's: the module of a detached thread may be gone when this returns.
///
/// # Safety
///
/// Called once for a thread, in it, with the [`Core`] that it was created with.
#[inline(never)]
pub(super) unsafe extern "C" fn main(data: *mut c_void) -> c_int {
    // SAFETY: The data is what `create_core` has passed, and there is a reference for us.
    let core = unsafe { NonNull::new_unchecked(data.cast::<Core>()) };
    // SAFETY: The core is valid until the thread has dropped its reference or has ended.
    let this = unsafe { core.as_ref() };
    // SAFETY: This is called once, by the thread of `this`, which is valid until `kthread_stop()`
    // has returned, or until the thread has dropped its reference.
    if !unsafe { this.start.wait() } {
        // The thread was stopped before it has begun. The task that stops it drops the body and the
        // reference of the thread.
        return EINTR.to_errno();
    }
    let owner = this.attachment.owner();
    if this.freezable {
        // SAFETY: This is a kernel thread, where it may sleep.
        unsafe { bindings::tether_set_freezable() };
    }
    // SAFETY: Called once, in the thread. The owner's text is there: it waits for an attached
    // thread to end, and is pinned for a detached one.
    unsafe { (this.run)(core) };
    // SAFETY: This is the thread.
    unsafe { this.parking.end() };
    let stage = this.stage.xchg(RETURNED, Full);
    this.returned.complete_all();
    // No task takes an orphan off its owner's list, so that the thread does it. From then on the
    // owner's end waits until the returned value is dropped. If the owner's end has found the
    // thread already, it waits until the thread has ended.
    let _entered = (stage == ORPHANED)
        .then(|| {
            this.attachment.try_detach().inspect(|_| {
                // SAFETY: The list's reference is ours now, and the thread has its own.
                unsafe { Core::put(core) };
            })
        })
        .flatten();
    if stage == DETACHED || stage == ORPHANED {
        // SAFETY: This is the thread, and its body has returned. The owner's text is there: it is
        // pinned for a detached thread, and the owner's end waits for an orphan.
        unsafe { this.discard_payload() };
    }
    if stage == DETACHED {
        // SAFETY: `Thread::detach` has made the attachment independent, and leaves this to the
        // thread.
        unsafe { this.attachment.remove() };
        // SAFETY: The list's reference is ours now, and the thread has its own.
        unsafe { Core::put(core) };
    }
    // SAFETY: The thread's reference is ours, and is not used again.
    unsafe { Core::put(core) };
    if stage == DETACHED {
        // SAFETY: The pin is that of `Thread::detach`, and this text is permanent.
        unsafe { owner.unpin() };
    }
    0
}

/// Returns whether the current thread is one of Tether's and is asked to stop, or is that of a
/// worker which is asked to end.
#[cold]
pub(super) fn current_is_asked() -> bool {
    let task = Task::current_raw();
    // SAFETY: The current task is valid.
    let function = unsafe { bindings::kthread_func(task) };
    // SAFETY: The current task is valid. `kthread_data()` requires a kernel thread, and is only
    // called if the task has a thread function of ours, which only a kernel thread has.
    let data = || unsafe { bindings::kthread_data(task) };
    if ptr::eq(function, main as *const c_void) {
        // SAFETY: The data of such a thread is its `Core`, which is valid while it runs.
        unsafe { &*data().cast::<Core>() }.should_stop()
    } else if ptr::eq(function, worker::main as *const c_void) {
        // SAFETY: The data of such a thread is its `Queue`, which is valid while it runs.
        unsafe { &*data().cast::<worker::Queue>() }.is_asked()
    } else {
        false
    }
}

/// The node of the current thread in the graph of waits, if the thread is one of Tether's.
pub(super) fn current_waits() -> Option<*const waits::Waits> {
    let task = Task::current_raw();
    // SAFETY: The current task is valid.
    let function = unsafe { bindings::kthread_func(task) };
    // SAFETY: The current task is valid. `kthread_data()` requires a kernel thread, and is only
    // called if the task has a thread function of ours, which only a kernel thread has.
    let data = || unsafe { bindings::kthread_data(task) };
    if ptr::eq(function, main as *const c_void) {
        // SAFETY: The data of such a thread is its `Core`, which is valid while it runs.
        Some(unsafe { &raw const (*data().cast::<Core>()).waits })
    } else if ptr::eq(function, worker::main as *const c_void) {
        // SAFETY: The data of such a thread is its `Queue`, which is valid while it runs.
        Some(unsafe { worker::Queue::waits_of(data().cast()) })
    } else {
        None
    }
}
