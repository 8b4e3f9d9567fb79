// SPDX-License-Identifier: GPL-2.0

//! Attachments: the callbacks of a module that can be waited for, and their teardown.
//!
//! An [`Attachment`] is in the list of its owner while the kernel may call it. The task that takes
//! the attachment off the list tears it down. This task is either a user of the attachment, or the
//! task that tears the module down, and never both.
//!
//! The models of this file are in `tests/model/tests/attached.rs`.

use super::{
    list_head,
    load_acquire,
    read_once,
    store_release,
    Owner,
    Refused, //
};
use crate::{
    bindings,
    container_of,
    new_condvar,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::smp_mb,
        CondVar,
        SpinLock, //
    },
    types::Opaque, //
};
use core::ptr;

/// The attachments of a module, and the number of tasks that teardown of the module waits for.
///
/// # Invariants
///
/// * `list` is a list of the `links` of [`Attachment`]s. Each attachment is valid and pinned while
///   it is in the list. The list is only accessed under `lock`.
/// * `entered` counts the tasks that have entered. A task is counted from before it reads `closed`
///   until after its last access to the module.
#[pin_data]
pub(crate) struct Attached {
    #[pin]
    lock: SpinLock<()>,
    #[pin]
    list: Opaque<bindings::list_head>,
    /// The number of tasks that tear an attachment of the module down, or that need the module for
    /// another reason.
    entered: Atomic<i32>,
    /// The module is being torn down: attaching fails.
    closed: Atomic<bool>,
    /// Notified when teardown of the module has ended an attachment.
    #[pin]
    ended: CondVar,
}

// SAFETY: `entered` and `closed` are atomic, `ended` is `Send`, and `list` is only accessed under
// `lock`, by the type's invariants.
unsafe impl Send for Attached {}
// SAFETY: `entered` and `closed` are atomic, `ended` is `Sync`, and `list` is only accessed under
// `lock`, by the type's invariants.
unsafe impl Sync for Attached {}

