// SPDX-License-Identifier: GPL-2.0

//! Page tables of one's own for a range of an address space.
//!
//! A driver that works on a process's memory through page tables of its own (a GPU, an RDMA
//! adapter) looks pages up, which takes time and may sleep, and then uses them. Meanwhile they may
//! go away. A [`Registration`] on a range makes that safe, as a lock with retries: it holds the
//! *shadow*, what the driver has noted about the range, under a lock.
//!
//! * *Invalidating*: the kernel tells that pages in the range go away. The shadow is locked and
//!   [`Invalidate::invalidate`] takes them out of it. When it has returned they are not used any more.
//!   Where telling a device takes long, this may be done in *two passes*
//!   ([`InvalidateInTwoPasses`]): all devices that have the range are told first, and waited for
//!   then.
//! * *Reading*: [`Registration::read`] waits for invalidations to be over, calls a function that
//!   looks pages up, locks the shadow, and if nothing was invalidated meanwhile, calls another one
//!   that notes them in it. Else it begins again.
//!
//! The steps cannot be done out of order, because they are the callee's:
//!
//! ```text
//!       Registration::read                     the kernel
//!   +-> begin, wait for the range to be quiet
//!   |   look up (may sleep)                     invalidate: lock, note it, take pages out, unlock
//!   |   lock
//!   +-- invalidated meanwhile? unlock, again
//!       commit
//!       unlock
//! ```
//!
//! # What holds
//!
//! * Nothing is called after the registration was dropped; dropping it waits for what is running.
//!   It must not be dropped inside its callback: that would wait for itself.
//! * Where the kernel cannot wait (the OOM killer), the shadow's lock is only tried, and
//!   [`IntervalNotifier::try_invalidate`] is called, which may refuse. If the lock is held, or it
//!   refuses, then the kernel is told that this range cannot be invalidated now.
//! * After the address space has ended there may be one more call, for all of it
//!   ([`Event::Release`]).
//! * A registration does not keep its module loaded. If it was leaked it is ended when the module
//!   goes, before its text is freed.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         interval_notifier::{
//!             new_interval_notifier,
//!             IntervalNotifier,
//!             Invalidate,
//!             OnePass,
//!             Registration, //
//!         },
//!         mmu_notifier::{
//!             Range,
//!             WouldSleep, //
//!         },
//!         MmWithUser, //
//!     },
//!     page::PAGE_SHIFT,
//!     prelude::*, //
//! };
//!
//! struct Mirror;
//!
//! impl IntervalNotifier for Mirror {
//!     /// What the device's page table has, for each page of the range.
//!     type Shadow = KVec<Option<u64>>;
//!     type Passes = OnePass;
//!
//!     fn try_invalidate(
//!         &self,
//!         _range: &Range<'_>,
//!         _table: &mut Self::Shadow,
//!     ) -> Result<(), WouldSleep> {
//!         // It would have to wait for its device.
//!         Err(WouldSleep)
//!     }
//! }
//!
//! impl Invalidate for Mirror {
//!     fn invalidate(&self, _range: &Range<'_>, table: &mut Self::Shadow) {
//!         // All of it, to be short. A driver would tell its device here, and wait for that.
//!         table.fill(None);
//!     }
//! }
//!
//! /// Mirrors a range of an address space.
//! fn mirror(
//!     mm: &MmWithUser,
//!     start: usize,
//!     pages: usize,
//! ) -> Result<Pin<KBox<Registration<Mirror>>>> {
//!     let table = KVec::from_elem(None, pages, GFP_KERNEL)?;
//!     let length = pages << PAGE_SHIFT;
//!     KBox::pin_init(
//!         new_interval_notifier!(mm, start, length, Mirror, table),
//!         GFP_KERNEL,
//!     )
//! }
//!
//! /// The device has no entry for a page: finds it, and enters it if it is still there.
//! fn fault(mirror: &Registration<Mirror>, index: usize, find: impl Fn() -> Result<u64>) -> Result {
//!     mirror.read(find, |frame, table| table[index] = Some(frame))
//! }
//! # let _ = (mirror, |it: &Registration<Mirror>| fault(it, 0, || Err(EFAULT)));
//! ```
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)
//!
//! [`Event::Release`]: super::mmu_notifier::Event::Release

