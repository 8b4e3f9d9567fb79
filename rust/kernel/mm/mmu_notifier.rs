// SPDX-License-Identifier: GPL-2.0

//! Notifiers of an address space: callbacks before pages are unmapped, moved or protected.
//!
//! A registered [`MmuNotifier`] is called for every range of an address space whose pages are about
//! to be unmapped, moved or changed, and at the end of that address space. To watch single ranges,
//! and to keep secondary page tables for them, see [`mmu_interval_notifier`].
//!
//! # Callbacks
//!
//! | [`MmuNotifier::Callbacks`] | trait | called for |
//! |---|---|---|
//! | [`ReleaseOnly`] | | the end of the address space |
//! | [`Ranges`] | [`InvalidateRanges`] | ranges, before and after they change; cannot fail |
//! | [`TryRanges`] | [`TryInvalidateRanges`] | before ranges change; may ask for a retry |
//! | [`SecondaryTlbs`] | [`InvalidateSecondaryTlbs`] | flushes of the TLB |
//! | [`WithAge<C>`] | [`Age`], and the trait of `C` | accessed bits, and the callbacks of `C` |
//!
//! [`TryInvalidateRanges`] may ask for a retry only if it must not sleep. [`SecondaryTlbs`] are for
//! devices that use the CPU's page tables.
//!
//! The kernel allows these combinations only. If a `start` callback could fail, its notifier could
//! not tell which `end` callbacks follow. A callback for secondary TLBs is called for the same
//! changes as the callbacks for ranges, so a notifier has either.
//!
//! # Order of calls
//!
//! ```text
//!   munmap(), madvise(), mprotect(), reclaim, ...         the last user of the mm is gone
//!      invalidate_range_start(range)                         release()
//!      ... the page tables change ...                         ... all pages are unmapped ...
//!      invalidate_range_end(range)
//! ```
//!
//! * Between `start` and `end` of a range, pages of the range may or may not be mapped. Ranges may
//!   nest, overlap, and be invalidated by several tasks at once.
//! * `release` is called once: when the address space ends or, if the registration is removed
//!   first, during its removal. The notifier must not use any page after `release` has returned. No
//!   `start` announces that the end of the address space unmaps all pages. Other tasks (file
//!   truncation, for instance) may still cause calls of `start` and `end` until the registration
//!   was removed.
//! * A forked child, and a program that is executed, has another address space, without the
//!   notifiers of the old one.
//!
//! # Guarantees
//!
//! * Dropping a registration does not wait, and is allowed in any callback: a work item removes and
//!   frees the notifier later. Callbacks may run until then; the notifier is dropped after the last
//!   one. [`Registration::unregister`] waits for this, for callers in process context.
//! * A registration does not keep its module loaded. The removal of the module waits until the
//!   notifiers that were dropped are freed. A registration that was leaked is removed before
//!   the text of the module is freed.
//! * A registration keeps the `mm_struct` (`mmgrab()`), but not the address space.
//!
//! # Panics in a callback
//!
//! A panic in a callback is a `BUG()`: the task that invalidates exits, or the kernel panics. The
//! task dies in an SRCU read-side section, with the locks that it holds, such as the `mmap_lock`.
//! No notifier of any process can be unregistered afterwards, because unregistering waits for SRCU
//! readers.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         mmu_notifier::{
//!             InvalidateRanges,
//!             MmuNotifier,
//!             MmuNotifierRange,
//!             Ranges,
//!             Registration, //
//!         },
//!         Mm,
//!     },
//!     prelude::*,
//!     sync::atomic::{
//!         Atomic,
//!         Relaxed, //
//!     }, //
//! };
//!
//! struct Counter {
//!     invalidated: Atomic<usize>,
//! }
//!
//! impl MmuNotifier for Counter {
//!     type Callbacks = Ranges;
//! }
//!
//! #[vtable]
//! impl InvalidateRanges for Counter {
//!     fn invalidate_range_start(&self, range: &MmuNotifierRange<'_>) {
//!         self.invalidated.fetch_add(range.end() - range.start(), Relaxed);
//!     }
//! }
//!
//! /// Counts the bytes that the current process unmaps or changes.
//! fn count() -> Result<Pin<KBox<Registration<Counter>>>> {
//!     let task = current!();
//!     let mm = task.mm().ok_or(EINVAL)?;
//!     let counter = Counter {
//!         invalidated: Atomic::new(0),
//!     };
//!     KBox::pin_init(Registration::new(mm, counter), GFP_KERNEL)
//! }
//! # // This runs in a kernel thread, which has no address space.
//! # assert_eq!(count().err(), Some(EINVAL));
//! ```
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)
//!
//! [`mmu_interval_notifier`]: super::mmu_interval_notifier

