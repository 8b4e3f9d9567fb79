// SPDX-License-Identifier: GPL-2.0

//! Looking up the pages of a process, for secondary page tables.
//!
//! A driver looks a page up when its device faults. [`Registration::fault`] finds the pages of a
//! range, faults them in if requested, and calls a function that records them in the shadow of an
//! [`mmu_interval_notifier`](super::mmu_interval_notifier), if they are still mapped.
//!
//! * A [`Request`] is the access that a page is looked up for. [`Request::Snapshot`] reports the
//!   page table entry as it is, even if there is no page; [`Request::Read`] and [`Request::Write`]
//!   fault the page in.
//! * A [`Pfn`] is the result for one page: whether there is a page (*valid*), its number, and
//!   whether the device may write to it; or that the device cannot use a page there (*error*).
//!
//! # Guarantees
//!
//! * Results are recorded with the shadow locked, and only if no part of the registered range was
//!   invalidated since the look-up. Otherwise the look-up is repeated, until the time is over.
//! * Each repetition uses the same requests. In C, results overwrite the requests in one array, so
//!   that a repetition reads the earlier results as requests; here the two are separate.
//! * No reference to a page is held, so a page may only be used while the shadow is locked. A
//!   [`Pfn`] is a number, and does not give access to the page.
//! * Pages that a device must not use are refused: those of `memfd_secret()`, which the kernel
//!   itself cannot access, and those of shadow stacks, which ordinary writes must not change.
//!   Documentation/hmm.rst has a table of all cases.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         hmm::{
//!             HmmRange,
//!             Pfn,
//!             Request, //
//!         },
//!         mmu_interval_notifier::{
//!             MmuIntervalNotifier,
//!             Registration, //
//!         },
//!         MmWithUser, //
//!     },
//!     page::PAGE_SIZE,
//!     prelude::*, //
//! };
//!
//! /// Handles a write fault of a device whose table mirrors an address space from `start`.
//! fn fault<T: MmuIntervalNotifier<Shadow = KVec<Pfn>>>(
//!     mirror: &Registration<T>,
//!     mm: &MmWithUser,
//!     start: usize,
//!     index: usize,
//! ) -> Result {
//!     let mut pfns = [Pfn::default()];
//!     let range = HmmRange::new(start + index * PAGE_SIZE, &mut pfns).request(Request::Write);
//!     mirror.fault(mm, range, |pfns, table| table[index] = pfns[0])
//! }
//! # struct No;
//! # impl MmuIntervalNotifier for No {
//! #     type Shadow = KVec<Pfn>;
//! #     type Passes = kernel::mm::mmu_interval_notifier::OnePass;
//! #     fn try_invalidate(
//! #         &self,
//! #         _: &kernel::mm::mmu_notifier::MmuNotifierRange<'_>,
//! #         _: &mut KVec<Pfn>,
//! #     ) -> Result<(), kernel::mm::mmu_notifier::WouldSleep> {
//! #         Ok(())
//! #     }
//! # }
//! # impl kernel::mm::mmu_interval_notifier::Invalidate for No {
//! #     fn invalidate(
//! #         &self,
//! #         _: &kernel::mm::mmu_notifier::MmuNotifierRange<'_>,
//! #         _: &mut KVec<Pfn>,
//! #     ) {
//! #     }
//! # }
//! # let _ = fault::<No>;
//! ```
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)

#![cfg(CONFIG_HMM_MIRROR)]

use super::{
    mmu_interval_notifier::{
        MmuIntervalNotifier,
        Registration, //
    },
    space::WaitLimit,
    MmWithUser, //
};
use crate::{
    bindings,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    task::Task,
    tether::may_sleep,
    time::Delta, //
};
use core::{
    ops::Range as Indices,
    ptr, //
};

// The external build needs the paths: its root includes this directory by a path.
#[path = "hmm/fault.rs"]
mod fault;
#[path = "hmm/look_up.rs"]
mod look_up;
#[path = "hmm/unsupported.rs"]
mod unsupported;

pub(super) use look_up::look_up;

