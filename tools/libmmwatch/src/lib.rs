// SPDX-License-Identifier: GPL-2.0

//! What `/dev/mmwatch` offers, without `unsafe`.
//!
//! [`Ranges`] answers a program's question about its own memory: is this range what it was? It does
//! so without a system call. [`Device`] gives the events of an address space, as
//! `samples/mmwatch.h` describes them.

mod counters;
mod device;
mod event;
mod owner;
mod ranges;

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
