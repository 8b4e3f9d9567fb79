// SPDX-License-Identifier: GPL-2.0

//! The rings of the CPUs, the queue of events that readers take, and the order of the events.
//!
//! A heap sort puts the events of all rings in order. It allocates nothing and uses little stack.

use super::{
    abi::{
        Event,
        Stack,
        KIND_DROPPED,
        KIND_RELEASE, //
    },
    RING_EVENTS, //
};
use kernel::{
    iov::IovIterDest,
    prelude::*,
    sync::SpinLock, //
};

/// A bounded list of events, and the number of events that did not fit.
pub(super) struct Events {
    pub(super) events: KVVec<Event>,
    /// The stack of each event; empty without `MMWATCH_STACKS`.
    pub(super) stacks: KVVec<Stack>,
    pub(super) dropped: u64,
}

impl Events {
    /// Allocates room for `capacity` events, charged to the caller's memory cgroup.
    pub(super) fn new(capacity: usize, stacks: bool) -> Result<Self> {
        Ok(Self {
            events: KVVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?,
            stacks: if stacks {
                KVVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?
            } else {
                KVVec::new()
            },
            dropped: 0,
        })
    }

    pub(super) fn push(&mut self, event: Event, stack: Option<&Stack>) {
        if self.events.push_within_capacity(event).is_err() {
            self.dropped += 1;
        } else if let Some(stack) = stack {
            // `stacks` has the same capacity as `events`, so this cannot fail.
            let _ = self.stacks.push_within_capacity(*stack);
        }
    }

    /// Appends as many events of `other` as fit, and counts the rest as dropped.
    pub(super) fn extend(&mut self, other: &Self) {
        let room = self.events.capacity() - self.events.len();
        let count = room.min(other.events.len());
        // `count` is at most the room left, so this cannot fail.
        let _ = self
            .events
            .extend_from_slice(&other.events[..count], GFP_KERNEL);
        let stacks = other.stacks.get(..count).unwrap_or_default();
        let _ = self.stacks.extend_from_slice(stacks, GFP_KERNEL);
        self.dropped += (other.events.len() - count) as u64;
    }

    /// Copies the events to user memory, each followed by its stack if stacks are recorded. Returns
    /// the number of events that were copied completely.
    pub(super) fn copy_to_iter(&self, iov: &mut IovIterDest<'_>) -> usize {
        if self.stacks.is_empty() {
            return iov.copy_to_iter(self.events.as_bytes()) / size_of::<Event>();
        }
        let mut copied = 0;
        for (event, stack) in self.events.iter().zip(&self.stacks) {
            let bytes = iov.copy_to_iter(event.as_bytes()) + iov.copy_to_iter(stack.as_bytes());
            if bytes < size_of::<Event>() + size_of::<Stack>() {
                break;
            }
            copied += 1;
        }
        copied
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.stacks.clear();
        self.dropped = 0;
    }
}

/// The events of one CPU, between the notifier and the thread of the watch.
// Each CPU takes the lock of its own ring, so rings must not share a cache line.
#[repr(align(64))]
#[pin_data]
pub(super) struct Ring {
    #[pin]
    pub(super) events: SpinLock<Events>,
}

/// The events between the thread of the watch and readers.
pub(super) struct Queue {
    pub(super) events: Events,
    /// Index of the first event that was not read.
    pub(super) next: usize,
    /// No more events are added.
    pub(super) ended: bool,
    /// A reader copies events to user memory, with the lock released: the copy may fault, and
    /// another process may decide how long the fault takes.
    pub(super) reading: bool,
    /// Another reader waits until `reading` is false.
    pub(super) waiting: bool,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.events.events.len() && self.events.dropped == 0
    }

    /// Removes the events that were read. Does nothing while a reader copies events, because the
    /// reader advances `next` afterwards.
    pub(super) fn compact(&mut self) {
        fn remove<T: Copy>(vec: &mut KVVec<T>, count: usize) {
            let count = count.min(vec.len());
            vec.copy_within(count.., 0);
            vec.truncate(vec.len() - count);
        }

        if self.next != 0 && !self.reading {
            remove(&mut self.events.events, self.next);
            remove(&mut self.events.stacks, self.next);
            self.next = 0;
        }
    }

    /// Copies the next events to `batch`, as many as fit. If events were dropped, the first event
    /// copied reports their number.
    pub(super) fn copy_to(&self, batch: &mut Events) {
        if self.events.dropped != 0 {
            let event = Event {
                start: self.events.dropped,
                kind: KIND_DROPPED,
                syscall: -1,
                ..Event::default()
            };
            batch.dropped = self.events.dropped;
            batch.push(event, self.has_stacks().then_some(&Stack::default()));
        }
        for index in self.next..self.events.events.len() {
            if batch.events.len() == batch.events.capacity() {
                break;
            }
            batch.push(self.events.events[index], self.events.stacks.get(index));
        }
    }

    fn has_stacks(&self) -> bool {
        self.events.stacks.capacity() != 0
    }

    /// Removes the first `count` events of `batch`, which a reader has copied.
    pub(super) fn consume(&mut self, batch: &Events, count: usize) {
        let dropped = usize::from(batch.dropped != 0).min(count);
        if dropped != 0 {
            self.events.dropped -= batch.dropped;
        }
        self.next += count - dropped;
    }
}

/// Buffers of the thread of the watch, which empties the rings.
pub(super) struct Drain {
    /// For each ring, a buffer that is swapped with the ring's.
    pub(super) batches: KVec<Events>,
    /// Sort keys: count, kind, index of the ring and index in the ring of each event.
    pub(super) order: KVVec<(u64, u32, u32, u32)>,
}

impl Drain {
    pub(super) fn new(rings: usize, stacks: bool) -> Result<Self> {
        let mut batches = KVec::with_capacity(rings, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..rings {
            batches.push(Events::new(RING_EVENTS, stacks)?, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self {
            batches,
            order: KVVec::with_capacity(rings * RING_EVENTS, GFP_KERNEL_ACCOUNT)?,
        })
    }
}

impl Drain {
    /// Sorts the events of all rings by count.
    pub(super) fn sort(&mut self) {
        self.order.clear();
        for (number, batch) in self.batches.iter().enumerate() {
            for (place, event) in batch.events.iter().enumerate() {
                // An event that is not an invalidation has the count of the last invalidation
                // before it, and is placed after that one.
                let kind = match event.kind {
                    KIND_RELEASE => KIND_DROPPED,
                    kind => kind,
                };
                let key = (event.count, kind, number as u32, place as u32);
                let _ = self.order.push_within_capacity(key);
            }
        }
        heap_sort(&mut self.order);
    }
}

/// Sorts in place, without recursion and without an allocation.
///
/// `sort_unstable()` of the core library takes about a kilobyte of stack for each of about ten
/// nested calls, which is too much for a kernel stack. The kernel's `sort()` compares through a
/// function pointer, and the kernel crate has no abstraction of it.
fn heap_sort<T: Ord>(items: &mut [T]) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(&mut items[..end], 0);
    }
}

/// Restores the heap order of `items`, in which only the subtree at `root` may violate it, and only
/// at its root.
fn sift_down<T: Ord>(items: &mut [T], mut root: usize) {
    loop {
        let mut child = 2 * root + 1;
        if child >= items.len() {
            return;
        }
        if child + 1 < items.len() && items[child] < items[child + 1] {
            child += 1;
        }
        if items[root] >= items[child] {
            return;
        }
        items.swap(root, child);
        root = child;
    }
}
