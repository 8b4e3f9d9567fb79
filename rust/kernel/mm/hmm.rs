// SPDX-License-Identifier: GPL-2.0

//! Looking up which pages a process has, for page tables of one's own.
//!
//! A device that works on a process's memory asks for a page when it needs it.
//! [`Registration::fault`] finds the pages of a range, brings them in if that is wanted, and gives
//! them to a function that notes them in the shadow of an
//! [`interval_notifier`](super::interval_notifier), if they are still there.
//!
//! * A *request* says what a page is wanted for: [`Request::Snapshot`] takes it as it is, also if
//!   it is not there; [`Request::Read`] and [`Request::Write`] bring it in.
//! * A [`Pfn`] says what was found: whether there is a page (*valid*), which one, whether the
//!   device may write to it; or that there cannot be one (*error*).
//!
//! # What holds
//!
//! * What is found is noted under the lock of the shadow, and only if nothing in the registered
//!   range was invalidated since it was looked up. It is looked up again until this is so, or time
//!   is up.
//! * Requests are the same each time that it is looked up. In C they are in the array that results
//!   are written to, so that a second look takes what the first one has found for what is wanted;
//!   here they are apart.
//! * No reference to a page is held: it may be used under the lock of the shadow only. A [`Pfn`] is
//!   a number, and nothing can be done to the page by it.
//! * Pages that a device must not use are refused: those of `memfd_secret()`, which the kernel
//!   itself cannot reach, and those of shadow stacks, which only returns of the CPU may write. A
//!   table in Documentation/hmm.rst has all cases.
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
//!         interval_notifier::{
//!             IntervalNotifier,
//!             Registration, //
//!         },
//!         MmWithUser, //
//!     },
//!     page::PAGE_SIZE,
//!     prelude::*, //
//! };
//!
//! /// A device wants to write to a page. Where it is mirrored from `start`, `table` has all of it.
//! fn fault<T: IntervalNotifier<Shadow = KVec<Pfn>>>(
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
//! # impl IntervalNotifier for No {
//! #     type Shadow = KVec<Pfn>;
//! #     type Passes = kernel::mm::interval_notifier::OnePass;
//! #     fn try_invalidate(
//! #         &self,
//! #         _: &kernel::mm::mmu_notifier::Range<'_>,
//! #         _: &mut KVec<Pfn>,
//! #     ) -> Result<(), kernel::mm::mmu_notifier::WouldSleep> {
//! #         Ok(())
//! #     }
//! # }
//! # impl kernel::mm::interval_notifier::Invalidate for No {
//! #     fn invalidate(&self, _: &kernel::mm::mmu_notifier::Range<'_>, _: &mut KVec<Pfn>) {}
//! # }
//! # let _ = fault::<No>;
//! ```
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)

#![cfg(CONFIG_HMM_MIRROR)]

