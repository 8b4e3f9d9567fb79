// SPDX-License-Identifier: GPL-2.0

//! Interval notifiers: secondary page tables for a range of an address space.
//!
//! A driver that accesses a process's memory through secondary page tables (a GPU, an RDMA adapter)
//! looks pages up, which takes time and may sleep, and then uses the pages. Meanwhile the process
//! may lose them. A [`Registration`] on a range provides a lock with retries. It protects the
//! *shadow*, in which the driver records the pages of the range.
//!
//! * *Invalidating*: the kernel calls the notifier before pages of the range are unmapped or
//!   changed. Tether locks the shadow and calls [`Invalidate::invalidate`], which removes the pages
//!   from the shadow. The driver must not use the pages any more when that function has returned.
//!   If a device is slow to respond, the invalidation may be done in *two passes*
//!   ([`InvalidateInTwoPasses`]): the first pass starts the operation on all devices that use the
//!   range, and the second pass waits for all of them.
//! * *Reading*: [`Registration::read`] waits until no invalidation is in progress, calls a function
//!   that looks pages up, and locks the shadow. If no invalidation has begun meanwhile, it calls
//!   another function, which records the pages in the shadow. Otherwise it starts again.
//!
//! [`Registration::read`] performs all steps itself, so a driver cannot do them out of order:
//!
//! ```text
//!       Registration::read                     the kernel
//!   +-> begin, wait for invalidations
//!   |   look up (may sleep)                     invalidate: lock, set sequence, remove, unlock
//!   |   lock
//!   +-- invalidated meanwhile? unlock, retry
//!       commit
//!       unlock
//! ```
//!
//! # Guarantees
//!
//! * Dropping a registration does not wait, and is allowed in any callback, including its own: a
//!   work item removes and frees the registration later. Callbacks may run until then; the notifier
//!   is dropped after the last one. [`Registration::unregister`] waits for this, for callers in
//!   process context.
//! * Before a registration is removed, its whole range is invalidated ([`Event::Release`]).
//! * If an invalidation must not sleep (the OOM killer), Tether only tries to lock the shadow, and
//!   calls [`MmuIntervalNotifier::try_invalidate`], which may refuse. If the lock is held, or if
//!   the notifier refuses, the kernel skips this range for now.
//! * After the address space has ended, there may be one more invalidation of the whole range
//!   ([`Event::Release`]).
//! * A registration does not keep its module loaded. If a registration was leaked, the teardown of
//!   the module invalidates its whole range and removes it before the module's text is freed. Its
//!   methods return [`ENODEV`] afterwards.
//! * While the shadow is locked, page faults are disabled, and allocations do not reclaim memory:
//!   both could invalidate the range, which requires the lock. A copy to or from user memory that
//!   would fault fails with [`EFAULT`]. An allocation that would reclaim takes memory from the
//!   kernel's reserves (`PF_MEMALLOC`); a driver should allocate before it locks the shadow.
//! * If a closure that has the shadow locked unmaps pages of the range, for instance by
//!   `VmaRef::zap_vma_range()`, [`MmuIntervalNotifier::invalidate_while_locked`] is called at once,
//!   and the shadow is invalidated when the closure returns. A kernel with `PROVE_LOCKING` reports
//!   a possible deadlock, because lockdep cannot see that Tether does not take the lock twice.
//! * Calls of Tether that would wait fail with [`EDEADLK`] in such a closure, for example reading
//!   another registration or joining a thread: the event may need the shadow. A handle that is
//!   dropped there does not wait.
//! * If such a closure waits for the `mmap_lock`, or by other means for a thread that locks the
//!   shadow or changes the address space, it can deadlock as with any lock. A kernel with
//!   `PROVE_LOCKING` reports the wait for the `mmap_lock`.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         mmu_interval_notifier::{
//!             new_mmu_interval_notifier,
//!             MmuIntervalNotifier,
//!             Invalidate,
//!             OnePass,
//!             Registration, //
//!         },
//!         mmu_notifier::{
//!             MmuNotifierRange,
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
//! impl MmuIntervalNotifier for Mirror {
//!     /// The entries of the device's page table, one for each page of the range.
//!     type Shadow = KVec<Option<u64>>;
//!     type Passes = OnePass;
//!
//!     fn try_invalidate(
//!         &self,
//!         _range: &MmuNotifierRange<'_>,
//!         _table: &mut Self::Shadow,
//!     ) -> Result<(), WouldSleep> {
//!         // The invalidation would have to wait for the device.
//!         Err(WouldSleep)
//!     }
//! }
//!
//! impl Invalidate for Mirror {
//!     fn invalidate(&self, _range: &MmuNotifierRange<'_>, table: &mut Self::Shadow) {
//!         // This simple example clears the whole table. A driver would also flush the device's
//!         // translations here, and wait for the device.
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
//!         new_mmu_interval_notifier!(mm, start, length, Mirror, table),
//!         GFP_KERNEL,
//!     )
//! }
//!
//! /// Handles a fault of the device: looks the page up, and records it if it is still mapped.
//! fn fault(mirror: &Registration<Mirror>, at: usize, find: impl Fn() -> Result<u64>) -> Result {
//!     mirror.read(find, |frame, table| table[at] = Some(frame))
//! }
//! # let _ = (mirror, |it: &Registration<Mirror>| fault(it, 0, || Err(EFAULT)));
//! ```
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)
//!
//! [`Event::Release`]: super::mmu_notifier::Event::Release

