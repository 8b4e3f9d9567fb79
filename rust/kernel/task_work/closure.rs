// SPDX-License-Identifier: GPL-2.0

//! Closures that are added to a task: [`add_fn`], the handle [`Pending`], and the allocation that
//! contains the node and the closure.

use super::{
    add::add_node,
    node::Kind,
    orphans,
    state::{
        self,
        WaitLimit, //
    },
    Cancel,
    Context,
    Node,
    NotifyMode,
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
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::{
        self,
        NonNull, //
    }, //
};

/// The part of a boxed closure that does not depend on the closure's type.
///
/// # Invariants
///
/// It is at the beginning of an allocation by `kmalloc`, which is not freed while `refs` is not
/// zero. The list holds one reference while the node is linked, and the [`Pending`] holds one.
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
    /// The node must be that of a closure, and the closure must have at least one reference during
    /// the call.
    pub(super) unsafe fn get(node: &Node) {
        // SAFETY: By the function's contract the node is that of a closure, so it is at the
        // beginning of a `ClosureHead`, and a reference keeps the memory valid.
        let this = unsafe { &*ptr::from_ref(node).cast::<Self>() };
        this.refs.fetch_add(1u32, Relaxed);
    }

    /// Returns whether the caller's reference is the only one. In this case no other task can take
    /// a reference, because that requires a reference or a linked node, which has a reference.
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
        // SAFETY: The list's reference, which belongs to the caller by the function's contract,
        // keeps the memory valid.
        let head = unsafe { this.as_ref() };
        // Without another reference there is no `Pending`, and nothing waits.
        if !head.is_last() {
            head.node.state.finish();
        }
        // SAFETY: `put()` requires a reference that is ours. The caller has claimed the node, so
        // the list's reference is ours.
        unsafe { Self::put(this) };
    }

    /// Drops a reference. The closure must have been taken out of the memory, or belong to another
    /// task that will take it out.
    ///
    /// # Safety
    ///
    /// The reference must be the caller's.
    #[inline(always)]
    pub(super) unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The caller's reference keeps the memory valid.
        let head = unsafe { this.as_ref() };
        if head.is_last() || head.refs.fetch_sub(1u32, Full) == 1 {
            // SAFETY: `kfree()` requires memory that was allocated by `kmalloc()`, which it was by
            // the type's invariants. The last reference was dropped, so the memory is no longer in
            // use.
            unsafe { bindings::kfree(this.as_ptr().cast()) };
        }
    }
}

/// A callback that runs once: a closure, or a closure and the place for its result.
pub(super) trait Callback: Send + 'static {
    fn call(self, context: &Context<'_>);
}

