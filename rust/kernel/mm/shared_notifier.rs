// SPDX-License-Identifier: GPL-2.0

//! One notifier for an address space, which is shared by its users and freed with the last one.
//!
//! A driver that is opened many times by a process needs one notifier for its address space, not
//! one for each file. [`Shared::get`] returns the one that is there, or makes it. When the last
//! [`Shared`] of it is dropped, it is unregistered and freed *later*: the drop does not wait, so
//! that it may be anywhere, also in the notifier's own [`release`](MmuNotifier::release). An object
//! whose life is that of an address space lets go of itself so.
//!
//! ```text
//!   Shared::get(mm) --> there is one of this type on mm? --no--> SharedNotifier::new, register
//!        |                          | yes                              |
//!        +<-------------------------+<---------------------------------+
//!
//!   the last Shared is dropped --> a work item removes it, and waits for running callbacks
//!        (does not wait)                                            |
//!                                        the notifier is dropped, where that may sleep
//! ```
//!
//! # Guarantees
//!
//! * While there is a [`Shared`] the notifier is registered. Callbacks may still be running for a
//!   while after the last one was dropped; the notifier is dropped after the last of them.
//! * `release` is called when the address space ends, and not because the last [`Shared`] was
//!   dropped: what is to be done then belongs into `drop`.
//! * The end of the module waits until notifiers that were dropped are freed. A notifier with a
//!   leaked [`Shared`] is unregistered then, and dropped with the last [`Shared`].
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
    space::{
        self,
        Kind,
        SpaceRef, //
    },
    table::{
        Bucket,
        Locked,
        Table, //
    },
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    static_lock_class,
    tether::{
        list_head,
        may_sleep,
        AttachmentOps, //
        Owner,
    },
    types::Opaque, //
};
use core::{
    any::{
        type_name,
        TypeId, //
    },
    cell::Cell,
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// A notifier that is made for an address space when the first one asks for it.
pub trait SharedNotifier: MmuNotifier {
    /// Makes it. May sleep.
    ///
    /// If several ask at once, several may be made; all but one are dropped.
    fn new(mm: &MmWithUser) -> Result<Self>;
}

/// What a shared notifier is found by. It is only compared.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    mm: *const bindings::mm_struct,
    owner: *const Owner,
    type_id: TypeId,
}

/// All shared notifiers.
static TABLE: Table = Table::new();

/// Creates the tables of notifiers, once, before a module can register a notifier.
#[no_mangle]
extern "C" fn tether_mmu_notifier_init() -> c_int {
    space::init()
        .and_then(|()| TABLE.init(c"tether::shared_notifier", static_lock_class!()))
        .map_or_else(|error| error.to_errno(), |()| 0)
}

/// The part of a shared notifier that does not depend on its type.
///
/// # Invariants
///
/// * It is at the beginning of an [`Inner`], and `base` is the head of that object.
/// * `refs`, `ended` and `links` change under the lock of `bucket`. `refs` is not zero as long as
///   `links` are in its list, which they are not if it was `ended`.
/// * All [`Shared`] have the handle's reference to `base` together. It is dropped when `refs`
///   becomes zero.
#[pin_data]
#[repr(C)]
struct Head {
    #[pin]
    base: space::Head,
    bucket: &'static Bucket,
    #[pin]
    links: Opaque<bindings::list_head>,
    key: Key,
    refs: Cell<u32>,
    /// Its module goes.
    ended: Cell<bool>,
}

