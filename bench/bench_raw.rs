// SPDX-License-Identifier: GPL-2.0

//! The benchmark's work on raw bindings, as drivers write it today; see `bench.h`.

use core::cell::UnsafeCell;
use kernel::{
    bindings,
    container_of,
    fs::File,
    ioctl::_IO,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::Arc, //
};

module! {
    type: Bench,
    name: "bench_raw",
    authors: ["The Tether developers"],
    description: "Benchmark: Rust on raw bindings",
    license: "GPL",
}

const NAME: &CStr = c"bench-raw";

include!("device.rs");

#[repr(C)]
struct Embedded {
    value: usize,
    work: bindings::callback_head,
}

#[repr(C)]
struct Shared {
    value: usize,
    work: UnsafeCell<bindings::callback_head>,
}

// SAFETY: The head is touched by who queues it, and who runs it.
unsafe impl Send for Shared {}
// SAFETY: As above.
unsafe impl Sync for Shared {}

fn head(func: unsafe extern "C" fn(*mut bindings::callback_head)) -> bindings::callback_head {
    bindings::callback_head {
        next: core::ptr::null_mut(),
        func: Some(func),
    }
}

/// # Safety
///
/// Called with what was queued.
unsafe extern "C" fn embedded_run(work: *mut bindings::callback_head) {
    // SAFETY: By the function's contract.
    let item = unsafe { container_of!(work, Embedded, work) };
    let pool = POOL.get();
    // SAFETY: The item is valid.
    pool.sum += unsafe { (*item).value };
    pool.push(item);
}

/// # Safety
///
/// Called with what was queued.
unsafe extern "C" fn shared_run(work: *mut bindings::callback_head) {
    let work: *mut UnsafeCell<bindings::callback_head> = work.cast();
    // SAFETY: By the function's contract; the reference was given away.
    let item = unsafe { Arc::from_raw(container_of!(work, Shared, work).cast_const()) };
    POOL.get().sum += item.value;
}

/// # Safety
///
/// Called with what was queued.
unsafe extern "C" fn boxed_run(work: *mut bindings::callback_head) {
    // SAFETY: By the function's contract; the box was given away.
    let item = unsafe { KBox::from_raw(container_of!(work, Embedded, work)) };
    POOL.get().sum += item.value;
}

fn prepare() -> Result {
    let pool = POOL.get();
    let mut shared = KVVec::with_capacity(MAX, GFP_KERNEL)?;
    for value in 0..MAX {
        let work = head(embedded_run);
        pool.push(KBox::into_raw(KBox::new(
            Embedded { value, work },
            GFP_KERNEL,
        )?));
        let work = UnsafeCell::new(head(shared_run));
        shared.push(Arc::new(Shared { value, work }, GFP_KERNEL)?, GFP_KERNEL)?;
    }
    pool.shared = Some(shared);
    Ok(())
}

fn add(work: *mut bindings::callback_head) -> Result {
    let mode = bindings::task_work_notify_mode_TWA_RESUME;
    // SAFETY: The work is valid, and not queued.
    kernel::error::to_result(unsafe {
        bindings::task_work_add(kernel::task::Task::current_raw(), work, mode)
    })
}

fn run_embedded(count: usize) -> Result {
    for _ in 0..count {
        let item = POOL.get().pop();
        // SAFETY: The item is valid.
        if let Err(error) = add(unsafe { &raw mut (*item).work }) {
            POOL.get().push(item);
            return Err(error);
        }
    }
    Ok(())
}

fn run_shared(count: usize) -> Result {
    let shared = POOL.get().shared.as_ref().ok_or(EINVAL)?;
    for item in shared.iter().take(count) {
        let item = Arc::into_raw(item.clone());
        // SAFETY: The item is valid.
        if let Err(error) = add(unsafe { (*item).work.get() }) {
            // SAFETY: The reference was not given away.
            drop(unsafe { Arc::from_raw(item) });
            return Err(error);
        }
    }
    Ok(())
}

fn run_boxed(count: usize) -> Result {
    for value in 0..count {
        let work = head(boxed_run);
        let item = KBox::into_raw(KBox::new(Embedded { value, work }, GFP_KERNEL)?);
        // SAFETY: The item is valid.
        if let Err(error) = add(unsafe { &raw mut (*item).work }) {
            // SAFETY: The box was not given away.
            drop(unsafe { KBox::from_raw(item) });
            return Err(error);
        }
    }
    Ok(())
}
