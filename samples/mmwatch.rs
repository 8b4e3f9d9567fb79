// SPDX-License-Identifier: GPL-2.0

//! mmwatch: reports the changes of an address space. `mmwatch.h` describes the interface to user
//! space.
//!
//! All three abstractions work together here:
//!
//! ```text
//!    task that changes the               thread of the watch            reader
//!    address space
//!
//!    InvalidateRanges::invalidate_range_start
//!      adds an event to the ring of its CPU ---> moves events to ---> read(), poll()
//!      increments the count                      the queue (woken
//!      queues work on the watched task           once for a batch)
//!                 |
//!    watched task, before it returns to user space
//!      TaskWorkItem::run
//!        writes the count to user memory
//!        watches a program that it has executed
//! ```
//!
//! The notifier does not sleep or allocate. The only lock that it takes is the lock of the ring,
//! which readers do not take.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    },
    time::Delta, //
};
use tether::misc_device::{
    MiscDeviceOptions,
    MiscDeviceRegistration, //
};

// The paths are required because the root is not called mod.rs.
#[path = "mmwatch/abi.rs"]
mod abi;
#[path = "mmwatch/device.rs"]
mod device;
#[path = "mmwatch/queue.rs"]
mod queue;
#[path = "mmwatch/ranges.rs"]
mod ranges;
#[path = "mmwatch/recorder.rs"]
mod recorder;
#[path = "mmwatch/watch.rs"]
mod watch;

use device::Device;

module! {
    type: MmwatchModule,
    name: "mmwatch",
    authors: ["The Tether developers"],
    description: "Reports the changes of an address space",
    license: "GPL",
}

const MAX_WATCHES: usize = 64;
const MAX_RANGES: usize = 131072;
/// Capacity of the queue that readers read from.
const QUEUE_EVENTS: usize = 32768;
/// Maximum number of events that one call of read() returns.
const READ_EVENTS: usize = 256;
/// Capacity of the ring of each CPU.
const RING_EVENTS: usize = 2048;
/// Time for which the thread collects further events after the first one. A ring that is half full
/// ends this early.
const BATCH: Delta = Delta::from_millis(10);

#[pin_data]
struct MmwatchModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for MmwatchModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"mmwatch",
            }),
        })
    }
}

/// Number of watches and of ranges, in the whole system.
static WATCHES: Atomic<usize> = Atomic::new(0);
static RANGES: Atomic<usize> = Atomic::new(0);

/// Counts one object, of which there are at most `MAX`.
struct Slot<const MAX: usize>(&'static Atomic<usize>);

impl<const MAX: usize> Slot<MAX> {
    fn take(counter: &'static Atomic<usize>) -> Result<Self> {
        if counter.fetch_add(1usize, Full) >= MAX {
            counter.fetch_sub(1usize, Full);
            return Err(ENOSPC);
        }
        Ok(Self(counter))
    }
}

impl<const MAX: usize> Drop for Slot<MAX> {
    fn drop(&mut self) {
        self.0.fetch_sub(1usize, Full);
    }
}
