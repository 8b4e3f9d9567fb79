// SPDX-License-Identifier: GPL-2.0

//! Looking up the pages of a range once, by the kernel's functions.

use super::{
    fault::{
        bring_in,
        Fault, //
    },
    unsupported::refuse,
    HmmRange,
    Pfn,
    Request, //
};
use crate::{
    bindings,
    error::to_result,
    mm::{
        space::{
            ReadLocked, //
            WaitLimit,
        },
        MmWithUser, //
    },
    prelude::*,
    time::msecs_to_jiffies, //
};
use core::ptr;

/// The time in milliseconds that the kernel's function tries before signals are checked.
const ATTEMPT_MS: u32 = 100;

/// The number of pages that are faulted in one by one before the limit is checked.
const CHECK_EACH: usize = 64;

/// The number of pages that one call of the kernel's function looks up.
const PAGES_A_CALL: usize = 4096;

/// Looks all pages of a range up once, and faults requested pages in.
///
/// Returns the sequence of the look-up. The results are valid if the range was not invalidated
/// since that sequence. Returns `None` if the range was invalidated meanwhile, or if pages have to
/// be looked up again.
///
/// # Errors
///
/// Those of [`Registration::fault`](super::Registration::fault).
///
/// # Safety
///
/// `subscription` must have been inserted on `mm`, and its `mm_struct` must be kept. `range` must
/// be in the range of the subscription, must not be empty, and must end before the last page of the
/// address range.
pub(in crate::mm) unsafe fn look_up(
    subscription: *mut bindings::mmu_interval_notifier,
    mm: &MmWithUser,
    range: &mut HmmRange<'_>,
    wait: &WaitLimit,
) -> Result<Option<usize>> {
    // The kernel's function keeps some flags of the old entries.
    range.pfns.fill(Pfn::default());
    let found = if wait.is_limited() {
        // SAFETY: `look_up_within()` has the requirements of this function.
        unsafe { look_up_within(subscription, mm, range, wait)? }
    } else {
        // SAFETY: `look_up_killably()` has the requirements of this function.
        unsafe { look_up_killably(subscription, range, wait)? }
    };
    if found.is_some() {
        refuse(mm, range, wait)?;
    }
    Ok(found)
}

/// Creates the kernel's range for `count` pages of `range`, from `index` on.
///
/// # Safety
///
/// `index + count` must be at most the number of pages in `range`.
unsafe fn raw_range(
    subscription: *mut bindings::mmu_interval_notifier,
    range: &mut HmmRange<'_>,
    index: usize,
    count: usize,
    request: Request,
) -> bindings::hmm_range {
    bindings::hmm_range {
        notifier: subscription,
        notifier_seq: 0,
        start: range.address(index),
        end: range.address(index + count),
        // SAFETY: The caller guarantees that `index` is in the slice or at its end. `Pfn` is a
        // transparent wrapper of `usize`.
        hmm_pfns: unsafe { range.pfns.as_mut_ptr().cast::<usize>().add(index) },
        default_flags: request.flags(),
        // With a mask of zero, the kernel's function does not read requests from the array.
        pfn_flags_mask: 0,
        dev_private_owner: range
            .owner
            .map_or(ptr::null_mut(), |it| it.as_ptr().cast_mut().cast()),
    }
}

/// As [`look_up`], for a task that can be killed while the kernel waits for a page.
///
/// # Safety
///
/// As for [`look_up`].
unsafe fn look_up_killably(
    subscription: *mut bindings::mmu_interval_notifier,
    range: &mut HmmRange<'_>,
    wait: &WaitLimit,
) -> Result<Option<usize>> {
    let (mut index, mut since, mut quiet) = (0, None, true);
    while index < range.pfns.len() {
        let (count, request) = range.run(index);
        // The kernel's function does not check for fatal signals while it walks the pages.
        let count = count.min(PAGES_A_CALL);
        if index != 0 {
            wait.check()?;
        }
        // SAFETY: `run()` returns the number of pages in a part of the range from `index` on.
        let mut raw = unsafe { raw_range(subscription, range, index, count, request) };
        // SAFETY: The caller guarantees that the subscription was inserted, that its `mm_struct` is
        // kept, and that its range includes `range`. The array has an entry for each page of `raw`.
        let ret = unsafe {
            bindings::hmm_range_fault_unlocked_timeout(
                &mut raw,
                msecs_to_jiffies(ATTEMPT_MS) as c_ulong,
            )
        };
        match to_result(ret) {
            Err(error) if error == EBUSY => return Ok(None),
            other => other?,
        }
        // Faulting pages in may invalidate other pages of the range. Fault the remaining pages in
        // before the range is looked up again.
        quiet &= *since.get_or_insert(raw.notifier_seq) == raw.notifier_seq;
        index += count;
    }
    Ok(since.filter(|_| quiet))
}

/// As [`look_up`], for a task that has a limit, or cannot be killed.
///
/// `hmm_range_fault_unlocked_timeout()` restarts its limit after each wait for a page, and only a
/// fatal signal ends such a wait. This function faults pages in one by one, and the fault does not
/// wait. The exception is a page of a `userfaultfd`, whose monitor gets a message only if the fault
/// waits; a timer ends that wait by waking the task.
///
/// # Safety
///
/// As for [`look_up`].
unsafe fn look_up_within(
    subscription: *mut bindings::mmu_interval_notifier,
    mm: &MmWithUser,
    range: &mut HmmRange<'_>,
    wait: &WaitLimit,
) -> Result<Option<usize>> {
    let count = range.pfns.len();
    // SAFETY: `count` is the number of pages in the range.
    let mut raw = unsafe { raw_range(subscription, range, 0, count, Request::Snapshot) };
    // SAFETY: The caller guarantees that the subscription was inserted, and that its `mm_struct` is
    // kept.
    raw.notifier_seq = unsafe { bindings::mmu_interval_read_begin(subscription) };
    let locked = ReadLocked::take(mm, wait)?;
    // If the OOM killer has reaped the address space, missing pages would be faulted in as zeros.
    //
    // SAFETY: `mm` is valid.
    if unsafe { bindings::check_stable_address_space(mm.as_raw()) } != 0 {
        return Err(EFAULT);
    }
    // SAFETY: `locked` holds the `mmap_lock`. The caller guarantees that the subscription was
    // inserted on `mm`, and that its range includes `range`. The array has an entry for each page.
    match to_result(unsafe { bindings::hmm_range_fault(&mut raw) }) {
        Err(error) if error == EBUSY => return Ok(None),
        other => other?,
    }
    let (mut complete, mut brought_in) = (true, 0);
    for index in 0..count {
        let (wanted, pfn) = (range.wanted(index), range.pfns[index]);
        let there = match wanted {
            Request::Snapshot => true,
            Request::Read => pfn.is_valid(),
            Request::Write => pfn.is_writable(),
        };
        if there {
            continue;
        }
        brought_in += 1;
        if brought_in % CHECK_EACH == 0 {
            wait.check()?;
        }
        if pfn.is_error() {
            return Err(EFAULT);
        }
        complete = false;
        match bring_in(&locked, range.address(index), wanted == Request::Write)? {
            Fault::Done => {}
            Fault::Again => {
                drop(locked);
                wait.pause()?;
                return Ok(None);
            }
            Fault::Unlocked => {
                locked.was_unlocked();
                return Ok(None);
            }
        }
    }
    Ok(complete.then_some(raw.notifier_seq))
}