impl<F: FnOnce(&Context<'_>) + Send + 'static> Callback for F {
    #[inline(always)]
    fn call(self, context: &Context<'_>) {
        self(context);
    }
}

/// A boxed closure.
///
/// # Invariants
///
/// `func` is initialised until the state of the node is no longer [`state::QUEUED`]. Then `func`
/// belongs to the thread that has changed the state.
#[repr(C)]
pub(super) struct Closure<F> {
    head: ClosureHead,
    func: UnsafeCell<MaybeUninit<F>>,
}

impl<F: Callback> Closure<F> {
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
            // `KBox` allocates by `krealloc()`, which takes twice as long.
            //
            // SAFETY: `tether_kmalloc()` has no requirements. Its memory is aligned for a `u64`.
            NonNull::new(unsafe { bindings::tether_kmalloc(size_of::<Self>()) }.cast())
        } else {
            let memory = KBox::<Self>::new_uninit(flags).ok()?;
            Some(NonNull::from(KBox::leak(memory)).cast())
        }
    }

    /// Takes the closure out of its memory.
    ///
    /// # Safety
    ///
    /// The caller must own the closure, because it has changed the state of the node from `QUEUED`.
    /// This must be called once.
    unsafe fn take(&self) -> F {
        // SAFETY: `assume_init_read()` requires an initialised value that is not read again. By the
        // type's invariants `func` is initialised, and by the function's contract it belongs to the
        // caller, which takes it once.
        unsafe { (*self.func.get()).assume_init_read() }
    }

    /// # Safety
    ///
    /// The node must be that of a `Closure<F>` that the caller has claimed. The list's reference is
    /// used.
    unsafe fn run(node: NonNull<Node>) {
        // SAFETY: By the function's contract the node is that of a `Closure<F>`, which begins with
        // the node. The list's reference keeps it valid.
        let this = unsafe { node.cast::<Self>().as_ref() };
        // SAFETY: `take()` requires that the closure is ours. The caller has claimed the node, and
        // the closure is taken once.
        let func = unsafe { this.take() };
        // SAFETY: `Context::new()` requires a callback that does not keep the context. `run` is
        // called as a callback, and `func` accepts a reference of any lifetime.
        func.call(unsafe { Context::new() });
        // SAFETY: `finish()` requires a claimed node without a closure. The caller has claimed the
        // node, and the closure was taken out above.
        unsafe { ClosureHead::finish(node.cast()) };
    }

    /// # Safety
    ///
    /// The node must be that of a `Closure<F>` that was disarmed or cancelled by the caller, which
    /// must have a reference.
    unsafe fn discard(node: NonNull<Node>) {
        // SAFETY: By the function's contract the node is that of a `Closure<F>`, which begins with
        // the node. The closure belongs to the caller, and is taken once.
        drop(unsafe { node.cast::<Self>().as_ref().take() });
    }
}