const VALID: usize = bindings::hmm_pfn_flags_HMM_PFN_VALID;
const WRITE: usize = bindings::hmm_pfn_flags_HMM_PFN_WRITE;
const ERROR: usize = bindings::hmm_pfn_flags_HMM_PFN_ERROR;
const ORDER_SHIFT: usize = bindings::hmm_pfn_flags_HMM_PFN_ORDER_SHIFT;
const REQ_FAULT: usize = bindings::hmm_pfn_flags_HMM_PFN_REQ_FAULT;
const REQ_WRITE: usize = bindings::hmm_pfn_flags_HMM_PFN_REQ_WRITE;
/// The bits of the page frame number. Those above are flags.
const NUMBER: usize = (1 << ORDER_SHIFT) - 1;

/// The access that a page is looked up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// No access: the page table entry is reported as it is.
    #[default]
    Snapshot,
    /// Reading: a missing page is faulted in (`HMM_PFN_REQ_FAULT`).
    Read,
    /// Writing: the page is faulted in for writing, which resolves copy-on-write
    /// (`HMM_PFN_REQ_WRITE`).
    Write,
}

impl Request {
    fn flags(self) -> usize {
        match self {
            Request::Snapshot => 0,
            Request::Read => REQ_FAULT,
            Request::Write => REQ_FAULT | REQ_WRITE,
        }
    }
}

/// The result of a look-up for one page: an entry of `hmm_range.hmm_pfns`.
///
/// The default value is that of a missing page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Pfn(usize);

impl Pfn {
    /// Returns the kernel's representation.
    pub(super) fn as_raw(self) -> usize {
        self.0
    }

    /// Creates a `Pfn` from an entry of the kernel's array.
    pub(super) fn from_raw(entry: usize) -> Self {
        Self(entry)
    }

    /// Returns the page frame number of a valid page.
    pub(super) fn as_raw_number(self) -> usize {
        self.0 & NUMBER
    }

    /// Returns whether there is a page, which may be read (`HMM_PFN_VALID`).
    #[inline]
    pub fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Returns whether there is a page that may be written (`HMM_PFN_WRITE`).
    #[inline]
    pub fn is_writable(self) -> bool {
        self.0 & (VALID | WRITE) == VALID | WRITE
    }

    /// Returns whether a device cannot use a page at this address: there is no mapping or a special
    /// one, or the memory is broken (`HMM_PFN_ERROR`).
    #[inline]
    pub fn is_error(self) -> bool {
        self.0 & ERROR != 0
    }

    /// Returns the page frame number, if there is a page.
    ///
    /// The number refers to the process's page only while the shadow is locked, and until the page
    /// is invalidated.
    #[inline]
    pub fn number(self) -> Option<usize> {
        self.is_valid().then_some(self.0 & NUMBER)
    }

    /// Returns whether this is the zero page, which is mapped where a process has only read.
    ///
    /// The result is false for the huge zero page, as the kernel does not export its address.
    pub fn is_zero(self) -> bool {
        // SAFETY: The function has no requirements.
        self.number()
            .is_some_and(|number| unsafe { bindings::is_zero_pfn(number) })
    }

    /// Returns the order of the mapping that the page is a part of (`hmm_pfn_to_map_order()`).
    ///
    /// The mapping consists of `1 << order` pages, and is aligned to its size. It may extend beyond
    /// the range.
    #[inline]
    pub fn order(self) -> u32 {
        (self.0 >> ORDER_SHIFT) as u32 & 0x1f
    }
}

/// The identity of a device, as the owner of private pages and of invalidations
/// ([`MmuNotifierRange::owner`](super::mmu_notifier::MmuNotifierRange::owner)).
///
/// Two values are different owners, as their addresses differ.
#[derive(Default)]
pub struct DeviceOwner(
    /// A field of non-zero size, so that each value has its own address.
    #[allow(dead_code)]
    u8,
);

impl DeviceOwner {
    /// Creates a new owner.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Returns the pointer to compare
    /// [`MmuNotifierRange::owner`](super::mmu_notifier::MmuNotifierRange::owner) with.
    pub fn as_ptr(&self) -> *const c_void {
        ptr::from_ref(self).cast()
    }
}

/// A range of pages to look up: `struct hmm_range`.
#[must_use]
pub struct HmmRange<'a> {
    start: usize,
    pfns: &'a mut [Pfn],
    request: Request,
    requests: Option<&'a [Request]>,
    owner: Option<&'a DeviceOwner>,
    timeout: Option<Delta>,
}

