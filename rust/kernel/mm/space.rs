// SPDX-License-Identifier: GPL-2.0

//! Address spaces with notifiers: killable registration, and removal by a work item.
//!
//! Each address space with a registration of Tether's has one [`Space`]. The [`Space`] keeps the
//! `mm_struct` (`mmgrab()`), records whether the kernel's interval tree has been set up, and has
//! the list of registrations that were dropped and are to be removed and freed.
//!
//! Dropping a registration does not wait, because the kernel's functions that remove a notifier
//! wait for running callbacks: a drop inside a callback would wait for itself. The drop puts the
//! [`Head`] of the registration on the list of its [`Space`], and a work item removes the
//! registration and frees its memory. Each address space has its own list, so that a slow callback
//! on one address space does not delay another one. The owner of the registration is kept entered
//! until the memory was freed. Therefore the teardown of its module waits for the work item.

use super::{
    mmu_notifier::Refusal,
    shared_notifier,
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

// The files of `mm/` in the order in which to read them:
//
// * `space.rs`; in `space/`: `head.rs`, `removal.rs`, `locks.rs`, `wait_limit.rs`; `table.rs`;
// * `mmu_notifier.rs`; in `mmu_notifier/`: `callbacks.rs`, `range.rs`, `ops.rs`, `subscribed.rs`;
// * `shared_notifier.rs`;
// * `mmu_interval_notifier.rs`; in `mmu_interval_notifier/`: `passes.rs`, `shadow.rs`, `slot.rs`,
//   `invalidation.rs`, `read.rs`;
// * `hmm.rs`, `mirror.rs`, `dma_mirror.rs` and their directories: looking up pages;
// * `rust/helpers/mm.c`, `mmu_notifier.c` and `hmm.c`: wrappers.
//
// The external build needs the paths: its root includes this directory by a path.
#[path = "space/head.rs"]
mod head;
#[path = "space/locks.rs"]
mod locks;
#[path = "space/removal.rs"]
mod removal;
#[path = "space/wait_limit.rs"]
mod wait_limit;

use head::free_dead;
pub(super) use head::{
    Head,
    Kind, //
};
use locks::AllLocked;
#[cfg(CONFIG_HMM_MIRROR)]
pub(super) use locks::ReadLocked;
pub(super) use wait_limit::WaitLimit;
use wait_limit::DEFAULT_LIMIT;

/// The number of registrations on one address space that may wait for their removal before a new
/// registration has to wait.
const MAX_BURIED: u32 = 64;

/// The limit for interval notifiers. Their removal does not wait for a grace period.
const MAX_BURIED_RANGES: u32 = 16384;

/// The table of all spaces.
static TABLE: Table = Table::new();

/// Initialises the tables of spaces and of shared notifiers.
///
/// Called once, before a module can register a notifier. Returns 0, or a negative error number.
#[no_mangle]
extern "C" fn tether_mmu_notifier_init() -> c_int {
    TABLE
        .init(c"tether::space", static_lock_class!())
        .and_then(|()| shared_notifier::init())
        .map_or_else(|error| error.to_errno(), |()| 0)
}

/// An address space with registrations.
///
/// # Invariants
///
/// * `refs` counts the [`SpaceRef`]s, and only changes with the lock of `bucket` held. `links` are
///   in the list of `bucket` while `refs` is not zero.
/// * `dead` is a list of heads, linked by `next`, whose handles were dropped. Each head holds a
///   [`SpaceRef`]. `work` is queued whenever the list becomes non-empty, and each run of the work
///   item empties the list once.
#[pin_data]
pub(super) struct Space {
    mm: ARef<Mm>,
    bucket: &'static Bucket,
    refs: Cell<usize>,
    /// Whether the kernel has an interval tree for this address space. The kernel frees the tree
    /// together with the `mm_struct`.
    has_tree: Atomic<bool>,
    dead: Atomic<*const Head>,
    /// The number of registrations that were dropped, and are not being removed yet.
    buried: Atomic<u32>,
    #[pin]
    links: Opaque<bindings::list_head>,
    #[pin]
    work: Opaque<bindings::work_struct>,
}

impl Space {
    /// Returns a new reference to the space of `mm`, if there is such a space.
    #[inline]
    fn find(bucket: &Locked<'_>, mm: *const bindings::mm_struct) -> Option<SpaceRef> {
        bucket.find(|links| {
            // SAFETY: The entries of this table are the links of `Space`s, which are valid while
            // they are in the list.
            let space = unsafe { &*container_of!(links, Space, links) };
            ptr::eq(space.mm.as_raw(), mm).then(|| {
                space.refs.set(space.refs.get() + 1);
                // INVARIANT: `refs` was incremented for this reference, with the lock held.
                SpaceRef(NonNull::from(space))
            })
        })
    }
}

/// A reference to a [`Space`].
///
/// # Invariants
///
/// The reference is counted in `refs` of the space.
pub(super) struct SpaceRef(NonNull<Space>);

impl SpaceRef {
    /// Returns a reference to the space of `mm`, which is created if there is none. May sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is not enough memory.
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
                    // SAFETY: `ffi_init()` guarantees that `slot` is valid for writes, and the
                    // space is pinned.
                    unsafe { bindings::tether_init_work(slot, Some(free_dead)) };
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let bucket = bucket.lock();
        if let Some(other) = Space::find(&bucket, mm.as_raw()) {
            return Ok(other);
        }
        // SAFETY: The links are initialised and in no list, and the lock of the bucket is held. The
        // space is freed by the drop of the last reference, which takes the links off the list.
        unsafe { bucket.add(&space.links) };
        // INVARIANT: `refs` was initialised to one, for this reference.
        //
        // SAFETY: The space stays pinned: it is not moved until the drop of the last reference
        // frees the box.
        Ok(Self(NonNull::from(KBox::leak(unsafe {
            Pin::into_inner_unchecked(space)
        }))))
    }

    /// Returns the address space, which may have no users any more.
    #[inline]
    pub(super) fn mm(&self) -> &Mm {
        &self.space().mm
    }

    #[inline]
    fn space(&self) -> &Space {
        // SAFETY: By the type's invariants, this reference is counted, and the space is freed when
        // the count becomes zero.
        unsafe { self.0.as_ref() }
    }

    /// Registers `subscription` on the address space.
    ///
    /// `mm` must be that address space. If the notifier may refuse, `refusal` is inserted as an
    /// interval notifier of all addresses first.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EINTR`] if a signal is pending, or if the current task is a kernel thread that is
    ///   requested to stop;
    /// * [`EDEADLK`] if the current task holds the `mmap_lock` of `mm` for writing;
    /// * [`EBUSY`] if a lock of `mm` was not free for ten seconds, and the current task is a kernel
    ///   thread or in its exit; or if too many dropped registrations on `mm` were not removed for
    ///   ten seconds. In `open` of a misc device both limits are one second, for any task.
    ///
    /// # Safety
    ///
    /// The functions of both subscriptions must be set. The subscriptions must not be registered,
    /// and must stay valid until they were removed.
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
            // SAFETY: `locked` holds the `mmap_lock` for writing, and `mm` has users. The caller
            // guarantees that the functions of `refusal` are set, that it is not inserted, and that
            // it stays valid until it was removed.
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
        // SAFETY: `locked` holds the `mmap_lock` for writing, and `mm` has users. The caller
        // guarantees that the functions of the subscription are set, that it is not registered, and
        // that it stays valid until it was removed.
        let ret =
            to_result(unsafe { bindings::__mmu_notifier_register(subscription, mm.as_raw()) });
        drop(locked);
        if let (Err(_), Some(refusal)) = (&ret, &refusal) {
            // SAFETY: The subscription was inserted above, no other task removes it, and this is
            // not called in a callback.
            unsafe { bindings::mmu_interval_notifier_remove(refusal.subscription) };
        }
        ret
    }

    /// Returns whether the current task runs the work item that removes the dropped registrations
    /// on this address space: a destructor has called this.
    pub(super) fn is_removing(&self) -> bool {
        // SAFETY: `current_work()` has no requirements. Its result is only compared.
        ptr::eq(unsafe { bindings::current_work() }, self.space().work.get())
    }

    /// Waits while `limit` or more registrations on the address space were dropped and are not
    /// being removed yet.
    ///
    /// A removal may take as long as a grace period of SRCU. Without a limit, a process that
    /// registers and drops in a loop could delay the removal of the module for a long time.
    ///
    /// # Errors
    ///
    /// Those of [`WaitLimit::check`].
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
        // A destructor that registers would wait for itself.
        if self.is_removing() {
            return Ok(());
        }
        let wait = WaitLimit::new(Some(DEFAULT_LIMIT));
        while read_once(&self.space().buried) >= limit {
            wait.pause()?;
        }
        Ok(())
    }

    /// Inserts `subscription` into the interval tree of the address space.
    ///
    /// `mm` must be that address space. Its locks are only taken for the first subscription.
    ///
    /// # Errors
    ///
    /// Those of [`SpaceRef::register`]; [`EOVERFLOW`] if the range is empty, or goes beyond the
    /// last address.
    ///
    /// # Safety
    ///
    /// The subscription must be valid for writes, and must not be inserted. The subscription and
    /// `ops` must stay valid until the subscription was removed.
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
            // SAFETY: `mm` has users. The caller guarantees that the subscription is valid for
            // writes and not inserted, and that it and `ops` stay valid until it was removed.
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
            // SAFETY: The caller guarantees that the subscription is valid for writes and not
            // inserted, and that it and `ops` stay valid until it was removed.
            unsafe { self.insert_first(mm, subscription, start, length, ops)? }
        };
        // Not `to_result()`, which is a function call.
        if ret == 0 {
            Ok(())
        } else {
            Err(Error::from_errno(ret))
        }
    }

    /// Inserts the first subscription of an address space, with its locks held.
    ///
    /// The kernel creates the interval tree, which requires these locks.
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
        // SAFETY: `_locked` holds the `mmap_lock` for writing, and `mm` has users. The caller
        // guarantees that the subscription is valid for writes and not inserted, and that it and
        // `ops` stay valid until it was removed.
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
            // SAFETY: By the invariants of `Space`, the entry was in the list until `refs` became
            // zero above, and the lock of the bucket is held.
            unsafe { bindings::tether_list_del_init(space.links.get()) };
        }
        // SAFETY: `create()` has leaked the space from a box. The last reference was dropped, and
        // `Space::find()` does not find the space any more. Its work item is not queued, as the
        // heads on its list hold references.
        drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
    }
}
