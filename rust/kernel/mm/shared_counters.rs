// SPDX-License-Identifier: GPL-2.0

//! Shared counters, which user space reads without a system call.
//!
//! A driver increments a counter for each change of an object. A process maps the counters
//! read-only, and compares a counter with an earlier value to find out whether the object has
//! changed.
//!
//! ```
//! use kernel::{
//!     mm::shared_counters::SharedCounters,
//!     prelude::*, //
//! };
//!
//! let counters = SharedCounters::new(1000, GFP_KERNEL)?;
//! // The number is rounded up, so that the counters fill whole pages.
//! assert_eq!(counters.len() % 512, 0);
//! counters.get(999).ok_or(EINVAL)?.add(1);
//! assert_eq!(counters.get(999).ok_or(EINVAL)?.load(), 1);
//! assert!(counters.get(counters.len()).is_none());
//! # Ok::<(), Error>(())
//! ```
//!
//! C: `vm_insert_page()` in [`mm/memory.c`](srctree/mm/memory.c).

use crate::{
    alloc::{
        flags::{
            __GFP_HIGHMEM,
            __GFP_ZERO, //
        },
        Flags, //
    },
    bindings,
    mm::virt::VmaNew,
    page::{
        Page,
        PAGE_SIZE, //
    },
    prelude::*, //
};
use core::ptr::NonNull;

mod counter;

pub use counter::Counter;

/// The number of counters on a page.
const ON_A_PAGE: usize = PAGE_SIZE / size_of::<Counter>();

/// A page of counters.
///
/// # Invariants
///
/// `counters` is the address of `page` in the kernel's mapping, valid as long as `page` exists. The
/// kernel accesses the memory by atomic operations only, and user space has no write access.
struct CounterPage {
    page: Page,
    counters: NonNull<[Counter; ON_A_PAGE]>,
}

// SAFETY: `Send` requires that another thread may use and drop the value. Any thread may free a
// page, and by the type's invariants, the counters are accessed by atomic operations.
unsafe impl Send for CounterPage {}
// SAFETY: `Sync` requires that threads do not race on a shared value. By the type's invariants, the
// counters are accessed by atomic operations, and no method changes the other fields.
unsafe impl Sync for CounterPage {}

impl CounterPage {
    /// Allocates a page of counters, which are zero.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is not enough memory.
    fn new(flags: Flags) -> Result<Self> {
        let page = Page::alloc_page(flags | __GFP_ZERO)?;
        // SAFETY: `page_address()` requires a valid page, which was allocated above.
        let address = unsafe { bindings::tether_page_address(page.as_ptr()) };
        // `SharedCounters::new()` refuses high memory, which may have no address.
        let counters = NonNull::new(address.cast()).ok_or(EINVAL)?;
        // INVARIANT: `counters` is the address of the page, which is zeroed, aligned to the page
        // size, and as large as the array. The page is not mapped by user space yet.
        Ok(Self { page, counters })
    }

    /// Returns the counters of the page.
    fn counters(&self) -> &[Counter; ON_A_PAGE] {
        // SAFETY: `as_ref()` requires an aligned pointer to initialised memory, which is valid as
        // long as the reference, and which only changes by atomic operations. By the type's
        // invariants, `counters` is the address of the page, which `self` owns, and is accessed by
        // atomic operations only. `new()` has zeroed the page.
        unsafe { self.counters.as_ref() }
    }
}

/// An array of counters that user space can map.
///
/// Each counter is a `u64`, and is initially 0. After the counters were dropped, existing mappings
/// of user space stay valid, and the values do not change any more.
pub struct SharedCounters {
    pages: KVVec<CounterPage>,
}

impl SharedCounters {
    /// Creates at least `count` counters; the number is rounded up, so that they fill whole pages.
    ///
    /// # Context
    ///
    /// The context that `flags` allow. Sleeps if `flags` allow sleeping.
    ///
    /// # Errors
    ///
    /// * [`ENOMEM`] if there is not enough memory, or if `count` is too large;
    /// * [`EINVAL`] if `flags` include `__GFP_HIGHMEM`: the kernel does not map all of high memory.
    pub fn new(count: usize, flags: Flags) -> Result<Self> {
        if flags & __GFP_HIGHMEM == __GFP_HIGHMEM {
            return Err(EINVAL);
        }
        let count = count.div_ceil(ON_A_PAGE);
        // `count` may be too large for any allocation. This is an error of the caller, which the
        // allocator must not warn about.
        let mut pages = KVVec::with_capacity(count, flags | __GFP_NOWARN)?;
        for _ in 0..count {
            pages.push(CounterPage::new(flags)?, flags)?;
        }
        Ok(Self { pages })
    }

    /// Returns the number of counters.
    pub fn len(&self) -> usize {
        self.pages.len() * ON_A_PAGE
    }

    /// Returns whether the number of counters is zero.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Returns the counter with this index, or `None` if `index` is too large.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Counter> {
        Some(&self.pages.get(index / ON_A_PAGE)?.counters()[index % ON_A_PAGE])
    }

    /// Maps the first counters into `area`, as many as fit. Called by a driver's `mmap()`.
    ///
    /// The mapping is read-only, and the process cannot make it writable. A forked child does not
    /// inherit the mapping, and a core dump does not include it.
    ///
    /// # Context
    ///
    /// Process context, may sleep. The `mmap_lock` is held for writing, as `area` is being set up.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if `area` is larger than all counters, if its offset in the file (`vm_pgoff`)
    ///   is not zero, or if it is writable or executable;
    /// * [`ENOMEM`] if there is not enough memory.
    #[doc(alias = "vm_insert_page")]
    pub fn map(&self, area: &VmaNew) -> Result {
        // SAFETY: The area must be valid, and must not change concurrently. By the invariants of
        // `VmaNew`, the area is valid and is being set up, so no other task uses it yet.
        let offset = unsafe { (*area.as_ptr()).vm_pgoff };
        let wanted = (area.end() - area.start()) / PAGE_SIZE;
        if offset != 0 || wanted > self.pages.len() {
            return Err(EINVAL);
        }
        area.try_clear_maywrite()?;
        area.try_clear_mayexec()?;
        area.set_dontexpand();
        area.set_dontdump();
        // The process cannot undo this: madvise() refuses `MADV_DOFORK` for an area with the flag
        // `VM_MIXEDMAP`, which is set below.
        area.set_dontcopy();
        let area = area.set_mixedmap();
        for (index, page) in self.pages[..wanted].iter().enumerate() {
            area.vm_insert_page(area.start() + index * PAGE_SIZE, &page.page)?;
        }
        Ok(())
    }
}
