// SPDX-License-Identifier: GPL-2.0

//! Which task drops the result of a thread: the task that has the handle, or the thread.
//!
//! ```text
//!            the body returns
//!   ATTACHED -----------------> RETURNED    the handle takes the result
//!    |    |                     ^      ^
//!    |    | detach()            |      |    the thread drops the result
//!    |    +--------> DETACHED --+      |
//!    | drop, which must not wait       |    the thread drops the result
//!    +-------------> ORPHANED ---------+
//! ```
//!
//! The models of this file are in `tests/model/tests/stage.rs`.

use crate::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Relaxed, //
};

/// The body has not returned, and there is a handle.
const ATTACHED: u32 = 0;
/// The handle was detached, and the module is pinned.
const DETACHED: u32 = 1;
/// The handle was dropped by a thread that must not wait for this thread.
const ORPHANED: u32 = 2;
/// The body has returned.
const RETURNED: u32 = 3;

/// The state of the handle when the body of a thread returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Handle {
    /// There is a handle, which takes the result.
    Attached,
    /// The handle was detached: the thread drops the result and the pin of the module.
    Detached,
    /// The handle was dropped without waiting: the thread drops the result.
    Orphaned,
}

/// Tells which task drops the result of a thread.
///
/// # Invariants
///
/// Only the thread changes `state` to [`RETURNED`], once. The task that has the only handle changes
/// it from [`ATTACHED`] to another value.
pub(super) struct Stage {
    state: Atomic<u32>,
}

impl Stage {
    /// Returns the stage of a new thread with a handle.
    pub(super) fn new() -> Self {
        // INVARIANT: The body has not returned, and there is a handle.
        Self {
            state: Atomic::new(ATTACHED),
        }
    }

    /// Called by the thread after it has stored the result. Unless the handle is attached, the
    /// thread drops the result.
    pub(super) fn end(&self) -> Handle {
        // The acquire pairs with `detach()`, which comes after the pin was taken; the release with
        // `has_returned()`.
        match self.state.xchg(RETURNED, Full) {
            DETACHED => Handle::Detached,
            ORPHANED => Handle::Orphaned,
            _ => Handle::Attached,
        }
    }

    /// Detaches the handle. Returns false if the body has returned, so that the caller drops the
    /// result.
    pub(super) fn detach(&self) -> bool {
        self.state.cmpxchg(ATTACHED, DETACHED, Full).is_ok()
    }

    /// Leaves the result to the thread. Returns false if the body has returned, so that the caller
    /// drops the result.
    pub(super) fn orphan(&self) -> bool {
        // The thread uses nothing that the caller has written.
        self.state.cmpxchg(ATTACHED, ORPHANED, Relaxed).is_ok()
    }

    /// Returns whether the body has returned. If so, its result is stored.
    pub(super) fn has_returned(&self) -> bool {
        self.state.load(Acquire) == RETURNED
    }
}
