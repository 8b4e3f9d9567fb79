// SPDX-License-Identifier: GPL-2.0

//! The end of a module that has pending or running works.

use super::{
    add::add_node,
    closure::{
        add_fn_by,
        ClosureHead, //
    },
    node::Kind,
    ordered,
    orphans,
    outstanding,
    pending::for_each_pending,
    run::run_disarmed,
    running,
    state,
    Context,
    Mode,
    Node, //
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed, //
    },
    task::Task,
    tether::{
        Facility,
        Owner, //
    }, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// Disarms the pending works of a module that is removed although it is pinned, and returns their
/// number.
///
/// The items are dropped, but the nodes stay linked until their targets pass them; so the memory
/// that they are in stays until then. An item that is shared is leaked: references to it may be
/// dropped later, and would free it.
fn disarm(owner: &'static Owner) -> usize {
    let mut count = 0;
    // The disarmed nodes, chained through `link`.
    let mut disarmed: *mut Node = ptr::null_mut();
    let mut claim = |_: usize, node: &Node| {
        if !ptr::eq(node.owner, owner) || !node.state.is_pinned() {
            return;
        }
        // SAFETY: The owner's end calls this while its text is there, and the node has a pin.
        let kind = unsafe { node.vtable() }.kind;
        let new = match kind {
            Kind::Box { .. } => state::DISARMED,
            Kind::Arc { .. } => state::SPENT,
            // The owner of a queue is never removed.
            Kind::Queue => return,
            Kind::Closure { .. } => {
                // For the loop below.
                //
                // SAFETY: Closures have such a head, with a reference while the node is linked.
                unsafe { ClosureHead::get(node) };
                state::ORPHAN
            }
        };
        // If this fails, the thread that has claimed the node, to run it or to cancel it, has all
        // that it needs.
        if let Some(old) = node.state.disarm(new) {
            count += 1;
            if old.state() == state::CANCELLED {
                orphans::remove(old.target());
            }
            if new == state::ORPHAN {
                orphans::add(old.target());
            }
            // The target reads this only after the lock that is held here was released, or after
            // the callback that is held here has returned.
            //
            // SAFETY: The node is valid, and linked.
            unsafe {
                let head = (&raw const node.head).cast_mut();
                (&raw mut (*head).func).write_volatile(Some(run_disarmed));
            }
            // SAFETY: The pin of the node is ours, because `disarm` succeeds once for each
            // queueing, and then neither the target nor a canceller drops it.
            unsafe { owner.unpin_disarmed() };
            node.link.store(disarmed.cast(), Relaxed);
            disarmed = ptr::from_ref(node).cast_mut();
        } else if matches!(kind, Kind::Closure { .. }) {
            // SAFETY: The reference is that from above. It is not the last: the node is linked.
            unsafe { ClosureHead::put(NonNull::from(node).cast()) };
        }
    };
    for_each_pending(&mut claim);

    // Not above, where a lock is held that waking takes.
    while let Some(node) = NonNull::new(disarmed) {
        // SAFETY: The node is valid: its memory is not freed before it is handed over below.
        let this = unsafe { node.as_ref() };
        disarmed = this.link.load(Relaxed).cast();
        this.state.wake();
        // SAFETY: The owner's end calls this while its text is there.
        match unsafe { this.vtable() }.kind {
            Kind::Box { discard } => {
                // SAFETY: The item is ours, and the module's text is still there.
                let memory = unsafe { discard(node) };
                this.link.store(memory, Relaxed);
                if !this.state.hand_over(state::DISARMED, state::FREEABLE) {
                    // SAFETY: The target has passed the node before, and left the box's memory to
                    // us.
                    unsafe { bindings::kfree(memory) };
                }
            }
            Kind::Closure { discard } => {
                // SAFETY: The closure is ours, and the module's text is still there.
                unsafe { discard(node) };
                // SAFETY: The reference is that from above.
                unsafe { ClosureHead::put(node.cast()) };
            }
            Kind::Arc { .. } | Kind::Queue => {}
        }
    }
    count
}

/// Ends interruptible sleeps of callbacks of `owner` that are running, for as long as they run.
///
/// Notifies the task of a further work, which does nothing: `set_notify_signal()` is not available
/// to modules. The work is added without regard to the number of cancelled works on the task.
fn interrupt(owner: &'static Owner) {
    // Each round finds tasks that are not notified yet. The rounds are limited, because a callback
    // that does not sleep may be notified and look for signals again and again.
    for _ in 0..64 {
        let mut tasks: [Option<ARef<Task>>; 16] = [const { None }; 16];
        let mut free = tasks.iter_mut();
        running::for_each(|running| {
            // SAFETY: The callback is kept from returning, so that its owner is pinned.
            let run = unsafe { running.vtable.as_ref() }.run;
            if !Owner::of(run as *const ()).is_ok_and(|other| ptr::eq(other, owner)) {
                return;
            }
            // SAFETY: The task is valid, as its callback is kept from returning. `Task` is a
            // transparent wrapper.
            let task = unsafe { &*(running.task as *const Task) };
            // SAFETY: The task is valid.
            if !unsafe { bindings::tether_can_interrupt(task.as_ptr()) } {
                return;
            }
            if let Some(slot) = free.next() {
                *slot = Some(task.into());
            }
        });
        if tasks[0].is_none() {
            return;
        }
        for task in tasks.iter().flatten() {
            // If there is no memory, the next call does it.
            let _ = add_fn_by(
                task,
                |_: &Context<'_>| (),
                GFP_KERNEL,
                |node| {
                    // SAFETY: The node is queued to `task` by its state, and stays valid until it is
                    // run.
                    unsafe { add_node(task, node, Mode::Signal) }
                },
            );
        }
    }
}

/// The functions of task works for the end of a module and for `tether/outstanding`.
static FACILITY: Facility = Facility {
    kind: "task work",
    disarm,
    interrupt,
    show: outstanding::show,
};

/// Creates the list of queues and registers the facility, once, before a module can add a work.
#[no_mangle]
extern "C" fn tether_task_work_init() -> c_int {
    ordered::init()
        .and_then(|()| FACILITY.register())
        .map_or_else(|error| error.to_errno(), |()| 0)
}