use super::{
    interval_notifier::{
        IntervalNotifier,
        Registration, //
    },
    space::Patience,
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

// The external build needs the paths: its root includes this folder by a path.
#[path = "hmm/fault.rs"]
mod fault;
#[path = "hmm/look_up.rs"]
mod look_up;
#[path = "hmm/refuse.rs"]
mod refuse;

pub(super) use look_up::look_up;

const VALID: usize = bindings::hmm_pfn_flags_HMM_PFN_VALID;
const WRITE: usize = bindings::hmm_pfn_flags_HMM_PFN_WRITE;
const ERROR: usize = bindings::hmm_pfn_flags_HMM_PFN_ERROR;
const ORDER_SHIFT: usize = bindings::hmm_pfn_flags_HMM_PFN_ORDER_SHIFT;
const REQ_FAULT: usize = bindings::hmm_pfn_flags_HMM_PFN_REQ_FAULT;
const REQ_WRITE: usize = bindings::hmm_pfn_flags_HMM_PFN_REQ_WRITE;
/// Above it there are flags.
const NUMBER: usize = (1 << ORDER_SHIFT) - 1;

/// What a page is wanted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// Nothing: it is taken as it is.
    #[default]
    Snapshot,
    /// To be read: it is brought in, if it is not there (`HMM_PFN_REQ_FAULT`).
    Read,
    /// To be written: it is brought in, and made a page of the process's own (`HMM_PFN_REQ_WRITE`).
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

/// What was found at an address: an entry of `hmm_range.hmm_pfns`.
///
/// The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Pfn(usize);

impl Pfn {
    /// What the kernel has of it.
    pub(super) fn as_raw(self) -> usize {
        self.0
    }

    /// An entry of a list of the kernel's.
    pub(super) fn from_raw(entry: usize) -> Self {
        Self(entry)
    }

    /// The number of the page's frame, which there is.
    pub(super) fn as_raw_number(self) -> usize {
        self.0 & NUMBER
    }

    /// Whether there is a page, which may be read (`HMM_PFN_VALID`).
    #[inline]
    pub fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Whether there is a page that may be written (`HMM_PFN_WRITE`).
    #[inline]
    pub fn is_writable(self) -> bool {
        self.0 & (VALID | WRITE) == VALID | WRITE
    }

    /// Whether there cannot be a page that a device may use: no mapping, a special one, broken
    /// memory (`HMM_PFN_ERROR`).
    #[inline]
    pub fn is_error(self) -> bool {
        self.0 & ERROR != 0
    }

    /// The number of the page's frame, if there is one. It is that page's only under the lock of
    /// the shadow, until it is invalidated.
    #[inline]
    pub fn number(self) -> Option<usize> {
        self.is_valid().then_some(self.0 & NUMBER)
    }

    /// Whether it is the page of zeros, which all have that have only read there.
    pub fn is_zero(self) -> bool {
        // SAFETY: The function has no requirements.
        self.number()
            .is_some_and(|number| unsafe { bindings::is_zero_pfn(number) })
    }

    /// The page is a part of `1 << order` pages that the process has mapped as one, and that begin
    /// at a multiple of their size (`hmm_pfn_to_map_order()`). They may go beyond the range.
    #[inline]
    pub fn order(self) -> u32 {
        (self.0 >> ORDER_SHIFT) as u32 & 0x1f
    }
}

/// What marks the doings of a device as its own: its private pages, and its invalidations
/// ([`Range::owner`](super::mmu_notifier::Range::owner)). Each is another one.
#[derive(Default)]
pub struct DeviceOwner(
    /// So that it has an address of its own.
    #[allow(dead_code)]
    u8,
);

impl DeviceOwner {
    /// A new one.
    pub const fn new() -> Self {
        Self(0)
    }

    /// What [`Range::owner`](super::mmu_notifier::Range::owner) is compared to.
    pub fn as_ptr(&self) -> *const c_void {
        ptr::from_ref(self).cast()
    }
}

/// What is to be looked up: `struct hmm_range`.
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
    /// A page for each of `pfns`, from `start`; as they are, and for as long as it takes.
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

    /// What all of them are wanted for (`default_flags`).
    pub fn request(mut self, request: Request) -> Self {
        self.request = request;
        self
    }

    /// What each of them is wanted for, instead.
    pub fn requests(mut self, requests: &'a [Request]) -> Self {
        self.requests = Some(requests);
        self
    }

    /// Private pages of this device are taken as they are (`dev_private_owner`); others, and all of
    /// them without this, are brought back to where the CPU can use them, if a page is wanted.
    pub fn owner(mut self, owner: &'a DeviceOwner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// For how long to try: if the range is invalidated again and again, if a lock is not free, or
    /// if a page is not brought in, as one that a `userfaultfd` does not serve.
    ///
    /// Without this, a kernel thread and a task in its exit, which cannot be killed, have a limit
    /// of ten seconds.
    pub fn timeout(mut self, timeout: Delta) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What the page at `index` is wanted for.
    fn wanted(&self, index: usize) -> Request {
        match self.requests {
            Some(requests) => requests.get(index).copied().unwrap_or_default(),
            None => self.request,
        }
    }

    /// The address of the page at `index`, which is in the range or at its end.
    fn address(&self, index: usize) -> usize {
        self.start + index * PAGE_SIZE
    }

    /// Returns the indices of the pages from `start` to `end`.
    fn indices(&self, start: usize, end: usize) -> Indices<usize> {
        let index =
            |address: usize| (address.saturating_sub(self.start) / PAGE_SIZE).min(self.pfns.len());
        index(start)..index(end)
    }

    /// Refuses the pages from `start` to `end`; see [`refuse()`](refuse::refuse).
    fn refuse(&mut self, start: usize, end: usize) -> Result {
        for index in self.indices(start, end) {
            if self.wanted(index) != Request::Snapshot {
                return Err(EFAULT);
            }
            self.pfns[index] = Pfn(ERROR);
        }
        Ok(())
    }

    /// The pages from `index` on that are wanted for the same thing: how many, and for what.
    fn run(&self, index: usize) -> (usize, Request) {
        let Some(requests) = self.requests.and_then(|all| all.get(index..)) else {
            return (self.pfns.len() - index, self.request);
        };
        let first = requests.first().copied().unwrap_or_default();
        let count = requests.iter().take_while(|&&it| it == first).count();
        (count, first)
    }
}

impl<T: IntervalNotifier> Registration<T> {
    /// Looks the pages of `range` up, and notes them in the shadow, if they are still there.
    ///
    /// `commit` gets what was found, and the shadow, which is locked: nothing in the registered
    /// range is invalidated until it returns.
    ///
    /// In `commit`, page faults are disabled and allocations do not reclaim; see
    /// [`interval_notifier`](super::interval_notifier#guarantees).
    ///
    /// # Context
    ///
    /// Process context; sleeps, and takes the `mmap_lock` of `mm` for reading, which must not be
    /// held. Must not be called inside a callback.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if `mm` is not the address space that is registered on, if the range is empty,
    ///   not aligned to pages, not in the registered one, or ends with the last page of all, which
    ///   no process has; or if there are not as many requests as pages;
    /// * [`ENODEV`] if the end of its module has removed the registration;
    /// * [`EDEADLK`] if the caller has the shadow locked, or is in an interrupt;
    /// * [`EFAULT`] if a page that is wanted cannot be there, or is one that a device must not use;
    /// * [`EPERM`] if one is to be written in a mapping that is read-only;
    /// * [`ENOMEM`] if there is not enough memory; [`EHWPOISON`] if it is broken;
    /// * [`EBUSY`] if time is up;
    /// * [`EINTR`] if the task is being killed, or a kernel thread asked to stop.
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
        let patience = Patience::new(range.timeout);
        loop {
            // SAFETY: The subscription was inserted, and the range was checked.
            if let Some(sequence) = unsafe { look_up(self.as_raw(), mm, &mut range, &patience)? } {
                if let Some(mut shadow) = self.lock_if_quiet(Task::current_raw(), sequence)? {
                    return Ok(commit(range.pfns, &mut shadow));
                }
            }
            patience.check()?;
        }
    }

    /// Whether `count` pages from `start` can be looked up.
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
        // The kernel's ranges have an address after the last one.
        start.checked_add(length).ok_or(EINVAL)?;
        if !self.contains(start, length) || start % PAGE_SIZE != 0 || !self.is_on(mm) {
            return Err(EINVAL);
        }
        Ok(())
    }
}

impl<T: IntervalNotifier> Registration<T> {
    /// Looks `count` pages up from `start`, so many at a time, and notes each one that is there,
    /// under the lock of the shadow: `note` gets the page's address, by pages.
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
        // All of it is checked first: the addresses below do not overflow.
        self.check_range(mm, start, count)?;
        // The time-out is that of each batch. Between them only a signal or a request to stop ends
        // this, and the limit of kernel threads if there is no time-out.
        let patience = Patience::new(timeout.map(|_| Delta::from_nanos(i64::MAX)));
        while done < count {
            patience.check()?;
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
                // Under the lock nothing may reclaim. Reclaim here, on behalf of the same cgroup.
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

/// How often memory is reclaimed for the pages that one call notes.
const MAKE_ROOM: usize = 16;
