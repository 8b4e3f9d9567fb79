// SPDX-License-Identifier: GPL-2.0

//! Which thread waits for which.
//!
//! A thread that stops, joins or parks another one waits for it, and so does a thread that flushes or
//! drops a worker. If the other one waits for the first, directly or through others, none of them
//! goes on. So a call that would close such a cycle is refused.
//!
//! A thread is entered here just before it sleeps, and not if the call is known to return without
//! sleeping: the cycle would be an accident of timing then. A wait that ends after a time is not
//! entered either.

use super::{
    completion::Limit,
    main,
    worker,
    Core, //
};
use crate::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task,
    tether::may_sleep,
    types::NotThreadSafe, //
};
use core::ptr;

/// A lock for the graph of waits, and for the queue that a work is bound to.
///
/// # Context
///
/// It may be taken in any context but NMI; no other lock is taken while it is held.
pub(super) struct Lock {
    flags: c_ulong,
    _not_send: NotThreadSafe,
}

impl Lock {
    pub(super) fn new() -> Self {
        Self {
            // SAFETY: The lock is not held by this CPU: no callee takes it while it is held.
            flags: unsafe { bindings::tether_kthread_lock() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: The lock was taken when `self` was made, on this CPU, with these flags.
        unsafe { bindings::tether_kthread_unlock(self.flags) };
    }
}

/// The node of a thread or of a worker in the graph: it points at the one that the thread waits for.
///
/// # Invariants
///
/// The pointer is null or that of a node which is valid, and changes under [`Lock`].
pub(super) struct Waits(Atomic<*const Waits>);

impl Waits {
    pub(super) fn new() -> Self {
        Self(Atomic::new(ptr::null()))
    }

    /// Enters that the current thread is going to wait for the thread of `self`, until the returned
    /// value is dropped. `self` must stay valid until then.
    ///
    /// # Errors
    ///
    /// [`EDEADLK`] if the thread of `self` waits for the current one, or is the current one, and in an
    /// interrupt, where nothing can be waited for.
    pub(super) fn wait_for(&self, limit: Limit) -> Result<Waiting<'_>> {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        let not_entered = Waiting {
            entered: None,
            _not_send: NotThreadSafe,
        };
        let Some(current) = current() else {
            return Ok(not_entered);
        };
        if ptr::eq(current, self) {
            return Err(EDEADLK);
        }
        if limit.is_timed() {
            return Ok(not_entered);
        }
        let _lock = Lock::new();
        let mut next: *const Waits = self;
        // SAFETY: `self` is valid, and by the type's invariants so is every node behind it while the
        // lock is held.
        while let Some(node) = unsafe { next.as_ref() } {
            if ptr::eq(node, current) {
                return Err(EDEADLK);
            }
            next = node.0.load(Relaxed);
        }
        // SAFETY: The node of the current thread is valid while that runs.
        let node = unsafe { &*current };
        let before = node.0.load(Relaxed);
        // INVARIANT: `self` stays valid until `Waiting`, which borrows it, is dropped. If that is
        // forgotten, so are the references of the caller that keep `self`.
        node.0.store(self, Relaxed);
        Ok(Waiting {
            entered: Some((node, before)),
            _not_send: NotThreadSafe,
        })
    }
}

/// The current thread waits until this is dropped.
pub(super) struct Waiting<'a> {
    /// The node of the current thread, and the one that it was waiting for before: a destructor that
    /// runs while a thread is stopped may stop another one.
    entered: Option<(&'a Waits, *const Waits)>,
    _not_send: NotThreadSafe,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some((node, before)) = self.entered {
            let _lock = Lock::new();
            // INVARIANT: `before` is kept valid by the call that has entered it, which has not
            // returned.
            node.0.store(before, Relaxed);
        }
    }
}

/// The node of the current thread, if that was created by this module.
fn current() -> Option<*const Waits> {
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
