// SPDX-License-Identifier: GPL-2.0

//! Pages of a process, for a device that accesses memory by itself.
//!
//! As [`mirror`](super::mirror), but what the table has of a page is the address that the device
//! knows it by: pages that are looked up ([`DmaMirror::fault`]) are mapped for it, and unmapped
//! when the process loses them, after the device was told ([`MirrorDevice::invalidate`]) to stop
//! using them.
//!
//! The process may use its pages meanwhile: there is no moment at which one of both owns them, as
//! there is with other mappings. So the device must be coherent, and reach all memory; else there
//! is no [`DmaMirror`] of it ([`EOPNOTSUPP`]).
//!
//! # Guarantees
//!
//! * A page is mapped for as long as it is in the table, and what is in the table is the process's.
//! * What the device does with an address is its driver's to see to, as with any DMA: one that goes
//!   on after [`MirrorDevice::invalidate`] has returned writes to memory that is somebody else's.
//!   An IOMMU stops it, from when the page is unmapped.
//! * The device is kept (`get_device()`). When it is unbound from its driver all pages are
//!   unmapped, and nothing can be mapped any more ([`ENODEV`]), also if the mirror was leaked, or
//!   dropped but not freed yet.
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
    devres::Devres,
    dma::DmaAddress,
    error::to_result,
    new_mutex,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        LockClassKey,
        Mutex, //
    },
    task::Task,
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

/// The kernel's list of pages, and where the device finds them.
///
/// # Invariants
///
/// * `map` was allocated for the device, with a list for `addresses.len()` pages.
/// * What is mapped in `map` is in `addresses`, and is a page that the process has mapped: its
///   invalidation has not returned.
struct Entries {
    map: bindings::hmm_dma_map,
    addresses: KVVec<DmaAddress>,
}

// SAFETY: There is nothing in it that belongs to a task.
unsafe impl Send for Entries {}

impl Entries {
    /// What the kernel has of a page, if the page is in the list.
    fn pfn(&mut self, index: usize) -> Option<&mut usize> {
        // SAFETY: By the type's invariants the index is in the list.
        (index < self.addresses.len()).then(|| unsafe { &mut *self.map.pfn_list.add(index) })
    }

    /// Maps a page, if it is in the list.
    fn map(&mut self, dev: &Device, index: usize, pfn: Pfn) -> Result {
        let entry = self.pfn(index).ok_or(EINVAL)?;
        // If it is mapped already, it is the same page: else it would have been unmapped.
        *entry = *entry & MAPPED | pfn.as_raw();
        let mut address = 0;
        // SAFETY: By the type's invariants; there is a page in the list.
        let mapped = unsafe {
            bindings::tether_hmm_dma_map_pfn(raw(dev), &mut self.map, index, &mut address)
        };
        if !mapped {
            if let Some(entry) = self.pfn(index) {
                *entry = 0;
            }
            return Err(EIO);
        }
        // INVARIANT: The address is that of the page.
        self.addresses[index] = address;
        Ok(())
    }

    /// Unmaps pages, those that are mapped.
    fn unmap(&mut self, dev: &Device, first: usize, end: usize) {
        for index in first..end.min(self.addresses.len()) {
            let Some(&mut entry) = self.pfn(index) else {
                continue;
            };
            if entry == 0 {
                continue;
            }
            if entry & (VALID | WRITE) == VALID | WRITE {
                // The device may have written, which the page table entry does not show: it may be
                // clean.
                //
                // SAFETY: By the type's invariants the process has the page mapped, and its
                // invalidation waits for the lock that is held.
                unsafe { bindings::tether_pfn_mark_dirty(Pfn::from_raw(entry).as_raw_number()) };
            }
            // SAFETY: By the type's invariants.
            unsafe { bindings::hmm_dma_unmap_pfn(raw(dev), &mut self.map, index) };
            if let Some(entry) = self.pfn(index) {
                *entry = 0;
            }
        }
    }
}

