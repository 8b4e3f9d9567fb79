// SPDX-License-Identifier: GPL-2.0

//! Closures as task works.

use super::{
    add::add_node,
    node::Kind,
    orphans,
    state,
    Cancel,
    Context,
    Mode,
    Node,
    Vtable, //
};
use crate::{
    alloc::Flags,
    bindings,
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    task::Task,
    tether::{
        as_jiffies,
        load_acquire,
        Refused, //
    },
    time::{
        Delta,
        Jiffies, //
    }, //
};
use core::{
    any::type_name,
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// The part of a boxed closure that does not depend on its type.
///
/// # Invariants
///
/// It is at the beginning of an allocation by `kmalloc`, which stays as long as `refs` is not zero:
/// one is the list's, while the node is linked, and one the [`Pending`]'s.
#[repr(C)]
pub(super) struct ClosureHead {
    node: Node,
    refs: Atomic<u32>,
}

impl ClosureHead {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// The node must be that of a closure, and there must be a reference.
    pub(super) unsafe fn get(node: &Node) {
        // SAFETY: By the function's contract; the node is at the beginning.
        let this = unsafe { &*ptr::from_ref(node).cast::<Self>() };
        this.refs.fetch_add(1u32, Relaxed);
    }

    /// Whether the caller's reference is the only one. Then no other task can copy one: that needs
    /// a reference, or a linked node, which has one.
    #[inline(always)]
    fn is_last(&self) -> bool {
        load_acquire(&self.refs) == 1
    }

    /// Ends the run of a closure, and drops the list's reference.
    ///
    /// # Safety
    ///
    /// The caller must have claimed the node, and taken the closure out of it.
    unsafe fn finish(this: NonNull<Self>) {
        // SAFETY: The list's reference keeps it valid.
        let head = unsafe { this.as_ref() };
        // Without another reference there is no `Pending`, and nothing waits.
        if !head.is_last() {
            head.node.state.finish();
        }
        // SAFETY: The list's reference is the caller's, and the closure was taken out.
        unsafe { Self::put(this) };
    }

    /// Drops a reference. The closure must have been taken out of it, or be taken by others.
    ///
    /// # Safety
    ///
    /// The reference must be the caller's.
    #[inline(always)]
    pub(super) unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The reference keeps it valid.
        let head = unsafe { this.as_ref() };
        if head.is_last() || head.refs.fetch_sub(1u32, Full) == 1 {
            // SAFETY: It was allocated by `kmalloc`, and this was the last reference.
            unsafe { bindings::kfree(this.as_ptr().cast()) };
        }
    }
}

/// A boxed closure.
///
/// # Invariants
///
/// `func` is initialised until the state of the node is no longer [`state::QUEUED`]; then it belongs
/// to the thread that has changed the state.
#[repr(C)]
pub(super) struct Closure<F> {
    head: ClosureHead,
    func: UnsafeCell<MaybeUninit<F>>,
}

impl<F> Closure<F>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    const VTABLE: Vtable = Vtable {
        name: type_name::<F>,
        kind: Kind::Closure {
            discard: Self::discard,
        },
        run: Self::run,
    };

    /// Allocates the memory of a closure, by `kmalloc`.
    #[inline]
    fn allocate(flags: Flags) -> Option<NonNull<Self>> {
        if flags == GFP_KERNEL && align_of::<Self>() <= align_of::<u64>() {
            // `KBox` goes through `krealloc()`, which takes twice as long.
            //
            // SAFETY: The function has no requirements. Its memory is aligned for a `u64`.
            NonNull::new(unsafe { bindings::tether_kmalloc(size_of::<Self>()) }.cast())
        } else {
            let memory = KBox::<Self>::new_uninit(flags).ok()?;
            Some(NonNull::from(KBox::leak(memory)).cast())
        }
    }

    /// Takes the closure out.
    ///
    /// # Safety
    ///
    /// The caller must own the closure, because it has changed the state of the node accordingly.
    unsafe fn take(&self) -> F {
        // SAFETY: It is there, and ours, by the function's contract and the type's invariants.
        unsafe { (*self.func.get()).assume_init_read() }
    }

    /// # Safety
    ///
    /// The node must be that of a `Closure<F>` which the caller has claimed; the list's reference
    /// is used.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: By the function's contract; the node is at the beginning.
        let this = unsafe { node.cast::<Self>().as_ref() };
        // SAFETY: Who runs it has changed its state.
        let func = unsafe { this.take() };
        // SAFETY: This is a callback.
        func(unsafe { Context::new() });
        // SAFETY: The closure has returned, and the list's reference is ours.
        unsafe { ClosureHead::finish(node.cast()) };
    }

    /// # Safety
    ///
    /// The node must be that of a `Closure<F>` that was disarmed.
    unsafe fn discard(node: NonNull<Node>) {
        // SAFETY: By the function's contract; the node is at the beginning.
        drop(unsafe { node.cast::<Self>().as_ref().take() });
    }
}

/// A closure that was added to a task.
///
/// The closure runs even if this handle is dropped or leaked: the handle serves to cancel it or to
/// wait for it. It may be dropped in any context but NMI.
///
/// `F` selected the callback when the closure was added, so that the type is invariant in `F`.
pub struct Pending<F> {
    closure: NonNull<Closure<F>>,
    _closure: PhantomData<*mut F>,
}

