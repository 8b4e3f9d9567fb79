// SPDX-License-Identifier: GPL-2.0

//! One notifier for an address space, shared by all who want it, that goes away by itself.
//!
//! A driver that is opened many times by a process needs one notifier for its address space, not one
//! for each file. [`Shared::get`] returns the one that is there, or makes it. When the last [`Shared`]
//! of it is dropped, it is unregistered and freed *later*: the drop does not wait, so that it may be
//! anywhere, also in the notifier's own [`release`](MmuNotifier::release). An object whose life is that
//! of an address space lets go of itself so.
//!
//! ```text
//!   Shared::get(mm) --> there is one of this type on mm? --no--> SharedNotifier::new, register
//!        |                          | yes                              |
//!        +<-------------------------+<---------------------------------+
//!
//!   the last Shared is dropped --> no callback begins any more --> those that run have returned
//!        (does not wait)                (SRCU)                          |
//!                                        the notifier is dropped, where that may sleep
//! ```
//!
//! # What holds
//!
//! * While there is a [`Shared`] the notifier is registered. Callbacks may still be running for a while
//!   after the last one was dropped; the notifier is dropped after the last of them.
//! * `release` is called when the address space ends, and not because the last [`Shared`] was
//!   dropped: what is to be done then belongs into `drop`.
//! * The module of a notifier waits, when it goes, until the notifiers that it has dropped are gone. One
//!   whose [`Shared`] was leaked is unregistered then, and not dropped.
//! * It keeps the `mm_struct` (`mmgrab()`), but not the address space.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         mmu_notifier::{
//!             MmuNotifier,
//!             ReleaseOnly, //
//!         },
//!         shared_notifier::{
//!             Shared,
//!             SharedNotifier, //
//!         },
//!         Mm,
//!         MmWithUser, //
//!     },
//!     prelude::*, //
//! };
//!
//! /// What a driver has for each process.
//! struct Process;
//!
//! impl MmuNotifier for Process {
//!     type Callbacks = ReleaseOnly;
//!
//!     fn release(&self, _mm: &Mm) {
//!         pr_info!("its last thread is gone\n");
//!     }
//! }
//!
//! impl SharedNotifier for Process {
//!     fn new(_mm: &MmWithUser) -> Result<Self> {
//!         Ok(Process)
//!     }
//! }
//!
//! /// For each file that a process opens.
//! fn open(mm: &MmWithUser) -> Result<Shared<Process>> {
//!     Shared::get(mm)
//! }
//! # let _ = open;
//! ```
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)

