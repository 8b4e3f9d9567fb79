// SPDX-License-Identifier: GPL-2.0

//! A hash table of objects, with the address space as the key.

use crate::{
    bindings,
    prelude::*,
    sync::{
        LockClassKey,
        SetOnce,
        SpinLock,
        SpinLockGuard, //
    },
    tether::list_head,
    types::Opaque, //
};
use core::ptr;

const BUCKETS: usize = 64;

/// A hash table; [`Table::init`] allocates the buckets.
pub(super) struct Table(SetOnce<Pin<KBox<[Bucket; BUCKETS]>>>);

/// A bucket of the table: the objects of all address spaces with the same hash.
///
/// # Invariants
///
/// `list` is the head of an initialised list. The list is only accessed with `lock` held.
#[pin_data]
pub(super) struct Bucket {
    #[pin]
    lock: SpinLock<()>,
    #[pin]
    list: Opaque<bindings::list_head>,
}

// SAFETY: `Send` requires that another thread may own the value. The lock is `Send`. By the type's
// invariants, the list is only accessed with the lock held, and is not tied to a thread.
unsafe impl Send for Bucket {}
// SAFETY: `Sync` requires that threads do not race on a shared bucket. The lock is `Sync`. By the
// type's invariants, the list is only accessed with the lock held.
unsafe impl Sync for Bucket {}

/// A locked bucket, which is unlocked on drop.
pub(super) struct Locked<'a> {
    bucket: &'a Bucket,
    _guard: SpinLockGuard<'a, ()>,
}

impl Table {
    /// Creates a table without buckets.
    pub(super) const fn new() -> Self {
        Self(SetOnce::new())
    }

    /// Allocates the buckets.
    ///
    /// Called once for each table, before any driver can use the table.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is not enough memory.
    pub(super) fn init(&self, name: &'static CStr, key: Pin<&'static LockClassKey>) -> Result {
        let buckets = KBox::pin_init(
            pin_init::pin_init_array_from_fn(|_| {
                // INVARIANT: `list_head()` initialises the list, and the bucket is not shared yet.
                pin_init!(Bucket {
                    lock <- SpinLock::new((), name, key),
                    list <- list_head(),
                })
            }),
            GFP_KERNEL,
        )?;
        self.0.populate(buckets);
        Ok(())
    }

    /// Returns the bucket of `mm`, which is not dereferenced.
    #[inline]
    pub(super) fn bucket(&self, mm: *const bindings::mm_struct) -> &Bucket {
        match self.0.as_ref() {
            Some(buckets) => &buckets[mm as usize / size_of::<bindings::mm_struct>() % BUCKETS],
            // `init()` has allocated the buckets before any driver can call this function.
            None => unreachable!(),
        }
    }
}

impl Bucket {
    /// Locks the bucket.
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked {
            bucket: self,
            _guard: self.lock.lock(),
        }
    }
}

impl Locked<'_> {
    /// Adds an object to the bucket by its list entry, `links`.
    ///
    /// # Safety
    ///
    /// `links` must be initialised and in no list. They must stay valid and pinned until they are
    /// removed from the list, with the lock of the bucket held.
    pub(super) unsafe fn add(&self, links: &Opaque<bindings::list_head>) {
        // SAFETY: `list_add_tail()` requires an initialised head, an entry that is in no list, and
        // no concurrent access. By the invariants of `Bucket`, the head is initialised. The caller
        // guarantees that `links` are initialised, in no list, and valid until they are removed.
        // `self` holds the lock of the bucket.
        unsafe { bindings::list_add_tail(links.get(), self.bucket.list.get()) };
    }

    /// Calls `look` with the links of each object until `look` returns `Some`, and returns this
    /// result.
    ///
    /// The links were passed to [`Locked::add`], and are valid while the lock is held. `look` must
    /// not remove them from the list.
    #[inline]
    pub(super) fn find<R>(
        &self,
        look: impl Fn(*mut Opaque<bindings::list_head>) -> Option<R>,
    ) -> Option<R> {
        let list = self.bucket.list.get();
        // SAFETY: The head must be valid, and must not change concurrently. By the invariants of
        // `Bucket`, the head is initialised, and `self` holds the lock of the bucket.
        let mut links = unsafe { (*list).next };
        while !ptr::eq(links, list) {
            let found = look(Opaque::cast_from(links).cast_mut());
            if found.is_some() {
                return found;
            }
            // SAFETY: The entry must be valid, and must not change concurrently. The entry is in
            // the list, so it is valid by the requirements of `add()`. The list only changes with
            // the lock held, and `self` holds the lock.
            links = unsafe { (*links).next };
        }
        None
    }
}
