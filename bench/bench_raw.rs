// SPDX-License-Identifier: GPL-2.0

//! The benchmark's work on raw bindings, as drivers write it today; see `bench.h`.

use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    bindings,
    container_of,
    cpu::CpuId,
    error::from_err_ptr,
    fs::File,
    ioctl::_IO,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        barrier::{
            smp_mb,
            Full, //
        },
        Arc, //
    },
    task::Task, //
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

/// Of `enum bench_object`.
const SIZES: [usize; 4] = [
    size_of::<bindings::callback_head>(),
    size_of::<bindings::kthread_work>(),
    SIZE_NOTIFIER,
    SIZE_INTERVAL,
];

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
    kernel::error::to_result(unsafe { bindings::task_work_add(Task::current_raw(), work, mode) })
}

#[inline(never)]
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

#[inline(never)]
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

#[inline(never)]
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

/// What is queued on another thread.
#[repr(C)]
struct Round {
    work: UnsafeCell<bindings::callback_head>,
    ran: Begun,
}

static TARGET: Alone<Option<(ARef<Task>, KBox<Round>)>> = Alone(UnsafeCell::new(None));

/// # Safety
///
/// Called with what was queued.
unsafe extern "C" fn round_run(work: *mut bindings::callback_head) {
    // SAFETY: By the function's contract.
    unsafe { &*work.cast::<Round>() }.ran.complete();
}

#[inline(never)]
fn be_target() -> Result {
    let round = Round {
        work: UnsafeCell::new(head(round_run)),
        ran: Begun::new()?,
    };
    *TARGET.get() = Some((ARef::from(&**current!()), KBox::new(round, GFP_KERNEL)?));
    Ok(())
}

#[inline(never)]
fn round_trip(count: usize) -> Result {
    let (target, round) = TARGET.get().as_ref().ok_or(ESRCH)?;
    for _ in 0..count {
        // SAFETY: The work is valid, and not queued.
        kernel::error::to_result(unsafe {
            bindings::task_work_add(
                target.as_ptr(),
                round.work.get(),
                bindings::task_work_notify_mode_TWA_SIGNAL,
            )
        })?;
        round.ran.wait();
    }
    Ok(())
}

#[repr(C)]
struct Work {
    value: usize,
    work: UnsafeCell<bindings::kthread_work>,
}

/// # Safety
///
/// Called with what was queued.
unsafe extern "C" fn work_run(work: *mut bindings::kthread_work) {
    let work: *mut UnsafeCell<bindings::kthread_work> = work.cast();
    // SAFETY: By the function's contract.
    POOL.get().sum += unsafe { (*container_of!(work, Work, work)).value };
}

/// `set_current_state()`
fn set_current_state(state: u32) {
    let task = Task::current_raw();
    // SAFETY: The current task is valid.
    unsafe { ptr::write_volatile(&raw mut (*task).__state, state) };
    smp_mb(Full);
}

/// # Safety
///
/// Called by a thread of its own, with a [`Begun`].
unsafe extern "C" fn until_stopped(begun: *mut c_void) -> c_int {
    // SAFETY: By the function's contract.
    unsafe { &*begun.cast::<Begun>() }.complete();
    loop {
        set_current_state(bindings::TASK_IDLE);
        // SAFETY: This is a thread of our own.
        if unsafe { bindings::kthread_should_stop() } {
            break;
        }
        // SAFETY: As above.
        unsafe { bindings::schedule() };
    }
    set_current_state(bindings::TASK_RUNNING);
    0
}

/// # Safety
///
/// Called by a thread of its own.
unsafe extern "C" fn until_stopped_or_parked(_data: *mut c_void) -> c_int {
    loop {
        set_current_state(bindings::TASK_IDLE);
        // SAFETY: This is a thread of our own.
        if unsafe { bindings::kthread_should_stop() } {
            break;
        }
        // SAFETY: As above.
        if unsafe { bindings::kthread_should_park() } {
            set_current_state(bindings::TASK_RUNNING);
            // SAFETY: As above.
            unsafe { bindings::kthread_parkme() };
            continue;
        }
        // SAFETY: As above.
        unsafe { bindings::schedule() };
    }
    set_current_state(bindings::TASK_RUNNING);
    0
}

