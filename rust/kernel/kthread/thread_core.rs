// SPDX-License-Identifier: GPL-2.0

//! The part of a thread that its handles, the thread itself and the end of its module share.

use super::{
    completion::Completion,
    context::freeze,
    park,
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

// Which task drops the result of a thread, for [`Core::stage`].

/// The body has not returned, and there is a handle.
pub(super) const ATTACHED: u32 = 0;
/// The handle was detached, and the module is pinned: the thread drops its result.
pub(super) const DETACHED: u32 = 1;
/// The handle was dropped by a thread that cannot wait for this one, which drops its result itself.
pub(super) const ORPHANED: u32 = 2;
/// The body has returned while there was a handle, which takes the result. In the other cases the
/// thread drops it.
pub(super) const RETURNED: u32 = 3;

/// Nothing, in [`Core::payload`].
pub(super) const EMPTY: u32 = 0;
/// The body, which was not called yet.
pub(super) const BODY: u32 = 1;
/// The result of the body.
pub(super) const RESULT: u32 = 2;

/// The part of a thread that does not depend on the types of its body.
///
/// It is at the beginning of an [`Inner`], in an allocation by `kmalloc`, which is freed with the
/// last [`CoreRef`]: by Tether, without a call into the body's module, which may be gone. So what
/// is in there besides is dropped before, by those who know that the module is there.
///
/// # Invariants
///
/// * `this` points at this core, and may be used for the whole allocation.
/// * `task` is null until the thread is created, and then a task that a reference is held to. Only
///   [`Builder::create`] has the core before.
/// * `run` and `discard` are those of the [`Inner`] that this is in.
/// * `payload` says whether there is a body or a result in the [`Inner`]. The task that makes it
///   [`EMPTY`] owns what was there. Only the thread makes it [`RESULT`], once it has taken the
///   body.
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
    pub(super) stage: Atomic<u32>,
    #[pin]
    pub(super) parking: park::Parking,
    pub(super) waits: waits::Waits,
    /// Completed when the body has returned and its result is there, or when it never will.
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
/// It is counted in `refs`.
pub(super) struct CoreRef(pub(super) NonNull<Core>);

// SAFETY: It is used through shared references, and freed with the last reference.
unsafe impl Send for CoreRef {}
// SAFETY: As above.
unsafe impl Sync for CoreRef {}

impl Deref for CoreRef {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        // SAFETY: It is valid while it is counted.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CoreRef {
    fn clone(&self) -> Self {
        self.refs.inc();
        Self(self.0)
    }
}

impl Drop for CoreRef {
    fn drop(&mut self) {
        // SAFETY: It is ours.
        unsafe { Core::put(self.0) };
    }
}

impl Core {
    /// Drops a reference.
    ///
    /// # Safety
    ///
    /// The caller must own one.
    pub(super) unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The reference keeps it valid.
        let core = unsafe { this.as_ref() };
        let task = read_once(&core.task);
        if !core.refs.dec_and_test() {
            return;
        }
        if !task.is_null() {
            // SAFETY: The reference is ours by the type's invariants.
            unsafe { bindings::put_task_struct(task) };
        }
        // SAFETY: It was allocated by `kmalloc`, and nobody has it any more. What is in it needs
        // not be dropped.
        unsafe { bindings::kfree(this.as_ptr().cast()) };
    }

    pub(super) fn task(&self) -> &Task {
        // SAFETY: By the type's invariants this is a task that we hold a reference to. `Task` is
        // transparent.
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

    /// Freezes the thread if that is asked for, and returns whether it is asked to stop or to park.
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

    /// Sleeps in `state` for at most `*left` jiffies, stores the remainder in `*left`, and freezes
    /// if that is asked for.
    ///
    /// Must be called by the thread. Not generic, so that it is compiled once.
    pub(super) fn sleep(&self, state: c_uint, parkable: bool, left: &mut Jiffies) -> Wake<()> {
        let wake = loop {
            // Before each look, and not only after the sleep: a thread that is woken before each
            // sleep never sleeps.
            if self.freezable {
                freeze();
            }
            // Before the flags are read: who sets one afterwards finds the state that we are in,
            // and wakes us out of it.
            //
            // SAFETY: The state is undone below, before anything else that may sleep.
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
            // A thread takes no signals but those that it has allowed. That it is asked to stop
            // looks like one to whoever sleeps interruptibly, but we have returned then.
            if state & bindings::TASK_INTERRUPTIBLE != 0 {
                // SAFETY: This is a kernel thread.
                let signal = unsafe { bindings::tether_dequeue_signal() };
                if signal > 0 {
                    break Wake::Signal(signal as u32);
                }
            }
            if *left == 0 {
                break Wake::TimedOut;
            }
            if *left == Jiffies::MAX {
                // SAFETY: We are in a thread of our own, and hold nothing.
                unsafe { bindings::schedule() };
            } else {
                // SAFETY: We are in a thread of our own, and hold no lock. `as_jiffies()` has
                // limited the time to less than `MAX_SCHEDULE_TIMEOUT`.
                *left = unsafe { bindings::schedule_timeout(*left as c_long) as Jiffies };
            }
        };
        // SAFETY: A running task may always say that it runs.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
        wake
    }

    /// Lets the thread call its body, unless its module's end has given it up.
    pub(super) fn start(&self) {
        if self.start.start() {
            self.task().wake_up();
        }
    }

    /// Asks the thread to stop, and does not wait.
    pub(super) fn request_stop(&self) {
        self.should_stop.xchg(true, Full);
        self.unpark();
        // SAFETY: The task is valid. Waking it is a full barrier if it sleeps, so that it sees the
        // flag.
        unsafe { bindings::tether_kthread_interrupt(self.task().as_ptr()) };
    }
}
