// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/mm/` and `mm/mmu_notifier.c`: an address space of one page with a
//! mirror.

use crate::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        LockClassKey, //
    },
    tether::Owner, //
};
use loom::{
    cell::UnsafeCell,
    sync::{
        Condvar,
        Mutex, //
    }, //
};

#[path = "../../../rust/kernel/mm/mmu_interval_notifier/shadow.rs"]
mod shadow;
#[path = "../../../rust/kernel/mm/mmu_interval_notifier/slot.rs"]
mod slot;

use shadow::{
    Guard,
    Missed,
    Scope,
    Shadow, //
};
use slot::Slot;

/// Memory that a device accesses. An access that is not ordered before the memory is freed is a
/// data race, which `loom` reports.
pub struct Frame {
    memory: UnsafeCell<()>,
    freed: Atomic<bool>,
}

impl Frame {
    /// Allocates a frame, which is leaked.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::new(Frame {
            memory: UnsafeCell::new(()),
            freed: Atomic::new(false),
        }))
    }

    pub(crate) fn access(&self) {
        self.memory.with(|_| ());
        assert!(!self.freed.load(Relaxed), "freed memory is accessed");
    }

    pub(crate) fn free(&self) {
        self.memory.with_mut(|_| ());
        self.freed.store(true, Relaxed);
    }
}

/// `struct mmu_notifier_subscriptions`.
struct Subscriptions {
    invalidate_seq: usize,
    active: usize,
}

/// An address space with one page and an interval notifier. It is leaked.
pub struct Space {
    /// `subscriptions->lock` and `subscriptions->wq`.
    subscriptions: Mutex<Subscriptions>,
    woken: Condvar,
    /// The page's entry in the page table.
    entry: Mutex<Option<&'static Frame>>,
    /// `invalidate_seq` of the subscription.
    sequence: Atomic<usize>,
    shadow: Shadow<Option<&'static Frame>>,
    slot: Slot<usize>,
    finished: Atomic<usize>,
}

// SAFETY: The fields that are not atomic are protected by a lock, or are in `slot`, which models
// its own synchronisation.
unsafe impl Sync for Space {}

/// Erases the table and unlocks the shadow, as `Inner::catch_up()` does.
unsafe fn catch_up(shadow: *const c_void, _missed: Missed, scope: Scope) {
    let shadow = shadow.cast::<Shadow<Option<&'static Frame>>>();
    // SAFETY: `shadow` is the shadow of a `Space`, which is leaked, so the pointer is valid. This
    // task holds the lock.
    let mut guard = unsafe { Guard::of(&*shadow, scope) };
    *guard = None;
}

/// The result of a look-up.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The page was recorded.
    Recorded,
    /// There is no page.
    Fault,
}

impl Space {
    /// Creates an address space with a mapped page.
    #[allow(clippy::new_without_default)]
    pub fn new() -> &'static Self {
        let frame = Frame::new();
        let init = pin_init!(Self {
            subscriptions: Mutex::new(Subscriptions {
                // The initial value in __mmu_notifier_register().
                invalidate_seq: 2,
                active: 0,
            }),
            woken: Condvar::new(),
            entry: Mutex::new(Some(frame)),
            // __mmu_interval_notifier_insert(): an odd value, older than any invalidation.
            sequence: Atomic::new(1),
            shadow <- Shadow::new(None, Owner::new(), catch_up, c"shadow", LockClassKey::pinned()),
            slot: Slot::default(),
            finished: Atomic::new(0),
        });
        let Ok(space) = KBox::pin_init(init, GFP_KERNEL) else {
            unreachable!()
        };
        // SAFETY: The value is leaked, so it is never moved out of its box.
        Box::leak(unsafe { Pin::into_inner_unchecked(space) })
    }

    /// `mn_itree_inv_start_range()`: returns the sequence.
    fn start(&self) -> usize {
        let mut subscriptions = self.subscriptions.lock().unwrap();
        subscriptions.active += 1;
        subscriptions.invalidate_seq |= 1;
        subscriptions.invalidate_seq
    }

    /// `mn_itree_inv_end()`.
    fn end(&self) {
        let mut subscriptions = self.subscriptions.lock().unwrap();
        subscriptions.active -= 1;
        if subscriptions.active > 0 || subscriptions.invalidate_seq & 1 == 0 {
            return;
        }
        subscriptions.invalidate_seq += 1;
        drop(subscriptions);
        self.woken.notify_all();
    }

    /// `mmu_interval_read_begin()`.
    fn read_begin(&self) -> usize {
        let mut subscriptions = self.subscriptions.lock().unwrap();
        let sequence = self.sequence.load(Relaxed);
        while sequence == subscriptions.invalidate_seq {
            subscriptions = self.woken.wait(subscriptions).unwrap();
        }
        sequence
    }

    /// `Inner::invalidate_callback()`.
    fn invalidate(&self, sequence: usize) {
        let Some(mut shadow) = self.shadow.lock() else {
            // Inner::invalidate_while_locked()
            crate::tether::write_once(&self.sequence, sequence);
            // SAFETY: This task holds the lock of the shadow, because `lock()` has failed.
            unsafe { self.shadow.miss(0, 1) };
            return;
        };
        shadow.set_sequence(&self.sequence, sequence);
        *shadow = None;
    }

    /// `unmap_region()`: invalidates the page, and then frees it.
    pub fn unmap(&self) {
        let sequence = self.start();
        self.invalidate(sequence);
        let frame = self.entry.lock().unwrap().take();
        self.end();
        if let Some(frame) = frame {
            frame.free();
        }
    }

    /// Maps a new page.
    pub fn map(&self) {
        *self.entry.lock().unwrap() = Some(Frame::new());
    }

    /// `Registration::read_within()`: looks the page up, records it, and lets the device access it.
    pub fn read(&self) -> Read {
        loop {
            let sequence = self.read_begin();
            let Some(frame) = *self.entry.lock().unwrap() else {
                return Read::Fault;
            };
            let Some(mut shadow) = self.shadow.lock() else {
                unreachable!()
            };
            if shadow.is_quiet(&self.sequence, sequence) {
                *shadow = Some(frame);
                frame.access();
                return Read::Recorded;
            }
        }
    }

    /// Lets the device access the page if the page is recorded. Returns whether it is.
    pub fn access(&self) -> bool {
        self.shadow.with(|frame| match frame {
            Some(frame) => {
                frame.access();
                true
            }
            None => false,
        })
    }

    /// Unmaps the page in the task that holds the lock of the shadow, as `zap_vma_range()` does.
    pub fn unmap_while_locked(&self) {
        self.shadow.with(|_| self.unmap());
    }

    /// Invalidates in two passes: `invalidate_start_callback()`, then the other notifiers, then
    /// `invalidate_finish_callback()`. The first pass hands `value` to the second one.
    pub fn invalidate_in_two_passes(&self, value: usize) {
        match self.slot.put(value) {
            Ok(_finish) => {
                // Stands for the first passes of other notifiers, which run in between.
                self.finished();
                // SAFETY: This invalidation put the value, and takes it once.
                let begun = unsafe { self.slot.take() };
                assert_eq!(begun, value, "the second pass has the value of another one");
                self.finish(begun);
            }
            Err(begun) => self.finish(begun),
        }
    }

    fn finish(&self, begun: usize) {
        self.finished.fetch_add(begun, Relaxed);
    }

    /// Returns the sum of the values of all finished passes.
    pub fn finished(&self) -> usize {
        self.finished.load(Relaxed)
    }
}
