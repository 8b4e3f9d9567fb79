// SPDX-License-Identifier: GPL-2.0

//! [`Core`]: the part of a thread that does not depend on the types of its body. The handles of the
//! thread, the thread itself and module teardown share it.

use super::{
    completion::Completion,
    context::freeze,
    interrupt::interrupt,
    park,
    policy::PolicyLock,
    stage::Stage,
    start,
    waits,
    Wake, //
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Refcount, //
    },
    task::Task,
    tether::{
        read_once,
        Attachment, //
    },
    time::Jiffies, //
};
use core::{
    ops::Deref,
    ptr::NonNull, //
};

/// Value of [`Core::payload`]: there is neither a body nor a result.
pub(super) const EMPTY: u32 = 0;
/// The body, which was not called yet.
pub(super) const BODY: u32 = 1;
/// The result of the body.
pub(super) const RESULT: u32 = 2;

/// The part of a thread that does not depend on the types of its body.
///
/// It is at the beginning of an [`Inner`], in an allocation by `kmalloc`. Tether frees the memory
/// with the last [`CoreRef`], without a call into the body's module, which may be unloaded by then.
/// Hence the body or the result is dropped earlier, by a task that keeps the module loaded.
/// # Invariants
///
/// * `this` points to this core, and may be used to access the whole allocation.
/// * `task` is null until the thread is created. Then it is a task that the core holds a reference
///   to. Only [`Builder::create`] uses the core before.
/// * `run` and `discard` are those of the [`Inner`] that contains this core.
/// * `payload` tells whether there is a body or a result in the [`Inner`]. The task that changes it
///   to [`EMPTY`] owns the previous payload. Only the thread changes it to [`RESULT`], after it has
///   taken the body.
#[pin_data]
#[repr(C)]
pub(super) struct Core {
    #[pin]
    pub(super) attachment: Attachment,
    pub(super) this: NonNull<Core>,
    pub(super) refs: Refcount,
    pub(super) payload: Atomic<u32>,
    pub(super) task: Atomic<*mut bindings::task_struct>,
    pub(super) should_stop: Atomic<bool>,
    pub(super) woken: Atomic<bool>,
    pub(super) freezable: bool,
    pub(super) start: start::Start,
    pub(super) stage: Stage,
    #[pin]
    pub(super) parking: park::Parking,
    pub(super) waits: waits::Waits,
    #[pin]
    pub(super) policy_lock: PolicyLock,
    /// Completed when the body has returned and its result is stored, or when the body will not be
    /// called.
    #[pin]
    pub(super) returned: Completion,
    pub(super) run: unsafe fn(NonNull<Core>),
    pub(super) discard: unsafe fn(NonNull<Core>),
}

// SAFETY: `this`, `run` and `discard` do not change; everything else is atomic, has a lock of its
// own or is itself `Send`.
unsafe impl Send for Core {}
// SAFETY: `this`, `run` and `discard` do not change; everything else is atomic, has a lock of its
// own or is itself `Sync`.
unsafe impl Sync for Core {}

/// A reference to a [`Core`].
///
/// # Invariants
///
/// The reference is counted in `refs`.
pub(super) struct CoreRef(pub(super) NonNull<Core>);

// SAFETY: A `CoreRef` gives shared access to a `Core`, which is `Send` and `Sync`. The memory may
// be freed by any task.
unsafe impl Send for CoreRef {}
// SAFETY: A shared `CoreRef` gives shared access to a `Core`, which is `Sync`.
unsafe impl Sync for CoreRef {}

impl Deref for CoreRef {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        // SAFETY: The core is valid while a reference is counted, which this reference is by the
        // type's invariants.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CoreRef {
    fn clone(&self) -> Self {
        self.refs.inc();
        // INVARIANT: The new reference was counted above.
        Self(self.0)
    }
}

impl Drop for CoreRef {
    fn drop(&mut self) {
        // SAFETY: `put()` requires a reference that is ours. This one is counted by the type's
        // invariants, and is dropped once.
        unsafe { Core::put(self.0) };
    }
}

