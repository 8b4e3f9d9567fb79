// SPDX-License-Identifier: GPL-2.0

//! DMA mappings of a process's pages, for a device that accesses memory by itself.
//!
//! A [`DmaMirror`] is similar to a [`Mirror`](super::mirror::Mirror), but its table contains the
//! DMA address of each page. [`DmaMirror::fault`] looks pages up and maps them for the device.
//! Before the process loses a page, [`MirrorDevice::invalidate`] makes the device stop using the
//! page, and the page is unmapped from the device.
//!
//! The process and the device may access a page at the same time: these mappings do not transfer
//! the ownership of the memory between CPU and device, as other DMA mappings do. Hence the device
//! must be coherent, and must be able to address all memory. For other devices, a mirror cannot be
//! created ([`EOPNOTSUPP`]).
//!
//! # Guarantees
//!
//! * A page in the table is mapped for the device, and belongs to the process.
//! * As with any DMA, the driver is responsible for the accesses of the device. If the device still
//!   uses an address after [`MirrorDevice::invalidate`] has returned, it may write to memory that
//!   was reused for another purpose. An IOMMU blocks such accesses as soon as the page is unmapped.
//! * The mirror holds a reference to the device (`get_device()`). When the device is unbound from
//!   its driver, all pages are unmapped, and no page can be mapped afterwards ([`ENODEV`]). This
//!   also applies to a mirror that was leaked, or that was dropped and is not freed yet.
//! * A page that the device may write to is marked dirty when it is unmapped.
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
//! /// Makes the device fill a page, and waits for the device.
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
//!         // The page may be invalidated again before the next attempt to use it.
//!         mirror.fault(mm, page, 1, Request::Write, None)?;
//!     }
//! }
//! # struct No;
//! # impl MirrorDevice for No {
//! #     fn invalidate(&self, _: &kernel::mm::mmu_notifier::MmuNotifierRange<'_>) {}
//! #     fn try_invalidate(
//! #         &self,
//! #         _: &kernel::mm::mmu_notifier::MmuNotifierRange<'_>,
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
    mirror::MirrorDevice,
    mmu_interval_notifier::{
        Invalidate,
        MmuIntervalNotifier,
        OnePass,
        Registration, //
    },
    mmu_notifier::{
        in_place,
        MmuNotifierRange,
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
/// The flags that describe an existing mapping; they are kept when the page is looked up again.
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

/// Returns the `struct device` that `dev` is a transparent wrapper of.
fn raw<C: DeviceContext>(dev: &Device<C>) -> *mut bindings::device {
    ptr::from_ref(dev).cast_mut().cast()
}

/// The kernel's list of pages, and their DMA addresses.
///
/// # Invariants
///
/// * `map` was allocated for the device, with a list of `addresses.len()` entries. The device is
///   bound, or is being unbound.
/// * For each page that is mapped in `map`, `addresses` contains the DMA address. The process has
///   this page mapped: no invalidation of the page has returned since the page was looked up.
struct Entries {
    map: bindings::hmm_dma_map,
    addresses: KVVec<DmaAddress>,
}

// SAFETY: `Send` requires that another thread may own and drop the value. `map` points to memory of
// its own, which is not tied to a thread, and `hmm_dma_map_free()` may be called by any thread.
unsafe impl Send for Entries {}

impl Entries {
    /// Returns the kernel's entry of the page with this index, if the list is long enough.
    fn pfn(&mut self, index: usize) -> Option<&mut usize> {
        // SAFETY: The entry must be in the list, and must not be accessed otherwise. By the type's
        // invariants, the list has `addresses.len()` entries, and `index` is less. The list is
        // accessed through `self` only, which is borrowed mutably.
        (index < self.addresses.len()).then(|| unsafe { &mut *self.map.pfn_list.add(index) })
    }

    /// Maps a page for the device.
    ///
    /// `pfn` must be a page that the process has mapped, and the lock of the table must be held
    /// since the page was looked up.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `index` is not in the list; [`EIO`] if the page cannot be mapped.
    fn map(&mut self, dev: &Device, index: usize, pfn: Pfn) -> Result {
        let entry = self.pfn(index).ok_or(EINVAL)?;
        // If the entry is mapped already, it is mapped to the same page: an invalidation of any
        // other page would have unmapped the page and cleared the entry.
        *entry = *entry & MAPPED | pfn.as_raw();
        let mut address = 0;
        // SAFETY: `hmm_dma_map_pfn()` requires a map that was allocated for the bound device, and a
        // valid page in the entry. By the type's invariants, `map` was allocated for the device,
        // which is not unbound yet. `pfn()` has checked the index, and the entry was set to a page
        // of the process above. `address` is a local variable.
        let mapped = unsafe {
            bindings::tether_hmm_dma_map_pfn(raw(dev), &mut self.map, index, &mut address)
        };
        if !mapped {
            if let Some(entry) = self.pfn(index) {
                *entry = 0;
            }
            return Err(EIO);
        }
        // INVARIANT: The page was mapped above, and `address` is its DMA address. The process has
        // the page mapped, as the caller holds the lock of the table since the look-up.
        self.addresses[index] = address;
        Ok(())
    }

    /// Unmaps all mapped pages from the index `first` to `end`, which is exclusive.
    fn unmap(&mut self, dev: &Device, first: usize, end: usize) {
        for index in first..end.min(self.addresses.len()) {
            let Some(&mut entry) = self.pfn(index) else {
                continue;
            };
            if entry == 0 {
                continue;
            }
            if entry & (VALID | WRITE) == VALID | WRITE {
                // The device may have written to the page. This does not set the dirty bit of the
                // process's page table entry.
                //
                // SAFETY: `tether_pfn_mark_dirty()` requires that a process has the page mapped,
                // and that the lock which an invalidation of the page takes is held. By the type's
                // invariants, the process has the page mapped. The entries are accessed under the
                // lock of `Mappings::entries`, which an invalidation takes before it returns.
                unsafe { bindings::tether_pfn_mark_dirty(Pfn::from_raw(entry).as_raw_number()) };
            }
            // SAFETY: `hmm_dma_unmap_pfn()` requires a map that was allocated for the device, which
            // is not unbound yet, and an index in its list. By the type's invariants, this holds
            // for `map`, and the index is less than `addresses.len()`.
            unsafe { bindings::hmm_dma_unmap_pfn(raw(dev), &mut self.map, index) };
            if let Some(entry) = self.pfn(index) {
                *entry = 0;
            }
        }
    }
}

/// The mappings for a device, until the device is unbound.
///
/// Both locks nest inside the lock of the table. When the device is unbound, they are taken without
/// the lock of the table.
#[pin_data]
struct Mappings {
    dev: ARef<Device>,
    /// Held while a driver uses addresses, so that the unbinding of the device waits for the
    /// driver. Taken before `entries`.
    #[pin]
    in_use: Mutex<()>,
    /// The task that has locked `in_use`, or null. Only that task stores its address.
    user: Atomic<*mut bindings::task_struct>,
    /// `None` before the map was allocated, and after the device was unbound.
    #[pin]
    entries: Mutex<Option<Entries>>,
}

/// Unmaps all pages and frees the map on drop: when the device is unbound, or with the table.
struct Binding(Arc<Mappings>);

impl Drop for Binding {
    fn drop(&mut self) {
        // If the closure of `with_addresses()` unbinds the device itself, the current task holds
        // `in_use`, and locking it again would deadlock. The closure finds no address from here on.
        let is_user = ptr::eq(self.0.user.load(Relaxed), Task::current_raw());
        let _in_use = (!is_user).then(|| self.0.in_use.lock());
        let mut guard = self.0.entries.lock();
        if let Some(mut entries) = guard.take() {
            let pages = entries.addresses.len();
            entries.unmap(&self.0.dev, 0, pages);
            // SAFETY: `hmm_dma_map_free()` requires a map that was allocated for the device, in
            // which no page is mapped, and that is freed once. By the invariants of `Entries`, the
            // map was allocated for the device, which is bound or being unbound. All pages were
            // unmapped above. `take()` has removed the map, so no other task frees it.
            unsafe { bindings::hmm_dma_map_free(raw(&self.0.dev), &mut entries.map) };
        }
    }
}

impl Mappings {
    /// Unmaps the pages in `range`; `first` is the number of the first page of the table.
    fn unmap_range(&self, first: usize, range: &MmuNotifierRange<'_>) {
        let (first, end) = indices(first, range);
        if let Some(entries) = (*self.entries.lock()).as_mut() {
            entries.unmap(&self.dev, first, end);
        }
    }
}

/// Returns the first index and the exclusive end of the pages in `range`.
///
/// `first` is the number of the first page of the table.
fn indices(first: usize, range: &MmuNotifierRange<'_>) -> (usize, usize) {
    let index = |address: usize| (address >> PAGE_SHIFT).saturating_sub(first);
    (index(range.start()), index(range.end() - 1) + 1)
}

/// The table of a mirror, which is the shadow of its interval notifier.
struct Table {
    mappings: Arc<Mappings>,
    _binding: Devres<Binding>,
    /// The number of the first page: its address divided by the page size.
    first: usize,
}

impl Table {
    /// Creates a table of `pages` pages, of which none is mapped. `pages` must not be zero.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is not enough memory; [`EOPNOTSUPP`] if the device cannot address all
    /// memory, or is not coherent.
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
        // SAFETY: `hmm_dma_map_alloc()` requires a bound device, and a map that is valid for
        // writes. `dev` is a `Device<Bound>`, and `map` is a local variable.
        to_result(unsafe { bindings::hmm_dma_map_alloc(raw(dev), &mut map, pages, PAGE_SIZE) })?;
        // INVARIANT: `map` was allocated above for the device, which is bound, with `pages`
        // entries; `addresses` has the same length. No page is mapped. When the device is unbound,
        // `binding` removes the entries.
        *mappings.entries.lock() = Some(Entries { map, addresses });
        Ok(Self {
            mappings,
            _binding: binding,
            first,
        })
    }

    /// Maps the page with the number `page`, which must be in the range of the table.
    ///
    /// The lock of the table must be held since the page was looked up.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the device was unbound; [`EIO`] if the page cannot be mapped.
    fn map(&mut self, page: usize, pfn: Pfn) -> Result {
        let mut guard = self.mappings.entries.lock();
        let entries = (*guard).as_mut().ok_or(ENODEV)?;
        // INVARIANT: The page was looked up in the process. The caller holds the lock of the table
        // since then, so no invalidation of the page has returned.
        entries.map(&self.mappings.dev, page - self.first, pfn)
    }

    /// Unmaps the pages in `range` without sleeping.
    ///
    /// # Errors
    ///
    /// [`WouldSleep`] if the lock is held, for instance because the device is being unbound.
    fn try_unmap_range(
        &mut self,
        range: &MmuNotifierRange<'_>,
    ) -> core::result::Result<(), WouldSleep> {
        let (first, end) = indices(self.first, range);
        let mut guard = self.mappings.entries.try_lock().ok_or(WouldSleep)?;
        if let Some(entries) = (*guard).as_mut() {
            entries.unmap(&self.mappings.dev, first, end);
        }
        Ok(())
    }
}