use super::{
    mmu_notifier::{
        without_blocking,
        Range,
        WouldSleep, //
    },
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        LockClassKey,
        Mutex, //
    },
    tether::{
        Attachment,
        Owner,
        What, //
    },
    types::Opaque, //
};
use core::{
    any::type_name,
    cell::UnsafeCell,
    mem::MaybeUninit,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr, //
};

/// Creates a [`Registration`] initialiser, with a lock class of its own.
#[macro_export]
macro_rules! new_interval_notifier {
    ($mm:expr, $start:expr, $length:expr, $notifier:expr, $shadow:expr $(,)?) => {
        $crate::mm::interval_notifier::Registration::new(
            $mm,
            $start,
            $length,
            $notifier,
            $shadow,
            $crate::optional_name!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use crate::new_interval_notifier;

/// What hears of invalidations in a range.
pub trait IntervalNotifier: Sized + Send + Sync + 'static {
    /// What is noted about the range.
    type Shadow: Send + Unpin;

    /// [`OnePass`], of an [`Invalidate`], or [`TwoPasses`], of an [`InvalidateInTwoPasses`].
    type Passes: Passes<Self>;

    /// Whether `range` is the notifier's own doing, by its [`Range::owner`], and what the shadow has of
    /// it still holds. It does not hear of it then, and who reads does not read again.
    ///
    /// Called without the lock. Must not sleep.
    fn is_own(&self, _range: &Range<'_>) -> bool {
        false
    }

    /// As [`Invalidate::invalidate`], but `range` is not blockable: must not sleep. (A kernel with
    /// `DEBUG_ATOMIC_SLEEP` says so if it does.)
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the caller in the kernel does without this range for now. The shadow must be as it
    /// was.
    fn try_invalidate(
        &self,
        range: &Range<'_>,
        shadow: &mut Self::Shadow,
    ) -> core::result::Result<(), WouldSleep>;
}

/// Invalidates in one pass.
pub trait Invalidate: IntervalNotifier {
    /// Pages in `range` go away: stop using those, and take them out of `shadow`, before
    /// returning.
    ///
    /// `range` is blockable, and may be larger than the range that is registered. Called with the
    /// shadow's lock held, by any task that changes the address space. May sleep, but must not wait for
    /// memory.
    fn invalidate(&self, range: &Range<'_>, shadow: &mut Self::Shadow);
}

/// Invalidates in two passes: what is waited for in the second one was begun for all notifiers in the
/// first, so that they wait at the same time.
pub trait InvalidateInTwoPasses: IntervalNotifier {
    /// What was begun, and is to be waited for.
    type Begun: Send;

    /// Pages in `range` go away: take them out of `shadow`, and begin to make the device stop using
    /// them. If there is nothing to wait for then that is all.
    ///
    /// Context: as [`Invalidate::invalidate`].
    fn begin(&self, range: &Range<'_>, shadow: &mut Self::Shadow) -> Option<Self::Begun>;

    /// Waits for what was begun. Afterwards the pages are not used any more.
    ///
    /// Called once for each [`InvalidateInTwoPasses::begin`] that has returned something, by the same
    /// task; other invalidations of the range may be between them. If there are such, it may be called
    /// just after it. The shadow is not locked, and can be. May sleep, but must not wait for memory.
    fn finish(&self, begun: Self::Begun, shadow: &Shadow<Self::Shadow>);
}

/// How an [`IntervalNotifier`] invalidates; see [`IntervalNotifier::Passes`].
#[diagnostic::on_unimplemented(
    message = "`{T}` does not have the callbacks that `{Self}` stands for",
    label = "`Invalidate` or `InvalidateInTwoPasses` is to be implemented for `{T}`"
)]
pub trait Passes<T: IntervalNotifier>: private::Sealed {
    /// Where what was begun is kept.
    #[doc(hidden)]
    type Slot: Default;

    /// The callbacks, for the kernel.
    #[doc(hidden)]
    const OPS: Ops;
}

/// The kernel's table of callbacks.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Ops(bindings::mmu_interval_notifier_ops);

mod private {
    pub trait Sealed {}
}

/// [`Invalidate`].
pub struct OnePass;
/// [`InvalidateInTwoPasses`].
pub struct TwoPasses;

impl private::Sealed for OnePass {}
impl private::Sealed for TwoPasses {}

impl<T: Invalidate> Passes<T> for OnePass {
    type Slot = ();

    const OPS: Ops = Ops(bindings::mmu_interval_notifier_ops {
        invalidate: Some(Registration::<T>::invalidate_callback),
        ..pin_init::zeroed()
    });
}

impl<T: InvalidateInTwoPasses<Passes = TwoPasses>> Passes<T> for TwoPasses {
    type Slot = Slot<T::Begun>;

    const OPS: Ops = Ops(bindings::mmu_interval_notifier_ops {
        invalidate_start: Some(Registration::<T>::invalidate_start_callback),
        invalidate_finish: Some(Registration::<T>::invalidate_finish_callback),
        ..pin_init::zeroed()
    });
}

/// What one invalidation has begun.
///
/// There is one for a registration. Who finds it taken, by another invalidation at the same time,
/// finishes at once what it begins: that never fails, and takes no memory.
///
/// # Invariants
///
/// Who has set `taken` has `finish`, and `begun`, which holds a value from the first pass until the
/// second.
#[doc(hidden)]
pub struct Slot<B> {
    finish: Opaque<bindings::mmu_interval_notifier_finish>,
    taken: Atomic<bool>,
    begun: UnsafeCell<MaybeUninit<B>>,
}

impl<B> Default for Slot<B> {
    fn default() -> Self {
        Self {
            finish: Opaque::uninit(),
            taken: Atomic::new(false),
            begun: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
}

/// What is noted about a range, under a lock.
///
/// # Invariants
///
/// `value` is only touched while `mutex` is locked.
#[pin_data]
pub struct Shadow<S> {
    #[pin]
    mutex: Mutex<()>,
    value: UnsafeCell<S>,
}

// SAFETY: What is under the lock may be used from any thread, one at a time.
unsafe impl<S: Send> Sync for Shadow<S> {}

impl<S> Shadow<S> {
    fn new(value: S, name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            mutex <- Mutex::new((), name, key),
            value: UnsafeCell::new(value),
        })
    }

    /// Looks at what is noted, or changes it. What it says of pages holds until `f` returns. May
    /// sleep.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        f(&mut self.lock())
    }

    /// The kernel's mutex: locked directly, as the kernel crate's guard calls a function to assert that
    /// the lock is held each time that it is used.
    #[inline]
    fn mutex(&self) -> *mut bindings::mutex {
        // A `Mutex<()>` is laid out as what it wraps: `Lock::from_raw` is about that.
        ptr::from_ref(&self.mutex).cast_mut().cast()
    }

    #[inline]
    fn lock(&self) -> Guard<'_, S> {
        // SAFETY: The mutex is initialised.
        unsafe { bindings::mutex_lock(self.mutex()) };
        // INVARIANT: It was locked just now.
        Guard(self)
    }

    #[inline]
    fn try_lock(&self) -> Option<Guard<'_, S>> {
        // SAFETY: The mutex is initialised.
        let locked = unsafe { bindings::mutex_trylock(self.mutex()) } != 0;
        // INVARIANT: It was locked just now.
        locked.then(|| Guard(self))
    }
}

