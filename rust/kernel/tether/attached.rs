// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a module that can be waited for: they are ended with the module.
//!
//! An [`Attachment`] is in the list of its owner while the kernel may call it. Whoever takes it off
//! the list ends it. This is either its user, or the end of the module, and never both.
//!
//! The models of this file are in `tests/model/tests/attached.rs`.

use super::{
    list_head,
    load_acquire,
    read_once,
    store_release,
    Owner, //
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

/// The attachments of a module, and the tasks that make its end wait.
///
/// # Invariants
///
/// * `list` is a list of the `links` of [`Attachment`]s. Each of them is valid and pinned for as
///   long as it is in the list, which is only touched under `lock`.
/// * Who has entered is counted in `entered`, from before the look at `closed` until after the last
///   access to the module.
#[pin_data]
pub(crate) struct Attached {
    #[pin]
    lock: SpinLock<()>,
    #[pin]
    list: Opaque<bindings::list_head>,
    /// How many are ending something of the module's, or need the module for another reason.
    entered: Atomic<i32>,
    /// The module goes: nothing more can be attached.
    closed: Atomic<bool>,
    /// Told when the end of the module has ended an attachment.
    #[pin]
    ended: CondVar,
}

// SAFETY: By the type's invariants each field that changes is atomic, or is touched under the lock.
unsafe impl Send for Attached {}
// SAFETY: For the same reason a shared reference may be used by several threads.
unsafe impl Sync for Attached {}

impl Attached {
    /// Nothing is attached, and it is open.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- new_spinlock!((), "tether::Attached::lock"),
            list <- list_head(),
            entered: Atomic::new(0),
            closed: Atomic::new(false),
            ended <- new_condvar!("tether::Attached::ended"),
        })
    }

    /// Opens it, for a module that comes.
    pub(super) fn open(&self) {
        self.closed.store(false, Relaxed);
    }

    /// Closes it: nothing enters from here on, and nothing more is attached.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        // Pairs with `enter()`: either that sees this as closed, or `is_entered()` sees that.
        smp_mb(Full);
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        read_once(&self.closed)
    }

    /// Makes the end of the module wait until [`Attached::leave`], unless it has begun. Returns
    /// whether it has not.
    #[inline]
    pub(super) fn enter(&self) -> bool {
        self.entered.fetch_add(1, Full);
        if self.is_closed() {
            self.leave();
            return false;
        }
        true
    }

    /// As [`Attached::enter`], also if the end has begun. The end must wait for the caller.
    pub(super) fn enter_again(&self) {
        self.entered.fetch_add(1, Relaxed);
    }

    /// Ends what [`Attached::enter`] has begun: the end of the module does not wait for this caller
    /// any more.
    #[inline]
    pub(super) fn leave(&self) {
        // Pairs with `is_entered()`: the end of the module comes after each access that the caller
        // has made.
        self.entered.fetch_sub(1, Release);
    }

    /// Whether a task is between [`Attached::enter`] and [`Attached::leave`].
    pub(super) fn is_entered(&self) -> bool {
        load_acquire(&self.entered) != 0
    }

    /// Looks through the attachments, oldest first, until `f` returns something. `f` is called
    /// under a spinlock.
    pub(super) fn find<R>(&self, mut f: impl FnMut(&Attachment) -> Option<R>) -> Option<R> {
        let _guard = self.lock.lock();
        self.find_locked(&mut f)
    }

    /// As [`Attached::find`]. The lock must be held.
    fn find_locked<'a, R>(&'a self, mut f: impl FnMut(&'a Attachment) -> Option<R>) -> Option<R> {
        let head = self.list.get();
        // SAFETY: The head is initialised, and the lock is held.
        let mut links = unsafe { (*head).next };
        while !ptr::eq(links, head) {
            // SAFETY: By the type's invariants this is the `links` of an attachment, which is valid
            // while the lock is held.
            if let Some(found) = f(unsafe { &*Attachment::from_links(links) }) {
                return Some(found);
            }
            // SAFETY: The entry is in the list, which does not change while the lock is held.
            links = unsafe { (*links).next };
        }
        None
    }

    /// Asks every attachment to end that can be asked, without waiting for any.
    ///
    /// It must be closed: an attachment that is published later asks itself, see
    /// [`Attachment::attach_and_ask`].
    pub(super) fn request_all(&self) {
        let _ = self.find(|attachment| -> Option<()> {
            if matches!(attachment.state.load(Acquire), ATTACHED | INDEPENDENT) {
                attachment.request();
            }
            None
        });
    }

    /// Ends the attachments, oldest first. `leaked` is called for each of them before. Returns
    /// whether there was any, also one that is still being made.
    pub(super) fn end_all(&self, leaked: impl Fn(&What)) -> bool {
        let mut any = false;
        while let Some(attachment) = self.take_first(&mut any) {
            // SAFETY: The attachment was in the list until now, and the module is still there. It
            // is not freed before its state says that it was ended: `detach()` waits for that.
            let what = unsafe { &*(*attachment).what };
            leaked(what);
            // SAFETY: The state says that the attachment is ours to end.
            unsafe { (what.end)(attachment) };

            let guard = self.lock.lock();
            // SAFETY: The attachment is not freed before its state is `ENDED`.
            unsafe { &*attachment }.state.store(ENDED, Relaxed);
            self.ended.notify_all();
            drop(guard);
            if let Some(discard) = what.discard {
                // SAFETY: The attachment has ended, and the list's reference, which is handed back
                // below, keeps it valid.
                unsafe { discard(attachment) };
            }
            if let Some(release) = what.release {
                // SAFETY: The list's reference is handed back, once.
                unsafe { release(attachment) };
            }
        }
        any
    }

    /// Takes the oldest attachment off the list that is not being made, for the caller to end. Sets
    /// `any` if there is an attachment at all.
    fn take_first(&self, any: &mut bool) -> Option<*const Attachment> {
        let _guard = self.lock.lock();
        let first = self.find_locked(|attachment| {
            *any = true;
            (attachment.state.load(Acquire) == ATTACHED).then_some(attachment)
        })?;
        // SAFETY: It is in the list, and the lock is held.
        unsafe { bindings::tether_list_del_init(first.links.get()) };
        first.state.store(ENDING, Relaxed);
        Some(first)
    }
}