/// The interval notifier of a mirror, which unmaps invalidated pages.
struct Notifier<T> {
    device: T,
    mappings: Arc<Mappings>,
    /// The number of the first page of the table.
    first: usize,
}

impl<T: MirrorDevice> MmuIntervalNotifier for Notifier<T> {
    type Shadow = Table;
    type Passes = OnePass;

    /// Unmaps pages from the device that a closure of [`DmaMirror::with_addresses`] removes from
    /// the process.
    ///
    /// The pages are unmapped before the process loses them. When the closure returns, they may
    /// already belong to another process.
    fn invalidate_while_locked(&self, range: &MmuNotifierRange<'_>) {
        self.device.invalidate(range);
        self.mappings.unmap_range(self.first, range);
    }

    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        table: &mut Table,
    ) -> core::result::Result<(), WouldSleep> {
        self.device.try_invalidate(range)?;
        table.try_unmap_range(range)
    }
}

impl<T: MirrorDevice> Invalidate for Notifier<T> {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, table: &mut Table) {
        self.device.invalidate(range);
        table.mappings.unmap_range(table.first, range);
    }
}

/// The table of a [`DmaMirror`], locked: meanwhile, pages are not invalidated, and the unbinding of
/// the device waits.
pub struct Addresses<'a> {
    mappings: &'a Mappings,
    /// The number of the first page of the table.
    first: usize,
}