/// The mappings of a device, until that is unbound.
///
/// The lock nests inside the lock of the table. The end of the device's binding takes it alone.
#[pin_data]
struct Mappings {
    dev: ARef<Device>,
    /// Held while a driver uses addresses: the end of the device's binding waits for that. Taken
    /// before `entries`.
    #[pin]
    in_use: Mutex<()>,
    /// The task that has locked `in_use`, or null. Only that task stores its address.
    user: Atomic<*mut bindings::task_struct>,
    #[pin]
    entries: Mutex<Option<Entries>>,
}

/// Frees the mappings, when it is dropped: when the device is unbound, or with the table.
struct Binding(Arc<Mappings>);

impl Drop for Binding {
    fn drop(&mut self) {
        // If the closure itself unbinds the device, waiting for it would deadlock. The closure finds
        // no address from here on.
        let is_user = ptr::eq(self.0.user.load(Relaxed), Task::current_raw());
        let _in_use = (!is_user).then(|| self.0.in_use.lock());
        let mut guard = self.0.entries.lock();
        if let Some(mut entries) = guard.take() {
            let pages = entries.addresses.len();
            entries.unmap(&self.0.dev, 0, pages);
            // SAFETY: It was allocated for the device, which is still bound, or about to be
            // unbound; nothing is mapped.
            unsafe { bindings::hmm_dma_map_free(raw(&self.0.dev), &mut entries.map) };
        }
    }
}

impl Mappings {
    /// Unmaps the pages of a range, of a table that begins with the page `first`.
    fn unmap_range(&self, first: usize, range: &Range<'_>) {
        let (first, end) = indices(first, range);
        if let Some(entries) = (*self.entries.lock()).as_mut() {
            entries.unmap(&self.dev, first, end);
        }
    }
}

/// The indices of the pages of a range, in a table that begins with the page `first`.
fn indices(first: usize, range: &Range<'_>) -> (usize, usize) {
    let index = |address: usize| (address >> PAGE_SHIFT).saturating_sub(first);
    (index(range.start()), index(range.end() - 1) + 1)
}

/// Where the device finds a page.
struct Table {
    mappings: Arc<Mappings>,
    _binding: Devres<Binding>,
    /// The first page.
    first: usize,
}

