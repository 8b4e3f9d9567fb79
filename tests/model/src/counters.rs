// SPDX-License-Identifier: GPL-2.0

//! A process that watches a range of its memory by a counter: a stand-in for the notifier of
//! `samples/mmwatch/ranges.rs`, for `tools/libmmwatch/src/ranges.rs`, and for the kernel's
//! unmapping.

use crate::{
    atomic::AtomicU64,
    mm::Frame,
    prelude::KBox,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use loom::sync::{
    Condvar,
    Mutex, //
};

#[path = "../../../rust/kernel/mm/shared_counters/counter.rs"]
mod counter;
#[path = "../../../tools/libmmwatch/src/counter.rs"]
mod user;

use counter::Counter;

/// The state of `mm/mmu_notifier.c`.
struct Subscriptions {
    /// The notifier of the range is registered.
    registered: bool,
    /// Invalidations that have begun and not ended.
    active: usize,
    /// `invalidate_seq`.
    sequence: usize,
}

/// A process with one page. It is leaked.
pub struct Process {
    mmap_lock: Mutex<()>,
    subscriptions: Mutex<Subscriptions>,
    ended: Condvar,
    /// The lock of the shadow, and the sequence of the last invalidation that has called the
    /// notifier.
    shadow: Mutex<usize>,
    /// The entry in the page table: the address of a [`Frame`].
    entry: Atomic<*const Frame>,
    /// Pages that `replace()` maps. They exist from the start, so that mapping one publishes no
    /// memory.
    spares: [&'static Frame; 2],
    /// The entry in the TLB of the reader's CPU. The lock stands for the interrupt that flushes it.
    tlb: Mutex<Option<&'static Frame>>,
    /// The kernel's and the user's mapping of the counter are the same memory.
    word: Atomic<u64>,
}

// SAFETY: All fields have a lock or are atomic; `entry` points to a page that is leaked.
unsafe impl Send for Process {}
// SAFETY: All fields have a lock or are atomic; `entry` points to a page that is leaked.
unsafe impl Sync for Process {}

/// A range that was added: `Range` of libmmwatch.
#[derive(Clone, Copy)]
pub struct Range(u64);

impl Process {
    /// Creates a process with a mapped page, which the reader's CPU has read.
    #[allow(clippy::new_without_default)]
    pub fn new() -> &'static Self {
        let page = Frame::new();
        KBox::leak(KBox::new(Self {
            mmap_lock: Mutex::new(()),
            subscriptions: Mutex::new(Subscriptions {
                registered: false,
                active: 0,
                sequence: 0,
            }),
            shadow: Mutex::new(0),
            ended: Condvar::new(),
            entry: Atomic::new(page),
            spares: [Frame::new(), Frame::new()],
            tlb: Mutex::new(Some(page)),
            word: Atomic::new(0),
        }))
    }

    fn counter(&self) -> &Counter {
        // SAFETY: `Counter` is a transparent wrapper of the type of `word`.
        unsafe { &*(&raw const self.word).cast() }
    }

    /// Returns the page that is mapped.
    pub fn mapped(&self) -> usize {
        self.entry.load(Relaxed).addr()
    }

    /// `mremap()` over the page: the notifier is called, the entry is replaced, the invalidation
    /// ends, the TLBs are flushed, and the old page is freed.
    pub fn replace(&self, spare: usize) {
        let lock = self.mmap_lock.lock().unwrap();
        let mut subscriptions = self.subscriptions.lock().unwrap();
        subscriptions.active += 1;
        subscriptions.sequence += 1;
        let (registered, sequence) = (subscriptions.registered, subscriptions.sequence);
        drop(subscriptions);
        if registered {
            // RangeRecorder::invalidate()
            let mut notified = self.shadow.lock().unwrap();
            *notified = sequence;
            self.counter().add(1);
        }
        let old = self.entry.load(Relaxed);
        self.entry.store(self.spares[spare], Relaxed);
        self.subscriptions.lock().unwrap().active -= 1;
        self.ended.notify_all();
        *self.tlb.lock().unwrap() = None;
        drop(lock);
        // SAFETY: Pages are leaked.
        unsafe { &*old }.free();
    }

    /// Adds the range: `MmwatchDevice::register_range()`, then `Counters::settle()`.
    pub fn add(&self) -> Range {
        self.subscriptions.lock().unwrap().registered = true;
        // Registration::read()
        let value = loop {
            // mmu_interval_read_begin()
            let sequence = *self.shadow.lock().unwrap();
            let mut subscriptions = self.subscriptions.lock().unwrap();
            while subscriptions.active > 0 {
                subscriptions = self.ended.wait(subscriptions).unwrap();
            }
            drop(subscriptions);
            let notified = self.shadow.lock().unwrap();
            // mmu_interval_read_retry()
            if *notified == sequence {
                break self.counter().load();
            }
        };
        self.settle();
        Range(value)
    }

    /// `madvise(MADV_DONTNEED)` of another page flushes the TLBs if another thread is about to
    /// (`mm_tlb_flush_nested()`). It takes the `mmap_lock` for reading only, or not at all.
    fn settle(&self) {
        *self.tlb.lock().unwrap() = None;
    }

    /// A load by the program: the CPU uses its TLB, or the page table. Returns the page that was
    /// read.
    pub fn load(&self) -> usize {
        let mut tlb = self.tlb.lock().unwrap();
        let page = match *tlb {
            Some(page) => page,
            None => {
                // SAFETY: Pages are leaked.
                let page: &'static Frame = unsafe { &*self.entry.load(Relaxed) };
                *tlb = Some(page);
                page
            }
        };
        page.access();
        drop(tlb);
        core::ptr::from_ref(page).addr()
    }

    /// `Range::changed()`.
    pub fn changed(&self, range: Range) -> bool {
        // SAFETY: `AtomicU64` is a transparent wrapper of the type of `word`.
        user::read(unsafe { &*(&raw const self.word).cast::<AtomicU64>() }) != range.0
    }
}