use super::{
    mmu_notifier::{
        in_place,
        MmuNotifierRange,
        WouldSleep, //
    },
    space::{
        Head,
        Kind,
        SpaceRef, //
    },
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    tether::{
        lock_class,
        AttachmentOps, //
        Owner,
    },
    types::Opaque, //
};
use core::{
    any::type_name,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    }, //
};

// The external build needs the paths: its root includes this directory by a path.
#[path = "mmu_interval_notifier/invalidation.rs"]
mod invalidation;
#[path = "mmu_interval_notifier/passes.rs"]
mod passes;
#[path = "mmu_interval_notifier/read.rs"]
mod read;
#[path = "mmu_interval_notifier/shadow.rs"]
mod shadow;
#[path = "mmu_interval_notifier/slot.rs"]
mod slot;

pub use passes::{
    Invalidate,
    InvalidateInTwoPasses,
    OnePass,
    TwoPasses, //
};
pub use read::Sequence;
pub use shadow::Shadow;
#[doc(hidden)]
pub use slot::Slot;

/// Creates a [`Registration`] initialiser, with a lock class of its own.
#[macro_export]
macro_rules! new_mmu_interval_notifier {
    ($mm:expr, $start:expr, $length:expr, $notifier:expr, $shadow:expr $(,)?) => {
        $crate::mm::mmu_interval_notifier::Registration::new(
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
pub use crate::new_mmu_interval_notifier;

/// A notifier of a range of an address space: the kernel calls it for invalidations in the range.
pub trait MmuIntervalNotifier: Sized + Send + Sync + 'static {
    /// The driver's record of the range, for instance a table of pages.
    type Shadow: Send + Unpin;

    /// [`OnePass`] if the type implements [`Invalidate`], [`TwoPasses`] if it implements
    /// [`InvalidateInTwoPasses`].
    type Passes: Passes<Self>;

    /// Returns whether the driver itself has caused the invalidation of `range`, according to
    /// [`MmuNotifierRange::owner`], and the shadow is still correct for it.
    ///
    /// If so, no other function of the notifier is called for `range`, and concurrent readers do
    /// not retry.
    ///
    /// # Context
    ///
    /// Called without the lock of the shadow. Must not sleep.
    fn is_own(&self, _range: &MmuNotifierRange<'_>) -> bool {
        false
    }

    /// Makes the device stop using pages in `range`, which a closure that has the shadow locked is
    /// about to unmap or change, in the same task.
    ///
    /// The shadow is invalidated when the closure returns.
    ///
    /// # Context
    ///
    /// As for [`Invalidate::invalidate`].
    fn invalidate_while_locked(&self, _range: &MmuNotifierRange<'_>) {}

    /// As [`Invalidate::invalidate`], for a `range` that is not blockable.
    ///
    /// # Context
    ///
    /// As for [`Invalidate::invalidate`], but must not sleep. A kernel with `DEBUG_ATOMIC_SLEEP`
    /// warns if it sleeps.
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the kernel skips this range for now. The shadow must be unchanged.
    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        shadow: &mut Self::Shadow,
    ) -> core::result::Result<(), WouldSleep>;
}

/// How an [`MmuIntervalNotifier`] invalidates; see [`MmuIntervalNotifier::Passes`].
#[diagnostic::on_unimplemented(
    message = "`{T}` does not have the callbacks that `{Self}` stands for",
    label = "`Invalidate` or `InvalidateInTwoPasses` is to be implemented for `{T}`"
)]
pub trait Passes<T: MmuIntervalNotifier>: private::Sealed<T> {}