impl Table {
    fn new(dev: &Device<Bound>, first: usize, pages: usize) -> Result<Self> {
        let addresses = KVVec::from_elem(0, pages, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
        let mappings = Arc::pin_init(
            pin_init!(Mappings {
                dev: dev.into(),
                in_use <- new_mutex!((), "tether::dma_mirror::Mappings::in_use"),
                user: Atomic::new(ptr::null_mut()),
                entries <- new_mutex!(None, "tether::dma_mirror::Mappings"),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let binding = Devres::new(dev, Binding(mappings.clone()))?;
        let mut map: bindings::hmm_dma_map = bindings::hmm_dma_map {
            state: pin_init::zeroed(),
            pfn_list: ptr::null_mut(),
            dma_list: ptr::null_mut(),
            dma_entry_size: 0,
        };
        // SAFETY: The device is bound, and the map valid.
        to_result(unsafe { bindings::hmm_dma_map_alloc(raw(dev), &mut map, pages, PAGE_SIZE) })?;
        // INVARIANT: It was just allocated, and nothing is mapped.
        *mappings.entries.lock() = Some(Entries { map, addresses });
        Ok(Self {
            mappings,
            _binding: binding,
            first,
        })
    }

    /// Maps a page of the range.
    fn map(&mut self, page: usize, pfn: Pfn) -> Result {
        let mut guard = self.mappings.entries.lock();
        let entries = (*guard).as_mut().ok_or(ENODEV)?;
        // INVARIANT: The page was found, and the caller has the table locked, which its
        // invalidation waits for.
        entries.map(&self.mappings.dev, page - self.first, pfn)
    }

    /// Unmaps a range without sleeping: the end of the device's binding may hold the lock.
    fn try_unmap_range(&mut self, range: &Range<'_>) -> core::result::Result<(), WouldSleep> {
        let (first, end) = indices(self.first, range);
        let mut guard = self.mappings.entries.try_lock().ok_or(WouldSleep)?;
        if let Some(entries) = (*guard).as_mut() {
            entries.unmap(&self.mappings.dev, first, end);
        }
        Ok(())
    }
}

/// The notifier of a mirror: unmaps invalidated pages, for a mirror.
struct Notifier<T> {
    device: T,
    mappings: Arc<Mappings>,
    /// The first page.
    first: usize,
}

impl<T: MirrorDevice> IntervalNotifier for Notifier<T> {
    type Shadow = Table;
    type Passes = OnePass;

    /// The driver unmaps pages itself while it uses addresses. They are unmapped from the device
    /// while the process still has them: afterwards they may be those of another one.
    fn invalidate_while_locked(&self, range: &Range<'_>) {
        self.device.invalidate(range);
        self.mappings.unmap_range(self.first, range);
    }

    fn try_invalidate(
        &self,
        range: &Range<'_>,
        table: &mut Table,
    ) -> core::result::Result<(), WouldSleep> {
        self.device.try_invalidate(range)?;
        table.try_unmap_range(range)
    }
}

impl<T: MirrorDevice> Invalidate for Notifier<T> {
    fn invalidate(&self, range: &Range<'_>, table: &mut Table) {
        self.device.invalidate(range);
        table.mappings.unmap_range(table.first, range);
    }
}

/// Where the device finds pages, while nothing is invalidated, and the device is not unbound.
pub struct Addresses<'a> {
    mappings: &'a Mappings,
    /// The first page.
    first: usize,
}

impl Addresses<'_> {
    /// The page at `address`, if it is in the table.
    pub fn get(&mut self, address: usize) -> Option<Mapped> {
        let index = (address >> PAGE_SHIFT).checked_sub(self.first)?;
        let mut guard = self.mappings.entries.lock();
        let entries = (*guard).as_mut()?;
        let dma = *entries.addresses.get(index)?;
        let pfn = *entries.pfn(index)?;
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
/// Dropping it does not wait, as that of a [`Registration`]: before its memory is freed, the device
/// is told that all pages go away, and they are unmapped. It keeps the `mm_struct` (`mmgrab()`),
/// but not the address space.
///
/// If it was leaked, the end of its module tells the device, and unmaps all pages. Nothing can be
/// looked up any more then.
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
            let notifier = Notifier {
                device,
                mappings: table.mappings.clone(),
                first: table.first,
            };
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
        &self.registration.notifier().device
    }

    /// Whether `mm` is the address space that is mirrored.
    pub fn is_on(&self, mm: &Mm) -> bool {
        self.registration.is_on(mm)
    }

    /// Uses what is in the table. Nothing is invalidated until `f` returns.
    ///
    /// If `f` unbinds the device from its driver, the pages are unmapped at once, and `f` finds no
    /// address from then on.
    ///
    /// In `f`, page faults are disabled and allocations do not reclaim; see
    /// [`interval_notifier`](super::interval_notifier#guarantees).
    ///
    /// # Context
    ///
    /// As [`Shadow::with`](super::interval_notifier::Shadow::with): process context, and not inside
    /// a callback, nor inside `f`.
    pub fn with_addresses<R>(&self, f: impl FnOnce(&mut Addresses<'_>) -> R) -> R {
        self.registration.shadow().with(|table| {
            let _in_use = table.mappings.in_use.lock();
            table.mappings.user.store(Task::current_raw(), Relaxed);
            let result = f(&mut Addresses {
                mappings: &table.mappings,
                first: table.first,
            });
            table.mappings.user.store(ptr::null_mut(), Relaxed);
            result
        })
    }

    /// Looks `count` pages up from `start`, for `request`, and maps those that are there.
    ///
    /// They may be invalidated again at any time, also before this returns: look into the table,
    /// and begin again if need be. `timeout` is for each 32 pages.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`]; [`EIO`] if a page cannot be mapped; [`ENODEV`] if the
    /// device was unbound from its driver.
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
            // The page is in the range, as it was looked up there.
            |page, pfn, table| table.map(page, pfn),
        )
    }
}
