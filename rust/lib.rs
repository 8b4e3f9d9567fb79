// SPDX-License-Identifier: GPL-2.0

//! Tether: callbacks that are tied to a task or to an address space, in safe Rust.
//!
//! * [`task_work`]: runs a callback in the context of a task.
//! * [`kthread`]: kernel threads that can be stopped, joined and parked, and workers that run
//!   works.
//! * [`mm::mmu_notifier`], [`mm::shared_notifier`], [`mm::mmu_interval_notifier`]: notify a driver
//!   when pages are unmapped, moved or protected; [`mm::hmm`], [`mm::mirror`], [`mm::dma_mirror`]:
//!   look up the pages of a process.
//! * [`tether`]: the shared part: the owner module of a callback, and module teardown.
//!
//! This is the root of the external build. In a kernel tree, `rust/kernel/lib.rs` is the root. The
//! files under `kernel/` are the same in both builds; this file provides the names that they refer
//! to as `crate::`.

mod bindings;

pub(crate) use kernel::{
    alloc,
    cpu,
    cpumask,
    cred,
    current,
    debugfs,
    device,
    error,
    fmt,
    fs,
    iov,
    miscdevice,
    new_condvar,
    new_mutex,
    new_spinlock,
    page,
    pid_namespace,
    prelude,
    processor,
    rbtree,
    seq_file,
    str,
    sync,
    task,
    time,
    types,
    workqueue, //
};
#[cfg(CONFIG_HMM_MIRROR)]
pub(crate) use kernel::{
    devres,
    dma, //
};
// Used by macros that consumers expand.
#[doc(hidden)]
pub use kernel::{
    container_of,
    optional_name,
    static_lock_class, //
};

/// Prefix of the log messages printed from within this crate.
const __LOG_PREFIX: &[u8] = b"tether\0";

#[path = "kernel/fd.rs"]
pub mod fd;
#[path = "kernel/kthread.rs"]
pub mod kthread;
#[path = "kernel/memalloc.rs"]
pub mod memalloc;
#[path = "kernel/misc_device.rs"]
pub mod misc_device;
#[path = "kernel/pid.rs"]
pub mod pid;
#[path = "kernel/ptrace.rs"]
pub mod ptrace;
#[path = "kernel/syscall.rs"]
pub mod syscall;
#[path = "kernel/task_work.rs"]
pub mod task_work;
#[path = "kernel/tether.rs"]
pub mod tether;
#[path = "kernel/user_stack.rs"]
pub mod user_stack;

/// Memory management: the types of the kernel crate, and notifiers.
#[path = "kernel/mm"]
pub mod mm {
    pub use kernel::mm::*;

    pub mod dma_mirror;
    pub mod hmm;
    pub mod mirror;
    pub mod mmu_interval_notifier;
    pub mod mmu_notifier;
    pub mod shared_counters;
    pub mod shared_notifier;
    pub(crate) mod space;
    pub(crate) mod table;

    /// The former name of [`mmu_interval_notifier`]: see `Documentation/renames.rst`.
    #[doc(hidden)]
    pub mod interval_notifier {
        pub use super::mmu_interval_notifier::{
            new_mmu_interval_notifier as new_interval_notifier,
            MmuIntervalNotifier as IntervalNotifier,
            *, //
        };
    }
}
