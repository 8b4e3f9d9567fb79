// SPDX-License-Identifier: GPL-2.0

//! Works that run in the order in which they were added.

use super::{
    add::{
        add_by,
        add_node,
        is_refused_at_end, //
    },
    closure::add_fn_by,
    node::Kind,
    orphans,
    state::PENDING,
    Context,
    Node,
    NotifyMode,
    Pending,
    TaskWorkPointer,
    Vtable, //
};
use crate::{
    alloc::Flags,
    bindings,
    container_of,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        SetOnce, //
    },
    task::Task,
    tether::{
        is_kernel_thread,
        jiffies,
        list_head,
        raw_lock::RawLock,
        Refused, //
    },
    types::Opaque, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// A queue of works to one task, which run in the order in which they were added.
///
/// The kernel's own list of a task is last in, first out. A queue is one entry in that list and has
/// a list of its own. Adding an item takes constant time. An item that is added while others run,
/// or that is added again, runs after all items that were added before it.
///
/// The items are the same as for [`add`](super::add). While they are pending, they pin their
/// modules, can be cancelled and can be waited for, as in the task's list. The task runs all
/// pending items of the queue one after the other. If a queue is dropped while items are pending,
/// it is freed after these have run.
///
/// # Context
///
/// A queue may be dropped in any context but NMI. Its lock is a raw spinlock, under which
/// interrupts are disabled. The lock is not held while an item runs, so that a panic in a callback
/// does not block tasks that add to the queue. Items behind such a callback are never run.
///
/// # Examples
///
/// ```
/// use kernel::{
///     prelude::*,
///     task::Task,
///     task_work::{
///         NotifyMode,
///         Ordered, //
///     }, //
/// };
///
/// fn first_and_second(task: &Task) -> Result {
///     let queue = Ordered::new(task, NotifyMode::Resume)?;
///     queue.add_fn(|_| pr_info!("first\n"), GFP_KERNEL)?;
///     queue.add_fn(|_| pr_info!("second\n"), GFP_KERNEL)?;
///     // The closures run even if the queue is dropped here.
///     Ok(())
/// }
/// # // This runs in a kernel thread, which is refused.
/// # assert_eq!(first_and_second(current!()), Err(EINVAL));
/// ```
///
/// # Invariants
///
/// While `linked` is set in `fifo`, `node` is queued to `target` or is being run by it, and owns a
/// reference to the queue.
#[pin_data(PinnedDrop)]
pub struct Ordered {
    #[pin]
    node: Opaque<Node>,
    target: ARef<Task>,
    mode: NotifyMode,
    #[pin]
    fifo: RawLock<Fifo>,
    /// The entry in the list of all queues.
    #[pin]
    links: Opaque<bindings::list_head>,
}

/// The pending nodes, linked by their heads.
///
/// # Invariants
///
/// If the list that begins at `first` is not empty, `last` is its last node.
struct Fifo {
    first: *mut bindings::callback_head,
    last: *mut bindings::callback_head,
    linked: bool,
}

// SAFETY: The pointers refer to nodes that the list owns, and their items are `Send`.
unsafe impl Send for Fifo {}

// SAFETY: `fifo` and `links` are only changed under locks. `node` is only accessed by the thread
// that queues it, under the lock of `fifo`, and by the task that runs it. The other fields are
// `Send`.
unsafe impl Send for Ordered {}
// SAFETY: `fifo` and `links` are only changed under locks. `node` is only accessed by the thread
// that queues it, under the lock of `fifo`, and by the task that runs it. The other fields are
// `Sync`.
unsafe impl Sync for Ordered {}

/// The list of all queues, which is needed to find their pending works.
static QUEUES: SetOnce<Pin<KBox<RawLock<Queues>>>> = SetOnce::new();

/// The head of the list of queues.
struct Queues(KBox<Opaque<bindings::list_head>>);

// SAFETY: The list is only accessed under the lock that contains this value.
unsafe impl Send for Queues {}

/// Creates the list of queues, before any queue is created.
pub(super) fn init() -> Result {
    let head = KBox::new(Opaque::uninit(), GFP_KERNEL)?;
    // SAFETY: `INIT_LIST_HEAD()` requires a pointer that is valid for writes and does not move. The
    // head is in a box.
    unsafe { bindings::INIT_LIST_HEAD(head.get()) };
    // SAFETY: `RawLock::new()` requires a function that initialises a `raw_spinlock_t`;
    // `tether_queues_lock_init()` is one.
    let lock = unsafe { RawLock::new(Queues(head), bindings::tether_queues_lock_init) };
    QUEUES.populate(KBox::pin_init(lock, GFP_KERNEL)?);
    Ok(())
}

