// SPDX-License-Identifier: GPL-2.0

//! Teardown of the pending and running works of a module: disarming and interrupting them.

use super::{
    add::{
        add_node,
        is_ending, //
    },
    closure::{
        add_fn_by,
        ClosureHead, //
    },
    node::Kind,
    orphans,
    run::run_disarmed,
    running,
    state,
    walk::for_each_pending,
    Context,
    Node, //
    NotifyMode,
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed, //
    },
    task::Task,
    tether::Owner, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// Disarms the pending works of a module that is torn down although it is pinned. Returns the
/// number of works.
///
/// The items are dropped, but the nodes stay linked until their targets reach them; hence the
/// memory that contains the nodes is not freed before. A shared item is leaked: a reference to it
/// may be dropped later and would free the linked node.
pub(super) fn disarm(owner: &'static Owner) -> usize {
    let mut count = 0;
    // The disarmed nodes, chained through `link`.
    let mut disarmed: *mut Node = ptr::null_mut();
    let mut claim = |_: usize, node: &Node| {
        if !ptr::eq(node.owner, owner) || !node.state.is_pinned() {
            return;
        }
        // SAFETY: `vtable()` requires that the owner stays loaded. Teardown of the owner calls this
        // function before the text is freed, and the node is pinned, so that `owner` is still its
        // owner.
        let kind = unsafe { node.vtable() }.kind;
        let new = match kind {
            Kind::Box { .. } => state::DISARMED,
            Kind::Arc { .. } => state::SPENT,
            // Queues belong to Tether, which is never unloaded.
            Kind::Queue => return,
            Kind::Closure { .. } => {
                // This reference keeps the node valid until the loop below.
                //
                // SAFETY: `get()` requires the node of a closure with a reference. The kind is
                // `Closure`, and the list holds a reference while the node is linked.
                unsafe { ClosureHead::get(node) };
                state::ORPHAN
            }
        };
        // If this fails, another thread has claimed the node to run or to cancel it. That thread
        // does not depend on this function.
        if let Some(old) = node.state.disarm(new) {
            count += 1;
            if old.state() == state::CANCELLED {
                orphans::remove(old.target());
            }
            if new == state::ORPHAN {
                orphans::add(old.target());
            }
            // The target reads `func` only after the lock that is held here was released, or after
            // the callback that is kept from returning here has returned.
            //
            // SAFETY: The node is valid because it is linked, and no other task accesses `func`
            // meanwhile.
            unsafe {
                let head = (&raw const node.head).cast_mut();
                (&raw mut (*head).func).write_volatile(Some(run_disarmed));
            }
            // SAFETY: `unpin_disarmed()` requires a pin that is ours, and a closed owner.
            // `disarm()` succeeds once for each add, and afterwards neither the target nor a
            // canceller drops the pin. Teardown closes the owner first.
            unsafe { owner.unpin_disarmed() };
            node.link.store(disarmed.cast(), Relaxed);
            disarmed = ptr::from_ref(node).cast_mut();
        } else if matches!(kind, Kind::Closure { .. }) {
            // SAFETY: `put()` requires a reference that is ours. It was taken above, and the
            // closure belongs to the thread that has claimed the node.
            unsafe { ClosureHead::put(NonNull::from(node).cast()) };
        }
    };
    for_each_pending(&mut claim);

    // This is done after the walk, which holds a `pi_lock`: waking a task may take the same lock.
    while let Some(node) = NonNull::new(disarmed) {
        // SAFETY: The memory of the node is not freed before `hand_over()` or `put()` below.
        let this = unsafe { node.as_ref() };
        disarmed = this.link.load(Relaxed).cast();
        this.state.wake();
        // SAFETY: `vtable()` requires that the owner stays loaded. Teardown of the owner calls this
        // function before the text is freed.
        match unsafe { this.vtable() }.kind {
            Kind::Box { discard } => {
                // SAFETY: `discard()` requires a node to which a box was passed, once. `disarm()`
                // has made the item ours, and the module's text is still mapped.
                let memory = unsafe { discard(node) };
                this.link.store(memory, Relaxed);
                if !this.state.hand_over(state::DISARMED, state::FREEABLE) {
                    // SAFETY: `kfree()` requires memory that was allocated by `kmalloc()` and is
                    // not in use. The target has passed the node, and has left the box's memory to
                    // us.
                    unsafe { bindings::kfree(memory) };
                }
            }
            Kind::Closure { discard } => {
                // SAFETY: `discard()` requires the node of a disarmed closure, once. `disarm()` has
                // made the closure ours, and the module's text is still mapped.
                unsafe { discard(node) };
                // SAFETY: `put()` requires a reference that is ours. It was taken by `get()` above.
                unsafe { ClosureHead::put(node.cast()) };
            }
            Kind::Arc { .. } | Kind::Queue => {}
        }
    }
    count
}

/// Ends the interruptible sleeps of running callbacks of `owner`.
///
/// Notifies the task of a further work, which does nothing: `set_notify_signal()` is not available
/// to modules. The work is added without regard to the number of cancelled works on the task.
pub(super) fn interrupt(owner: &'static Owner) {
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
            // SAFETY: `test_tsk_thread_flag()` requires a valid task, which `task` is.
            let is_notified = unsafe {
                bindings::test_tsk_thread_flag(task.as_ptr(), bindings::TIF_NOTIFY_SIGNAL as c_int)
            };
            // A task that is being killed or is in its exit takes no works.
            if is_notified || is_ending(task) {
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
                    // SAFETY: The node is queued to `task` by its state, and stays valid until it
                    // is run.
                    unsafe { add_node(task, node, NotifyMode::Signal) }
                },
            );
        }
    }
}