impl<'a> HmmRange<'a> {
    /// Creates a range from `start`, with a page for each entry of `pfns`.
    ///
    /// The request is [`Request::Snapshot`], and there is no timeout.
    pub fn new(start: usize, pfns: &'a mut [Pfn]) -> Self {
        Self {
            start,
            pfns,
            request: Request::Snapshot,
            requests: None,
            owner: None,
            timeout: None,
        }
    }

    /// Sets the request for all pages (`default_flags`).
    pub fn request(mut self, request: Request) -> Self {
        self.request = request;
        self
    }

    /// Sets a request for each page, instead of one for all pages.
    pub fn requests(mut self, requests: &'a [Request]) -> Self {
        self.requests = Some(requests);
        self
    }

    /// Sets the owner of private pages that are reported as they are (`dev_private_owner`).
    ///
    /// Private pages of other devices are migrated back to system memory if the request is not
    /// [`Request::Snapshot`]. Without an owner, this applies to all private pages.
    pub fn owner(mut self, owner: &'a DeviceOwner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Sets the time limit of the look-up.
    ///
    /// The look-up does not end if the range is invalidated again and again, if a lock is not free,
    /// or if a page cannot be faulted in, for instance because a `userfaultfd` does not serve it.
    ///
    /// Without a timeout, a kernel thread and a task in its exit, which cannot be killed, have a
    /// limit of ten seconds. In `open` of a misc device the limit is at most one second.
    pub fn timeout(mut self, timeout: Delta) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns the request for the page at `index`.
    fn wanted(&self, index: usize) -> Request {
        match self.requests {
            Some(requests) => requests.get(index).copied().unwrap_or_default(),
            None => self.request,
        }
    }

    /// Returns the address of the page at `index`, which is in the range or at its end.
    fn address(&self, index: usize) -> usize {
        self.start + index * PAGE_SIZE
    }

    /// Returns the indices of the pages from `start` to `end`.
    fn indices(&self, start: usize, end: usize) -> Indices<usize> {
        let index =
            |address: usize| (address.saturating_sub(self.start) / PAGE_SIZE).min(self.pfns.len());
        index(start)..index(end)
    }

    /// Refuses the pages from `start` to `end`; see [`refuse()`](unsupported::refuse).
    fn refuse(&mut self, start: usize, end: usize) -> Result {
        for index in self.indices(start, end) {
            if self.wanted(index) != Request::Snapshot {
                return Err(EFAULT);
            }
            self.pfns[index] = Pfn(ERROR);
        }
        Ok(())
    }

    /// Returns the number of pages from `index` on that have the same request, and that request.
    fn run(&self, index: usize) -> (usize, Request) {
        let Some(requests) = self.requests.and_then(|all| all.get(index..)) else {
            return (self.pfns.len() - index, self.request);
        };
        let first = requests.first().copied().unwrap_or_default();
        let count = requests.iter().take_while(|&&it| it == first).count();
        (count, first)
    }
}

impl<T: MmuIntervalNotifier> Registration<T> {
    /// Looks the pages of `range` up, and records them in the shadow if they are still mapped.
    ///
    /// `commit` is called with the results and the locked shadow. No part of the registered range
    /// is invalidated until `commit` returns.
    ///
    /// In `commit`, page faults are disabled and allocations do not reclaim; see
    /// [`mmu_interval_notifier`](super::mmu_interval_notifier#guarantees).
    ///
    /// # Context
    ///
    /// Process context, may sleep. Takes the `mmap_lock` of `mm` for reading; the caller must not
    /// hold it. Must not be called in a callback.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if `mm` is not the address space of the registration; if the range is empty,
    ///   not aligned to pages, or not in the registered range; if it includes the last page of the
    ///   address range, which no process has; or if the number of requests is not that of pages;
    /// * [`ENODEV`] if the teardown of the module has removed the registration;
    /// * [`EDEADLK`] if the caller has the shadow locked, or is in an interrupt;
    /// * [`EFAULT`] if a requested page cannot be faulted in, or if a device must not use it;
    /// * [`EPERM`] if a write was requested in a read-only mapping;
    /// * [`ENOMEM`] if there is not enough memory; [`EHWPOISON`] if the memory is broken;
    /// * [`EBUSY`] if the time is over;
    /// * [`EINTR`] if the task is being killed, or is a kernel thread that is requested to stop.
    ///
    /// C: `hmm_range_fault_unlocked_timeout()` in [`mm/hmm.c`](srctree/mm/hmm.c), with
    /// `mmu_interval_read_retry()`.
    #[doc(alias = "hmm_range_fault")]
    #[doc(alias = "hmm_range_fault_unlocked_timeout")]
    pub fn fault<R>(
        &self,
        mm: &MmWithUser,
        mut range: HmmRange<'_>,
        commit: impl FnOnce(&[Pfn], &mut T::Shadow) -> R,
    ) -> Result<R> {
        let as_many = range
            .requests
            .is_none_or(|all| all.len() == range.pfns.len());
        if !as_many {
            return Err(EINVAL);
        }
        self.check_range(mm, range.start, range.pfns.len())?;
        let wait = WaitLimit::new(range.timeout);
        loop {
            // SAFETY: By the invariants of `Registration`, the subscription was inserted, and its
            // `mm_struct` is kept. `check_range()` has checked the range and `mm`.
            if let Some(sequence) = unsafe { look_up(self.as_raw(), mm, &mut range, &wait)? } {
                if let Some(mut shadow) = self.lock_if_quiet(Task::current_raw(), sequence)? {
                    return Ok(commit(range.pfns, &mut shadow));
                }
            }
            wait.check()?;
        }
    }

