// SPDX-License-Identifier: GPL-2.0

//! Waiting until a registration was removed and freed.

use super::wait_limit::{
    WaitLimit,
    DEFAULT_LIMIT, //
};
use crate::{
    bindings,
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// The completion of a registration's removal.
#[pin_data]
pub(super) struct Removal {
    #[pin]
    done: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used on any thread.
unsafe impl Send for Removal {}
// SAFETY: A completion may be used by several threads at once.
unsafe impl Sync for Removal {}

impl Removal {
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                    // SAFETY: `ffi_init()` guarantees that `slot` is valid for writes, and the
                    // completion is pinned.
                    unsafe { bindings::init_completion(slot) };
                }),
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn complete(&self) {
        // SAFETY: `new()` has initialised the completion, and `self` keeps it valid.
        unsafe { bindings::complete_all(self.done.get()) };
    }

    /// Waits until the registration was removed and freed.
    ///
    /// # Errors
    ///
    /// Those of [`WaitLimit::check`], with a limit of ten seconds.
    pub(super) fn wait(&self) -> Result {
        let wait = WaitLimit::new(Some(DEFAULT_LIMIT));
        loop {
            // SAFETY: `new()` has initialised the completion, and `self` keeps it valid.
            let left = unsafe {
                bindings::wait_for_completion_killable_timeout(
                    self.done.get(),
                    msecs_to_jiffies(100),
                )
            };
            if left > 0 {
                return Ok(());
            }
            wait.check()?;
        }
    }
}
