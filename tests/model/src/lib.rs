// SPDX-License-Identifier: GPL-2.0

//! Models of the lock-free parts of Tether. `loom` explores every interleaving of the real code.
//!
//! The models include the files of `rust/kernel/` by path. `crate::` in these files refers to
//! stand-ins: atomic operations and fences are those of `loom`; sleeping and waking use a mutex and
//! a condition variable of `loom`. A lost wake-up is a deadlock, which `loom` reports.
//!
//! # Orderings
//!
//! | Kernel | Model |
//! |---|---|
//! | `Relaxed`, `Acquire`, `Release` | the same |
//! | `Full` | `SeqCst` fence, `AcqRel` operation, `SeqCst` fence |
//! | `set_current_state()` | a change under a lock, then a `SeqCst` fence |
//! | wake-ups, completions | a lock; the kernel's wait queues are ordered at least as strongly |
//!
//! `loom` does not model load buffering or dependency ordering.

#![allow(dead_code)]

pub mod atomic;
pub mod bindings;
pub mod counters;
pub mod prelude;
pub mod task;

/// The parts of `kernel::sync` that the models need.
pub mod sync {
    pub mod atomic;
    pub mod barrier;
    mod lock;

    pub use lock::{
        CondVar,
        LockClassKey,
        Mutex,
        SetOnce,
        SpinLock, //
    };
}

/// The parts of `kernel::time` that the models need.
pub mod time {
    /// `jiffies` are 64 bits wide, as on the kernel's 64-bit architectures.
    pub type Jiffies = usize;
}

pub mod kthread;
pub mod mm;
pub mod task_work;
pub mod tether;
pub mod types;

/// Explores every interleaving of `f`, with at most `bound` preemptions if `bound` is given, and
/// prints the number of executions.
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

/// As in the kernel crate.
#[macro_export]
macro_rules! container_of {
    ($field_ptr:expr, $Container:ty, $field:tt) => {
        $field_ptr
            .byte_sub(core::mem::offset_of!($Container, $field))
            .cast::<$Container>()
    };
}
