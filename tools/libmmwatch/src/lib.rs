// SPDX-License-Identifier: GPL-2.0

//! Safe access to `/dev/mmwatch`.
//!
//! [`Ranges`] detects changes of ranges of the calling process's own memory; checking a range takes
//! no system call. [`Device`] reads the events of an address space, as described in
//! `samples/mmwatch.h`.

mod counter;
mod counters;
mod device;
mod event;
mod owner;
mod ranges;

/// The atomics of `counter`, which are others in a model.
mod atomic {
    pub use std::sync::atomic::fence;
    pub use std::sync::atomic::AtomicU64;
    pub use std::sync::atomic::Ordering;
}

pub use device::page_size;
pub use device::Added;
pub use device::Device;
pub use device::Options;
pub use device::Status;
pub use event::Event;
pub use event::KINDS;
pub use event::KIND_DROPPED;
pub use event::KIND_EXEC;
pub use event::KIND_NOT_FOLLOWED;
pub use event::KIND_RELEASE;
pub use event::STACK_DEPTH;
pub use ranges::Range;
pub use ranges::Ranges;
