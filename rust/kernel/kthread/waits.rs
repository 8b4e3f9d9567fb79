// SPDX-License-Identifier: GPL-2.0

//! The wait-for graph of threads, by which a call that would close a cycle is refused.
//!
//! A thread that stops, joins or parks another thread waits for it, and so does a thread that
//! flushes or drops a worker. If the other thread waits for the first, directly or through further
//! threads, none of them can continue. Hence a call that would close such a cycle is refused.
//!
//! A thread is recorded here just before it sleeps. It is not recorded if the call is known to
//! return without sleeping, because a cycle would then depend on timing. A wait with a time limit
//! of at most a minute is not recorded either.

use super::{
    completion::Limit,
    current_waits, //
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
    tether::{
        may_sleep,
        raw_lock::{
            RawGuard,
            RawLock, //
        }, //
    },
    types::NotThreadSafe, //
};
use core::ptr;

/// The lock for the graph of waits, and for the queue that a work is bound to. No other lock is
/// taken while it is held.
static LOCK: SetOnce<Pin<KBox<RawLock<()>>>> = SetOnce::new();

/// Creates the lock, before any thread is created.
pub(super) fn init() -> Result {
    // SAFETY: `RawLock::new()` requires a function that initialises a `raw_spinlock_t`;
    // `tether_kthreads_lock_init()` is one.
    let lock = unsafe { RawLock::new((), bindings::tether_kthreads_lock_init) };
    LOCK.populate(KBox::pin_init(lock, GFP_KERNEL)?);
    Ok(())
}

/// Acquires the lock for the graph of waits and for the queue that a work is bound to.
///
/// # Context
///
/// Any context but NMI; no other lock may be taken while it is held.
pub(super) fn lock() -> RawGuard<'static, ()> {
    match LOCK.as_ref() {
        Some(lock) => lock.lock(),
        // The lock is created before any thread is.
        None => unreachable!(),
    }
}

/// The node of a thread or of a worker in the graph. It points to the node of the thread or worker
/// that the thread waits for.
///
/// # Invariants
///
/// The pointer is null or points to a valid node, and changes under [`lock`]. No node is reachable
/// from itself.
pub(super) struct Waits(Atomic<*const Waits>);

impl Waits {
    pub(super) fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self(Atomic::new(ptr::null()))
    }

    /// Records that the current thread waits for the thread of `self`, until the returned value is
    /// dropped. `self` must stay valid until then.
    ///
    /// # Errors
    ///
    /// [`EDEADLK`] if the thread of `self` waits for the current thread or is the current thread,
    /// and in an interrupt, which cannot wait.
    pub(super) fn wait_for(&self, limit: Limit) -> Result<Waiting<'_>> {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        let not_entered = Waiting {
            entered: None,
            _not_send: NotThreadSafe,
        };
        let Some(current) = current_waits() else {
            return Ok(not_entered);
        };
        if ptr::eq(current, self) {
            return Err(EDEADLK);
        }
        if limit.is_timed() {
            return Ok(not_entered);
        }
        let _lock = lock();
        if self.reaches(current) {
            return Err(EDEADLK);
        }
        // SAFETY: The node of the current thread is valid while the thread runs.
        let node = unsafe { &*current };
        let before = node.0.load(Relaxed);
        // INVARIANT: `self` does not reach the node, as tested above under the lock. `self` stays
        // valid until the returned `Waiting`, which borrows it, is dropped. If the `Waiting` is
        // leaked, the caller's references that keep `self` valid are leaked as well.
        node.0.store(self, Relaxed);
        Ok(Waiting {
            entered: Some((node, before)),
            _not_send: NotThreadSafe,
        })
    }

    /// Returns whether the thread of `self` waits for the thread of `node`, directly or through
    /// others, or is the same thread. The caller must hold the lock.
    fn reaches(&self, node: *const Waits) -> bool {
        let mut next: *const Waits = self;
        // SAFETY: `self` is valid, and by the type's invariants each node that is reachable from it
        // is valid while the lock is held. The loop ends because no node is reachable from itself.
        while let Some(waits) = unsafe { next.as_ref() } {
            if ptr::eq(waits, node) {
                return true;
            }
            next = waits.0.load(Relaxed);
        }
        false
    }
}

/// A guard that records that the current thread waits, until the guard is dropped.
pub(super) struct Waiting<'a> {
    /// The node of the current thread, and the node that it was waiting for before: a destructor
    /// that runs while a thread is being stopped may stop another thread.
    entered: Option<(&'a Waits, *const Waits)>,
    _not_send: NotThreadSafe,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some((node, before)) = self.entered {
            let _lock = lock();
            // SAFETY: `before` is null, or the call that has recorded it has not returned and keeps
            // it valid.
            let reached = unsafe { before.as_ref() }.is_some_and(|before| before.reaches(node));
            // A thread that began to wait for the current thread meanwhile was not refused.
            let before = if reached { ptr::null() } else { before };
            // INVARIANT: `before` is null or valid, as above, and does not reach the node, as
            // tested above under the lock.
            node.0.store(before, Relaxed);
        }
    }
}
