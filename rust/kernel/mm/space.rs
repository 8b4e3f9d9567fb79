// SPDX-License-Identifier: GPL-2.0

//! Address spaces with notifiers: registering them killably, and freeing them later.
//!
//! Each address space with a registration of Tether's has one [`Space`]. It keeps the `mm_struct`
//! (`mmgrab()`), knows whether the kernel's interval tree has been set up, and has the list of
//! registrations that were dropped and are to be removed and freed.
//!
//! Dropping a registration does not wait: the kernel's functions that remove a notifier wait for
//! running callbacks, so that a drop inside a callback would wait for itself. The drop puts the
//! [`Head`] of the registration on the list of its [`Space`], and a work item removes and frees it.
//! The list is per address space, so that a slow callback on one address space does not delay
//! another one. The owner of the registration is kept entered until the memory was freed, hence the
//! end of its module waits for this.

use super::{
    mmu_notifier::Refusal,
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
    error::to_result,
    prelude::*,
    static_lock_class,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    },
    tether::{
        list_head,
        read_once, //
    },
    types::Opaque, //
};
use core::{
    cell::Cell,
    ptr::{
        self,
        NonNull, //
    }, //
};

// The external build needs the paths: its root includes this folder by a path.
#[path = "space/head.rs"]
mod head;
#[path = "space/locks.rs"]
mod locks;
#[path = "space/patience.rs"]
mod patience;
#[path = "space/removal.rs"]
mod removal;

use head::free_dead;
pub(super) use head::{
    Head,
    Kind, //
};
use locks::AllLocked;
#[cfg(CONFIG_HMM_MIRROR)]
pub(super) use locks::ReadLocked;
pub(super) use patience::Patience;
use patience::DEFAULT_LIMIT;

/// How many registrations on one address space may wait for their removal before a new one has to
/// wait.
const MAX_BURIED: u32 = 64;

/// The same for an interval notifier, whose removal does not wait for a grace period.
const MAX_BURIED_RANGES: u32 = 16384;

/// All spaces.
static TABLE: Table = Table::new();

/// Creates the table, once, before any driver can register a notifier.
pub(crate) fn init() -> Result {
    TABLE.init(c"tether::space", static_lock_class!())
}

/// An address space with registrations.
///
/// # Invariants
///
/// * `refs` counts the [`SpaceRef`]s, and only changes with the lock of `bucket` held. `links` are
///   in the list of `bucket` while it is not zero.
/// * `dead` is a list of heads, linked by `next`, whose handles were dropped. Each holds a
///   [`SpaceRef`]. Whenever it becomes non-empty `work` is queued, and each run of the work item
///   empties it once.
#[pin_data]
pub(super) struct Space {
    mm: ARef<Mm>,
    bucket: &'static Bucket,
    refs: Cell<usize>,
    /// Whether the kernel has an interval tree for this address space, which it keeps.
    has_tree: Atomic<bool>,
    dead: Atomic<*const Head>,
    /// How many registrations were dropped, and are not being removed yet.
    buried: Atomic<u32>,
    #[pin]
    links: Opaque<bindings::list_head>,
    #[pin]
    work: Opaque<bindings::work_struct>,
}

impl Space {
    /// Finds the space of `mm`, and takes a reference to it.
    #[inline]
    fn find(bucket: &Locked<'_>, mm: *const bindings::mm_struct) -> Option<SpaceRef> {
        bucket.find(|links| {
            // SAFETY: The entries of this table are the links of `Space`s, which are valid while
            // they are in the list.
            let space = unsafe { &*container_of!(links, Space, links) };
            ptr::eq(space.mm.as_raw(), mm).then(|| {
                space.refs.set(space.refs.get() + 1);
                // INVARIANT: The reference was counted just now, with the lock held.
                SpaceRef(NonNull::from(space))
            })
        })
    }
}

/// A reference to a [`Space`].
///
/// # Invariants
///
/// It is counted in `refs` of the space.
pub(super) struct SpaceRef(NonNull<Space>);

impl SpaceRef {
    /// Finds the space of `mm`, or creates it. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    #[inline]
    pub(super) fn get(mm: &MmWithUser) -> Result<Self> {
        let bucket = TABLE.bucket(mm.as_raw());
        let found = Space::find(&bucket.lock(), mm.as_raw());
        match found {
            Some(space) => Ok(space),
            None => Self::create(mm, bucket),
        }
    }

