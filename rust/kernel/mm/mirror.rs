// SPDX-License-Identifier: GPL-2.0

//! Page tables of a device that works on a process's memory.
//!
//! A [`Mirror`] of a range of an address space has a table: which page is at an address. Pages are
//! looked up in the process ([`Mirror::fault`]), noted in the table, and used by way of it
//! ([`Mirror::with_pages`]). When the process loses a page the device is told
//! ([`MirrorDevice::invalidate`]), and it is taken out of the table, before the kernel can use it
//! for something else. For a device that accesses memory by itself see
//! [`dma_mirror`](super::dma_mirror).
//!
//! It is an interval notifier whose shadow is the table, with [`hmm`](super::hmm) to look pages up.
//! The table is the wrapper's, so that a page that is in there *is* the process's: what a driver
//! forgets to do about an invalidation cannot make it use a page that is gone.
//!
//! # What holds
//!
//! * A [`Frame`] can be read and written, and cannot leave the function that it was given to. While
//!   this runs, nothing is invalidated: it should be short. Nothing in it may wait for memory, or
//!   look pages up.
//! * No reference to a page is held: a page can be reclaimed or moved.
//! * A frame is written only if the process may write to the page. One that is *exclusive*
//!   ([`Mirror::make_exclusive`]) is not accessible to the CPU until the process touches it; then
//!   it is taken out of the table.
//! * After the end of the address space the table is empty, and nothing can be looked up.
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
//!             Range,
//!             WouldSleep, //
//!         },
//!         MmWithUser, //
//!     },
//!     page::PAGE_SIZE,
//!     prelude::*, //
//! };
//!
//! /// A device that reads by way of the table, and has no translations of its own.
//! struct Reader;
//!
//! impl MirrorDevice for Reader {
//!     fn invalidate(&self, _range: &Range<'_>) {}
//!
//!     fn try_invalidate(&self, _range: &Range<'_>) -> Result<(), WouldSleep> {
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
//!         // It may go again before it is read.
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
        Patience,
        ReadLocked, //
    }, //
};
use super::{
    hmm::{
        DeviceOwner,
        HmmRange,
        Pfn,
        Request, //
    },
    interval_notifier::{
        IntervalNotifier,
        Invalidate,
        OnePass,
        Registration, //
    },
    mmu_notifier::{
        in_place,
        Event,
        Range,
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

// The external build needs the paths: its root includes this folder by a path.
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
    /// Pages in `range` go away: makes the device stop using them, before this returns. They are
    /// taken out of the table next.
    ///
    /// `range` is blockable, and may be larger than what is mirrored. Called with the lock of the
    /// table held, by any task that changes the address space. May sleep, but must not wait for
    /// memory.
    fn invalidate(&self, range: &Range<'_>);

    /// Likewise, but must not sleep: `range` is not blockable.
    ///
    /// # Errors
    ///
    /// [`WouldSleep`]: the caller in the kernel does without this range for now.
    fn try_invalidate(&self, range: &Range<'_>) -> core::result::Result<(), WouldSleep>;
}

/// The interval notifier of a mirror.
struct Notifier<T> {
    device: T,
    owner: DeviceOwner,
    /// A page was invalidated by the task that uses the table: it must not use frames any more.
    /// Only touched by the task that has the table locked.
    revoked: Atomic<bool>,
}

impl<T: MirrorDevice> IntervalNotifier for Notifier<T> {
    type Shadow = Table;
    type Passes = OnePass;

    fn is_own(&self, range: &Range<'_>) -> bool {
        // The page stays where it is; only the CPU loses it.
        range.event() == Event::Exclusive && ptr::eq(range.owner(), self.owner.as_ptr())
    }

    fn invalidate_while_locked(&self, range: &Range<'_>) {
        self.device.invalidate(range);
        self.revoked.store(true, Relaxed);
    }

    fn try_invalidate(
        &self,
        range: &Range<'_>,
        table: &mut Table,
    ) -> core::result::Result<(), WouldSleep> {
        self.device.try_invalidate(range)?;
        table.erase_range(range);
        Ok(())
    }
}

impl<T: MirrorDevice> Invalidate for Notifier<T> {
    fn invalidate(&self, range: &Range<'_>, table: &mut Table) {
        self.device.invalidate(range);
        table.erase_range(range);
    }
}

/// A device's page table for a range of an address space.
///
/// Dropping it does not wait, as that of a [`Registration`]: before its memory is freed, the device
/// is told that all pages go away. It keeps the `mm_struct` (`mmgrab()`), but not the address
/// space.
///
/// If it was leaked, the end of its module tells the device, and empties the table. Nothing can be
/// looked up any more then.
pub struct Mirror<T: MirrorDevice> {
    registration: Registration<Notifier<T>>,
}

/// How many pages are looked up at a time.
const BATCH: usize = 32;

impl<T: MirrorDevice> Mirror<T> {
    /// Mirrors `length` bytes from `start`, with nothing in the table; use [`new_mirror!`].
    ///
    /// # Context
    ///
    /// As [`Registration::new`].
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
    /// As [`Registration::unregister`].
    ///
    /// # Errors
    ///
    /// Those of [`Registration::unregister`].
    pub fn unregister(self) -> Result {
        self.registration.unregister()
    }

    /// The device.
    pub fn device(&self) -> &T {
        &self.registration.notifier().device
    }

    /// Whether `mm` is the address space that is mirrored. A child of its process, and a program
    /// that this executes, have others.
    pub fn is_on(&self, mm: &Mm) -> bool {
        self.registration.is_on(mm)
    }

    /// The address space that is mirrored, if it has not ended.
    pub fn mm(&self) -> &Mm {
        self.registration.mm()
    }

    /// Uses what is in the table. Nothing is invalidated until `f` returns.
    ///
    /// In `f`, page faults are disabled and allocations do not reclaim; see
    /// [`interval_notifier`](super::interval_notifier#guarantees).
    ///
    /// # Context
    ///
    /// As [`Shadow::with`](super::interval_notifier::Shadow::with): process context, and not inside
    /// a callback, nor inside `f`.
    #[inline]
    pub fn with_pages<R>(&self, f: impl FnOnce(&Pages<'_>) -> R) -> R {
        let revoked = &self.registration.notifier().revoked;
        self.registration.shadow().with(|table| {
            // What another closure has invalidated was taken out of the table when it returned.
            write_once(revoked, false);
            f(&Pages { table, revoked })
        })
    }

    /// Looks `count` pages up from `start`, for `request`, and notes those that are there in the
    /// table.
    ///
    /// What was noted may be invalidated again at any time, also before this returns: look into the
    /// table, and begin again if need be. `timeout` is for each 32 pages.
    ///
    /// The memory of the table is charged to the cgroup of the caller.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`]; [`ENOMEM`], too, if there is no memory for the table.
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

    /// Looks pages up as they are, and does not note them.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`].
    pub fn snapshot(&self, mm: &MmWithUser, start: usize, pfns: &mut [Pfn]) -> Result {
        self.registration
            .fault(mm, HmmRange::new(start, pfns), |_, _| ())
    }

    /// Gives the page at `address` to the device alone, and notes it in the table. When the process
    /// touches it, it is taken out again.
    ///
    /// # Context
    ///
    /// As [`Registration::fault`].
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`]; [`EOPNOTSUPP`] if the memory is not private and anonymous.
    ///
    /// C: `make_device_exclusive()` in [`mm/rmap.c`](srctree/mm/rmap.c).
    #[cfg(CONFIG_DEVICE_PRIVATE)]
    #[doc(alias = "make_device_exclusive")]
    pub fn make_exclusive(&self, mm: &MmWithUser, address: usize) -> Result {
        /// What `make_device_exclusive()` has locked.
        struct Locked(*mut bindings::folio);

        impl Drop for Locked {
            fn drop(&mut self) {
                // SAFETY: It is locked, and the reference is ours.
                unsafe { bindings::tether_folio_release(self.0) };
            }
        }

        let registration = &self.registration;
        registration.check_range(mm, address, 1)?;
        let owner = &registration.notifier().owner;
        let patience = Patience::new(None);
        loop {
            patience.check()?;
            // First it is brought in for writing: `make_device_exclusive()` would have to undo what
            // it has done before, and invalidate for that, each time.
            let mut pfns = [Pfn::default()];
            let mut range = HmmRange::new(address, &mut pfns).request(Request::Write);
            // SAFETY: The subscription was inserted, and the range was checked.
            let Some(sequence) =
                (unsafe { look_up(registration.as_raw(), mm, &mut range, &patience)? })
            else {
                continue;
            };
            let mut folio = ptr::null_mut();
            let page = {
                let _locked = ReadLocked::take(mm, &patience)?;
                // SAFETY: The address space has users, and is locked.
                from_err_ptr(unsafe {
                    bindings::make_device_exclusive(
                        mm.as_raw(),
                        address,
                        owner.as_ptr().cast_mut().cast(),
                        &mut folio,
                    )
                })?
            };
            // The lock keeps the CPU from getting it back before it is noted.
            let locked = Locked(folio);
            if let Some(mut table) = registration.lock_if_quiet(Task::current_raw(), sequence)? {
                // SAFETY: The page is valid, as we have a reference to its folio.
                let number = unsafe { bindings::page_to_pfn(page) };
                let entry = Entry::new(number, Entry::WRITABLE | Entry::EXCLUSIVE);
                return table.store(address >> PAGE_SHIFT, entry);
            }
            drop(locked);
        }
    }
}
