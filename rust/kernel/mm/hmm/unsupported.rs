// SPDX-License-Identifier: GPL-2.0

//! Refuses pages that a device must not use, by the VMAs of the range.

use super::HmmRange;
use crate::{
    bindings,
    mm::{
        space::{
            ReadLocked, //
            WaitLimit,
        },
        virt::VmaRef,
        MmWithUser, //
    },
    prelude::*, //
};

/// Refuses pages that a device must not use, as `check_vma_flags()` in `mm/gup.c` does, and
/// `hmm_range_fault()` does not.
///
/// A VMA that is replaced is invalidated before the new one is inserted. Therefore the VMAs found
/// here are those of the pages if the sequence has not changed when the pages are recorded.
/// `munmap()` removes a VMA before it invalidates the range: pages without a VMA are refused as
/// well.
///
/// # Errors
///
/// [`EFAULT`] if such a page is requested. Otherwise the page is marked as an error.
pub(super) fn refuse(mm: &MmWithUser, range: &mut HmmRange<'_>, wait: &WaitLimit) -> Result {
    let locked = ReadLocked::take(mm, wait)?;
    let end = range.address(range.pfns.len());
    let mut address = range.start;
    while let Some(vma) = locked.find(address).filter(|vma| vma.start() < end) {
        range.refuse(address, vma.start())?;
        if is_refused(vma) {
            range.refuse(vma.start(), vma.end())?;
        }
        address = vma.end();
        if address >= end {
            return Ok(());
        }
    }
    range.refuse(address, end)
}

/// Returns whether a device must not use the pages of a VMA.
fn is_refused(vma: &VmaRef) -> bool {
    // SAFETY: The reference guarantees that the VMA is valid.
    let (shadow_stack, magic) = unsafe {
        (
            bindings::tether_vma_is_shadow_stack(vma.as_ptr()),
            bindings::tether_vma_magic(vma.as_ptr()),
        )
    };
    shadow_stack || magic == bindings::SECRETMEM_MAGIC as c_ulong
}
