// SPDX-License-Identifier: GPL-2.0

//! Callbacks of `struct callback_head`: the functions that `task_work_run()` calls in the target.

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

// The kernel calls these functions, and the owner may be unloaded when they return. Hence they must
// be in permanent text, and must not be inlined or instantiated in a consumer.

/// Runs a box.
///
/// # Safety
///
/// `head` must be the head of a [`Node`] of a box or of an [`Ordered`] queue. The node must have
/// been queued to the current task, or to an [`Ordered`] queue that runs in the current task.
#[inline(never)]
pub(super) unsafe extern "C" fn run_box(head: *mut bindings::callback_head) {
    // SAFETY: By the function's contract the head is that of a queued node, which is valid until it
    // is run.
    let next = unsafe { (*head).next };
    // SAFETY: The head is at the beginning of a node, by the function's contract, so that it is not
    // null. `Callback::of()` and `run_node()` require an unlinked node that belongs to the current
    // task: a box cannot be cancelled, and a disarmed box has another function. This is permanent
    // text.
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
    /// Reads the parts of a node before it is claimed. After the node was claimed, another module
    /// may add the item again and overwrite these parts.
    ///
    /// # Safety
    ///
    /// The node must have been unlinked by the current task, and must not have been run or
    /// released.
    #[inline(always)]
    unsafe fn of(node: NonNull<Node>) -> Self {
        // SAFETY: A node that was linked is valid until it is run or released, and it was not, by
        // the function's contract.
        let this = unsafe { node.as_ref() };
        Self {
            run: this.run,
            pins: this.pins,
            // SAFETY: `vtable()` requires that the owner is pinned for as long as the result is
            // used. The reference is used only if the node is claimed, and then the node holds a
            // pin.
            vtable: unsafe { this.vtable() },
        }
    }
}

/// Runs a node. `callback` was read before the node was claimed, and `next` is the rest of its
/// batch.
///
/// # Safety
///
/// The current task must have unlinked the node, must own it and must be its target. The caller
/// must be in permanent text.
#[inline(always)]
unsafe fn run_node(node: NonNull<Node>, callback: Callback, next: *mut bindings::callback_head) {
    let record = running::begin(node, next, callback.vtable);
    // SAFETY: `run` requires a node that is ours to run, in a callback; both are in the function's
    // contract. The owner's text is mapped because the node holds a pin.
    unsafe { (callback.run)(node) };
    // The node and the item belong to the callee, which may have freed them.
    running::end(record);
    // SAFETY: `unpin()` requires a pin that is ours. The node's pin belongs to the task that runs
    // the node. This is permanent text.
    unsafe { callback.pins.unpin() };
}

/// Runs an `Arc` or a closure, unless it was cancelled.
///
/// # Safety
///
/// The requirements are those of [`run_box`], for the head of an `Arc` or of a closure.
#[inline(never)]
pub(super) unsafe extern "C" fn run_work(head: *mut bindings::callback_head) {
    // SAFETY: The head is at the beginning of a node, by the function's contract.
    let node = unsafe { NonNull::new_unchecked(head.cast::<Node>()) };
    // Read the node before it is claimed: once it is running, another thread may queue it again.
    //
    // SAFETY: A node that was linked is valid until it is run or released. The current task has
    // unlinked it and has done neither.
    let (next, callback) = unsafe { ((*head).next, Callback::of(node)) };
    // SAFETY: The node is valid, because it was neither run nor released.
    if unsafe { node.as_ref() }.state.claim() {
        // SAFETY: `run_node()` requires an unlinked node that is ours to run, in its target. The
        // node was queued to this task, and `claim()` has succeeded. This is permanent text.
        unsafe { run_node(node, callback, next) };
    } else {
        // SAFETY: The node is no longer linked, and will not be run.
        unsafe { pass_by(node, Some(next)) };
    }
}

/// Releases a node that was disarmed.
///
/// # Safety
///
/// The requirements are those of [`run_box`], for a node that was disarmed.
pub(super) unsafe extern "C" fn run_disarmed(head: *mut bindings::callback_head) {
    // SAFETY: The head is at the beginning of a node, which is not linked any more.
    unsafe {
        pass_by(
            NonNull::new_unchecked(head.cast::<Node>()),
            Some((*head).next),
        )
    };
}

/// Releases a node that is no longer linked, and that was cancelled or disarmed. If the target
/// calls this, `next` is the rest of the batch that the node was in.
///
/// # Safety
///
/// The target or `task_work_cancel()` must have unlinked the node, and the node must belong to the
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
                // SAFETY: `vtable()` requires that the owner is pinned. A cancelled node keeps its
                // pin, which is dropped below.
                let Kind::Arc { release } = unsafe { this.vtable() }.kind else {
                    return;
                };
                orphans::remove(word.target());
                // SAFETY: The node was cancelled, and its pin is dropped below.
                let vtable = unsafe { this.vtable() };
                this.state.release();
                // The destructor of the item is subject to the rules of a callback: it must not
                // keep a task that was killed in `task_work_run()`.
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
                // SAFETY: `put()` requires a reference to a closure that is ours. Only closures are
                // orphans, and the list's reference belongs to the task that has unlinked the node.
                return unsafe { ClosureHead::put(node.cast()) };
            }
            state::DISARMED if this.state.hand_over(state::DISARMED, state::SPENT) => return,
            state::DISARMED => {}
            // SAFETY: `kfree()` requires memory that was allocated by `kmalloc()`. `link` is the
            // beginning of the box's memory, as returned by `discard()`, and the state `FREEABLE`
            // leaves it to us.
            state::FREEABLE => return unsafe { bindings::kfree(this.link.load(Relaxed)) },
            _ => return,
        }
    }
}