impl Attached {
    /// Creates an open list without attachments.
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: The list is empty, and no task has entered.
        pin_init!(Self {
            lock <- new_spinlock!((), "tether::Attached::lock"),
            list <- list_head(),
            entered: Atomic::new(0),
            closed: Atomic::new(false),
            ended <- new_condvar!("tether::Attached::ended"),
        })
    }

    /// Opens the list for a module that is being loaded.
    pub(super) fn open(&self) {
        self.closed.store(false, Relaxed);
    }

    /// Closes the list: entering and attaching fail from here on.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        // Pairs with the full barrier in `enter()`: either `enter()` reads `closed` as true, or
        // `is_entered()` counts the entering task.
        smp_mb(Full);
    }

    /// Returns whether the list is closed.
    pub(super) fn is_closed(&self) -> bool {
        read_once(&self.closed)
    }

    /// Enters the module: teardown waits until [`Attached::leave`] is called. Returns false, and
    /// does not enter, if teardown has begun.
    #[inline]
    pub(super) fn enter(&self) -> bool {
        self.entered.fetch_add(1, Full);
        if self.is_closed() {
            self.leave();
            return false;
        }
        true
    }

    /// Enters the module even if teardown has begun. The caller must ensure that teardown has not
    /// completed and cannot complete before this call.
    pub(super) fn enter_again(&self) {
        self.entered.fetch_add(1, Relaxed);
    }

    /// Undoes [`Attached::enter`]: teardown of the module does not wait for this caller any more.
    #[inline]
    pub(super) fn leave(&self) {
        // Pairs with `is_entered()`, so that all accesses of the caller to the module happen before
        // the module is freed.
        self.entered.fetch_sub(1, Release);
    }

    /// Returns whether a task is between [`Attached::enter`] and [`Attached::leave`].
    pub(super) fn is_entered(&self) -> bool {
        load_acquire(&self.entered) != 0
    }

    /// Calls `f` for each attachment, oldest first, until `f` returns `Some`, and returns that
    /// value. `f` is called under a spinlock.
    pub(super) fn find<R>(&self, mut f: impl FnMut(&Attachment) -> Option<R>) -> Option<R> {
        let _guard = self.lock.lock();
        self.find_locked(&mut f)
    }

    /// Implements [`Attached::find`]. The caller must hold the lock.
    fn find_locked<'a, R>(&'a self, mut f: impl FnMut(&'a Attachment) -> Option<R>) -> Option<R> {
        let head = self.list.get();
        // SAFETY: `head` was initialised by `list_head()` and is valid as long as `self`. The lock
        // is held, so `next` does not change concurrently.
        let mut links = unsafe { (*head).next };
        while !ptr::eq(links, head) {
            // SAFETY: `links` is not the head, so it is in an attachment, as `from_links()`
            // requires. By the type's invariants the attachment is valid while it is in the list,
            // and it stays in the list while the lock is held.
            if let Some(found) = f(unsafe { &*Attachment::from_links(links) }) {
                return Some(found);
            }
            // SAFETY: `links` is valid, because its attachment is in the list; the list does not
            // change while the lock is held.
            links = unsafe { (*links).next };
        }
        None
    }

    /// Calls `request` of every attachment that has this function, without waiting.
    ///
    /// The list is closed, or the exit of the module is running. If the list is closed, an
    /// attachment that is published later requests its own end; see
    /// [`Attachment::attach_and_request`].
    pub(super) fn request_all(&self) {
        let _ = self.find(|attachment| -> Option<()> {
            if matches!(attachment.state.load(Acquire), ATTACHED | INDEPENDENT) {
                attachment.request();
            }
            None
        });
    }

    /// Tears all attachments down, oldest first. `leaked` is called for each of them first. Returns
    /// whether the list contained any attachment, including those that are still being created.
    pub(super) fn end_all(&self, leaked: impl Fn(&AttachmentOps)) -> bool {
        let mut any = false;
        while let Some(attachment) = self.take_first(&mut any) {
            // SAFETY: `take_first()` returned the attachment, so it was in the list and `ops` is
            // valid while the module is loaded, which is until this function has returned. The
            // attachment is not freed before its state is `ENDED`, because `detach()` waits for
            // this state.
            let ops = unsafe { &*(*attachment).ops };
            leaked(ops);
            // SAFETY: `end` requires an attachment that the caller has taken off the list.
            // `take_first()` did so and set `ENDING`, so `end` is called once.
            unsafe { (ops.end)(attachment) };

            let guard = self.lock.lock();
            // SAFETY: The attachment is not freed before its state is `ENDED`, because `detach()`
            // waits for this state.
            unsafe { &*attachment }.state.store(ENDED, Relaxed);
            self.ended.notify_all();
            drop(guard);
            if let Some(discard) = ops.discard {
                // SAFETY: `discard` requires that the end was published, which is done above, and
                // that the attachment is valid. The list's reference keeps it valid until `release`
                // is called below.
                unsafe { discard(attachment) };
            }
            if let Some(release) = ops.release {
                // SAFETY: `release` requires that the caller owns the list's reference. We have
                // taken the attachment off the list, so the reference is ours, and is dropped once.
                unsafe { release(attachment) };
            }
        }
        any
    }

    /// Takes the oldest attachment that is in state `ATTACHED` off the list, for the caller to tear
    /// down. Sets `any` if the list contains an attachment in any state.
    fn take_first(&self, any: &mut bool) -> Option<*const Attachment> {
        let _guard = self.lock.lock();
        let first = self.find_locked(|attachment| {
            *any = true;
            (attachment.state.load(Acquire) == ATTACHED).then_some(attachment)
        })?;
        // SAFETY: `first` is in the list, so its links are initialised and its neighbours are
        // valid. The lock is held.
        unsafe { bindings::tether_list_del_init(first.links.get()) };
        first.state.store(ENDING, Relaxed);
        Some(first)
    }
}