// SAFETY: The closure is `Send`, so that the owner of the `Pending` may take it out in any task.
unsafe impl<F: Send> Send for Pending<F> {}
// SAFETY: As above.
unsafe impl<F: Send> Sync for Pending<F> {}

impl<F> Pending<F> {
    fn node(&self) -> &Node {
        // SAFETY: Our reference keeps it valid.
        unsafe { &self.closure.as_ref().head.node }
    }

    /// Returns whether the closure has run and has returned, or was dropped by the teardown of its
    /// module.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_done(&self) -> bool {
        !self.node().state.load().is_busy()
    }

    /// Waits until the closure has run, or was dropped by the teardown of its module.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not
    /// wait.
    ///
    /// # Errors
    ///
    /// * [`ERESTARTSYS`] if a signal came;
    /// * [`EDEADLK`] if the current task is the one that is to run the closure, or is running it;
    ///   in an interrupt, which cannot wait; and in the exit of a task, which gets no signals,
    ///   unless the wait is limited to a minute.
    pub fn wait(&self) -> Result {
        self.node().state.wait(Jiffies::MAX)
    }

    /// Like [`Pending::wait`], but no longer than `time`, which is rounded up to whole ticks.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. In an interrupt it is refused, unless it would not
    /// wait.
    ///
    /// # Errors
    ///
    /// Fails like [`Pending::wait`], or with [`ETIMEDOUT`] once `time` is over.
    pub fn wait_timeout(&self, time: Delta) -> Result {
        self.node().state.wait(as_jiffies(time))
    }

    /// Takes the closure back, if it has not begun to run. Its module is not pinned any more.
    ///
    /// The memory of the closure stays allocated until the target passes it. The number of such
    /// closures on one target is limited: see [`add_fn`].
    ///
    /// # Context
    ///
    /// Any context but NMI. Does not sleep.
    #[doc(alias = "task_work_cancel")]
    pub fn cancel(self) -> Cancel<F>
    where
        F: FnOnce(&Context<'_>) + Send + 'static,
    {
        let node = self.node();
        if !node.state.orphan() {
            return Cancel::TooLate;
        }
        orphans::add(node.state.load().target());
        // SAFETY: `orphan` has changed the state, so that the closure is ours.
        let func = unsafe { self.closure.as_ref().take() };
        // SAFETY: The pin of the node is ours for the same reason, and is dropped once.
        unsafe { node.owner.unpin() };
        Cancel::Cancelled(func)
    }
}

impl<F> fmt::Debug for Pending<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}

impl<F> Drop for Pending<F> {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { ClosureHead::put(self.closure.cast()) };
    }
}

/// Adds a closure to `task`, which will call it. It is boxed: one allocation.
///
/// # Context
///
/// Any context but NMI in which an allocation with `flags` is allowed.
///
/// # Errors
///
/// The closure comes back with
///
/// * [`ENOMEM`] if it could not be boxed;
/// * [`EAGAIN`] if several thousand cancelled works are still linked on the task, because the task
///   has not run since;
/// * [`ESRCH`], [`EINVAL`] or [`ENODEV`] as for [`add`].
pub fn add_fn<F>(task: &Task, func: F, mode: Mode, flags: Flags) -> Result<Pending<F>, Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    add_fn_by(task, func, flags, |node| {
        if orphans::may_be_full(task) && orphans::is_full_on(task) {
            return Err(EAGAIN);
        }
        // SAFETY: The node is queued to `task` by its state, and stays valid until it is run.
        unsafe { add_node(task, node, mode) }
    })
}

/// Boxes `func`, and gives its node to `queue`; or takes it back.
pub(super) fn add_fn_by<F>(
    task: &Task,
    func: F,
    flags: Flags,
    queue: impl FnOnce(NonNull<Node>) -> Result,
) -> Result<Pending<F>, Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    let Some(closure) = Closure::<F>::allocate(flags) else {
        return Err(Refused::new(func, ENOMEM));
    };
    let raw = closure.as_ptr();
    // It is put together where it is: on the stack first it would be copied.
    //
    // SAFETY: The memory is ours, and valid for writes.
    unsafe {
        Node::init(
            &raw mut (*raw).head.node,
            &Closure::<F>::VTABLE,
            state::QUEUED,
            task.as_ptr() as usize,
        )
    };
    // INVARIANT: One reference is the list's, one the `Pending`'s.
    //
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).head.refs).write(Atomic::new(2)) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).func).write(UnsafeCell::new(MaybeUninit::new(func))) };
    match queue(closure.cast()) {
        Ok(()) => Ok(Pending {
            closure,
            _closure: PhantomData,
        }),
        Err(error) => {
            // SAFETY: The memory was leaked from a box above, and the node was not queued.
            let closure = unsafe { KBox::from_raw(closure.as_ptr()) };
            // SAFETY: The closure was not run, and the node was not queued, so that it is ours. The
            // rest of the box has no destructor.
            Err(Refused::new(unsafe { closure.take() }, error))
        }
    }
}