/// Keeps the end of a module waiting; see [`Owner::enter`].
///
/// # Invariants
///
/// The owner was entered, and is left when this is dropped.
pub(crate) struct Entered(&'static Owner);

impl Entered {
    /// # Safety
    ///
    /// The caller must have entered the owner, and leaves it to the returned value.
    pub(super) unsafe fn new(owner: &'static Owner) -> Self {
        // INVARIANT: By the function's contract.
        Self(owner)
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        self.0.attached().leave();
    }
}

/// The kind of an attachment, and how it is ended when it was leaked: a constant of the type that
/// is attached.
pub(crate) struct What {
    /// A word or two for messages: "thread", "mmu notifier".
    pub(crate) kind: &'static str,
    /// The type that is called back, or another name that its author will know.
    pub(crate) name: fn() -> &'static str,
    /// Asks the attachment to end, without waiting. Called in atomic context for every attachment
    /// of the module before the first [`What::end`], and possibly again.
    pub(crate) request: Option<unsafe fn(*const Attachment)>,
    /// Ends it: called once, in process context, where it may sleep. After it has returned the
    /// kernel does not call the module through this attachment. If it waits for the attachment, it
    /// asks it to end by itself: one that was published a moment ago may be taken before it was
    /// asked.
    ///
    /// Must not run destructors of the module: others may wait until the attachment has ended, and
    /// a destructor may wait for them.
    pub(crate) end: unsafe fn(*const Attachment),
    /// Drops the payload of an attachment that has ended and whose end was published. Called once,
    /// after `end`, in process context. Requires `release`: without the list's reference the object
    /// may be freed as soon as its end is published.
    pub(crate) discard: Option<unsafe fn(*const Attachment)>,
    /// Drops the reference that the list held to where the attachment is, if it held one. Called
    /// once, after `end`; the attachment may be gone afterwards.
    pub(crate) release: Option<unsafe fn(*const Attachment)>,
}

/// Not attached yet, or taken off the list by the task that ends it.
const FREE: u32 = 0;
/// In the list, and being made: its owner's end waits, and does not end it.
const MAKING: u32 = 1;
const ATTACHED: u32 = 2;
/// Being ended by [`Attached::end_all`].
const ENDING: u32 = 3;
/// Ended by it.
const ENDED: u32 = 4;
/// In the list, but ends by itself and pins its owner until then. [`Attached::request_all`] asks it
/// to end if an init fails, and the owner's end waits for its pin.
const INDEPENDENT: u32 = 5;

/// Something of a module's that the kernel calls, and that can be waited for.
///
/// # Invariants
///
/// * `state` and `links` only change under the lock of the owner's [`Attached`], except that the
///   task that creates the attachment changes `state` from `MAKING` to `ATTACHED`. The attachment
///   is in the list in these two states and in `INDEPENDENT`; `links` are initialised while it is.
/// * `what` is valid while it is in the list. After that the module may be gone, and it with it.
#[pin_data]
pub(crate) struct Attachment {
    #[pin]
    links: Opaque<bindings::list_head>,
    state: Atomic<u32>,
    what: *const What,
    owner: &'static Owner,
}

// SAFETY: By the type's invariants each field that changes is touched under a lock, or is atomic.
unsafe impl Send for Attachment {}
// SAFETY: For the same reason a shared reference may be used by several threads.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// Creates an attachment that is not attached yet. `what` must be a constant of the caller.
    #[inline]
    pub(crate) fn new(owner: &'static Owner, what: &'static What) -> impl PinInit<Self> {
        pin_init!(Self {
            links: Opaque::uninit(),
            state: Atomic::new(FREE),
            what,
            owner,
        })
    }

    /// The attachment that `links` is in.
    ///
    /// # Safety
    ///
    /// It must be the `links` of an attachment.
    unsafe fn from_links(links: *mut bindings::list_head) -> *const Self {
        let links = Opaque::cast_from(links).cast_mut();
        // SAFETY: By the function's contract both are in one attachment.
        unsafe { container_of!(links, Self, links) }
    }

    /// What its type is called.
    ///
    /// # Safety
    ///
    /// Its module must be there still.
    pub(crate) unsafe fn name(&self) -> &'static str {
        // SAFETY: By the function's contract the module is there.
        (unsafe { self.what() }.name)()
    }

    /// Returns its kind.
    ///
    /// # Safety
    ///
    /// Its module must be there still.
    pub(super) unsafe fn what(&self) -> &What {
        // SAFETY: By the type's invariants and the function's contract.
        unsafe { &*self.what }
    }

    /// Who owns it.
    pub(crate) fn owner(&self) -> &'static Owner {
        self.owner
    }

    /// Calls `make`, which registers the callback with the kernel, and attaches it to its owner.
    /// The end of the owner ends it if it was not detached before, and waits while `make` runs.
    ///
    /// # Errors
    ///
    /// That of `make`; or [`ENODEV`] if the module is going, and then `make` was not called.
    ///
    /// # Safety
    ///
    /// If this succeeds, the attachment must stay valid, and pinned, until [`Attachment::detach`]
    /// or [`Attachment::try_detach`] has returned something, or `detach` nothing, or until it was
    /// released as [`What::release`] says.
    #[inline]
    pub(crate) unsafe fn attach(&self, make: impl FnOnce() -> Result) -> Result {
        self.begin()?;
        make().inspect_err(|_| self.withdraw())?;
        // From here on it may be ended.
        store_release(&self.state, ATTACHED);
        Ok(())
    }

    /// As [`Attachment::attach`], for an attachment that can be asked to end. If the end of the
    /// module has begun meanwhile, it is asked here.
    ///
    /// # Errors
    ///
    /// Those of [`Attachment::attach`].
    ///
    /// # Safety
    ///
    /// The requirements are those of [`Attachment::attach`].
    pub(crate) unsafe fn attach_and_ask(&self, make: impl FnOnce() -> Result) -> Result {
        self.begin()?;
        make().inspect_err(|_| self.withdraw())?;
        debug_assert_eq!(read_once(&self.state), MAKING);
        self.publish_and_ask();
        Ok(())
    }

    /// Puts the attachment into the list, as one that is being made.
    fn begin(&self) -> Result {
        let attached = self.owner.attached();
        let _guard = attached.lock.lock();
        if attached.is_closed() {
            return Err(ENODEV);
        }
        self.state.store(MAKING, Relaxed);
        // SAFETY: The head is initialised, the links are in no list, and the lock is held.
        unsafe { bindings::list_add_tail(self.links.get(), attached.list.get()) };
        Ok(())
    }

    /// Publishes an attachment that can be asked to end, and asks it if the module ends.
    ///
    /// [`Attached::request_all`] skips an attachment that is not published yet. Both sides are
    /// fully ordered: either it finds the attachment published, or the owner is seen closed here.
    #[inline(never)]
    fn publish_and_ask(&self) {
        self.state.xchg(ATTACHED, Full);
        if self.owner.attached().is_closed() {
            self.ask_published();
        }
    }

    /// Asks an attachment to end that was published when its owner was closed already.
    #[cold]
    fn ask_published(&self) {
        let _guard = self.owner.attached().lock.lock();
        if self.state.load(Relaxed) == ATTACHED {
            self.request();
        }
    }

    /// Asks it to end, if it can be asked. It must be in the list, and the lock be held.
    fn request(&self) {
        // SAFETY: By the type's invariants `what` is valid while the attachment is in the list.
        if let Some(request) = unsafe { &*self.what }.request {
            // SAFETY: The attachment is in the list, and the lock is held, so that it is valid and
            // has not ended.
            unsafe { request(self) };
        }
    }

    /// Leaves the attachment in the list, but lets it end by itself: the owner's end asks it to end
    /// if an init fails, and nothing else. Returns whether it was attached.
    ///
    /// The caller must own a pin, which stays until after [`Attachment::remove`].
    pub(crate) fn make_independent(&self) -> bool {
        let _guard = self.owner.attached().lock.lock();
        let attached = self.state.load(Acquire) == ATTACHED;
        if attached {
            self.state.store(INDEPENDENT, Relaxed);
        }
        attached
    }

    /// Removes an attachment from the list that was made independent. The caller then owns the
    /// list's reference.
    ///
    /// # Safety
    ///
    /// [`Attachment::make_independent`] must have returned true, and this is called once.
    pub(crate) unsafe fn remove(&self) {
        let _guard = self.owner.attached().lock.lock();
        self.unlink();
    }

    /// It was not made after all.
    #[cold]
    fn withdraw(&self) {
        let _guard = self.owner.attached().lock.lock();
        self.unlink();
    }

    /// Takes it off the list that it is in. The lock must be held.
    fn unlink(&self) {
        // SAFETY: The attachment is in the list, and the lock is held.
        unsafe { bindings::tether_list_del_init(self.links.get()) };
        self.state.store(FREE, Relaxed);
    }

    /// Takes it off its owner's list, so that the caller ends it. The owner's text stays until the
    /// returned value is dropped, also if the caller is another module.
    ///
    /// If it is not the caller's to end, then its owner's end has ended it, and this has waited for
    /// that.
    ///
    /// May sleep. The caller must not be what the owner's end waits for.
    #[inline]
    pub(crate) fn detach(&self) -> Option<Entered> {
        let detached = self.try_detach();
        if detached.is_none() {
            self.wait_until_ended();
        }
        detached
    }

    /// Like [`Attachment::detach`], but never waits.
    #[inline]
    pub(crate) fn try_detach(&self) -> Option<Entered> {
        let attached = self.owner.attached();
        let _guard = attached.lock.lock();
        if self.state.load(Relaxed) != ATTACHED {
            return None;
        }
        // As long as it is in the list the module's end goes on.
        attached.enter_again();
        self.unlink();
        // INVARIANT: The owner was entered.
        Some(Entered(self.owner))
    }

    /// Waits until the end of the owner has ended it, if that has begun to do so.
    #[cold]
    #[inline(never)]
    fn wait_until_ended(&self) {
        let mut guard = self.owner.attached().lock.lock();
        while self.state.load(Relaxed) == ENDING {
            self.owner.attached().ended.wait(&mut guard);
        }
    }
}