/// # Invariants
///
/// The mutex of the shadow is locked, by the task that has this.
pub(super) struct Guard<'a, S>(&'a Shadow<S>);

impl<S> Deref for Guard<'_, S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        // SAFETY: By the type's invariants.
        unsafe { &*self.0.value.get() }
    }
}

impl<S> DerefMut for Guard<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: By the type's invariants.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<S> Drop for Guard<'_, S> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type's invariants.
        unsafe { bindings::mutex_unlock(self.0.mutex()) };
    }
}

/// An [`IntervalNotifier`] that is registered on a range of an address space.
///
/// Dropping it waits for invalidations that are running: that may sleep. It must be dropped outside
/// of its callback, and outside of the locks that this takes.
///
/// # Invariants
///
/// * `subscription` is inserted from the end of the initialisation until `attachment` is taken off
///   its owner's list.
/// * Its sequence is only written under the lock of `shadow`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: IntervalNotifier> {
    notifier: T,
    #[pin]
    shadow: Shadow<T::Shadow>,
    slot: <T::Passes as Passes<T>>::Slot,
    #[pin]
    subscription: Opaque<bindings::mmu_interval_notifier>,
    #[pin]
    attachment: Attachment,
}

// SAFETY: A registration may be dropped on another thread than where it was made.
unsafe impl<T: IntervalNotifier> Send for Registration<T> {}
// SAFETY: A shared reference gives the notifier, which is `Sync`, and what is under the lock, which
// is `Send`.
unsafe impl<T: IntervalNotifier> Sync for Registration<T> {}

