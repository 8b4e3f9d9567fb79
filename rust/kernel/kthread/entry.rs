// SPDX-License-Identifier: GPL-2.0

//! The thread function that is passed to `kthread_create()`, and the look-up of the current thread.

use super::{
    stage::Handle,
    thread_core::Core,
    waits,
    worker, //
};
use crate::{
    bindings,
    prelude::*,
    task::Task,
    tether::register_thread_function, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// The function of each thread, which the kernel calls. It must be in permanent text, and must not
/// be inlined or instantiated in a consumer: the module of a detached thread may be unloaded when
/// it returns.
///
/// # Safety
///
/// Must be called once for a thread, in that thread, with the [`Core`] that the thread was created
/// with.
#[inline(never)]
pub(super) unsafe extern "C" fn main(data: *mut c_void) -> c_int {
    // SAFETY: `data` is the core that `create_core()` has passed to `kthread_create()`, so that it
    // is not null.
    let core = unsafe { NonNull::new_unchecked(data.cast::<Core>()) };
    // SAFETY: The core is valid until the thread has dropped its reference, or until
    // `kthread_stop()` has returned for a thread that has not begun.
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
        // SAFETY: `tether_set_freezable()` requires a kernel thread that may sleep. This is one.
        unsafe { bindings::tether_set_freezable() };
    }
    // SAFETY: `run` requires that it is called once, in the thread, with its own core. The owner's
    // text is mapped: teardown waits for an attached thread, and a detached thread pins its owner.
    unsafe { (this.run)(core) };
    // SAFETY: `Parking::end()` must be called by the thread that `parking` belongs to. This is that
    // thread.
    unsafe { this.parking.end() };
    let handle = this.stage.end();
    this.returned.complete_all();
    // If the handle was dropped without waiting (`Orphaned`), the thread takes itself off its
    // owner's list. From then on, teardown of the owner waits until the returned guard is dropped.
    // If teardown has taken the thread off the list first, it waits until the thread has ended.
    let _entered = (handle == Handle::Orphaned)
        .then(|| {
            this.attachment.try_detach().inspect(|_| {
                // SAFETY: `put()` requires a reference that is ours. `try_detach()` has passed the
                // list's reference to us, and the thread's own reference keeps the core valid.
                unsafe { Core::put(core) };
            })
        })
        .flatten();
    if handle == Handle::Detached || handle == Handle::Orphaned {
        // SAFETY: `discard_payload()` requires that the module is loaded, and that the body has
        // returned if the caller is the thread. This is the thread, after its body. A detached
        // thread pins its owner, and teardown waits for an orphaned thread.
        unsafe { this.discard_payload() };
    }
    if handle == Handle::Detached {
        // SAFETY: `remove()` requires an independent attachment, and must be called once.
        // `Thread::detach()` has made the attachment independent, and leaves the removal to the
        // thread.
        unsafe { this.attachment.remove() };
        // SAFETY: `put()` requires a reference that is ours. `remove()` has passed the list's
        // reference to us, and the thread's own reference keeps the core valid.
        unsafe { Core::put(core) };
    }
    // SAFETY: `put()` requires a reference that is ours. The thread owns its reference, which is
    // not used again.
    unsafe { Core::put(core) };
    if handle == Handle::Detached {
        // SAFETY: `unpin()` requires a pin that is ours. `Thread::detach()` has taken it for this
        // thread. This is permanent text.
        unsafe { owner.unpin() };
    }
    0
}

/// Registers the functions of threads and workers.
pub(super) fn init() -> Result {
    register_thread_function(main as *const c_void as usize)?;
    register_thread_function(worker::main as *const c_void as usize)
}

/// The current thread, if Tether has created it.
enum CurrentThread {
    Thread(*const Core),
    Worker(*const worker::Queue),
}

/// Returns the current thread, if Tether has created it. The pointer is valid while the thread
/// runs.
#[inline(always)]
fn current_thread() -> Option<CurrentThread> {
    let task = Task::current_raw();
    // SAFETY: `kthread_func()` requires a valid task, which the current task is.
    let function = unsafe { bindings::kthread_func(task) };
    // SAFETY: `kthread_data()` requires a kernel thread. It is only called if the task has a thread
    // function of Tether, which only a kernel thread has.
    let data = || unsafe { bindings::kthread_data(task) };
    if ptr::eq(function, main as *const c_void) {
        Some(CurrentThread::Thread(data().cast()))
    } else if ptr::eq(function, worker::main as *const c_void) {
        Some(CurrentThread::Worker(data().cast()))
    } else {
        None
    }
}

/// Returns whether the current thread was created by Tether, and it or its worker was requested to
/// stop.
#[cold]
pub(super) fn current_is_asked() -> bool {
    match current_thread() {
        // SAFETY: A thread with this function was created with its `Core`, which is valid while the
        // thread runs.
        Some(CurrentThread::Thread(core)) => unsafe { &*core }.should_stop(),
        // SAFETY: A thread with this function was created with its `Queue`, which is valid while
        // the thread runs.
        Some(CurrentThread::Worker(queue)) => unsafe { &*queue }.is_asked(),
        None => false,
    }
}

/// Returns the node of the current thread in the graph of waits, if Tether has created the thread.
pub(super) fn current_waits() -> Option<*const waits::Waits> {
    Some(match current_thread()? {
        // SAFETY: A thread with this function was created with its `Core`, which is valid while the
        // thread runs.
        CurrentThread::Thread(core) => unsafe { &raw const (*core).waits },
        // SAFETY: `waits_of()` requires a valid queue. A thread with this function was created with
        // its `Queue`, which is valid while the thread runs.
        CurrentThread::Worker(queue) => unsafe { worker::Queue::waits_of(queue) },
    })
}
