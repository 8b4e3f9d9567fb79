// SPDX-License-Identifier: GPL-2.0

//! Who waits for whom.
//!
//! A thread that stops, joins or parks another one waits for it. If that one waits for the first,
//! itself or through others, then neither goes on: so whoever is about to close such a circle is
//! refused.

use super::{
    main,
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
    types::NotThreadSafe, //
};
use core::ptr;

/// A lock for what threads, and works, have of each other. It may be taken in any context; nothing
/// that takes another lock is done with it.
pub(super) struct Lock {
    flags: c_ulong,
    _not_send: NotThreadSafe,
}

impl Lock {
    pub(super) fn new() -> Self {
        Self {
            // SAFETY: It is not held here, by what it is for.
            flags: unsafe { bindings::tether_kthread_lock() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: It was taken when this was made.
        unsafe { bindings::tether_kthread_unlock(self.flags) };
    }
}

/// Whom a thread waits for.
///
/// # Invariants
///
/// It is null or a thread that is there, and changes under [`Lock`].
pub(super) struct Waits(Atomic<*const Core>);

impl Waits {
    pub(super) fn new() -> Self {
        Self(Atomic::new(ptr::null()))
    }
}

/// The current thread waits, if it is one of ours, until this is dropped.
pub(super) struct Waiting {
    waits: Option<*const Waits>,
    _not_send: NotThreadSafe,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(waits) = self.waits {
            let _lock = Lock::new();
            // SAFETY: It is the current thread's, which is there while it runs.
            unsafe { &*waits }.0.store(ptr::null(), Relaxed);
        }
    }
}

/// The current thread, if it is one of ours. It may be about to be dropped.
fn current() -> Option<*const Core> {
    let task = Task::current_raw();
    // SAFETY: The current task is valid.
    let function = unsafe { bindings::kthread_func(task) };
    if !ptr::eq(function, main as *const c_void) {
        return None;
    }
    // SAFETY: As above, and it is a kernel thread.
    Some(unsafe { bindings::kthread_data(task) }.cast())
}

impl Core {
    /// The current thread is going to wait for this one. The caller must not let go of it before
    /// it lets go of what is returned.
    ///
    /// # Errors
    ///
    /// [`EDEADLK`] if this one waits for the current thread, or is it.
    pub(super) fn wait_for(&self) -> Result<Waiting> {
        let Some(me) = current() else {
            return Ok(Waiting {
                waits: None,
                _not_send: NotThreadSafe,
            });
        };
        let _lock = Lock::new();
        let mut other = ptr::from_ref(self);
        while !other.is_null() {
            if ptr::eq(other, me) {
                return Err(EDEADLK);
            }
            // SAFETY: By the invariants of `Waits` it is there, as the lock is held.
            other = unsafe { &*other }.waits.0.load(Relaxed);
        }
        // SAFETY: The memory of the current thread is there while it runs.
        let waits = unsafe { &raw const (*me).waits };
        // INVARIANT: The caller keeps this thread.
        //
        // SAFETY: As above.
        unsafe { &*waits }.0.store(self, Relaxed);
        Ok(Waiting {
            waits: Some(waits),
            _not_send: NotThreadSafe,
        })
    }
}
