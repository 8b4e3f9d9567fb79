// SPDX-License-Identifier: GPL-2.0

//! Shared notifiers: one reference-counted notifier for all users of an address space.
//!
//! If a process opens a driver's device many times, the driver needs one notifier for the address
//! space, not one for each file. [`Shared::get`] returns the existing notifier, or creates it. When
//! the last [`Shared`] is dropped, the notifier is unregistered and freed *later*: the drop does
//! not wait, and is allowed in any callback, including the notifier's own
//! [`release`](MmuNotifier::release). Hence a notifier that is to live as long as the address space
//! can own a [`Shared`] of itself, and drop it in `release`.
//!
//! ```text
//!   Shared::get(mm) --> notifier of this type on mm? --no--> SharedNotifier::new(), register
//!        |                          | yes                              |
//!        +<-------------------------+<---------------------------------+
//!
//!   last Shared dropped -------> a work item unregisters the notifier,
//!        (does not wait)         and waits for running callbacks
//!                                           |
//!                                the notifier is dropped, where it may sleep
//! ```
//!
//! # Guarantees
//!
//! * While a [`Shared`] exists, the notifier is registered, unless the teardown of its module has
//!   removed it. Callbacks may still run after the last [`Shared`] was dropped; the notifier is
//!   dropped after the last callback.
//! * `release` is called when the address space ends. It is not called because the last [`Shared`]
//!   was dropped; a driver that has to clean up in this case does so in `drop` of the notifier.
//! * The teardown of the module waits until all dropped notifiers are freed. If a [`Shared`] was
//!   leaked, the teardown unregisters the notifier, which calls `release` unless it was called
//!   before. The notifier is dropped with the last [`Shared`].
//! * A shared notifier keeps the `mm_struct` (`mmgrab()`), but not the address space.
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
//! /// The driver's data of a process.
//! struct Process;
//!
//! impl MmuNotifier for Process {
//!     type Callbacks = ReleaseOnly;
//!
//!     fn release(&self, _mm: &Mm) {
//!         pr_info!("the address space has ended\n");
//!     }
//! }
//!
//! impl SharedNotifier for Process {
//!     fn new(_mm: &MmWithUser) -> Result<Self> {
//!         Ok(Process)
//!     }
//! }
//!
//! /// Returns the data of the process, for each file that it opens.
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

/// A notifier that is created for an address space by the first call of [`Shared::get`].
pub trait SharedNotifier: MmuNotifier {
    /// Creates a notifier for `mm`.
    ///
    /// If several tasks call [`Shared::get`] at the same time, several notifiers may be created and
    /// registered. All but one of them are removed and dropped.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    ///
    /// # Errors
    ///
    /// [`Shared::get`] returns the error of this function.
    fn new(mm: &MmWithUser) -> Result<Self>;
}

/// The key of a shared notifier in the table.
///
/// The pointers are only compared, and never dereferenced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    mm: *const bindings::mm_struct,
    owner: *const Owner,
    type_id: TypeId,
}

/// The table of all shared notifiers.
static TABLE: Table = Table::new();

/// Initialises the table of shared notifiers. Called once, before any driver can get a notifier.
pub(super) fn init() -> Result {
    TABLE.init(c"tether::shared_notifier", static_lock_class!())
}

/// The part of a shared notifier that does not depend on its type.
///
/// # Invariants
///
/// * The head is at the beginning of an [`Inner`], and `base` is at the beginning of the head.
/// * `refs`, `ended` and `links` are only accessed under the lock of `bucket`. While `links` are in
///   the list of `bucket`, `refs` is not zero and `ended` is false.
/// * `refs` counts the [`Shared`]s. Together, they own the handle's reference to `base`, which is
///   dropped when `refs` becomes zero.
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
    /// Whether the notifier is being removed, and must not be added to the table any more.
    ended: Cell<bool>,
}

impl Head {
    /// Creates a head with one reference, which is not in the table.
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
    ///
    /// Returns `None` if the table has no such head, or if its reference count would overflow.
    fn find(key: &Key) -> Option<NonNull<Self>> {
        Self::find_locked(&TABLE.bucket(key.mm).lock(), key)
    }

    /// As [`Head::find`]; `bucket` must be the bucket of the key.
    fn find_locked(bucket: &Locked<'_>, key: &Key) -> Option<NonNull<Self>> {
        let found = bucket.find(|links| {
            // SAFETY: `container_of!` requires the `links` of a `Head`, which must be valid. Only
            // `publish()` adds entries to this table, which are the links of a `Head`. A head is
            // valid while its links are in the list.
            let head = unsafe { &*container_of!(links, Head, links) };
            (head.key == *key).then_some(head)
        })?;
        // INVARIANT: `bucket` is locked. `refs` is incremented for the returned reference.
        found.refs.set(found.refs.get().checked_add(1)?);
        Some(NonNull::from(found))
    }

