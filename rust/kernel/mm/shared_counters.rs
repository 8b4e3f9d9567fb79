// SPDX-License-Identifier: GPL-2.0

//! Counters that user space reads without a system call.
//!
//! A driver that knows when something changes counts it; a process that wants to know whether it
//! has changed maps the counters, read-only, and looks.
//!
//! ```
//! use kernel::{
//!     mm::shared_counters::SharedCounters,
//!     prelude::*,
//!     sync::atomic::Relaxed, //
//! };
//!
//! let counters = SharedCounters::new(1000, GFP_KERNEL)?;
//! // As many as are on whole pages.
//! assert_eq!(counters.len() % 512, 0);
//! counters.get(999).ok_or(EINVAL)?.fetch_add(1u64, Relaxed);
//! assert_eq!(counters.get(999).ok_or(EINVAL)?.load(Relaxed), 1);
//! assert!(counters.get(counters.len()).is_none());
//! # Ok::<(), Error>(())
//! ```
//!
//! C: `vm_insert_page()` in [`mm/memory.c`](srctree/mm/memory.c).

use crate::{
    alloc::{
        flags::__GFP_ZERO,
        Flags, //
    },
    bindings,
    mm::virt::VmaNew,
    page::{
        Page,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::Atomic, //
};
use core::ptr::NonNull;

/// How many are on a page.
const ON_A_PAGE: usize = PAGE_SIZE / size_of::<Atomic<u64>>();

/// A page of them.
///
/// # Invariants
///
/// `counters` is where the page is in the kernel's own map, for as long as it is there; nothing but
/// atomic operations touches it.
struct CounterPage {
    page: Page,
    counters: NonNull<[Atomic<u64>; ON_A_PAGE]>,
}

// SAFETY: A page may be freed on any thread, and the counters are atomic.
unsafe impl Send for CounterPage {}
// SAFETY: As above.
unsafe impl Sync for CounterPage {}

impl CounterPage {
    fn new(flags: Flags) -> Result<Self> {
        let page = Page::alloc_page(flags | __GFP_ZERO)?;
        // SAFETY: The page is valid.
        let address = unsafe { bindings::tether_page_address(page.as_ptr()) };
        // It has none if it was asked for where the kernel has no map.
        let counters = NonNull::new(address.cast()).ok_or(EINVAL)?;
        // INVARIANT: That is where it is; it is zeroed, and aligned as pages are.
        Ok(Self { page, counters })
    }

    fn counters(&self) -> &[Atomic<u64>; ON_A_PAGE] {
        // SAFETY: By the type's invariants, for as long as the page, which `self` owns.
        unsafe { self.counters.as_ref() }
    }
}

/// Counters that user space can map, each a `u64` beside the one before. They begin at 0.
///
/// They stay where they are mapped also after this was dropped, and count no more.
pub struct SharedCounters {
    pages: KVVec<CounterPage>,
}

impl SharedCounters {
    /// Makes so many, or some more, to fill whole pages. Sleeps if `flags` do.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] if `flags` have `__GFP_HIGHMEM`.
    pub fn new(count: usize, flags: Flags) -> Result<Self> {
        let count = count.div_ceil(ON_A_PAGE);
        // More than there can be is an error, and no fault of the kernel's.
        let mut pages = KVVec::with_capacity(count, flags | __GFP_NOWARN)?;
        for _ in 0..count {
            pages.push(CounterPage::new(flags)?, flags)?;
        }
        Ok(Self { pages })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pages.len() * ON_A_PAGE
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// One of them.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Atomic<u64>> {
        Some(&self.pages.get(index / ON_A_PAGE)?.counters()[index % ON_A_PAGE])
    }

    /// Maps the first ones, as many as `area` has place for. For a driver's `mmap()`.
    ///
    /// They are mapped read-only, which cannot be changed. A forked child does not have them, and
    /// they are not in a core dump.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `area` is larger than they are, does not begin at their first one
    /// (`vm_pgoff`), or is to be written or executed; [`ENOMEM`].
    #[doc(alias = "vm_insert_page")]
    pub fn map(&self, area: &VmaNew) -> Result {
        // SAFETY: The area is valid, and not in use yet.
        let offset = unsafe { (*area.as_ptr()).vm_pgoff };
        let wanted = (area.end() - area.start()) / PAGE_SIZE;
        if offset != 0 || wanted > self.pages.len() {
            return Err(EINVAL);
        }
        area.try_clear_maywrite()?;
        area.try_clear_mayexec()?;
        area.set_dontexpand();
        area.set_dontdump();
        // The process cannot undo this by madvise(), as the area is a mixed map.
        area.set_dontcopy();
        let area = area.set_mixedmap();
        for (index, page) in self.pages[..wanted].iter().enumerate() {
            area.vm_insert_page(area.start() + index * PAGE_SIZE, &page.page)?;
        }
        Ok(())
    }
}