impl Head {
    /// Creates one with a reference, which is not in the table.
    fn new(
        owner: &'static Owner,
        ops: &'static AttachmentOps,
        kind: &'static Kind,
        key: Key,
        space: SpaceRef,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            base <- space::Head::new(owner, ops, kind, space),
            bucket: TABLE.bucket(key.mm),
            links <- list_head(),
            key,
            refs: Cell::new(1),
            ended: Cell::new(false),
        })
    }

    /// Finds the head with this key, and takes a reference to it.
    fn find(key: &Key) -> Option<NonNull<Self>> {
        Self::find_locked(&TABLE.bucket(key.mm).lock(), key)
    }

    /// As [`Head::find`], in the bucket of the key.
    fn find_locked(bucket: &Locked<'_>, key: &Key) -> Option<NonNull<Self>> {
        let found = bucket.find(|links| {
            // SAFETY: The entries of this table are the links of `Head`s, which are valid while
            // they are in the list.
            let head = unsafe { &*container_of!(links, Head, links) };
            (head.key == *key).then_some(head)
        })?;
        // INVARIANT: The lock is held.
        found.refs.set(found.refs.get().checked_add(1)?);
        Some(NonNull::from(found))
    }

    /// Lets others find it; but if there is one with its key already, then takes a reference to
    /// that, and returns it.
    fn publish(&self) -> Option<NonNull<Self>> {
        let bucket = self.bucket.lock();
        if let Some(other) = Self::find_locked(&bucket, &self.key) {
            return Some(other);
        }
        if !self.ended.get() {
            // SAFETY: The links are initialised and in no list. The head is freed after the last
            // reference was dropped or it was ended, either of which takes them off the list.
            unsafe { bucket.add(&self.links) };
        }
        None
    }

    /// Takes it off the list. The lock must be held.
    fn withdraw(&self) {
        // SAFETY: The links are initialised, and the lock is held.
        unsafe { bindings::tether_list_del_init(self.links.get()) };
    }

    /// Drops a reference. Returns whether it was the last one.
    fn put(&self) -> bool {
        let _locked = self.bucket.lock();
        // INVARIANT: The lock is held.
        self.refs.set(self.refs.get() - 1);
        let last = self.refs.get() == 0;
        if last {
            self.withdraw();
        }
        last
    }

    /// Takes it out of the table, as it is being removed. Returns whether it is still used.
    fn set_ended(&self) -> bool {
        let _locked = self.bucket.lock();
        // INVARIANT: It is taken off the list, so that it is not found any more.
        self.ended.set(true);
        self.withdraw();
        self.refs.get() != 0
    }

    /// Drops a reference. With the last one, the notifier is removed and dropped later.
    ///
    /// # Safety
    ///
    /// The reference must be the caller's, and not be used again.
    #[inline(never)]
    unsafe fn drop_reference(&self, kind: &'static Kind) {
        // The interrupted task may hold the lock: there the reference is leaked.
        if may_sleep() && self.put() {
            // SAFETY: That was the last one of those that have the handle's reference together.
            unsafe { self.base.drop_handle(kind) };
        }
    }
}

/// A shared notifier.
#[pin_data]
#[repr(C)]
struct Inner<T: MmuNotifier> {
    #[pin]
    head: Head,
    #[pin]
    subscribed: Subscribed<T>,
}

/// A reference to the notifier of type `T` on an address space.
///
/// # Context
///
/// Dropping it does not wait. It may be dropped in any context, and inside any callback. In an
/// interrupt, and with interrupts disabled, the reference is leaked: the notifier is removed at the
/// end of its module, and its memory is not freed.
///
/// # Invariants
///
/// It is counted in `refs` of the head.
pub struct Shared<T: SharedNotifier> {
    inner: NonNull<Inner<T>>,
    /// Invariant in `T`: the callbacks were chosen by it.
    _type: PhantomData<*mut T>,
}

// SAFETY: A reference gives the notifier, which is `Sync`, and may be dropped anywhere, with the
// notifier, which is `Send`.
unsafe impl<T: SharedNotifier> Send for Shared<T> {}
// SAFETY: As above.
unsafe impl<T: SharedNotifier> Sync for Shared<T> {}

impl<T: SharedNotifier> Shared<T> {
    const ATTACHMENT_OPS: &'static AttachmentOps =
        &space::Head::attachment_ops("shared_notifier", type_name::<T>);