    /// Adds the head to the table, unless the table has a head with the same key.
    ///
    /// If so, takes a reference to that head, and returns it. A head that is being removed is not
    /// added.
    fn publish(&self) -> Option<NonNull<Self>> {
        let bucket = self.bucket.lock();
        if let Some(other) = Self::find_locked(&bucket, &self.key) {
            return Some(other);
        }
        if !self.ended.get() {
            // INVARIANT: The lock of the bucket is held, the caller owns a reference, so `refs` is
            // not zero, and `ended` is false.
            //
            // SAFETY: `add()` requires initialised links that are in no list, and that stay valid
            // until they are removed. `new()` has initialised the links, and a head is published
            // once. The head is freed after its last reference was dropped; `put()` has then
            // removed the links from the list, unless `set_ended()` has done so before.
            unsafe { bucket.add(&self.links) };
        }
        None
    }

    /// Removes the head from the table, if it is in the table.
    ///
    /// The lock of `bucket` must be held.
    fn withdraw(&self) {
        // SAFETY: `list_del_init()` requires initialised links, and no concurrent access to the
        // list. `new()` has initialised the links, which are in the list or point to themselves.
        // The callers hold the lock of the bucket.
        unsafe { bindings::tether_list_del_init(self.links.get()) };
    }

    /// Drops a reference, and returns whether it was the last reference.
    ///
    /// The last reference removes the head from the table.
    fn put(&self) -> bool {
        let _locked = self.bucket.lock();
        // INVARIANT: The lock of the bucket is held. If `refs` becomes zero, the links are removed
        // from the list before the lock is released.
        self.refs.set(self.refs.get() - 1);
        let last = self.refs.get() == 0;
        if last {
            self.withdraw();
        }
        last
    }

    /// Removes the head from the table because the notifier is being removed.
    ///
    /// Returns whether there are references to the head.
    fn set_ended(&self) -> bool {
        let _locked = self.bucket.lock();
        // INVARIANT: The lock of the bucket is held, and the links are removed from the list before
        // the lock is released.
        self.ended.set(true);
        self.withdraw();
        self.refs.get() != 0
    }

    /// Drops a reference. If it is the last reference, the notifier is removed and dropped later.
    ///
    /// # Context
    ///
    /// Any context. Does not sleep.
    ///
    /// # Safety
    ///
    /// The notifier must have been registered. `kind` must be the constant for its type in the
    /// module that contains the caller's text. The caller must own the reference, and must not use
    /// the head again.
    #[inline(never)]
    unsafe fn drop_reference(&self, kind: &'static Kind) {
        // In an interrupt, the interrupted task may hold the lock of the bucket. The reference is
        // leaked then.
        if may_sleep() && self.put() {
            // SAFETY: `drop_handle()` requires that the registration was attached, that `kind` is
            // the constant of the caller's module, that the caller owns the handle's reference, and
            // that the head is not used again. The caller guarantees the registration, which
            // attaches, and `kind`. By the type's invariants, the references together own the
            // handle's reference, and `put()` has dropped the last of them.
            unsafe { self.base.drop_handle(kind) };
        }
    }
}

/// The allocation of a shared notifier.
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
/// Dropping a reference does not wait: if it was the last reference, the notifier is removed and
/// freed later.
///
/// # Context
///
/// May be dropped in any context, and inside any callback. If it is dropped in an interrupt or with
/// interrupts disabled, the reference is leaked: the teardown of the module removes the notifier,
/// and the memory of the notifier is not freed.
///
/// # Invariants
///
/// `inner` is valid, and was registered. This reference is counted in `refs` of its head.
pub struct Shared<T: SharedNotifier> {
    inner: NonNull<Inner<T>>,
    /// Invariant in `T`, as `T` determines the callbacks.
    _type: PhantomData<*mut T>,
}

// SAFETY: `Send` requires that another thread may use and drop the value. A reference gives access
// to the notifier, which is `Sync`. The reference may be dropped by any thread, as `refs` changes
// under a lock. The drop may drop the notifier in another thread, and the notifier is `Send`.
unsafe impl<T: SharedNotifier> Send for Shared<T> {}
// SAFETY: `Sync` requires that threads do not race on a shared value. A shared reference to a
// `Shared` only gives access to the notifier, which is `Sync`, and to the key, which is constant.
unsafe impl<T: SharedNotifier> Sync for Shared<T> {}

impl<T: SharedNotifier> Shared<T> {
    const ATTACHMENT_OPS: &'static AttachmentOps =
        &space::Head::attachment_ops("shared_notifier", type_name::<T>);