    #[cold]
    fn create(mm: &MmWithUser, bucket: &'static Bucket) -> Result<Self> {
        let without_users: &Mm = mm;
        let space = KBox::pin_init(
            pin_init!(Space {
                mm: ARef::from(without_users),
                bucket,
                refs: Cell::new(1),
                has_tree: Atomic::new(false),
                dead: Atomic::new(ptr::null()),
                buried: Atomic::new(0),
                links <- list_head(),
                work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                    // SAFETY: `slot` is valid for writes, and pinned.
                    unsafe { bindings::tether_init_work(slot, Some(free_dead)) };
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let bucket = bucket.lock();
        if let Some(other) = Space::find(&bucket, mm.as_raw()) {
            return Ok(other);
        }
        // SAFETY: The links are initialised and in no list. The space is freed by the drop of the
        // last reference, which takes them off the list.
        unsafe { bucket.add(&space.links) };
        // INVARIANT: `refs` was initialised to one, for this reference.
        //
        // SAFETY: The space stays where it is: it is freed by the drop of the last reference.
        Ok(Self(NonNull::from(KBox::leak(unsafe {
            Pin::into_inner_unchecked(space)
        }))))
    }

    /// The address space. Its users may be gone.
    #[inline]
    pub(super) fn mm(&self) -> &Mm {
        &self.space().mm
    }

    #[inline]
    fn space(&self) -> &Space {
        // SAFETY: By the type's invariants the space is valid while there is a reference.
        unsafe { self.0.as_ref() }
    }

    /// Registers `subscription` on the address space, which `mm` is; and, if it may refuse, inserts
    /// the subscription by which it does, for all addresses.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`];
    /// * [`EINTR`] if a signal is pending, or a kernel thread is asked to stop;
    /// * [`EDEADLK`] if the current task holds the `mmap_lock` of `mm` for writing;
    /// * [`EBUSY`] if this is a kernel thread, and a lock of `mm` was not free for ten seconds.
    ///
    /// # Safety
    ///
    /// The subscriptions must have their functions, not be registered, and stay valid until they
    /// were removed.
    #[inline(never)]
    pub(super) unsafe fn register(
        &self,
        mm: &MmWithUser,
        subscription: *mut bindings::mmu_notifier,
        refusal: Option<Refusal>,
    ) -> Result {
        self.wait_for_removals(MAX_BURIED)?;
        let locked = AllLocked::take(mm)?;
        if let Some(refusal) = &refusal {
            // SAFETY: The `mmap_lock` is held for writing, the address space has users for as long
            // as the borrow, and by the function's contract the subscription may be inserted.
            to_result(unsafe {
                bindings::mmu_interval_notifier_insert_locked(
                    refusal.subscription,
                    mm.as_raw(),
                    0,
                    usize::MAX,
                    refusal.ops,
                )
            })?;
            self.space().has_tree.store(true, Relaxed);
        }
        // SAFETY: The `mmap_lock` is held for writing, the address space has users for as long as
        // the borrow, and by the function's contract the subscription is valid and not registered.
        let ret =
            to_result(unsafe { bindings::__mmu_notifier_register(subscription, mm.as_raw()) });
        drop(locked);
        if let (Err(_), Some(refusal)) = (&ret, &refusal) {
            // SAFETY: It was inserted above, and this is no callback.
            unsafe { bindings::mmu_interval_notifier_remove(refusal.subscription) };
        }
        ret
    }

    /// Waits while many registrations on the address space were dropped and are not removed yet.
    ///
    /// A removal may take as long as a grace period of SRCU. Without a limit, a process that
    /// registers and drops in a loop keeps the module from being removed for a long time
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Those of [`Patience::check`].
    #[inline]
    fn wait_for_removals(&self, limit: u32) -> Result {
        if read_once(&self.space().buried) < limit {
            return Ok(());
        }
        self.wait_for_many_removals(limit)
    }

    #[cold]
    #[inline(never)]
    fn wait_for_many_removals(&self, limit: u32) -> Result {
        let patience = Patience::new(Some(DEFAULT_LIMIT));
        while read_once(&self.space().buried) >= limit {
            patience.pause()?;
        }
        Ok(())
    }

    /// Inserts `subscription` into the interval tree of the address space, which `mm` is.
    ///
    /// The locks of the address space are only taken for the first one.
    ///
    /// # Errors
    ///
    /// Those of [`SpaceRef::register`]; [`EOVERFLOW`] if the range is empty, or goes beyond the
    /// last address.
    ///
    /// # Safety
    ///
    /// The subscription must be valid for writes and not be inserted; it, and `ops`, must stay
    /// valid until the subscription was removed.
    #[inline]
    pub(super) unsafe fn insert(
        &self,
        mm: &MmWithUser,
        subscription: *mut bindings::mmu_interval_notifier,
        start: usize,
        length: usize,
        ops: *const bindings::mmu_interval_notifier_ops,
    ) -> Result {
        self.wait_for_removals(MAX_BURIED_RANGES)?;
        let ret = if read_once(&self.space().has_tree) {
            // SAFETY: By the function's contract the subscription and its functions are valid. The
            // address space has users for as long as the borrow.
            unsafe {
                bindings::mmu_interval_notifier_insert(
                    subscription,
                    mm.as_raw(),
                    start,
                    length,
                    ops,
                )
            }
        } else {
            // SAFETY: The requirements are those of this function.
            unsafe { self.insert_first(mm, subscription, start, length, ops)? }
        };
        // `to_result()` is a call.
        if ret == 0 {
            Ok(())
        } else {
            Err(Error::from_errno(ret))
        }
    }

    /// Inserts the first one, under the locks that this needs.
    ///
    /// # Safety
    ///
    /// As for [`SpaceRef::insert`].
    #[cold]
    #[inline(never)]
    unsafe fn insert_first(
        &self,
        mm: &MmWithUser,
        subscription: *mut bindings::mmu_interval_notifier,
        start: usize,
        length: usize,
        ops: *const bindings::mmu_interval_notifier_ops,
    ) -> Result<c_int> {
        let _locked = AllLocked::take(mm)?;
        // SAFETY: The `mmap_lock` is held for writing; the rest is the function's contract.
        let ret = unsafe {
            bindings::mmu_interval_notifier_insert_locked(
                subscription,
                mm.as_raw(),
                start,
                length,
                ops,
            )
        };
        if ret == 0 {
            self.space().has_tree.store(true, Relaxed);
        }
        Ok(ret)
    }
}

impl Drop for SpaceRef {
    fn drop(&mut self) {
        let bucket = self.space().bucket;
        {
            let _locked = bucket.lock();
            let space = self.space();
            let refs = space.refs.get() - 1;
            space.refs.set(refs);
            if refs != 0 {
                return;
            }
            // SAFETY: The entry is in the list, as there was a reference, and the lock is held.
            unsafe { bindings::tether_list_del_init(space.links.get()) };
        }
        // SAFETY: `create()` has leaked it from a box. The last reference was dropped, and it is
        // not found any more. Its work item is not queued: the heads on its list hold references.
        drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
    }
}