impl<T: IntervalNotifier> Registration<T> {
    const WHAT: &'static What = &What {
        kind: "interval_notifier",
        name: type_name::<T>,
        request: None,
        end: Self::end,
        discard: None,
        release: None,
    };

    const OPS: bindings::mmu_interval_notifier_ops = <T::Passes as Passes<T>>::OPS.0;

    /// Registers `notifier` on `length` bytes from `start`; use [`new_interval_notifier!`].
    ///
    /// Sleeps; may take the `mmap_lock` of `mm` for writing. The caller must not hold it, not even for
    /// reading: this would wait for itself, as lockdep says.
    ///
    /// # Errors
    ///
    /// * [`EOVERFLOW`] if the range is empty, or goes beyond the last address;
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EINTR`] if a signal is pending;
    /// * [`ENODEV`] if the module of the notifier is going, [`EINVAL`] if it is not known to
    ///   Tether.
    ///
    /// C: `mmu_interval_notifier_insert()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_interval_notifier_insert")]
    #[inline]
    pub fn new<'a>(
        mm: &'a MmWithUser,
        start: usize,
        length: usize,
        notifier: T,
        shadow: T::Shadow,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> + 'a {
        pin_init::pin_init_scope(move || {
            let owner = Owner::of(Self::end as *const ())?;
            Ok::<_, Error>(
                try_pin_init!(Self {
                    notifier,
                    shadow <- Shadow::new(shadow, name, key),
                    slot: Default::default(),
                    // All of it is written when it is inserted.
                    subscription: Opaque::uninit(),
                    attachment <- Attachment::new(owner, Self::WHAT),
                }? Error)
                .pin_chain(move |this| {
                    let insert = || {
                        // SAFETY: The subscription is pinned in `this`, and the functions are
                        // constant. The address space has users, for as long as the borrow.
                        let ret = unsafe {
                            bindings::mmu_interval_notifier_insert(
                                this.subscription.get(),
                                mm.as_raw(),
                                start,
                                length,
                                &Self::OPS,
                            )
                        };
                        // `to_result()` is a call.
                        if ret == 0 {
                            Ok(())
                        } else {
                            Err(Error::from_errno(ret))
                        }
                    };
                    // SAFETY: Its drop detaches it first, and it is pinned.
                    unsafe { this.attachment.attach(insert) }
                }),
            )
        })
    }

    /// The notifier.
    pub fn notifier(&self) -> &T {
        &self.notifier
    }

    /// Whether `mm` is the address space that it is registered on. A child of its process, and a
    /// program that this executes, have others.
    pub fn is_on(&self, mm: &Mm) -> bool {
        // SAFETY: The subscription is inserted, by the type's invariants, and its `mm` does not change.
        ptr::eq(unsafe { (*self.subscription.get()).mm }, mm.as_raw())
    }

    /// The address space that it is registered on.
    pub fn mm(&self) -> &Mm {
        // SAFETY: The subscription is inserted, by the type's invariants: it has grabbed its `mm`.
        unsafe { Mm::from_raw((*self.subscription.get()).mm) }
    }

    /// What is noted about the range.
    pub fn shadow(&self) -> &Shadow<T::Shadow> {
        &self.shadow
    }

    /// Looks something up in the address space, and notes it in the shadow, if it still holds.
    ///
    /// `look_up` is called without a lock, and may sleep. If something in the range was
    /// invalidated meanwhile its result is dropped, and it is called again. Else `commit` gets it,
    /// with the shadow, which is locked: nothing in the range is invalidated until it returns.
    ///
    /// An error of `look_up` ends this. Must not be called inside a callback.
    ///
    /// C: `mmu_interval_read_begin()` and `mmu_interval_read_retry()`.
    #[doc(alias = "mmu_interval_read_begin")]
    #[doc(alias = "mmu_interval_read_retry")]
    #[inline]
    pub fn read<V, R>(
        &self,
        mut look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        let subscription = self.subscription.get();
        loop {
            // SAFETY: The subscription is inserted, by the type's invariants.
            let sequence = unsafe { bindings::mmu_interval_read_begin(subscription) };
            let value = look_up()?;
            if let Some(mut shadow) = self.lock_if_quiet(sequence) {
                return Ok(commit(value, &mut shadow));
            }
        }
    }

    /// Locks the shadow, if nothing was invalidated since `mmu_interval_read_begin()` has returned
    /// `sequence`.
    #[inline(always)]
    pub(super) fn lock_if_quiet(&self, sequence: usize) -> Option<Guard<'_, T::Shadow>> {
        let shadow = self.shadow.lock();
        // What `mmu_interval_read_retry()` does, which is inline.
        //
        // SAFETY: The subscription is inserted, by the type's invariants; the lock is held under which
        // this is written.
        let quiet = unsafe { (*self.subscription.get()).invalidate_seq } == sequence;
        quiet.then_some(shadow)
    }

    /// The subscription that the kernel knows.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn as_raw(&self) -> *mut bindings::mmu_interval_notifier {
        self.subscription.get()
    }

    /// Whether `length` bytes from `start`, and not none, are in the range that is registered.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn contains(&self, start: usize, length: usize) -> bool {
        // SAFETY: The subscription is inserted, by the type's invariants, and its range does not change.
        let node = unsafe { &(*self.subscription.get()).interval_tree };
        length != 0
            && start >= node.start
            && start
                .checked_add(length - 1)
                .is_some_and(|last| last <= node.last)
    }

    /// What a callback is for, and the range; or, where that needs no more, the callback's answer.
    ///
    /// # Safety
    ///
    /// `subscription` must be that of a `Registration<T>`, inserted, and `range` be valid, both for
    /// `'a`.
    #[inline(always)]
    unsafe fn called_for<'a>(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
    ) -> core::result::Result<(&'a Self, Range<'a>), bool> {
        let field = Opaque::cast_from(subscription).cast_mut();
        // SAFETY: By the function's contract. A registration that is inserted is valid.
        let (this, range) = unsafe {
            (
                &*container_of!(field, Self, subscription),
                Range::from_raw(range),
            )
        };
        if this.notifier.is_own(&range) {
            return Err(true);
        }
        if !range.is_blockable() {
            return Err(this.invalidate_without_blocking(range, sequence));
        }
        Ok((this, range))
    }

    /// What `mmu_interval_set_seq()` does, which is inline. Others look at it without the lock.
    #[inline(always)]
    fn set_sequence(&self, _locked: &Guard<'_, T::Shadow>, sequence: usize) {
        // SAFETY: The subscription is inserted, as this is called in its callback. The lock is held.
        unsafe {
            ptr::write_volatile(&raw mut (*self.subscription.get()).invalidate_seq, sequence)
        };
    }

    /// Invalidates where the caller must not wait. Returns whether it could.
    #[cold]
    fn invalidate_without_blocking(&self, range: Range<'_>, sequence: usize) -> bool {
        // Who has the lock may sleep.
        let Some(mut shadow) = self.shadow.try_lock() else {
            return false;
        };
        // Also if it is refused: who reads reads once more, and that is all.
        self.set_sequence(&shadow, sequence);
        // The core checks this for notifiers of a whole address space only.
        without_blocking(|| self.notifier.try_invalidate(&range, &mut shadow)).is_ok()
    }

    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The attachment is in a registration, which is valid until it was ended.
        let this = unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) };
        // SAFETY: It is inserted, by the type's invariants: the owner's end has taken the
        // attachment off its list just now.
        unsafe { bindings::mmu_interval_notifier_remove(this.subscription.get()) };
    }
}

