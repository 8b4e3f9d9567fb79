// SPDX-License-Identifier: GPL-2.0

//! The table of a mirror: an XArray of pages.

use crate::{
    bindings,
    mm::mmu_notifier::MmuNotifierRange,
    page::PAGE_SHIFT,
    prelude::*,
    task::Task,
    types::Opaque, //
};
use core::ptr;

/// An entry of a table.
#[derive(Clone, Copy)]
pub(super) struct Entry(pub(super) usize);

impl Entry {
    pub(super) const WRITABLE: usize = 1 << 0;
    pub(super) const EXCLUSIVE: usize = 1 << 1;
    pub(super) const SHIFT: usize = 2;

    pub(super) fn new(number: usize, flags: usize) -> Self {
        Self(number << Self::SHIFT | flags)
    }

    pub(super) fn is_exclusive(self) -> bool {
        self.0 & Self::EXCLUSIVE != 0
    }

    /// Returns whether both are for the same page.
    pub(super) fn is_same_page(self, other: Self) -> bool {
        self.0 >> Self::SHIFT == other.0 >> Self::SHIFT
    }

    /// Returns the value for the XArray, as `xa_mk_value()` does.
    fn into_raw(self) -> *mut c_void {
        ptr::without_provenance_mut(self.0 << 1 | 1)
    }

    /// Creates an entry from a value of the XArray, as `xa_to_value()` does.
    fn from_raw(entry: *mut c_void) -> Option<Self> {
        (!entry.is_null()).then_some(Self(entry.addr() >> 1))
    }
}

/// A table of pages by address.
///
/// The kernel crate's `XArray` holds owned objects, and has no function to walk its entries.
///
/// # Invariants
///
/// The XArray is initialised, and only accessed through this value. Its values are those of
/// [`Entry`], at the index of their page.
pub(super) struct Table(Pin<KBox<Opaque<bindings::xarray>>>);

// SAFETY: The XArray has no data that is tied to a task.
unsafe impl Send for Table {}

impl Table {
    pub(super) fn new() -> Result<Self> {
        let pages = KBox::pin_init(
            Opaque::ffi_init(|slot: *mut bindings::xarray| {
                // SAFETY: `ffi_init()` guarantees that `slot` is valid for writes, and the XArray
                // is pinned.
                unsafe { bindings::tether_xa_init_accounted(slot) };
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: The XArray was initialised above, and is empty.
        Ok(Self(pages))
    }

    /// Records a page. Does not wait for memory, as the table is locked.
    ///
    /// The memory is charged to the cgroup of the current task.
    pub(super) fn store(&mut self, index: usize, entry: Entry) -> Result {
        let task = Task::current_raw();
        // While the shadow is locked, `PF_MEMALLOC` permits the task to use the kernel's reserves,
        // and to exceed the limit of its cgroup. Clear the flag here, because the user determines
        // the size of the table. `GFP_NOWAIT` does not reclaim.
        //
        // SAFETY: `task` is the current task, and only the task itself writes its `flags`.
        let flags = unsafe {
            let flags = (*task).flags & bindings::PF_MEMALLOC;
            (*task).flags &= !flags;
            flags
        };
        // SAFETY: By the type's invariants, the XArray is initialised. `&mut self` excludes
        // concurrent accesses.
        let old = unsafe {
            bindings::xa_store(self.0.get(), index, entry.into_raw(), bindings::GFP_NOWAIT)
        };
        // SAFETY: `task` is the current task, and only the task itself writes its `flags`.
        unsafe { (*task).flags |= flags };
        // SAFETY: The function has no requirements.
        match unsafe { bindings::xa_err(old) } {
            0 => {}
            error => return Err(Error::from_errno(error)),
        }
        // The page may have become exclusive after it was looked up, which is no invalidation for
        // this mirror. When the CPU regains access, the entry is erased.
        match Self::exclusive(old, entry) {
            Some(old) => self.store(index, old),
            None => Ok(()),
        }
    }

    /// Returns the replaced entry if it is the exclusive entry of the page that `entry` is for, and
    /// `entry` is not exclusive.
    #[inline]
    fn exclusive(old: *mut c_void, entry: Entry) -> Option<Entry> {
        Entry::from_raw(old)
            .filter(|old| old.is_exclusive() && old.is_same_page(entry) && !entry.is_exclusive())
    }

    #[inline]
    pub(super) fn load(&self, index: usize) -> Option<Entry> {
        // SAFETY: By the type's invariants, the XArray is initialised. `&self` excludes a
        // concurrent change.
        Entry::from_raw(unsafe { bindings::xa_load(self.0.get(), index) })
    }

    /// Removes the pages from `first` to `last`.
    fn erase(&mut self, first: usize, last: usize) {
        let mut index = first;
        // SAFETY: By the type's invariants, the XArray is initialised. `&mut self` excludes
        // concurrent accesses.
        while !unsafe { bindings::xa_find(self.0.get(), &mut index, last, bindings::XA_PRESENT) }
            .is_null()
        {
            // SAFETY: By the type's invariants, the XArray is initialised. `&mut self` excludes
            // concurrent accesses.
            unsafe { bindings::xa_erase(self.0.get(), index) };
        }
    }

    pub(super) fn erase_range(&mut self, range: &MmuNotifierRange<'_>) {
        self.erase(range.start() >> PAGE_SHIFT, (range.end() - 1) >> PAGE_SHIFT);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants, the XArray is initialised. `&mut self` excludes
        // concurrent accesses.
        unsafe { bindings::xa_destroy(self.0.get()) };
    }
}
