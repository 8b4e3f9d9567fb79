// SPDX-License-Identifier: GPL-2.0

//! The node of a task work: it contains the `struct callback_head` that `task_work_add()` links
//! into `task->task_works`. `state.rs` has its states.

use super::{
    run::{
        run_box,
        run_work, //
    },
    state::State, //
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::Atomic, //
    },
    tether::{
        Owner,
        Pins, //
    }, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// The part of a [`TaskWork`] that does not depend on its type.
///
/// # Invariants
///
/// * While the node is queued or is about to be queued, `vtable`, `run`, `pins` and `owner` belong
///   to the pointer by which the item was added, and refer to the module that has added it. At
///   other times they may refer to a module that created the item and was unloaded since, and are
///   only compared.
/// * While `state` is [`state::PENDING`] or [`state::QUEUED`], the node is queued, or is about to
///   be queued by the thread that set that state. The queued node holds a pin of its owner, and
///   owns the item's pointer.
#[doc(hidden)]
#[repr(C)]
pub struct Node {
    pub(super) head: bindings::callback_head,
    /// `run` of `vtable`.
    pub(super) run: unsafe fn(NonNull<Node>),
    vtable: *const Vtable,
    /// The pins of `owner`.
    pub(super) pins: &'static Pins,
    pub(super) owner: &'static Owner,
    pub(super) state: State,
    /// Used in teardown of a module: first the next disarmed node, then the memory to be freed.
    pub(super) link: Atomic<*mut c_void>,
}

/// The functions for the type of a node, in the text of its owner.
#[doc(hidden)]
pub struct Vtable {
    pub(super) name: fn() -> &'static str,
    pub(super) kind: Kind,
    /// Runs the item, in a callback. The callee takes ownership of the node.
    pub(super) run: unsafe fn(NonNull<Node>),
}

impl Vtable {
    /// Returns whether the item is in a box.
    pub(super) fn is_of_box(&self) -> bool {
        matches!(self.kind, Kind::Box { .. })
    }
}

/// The kind of memory that a node is in, with the functions that depend on it.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Box {
        /// Drops the item of a disarmed node, but does not free the memory that contains the node.
        /// Returns the beginning of that memory.
        discard: unsafe fn(NonNull<Node>) -> *mut c_void,
    },
    Arc {
        /// Drops the pointer of a cancelled node. The callee takes ownership of the node.
        release: unsafe fn(NonNull<Node>),
    },
    Closure {
        /// Drops the closure of a node that was disarmed.
        discard: unsafe fn(NonNull<Node>),
    },
    /// An [`Ordered`] queue, which belongs to Tether and is neither cancelled nor disarmed.
    Queue,
}

impl Node {
    /// Initialises a node in place.
    ///
    /// # Safety
    ///
    /// `slot` must be valid for writes, and `run` of the vtable must be a function of the module
    /// that has the vtable.
    #[inline(never)]
    pub(super) unsafe fn init(
        slot: *mut Self,
        vtable: &'static Vtable,
        state: usize,
        target: usize,
    ) {
        // Look up the function and not the vtable: constants of two modules may be merged.
        let Some(owner) = Owner::of_cached(vtable.run as *const ()) else {
            // SAFETY: `init_slow()` has the requirements of this function, which the caller meets.
            return unsafe { Self::init_slow(slot, vtable, state, target) };
        };
        // SAFETY: `slot` is valid for writes by the function's contract.
        unsafe { slot.write(Self::with_owner(owner, vtable, state, target)) };
    }

    /// Initialises a node if its owner is not in the cache.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`Self::init`].
    #[cold]
    #[inline(never)]
    unsafe fn init_slow(slot: *mut Self, vtable: &'static Vtable, state: usize, target: usize) {
        // SAFETY: `slot` is valid for writes by the function's contract.
        unsafe { slot.write(Self::new(vtable, state, target)) };
    }

    pub(super) fn new(vtable: &'static Vtable, state: usize, target: usize) -> Self {
        Self::with_owner(Self::owner_of(vtable), vtable, state, target)
    }

    /// Assigns an unlinked node to the module that adds it.
    ///
    /// Another module may have created the item, or have added it before, and may have been
    /// unloaded since. Comparing the address of the vtable is not sufficient: a module that is
    /// loaded at the address of a former module has the same addresses and another record.
    ///
    /// # Safety
    ///
    /// `this` must be valid, not linked, and owned by the caller. `vtable` must be that of the
    /// pointer that the node comes from.
    #[inline(always)]
    pub(super) unsafe fn adopt(this: NonNull<Self>, vtable: &'static Vtable) {
        let owner = match Owner::of_cached(vtable.run as *const ()) {
            Some(owner) => owner,
            None => Self::owner_of(vtable),
        };
        let this = this.as_ptr();
        // Do not write the state: other tasks may read it.
        //
        // SAFETY: The node is valid and owned by the caller, by the function's contract. Other
        // tasks read these fields only while the node is linked.
        // INVARIANT: All four values belong to the module that contains `vtable.run`.
        unsafe {
            (&raw mut (*this).run).write(vtable.run);
            (&raw mut (*this).vtable).write(vtable);
            (&raw mut (*this).pins).write(owner.pins());
            (&raw mut (*this).owner).write(owner);
        }
    }

    #[cold]
    #[inline(never)]
    fn owner_of(vtable: &'static Vtable) -> &'static Owner {
        Owner::of(vtable.run as *const ()).unwrap_or_else(|_| Owner::unknown())
    }

    /// Returns the functions of the node.
    ///
    /// # Safety
    ///
    /// The owner of the node must be pinned by the node or kept loaded by other means, for as long
    /// as the result is used.
    pub(super) unsafe fn vtable(&self) -> &'static Vtable {
        // SAFETY: By the type's invariants the vtable is in the memory of the owner, which is
        // loaded by the function's contract.
        unsafe { &*self.vtable }
    }

    #[inline(always)]
    fn with_owner(
        owner: &'static Owner,
        vtable: &'static Vtable,
        state: usize,
        target: usize,
    ) -> Self {
        Self {
            head: bindings::callback_head {
                next: ptr::null_mut(),
                func: Some(match vtable.kind {
                    Kind::Box { .. } | Kind::Queue => run_box,
                    Kind::Arc { .. } | Kind::Closure { .. } => run_work,
                }),
            },
            run: vtable.run,
            vtable,
            pins: owner.pins(),
            owner,
            state: State::new(state, target),
            link: Atomic::new(ptr::null_mut()),
        }
    }
}
