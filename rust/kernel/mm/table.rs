// SPDX-License-Identifier: GPL-2.0

//! A hash table of objects, by the address space that they belong to.

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

/// The table, which is allocated by [`Table::init`].
pub(super) struct Table(SetOnce<Pin<KBox<[Bucket; BUCKETS]>>>);

/// The objects of some address spaces.
///
/// # Invariants
///
/// `list` is the head of an initialised list. It is only touched with `lock` held.
#[pin_data]
pub(super) struct Bucket {
    #[pin]
    lock: SpinLock<()>,
    #[pin]
    list: Opaque<bindings::list_head>,
}

// SAFETY: By the type's invariants the list is only touched with the lock held.
unsafe impl Send for Bucket {}
// SAFETY: By the type's invariants the list is only touched with the lock held.
unsafe impl Sync for Bucket {}

/// A locked bucket.
pub(super) struct Locked<'a> {
    bucket: &'a Bucket,
    _guard: SpinLockGuard<'a, ()>,
}

impl Table {
    pub(super) const fn new() -> Self {
        Self(SetOnce::new())
    }

    /// Allocates the table, once, before any driver can use it.
    pub(super) fn init(&self, name: &'static CStr, key: Pin<&'static LockClassKey>) -> Result {
        let buckets = KBox::pin_init(
            pin_init::pin_init_array_from_fn(|_| {
                // INVARIANT: `list_head()` initialises the list.
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

    /// The bucket of `mm`, which is only compared.
    #[inline]
    pub(super) fn bucket(&self, mm: *const bindings::mm_struct) -> &Bucket {
        match self.0.as_ref() {
            Some(buckets) => &buckets[mm as usize / size_of::<bindings::mm_struct>() % BUCKETS],
            // `init()` has allocated it.
            None => unreachable!(),
        }
    }
}

impl Bucket {
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked {
            bucket: self,
            _guard: self.lock.lock(),
        }
    }
}

impl Locked<'_> {
    /// Adds an object by its links.
    ///
    /// # Safety
    ///
    /// The links must be initialised and in no list. They must stay valid until they are taken off
    /// the list, with the lock held.
    pub(super) unsafe fn add(&self, links: &Opaque<bindings::list_head>) {
        // SAFETY: Both are initialised, by the type's invariants and the function's contract, and
        // the lock is held.
        unsafe { bindings::list_add_tail(links.get(), self.bucket.list.get()) };
    }

    /// Calls `look` with the links of each object, until it returns something.
    ///
    /// The links were passed to [`Locked::add`], and are valid while the lock is held.
    #[inline]
    pub(super) fn find<R>(
        &self,
        look: impl Fn(*mut Opaque<bindings::list_head>) -> Option<R>,
    ) -> Option<R> {
        let list = self.bucket.list.get();
        // SAFETY: The list is initialised, and the lock is held.
        let mut links = unsafe { (*list).next };
        while !ptr::eq(links, list) {
            let found = look(Opaque::cast_from(links).cast_mut());
            if found.is_some() {
                return found;
            }
            // SAFETY: The entry is in the list, which does not change while the lock is held.
            links = unsafe { (*links).next };
        }
        None
    }
}
