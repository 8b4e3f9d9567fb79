// SPDX-License-Identifier: GPL-2.0

//! Pages of a process, for a device that accesses memory by itself.
//!
//! As [`mirror`](super::mirror), but what the table has of a page is the address that the device knows it
//! by: pages that are looked up ([`DmaMirror::fault`]) are mapped for it, and unmapped when the process
//! loses them, after the device was told ([`MirrorDevice::invalidate`]) to stop using them.
//!
//! The process may use its pages meanwhile: there is no moment at which one of both owns them, as there
//! is with other mappings. So the device must be coherent, and reach all memory; else there is no
//! [`DmaMirror`] of it ([`EOPNOTSUPP`]).
//!
//! # What holds
//!
//! * A page is mapped for as long as it is in the table, and what is in the table is the process's.
//! * What the device does with an address is its driver's to see to, as with any DMA: one that goes on
//!   after [`MirrorDevice::invalidate`] has returned writes to memory that is somebody else's. An IOMMU
//!   stops it, from when the page is unmapped.
//! * The device is kept (`get_device()`), but not its driver: a mirror is to be unregistered
//!   ([`DmaMirror::unregister`]) before that is unbound, as other mappings are.
//! * A page that the device may write is marked as dirty when it is unmapped.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         dma_mirror::DmaMirror,
//!         hmm::Request,
//!         mirror::MirrorDevice,
//!         MmWithUser, //
//!     },
//!     prelude::*, //
//! };
//!
//! /// Has the device fill a page.
//! fn fill<T: MirrorDevice>(
//!     mirror: &DmaMirror<T>,
//!     mm: &MmWithUser,
//!     page: usize,
//!     begin_and_wait: impl Fn(u64) -> Result,
//! ) -> Result {
//!     loop {
//!         let filled = mirror.with_addresses(|addresses| {
//!             let mapped = addresses.get(page).filter(|mapped| mapped.is_writable())?;
//!             Some(begin_and_wait(mapped.address()))
//!         });
//!         if let Some(result) = filled {
//!             return result;
//!         }
//!         // It may go again before it is used.
//!         mirror.fault(mm, page, 1, Request::Write, None)?;
//!     }
//! }
//! # struct No;
//! # impl MirrorDevice for No {
//! #     fn invalidate(&self, _: &kernel::mm::mmu_notifier::Range<'_>) {}
//! #     fn try_invalidate(
//! #         &self,
//! #         _: &kernel::mm::mmu_notifier::Range<'_>,
//! #     ) -> Result<(), kernel::mm::mmu_notifier::WouldSleep> {
//! #         Ok(())
//! #     }
//! # }
//! # let _ = |a: &DmaMirror<No>, b: &MmWithUser| fill(a, b, 0, |_| Ok(()));
//! ```
//!
//! C header: [`include/linux/hmm-dma.h`](srctree/include/linux/hmm-dma.h)

#![cfg(CONFIG_HMM_MIRROR)]

use super::{
    hmm::{
        Pfn,
        Request, //
    },
    interval_notifier::{
        IntervalNotifier,
        Invalidate,
        OnePass,
        Registration, //
    },
    mirror::MirrorDevice,
    mmu_notifier::{
        in_place,
        Range,
        WouldSleep, //
    },
    Mm,
    MmWithUser, //
};
use crate::{
    bindings,
    device::{
        Bound,
        Device,
        DeviceContext, //
    },
    dma::DmaAddress,
    error::to_result,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        LockClassKey, //
    },
    time::Delta, //
};
use core::ptr;

const VALID: usize = bindings::hmm_pfn_flags_HMM_PFN_VALID;
const WRITE: usize = bindings::hmm_pfn_flags_HMM_PFN_WRITE;
/// What is known of a mapping; it is kept when the page is looked up again.
const MAPPED: usize = bindings::hmm_pfn_flags_HMM_PFN_DMA_MAPPED
    | bindings::hmm_pfn_flags_HMM_PFN_P2PDMA
    | bindings::hmm_pfn_flags_HMM_PFN_P2PDMA_BUS;

