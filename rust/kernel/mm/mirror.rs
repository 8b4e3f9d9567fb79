// SPDX-License-Identifier: GPL-2.0

//! Page tables of a device that works on a process's memory.
//!
//! A [`Mirror`] of a range of an address space has a table of pages by address. A driver looks
//! pages up in the process and records them in the table ([`Mirror::fault`]), and accesses the
//! pages through the table ([`Mirror::with_pages`]). Before a page is unmapped, and can be used for
//! another purpose, the device is notified ([`MirrorDevice::invalidate`]), and the page is removed
//! from the table. For a device that accesses memory by itself, see
//! [`dma_mirror`](super::dma_mirror).
//!
//! A mirror is an interval notifier whose shadow is the table, and uses [`hmm`](super::hmm) to look
//! pages up. Tether maintains the table, so that a page in the table always belongs to the process:
//! a driver that does not handle an invalidation correctly cannot use a page after its unmapping.
//!
//! # Guarantees
//!
//! * A [`Frame`] can be read and written, and cannot leave the closure that has it. While the
//!   closure runs, nothing is invalidated, so the closure should be short. It must not wait for
//!   memory, or look pages up.
//! * No reference to a page is held: a page can be reclaimed or moved.
//! * A frame is written only if the process may write to the page. The CPU has no access to an
//!   *exclusive* page ([`Mirror::make_exclusive`]). When the process accesses such a page, it is
//!   removed from the table.
//! * After the end of the address space, the table is empty, and no page can be looked up.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         hmm::Request,
//!         mirror::{
//!             new_mirror,
//!             Mirror,
//!             MirrorDevice, //
//!         },
//!         mmu_notifier::{
//!             MmuNotifierRange,
//!             WouldSleep, //
//!         },
//!         MmWithUser, //
//!     },
//!     page::PAGE_SIZE,
//!     prelude::*, //
//! };
//!
//! /// A device that reads through the table, and has no translations of its own.
//! struct Reader;
//!
//! impl MirrorDevice for Reader {
//!     fn invalidate(&self, _range: &MmuNotifierRange<'_>) {}
//!
//!     fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
//!         Ok(())
//!     }
//! }
//!
//! /// Mirrors all of an address space.
//! fn mirror(mm: &MmWithUser) -> Result<Pin<KBox<Mirror<Reader>>>> {
//!     KBox::pin_init(new_mirror!(mm, 0, usize::MAX - PAGE_SIZE, Reader), GFP_KERNEL)
//! }
//!
//! /// Reads the beginning of a page.
//! fn read(mirror: &Mirror<Reader>, mm: &MmWithUser, page: usize, to: &mut [u8]) -> Result {
//!     loop {
//!         let read = mirror.with_pages(|pages| pages.get(page).map(|frame| frame.read(0, to)));
//!         if let Some(result) = read {
//!             return result;
//!         }
//!         // The page may be unmapped again before the next attempt to read it.
//!         mirror.fault(mm, page, 1, Request::Read, None)?;
//!     }
//! }
//! # let _ = (mirror, read);
//! ```
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)

#![cfg(CONFIG_HMM_MIRROR)]

#[cfg(CONFIG_DEVICE_PRIVATE)]
use super::{
    hmm::look_up,
    space::{
        ReadLocked,
        WaitLimit, //
    },
    virt::VmaRef, //
};
use super::{
    hmm::{
        DeviceOwner,
        HmmRange,
        Pfn,
        Request, //
    },
    mmu_interval_notifier::{
        Invalidate,
        MmuIntervalNotifier,
        OnePass,
        Registration, //
    },
    mmu_notifier::{
        in_place,
        Event,
        MmuNotifierRange,
        WouldSleep, //
    },
    Mm,
    MmWithUser, //
};
#[cfg(CONFIG_DEVICE_PRIVATE)]
use crate::{
    bindings,
    error::from_err_ptr,
    page::PAGE_SHIFT,
    task::Task, //
};
use crate::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        LockClassKey, //
    },
    tether::write_once,
    time::Delta, //
};
use core::ptr;

// The external build needs the paths: its root includes this directory by a path.
#[path = "mirror/pages.rs"]
mod pages;
#[path = "mirror/table.rs"]
mod table;

pub use pages::{
    Frame,
    Pages, //
};
use table::{
    Entry,
    Table, //
};