use super::{
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
    tether::{
        may_sleep,
        AttachmentOps, //
        Owner,
    }, //
};
use core::{
    any::type_name,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

// The external build needs the paths: its root includes this directory by a path.
#[path = "mmu_notifier/callbacks.rs"]
mod callbacks;
#[path = "mmu_notifier/ops.rs"]
mod ops;
#[path = "mmu_notifier/range.rs"]
mod range;
#[path = "mmu_notifier/subscribed.rs"]
mod subscribed;

pub use callbacks::{
    Age,
    InvalidateRanges,
    InvalidateSecondaryTlbs,
    Ranges,
    ReleaseOnly,
    SecondaryTlbs,
    TryInvalidateRanges,
    TryRanges,
    WithAge,
    WouldSleep, //
};
#[doc(hidden)]
pub use ops::Ops;
/// The former name of [`MmuNotifierRange`]: see `Documentation/renames.rst`.
#[cfg(MODULE)]
#[doc(hidden)]
pub use range::MmuNotifierRange as Range;
pub use range::{
    Event,
    MmuNotifierRange, //
};
pub(super) use subscribed::Subscribed;
#[doc(hidden)]
pub use subscribed::{
    MayRefuse,
    Refusal, //
};

/// Calls `f`, which must not sleep: a kernel with `DEBUG_ATOMIC_SLEEP` warns if `f` sleeps.
///
/// A kernel with `PREEMPT_RT` would warn about a spinlock as well; there, `f` is just called.
pub(super) fn without_blocking<R>(f: impl FnOnce() -> R) -> R {
    if cfg!(CONFIG_PREEMPT_RT) {
        return f();
    }
    // SAFETY: `non_block_end()` below ends the section, in the same task.
    unsafe { bindings::non_block_start() };
    let result = f();
    // SAFETY: This ends the section that `non_block_start()` has begun above, in the same task.
    unsafe { bindings::non_block_end() };
    result
}

/// A notifier of an address space: the kernel calls it for invalidations, and for the end of the
/// address space.
pub trait MmuNotifier: Sized + Send + Sync + 'static {
    /// The callbacks of the notifier, in addition to [`MmuNotifier::release`].
    type Callbacks: Callbacks<Self>;

    /// Handles the end of the address space, or the removal of the registration.
    ///
    /// Called once.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    fn release(&self, _mm: &Mm) {}
}

/// A combination of callbacks that the kernel allows; see [`MmuNotifier::Callbacks`].
#[diagnostic::on_unimplemented(
    message = "`{T}` does not have the callbacks that `{Self}` stands for",
    label = "the trait of these callbacks is to be implemented for `{T}`"
)]
pub trait Callbacks<T>: private::Sealed<T> {}

mod private {
    use super::{
        Ops,
        Refusal, //
    };

    /// Implemented for each pair of a combination and a notifier that has its traits.
    ///
    /// Without the parameter, another crate could implement [`Callbacks`](super::Callbacks): a
    /// foreign trait may be implemented for a foreign type if a parameter of the trait is local.
    pub trait Sealed<T> {
        /// The kernel's table of these callbacks.
        const OPS: Ops;