impl Fifo {
    /// Returns the pending nodes.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: `next` is null or a node in the list, which is valid until it is run or
            // released. The target takes the list under the lock before it runs a node, and the
            // lock is held while `self` is borrowed.
            let node = unsafe { next.cast::<Node>().as_ref() }?;
            next = node.head.next;
            Some(node)
        })
    }
}

impl Ordered {
    const VTABLE: Vtable = Vtable {
        name: core::any::type_name::<Self>,
        kind: Kind::Queue,
        run: Self::run,
    };

    /// Creates a queue to `task`. When the queue becomes non-empty, `task` is notified according to
    /// `mode`.
    ///
    /// # Context
    ///
    /// Process context. May sleep, to allocate memory.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if the task is a kernel thread;
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`ENODEV`] if Tether is not initialised.
    pub fn new(task: &Task, mode: NotifyMode) -> Result<Arc<Self>> {
        if is_kernel_thread(task) {
            return Err(EINVAL);
        }
        let queues = QUEUES.as_ref().ok_or(ENODEV)?;
        let fifo = Fifo {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            linked: false,
        };
        // SAFETY: `RawLock::new()` requires a function that initialises a `raw_spinlock_t`;
        // `tether_queue_lock_init()` is one.
        let fifo = unsafe { RawLock::new(fifo, bindings::tether_queue_lock_init) };
        let this = Arc::pin_init(
            // INVARIANT: `linked` is not set, and the list is empty.
            pin_init!(Self {
                node: Opaque::new(Node::new(&Self::VTABLE, PENDING, 0)),
                target: ARef::from(task),
                mode,
                fifo <- fifo,
                links <- list_head(),
            }),
            GFP_KERNEL,
        )?;
        let queues = queues.lock();
        // SAFETY: `list_add_tail()` requires an initialised head and an entry that is in no list,
        // which `list_head()` has initialised. The lock is held. The destructor removes the entry.
        unsafe { bindings::list_add_tail(this.links.get(), queues.0.get()) };
        Ok(this)
    }

    /// Returns the task that runs the works.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn target(&self) -> &Task {
        &self.target
    }

    /// Adds an item behind the pending items.
    ///
    /// An `Arc` may be added again while its callback runs, as by [`add`](super::add): the callback
    /// is called once more, after the works that were added before.
    ///
    /// # Context
    ///
    /// Any context but NMI. Does not sleep and does not allocate. The caller must not hold the
    /// `pi_lock` of a task.
    ///
    /// # Errors
    ///
    /// Fails like [`add`](super::add); the error returns the item.
    pub fn add<P, const ID: u64>(self: &Arc<Self>, item: P) -> Result<(), Refused<P>>
    where
        P: TaskWorkPointer<ID>,
    {
        // SAFETY: `push()` requires a node that is ours, for the target. `add_by()` passes a node
        // of `into_node()` for the target, and takes it back if this fails.
        add_by(&self.target, item, |node| unsafe { self.push(node) })
    }

    /// Adds a closure behind the pending items. The closure is boxed, which takes one allocation.
    ///
    /// # Context
    ///
    /// Any context but NMI in which an allocation with `flags` is allowed.
    ///
    /// # Errors
    ///
    /// Fails like [`add_fn`](super::add_fn); the error returns the closure.
    pub fn add_fn<F>(self: &Arc<Self>, func: F, flags: Flags) -> Result<Pending<F>, Refused<F>>
    where
        F: FnOnce(&Context<'_>) + Send + 'static,
    {
        // SAFETY: `push()` requires a node that is ours, for the target. `add_fn_by()` passes the
        // node of a new closure for the target, and takes it back if this fails.
        add_fn_by(&self.target, func, flags, |node| unsafe { self.push(node) })
    }

    /// Queues a node.
    ///
    /// # Safety
    ///
    /// The requirements are those of [`add_node`] with `self.target`.
    #[inline(never)]
    unsafe fn push(self: &Arc<Self>, node: NonNull<Node>) -> Result {
        // SAFETY: The node is valid, because by the function's contract the caller owns the item.
        let this = unsafe { node.as_ref() };
        // SAFETY: `vtable()` requires that the owner of the node stays loaded. The caller is in the
        // module that adds the item, and `adopt()` has assigned the node to that module.
        let is_box = matches!(unsafe { this.vtable() }.kind, Kind::Box { .. });
        if !is_box && orphans::may_be_full(&self.target) && orphans::is_full_on(&self.target) {
            return Err(EAGAIN);
        }
        // Check this even if the queue is linked: its callback may have panicked, or it may not
        // return while items are added.
        if is_refused_at_end(&self.target) {
            return Err(ESRCH);
        }
        this.state.stamp(jiffies() as u32);
        let owner = this.owner;
        owner.pin()?;
        let head: *mut bindings::callback_head = node.as_ptr().cast();
        // SAFETY: The head is at the beginning of the node, which is valid and ours.
        unsafe { (*head).next = ptr::null_mut() };

        let mut fifo = self.fifo.lock();
        if !fifo.linked {
            // Link the queue before the node is added: if this fails, the queue is unchanged.
            let own = NonNull::from(&self.node).cast::<Node>();
            // This reference belongs to `own`.
            let _ = Arc::into_raw(self.clone());
            // The target takes the lock before it reads the list.
            //
            // INVARIANT: The reference above belongs to `own`, and `linked` is set below, under the
            // lock.
            //
            // SAFETY: `add_node()` requires a node that is ours. `own` is in no list, because
            // `linked` is not set and the lock is held. The reference above keeps it valid until it
            // is run.
            if let Err(error) = unsafe { add_node(&self.target, own, self.mode) } {
                drop(fifo);
                // SAFETY: `Arc::from_raw()` requires a reference that was converted to a raw
                // pointer. The reference above was, and `own` was not queued.
                drop(unsafe { Arc::from_raw(Arc::as_ptr(self)) });
                // SAFETY: `unpin()` requires a pin that is ours. The pin was taken above, and the
                // node was not queued. This is permanent text.
                unsafe { owner.unpin() };
                return Err(error);
            }
            fifo.linked = true;
        }
        if fifo.first.is_null() {
            fifo.first = head;
        } else {
            // SAFETY: By the invariants of `Fifo`, `last` is the last node of a list that is not
            // empty. The lock is held, so that the target has not taken the list.
            unsafe { (*fifo.last).next = head };
        }
        fifo.last = head;
        Ok(())
    }

    /// Runs the pending nodes until the list is empty.
    ///
    /// # Safety
    ///
    /// The node must be that of a queue that was linked. The node's reference is used.
    unsafe fn run(node: NonNull<Node>) {
        let this = Opaque::cast_from(node.as_ptr().cast_const()).cast_mut();
        // SAFETY: By the function's contract `node` is the field of a queue in an `Arc`, and the
        // node's reference is ours; it is used once.
        let this = unsafe { Arc::from_raw(container_of!(this, Self, node).cast_const()) };
        loop {
            let mut next = {
                let mut fifo = this.fifo.lock();
                if fifo.first.is_null() {
                    // From here on the node may be queued again.
                    fifo.linked = false;
                    return;
                }
                core::mem::replace(&mut fifo.first, ptr::null_mut())
            };
            while !next.is_null() {
                let head = next;
                // SAFETY: `head` is valid until it is run or released. This task has taken the
                // list, so that no other task runs it.
                next = unsafe { (*head).next };
                // SAFETY: `head` is valid until it is run or released. This task is the target,
                // which runs it below.
                if let Some(func) = unsafe { (*head).func } {
                    // SAFETY: `func` is a function of nodes, which requires a queued node that
                    // belongs to the current task. The node was queued to this task, and the task
                    // has taken it off the list.
                    unsafe { func(head) };
                }
            }
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Ordered {
    fn drop(self: Pin<&mut Self>) {
        if let Some(queues) = QUEUES.as_ref() {
            let _guard = queues.lock();
            // SAFETY: `tether_list_del_init()` requires an initialised entry. The entry is in the
            // list, or was initialised by `list_head()` and is in no list. The lock is held.
            unsafe { bindings::tether_list_del_init(self.links.get()) };
        }
    }
}

/// Calls `seen` for each node that is pending in a queue, with the address of its task. If `target`
/// is given, only queues to this task are searched. `seen` is called with interrupts disabled.
pub(super) fn for_each_pending(target: Option<&Task>, seen: &mut impl FnMut(usize, &Node)) {
    let Some(queues) = QUEUES.as_ref() else {
        return;
    };
    let queues = queues.lock();
    let head = queues.0.get();
    // SAFETY: The head was initialised by `init()`, and the lock is held.
    let mut links = unsafe { (*head).next };
    while !ptr::eq(links, head) {
        let field = Opaque::cast_from(links.cast_const()).cast_mut();
        // SAFETY: Each entry of the list is the `links` of a queue. The queue is valid while it is
        // in the list, because its destructor removes the entry under the lock, which is held.
        let queue = unsafe { &*container_of!(field, Ordered, links) };
        if target.is_none_or(|target| ptr::eq(target.as_ptr(), queue.target.as_ptr())) {
            for node in queue.fifo.lock().nodes() {
                seen(queue.target.as_ptr() as usize, node);
            }
        }
        // SAFETY: `links` is in the list, which does not change while the lock is held.
        links = unsafe { (*links).next };
    }
}