#[pinned_drop]
impl<T: IntervalNotifier> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // It is not attached if inserting has failed.
        if let Some(_entered) = self.attachment.detach() {
            // SAFETY: It is inserted, by the type's invariants: we have taken the attachment off
            // its owner's list just now.
            unsafe { bindings::mmu_interval_notifier_remove(self.subscription.get()) };
        }
    }
}

impl<T: Invalidate> Registration<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Registration<T>`, inserted, and `range` valid.
    unsafe extern "C" fn invalidate_callback(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
    ) -> bool {
        // SAFETY: By the function's contract.
        let (this, range) = match unsafe { Self::called_for(subscription, range, sequence) } {
            Ok(called_for) => called_for,
            Err(done) => return done,
        };
        let mut shadow = this.shadow.lock();
        this.set_sequence(&shadow, sequence);
        this.notifier.invalidate(&range, &mut shadow);
        true
    }
}

impl<T: InvalidateInTwoPasses<Passes = TwoPasses>> Registration<T> {
    /// # Safety
    ///
    /// `subscription` must be that of a `Registration<T>`, inserted, `range` valid, and `finish` valid
    /// for writes.
    unsafe extern "C" fn invalidate_start_callback(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
        finish: *mut *mut bindings::mmu_interval_notifier_finish,
    ) -> bool {
        // SAFETY: By the function's contract.
        let (this, range) = match unsafe { Self::called_for(subscription, range, sequence) } {
            Ok(called_for) => called_for,
            Err(done) => return done,
        };
        let begun = {
            let mut shadow = this.shadow.lock();
            this.set_sequence(&shadow, sequence);
            this.notifier.begin(&range, &mut shadow)
        };
        let Some(begun) = begun else {
            return true;
        };
        let slot = &this.slot;
        if slot.taken.cmpxchg(false, true, Acquire).is_err() {
            this.notifier.finish(begun, &this.shadow);
            return true;
        }
        // SAFETY: We have just taken it.
        unsafe { (*slot.begun.get()).write(begun) };
        // SAFETY: By the function's contract. The kernel calls the other pass before this invalidation
        // ends, which who removes the registration waits for.
        unsafe { *finish = slot.finish.get() };
        true
    }

    /// # Safety
    ///
    /// `finish` must be that of the slot of a `Registration<T>`, which [`Self::invalidate_start_callback`]
    /// has given; it is given back.
    unsafe extern "C" fn invalidate_finish_callback(
        finish: *mut bindings::mmu_interval_notifier_finish,
    ) {
        // SAFETY: By the function's contract; the kernel has set the notifier, which is inserted.
        let this = unsafe {
            let field = Opaque::cast_from((*finish).notifier).cast_mut();
            &*container_of!(field, Self, subscription)
        };
        // SAFETY: The slot is taken, and this is its second pass: the value moves out.
        let begun = unsafe { (*this.slot.begun.get()).assume_init_read() };
        // The next one may begin already.
        this.slot.taken.store(false, Release);
        this.notifier.finish(begun, &this.shadow);
    }
}
