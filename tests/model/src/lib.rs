// SPDX-License-Identifier: GPL-2.0

//! Models of the parts of Tether that work without locks: every interleaving of them is explored, on the
//! code itself.
//!
//! The files of `rust/kernel/` are included here by their paths. What they call `crate::` is a stand-in:
//! atomic operations and fences are those of `loom`, sleeping and waking are a mutex and a condition
//! variable of `loom`. A wake-up that is lost is a deadlock, which `loom` reports.
//!
//! # Orderings
//!
//! | kernel | model |
//! |---|---|
//! | `Relaxed`, `Acquire`, `Release` | the same |
//! | `Full` | `SeqCst` fence, `AcqRel` operation, `SeqCst` fence |
//! | `set_current_state()` | a change under a lock, then a `SeqCst` fence |
//! | wake-ups, completions | a lock, which is at least what the kernel's wait queues take |
//!
//! `loom` shows neither load buffering nor the ordering that dependencies give.

#![allow(dead_code)]

pub mod bindings;
pub mod prelude;
pub mod task;

/// The parts of `kernel::sync` that the models need.
pub mod sync {
    pub mod atomic;
}

/// The parts of `kernel::types` that the models need.
pub mod types {
    /// As in the kernel crate.
    #[derive(Clone, Copy)]
    pub struct NotThreadSafe;
}

/// The parts of `rust/kernel/tether.rs` that the models need.
pub mod tether {
    /// Models run in tasks only.
    pub fn in_task() -> bool {
        true
    }
}

pub mod kthread;