        /// [`MayRefuse`](super::MayRefuse) if the notifier may refuse, otherwise `()`.
        type Refuses: Refuses;
    }

    /// The field of a notifier for the subscription that may refuse.
    // The trait is a bound of a public one; rustc 1.85 ignores this use.
    #[allow(unreachable_pub)]
    pub trait Refuses: Default {
        /// Returns the subscription that may refuse, if there is one.
        fn refusal(&self) -> Option<Refusal>;
    }

    impl Refuses for () {
        fn refusal(&self) -> Option<Refusal> {
            None
        }
    }
}
/// The allocation of a registered notifier.
#[pin_data]
#[repr(C)]
struct Inner<T: MmuNotifier> {
    #[pin]
    head: Head,
    #[pin]
    subscribed: Subscribed<T>,
}

/// An [`MmuNotifier`] that is registered on an address space.
///
/// Dropping a registration does not wait: the notifier is removed and freed later, see
/// [`Registration::unregister`].
///
/// # Context
///
/// May be dropped in any context, and inside any callback.
///
/// # Invariants
///
/// `inner` is valid, and one of the references to its head is the registration's. `inner` was
/// registered, with callbacks of `T`, and is removed by the teardown of its module, or after the
/// registration was dropped.
pub struct Registration<T: MmuNotifier> {
    inner: NonNull<Inner<T>>,
    /// Invariant in `T`, as `T` determines the callbacks.
    _type: PhantomData<*mut T>,
}

// SAFETY: The notifier is `Send`, and the head of a registration may be used by any thread.
unsafe impl<T: MmuNotifier> Send for Registration<T> {}
// SAFETY: A shared reference to a registration only gives access to the notifier, which is `Sync`.
unsafe impl<T: MmuNotifier> Sync for Registration<T> {}

impl<T: MmuNotifier> Registration<T> {
    const ATTACHMENT_OPS: &'static AttachmentOps =
        &Head::attachment_ops("mmu_notifier", type_name::<T>);