/// Creates a [`DmaMirror`] initialiser, with a lock class of its own.
#[macro_export]
macro_rules! new_dma_mirror {
    ($mm:expr, $start:expr, $length:expr, $dev:expr, $device:expr $(,)?) => {
        $crate::mm::dma_mirror::DmaMirror::new(
            $mm,
            $start,
            $length,
            $dev,
            $device,
            $crate::optional_name!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use crate::new_dma_mirror;

/// The device that the kernel knows: what a [`Device`] is a transparent wrapper of.
fn raw<C: DeviceContext>(dev: &Device<C>) -> *mut bindings::device {
    ptr::from_ref(dev).cast_mut().cast()
}

/// Where the device finds a page.
///
/// # Invariants
///
/// * `map` was allocated for `dev`, with a list for `addresses.len()` pages.
/// * What is mapped in `map` is in `addresses`.
struct Table {
    dev: ARef<Device>,
    map: bindings::hmm_dma_map,
    addresses: KVVec<DmaAddress>,
    /// The first page.
    first: usize,
}

// SAFETY: There is nothing in it that belongs to a task.
unsafe impl Send for Table {}

impl Table {
    fn new(dev: &Device<Bound>, first: usize, pages: usize) -> Result<Self> {
        let addresses = KVVec::from_elem(0, pages, GFP_KERNEL_ACCOUNT)?;
        let mut map: bindings::hmm_dma_map = bindings::hmm_dma_map {
            state: pin_init::zeroed(),
            pfn_list: ptr::null_mut(),
            dma_list: ptr::null_mut(),
            dma_entry_size: 0,
        };
        // SAFETY: The device is bound, and the map valid.
        to_result(unsafe { bindings::hmm_dma_map_alloc(raw(dev), &mut map, pages, PAGE_SIZE) })?;
        // INVARIANT: It was just allocated, and nothing is mapped.
        Ok(Self {
            dev: dev.into(),
            map,
            addresses,
            first,
        })
    }

    /// What the kernel has of a page, which must be in the table.
    fn pfn(&mut self, index: usize) -> &mut usize {
        assert!(index < self.addresses.len());
        // SAFETY: By the type's invariants it is in the list.
        unsafe { &mut *self.map.pfn_list.add(index) }
    }

    /// Maps a page.
    fn map(&mut self, index: usize, pfn: Pfn) -> Result {
        let entry = self.pfn(index);
        // If it is mapped already, it is the same page: else it would have been unmapped.
        *entry = *entry & MAPPED | pfn.as_raw();
        let mut address = 0;
        // SAFETY: By the type's invariants; there is a page in the list.
        let mapped = unsafe {
            bindings::tether_hmm_dma_map_pfn(raw(&self.dev), &mut self.map, index, &mut address)
        };
        if !mapped {
            *self.pfn(index) = 0;
            return Err(EIO);
        }
        // INVARIANT: The address is that of the page.
        self.addresses[index] = address;
        Ok(())
    }

    /// Unmaps pages, those that are mapped. They must be the process's still.
    fn unmap(&mut self, first: usize, end: usize) {
        for index in first..end.min(self.addresses.len()) {
            let entry = *self.pfn(index);
            if entry == 0 {
                continue;
            }
            if entry & (VALID | WRITE) == VALID | WRITE {
                // The device may have written, which the page table entry does not show: it may be
                // clean.
                //
                // SAFETY: The page is in the table, whose lock is held, so that the process has it
                // mapped.
                unsafe { bindings::tether_pfn_mark_dirty(Pfn::from_raw(entry).as_raw_number()) };
            }
            // SAFETY: By the type's invariants.
            unsafe { bindings::hmm_dma_unmap_pfn(raw(&self.dev), &mut self.map, index) };
            *self.pfn(index) = 0;
        }
    }

    fn unmap_range(&mut self, range: &Range<'_>) {
        let index = |address: usize| (address >> PAGE_SHIFT).saturating_sub(self.first);
        let (first, end) = (index(range.start()), index(range.end() - 1) + 1);
        self.unmap(first, end);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // It was invalidated as a whole before it was removed, or never used.
        debug_assert!((0..self.addresses.len()).all(|index| *self.pfn(index) == 0));
        // SAFETY: By the type's invariants; nothing is mapped.
        unsafe { bindings::hmm_dma_map_free(raw(&self.dev), &mut self.map) };
    }
}

/// What hears of invalidations, for a mirror.
struct Notifier<T>(T);

impl<T: MirrorDevice> IntervalNotifier for Notifier<T> {
    type Shadow = Table;
    type Passes = OnePass;

    fn invalidate_while_locked(&self, range: &Range<'_>) {
        self.0.invalidate(range);
    }

    fn try_invalidate(
        &self,
        range: &Range<'_>,
        table: &mut Table,
    ) -> core::result::Result<(), WouldSleep> {
        self.0.try_invalidate(range)?;
        table.unmap_range(range);
        Ok(())
    }
}

impl<T: MirrorDevice> Invalidate for Notifier<T> {
    fn invalidate(&self, range: &Range<'_>, table: &mut Table) {
        self.0.invalidate(range);
        table.unmap_range(range);
    }
}

/// Where the device finds pages, while nothing is invalidated.
pub struct Addresses<'a> {
    table: &'a mut Table,
}

impl Addresses<'_> {
    /// The page at `address`, if it is in the table.
    pub fn get(&mut self, address: usize) -> Option<Mapped> {
        let index = (address >> PAGE_SHIFT).checked_sub(self.table.first)?;
        let dma = *self.table.addresses.get(index)?;
        let pfn = *self.table.pfn(index);
        (pfn & VALID != 0).then_some(Mapped {
            address: dma,
            writable: pfn & WRITE != 0,
        })
    }
}

/// A page of a process that a device finds.
#[derive(Clone, Copy)]
pub struct Mapped {
    address: DmaAddress,
    writable: bool,
}

impl Mapped {
    /// Where the device finds the page. Good until it is invalidated.
    pub fn address(&self) -> DmaAddress {
        self.address
    }

    /// Whether it may write to it.
    pub fn is_writable(&self) -> bool {
        self.writable
    }
}

/// Addresses of a device's for a range of an address space.
///
/// Dropping it does not wait, as that of a [`Registration`]: before its memory is freed, the device is
/// told that all pages go away, and they are unmapped. It keeps the `mm_struct` (`mmgrab()`), but not
/// the address space.
///
/// If it was leaked, the end of its module tells the device, and unmaps all pages. Nothing can be looked
/// up any more then.
pub struct DmaMirror<T: MirrorDevice> {
    registration: Registration<Notifier<T>>,
}

/// How many pages are looked up at a time.
const BATCH: usize = 32;

impl<T: MirrorDevice> DmaMirror<T> {
    /// Mirrors `length` bytes from `start` for `dev`, with nothing mapped; use [`new_dma_mirror!`].
    ///
    /// Takes memory for each page of the range.
    ///
    /// # Context
    ///
    /// As [`Registration::new`].
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if the range is not one of whole pages;
    /// * [`EOPNOTSUPP`] if the device does not reach all memory, or is not coherent;
    /// * those of [`Registration::new`].
    ///
    /// C: `hmm_dma_map_alloc()` in [`mm/hmm.c`](srctree/mm/hmm.c).
    #[doc(alias = "hmm_dma_map_alloc")]
    pub fn new<'a>(
        mm: &'a MmWithUser,
        start: usize,
        length: usize,
        dev: &'a Device<Bound>,
        device: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl Init<Self, Error> + 'a {
        in_place(move || {
            if start % PAGE_SIZE != 0 || length % PAGE_SIZE != 0 || length == 0 {
                return Err(EINVAL);
            }
            let table = Table::new(dev, start >> PAGE_SHIFT, length >> PAGE_SHIFT)?;
            let notifier = Notifier(device);
            let registration = Registration::insert(mm, start, length, notifier, table, name, key)?;
            Ok(Self { registration })
        })
    }

    /// Removes the mirror, and waits until its pages were unmapped and the device dropped.
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
        &self.registration.notifier().0
    }

    /// Whether `mm` is the address space that is mirrored.
    pub fn is_on(&self, mm: &Mm) -> bool {
        self.registration.is_on(mm)
    }

    /// Uses what is in the table. Nothing is invalidated until `f` returns.
    ///
    /// In `f`, page faults are disabled and allocations do not reclaim; see
    /// [`interval_notifier`](super::interval_notifier#what-holds).
    ///
    /// # Context
    ///
    /// As [`Shadow::with`](super::interval_notifier::Shadow::with): process context, and not inside
    /// a callback, nor inside `f`.
    pub fn with_addresses<R>(&self, f: impl FnOnce(&mut Addresses<'_>) -> R) -> R {
        self.registration
            .shadow()
            .with(|table| f(&mut Addresses { table }))
    }

    /// Looks `count` pages up from `start`, for `request`, and maps those that are there.
    ///
    /// They may be invalidated again at any time, also before this returns: look into the table, and
    /// begin again if need be. `timeout` is for each 32 pages.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`]; [`EIO`] if a page cannot be mapped.
    ///
    /// C: `hmm_dma_map_pfn()` in [`mm/hmm.c`](srctree/mm/hmm.c).
    #[doc(alias = "hmm_dma_map_pfn")]
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
                // The page is in the range, as it was looked up there.
                table.map(page - table.first, pfn)
            },
        )
    }
}
