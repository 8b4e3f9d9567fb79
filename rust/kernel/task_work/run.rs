// SPDX-License-Identifier: GPL-2.0

//! The functions that the kernel calls, in the target task.

use super::{
    closure::ClosureHead,
    node::Kind,
    orphans,
    running,
    state,
    Node,
    Vtable, //
};
use crate::{
    bindings,
    sync::atomic::Relaxed,
    tether::Pins, //
};
use core::ptr::NonNull;

// What the kernel calls is in text that never goes away, and must never be copied into a
// consumer's, by inlining or as a generic: the owner may be gone when it returns.

/// Runs a box.
///
/// # Safety
///
/// `head` must be that of a [`Node`] which was queued, to the current task or to an [`Ordered`]
/// that runs in it; that of a box.
#[inline(never)]
pub(super) unsafe extern "C" fn run_box(head: *mut bindings::callback_head) {
    // SAFETY: The head is valid, by the function's contract.
    let next = unsafe { (*head).next };
    // SAFETY: The head is at the beginning of a node, by the function's contract. A box is not
    // cancelled, and one that is disarmed gets another function: the node is ours to run.
    unsafe {
        let node = NonNull::new_unchecked(head.cast::<Node>());
        run_node(node, Callback::of(node), next);
    }
}

/// The parts of a node that are needed to run it.
struct Callback {
    run: unsafe fn(NonNull<Node>),
    pins: &'static Pins,
    vtable: &'static Vtable,
}

impl Callback {
    /// Reads the parts of a node that is not claimed yet: once it is, another module may add the
    /// item again, and write its own.
    ///
    /// # Safety
    ///
    /// The node must have been unlinked by the current task, and must not have been run or passed.
    #[inline(always)]
    unsafe fn of(node: NonNull<Node>) -> Self {
        // SAFETY: A node that was linked is valid until it is run or passed.
        let this = unsafe { node.as_ref() };
        Self {
            run: this.run,
            pins: this.pins,
            // SAFETY: The reference is used only if the node is claimed, and then its owner is
            // pinned.
            vtable: unsafe { this.vtable() },
        }
    }
}

/// Runs a node. `callback` was read before it was claimed, and `next` is the rest of its batch.
///
/// # Safety
///
/// The node must have been unlinked by the current task, which owns it and runs its works; this
/// must be permanent text.
#[inline(always)]
unsafe fn run_node(node: NonNull<Node>, callback: Callback, next: *mut bindings::callback_head) {
    let record = running::begin(node, next, callback.vtable);
    // SAFETY: The node is ours to run, by the function's contract. This is a callback, and the
    // owner's text is mapped because the owner is pinned.
    unsafe { (callback.run)(node) };
    // The node and the item belong to the callee, which may have freed them.
    running::end(record);
    // SAFETY: This is the pin of the node, and this text is permanent.
    unsafe { callback.pins.unpin() };
}

/// Runs an `Arc` or a closure, unless it was cancelled.
///
/// # Safety
///
/// As [`run_box`], but the head of an `Arc` or of a closure.
#[inline(never)]
pub(super) unsafe extern "C" fn run_work(head: *mut bindings::callback_head) {
    // SAFETY: The head is at the beginning of a node, by the function's contract.
    let node = unsafe { NonNull::new_unchecked(head.cast::<Node>()) };
    // Before the node is claimed: once it is running, another thread may queue it again.
    //
    // SAFETY: A node that was linked is valid until it is run or passed.
    let (next, callback) = unsafe { ((*head).next, Callback::of(node)) };
    // SAFETY: The node is still valid, as it was neither run nor passed.
    if unsafe { node.as_ref() }.state.claim() {
        // SAFETY: The node was queued to this task, and `claim` has made it ours to run.
        unsafe { run_node(node, callback, next) };
    } else {
        // SAFETY: The node is no longer linked, and will not be run.
        unsafe { pass_by(node, Some(next)) };
    }
}

/// Passes a node that was disarmed.
///
/// # Safety
///
/// As [`run_box`].
pub(super) unsafe extern "C" fn run_disarmed(head: *mut bindings::callback_head) {
    // SAFETY: The head is at the beginning of a node, which is not linked any more.
    unsafe {
        pass_by(
            NonNull::new_unchecked(head.cast::<Node>()),
            Some((*head).next),
        )
    };
}

/// Releases a node that is no longer linked, and that was cancelled or disarmed. If the target calls
/// this, `next` is the rest of the batch that the node was in.
///
/// # Safety
///
/// The node must have been unlinked, by the target or by `task_work_cancel()`, and belong to the
/// caller, which must be in permanent text.
#[cold]
#[inline(never)]
pub(super) unsafe fn pass_by(node: NonNull<Node>, next: Option<*mut bindings::callback_head>) {
    // SAFETY: The node is valid until it is released below.
    let this = unsafe { node.as_ref() };
    let owner = this.owner;
    loop {
        let word = this.state.load();
        match word.state() {
            state::CANCELLED => {
                // SAFETY: A node that was cancelled still has its pin, which is dropped below.
                let Kind::Arc { release } = unsafe { this.vtable() }.kind else {
                    return;
                };
                orphans::remove(word.target());
                // SAFETY: The node was cancelled, and its pin is dropped below.
                let vtable = unsafe { this.vtable() };
                this.state.release();
                // The destructor of the item is subject to the rules of a callback: it must not keep
                // a task that was killed in `task_work_run()`.
                let record = next.map(|next| running::begin(node, next, vtable));
                // SAFETY: The thread that has cancelled the node has left the node's reference and
                // pin to us; the owner's text is mapped because the owner is pinned.
                unsafe { release(node) };
                if let Some(record) = record {
                    running::end(record);
                }
                // SAFETY: The pin of the node is ours, as above, and is dropped once.
                unsafe { owner.unpin() };
                return;
            }
            state::ORPHAN => {
                orphans::remove(word.target());
                // SAFETY: Orphans are closures, and the reference of the list is ours.
                return unsafe { ClosureHead::put(node.cast()) };
            }
            state::DISARMED if this.state.hand_over(state::DISARMED, state::SPENT) => return,
            state::DISARMED => {}
            // SAFETY: `link` is the beginning of the box's memory, as `discard` has returned it.
            // The memory was allocated by `kmalloc`, and the teardown has left it to us.
            state::FREEABLE => return unsafe { bindings::kfree(this.link.load(Relaxed)) },
            _ => return,
        }
    }
}
