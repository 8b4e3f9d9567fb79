// SPDX-License-Identifier: GPL-2.0

//! The table of a mirror: an XArray of pages.

use crate::{
    bindings,
    mm::mmu_notifier::Range,
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

    /// What the XArray has of it: `xa_mk_value()`.
    fn into_raw(self) -> *mut c_void {
        ptr::without_provenance_mut(self.0 << 1 | 1)
    }

    /// `xa_to_value()`
    fn from_raw(entry: *mut c_void) -> Option<Self> {
        (!entry.is_null()).then_some(Self(entry.addr() >> 1))
    }
}

/// Which page is at an address.
///
/// The kernel crate's `XArray` is of owned objects, and cannot be walked.
///
/// # Invariants
///
/// The XArray is initialised, and only touched by who has the table. Its entries are those of
/// [`Entry`], by page.
pub(super) struct Table(Pin<KBox<Opaque<bindings::xarray>>>);

// SAFETY: There is nothing in it that belongs to a task.
unsafe impl Send for Table {}

impl Table {
    pub(super) fn new() -> Result<Self> {
        let pages = KBox::pin_init(
            Opaque::ffi_init(|slot: *mut bindings::xarray| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe { bindings::tether_xa_init_accounted(slot) };
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: It was just initialised, and is empty.
        Ok(Self(pages))
    }

    /// Notes a page. Must not wait for memory, as it is called under the table's lock.
    ///
    /// The memory is charged to the cgroup of the current task.
    pub(super) fn store(&mut self, index: usize, entry: Entry) -> Result {
        let task = Task::current_raw();
        // Under the lock, the task may take from the reserves, and exceed the limit of its cgroup.
        // A table must not: it is as large as its user likes, and `GFP_NOWAIT` does not reclaim.
        //
        // SAFETY: The task is the current one, and only itself writes its `flags`.
        let flags = unsafe {
            let flags = (*task).flags & bindings::PF_MEMALLOC;
            (*task).flags &= !flags;
            flags
        };
        // SAFETY: By the type's invariants.
        let old = unsafe {
            bindings::xa_store(self.0.get(), index, entry.into_raw(), bindings::GFP_NOWAIT)
        };
        // SAFETY: The task is the current one, and only itself writes its `flags`.
        unsafe { (*task).flags |= flags };
        // SAFETY: The function has no requirements.
        match unsafe { bindings::xa_err(old) } {
            0 => Ok(()),
            error => Err(Error::from_errno(error)),
        }
    }

    #[inline]
    pub(super) fn load(&self, index: usize) -> Option<Entry> {
        // SAFETY: By the type's invariants.
        Entry::from_raw(unsafe { bindings::xa_load(self.0.get(), index) })
    }

    /// Forgets the pages from `first` to `last`.
    fn erase(&mut self, first: usize, last: usize) {
        let mut index = first;
        // SAFETY: By the type's invariants.
        while !unsafe { bindings::xa_find(self.0.get(), &mut index, last, bindings::XA_PRESENT) }
            .is_null()
        {
            // SAFETY: By the type's invariants.
            unsafe { bindings::xa_erase(self.0.get(), index) };
        }
    }

    pub(super) fn erase_range(&mut self, range: &Range<'_>) {
        self.erase(range.start() >> PAGE_SHIFT, (range.end() - 1) >> PAGE_SHIFT);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants.
        unsafe { bindings::xa_destroy(self.0.get()) };
    }
}
