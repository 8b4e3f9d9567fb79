// SPDX-License-Identifier: GPL-2.0

//! Looking up the pages of a range once, by the kernel's functions.

use super::{
    fault::{
        bring_in,
        Fault, //
    },
    refuse::refuse,
    HmmRange,
    Pfn,
    Request, //
};
use crate::{
    bindings,
    error::to_result,
    mm::{
        space::{
            Patience,
            ReadLocked, //
        },
        MmWithUser, //
    },
    prelude::*,
    time::msecs_to_jiffies, //
};
use core::ptr;

/// For how long the kernel's function tries before a signal is looked for.
const ATTEMPT_MS: u32 = 100;

/// After how many pages that are brought in one by one the limit is looked at.
const CHECK_EACH: usize = 64;

/// How many pages are looked up by one call of the kernel's function.
const PAGES_A_CALL: usize = 4096;

/// Looks all of a range up, once, and brings pages in that are wanted. Returns the sequence since
/// which nothing must have been invalidated; or `None`, if something was meanwhile, or if pages
/// have to be looked up again.
///
/// # Errors
///
/// Those of [`Registration::fault`](super::Registration::fault).
///
/// # Safety
///
/// `subscription` must have been inserted on `mm`, and `mm_struct` be kept; `range` must be in its
/// range, not be empty, and end before the last page of all.
pub(in crate::mm) unsafe fn look_up(
    subscription: *mut bindings::mmu_interval_notifier,
    mm: &MmWithUser,
    range: &mut HmmRange<'_>,
    patience: &Patience,
) -> Result<Option<usize>> {
    // Some flags are taken over from what is in there.
    range.pfns.fill(Pfn::default());
    let found = if patience.is_limited() {
        // SAFETY: The requirements are those of this function.
        unsafe { look_up_within(subscription, mm, range, patience)? }
    } else {
        // SAFETY: The requirements are those of this function.
        unsafe { look_up_killably(subscription, range, patience)? }
    };
    if found.is_some() {
        refuse(mm, range, patience)?;
    }
    Ok(found)
}

/// What the kernel's functions look up.
///
/// # Safety
///
/// `index + count` must be in `range`.
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
        // SAFETY: By the function's contract it is in the slice, of transparent wrappers.
        hmm_pfns: unsafe { range.pfns.as_mut_ptr().cast::<usize>().add(index) },
        default_flags: request.flags(),
        // What the array has is not looked at.
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
    patience: &Patience,
) -> Result<Option<usize>> {
    let (mut index, mut since, mut quiet) = (0, None, true);
    while index < range.pfns.len() {
        let (count, request) = range.run(index);
        // One call does not look for a fatal signal while it walks the pages.
        let count = count.min(PAGES_A_CALL);
        if index != 0 {
            patience.check()?;
        }
        // SAFETY: The run is in the range.
        let mut raw = unsafe { raw_range(subscription, range, index, count, request) };
        // SAFETY: By the function's contract; the array is as large as the range says.
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
        // Bringing pages in may invalidate others of the range. The rest is brought in before it is
        // looked up again.
        quiet &= *since.get_or_insert(raw.notifier_seq) == raw.notifier_seq;
        index += count;
    }
    Ok(since.filter(|_| quiet))
}

/// As [`look_up`], for a task that has a limit, or cannot be killed.
///
/// `hmm_range_fault_unlocked_timeout()` begins its limit anew whenever a page was waited for, and
/// its waits for pages end by fatal signals only. Here, pages are brought in one by one, and the
/// fault does not wait. The exception is a page of a `userfaultfd`, whose monitor gets a message
/// only if the fault waits; a timer ends that wait by waking the task.
///
/// # Safety
///
/// As for [`look_up`].
unsafe fn look_up_within(
    subscription: *mut bindings::mmu_interval_notifier,
    mm: &MmWithUser,
    range: &mut HmmRange<'_>,
    patience: &Patience,
) -> Result<Option<usize>> {
    let count = range.pfns.len();
    // SAFETY: All of the range.
    let mut raw = unsafe { raw_range(subscription, range, 0, count, Request::Snapshot) };
    // SAFETY: The subscription is valid, and its address space is kept.
    raw.notifier_seq = unsafe { bindings::mmu_interval_read_begin(subscription) };
    let locked = ReadLocked::take(mm, patience)?;
    // The OOM killer has taken pages away, which would be brought in as zeros.
    //
    // SAFETY: The address space is valid.
    if unsafe { bindings::check_stable_address_space(mm.as_raw()) } != 0 {
        return Err(EFAULT);
    }
    // SAFETY: The `mmap_lock` is held; the rest is the function's contract.
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
            patience.check()?;
        }
        if pfn.is_error() {
            return Err(EFAULT);
        }
        complete = false;
        match bring_in(&locked, range.address(index), wanted == Request::Write)? {
            Fault::Done => {}
            Fault::Again => {
                drop(locked);
                patience.pause()?;
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