impl Addresses<'_> {
    /// Returns the mapping of the page that contains `address`, if the page is in the table.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
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

/// The DMA mapping of a process's page.
#[derive(Clone, Copy)]
pub struct Mapped {
    address: DmaAddress,
    writable: bool,
}

impl Mapped {
    /// Returns the DMA address of the page, which is valid until the page is invalidated.
    pub fn address(&self) -> DmaAddress {
        self.address
    }

    /// Returns whether the device may write to the page.
    pub fn is_writable(&self) -> bool {
        self.writable
    }
}

/// The DMA mappings of a device for a range of an address space.
///
/// Dropping a mirror does not wait, as for a [`Registration`]. Before the memory of the mirror is
/// freed, the whole range is invalidated and all pages are unmapped. A mirror keeps the `mm_struct`
/// (`mmgrab()`), but not the address space.
///
/// If a mirror was leaked, the teardown of its module invalidates the whole range, and unmaps all
/// pages. No page can be looked up afterwards.
///
/// # Context
///
/// May be dropped in any context, and inside any callback.
pub struct DmaMirror<T: MirrorDevice> {
    registration: Registration<Notifier<T>>,
}

/// The number of pages that are looked up at a time.
const BATCH: usize = 32;

impl<T: MirrorDevice> DmaMirror<T> {
    /// Mirrors `length` bytes from `start` for `dev`, with no page mapped; use [`new_dma_mirror!`].
    ///
    /// Allocates memory for each page of the range, mapped or not.
    ///
    /// # Context
    ///
    /// As for [`Registration::new`].
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if the range is empty, or is not aligned to pages;
    /// * [`EOPNOTSUPP`] if the device cannot address all memory, or is not coherent;
    /// * [`ENOMEM`] if there is not enough memory for the table;
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

