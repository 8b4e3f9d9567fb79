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
    Mode,
    Node,
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
/// The kernel's own list of a task is last in, first out. This is one entry in it, and a list of
/// its own; adding to it takes the same time however long it is. An item that is added while others
/// run comes after all that were added before it, and so does one that is added again.
///
/// Items are those that [`add`](super::add) takes. While they are pending they pin their modules,
/// can be cancelled and waited for, just as if they were in the task's list. They run one after the
/// other, in one go. A queue that is dropped with items pending is freed when these have run.
///
/// # Context
///
/// A queue may be dropped in any context but NMI. Its lock is a raw spinlock, under which
/// interrupts are disabled; it is not held while an item runs, so that a panic in a callback does
/// not block tasks that add to the queue. Items behind that callback are never run then.
///
/// # Examples
///
/// ```
/// use kernel::{
///     prelude::*,
///     task::Task,
///     task_work::{
///         Mode,
///         Ordered, //
///     }, //
/// };
///
/// fn first_and_second(task: &Task) -> Result {
///     let queue = Ordered::new(task, Mode::Resume)?;
///     queue.add_fn(|_| pr_info!("first\n"), GFP_KERNEL)?;
///     queue.add_fn(|_| pr_info!("second\n"), GFP_KERNEL)?;
///     // They run also if the queue is dropped here.
///     Ok(())
/// }
/// # // This runs in a kernel thread, which is refused.
/// # assert_eq!(first_and_second(current!()), Err(EINVAL));
/// ```
///
/// # Invariants
///
/// `node` is queued to `target`, or is being run by it, while the list in `fifo` is linked; then a
/// reference is held for that.
#[pin_data(PinnedDrop)]
pub struct Ordered {
    #[pin]
    node: Opaque<Node>,
    target: ARef<Task>,
    mode: Mode,
    #[pin]
    fifo: RawLock<Fifo>,
    /// In the list of all queues.
    #[pin]
    links: Opaque<bindings::list_head>,
}

/// The pending nodes, linked by their heads.
///
/// # Invariants
///
/// `last` is the last node of the list that begins at `first`, if that is not empty.
struct Fifo {
    first: *mut bindings::callback_head,
    last: *mut bindings::callback_head,
    linked: bool,
}

// SAFETY: The list owns its nodes, whose items are `Send`.
unsafe impl Send for Fifo {}

// SAFETY: The fields that change are protected by the lock; the node belongs to the task that runs
// it.
unsafe impl Send for Ordered {}
// SAFETY: As above.
unsafe impl Sync for Ordered {}

/// All queues: their pending works are in no task's list.
static QUEUES: SetOnce<Pin<KBox<RawLock<Queues>>>> = SetOnce::new();

/// The head of their list.
struct Queues(KBox<Opaque<bindings::list_head>>);

// SAFETY: The list is only touched under the lock that this is in.
unsafe impl Send for Queues {}

/// Sets the list of queues up, once, before there can be one.
pub(super) fn init() -> Result {
    let head = KBox::new(Opaque::uninit(), GFP_KERNEL)?;
    // SAFETY: The head is valid for writes, and does not move in its box.
    unsafe { bindings::INIT_LIST_HEAD(head.get()) };
    // SAFETY: The function initialises a lock.
    let lock = unsafe { RawLock::new(Queues(head), bindings::tether_queues_lock_init) };
    QUEUES.populate(KBox::pin_init(lock, GFP_KERNEL)?);
    Ok(())
}

impl Fifo {
    /// The nodes that are pending.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: A node in the list is valid until it is run or passed, which the target
            // begins by taking the list, under the lock that is held while `self` is borrowed.
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