mod private {
    use super::{
        bindings,
        MmuIntervalNotifier,
        MmuNotifierRange,
        Shadow, //
    };

    /// Implemented for each pair of passes and a notifier that has their trait.
    ///
    /// Without the parameter, another crate could implement [`Passes`](super::Passes): a foreign
    /// trait may be implemented for a foreign type if a parameter of the trait is local.
    pub trait Sealed<T: MmuIntervalNotifier> {
        /// The storage of the first pass's result until the second pass.
        type Slot: Default;

        /// The result of the first pass.
        type Begun;

        /// The kernel's table of callbacks.
        const OPS: bindings::mmu_interval_notifier_ops;

        /// The first pass, or the only one.
        fn begin(
            notifier: &T,
            range: &MmuNotifierRange<'_>,
            shadow: &mut T::Shadow,
        ) -> Option<Self::Begun>;

        /// The second pass.
        fn finish(notifier: &T, begun: Self::Begun, shadow: &Shadow<T::Shadow>);
    }
}
use private::Sealed;

/// The allocation of an inserted interval notifier.
///
/// # Invariants
///
/// * `subscription` is inserted, with callbacks of `T`, from its attachment until its removal.
/// * Only holders of the lock of `shadow` write the sequence of `subscription`, and mark `head` as
///   ended.
/// * The `mm` of `subscription` is valid while the head is, as the space of the head keeps the
///   `mm_struct`.
#[pin_data]
#[repr(C)]
struct Inner<T: MmuIntervalNotifier> {
    #[pin]
    head: Head,
    #[pin]
    subscription: Opaque<bindings::mmu_interval_notifier>,
    #[pin]
    shadow: Shadow<T::Shadow>,
    slot: <T::Passes as Sealed<T>>::Slot,
    notifier: T,
}

/// An [`MmuIntervalNotifier`] that is registered on a range of an address space.
///
/// Dropping a registration does not wait: it is removed and freed later, see
/// [`Registration::unregister`].
///
/// # Context
///
/// May be dropped in any context, and inside any callback.
///
/// # Invariants
///
/// `inner` is valid, and one of the references to its head is the registration's. `inner` was
/// inserted, with callbacks of `T`, and is removed by the teardown of its module, or after the
/// registration was dropped.
pub struct Registration<T: MmuIntervalNotifier> {
    inner: NonNull<Inner<T>>,
    /// Invariant in `T`, as `T` determines the callbacks.
    _type: PhantomData<*mut T>,
}