    /// Removes the mirror, and waits until its pages were unmapped and the device was dropped.
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

    /// Returns the driver's device, which was passed to [`DmaMirror::new`].
    pub fn device(&self) -> &T {
        &self.registration.notifier().device
    }

    /// Returns whether `mm` is the mirrored address space.
    ///
    /// A forked child, and a program that the process executes, has another address space.
    pub fn is_on(&self, mm: &Mm) -> bool {
        self.registration.is_on(mm)
    }

    /// Calls `f` with the table locked: no page is invalidated until `f` returns.
    ///
    /// If another task unbinds the device from its driver, that task waits until `f` returns. If
    /// `f` itself unbinds the device, the pages are unmapped at once, and `f` finds no address
    /// afterwards.
    ///
    /// In `f`, page faults are disabled and allocations do not reclaim; see
    /// [`mmu_interval_notifier`](super::mmu_interval_notifier#guarantees).
    ///
    /// # Context
    ///
    /// As for [`Shadow::with`](super::mmu_interval_notifier::Shadow::with): process context, may
    /// sleep; must not be called in a callback, or in `f`.
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

    /// Looks up `count` pages from `start`, for `request`, and maps the pages that are found.
    ///
    /// Mapped pages may be invalidated again at any time, even before this function returns.
    /// Therefore the caller looks the page up in the table, and repeats this call if the page is
    /// missing. `timeout` applies to each 32 pages.
    ///
    /// # Context
    ///
    /// As for [`Registration::fault`].
    ///
    /// # Errors
    ///
    /// * [`EIO`] if a page cannot be mapped;
    /// * [`ENODEV`] if the device was unbound from its driver;
    /// * those of [`Registration::fault`].
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
            // `check_range()` has checked that all pages are in the range of the table.
            |page, pfn, table| table.map(page, pfn),
        )
    }
}