    /// Makes a queue to `task`, which is notified according to `mode` when the queue has works.
    ///
    /// # Context
    ///
    /// Process context. May sleep, to allocate memory.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if the task is a kernel thread;
    /// * [`ENOMEM`] if there is not enough memory.
    pub fn new(task: &Task, mode: Mode) -> Result<Arc<Self>> {
        if is_kernel_thread(task) {
            return Err(EINVAL);
        }
        let queues = QUEUES.as_ref().ok_or(ENODEV)?;
        let fifo = Fifo {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            linked: false,
        };
        // SAFETY: The function initialises a lock.
        let fifo = unsafe { RawLock::new(fifo, bindings::tether_queue_lock_init) };
        let this = Arc::pin_init(
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
        // SAFETY: Both are initialised, the lock is held, and our drop takes it off again.
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

    /// Adds an item behind those that are pending.
    ///
    /// An `Arc` whose callback is running may be added again, as by [`add`](super::add): the
    /// callback is called once more, after the works that were added before.
    ///
    /// # Context
    ///
    /// Any context but NMI. Does not sleep, and allocates nothing. The caller must not hold the
    /// `pi_lock` of a task.
    ///
    /// # Errors
    ///
    /// The item comes back as from [`add`](super::add).
    pub fn add<P, const ID: u64>(self: &Arc<Self>, item: P) -> Result<(), Refused<P>>
    where
        P: TaskWorkPointer<ID>,
    {
        // SAFETY: The node stays valid until it is run, and is queued to the target.
        add_by(&self.target, item, |node| unsafe { self.push(node) })
    }

    /// Adds a closure behind those that are pending. It is boxed: one allocation.
    ///
    /// # Context
    ///
    /// Any context but NMI in which an allocation with `flags` is allowed.
    ///
    /// # Errors
    ///
    /// The closure comes back as from [`add_fn`](super::add_fn).
    pub fn add_fn<F>(self: &Arc<Self>, func: F, flags: Flags) -> Result<Pending<F>, Refused<F>>
    where
        F: FnOnce(&Context<'_>) + Send + 'static,
    {
        // SAFETY: The node stays valid until it is run, and is queued to the target.
        add_fn_by(&self.target, func, flags, |node| unsafe { self.push(node) })
    }

    /// Queues a node.
    ///
    /// # Safety
    ///
    /// As [`add_node`].
    #[inline(never)]
    unsafe fn push(self: &Arc<Self>, node: NonNull<Node>) -> Result {
        // SAFETY: The node is valid and ours, by the function's contract.
        let this = unsafe { node.as_ref() };
        // SAFETY: The caller has given up the node, and its module contains the vtable.
        let is_box = matches!(unsafe { this.vtable() }.kind, Kind::Box { .. });
        if !is_box && orphans::may_be_full(&self.target) && orphans::is_full_on(&self.target) {
            return Err(EAGAIN);
        }
        // Also if the queue is linked: its callback may have panicked, and does not return while
        // items are added.
        if is_refused_at_end(&self.target) {
            return Err(ESRCH);
        }
        this.state.stamp(jiffies() as u32);
        let owner = this.owner;
        owner.pin()?;
        let head: *mut bindings::callback_head = node.as_ptr().cast();
        // SAFETY: The head is at the beginning of the node, which is ours.
        unsafe { (*head).next = ptr::null_mut() };

        let mut fifo = self.fifo.lock();
        if !fifo.linked {
            // Before the node is in the list: if this fails, the queue is as before.
            let own = NonNull::from(&self.node).cast::<Node>();
            // The reference for the node.
            let _ = Arc::into_raw(self.clone());
            // The target takes the lock before it reads the list.
            //
            // SAFETY: The node is in no list, as `linked` is not set. The reference above keeps it
            // valid until it is run.
            if let Err(error) = unsafe { add_node(&self.target, own, self.mode) } {
                drop(fifo);
                // SAFETY: The reference was not given away.
                drop(unsafe { Arc::from_raw(Arc::as_ptr(self)) });
                // SAFETY: The pin was taken above, and the node was not queued.
                unsafe { owner.unpin() };
                return Err(error);
            }
            fifo.linked = true;
        }
        if fifo.first.is_null() {
            fifo.first = head;
        } else {
            // SAFETY: By the invariants of the list this is its last node, which is valid.
            unsafe { (*fifo.last).next = head };
        }
        fifo.last = head;
        Ok(())
    }

    /// Runs what is in the list, until nothing is.
    ///
    /// # Safety
    ///
    /// The node must be that of a queue which was linked; the reference for that is used.
    unsafe fn run(node: NonNull<Node>) {
        let this = Opaque::cast_from(node.as_ptr().cast_const()).cast_mut();
        // SAFETY: By the function's contract.
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
                // SAFETY: A node of the list is valid until it is run, and this task has taken the
                // list.
                next = unsafe { (*head).next };
                // SAFETY: The node is valid until it is run. This is the target, which would call
                // this function.
                if let Some(func) = unsafe { (*head).func } {
                    // SAFETY: As above.
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
            // SAFETY: It is in the list, or in none, and the lock is held.
            unsafe { bindings::tether_list_del_init(self.links.get()) };
        }
    }
}

/// Calls `seen` for each node that is pending in a queue, with the address of its task; only in
/// queues to `target`, if there is one. `seen` is called with interrupts disabled.
pub(super) fn for_each_pending(target: Option<&Task>, seen: &mut impl FnMut(usize, &Node)) {
    let Some(queues) = QUEUES.as_ref() else {
        return;
    };
    let queues = queues.lock();
    let head = queues.0.get();
    // SAFETY: The head is initialised, and the lock is held.
    let mut links = unsafe { (*head).next };
    while !ptr::eq(links, head) {
        let field = Opaque::cast_from(links.cast_const()).cast_mut();
        // SAFETY: The entries of the list are the `links` of queues. A queue removes itself in its
        // destructor, under the lock.
        let queue = unsafe { &*container_of!(field, Ordered, links) };
        if target.is_none_or(|target| ptr::eq(target.as_ptr(), queue.target.as_ptr())) {
            for node in queue.fifo.lock().nodes() {
                seen(queue.target.as_ptr() as usize, node);
            }
        }
        // SAFETY: The lock is held.
        links = unsafe { (*links).next };
    }
}