// SAFETY: The notifier and the shadow are `Send`, and the head of a registration may be used by any
// thread.
unsafe impl<T: MmuIntervalNotifier> Send for Registration<T> {}
// SAFETY: A shared reference gives access to the notifier, which is `Sync`, and under the lock to
// the shadow, which is `Send`.
unsafe impl<T: MmuIntervalNotifier> Sync for Registration<T> {}

impl<T: MmuIntervalNotifier> Registration<T> {
    const ATTACHMENT_OPS: &'static AttachmentOps =
        &Head::attachment_ops("mmu_interval_notifier", type_name::<T>);

    const KIND: &'static Kind = &Kind {
        remove: Self::remove,
        free: Self::free,
    };

    const OPS: &'static bindings::mmu_interval_notifier_ops = &<T::Passes as Sealed<T>>::OPS;

    /// Registers `notifier` on `length` bytes from `start`; use [`new_mmu_interval_notifier!`].
    ///
    /// # Context
    ///
    /// Process context, may sleep. The first registration on `mm` takes the `mmap_lock` of `mm` for
    /// writing, and the lock of each of its VMAs. The caller must hold none of these locks, and
    /// must not be in a callback of a notifier.
    ///
    /// # Errors
    ///
    /// * [`EOVERFLOW`] if the range is empty, or goes beyond the last address;
    /// * those of [`mmu_notifier::Registration::new`](super::mmu_notifier::Registration::new),
    ///   where the number of registrations that were dropped is 16384.
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
    ) -> impl Init<Self, Error> + 'a {
        in_place(move || Self::insert(mm, start, length, notifier, shadow, name, key))
    }

    /// Registers a notifier; see [`Registration::new`].
    pub(super) fn insert(
        mm: &MmWithUser,
        start: usize,
        length: usize,
        notifier: T,
        shadow: T::Shadow,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> Result<Self> {
        let owner = Owner::of(Self::remove as *const ())?;
        let space = SpaceRef::get(mm)?;
        // Another module may own the registration, and drop it after this module was unloaded.
        let (name, key) = lock_class::permanent(name, key);
        let inner = KBox::pin_init(
            try_pin_init!(Inner {
                head <- Head::new(owner, Self::ATTACHMENT_OPS, Self::KIND, space),
                // `mmu_interval_notifier_insert()` initialises the subscription.
                subscription: Opaque::uninit(),
                shadow <- Shadow::new(shadow, owner, Inner::<T>::catch_up, name, key),
                slot: Default::default(),
                notifier,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        let insert = || {
            let space = inner.head.space();
            // SAFETY: The subscription is valid for writes, and not inserted. It is pinned and
            // stays valid until it was removed, as `Kind::free` is called after `Kind::remove`.
            // `OPS` is a constant of the module, which stays loaded until the subscription was
            // removed.
            unsafe { space.insert(mm, inner.subscription.get(), start, length, Self::OPS) }
        };
        // SAFETY: The head stays pinned, and valid until the notifier was removed. Either the
        // attachment is detached before that, or the teardown of the owner removes the notifier;
        // then the reference of the owner's list keeps the head valid until the attachment is
        // released.
        unsafe { inner.head.attachment().attach(insert) }?;
        // SAFETY: The allocation stays pinned: it is not moved until `free()` drops the box.
        let inner = KBox::leak(unsafe { Pin::into_inner_unchecked(inner) });
        // INVARIANT: `inner` was inserted above, with callbacks of `T`; `Head::new()` counts the
        // reference of the registration.
        Ok(Self {
            inner: NonNull::from(inner),
            _type: PhantomData,
        })
    }

    #[inline(always)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type's invariants, `inner` is valid, as the registration owns a reference.
        unsafe { self.inner.as_ref() }
    }

    /// Returns the notifier.
    #[inline]
    pub fn notifier(&self) -> &T {
        &self.inner().notifier
    }

    /// Returns whether `mm` is the address space that the notifier is registered on.
    ///
    /// A forked child, and a program that the process executes, has another address space.
    #[inline]
    pub fn is_on(&self, mm: &Mm) -> bool {
        ptr::eq(self.mm().as_raw(), mm.as_raw())
    }

    /// Returns the address space that the notifier is registered on.
    #[inline]
    pub fn mm(&self) -> &Mm {
        self.inner().head.space().mm()
    }

    /// Returns the shadow.
    #[inline]
    pub fn shadow(&self) -> &Shadow<T::Shadow> {
        &self.inner().shadow
    }

    /// Returns whether the teardown of the module has removed the notifier.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn is_ended(&self) -> bool {
        self.inner().head.is_ended()
    }

    /// Returns the kernel's subscription.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn as_raw(&self) -> *mut bindings::mmu_interval_notifier {
        self.inner().subscription.get()
    }

    /// Returns whether `length` bytes from `start` are in the registered range, and `length` is not
    /// zero.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(super) fn contains(&self, start: usize, length: usize) -> bool {
        // SAFETY: By the type's invariants, the subscription is valid and was inserted. Its range
        // does not change afterwards, not even when it is removed.
        let node = unsafe { &(*self.inner().subscription.get()).interval_tree };
        length != 0
            && start >= node.start
            && start
                .checked_add(length - 1)
                .is_some_and(|last| last <= node.last)
    }

    /// Removes the notifier, and waits until it was removed and dropped.
    ///
    /// # Context
    ///
    /// Process context, may sleep. Must not be called in a callback of a notifier, nor with locks
    /// held that a callback takes.
    ///
    /// # Errors
    ///
    /// * [`ENODEV`] if the teardown of the module has removed the notifier;
    /// * [`EINTR`] if the task is being killed, or is a kernel thread that is requested to stop;
    /// * [`EBUSY`] if the notifier was not removed after ten seconds;
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EDEADLK`] if the caller must not sleep.
    ///
    /// With all errors but [`ENODEV`], the notifier is removed and dropped later.
    ///
    /// C: `mmu_interval_notifier_remove()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_interval_notifier_remove")]
    pub fn unregister(self) -> Result {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type's invariants, `inner` was inserted and attached, and one reference is
        // the registration's. It is not used again, as `ManuallyDrop` prevents the drop. `KIND` is
        // the constant of this type in this module.
        unsafe { this.inner().head.unregister(Self::KIND) }
    }

    /// # Safety
    ///
    /// As for [`Kind::remove`], with the head of an `Inner<T>`.
    unsafe fn remove(head: NonNull<Head>) {
        // SAFETY: The caller guarantees that `head` is the head of a valid `Inner<T>`. The head is
        // its first field, and `Inner` is `repr(C)`.
        let inner = unsafe { head.cast::<Inner<T>>().as_ref() };
        inner.end();
        // SAFETY: The caller guarantees that the notifier is inserted, that no other task removes
        // it, and that this is not called in a callback.
        unsafe { bindings::mmu_interval_notifier_remove(inner.subscription.get()) };
        // Wait for the lock. Until the removal, a task of another module may have taken the lock
        // and invalidated the range itself. Such a task calls `catch_up()` of this module when it
        // releases the lock. The current task, which is a work item or tears the module down, does
        // not hold the lock, so `lock()` does not fail.
        drop(inner.shadow.lock());
    }

    /// # Safety
    ///
    /// As for [`Kind::free`], with the head of an `Inner<T>`.
    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: `insert()` has leaked the allocation from a box, and the caller guarantees that
        // nothing uses the allocation any more.
        drop(unsafe { KBox::from_raw(head.cast::<Inner<T>>().as_ptr()) });
    }
}

impl<T: MmuIntervalNotifier> Drop for Registration<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type's invariants, `inner` was inserted and attached, and one reference is
        // the registration's. It is not used again. `KIND` is the constant of this type in this
        // module.
        unsafe { self.inner().head.drop_handle(Self::KIND) };
    }
}
