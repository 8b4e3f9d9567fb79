// SPDX-License-Identifier: GPL-2.0

//! Scopes that set allocation flags of the current task (`PF_MEMALLOC*`).
//!
//! Inside a scope, the flag applies to all allocations of the task, also those in functions that it
//! calls. A scope is a closure: a guard could be leaked, and the flag would stay set.
//!
//! ```
//! use kernel::{
//!     memalloc,
//!     prelude::*, //
//! };
//!
//! // An allocation on the path that writes pages to a device must not wait for such a write.
//! let request = memalloc::noio(|| KBox::new([0u8; 512], GFP_KERNEL))?;
//! assert_eq!(request[511], 0);
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)
//!
//! # Context
//!
//! Any context but NMI. In an interrupt, a scope applies to the allocations of the interrupt.

use crate::{
    bindings,
    task::Task, //
};

/// Calls `f`; allocations in it do not start I/O, as if `GFP_NOIO` were used.
///
/// For code that reclaim may wait for, such as the thread of a block device.
#[doc(alias = "memalloc_noio_save")]
pub fn noio<R>(f: impl FnOnce() -> R) -> R {
    scope(bindings::PF_MEMALLOC_NOIO, f)
}

/// Calls `f`; allocations in it do not call into file systems, as if `GFP_NOFS` were used.
#[doc(alias = "memalloc_nofs_save")]
pub fn nofs<R>(f: impl FnOnce() -> R) -> R {
    scope(bindings::PF_MEMALLOC_NOFS, f)
}

/// Calls `f`; allocations in it do not reclaim memory, and may use all reserves.
///
/// For code that frees memory, and needs a little memory for this. If it uses much, the system may
/// run out of memory.
#[doc(alias = "memalloc_noreclaim_save")]
pub fn noreclaim<R>(f: impl FnOnce() -> R) -> R {
    scope(bindings::PF_MEMALLOC, f)
}

/// Calls `f`; user pages that are allocated in it can be pinned for a long time, so that they do
/// not come from movable memory.
#[doc(alias = "memalloc_pin_save")]
pub fn pin<R>(f: impl FnOnce() -> R) -> R {
    scope(bindings::PF_MEMALLOC_PIN, f)
}

/// Calls `f` with `flags` set for the current task, as `memalloc_flags_save()` does.
fn scope<R>(flags: u32, f: impl FnOnce() -> R) -> R {
    let task = Task::current_raw();
    // SAFETY: `task` is the current task. Only the task itself writes its flags, and interrupts,
    // which restore them before they return.
    let set = unsafe {
        let set = !(*task).flags & flags;
        (*task).flags |= set;
        set
    };
    let result = f();
    // SAFETY: `task` is still the current task, and only the task itself and interrupts write its
    // flags.
    unsafe { (*task).flags &= !set };
    result
}
