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
    pub mod barrier;
}

/// The parts of `kernel::types` that the models need.
pub mod types {
    /// As in the kernel crate.
    #[derive(Clone, Copy)]
    pub struct NotThreadSafe;
}

/// The parts of `kernel::time` that the models need.
pub mod time {
    /// As in the kernel crate, on 64 bits.
    pub type Jiffies = usize;
}

/// The parts of `rust/kernel/tether.rs` that the models need.
pub mod tether {
    use crate::sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Value, //
    };

    /// Models run in tasks only.
    pub fn may_sleep() -> bool {
        true
    }

    /// No task of a model exits while it waits.
    pub fn is_exiting() -> bool {
        false
    }

    /// No wait of a model has a limit.
    pub fn is_short(_time: crate::time::Jiffies) -> bool {
        false
    }

    /// `READ_ONCE()`.
    pub fn read_once<T: Value>(atomic: &Atomic<T>) -> T {
        atomic.load(Relaxed)
    }

    /// `smp_load_acquire()`.
    pub fn load_acquire<T: Value>(atomic: &Atomic<T>) -> T {
        atomic.load(Acquire)
    }

    /// `WRITE_ONCE()`.
    pub fn write_once<T: Value>(atomic: &Atomic<T>, value: T) {
        atomic.store(value, Relaxed);
    }
}

pub mod kthread;
pub mod task_work;

/// Explores every interleaving of `f`, with no more than `bound` preemptions if there is a bound, and says how many
/// executions that took.
pub fn explore(bound: Option<usize>, f: impl Fn() + Sync + Send + 'static) {
    use std::sync::{
        atomic::{
            AtomicUsize,
            Ordering::Relaxed, //
        },
        Arc, //
    };

    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 100_000;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        f();
    });
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a model");
    let bound = bound.map_or("all".into(), |bound| format!("{bound} preemptions"));
    println!("executions of {name}: {} ({bound})", count.load(Relaxed));
}