use super::{
    mmu_notifier::{
        MmuNotifier,
        Subscribed, //
    },
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    tether::{
        Attachment,
        Entered,
        Owner,
        What, //
    },
    types::Opaque, //
};
use core::{
    any::{
        type_name,
        TypeId, //
    },
    cell::{
        Cell,
        UnsafeCell, //
    },
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// What attachments of shared notifiers, and no others, are called.
const KIND: &str = "shared_notifier";

/// A notifier that is made for an address space when the first one asks for it.
pub trait SharedNotifier: MmuNotifier {
    /// Makes it. May sleep.
    ///
    /// If several ask at once, several may be made; all but one are dropped.
    fn new(mm: &MmWithUser) -> Result<Self>;
}

/// The part of a shared notifier that does not depend on its type.
///
/// # Invariants
///
/// * It is at the beginning of an [`Inner`], and `free` is that one's. Its subscription follows.
/// * `refs` changes under the lock of its owner's list. It is not zero as long as `attachment` is in
///   there.
/// * `entered` is set by who has dropped the last reference, and taken by who frees the memory.
/// * `mm` is only compared.
#[pin_data]
#[repr(C)]
struct Head {
    #[pin]
    attachment: Attachment,
    refs: Cell<u32>,
    type_id: TypeId,
    mm: *const bindings::mm_struct,
    entered: UnsafeCell<Option<Entered>>,
    /// Frees it, where that may sleep.
    #[pin]
    reaper: Opaque<bindings::work_struct>,
    free: unsafe fn(NonNull<Head>),
}

/// A shared notifier.
#[pin_data]
#[repr(C)]
struct Inner<T> {
    #[pin]
    head: Head,
    #[pin]
    subscribed: Subscribed<T>,
}

/// What the kernel calls when no callback is running any more; it must not sleep here.
///
/// In text that never goes away, as is [`reap`]: the notifier's module may go when that has run.
///
/// # Safety
///
/// `subscription` must be that of an [`Inner`], the last reference to which was dropped.
#[inline(never)]
unsafe extern "C" fn free_later(subscription: *mut bindings::mmu_notifier) {
    // SAFETY: The head is just before it, by the invariants of `Head`.
    let head = unsafe { &*subscription.cast::<Head>().sub(1) };
    // SAFETY: The work was initialised, and is queued once.
    unsafe { bindings::tether_queue_unbound_work(head.reaper.get()) };
}

/// Drops the notifier.
///
/// # Safety
///
/// `work` must be the reaper of a [`Head`], and be run once, after [`free_later`].
#[inline(never)]
unsafe extern "C" fn reap(work: *mut bindings::work_struct) {
    let field = Opaque::cast_from(work).cast_mut();
    // SAFETY: By the function's contract.
    let head = unsafe { NonNull::new_unchecked(container_of!(field, Head, reaper)) };
    // SAFETY: Who has dropped the last reference has left this to us. It keeps the module.
    let entered = unsafe { (*head.as_ref().entered.get()).take() };
    // SAFETY: Nobody has the notifier any more.
    unsafe { (head.as_ref().free)(head) };
    drop(entered);
}

/// A reference to the notifier of type `T` on an address space.
///
/// Dropping it never waits: it may be dropped inside the notifier's own callbacks, and where one must
/// not sleep, but not in an interrupt.
///
/// # Invariants
///
/// It is counted in `refs` of the head.
pub struct Shared<T: SharedNotifier> {
    inner: NonNull<Inner<T>>,
}

// SAFETY: A reference gives the notifier, which is `Sync`, and may be dropped anywhere, with the notifier,
// which is `Send`.
unsafe impl<T: SharedNotifier> Send for Shared<T> {}
// SAFETY: As above.
unsafe impl<T: SharedNotifier> Sync for Shared<T> {}

impl<T: SharedNotifier> Shared<T> {
    const OPS: bindings::mmu_notifier_ops = bindings::mmu_notifier_ops {
        free_notifier: Some(free_later),
        ..Subscribed::<T>::OPS
    };

    /// Returns the notifier of this type on `mm`, or makes it, registers it, and returns it.
    ///
    /// Sleeps if it has to be made; takes the `mmap_lock` of `mm` for writing then.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EINTR`] if a signal is pending;
    /// * [`ENODEV`] if the module of the notifier is going, [`EINVAL`] if it is not known to Tether;
    /// * that of [`SharedNotifier::new`].
    ///
    /// C: `mmu_notifier_get()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_notifier_get")]
    pub fn get(mm: &MmWithUser) -> Result<Self> {
        // `free_later` finds the head by its size.
        const {
            assert!(
                core::mem::offset_of!(Inner<T>, subscribed) == size_of::<Head>(),
                "a shared notifier must not have a larger alignment than a pointer"
            )
        };
        let owner = Owner::of(Self::free as *const ())?;
        if let Some(found) = Self::find(owner, mm) {
            return Ok(found);
        }
        let what = What {
            kind: KIND,
            name: type_name::<T>(),
            end: Self::end,
            release: None,
        };
        let made = KBox::pin_init(
            try_pin_init!(Inner {
                head <- pin_init!(Head {
                    attachment <- Attachment::new(owner, what),
                    refs: Cell::new(1),
                    type_id: TypeId::of::<T>(),
                    mm: mm.as_raw(),
                    entered: UnsafeCell::new(None),
                    reaper <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                        // SAFETY: `slot` is valid for writes, and pinned.
                        unsafe { bindings::tether_init_work(slot, Some(reap)) };
                    }),
                    free: Self::free,
                }),
                subscribed <- Subscribed::new(T::new(mm)?, &Self::OPS),
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: It is pinned, and unregistered before it is freed.
        let register = || unsafe { made.subscribed.register(mm) };
        // SAFETY: From here on it is freed by who has taken it off the list, or not at all.
        unsafe { made.head.attachment.attach(register) }?;
        // SAFETY: It stays pinned, behind the pointer.
        let inner = NonNull::from(KBox::leak(unsafe { Pin::into_inner_unchecked(made) }));
        // INVARIANT: The reference that it was made with.
        let made = Self { inner };
        // Somebody may have made another one meanwhile: the oldest counts, for all.
        Ok(Self::find(owner, mm).unwrap_or(made))
    }

    /// Looks for one that is there.
    fn find(owner: &'static Owner, mm: &Mm) -> Option<Self> {
        owner.find_attached(|attachment, what| {
            if what.kind != KIND {
                return None;
            }
            // SAFETY: It is the attachment of a shared notifier, as its kind shows, which is valid
            // while it is in the list.
            let head = unsafe { &*attachment.cast::<Head>() };
            if head.type_id != TypeId::of::<T>() || !ptr::eq(head.mm, mm.as_raw()) {
                return None;
            }
            // INVARIANT: The lock of the list is held.
            head.refs.set(head.refs.get().checked_add(1)?);
            // The type is `T`, in this module: it is the beginning of an `Inner<T>`.
            Some(Self {
                inner: NonNull::from(head).cast(),
            })
        })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: It is valid while there is a reference.
        unsafe { self.inner.as_ref() }
    }

    /// Whether `mm` is the address space that it is registered on.
    pub fn is_on(&self, mm: &Mm) -> bool {
        ptr::eq(self.inner().head.mm, mm.as_raw())
    }

    /// Drops the notifier, and frees it.
    ///
    /// # Safety
    ///
    /// `head` must be that of an `Inner<T>` that nobody has any more.
    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: By the function's contract; it was a box.
        drop(unsafe { KBox::from_raw(head.cast::<Inner<T>>().as_ptr()) });
    }

    /// The owner's end has found it: who has references has leaked them.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of an `Inner<T>`.
        let this = unsafe { &*attachment.cast::<Inner<T>>() };
        // SAFETY: It is registered, as its attachment was in the list until now; this is no callback.
        unsafe { this.subscribed.unregister() };
    }
}

impl<T: SharedNotifier> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().subscribed.notifier
    }
}

impl<T: SharedNotifier> Drop for Shared<T> {
    fn drop(&mut self) {
        let inner = self.inner();
        let head = &inner.head;
        let last = || {
            // INVARIANT: The lock of the list is held.
            head.refs.set(head.refs.get() - 1);
            head.refs.get() == 0
        };
        // If its owner's end was earlier, then it is leaked.
        if let Some(entered) = head.attachment.detach_if(last) {
            // SAFETY: Nobody else has it any more.
            unsafe { *head.entered.get() = Some(entered) };
            // SAFETY: It is registered, as it was in the list until now, and stays valid until it is
            // freed by way of `free_later`.
            unsafe { inner.subscribed.put() };
        }
    }
}