    const KIND: &'static Kind = &Kind {
        remove: Self::remove,
        free: Self::free,
    };

    /// Returns the notifier of this type on `mm`, which is created and registered if there is none.
    ///
    /// # Context
    ///
    /// Process context, may sleep. If the notifier has to be created, this function takes the locks
    /// that [`Registration::new`](super::mmu_notifier::Registration::new) takes. The caller must
    /// hold none of these locks, and must not be in a callback of a notifier.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if the caller must not sleep;
    /// * if the notifier has to be created: those of
    ///   [`Registration::new`](super::mmu_notifier::Registration::new), and those of
    ///   [`SharedNotifier::new`].
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
            // SAFETY: `from_head()` requires the head of a registered `Inner<T>`, and a reference
            // that the caller owns. The key of the head has the identifier of `T` and the same
            // owner module, so the head is that of an `Inner<T>`. Only registered notifiers are in
            // the table. `find()` has taken the reference.
            Some(head) => Ok(unsafe { Self::from_head(head) }),
            None => Self::make(mm, owner, key),
        }
    }

    /// Creates and registers a notifier, and adds it to the table.
    ///
    /// If another task has added a notifier meanwhile, returns that notifier.
    ///
    /// # Errors
    ///
    /// Those of [`Shared::get`].
    #[cold]
    fn make(mm: &MmWithUser, owner: &'static Owner, key: Key) -> Result<Self> {
        let space = SpaceRef::get(mm)?;
        let made = KBox::pin_init(
            try_pin_init!(Inner {
                // INVARIANT: The head is at the beginning of an `Inner<T>`, and is not in the
                // table. `refs` is one, for the `Shared` that is created below.
                head <- Head::new(owner, Self::ATTACHMENT_OPS, Self::KIND, key, space),
                subscribed <- Subscribed::new(T::new(mm)?, &Subscribed::<T>::OPS),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        // SAFETY: `register()` requires a notifier that is not registered, and that stays pinned
        // and valid, with the head, until it was removed. The notifier was created above, in one
        // pinned allocation with the head. If this succeeds, the allocation is leaked below, and
        // freed by `Kind::free`, which is called after `Kind::remove`.
        unsafe { made.subscribed.register(&made.head.base, mm) }?;
        // SAFETY: `into_inner_unchecked()` requires that the value is not moved. The allocation is
        // not moved until `free()` drops the box.
        let inner = NonNull::from(KBox::leak(unsafe { Pin::into_inner_unchecked(made) }));
        // INVARIANT: `inner` was created and registered above. `Head::new()` has initialised `refs`
        // to one, for this reference.
        let made = Self {
            inner,
            _type: PhantomData,
        };
        // If another task has published a notifier meanwhile, all tasks use the published notifier,
        // and the drop of `made` removes the new notifier.
        Ok(match made.inner().head.publish() {
            // SAFETY: `from_head()` requires the head of a registered `Inner<T>`, and a reference
            // that the caller owns. The head has the same key, hence the same type and owner, and
            // only registered notifiers are in the table. `publish()` has taken the reference.
            Some(head) => unsafe { Self::from_head(head) },
            None => made,
        })
    }

    /// Creates a reference from the head of a notifier.
    ///
    /// # Safety
    ///
    /// `head` must be the head of a valid `Inner<T>` that was registered. The caller must own a
    /// reference to the head, which passes to the returned value.
    unsafe fn from_head(head: NonNull<Head>) -> Self {
        // INVARIANT: The caller guarantees that `head` is that of a valid `Inner<T>`, which was
        // registered, and passes a reference that is counted in `refs`. The head is at the
        // beginning of the `Inner<T>`, which is `repr(C)`.
        Self {
            inner: head.cast(),
            _type: PhantomData,
        }
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type's invariants, `inner` is valid, as this reference is counted.
        unsafe { self.inner.as_ref() }
    }

    /// Returns whether `mm` is the address space that the notifier is registered on.
    ///
    /// A forked child, and a program that the process executes, has another address space.
    pub fn is_on(&self, mm: &Mm) -> bool {
        ptr::eq(self.inner().head.key.mm, mm.as_raw())
    }

    /// # Safety
    ///
    /// As for [`Kind::remove`], with the head of an `Inner<T>`.
    unsafe fn remove(head: NonNull<space::Head>) {
        // SAFETY: The caller guarantees that `head` is the head of a valid `Inner<T>`. It is at the
        // beginning of the `Inner<T>`, as both `Inner` and `Head` are `repr(C)`.
        let inner = unsafe { head.cast::<Inner<T>>().as_ref() };
        if !inner.head.set_ended() {
            // The last reference was dropped. `mmu_notifier_unregister()` would call `release`,
            // which is only called for the end of the address space or of the module.
            inner.subscribed.set_released();
        }
        // SAFETY: `unregister()` requires that the notifier is registered with this head, that no
        // other task unregisters it, and that this is not a callback. The caller guarantees that
        // the notifier is registered, that this function is called once, and that it is not called
        // in a callback. `make()` has registered the notifier with this head.
        unsafe { inner.subscribed.unregister(&inner.head.base) };
    }

    /// # Safety
    ///
    /// As for [`Kind::free`], with the head of an `Inner<T>`.
    unsafe fn free(head: NonNull<space::Head>) {
        // SAFETY: `from_raw()` requires a pointer that was leaked from a box, and that is not used
        // otherwise. `make()` has leaked the allocation from a box, and the caller guarantees that
        // nothing uses the allocation any more.
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
        // SAFETY: `drop_reference()` requires that the notifier was registered, that the caller
        // owns a reference, which is not used again, and that `KIND` is the constant of this
        // module. By the type's invariants, the notifier was registered and this reference is
        // counted; it is being dropped. `KIND` is instantiated in the same module as this function.
        unsafe { self.inner().head.drop_reference(Self::KIND) };
    }
}