    const KIND: &'static Kind = &Kind {
        remove: Self::remove,
        free: Self::free,
    };

    /// Registers `notifier` on `mm`.
    ///
    /// Callbacks may be called before this function returns.
    ///
    /// # Context
    ///
    /// Process context, may sleep. Takes the `mmap_lock` of `mm` for writing, and the lock of each
    /// of its VMAs. The caller must hold none of them, and must not be in a callback of a notifier.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EINTR`] if a signal is pending, or if the caller is a kernel thread that is requested to
    ///   stop;
    /// * [`EDEADLK`] if the caller holds the `mmap_lock` of `mm` for writing, or is in an
    ///   interrupt;
    /// * [`EBUSY`] if the `mmap_lock` or the lock of a VMA was not free for ten seconds, and the
    ///   caller is a kernel thread or a task in its exit; or if 64 registrations on `mm` that were
    ///   dropped are not removed after ten seconds. In `open` of a misc device both limits are one
    ///   second, for any task;
    /// * [`ENODEV`] if the module of the notifier is being unloaded, [`EINVAL`] if the module is
    ///   not known to Tether.
    ///
    /// C: `__mmu_notifier_register()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_notifier_register")]
    pub fn new<'a, E>(
        mm: &'a MmWithUser,
        notifier: impl PinInit<T, E> + 'a,
    ) -> impl Init<Self, Error> + 'a
    where
        Error: From<E>,
        E: 'a,
    {
        in_place(move || {
            let owner = Owner::of(Self::remove as *const ())?;
            let space = SpaceRef::get(mm)?;
            let inner = KBox::<Inner<T>>::pin_init::<Error>(
                try_pin_init!(Inner {
                    head <- Head::new(owner, Self::ATTACHMENT_OPS, Self::KIND, space),
                    subscribed <- Subscribed::new(notifier, &Subscribed::<T>::OPS),
                }? Error),
                GFP_KERNEL_ACCOUNT,
            )?;
            // SAFETY: `subscribed` is not registered. It and the head are pinned in one allocation.
            // If this succeeds, both stay valid until the notifier was removed, because
            // `Kind::free` is called after `Kind::remove`.
            unsafe { inner.subscribed.register(&inner.head, mm) }?;
            // SAFETY: The allocation stays pinned: it is not moved until `free()` drops the box.
            let inner = KBox::leak(unsafe { Pin::into_inner_unchecked(inner) });
            // INVARIANT: `inner` was registered above, with callbacks of `T`; `Head::new()` counts
            // the reference of the registration.
            Ok(Self {
                inner: NonNull::from(inner),
                _type: PhantomData,
            })
        })
    }

    #[inline]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type's invariants, `inner` is valid, as the registration owns a reference.
        unsafe { self.inner.as_ref() }
    }

    /// Returns the notifier.
    pub fn notifier(&self) -> &T {
        &self.inner().subscribed.notifier
    }

    /// Returns whether `mm` is the address space that the notifier is registered on.
    ///
    /// A forked child, and a program that the process executes, has another address space.
    pub fn is_on(&self, mm: &Mm) -> bool {
        core::ptr::eq(self.inner().head.space().mm().as_raw(), mm.as_raw())
    }

    /// Removes the notifier, and waits until it was removed and dropped.
    ///
    /// # Context
    ///
    /// Process context, may sleep; takes some milliseconds at least. Must not be called in a
    /// callback of a notifier, nor with locks held that a callback takes.
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
    /// C: `mmu_notifier_unregister()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_notifier_unregister")]
    pub fn unregister(self) -> Result {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type's invariants, `inner` was registered and attached, and one reference
        // is the registration's. It is not used again, as `ManuallyDrop` prevents the drop. `KIND`
        // is the constant of this type in this module.
        unsafe { this.inner().head.unregister(Self::KIND) }
    }

    /// # Safety
    ///
    /// As for [`Kind::remove`], with the head of an `Inner<T>`.
    unsafe fn remove(head: NonNull<Head>) {
        // SAFETY: The caller guarantees that `head` is the head of a valid `Inner<T>`. The head is
        // its first field, and `Inner` is `repr(C)`.
        let inner = unsafe { head.cast::<Inner<T>>().as_ref() };
        // SAFETY: The caller guarantees that the notifier is registered, that no other task removes
        // it, and that this is not called in a callback.
        unsafe { inner.subscribed.unregister(&inner.head) };
    }

    /// # Safety
    ///
    /// As for [`Kind::free`], with the head of an `Inner<T>`.
    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: `new()` has leaked the allocation from a box, and the caller guarantees that
        // nothing uses the allocation any more.
        drop(unsafe { KBox::from_raw(head.cast::<Inner<T>>().as_ptr()) });
    }
}

impl<T: MmuNotifier> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants, `inner` was registered and attached, and one reference
        // is the registration's. It is not used again. `KIND` is the constant of this type in this
        // module.
        unsafe { self.inner().head.drop_handle(Self::KIND) };
    }
}

/// Creates an initialiser that calls `make`, which may sleep, and writes its result.
///
/// All registrations are created by such an initialiser.
///
/// # Errors
///
/// [`EDEADLK`] if the caller must not sleep; those of `make`.
pub(super) fn in_place<T>(make: impl FnOnce() -> Result<T>) -> impl Init<T, Error> {
    let write = |slot: *mut T| {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        let made = make()?;
        // SAFETY: `init_from_closure()` guarantees that `slot` is valid for writes.
        unsafe { slot.write(made) };
        Ok(())
    };
    // SAFETY: If the closure succeeds, it has initialised `slot`; if it fails, it has not written
    // to `slot`. The value may be moved, as `make` has returned it by value.
    unsafe { pin_init::init_from_closure(write) }
}