    const KIND: &'static Kind = &Kind {
        remove: Self::remove,
        free: Self::free,
    };

    /// Returns the notifier of this type on `mm`, or makes it, registers it, and returns it.
    ///
    /// # Context
    ///
    /// Process context. If it has to be made, this sleeps, and takes the locks that
    /// [`Registration::new`](super::mmu_notifier::Registration::new) takes.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::new`](super::mmu_notifier::Registration::new), and of
    /// [`SharedNotifier::new`].
    ///
    /// C: `mmu_notifier_get()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_notifier_get")]
    pub fn get(mm: &MmWithUser) -> Result<Self> {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        let owner = Owner::of(Self::free as *const ())?;
        let key = Key {
            mm: mm.as_raw(),
            owner,
            type_id: TypeId::of::<T>(),
        };
        match Head::find(&key) {
            // SAFETY: By its key it is that of an `Inner<T>`; the reference is ours.
            Some(head) => Ok(unsafe { Self::from_head(head) }),
            None => Self::make(mm, owner, key),
        }
    }

    /// Creates a notifier, unless another task has created one meanwhile.
    #[cold]
    fn make(mm: &MmWithUser, owner: &'static Owner, key: Key) -> Result<Self> {
        let space = SpaceRef::get(mm)?;
        let made = KBox::pin_init(
            try_pin_init!(Inner {
                // INVARIANT: It is at the beginning of an `Inner<T>`.
                head <- Head::new(owner, Self::ATTACHMENT_OPS, Self::KIND, key, space),
                subscribed <- Subscribed::new(T::new(mm)?, &Subscribed::<T>::OPS),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        // SAFETY: It is pinned, and not registered. If this succeeds it stays until it was removed,
        // as the head is freed after that.
        unsafe { made.subscribed.register(&made.head.base, mm) }?;
        // SAFETY: It stays pinned, behind the pointer.
        let inner = NonNull::from(KBox::leak(unsafe { Pin::into_inner_unchecked(made) }));
        // INVARIANT: The reference that it was made with.
        let made = Self {
            inner,
            _type: PhantomData,
        };
        // Somebody may have made another one meanwhile: the one that is found counts, for all.
        Ok(match made.inner().head.publish() {
            // SAFETY: As in `get`.
            Some(head) => unsafe { Self::from_head(head) },
            None => made,
        })
    }

    /// # Safety
    ///
    /// `head` must be that of an `Inner<T>`, and the caller own a reference to it.
    unsafe fn from_head(head: NonNull<Head>) -> Self {
        // INVARIANT: The reference is that of the caller.
        Self {
            inner: head.cast(),
            _type: PhantomData,
        }
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: It is valid while there is a reference.
        unsafe { self.inner.as_ref() }
    }

    /// Whether `mm` is the address space that it is registered on.
    pub fn is_on(&self, mm: &Mm) -> bool {
        ptr::eq(self.inner().head.key.mm, mm.as_raw())
    }

    /// # Safety
    ///
    /// As [`Kind::remove`] says, for the head of an `Inner<T>`.
    unsafe fn remove(head: NonNull<space::Head>) {
        // SAFETY: By the function's contract `head` is at the beginning of an `Inner<T>`, which is
        // valid.
        let inner = unsafe { head.cast::<Inner<T>>().as_ref() };
        if !inner.head.set_ended() {
            // `release` is not called because the last reference was dropped.
            inner.subscribed.set_released();
        }
        // SAFETY: By the function's contract it is registered, and this is no callback.
        unsafe { inner.subscribed.unregister(&inner.head.base) };
    }

    /// # Safety
    ///
    /// As [`Kind::free`] says, for the head of an `Inner<T>`.
    unsafe fn free(head: NonNull<space::Head>) {
        // SAFETY: By the function's contract nothing uses it any more; `make()` has leaked it from
        // a box.
        drop(unsafe { KBox::from_raw(head.cast::<Inner<T>>().as_ptr()) });
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
        // SAFETY: The reference is ours.
        unsafe { self.inner().head.drop_reference(Self::KIND) };
    }
}