    /// Checks that `count` pages from `start` can be looked up.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::fault`] for the range, the address space, and the caller.
    pub(super) fn check_range(&self, mm: &MmWithUser, start: usize, count: usize) -> Result {
        if self.is_ended() {
            return Err(ENODEV);
        }
        if !may_sleep() || self.shadow().is_locked_by_current() {
            return Err(EDEADLK);
        }
        let length = count.checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
        // The kernel's ranges have an exclusive end, which must not overflow.
        start.checked_add(length).ok_or(EINVAL)?;
        if !self.contains(start, length) || start % PAGE_SIZE != 0 || !self.is_on(mm) {
            return Err(EINVAL);
        }
        Ok(())
    }
}

impl<T: MmuIntervalNotifier> Registration<T> {
    /// Looks up `count` pages from `start`, in batches of `BATCH` pages.
    ///
    /// `note` is called with the shadow locked, for each page that is found, to record the page.
    /// Its first argument is the page's address, in units of pages.
    ///
    /// # Errors
    ///
    /// Those of [`Self::fault`], and of `note`.
    pub(super) fn fault_in_batches<const BATCH: usize>(
        &self,
        mm: &MmWithUser,
        start: usize,
        count: usize,
        request: Request,
        timeout: Option<Delta>,
        note: impl Fn(usize, Pfn, &mut T::Shadow) -> Result,
    ) -> Result {
        let mut pfns = [Pfn::default(); BATCH];
        let (mut done, mut made_room) = (0, 0);
        // Check the whole range first, so that the addresses below do not overflow.
        self.check_range(mm, start, count)?;
        // The timeout applies to each batch. Between batches, a signal or a request to stop ends
        // the loop. If there is no timeout, the limit of kernel threads applies to the whole loop.
        let wait = WaitLimit::new(timeout.map(|_| Delta::from_nanos(i64::MAX)));
        while done < count {
            wait.check()?;
            let length = BATCH.min(count - done);
            let first = start + done * PAGE_SIZE;
            let range = HmmRange {
                timeout,
                ..HmmRange::new(first, &mut pfns[..length]).request(request)
            };
            let noted = self.fault(mm, range, |pfns, shadow| {
                for (index, pfn) in pfns.iter().enumerate().filter(|(_, pfn)| pfn.is_valid()) {
                    note((first >> PAGE_SHIFT) + index, *pfn, shadow)?;
                }
                Ok::<_, Error>(())
            })?;
            match noted {
                Ok(()) => done += length,
                // `note` must not reclaim memory, as the shadow is locked. Reclaim here instead, on
                // behalf of the same cgroup.
                Err(error) if error == ENOMEM && made_room < MAKE_ROOM => {
                    made_room += 1;
                    drop(KBox::<[u8; PAGE_SIZE]>::new_uninit(GFP_KERNEL_ACCOUNT)?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The number of times that one call reclaims memory for recording pages.
const MAKE_ROOM: usize = 16;