/// Creates a [`Mirror`] initialiser, with a lock class of its own.
#[macro_export]
macro_rules! new_mirror {
    ($mm:expr, $start:expr, $length:expr, $device:expr $(,)?) => {
        $crate::mm::mirror::Mirror::new(
            $mm,
            $start,
            $length,
            $device,
            $crate::optional_name!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use crate::new_mirror;

/// A device that has a [`Mirror`].
pub trait MirrorDevice: Send + Sync + 'static {
    /// Makes the device stop using pages in `range`, before it returns.
    ///
    /// Afterwards, the pages are removed from the table. `range` is blockable, and may be larger
    /// than the mirrored range.
    ///
    /// # Context
    ///
    /// Any task that changes the address space calls this function, with the lock of the table
    /// held. May sleep, but must not wait for memory.
    fn invalidate(&self, range: &MmuNotifierRange<'_>);

    /// As [`MirrorDevice::invalidate`], for a `range` that is not blockable: must not sleep.
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the kernel skips this range for now.
    fn try_invalidate(&self, range: &MmuNotifierRange<'_>) -> core::result::Result<(), WouldSleep>;
}

/// The interval notifier of a mirror.
struct Notifier<T> {
    device: T,
    owner: DeviceOwner,
    /// Whether the task that uses the table has invalidated a page itself, and must not use frames
    /// any more. Only the task that has the table locked accesses this field.
    revoked: Atomic<bool>,
}

impl<T: MirrorDevice> MmuIntervalNotifier for Notifier<T> {
    type Shadow = Table;
    type Passes = OnePass;

    fn is_own(&self, range: &MmuNotifierRange<'_>) -> bool {
        // The page stays in place; only the CPU loses access to it.
        range.event() == Event::Exclusive && ptr::eq(range.owner(), self.owner.as_ptr())
    }

    fn invalidate_while_locked(&self, range: &MmuNotifierRange<'_>) {
        self.device.invalidate(range);
        self.revoked.store(true, Relaxed);
    }

    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        table: &mut Table,
    ) -> core::result::Result<(), WouldSleep> {
        self.device.try_invalidate(range)?;
        table.erase_range(range);
        Ok(())
    }
}

impl<T: MirrorDevice> Invalidate for Notifier<T> {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, table: &mut Table) {
        self.device.invalidate(range);
        table.erase_range(range);
    }
}

/// A device's page table for a range of an address space.
///
/// Dropping a mirror does not wait, as for a [`Registration`]. Before the memory of the mirror is
/// freed, the whole range is invalidated. A mirror keeps the `mm_struct` (`mmgrab()`), but not the
/// address space.
///
/// If a mirror was leaked, the teardown of its module invalidates the whole range, and empties the
/// table. No page can be looked up afterwards.
pub struct Mirror<T: MirrorDevice> {
    registration: Registration<Notifier<T>>,
}

/// The number of pages that are looked up at a time.
const BATCH: usize = 32;

impl<T: MirrorDevice> Mirror<T> {
    /// Mirrors `length` bytes from `start`, with an empty table; use [`new_mirror!`].
    ///
    /// # Context
    ///
    /// As for [`Registration::new`].
    ///
    /// # Errors
    ///
    /// Those of [`Registration::new`].
    pub fn new<'a>(
        mm: &'a MmWithUser,
        start: usize,
        length: usize,
        device: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl Init<Self, Error> + 'a {
        in_place(move || {
            let table = Table::new()?;
            let notifier = Notifier {
                device,
                owner: DeviceOwner::new(),
                revoked: Atomic::new(false),
            };
            let registration = Registration::insert(mm, start, length, notifier, table, name, key)?;
            Ok(Self { registration })
        })
    }

    /// Removes the mirror, and waits until it was removed and the device dropped.
    ///
    /// # Context
    ///
    /// As for [`Registration::unregister`].
    ///
    /// # Errors
    ///
    /// Those of [`Registration::unregister`].
    pub fn unregister(self) -> Result {
        self.registration.unregister()
    }

    /// Returns the device.
    pub fn device(&self) -> &T {
        &self.registration.notifier().device
    }

    /// Returns whether `mm` is the mirrored address space.
    ///
    /// A forked child, and a program that the process executes, has another address space.
    pub fn is_on(&self, mm: &Mm) -> bool {
        self.registration.is_on(mm)
    }

    /// Returns the mirrored address space, which may have ended.
    pub fn mm(&self) -> &Mm {
        self.registration.mm()
    }

    /// Calls `f` with the pages in the table. No page is invalidated until `f` returns.
    ///
    /// In `f`, page faults are disabled and allocations do not reclaim; see
    /// [`mmu_interval_notifier`](super::mmu_interval_notifier#guarantees).
    ///
    /// # Context
    ///
    /// As for [`Shadow::with`](super::mmu_interval_notifier::Shadow::with): process context; must
    /// not be called in a callback, or in `f`.
    #[inline]
    pub fn with_pages<R>(&self, f: impl FnOnce(&Pages<'_>) -> R) -> R {
        let revoked = &self.registration.notifier().revoked;
        self.registration.shadow().with(|table| {
            // Pages that another closure has invalidated were removed from the table when that
            // closure returned.
            write_once(revoked, false);
            f(&Pages { table, revoked })
        })
    }

    /// Looks up `count` pages from `start`, for `request`, and records the pages that are found in
    /// the table.
    ///
    /// Recorded pages may be invalidated again at any time, even before this function returns.
    /// Therefore the caller looks the page up in the table, and repeats this call if the page is
    /// missing. `timeout` applies to each 32 pages.
    ///
    /// The memory of the table is charged to the cgroup of the caller.
    ///
    /// # Context
    ///
    /// As for [`Registration::fault`].
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`]; [`ENOMEM`] also if there is no memory for the table.
    #[doc(alias = "hmm_range_fault_unlocked_timeout")]
    pub fn fault(
        &self,
        mm: &MmWithUser,
        start: usize,
        count: usize,
        request: Request,
        timeout: Option<Delta>,
    ) -> Result {
        self.registration.fault_in_batches::<BATCH>(
            mm,
            start,
            count,
            request,
            timeout,
            |page, pfn, table| {
                let flags = if pfn.is_writable() {
                    Entry::WRITABLE
                } else {
                    0
                };
                table.store(page, Entry::new(pfn.as_raw_number(), flags))
            },
        )
    }

    /// Looks pages up as they are, and does not record them.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`].
    pub fn snapshot(&self, mm: &MmWithUser, start: usize, pfns: &mut [Pfn]) -> Result {
        self.registration
            .fault(mm, HmmRange::new(start, pfns), |_, _| ())
    }

    /// Gives the device exclusive access to the page at `address`, and records the page in the
    /// table.
    ///
    /// When the process accesses the page, it is removed from the table.
    ///
    /// # Context
    ///
    /// As for [`Registration::fault`].
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`]; [`EOPNOTSUPP`] if the page is not private and anonymous,
    /// or is in a mapping of a file that is not in tmpfs.
    ///
    /// C: `make_device_exclusive()` in [`mm/rmap.c`](srctree/mm/rmap.c).
    #[cfg(CONFIG_DEVICE_PRIVATE)]
    #[doc(alias = "make_device_exclusive")]
    pub fn make_exclusive(&self, mm: &MmWithUser, address: usize) -> Result {
        /// The folio that `make_device_exclusive()` has locked.
        struct Locked(*mut bindings::folio);

        impl Drop for Locked {
            fn drop(&mut self) {
                // SAFETY: `make_device_exclusive()` has locked the folio, and has returned a
                // reference to it, which is not used any more.
                unsafe { bindings::tether_folio_release(self.0) };
            }
        }

        let registration = &self.registration;
        registration.check_range(mm, address, 1)?;
        let owner = &registration.notifier().owner;
        let wait = WaitLimit::new(None);
        loop {
            wait.check()?;
            // Fault the page in for writing first. Otherwise `make_device_exclusive()` would undo
            // its earlier change in each iteration, which raises a new invalidation.
            let mut pfns = [Pfn::default()];
            let mut range = HmmRange::new(address, &mut pfns).request(Request::Write);
            // SAFETY: By the invariants of `Registration`, the subscription was inserted, and its
            // `mm_struct` is kept. `check_range()` has checked the range and `mm`.
            let Some(sequence) =
                (unsafe { look_up(registration.as_raw(), mm, &mut range, &wait)? })
            else {
                continue;
            };
            let mut folio = ptr::null_mut();
            let page = {
                let locked = ReadLocked::take(mm, &wait)?;
                // The page may have been lost since it was looked up. Faulting in a page of a file
                // could wait without limit for the file system, and cannot be killed here.
                if locked.find(address).is_some_and(faults_by_itself) {
                    // SAFETY: `mm` has users, and its `mmap_lock` is held for reading.
                    from_err_ptr(unsafe {
                        bindings::make_device_exclusive(
                            mm.as_raw(),
                            address,
                            owner.as_ptr().cast_mut().cast(),
                            &mut folio,
                        )
                    })
                } else {
                    Err(EOPNOTSUPP)
                }
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let quiet = registration.lock_if_quiet(Task::current_raw(), sequence)?;
                    if quiet.is_some() {
                        return Err(error);
                    }
                    // The page was invalidated after it was looked up, so that the error is not
                    // that of the page which is there now.
                    continue;
                }
            };
            // While the folio is locked, the CPU cannot regain access before the page is recorded.
            let locked = Locked(folio);
            if let Some(mut table) = registration.lock_if_quiet(Task::current_raw(), sequence)? {
                // SAFETY: The page is valid, as `locked` owns a reference to its folio.
                let number = unsafe { bindings::page_to_pfn(page) };
                let entry = Entry::new(number, Entry::WRITABLE | Entry::EXCLUSIVE);
                return table.store(address >> PAGE_SHIFT, entry);
            }
            drop(locked);
        }
    }
}

/// Returns whether a fault in the VMA does not wait for a file system: it has no file, or a file of
/// tmpfs.
#[cfg(CONFIG_DEVICE_PRIVATE)]
fn faults_by_itself(vma: &VmaRef) -> bool {
    // SAFETY: The reference guarantees that the VMA is valid, and `vm_ops` does not change while
    // its `mmap_lock` is held, which is so while a `VmaRef` exists.
    let anonymous = unsafe { (*vma.as_ptr()).vm_ops.is_null() };
    // SAFETY: `tether_vma_magic()` requires a valid VMA, which the reference guarantees.
    let magic = unsafe { bindings::tether_vma_magic(vma.as_ptr()) };
    anonymous || magic == bindings::TMPFS_MAGIC as c_ulong
}