/// Cancels the closure of a node, if it has not begun to run. The closure then belongs to `take`,
/// which takes it out while its owner is still pinned.
fn cancel<R>(node: &Node, take: impl FnOnce() -> R) -> Option<R> {
    if !node.state.orphan() {
        return None;
    }
    orphans::add(node.state.load().target());
    let taken = take();
    // SAFETY: `unpin()` requires a pin that is ours. `orphan()` has changed the state from
    // `QUEUED`, so the pin of the node is ours and is dropped once. If an instance of this function
    // is in the text of the owner, its caller is as well: that text is mapped while the caller
    // runs.
    unsafe { node.owner.unpin() };
    Some(taken)
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

// SAFETY: The closure is `Send`, so that the owner of the `Pending` may take the closure out in any
// task. The node and the references are shared through atomics.
unsafe impl<F: Send> Send for Pending<F> {}
// SAFETY: A shared reference only gives access to the state of the node, which is atomic. The
// closure itself is only accessed by value, through `cancel()`.
unsafe impl<F: Send> Sync for Pending<F> {}

impl<F> Pending<F> {
    fn node(&self) -> &Node {
        // SAFETY: The reference that this `Pending` holds keeps the memory valid.
        unsafe { &self.closure.as_ref().head.node }
    }

    /// Returns whether the closure has run and returned, was dropped by teardown of its module, or
    /// is otherwise neither pending nor running.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_done(&self) -> bool {
        !self.node().state.load().is_busy()
    }

    /// Waits until the closure has run, or was dropped by teardown of its module.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. In an interrupt, fails if it would have to wait.
    ///
    /// # Errors
    ///
    /// * [`ERESTARTSYS`] if a signal is pending;
    /// * [`EDEADLK`] if the current task is the target of the closure; in an interrupt, which
    ///   cannot wait; and in the exit of a task, and in a kernel thread that Tether has not
    ///   created, because they receive no signals, unless the wait is limited to at most a minute.
    pub fn wait(&self) -> Result {
        self.node().state.wait(WaitLimit::signal(Jiffies::MAX))
    }

    /// Waits like [`Pending::wait`], but for at most `time`, which is rounded up to whole ticks.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, interruptibly. In an interrupt, fails if it would have to wait.
    ///
    /// # Errors
    ///
    /// Fails like [`Pending::wait`], or with [`ETIMEDOUT`] if `time` has passed.
    pub fn wait_timeout(&self, time: Delta) -> Result {
        self.node().state.wait(WaitLimit::signal(as_jiffies(time)))
    }

    /// Waits like [`Pending::wait`], but only a fatal signal ends the wait.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, killably. In an interrupt, fails if it would have to wait.
    ///
    /// # Errors
    ///
    /// * [`EINTR`] if the current task is being killed, or is a kernel thread that is requested to
    ///   stop;
    /// * [`EDEADLK`] as for [`Pending::wait`].
    pub fn wait_killable(&self) -> Result {
        self.node().state.wait(WaitLimit::kill(Jiffies::MAX))
    }

    /// Waits like [`Pending::wait`], for at most `time`, and no signal ends the wait.
    ///
    /// # Context
    ///
    /// Process context. Sleeps, uninterruptibly. In an interrupt, fails if it would have to wait.
    ///
    /// # Errors
    ///
    /// * [`ETIMEDOUT`] if `time` has passed;
    /// * [`EINVAL`] if `time` is more than a minute, and the closure is pending or running;
    /// * [`EDEADLK`] as for [`Pending::wait`].
    pub fn wait_uninterruptible(&self, time: Delta) -> Result {
        self.node().state.wait(WaitLimit::time(as_jiffies(time)))
    }

    /// Cancels the closure if it has not begun to run, and returns it. The closure does not pin its
    /// module any more.
    ///
    /// The memory of the closure stays allocated until the target reaches the node. The number of
    /// such closures on one target is limited: see [`add_fn`].
    ///
    /// # Context
    ///
    /// Any context but NMI. Does not sleep.
    #[doc(alias = "task_work_cancel")]
    pub fn cancel(self) -> Cancel<F>
    where
        F: FnOnce(&Context<'_>) + Send + 'static,
    {
        // SAFETY: `take()` requires that the closure is ours, which it is by the contract of
        // `cancel()`; it is taken once.
        let func = cancel(self.node(), || unsafe { self.closure.as_ref().take() });
        func.map_or(Cancel::TooLate, Cancel::Cancelled)
    }
}

/// A [`Pending`] without the type of the closure.
///
/// # Invariants
///
/// It holds a reference to the closure.
pub(super) struct PendingHead(NonNull<ClosureHead>);

// SAFETY: The node and the references are shared through atomics. `cancel()` drops the closure,
// which is `Send`.
unsafe impl Send for PendingHead {}
// SAFETY: A shared reference only gives access to the state of the node, which is atomic.
unsafe impl Sync for PendingHead {}

impl<F: Callback> From<Pending<F>> for PendingHead {
    fn from(pending: Pending<F>) -> Self {
        // INVARIANT: The reference of `pending` passes to the new value.
        Self(ManuallyDrop::new(pending).closure.cast())
    }
}

impl PendingHead {
    pub(super) fn node(&self) -> &Node {
        // SAFETY: By the type's invariants a reference keeps the memory valid.
        unsafe { &self.0.as_ref().node }
    }

    /// Drops the closure if it has not begun to run. Returns whether it was dropped.
    pub(super) fn cancel(&self) -> bool {
        let drop_closure = || {
            // SAFETY: `vtable()` requires that the owner is pinned, which it is by the contract of
            // `cancel()`.
            if let Kind::Closure { discard } = unsafe { self.node().vtable() }.kind {
                // SAFETY: `discard()` requires the node of a closure that belongs to the caller,
                // which it does by the contract of `cancel()`.
                unsafe { discard(self.0.cast()) };
            }
        };
        cancel(self.node(), drop_closure).is_some()
    }
}

impl Drop for PendingHead {
    fn drop(&mut self) {
        // SAFETY: `put()` requires a reference that is ours, which it is by the type's invariants.
        unsafe { ClosureHead::put(self.0) };
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
        // SAFETY: `put()` requires a reference that is ours. The `Pending` holds one, which is
        // dropped once.
        unsafe { ClosureHead::put(self.closure.cast()) };
    }
}

/// Adds a closure to `task`, which will call it. The closure is boxed, which takes one allocation.
///
/// # Context
///
/// Any context but NMI in which an allocation with `flags` is allowed.
///
/// # Errors
///
/// The error returns the closure, with
///
/// * [`ENOMEM`] if the closure could not be boxed;
/// * [`EAGAIN`] if several thousand cancelled works are still linked on the task, because the task
///   has not run since;
/// * [`ESRCH`], [`EINVAL`] or [`ENODEV`] as for [`add`](fn@super::add).
pub fn add_fn<F>(
    task: &Task,
    func: F,
    mode: NotifyMode,
    flags: Flags,
) -> Result<Pending<F>, Refused<F>>
where
    F: FnOnce(&Context<'_>) + Send + 'static,
{
    add_callback(task, func, mode, flags)
}

/// As [`add_fn`], for any callback.
pub(super) fn add_callback<F: Callback>(
    task: &Task,
    func: F,
    mode: NotifyMode,
    flags: Flags,
) -> Result<Pending<F>, Refused<F>> {
    add_fn_by(task, func, flags, |node| {
        if orphans::may_be_full(task) && orphans::is_full_on(task) {
            return Err(EAGAIN);
        }
        // SAFETY: `add_node()` requires a node that is ours, for `task`. `add_fn_by()` passes the
        // node of a new closure with `task` as its target, and takes the closure back if this
        // fails.
        unsafe { add_node(task, node, mode) }
    })
}

/// Boxes `func` and passes its node to `queue`. If `queue` fails, returns `func` in the error.
pub(super) fn add_fn_by<F>(
    task: &Task,
    func: F,
    flags: Flags,
    queue: impl FnOnce(NonNull<Node>) -> Result,
) -> Result<Pending<F>, Refused<F>>
where
    F: Callback,
{
    let Some(closure) = Closure::<F>::allocate(flags) else {
        return Err(Refused::new(func, ENOMEM));
    };
    let raw = closure.as_ptr();
    // Initialise the closure in place, to avoid a copy through the stack.
    //
    // SAFETY: `Node::init()` requires a slot that is valid for writes, and a vtable of the module
    // that contains its functions. The memory was allocated above for a `Closure<F>`, and is ours.
    unsafe {
        Node::init(
            &raw mut (*raw).head.node,
            &Closure::<F>::VTABLE,
            state::QUEUED,
            task.as_ptr() as usize,
        )
    };
    // INVARIANT: One reference belongs to the list, and one to the `Pending`.
    //
    // SAFETY: The memory was allocated above for a `Closure<F>`, so that it is ours and valid for
    // writes.
    unsafe { (&raw mut (*raw).head.refs).write(Atomic::new(2)) };
    // INVARIANT: The state is `QUEUED`, and `func` is initialised here.
    // SAFETY: The memory was allocated above for a `Closure<F>`, so that it is ours and valid for
    // writes.
    unsafe { (&raw mut (*raw).func).write(UnsafeCell::new(MaybeUninit::new(func))) };
    match queue(closure.cast()) {
        Ok(()) => Ok(Pending {
            closure,
            _closure: PhantomData,
        }),
        Err(error) => {
            // SAFETY: `from_raw()` requires memory that a `KBox` may free. It was allocated by
            // `kmalloc()` with the layout of `Closure<F>`, and no other reference exists, because
            // the node was not queued.
            let closure = unsafe { KBox::from_raw(closure.as_ptr()) };
            // SAFETY: `take()` requires that the closure is ours. The node was not queued, so that
            // the closure was not run. The rest of the box has no destructor, so that `func` is not
            // dropped twice.
            Err(Refused::new(unsafe { closure.take() }, error))
        }
    }
}