/// A guard that delays teardown of a module; see [`Owner::enter`].
///
/// # Invariants
///
/// The owner was entered, and dropping the guard leaves the owner.
pub(crate) struct OwnerGuard(&'static Owner);

impl OwnerGuard {
    /// Creates the guard for an owner that the caller has entered.
    ///
    /// # Safety
    ///
    /// The caller must have entered the owner, and passes this entry to the returned guard.
    pub(super) unsafe fn new(owner: &'static Owner) -> Self {
        // INVARIANT: The caller has entered the owner, and passes the entry to this guard, which
        // leaves the owner when it is dropped.
        Self(owner)
    }
}

impl Drop for OwnerGuard {
    #[inline]
    fn drop(&mut self) {
        self.0.attached().leave();
    }
}

/// The kind of an attachment, and the functions that tear a leaked attachment down. Each attached
/// type has one constant of this type.
pub(crate) struct AttachmentOps {
    /// The kind in messages, one or two words: "thread", "mmu notifier".
    pub(crate) kind: &'static str,
    /// Returns the name of the type that is called back, or another name that the driver's author
    /// knows.
    pub(crate) name: fn() -> &'static str,
    /// Requests the attachment to end, without waiting. Called in atomic context for every
    /// attachment of the module before the first [`AttachmentOps::end`], and possibly again.
    pub(crate) request: Option<unsafe fn(*const Attachment)>,
    /// Tears the attachment down. Called once, in process context; may sleep. After this function
    /// has returned, the kernel does not call the module through this attachment. If the function
    /// waits for the attachment, it must first request the attachment to end, because an attachment
    /// that was published recently may be torn down before `request` is called for it.
    ///
    /// Must not run destructors of the module: other tasks may wait until the attachment has ended,
    /// and a destructor may wait for these tasks.
    pub(crate) end: unsafe fn(*const Attachment),
    /// Drops the payload of the attachment. Called once, in process context, after `end` has
    /// returned and the end was published. Requires `release`: without the list's reference, the
    /// object may be freed as soon as its end is published.
    pub(crate) discard: Option<unsafe fn(*const Attachment)>,
    /// Drops the list's reference to the object that contains the attachment, if the list holds
    /// one. Called once, after `end`; the attachment may be freed by this call.
    pub(crate) release: Option<unsafe fn(*const Attachment)>,
}

/// Not attached yet, or taken off the list by the task that tears it down.
const FREE: u32 = 0;
/// In the list, and being created: teardown of the owner waits, and does not tear it down.
const MAKING: u32 = 1;
const ATTACHED: u32 = 2;
/// Being torn down by [`Attached::end_all`].
const ENDING: u32 = 3;
/// Torn down by [`Attached::end_all`].
const ENDED: u32 = 4;
/// In the list, but ends by itself and pins its owner until then. After a failed init,
/// [`Attached::request_all`] requests it to end, and teardown of the owner waits for its pin.
const INDEPENDENT: u32 = 5;

/// An object that the kernel calls back into a module, and that can be waited for.
///
/// # Invariants
///
/// * `state` and `links` only change under the lock of the owner's [`Attached`], except that the
///   task that creates the attachment changes `state` from `MAKING` to `ATTACHED`. The attachment
///   is in the list in these two states and in `INDEPENDENT`; `links` are initialised while it is
///   in the list.
/// * `ops` is valid while the attachment is in the list. Afterwards the module, and `ops` with
///   it, may be freed.
#[pin_data]
pub(crate) struct Attachment {
    #[pin]
    links: Opaque<bindings::list_head>,
    state: Atomic<u32>,
    ops: *const AttachmentOps,
    owner: &'static Owner,
}

// SAFETY: `links` only change under the lock of the owner, by the type's invariants, and `state` is
// atomic. `ops` and `owner` are not changed, and refer to values that any task may read.
unsafe impl Send for Attachment {}
// SAFETY: `links` only change under the lock of the owner, by the type's invariants, and `state` is
// atomic. `ops` and `owner` are not changed, and refer to values that any task may read.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// Creates an attachment that is not attached yet. `ops` must be a constant of the caller.
    #[inline]
    pub(crate) fn new(owner: &'static Owner, ops: &'static AttachmentOps) -> impl PinInit<Self> {
        // INVARIANT: The attachment is in no list.
        pin_init!(Self {
            links: Opaque::uninit(),
            state: Atomic::new(FREE),
            ops,
            owner,
        })
    }

    /// Returns the attachment that contains `links`.
    ///
    /// # Safety
    ///
    /// `links` must be the `links` of an attachment.
    unsafe fn from_links(links: *mut bindings::list_head) -> *const Self {
        let links = Opaque::cast_from(links).cast_mut();
        // SAFETY: By the function's contract `links` is the `links` field of an attachment, so both
        // pointers are in the same allocation.
        unsafe { container_of!(links, Self, links) }
    }

    /// Returns the name of the attached type.
    ///
    /// # Safety
    ///
    /// The module of the attachment must be loaded.
    pub(crate) unsafe fn name(&self) -> &'static str {
        // SAFETY: `ops()` requires that the module is loaded, which the caller guarantees.
        (unsafe { self.ops() }.name)()
    }

    /// Returns the kind of the attachment.
    ///
    /// # Safety
    ///
    /// The module of the attachment must be loaded.
    pub(super) unsafe fn ops(&self) -> &AttachmentOps {
        // SAFETY: `ops` was created from a `&'static` reference to a constant of the module, which
        // is loaded by the function's contract.
        unsafe { &*self.ops }
    }

    /// Returns the owner of the attachment.
    pub(crate) fn owner(&self) -> &'static Owner {
        self.owner
    }

    /// Calls `make`, which registers the callback with the kernel, and attaches the callback to its
    /// owner. Teardown of the owner waits while `make` runs, and tears the attachment down if it
    /// was not detached before.
    ///
    /// # Errors
    ///
    /// The error of `make`; or [`ENODEV`] if the module is being torn down. In this case `make` is
    /// not called.
    ///
    /// # Safety
    ///
    /// If this succeeds, the attachment must stay valid and pinned until [`Attachment::detach`] has
    /// returned, or [`Attachment::try_detach`] has returned `Some`, or [`AttachmentOps::release`]
    /// has dropped the list's reference.
    #[inline]
    pub(crate) unsafe fn attach(&self, make: impl FnOnce() -> Result) -> Result {
        let make = |()| make().map_err(|error| Refused::new((), error));
        // SAFETY: The requirements are those of this function.
        unsafe { self.attach_with((), make) }.map_err(|refused| refused.error)
    }

    /// As [`Attachment::attach`], for a `make` that takes ownership of `item`, which comes back in
    /// the error.
    ///
    /// # Errors
    ///
    /// Those of [`Attachment::attach`].
    ///
    /// # Safety
    ///
    /// The requirements are those of [`Attachment::attach`].
    #[inline]
    pub(crate) unsafe fn attach_with<T, R>(
        &self,
        item: T,
        make: impl FnOnce(T) -> Result<R, Refused<T>>,
    ) -> Result<R, Refused<T>> {
        if let Err(error) = self.begin() {
            return Err(Refused::new(item, error));
        }
        let made = make(item).inspect_err(|_| self.withdraw())?;
        // From here on, teardown of the owner may tear the attachment down.
        store_release(&self.state, ATTACHED);
        Ok(made)
    }

    /// Attaches a callback that can be requested to end. If teardown of the owner has begun
    /// meanwhile, the callback is requested to end before this returns. See [`Attachment::attach`].
    ///
    /// # Errors
    ///
    /// Those of [`Attachment::attach`].
    ///
    /// # Safety
    ///
    /// The requirements are those of [`Attachment::attach`].
    pub(crate) unsafe fn attach_and_request(&self, make: impl FnOnce() -> Result) -> Result {
        self.begin()?;
        make().inspect_err(|_| self.withdraw())?;
        debug_assert_eq!(read_once(&self.state), MAKING);
        self.publish_and_request();
        Ok(())
    }

    /// Adds the attachment to the list, in state `MAKING`.
    fn begin(&self) -> Result {
        let attached = self.owner.attached();
        let _guard = attached.lock.lock();
        if attached.is_closed() {
            return Err(ENODEV);
        }
        self.state.store(MAKING, Relaxed);
        // SAFETY: The head was initialised by `list_head()`. The links are in no list, because each
        // attachment is attached once. The lock is held.
        unsafe { bindings::list_add_tail(self.links.get(), attached.list.get()) };
        Ok(())
    }

    /// Publishes an attachment, and requests it to end if the owner is closed.
    ///
    /// [`Attached::request_all`] skips an attachment that is not published yet. Both sides are
    /// fully ordered: either `request_all()` finds the attachment published, or this function reads
    /// that the owner is closed.
    #[inline(never)]
    fn publish_and_request(&self) {
        self.state.xchg(ATTACHED, Full);
        if self.owner.attached().is_closed() {
            self.request_published();
        }
    }

    /// Requests an attachment to end that was published after its owner was closed.
    #[cold]
    fn request_published(&self) {
        let _guard = self.owner.attached().lock.lock();
        if self.state.load(Relaxed) == ATTACHED {
            self.request();
        }
    }

    /// Calls `request` of the attachment, if there is one. The attachment must be in the list, and
    /// the caller must hold the lock.
    fn request(&self) {
        // SAFETY: By the type's invariants `ops` is valid while the attachment is in the list.
        if let Some(request) = unsafe { &*self.ops }.request {
            // SAFETY: `request` requires a valid attachment that has not ended. The attachment is
            // in the list and the lock is held, so that it cannot be taken off the list meanwhile.
            unsafe { request(self) };
        }
    }

    /// Marks the attachment as independent: it stays in the list until it ends by itself. Teardown
    /// of the owner does not tear it down: teardown requests it to end, which happens only after a
    /// failed init, and waits for its pin. Returns whether the attachment was in state `ATTACHED`.
    ///
    /// The caller must own a pin, which stays until after [`Attachment::remove`].
    pub(crate) fn make_independent(&self) -> bool {
        let _guard = self.owner.attached().lock.lock();
        let attached = self.state.load(Relaxed) == ATTACHED;
        if attached {
            self.state.store(INDEPENDENT, Relaxed);
        }
        attached
    }

    /// Removes an independent attachment from the list. The caller then owns the list's reference.
    ///
    /// # Safety
    ///
    /// [`Attachment::make_independent`] must have returned true, and this must be called once.
    pub(crate) unsafe fn remove(&self) {
        let _guard = self.owner.attached().lock.lock();
        self.unlink();
    }

    /// Removes an attachment from the list because `make` has failed.
    #[cold]
    fn withdraw(&self) {
        let _guard = self.owner.attached().lock.lock();
        self.unlink();
    }

    /// Removes the attachment from the list. The caller must hold the lock.
    fn unlink(&self) {
        // SAFETY: The attachment is in the list, so its links are initialised and its neighbours
        // are valid. The lock is held.
        unsafe { bindings::tether_list_del_init(self.links.get()) };
        self.state.store(FREE, Relaxed);
    }

    /// Takes the attachment off its owner's list, so that the caller tears it down. The returned
    /// guard keeps the owner's text mapped, even for a caller in another module.
    ///
    /// Returns `None` if teardown of the owner has taken the attachment off the list. In this case,
    /// this function has waited until the attachment has ended.
    ///
    /// # Context
    ///
    /// May sleep. Teardown of the owner must not wait for the caller.
    #[inline]
    pub(crate) fn detach(&self) -> Option<OwnerGuard> {
        let detached = self.try_detach();
        if detached.is_none() {
            self.wait_until_ended();
        }
        detached
    }

    /// Takes the attachment off its owner's list without waiting; see [`Attachment::detach`].
    #[inline]
    pub(crate) fn try_detach(&self) -> Option<OwnerGuard> {
        let attached = self.owner.attached();
        let _guard = attached.lock.lock();
        if self.state.load(Relaxed) != ATTACHED {
            return None;
        }
        // The attachment is still in the list, so that teardown of the owner cannot have completed.
        attached.enter_again();
        self.unlink();
        // INVARIANT: The owner was entered by `enter_again()` above, and the entry is passed to the
        // guard.
        Some(OwnerGuard(self.owner))
    }

    /// Waits until teardown of the owner has ended the attachment, if teardown has taken it off the
    /// list.
    #[cold]
    #[inline(never)]
    fn wait_until_ended(&self) {
        let mut guard = self.owner.attached().lock.lock();
        while self.state.load(Relaxed) == ENDING {
            self.owner.attached().ended.wait(&mut guard);
        }
    }
}
