// SPDX-License-Identifier: GPL-2.0

//! Ownership of the code that the kernel calls back into.
//!
//! A callback is a function pointer and an object. A driver passes both to the kernel, which calls
//! the function at a later time. The types of [`task_work`], [`kthread`] and [`mmu_notifier`] keep
//! the object alive; the files in `tether/` keep the *code* mapped. Safe code can leak a handle, so
//! the code must stay mapped even if the destructor of a handle never runs.
//!
//! # Vocabulary
//!
//! * The *owner* of a callback is the module that contains the function. An `Owner` is the record
//!   of that module. The record is looked up by the address of the function when the object is
//!   created. A type or a constant that the driver names is not sufficient, because it may name
//!   another module.
//! * A callback that cannot be waited for (a task work in the list of another task, a detached
//!   thread) *pins* its owner (`Owner::pin`): the module cannot be removed until the callback has
//!   run. The kernel calls a trampoline in permanent text, which calls the owner and drops the pin
//!   afterwards.
//! * A callback that can be waited for (a registered notifier, an attached thread) is *attached* to
//!   its owner (`Attachment`). An attachment does not pin the owner: the exit of the module tears
//!   the attachment down. An attachment that remains after the exit was leaked, and is torn down
//!   before the module's text is freed.
//! * An owner is *open* until the removal of its module begins, and *closed* from then on: no
//!   further callback into the module can be created, and the existing callbacks are torn down.
//!
//! # Module teardown
//!
//! `MODULE_STATE_GOING` is announced after the module's exit, or after its init has failed, and
//! before its text is freed. The kernel checks the module's reference count before it calls the
//! exit, but not when an init fails. Teardown closes the owner, and then repeats these steps until
//! a pass finds no callbacks:
//!
//! 1. Callbacks that are running are interrupted, in the first pass and then in each 1000th pass.
//!    Such callbacks, and queued task works, exist only after a failed init.
//! 2. All attachments are requested to end.
//! 3. Task works of the module that are queued on any task are disarmed: their trampoline will not
//!    access the module.
//! 4. The attachments are torn down, oldest first: threads are stopped and joined, notifiers are
//!    unregistered.
//!
//! `Documentation/design.rst`, "Module teardown", has the functions of all steps and the reasons
//! for their order.
//!
//! Drivers use only [`Refused`] of this module. Leaked objects are reported in the log, and
//! outstanding callbacks are listed in `tether/outstanding` in debugfs.
//!
//! C headers: [`include/linux/module.h`](srctree/include/linux/module.h).
//!
//! [`task_work`]: crate::task_work
//! [`kthread`]: crate::kthread
//! [`mmu_notifier`]: crate::mm::mmu_notifier

use crate::{
    bindings,
    fmt,
    prelude::*,
    types::Opaque, //
};

// The external build needs the path: its root includes this file by a path.
#[path = "tether/attached.rs"]
mod attached;
#[path = "tether/context.rs"]
mod context;
#[path = "tether/facility.rs"]
mod facility;
#[path = "tether/jiffies.rs"]
mod jiffies;
#[path = "tether/lock_class.rs"]
pub(crate) mod lock_class;
#[path = "tether/ordering.rs"]
mod ordering;
#[path = "tether/outstanding.rs"]
mod outstanding;
#[path = "tether/owner.rs"]
mod owner;
#[path = "tether/pins.rs"]
mod pins;
#[path = "tether/raw_lock.rs"]
pub(crate) mod raw_lock;

pub(crate) use attached::{
    Attachment,
    AttachmentOps, //
    OwnerGuard,
};
pub(crate) use context::{
    current_is_kernel_thread,
    in_task,
    is_exiting,
    is_foreign_kernel_thread,
    is_kernel_thread,
    is_opening,
    may_lock,
    may_sleep,
    register_thread_function,
    task_flags,
    OPENING, //
};
pub(crate) use facility::Facility;
pub(crate) use jiffies::{
    as_jiffies,
    is_short,
    jiffies,
    MAX_JIFFY_OFFSET, //
};
use ordering::{
    inc_unless_negative,
    smp_rmb, //
};
pub(crate) use ordering::{
    inc_unless_negative_i32,
    load_acquire,
    read_once,
    store_release,
    write_once, //
};
pub(crate) use owner::Owner;
pub(crate) use pins::Pins;

// For exported macros. `::core` in a macro is a name of the crate that uses the macro, where safe
// code can make it another crate.
#[doc(hidden)]
pub use ::core as core_crate;

/// The error of a call that takes ownership of an item: the item, and the reason of the refusal.
///
/// The `?` operator turns it into the [`Error`] alone, and drops the item.
pub struct Refused<T> {
    /// The item that was passed to the call.
    pub item: T,
    /// The reason of the refusal.
    pub error: Error,
}

impl<T> Refused<T> {
    /// Creates a refusal of `item`.
    pub fn new(item: T, error: Error) -> Self {
        Self { item, error }
    }

    /// Changes the item and keeps the reason.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Refused<U> {
        Refused {
            item: f(self.item),
            error: self.error,
        }
    }
}

impl<T> From<Refused<T>> for Error {
    fn from(refused: Refused<T>) -> Self {
        refused.error
    }
}

impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Initialises a list head, or a list entry that is in no list.
pub(crate) fn list_head() -> impl PinInit<Opaque<bindings::list_head>> {
    Opaque::ffi_init(|slot: *mut bindings::list_head| {
        // SAFETY: `INIT_LIST_HEAD()` requires a valid pointer. `slot` is valid for writes, and it
        // is pinned, so that the pointers to itself stay correct.
        unsafe { bindings::INIT_LIST_HEAD(slot) };
    })
}

/// Creates the records and `tether/outstanding`, once, before a module that uses Tether is loaded.
#[no_mangle]
extern "C" fn tether_init() -> c_int {
    owner::init()
        .and_then(|()| outstanding::init())
        .map_or_else(|error| error.to_errno(), |()| 0)
}