fn run(
    main: unsafe extern "C" fn(*mut c_void) -> c_int,
    data: *const Begun,
) -> Result<*mut bindings::task_struct> {
    // SAFETY: The function expects the data.
    let task = from_err_ptr(unsafe {
        bindings::kthread_create_on_node(
            Some(main),
            data.cast_mut().cast(),
            bindings::NUMA_NO_NODE,
            c"%s".as_char_ptr(),
            c"bench".as_char_ptr(),
        )
    })?;
    // SAFETY: The task was just made.
    unsafe { bindings::wake_up_process(task) };
    Ok(task)
}

struct Standing {
    parkable: *mut bindings::task_struct,
    worker: *mut bindings::kthread_worker,
    /// For each CPU.
    begun: [Begun; 2],
    works: KVVec<KBox<Work>>,
}

impl Standing {
    fn new(_module: &'static ThisModule) -> Result<Self> {
        let mut works = KVVec::with_capacity(BATCH_SIZE, GFP_KERNEL)?;
        for value in 0..BATCH_SIZE {
            let work = UnsafeCell::new(bindings::kthread_work {
                func: Some(work_run),
                ..Default::default()
            });
            let work = KBox::new(Work { value, work }, GFP_KERNEL)?;
            // SAFETY: The list head is valid, and does not move.
            unsafe { bindings::INIT_LIST_HEAD(&raw mut (*work.work.get()).node) };
            works.push(work, GFP_KERNEL)?;
        }
        // SAFETY: The name is one.
        let worker = from_err_ptr(unsafe {
            bindings::kthread_create_worker_on_node(
                0,
                bindings::NUMA_NO_NODE,
                c"bench".as_char_ptr(),
            )
        })?;
        // SAFETY: The worker was just made.
        unsafe { bindings::wake_up_process((*worker).task) };
        Ok(Self {
            parkable: run(until_stopped_or_parked, ptr::null())?,
            worker,
            begun: [Begun::new()?, Begun::new()?],
            works,
        })
    }

    #[inline(always)]
    fn enqueue(&self, index: usize) -> Result {
        // SAFETY: There are so many, as in C.
        let work = unsafe { self.works.get_unchecked(index) }.work.get();
        // SAFETY: Both are valid.
        if unsafe { bindings::kthread_queue_work(self.worker, work) } {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    fn flush(&self) {
        // SAFETY: The worker is valid.
        unsafe { bindings::kthread_flush_worker(self.worker) };
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        // SAFETY: The thread is ours.
        unsafe { bindings::kthread_stop(self.parkable) };
        // SAFETY: The worker is ours.
        unsafe { bindings::kthread_destroy_worker(self.worker) };
    }
}

#[inline(never)]
fn run_stop(count: usize) -> Result {
    let begun = of_this_cpu(&standing()?.begun);
    for _ in 0..count {
        let task = run(until_stopped, begun)?;
        begun.wait();
        // SAFETY: The thread is ours, and does not end by itself.
        unsafe { bindings::kthread_stop(task) };
    }
    Ok(())
}

#[inline(never)]
fn park_unpark(count: usize) -> Result {
    let standing = standing()?;
    for _ in 0..count {
        // SAFETY: The thread is ours, and parks if it is asked to.
        kernel::error::to_result(unsafe { bindings::kthread_park(standing.parkable) })?;
        // SAFETY: As above.
        unsafe { bindings::kthread_unpark(standing.parkable) };
    }
    Ok(())
}

#[inline(never)]
fn queue_flush(count: usize) -> Result {
    let standing = standing()?;
    for _ in 0..count {
        standing.enqueue(0)?;
        standing.flush();
    }
    Ok(())
}

#[inline(never)]
fn queue_batch(count: usize) -> Result {
    let standing = standing()?;
    for _ in 0..count {
        for index in 0..BATCH_SIZE {
            standing.enqueue(index)?;
        }
        standing.flush();
    }
    Ok(())
}

// The kernel's bindings have no notifiers on user-mode Linux.
#[cfg(not(CONFIG_UML))]
include!("raw_notifiers.rs");
#[cfg(CONFIG_UML)]
include!("raw_without_notifiers.rs");

// Shared ones are C's own, and the kernel's tree is the same for all.

fn shared_get_put(_count: usize) -> Result {
    Err(ENOTTY)
}

fn have_ranges(_count: usize) -> Result {
    Err(ENOTTY)
}

fn range_insert(_index: usize) -> Result {
    Err(ENOTTY)
}

fn range_remove() -> Result {
    Err(ENOTTY)
}
