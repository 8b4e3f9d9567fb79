// SPDX-License-Identifier: GPL-2.0

//! Which thread waits for which.
//!
//! A thread that stops, joins or parks another one waits for it, and so does a thread that flushes
//! or drops a worker. If the other one waits for the first, directly or through others, none of
//! them goes on. So a call that would close such a cycle is refused.
//!
//! A thread is entered here just before it sleeps, and not if the call is known to return without
//! sleeping: the cycle would be an accident of timing then. A wait that ends after a time is not
//! entered either.

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

/// Creates the lock, once, before there can be a thread.
pub(super) fn init() -> Result {
    // SAFETY: The function initialises a lock.
    let lock = unsafe { RawLock::new((), bindings::tether_kthreads_lock_init) };
    LOCK.populate(KBox::pin_init(lock, GFP_KERNEL)?);
    Ok(())
}

/// Takes the lock for the graph of waits, and for the queue that a work is bound to.
///
/// # Context
///
/// Any context but NMI; no other lock may be taken while it is held.
pub(super) fn lock() -> RawGuard<'static, ()> {
    match LOCK.as_ref() {
        Some(lock) => lock.lock(),
        // It is created before there can be a thread.
        None => unreachable!(),
    }
}

/// The node of a thread or of a worker in the graph: it points at the one that the thread waits
/// for.
///
/// # Invariants
///
/// The pointer is null or that of a node which is valid, and changes under [`lock`]. No node is
/// reached from itself.
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
    /// [`EDEADLK`] if the thread of `self` waits for the current one, or is the current one, and in
    /// an interrupt, where nothing can be waited for.
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
        // SAFETY: The node of the current thread is valid while that runs.
        let node = unsafe { &*current };
        let before = node.0.load(Relaxed);
        // INVARIANT: `self`, which does not reach the node, stays valid until `Waiting`, which
        // borrows it, is dropped. If that is forgotten, so are the references of the caller that
        // keep `self`.
        node.0.store(self, Relaxed);
        Ok(Waiting {
            entered: Some((node, before)),
            _not_send: NotThreadSafe,
        })
    }

    /// Whether the thread of `self` waits for that of `node`, directly or through others, or is the
    /// same. The lock must be held.
    fn reaches(&self, node: *const Waits) -> bool {
        let mut next: *const Waits = self;
        // SAFETY: `self` is valid, and by the type's invariants so is every node behind it while
        // the lock is held. There are finitely many, as no node is reached from itself.
        while let Some(waits) = unsafe { next.as_ref() } {
            if ptr::eq(waits, node) {
                return true;
            }
            next = waits.0.load(Relaxed);
        }
        false
    }
}

/// The current thread waits until this is dropped.
pub(super) struct Waiting<'a> {
    /// The node of the current thread, and the one that it was waiting for before: a destructor
    /// that runs while a thread is stopped may stop another one.
    entered: Option<(&'a Waits, *const Waits)>,
    _not_send: NotThreadSafe,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some((node, before)) = self.entered {
            let _lock = lock();
            // SAFETY: `before` is null, or is kept valid by the call that has entered it, which has
            // not returned.
            let reached = unsafe { before.as_ref() }.is_some_and(|before| before.reaches(node));
            // A thread that began to wait for this one meanwhile was not refused.
            let before = if reached { ptr::null() } else { before };
            // INVARIANT: As above, and `before` does not reach the node.
            node.0.store(before, Relaxed);
        }
    }
}