impl Core {
    /// Drops a reference.
    ///
    /// # Safety
    ///
    /// The caller must own a reference, which is dropped by this call.
    pub(super) unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The caller's reference keeps the core valid.
        let core = unsafe { this.as_ref() };
        let task = read_once(&core.task);
        if !core.refs.dec_and_test() {
            return;
        }
        if !task.is_null() {
            // SAFETY: `put_task_struct()` requires a task reference that is ours. By the type's
            // invariants the core holds one, and the last reference to the core was dropped.
            unsafe { bindings::put_task_struct(task) };
        }
        // SAFETY: `kfree()` requires memory that was allocated by `kmalloc()` and is not in use.
        // The last reference was dropped. The payload was dropped before; the other fields need no
        // destructor.
        unsafe { bindings::kfree(this.as_ptr().cast()) };
    }

    pub(super) fn task(&self) -> &Task {
        // SAFETY: By the type's invariants `task` is a task that the core holds a reference to.
        // `Task` is a transparent wrapper of `task_struct`.
        unsafe { &*read_once(&self.task).cast() }
    }

    pub(super) fn wake(&self) {
        self.woken.store(true, Release);
        self.task().wake_up();
    }

    #[inline]
    pub(super) fn should_stop(&self) -> bool {
        read_once(&self.should_stop)
    }

    /// Freezes the thread if the freezer requests it, and returns whether the thread is requested
    /// to stop or to park.
    ///
    /// Must be called by the thread.
    pub(super) fn requested(&self, parkable: bool) -> Option<Wake<()>> {
        if self.freezable {
            freeze();
        }
        if self.should_stop() {
            Some(Wake::Stopped)
        } else if parkable && self.parking.is_asked() {
            Some(Wake::Park(()))
        } else {
            None
        }
    }

    /// Sleeps in `state` for at most `*left` jiffies and stores the remainder in `*left`. Freezes
    /// if the freezer requests it.
    ///
    /// Must be called by the thread. Not generic, so that it is not monomorphised for each body.
    pub(super) fn sleep(&self, state: c_uint, parkable: bool, left: &mut Jiffies) -> Wake<()> {
        let wake = loop {
            // Freeze before each check and not only after the sleep: a thread that is woken before
            // each sleep never sleeps.
            if self.freezable {
                freeze();
            }
            // Set the state before the flags are read: a task that sets a flag afterwards wakes
            // this thread.
            //
            // SAFETY: `set_current_state()` requires that the task does not block in this state by
            // accident. It is set to `TASK_RUNNING` below, before anything else that may sleep.
            unsafe { bindings::set_current_state(state) };
            if self.should_stop() {
                break Wake::Stopped;
            }
            if parkable && self.parking.is_asked() {
                break Wake::Park(());
            }
            if read_once(&self.woken) && self.woken.xchg(false, Acquire) {
                break Wake::Woken;
            }
            // A kernel thread only receives signals that it has allowed. A request to stop makes
            // signal_pending() true as well, but the loop has ended by then.
            if state & bindings::TASK_INTERRUPTIBLE != 0 {
                // SAFETY: `task_sigpending()` requires a valid task, which the current task is.
                let pending = unsafe { bindings::task_sigpending(Task::current_raw()) } != 0;
                if pending {
                    // SAFETY: `kernel_dequeue_signal()` requires a kernel thread, which the current
                    // task is.
                    let signal = unsafe { bindings::kernel_dequeue_signal() };
                    if signal > 0 {
                        break Wake::Signal(signal as u32);
                    }
                }
            }
            if *left == 0 {
                break Wake::TimedOut;
            }
            if *left == Jiffies::MAX {
                // SAFETY: `schedule()` requires process context without locks. The current task is
                // the thread of this core, in its body, which must not hold a lock here.
                unsafe { bindings::schedule() };
            } else {
                // SAFETY: `schedule_timeout()` requires process context without locks, and a time
                // that is not negative. The current task is the thread of this core, and
                // `as_jiffies()` limits the time to less than `MAX_SCHEDULE_TIMEOUT`.
                *left = unsafe { bindings::schedule_timeout(*left as c_long) as Jiffies };
            }
        };
        // SAFETY: A running task may set its state to `TASK_RUNNING` at any time.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
        wake
    }

    /// Lets the thread call its body, unless module teardown has given the thread up.
    pub(super) fn start(&self) {
        if self.start.start() {
            self.task().wake_up();
        }
    }

    /// Requests the thread to stop, without waiting.
    pub(super) fn request_stop(&self) {
        self.should_stop.xchg(true, Full);
        self.unpark_to_stop();
        // Waking the task is a full barrier if it sleeps, so that it sees the flag.
        interrupt(self.task());
    }
}
