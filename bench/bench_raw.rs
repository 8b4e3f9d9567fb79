// SPDX-License-Identifier: GPL-2.0

//! The benchmark's work on raw bindings, as a driver without Tether does it; see `bench.h`.

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

/// The sizes of `enum bench_object`.
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

// SAFETY: `value` is only read, and `work` is only accessed by the queuing task until the item is
// queued and by the callback afterwards, so that the item can be sent to another thread.
unsafe impl Send for Shared {}
// SAFETY: `value` is only read, and `work` is never accessed by two threads at the same time.
unsafe impl Sync for Shared {}

fn head(func: unsafe extern "C" fn(*mut bindings::callback_head)) -> bindings::callback_head {
    bindings::callback_head {
        next: core::ptr::null_mut(),
        func: Some(func),
    }
}

/// # Safety
///
/// `work` must be the field of an [`Embedded`] that was queued and that nothing else uses.
unsafe extern "C" fn embedded_run(work: *mut bindings::callback_head) {
    // SAFETY: The caller guarantees that `work` is the field of a valid `Embedded`.
    let item = unsafe { container_of!(work, Embedded, work) };
    let pool = POOL.get();
    // SAFETY: The caller guarantees that the item is valid and not in use elsewhere.
    pool.sum += unsafe { (*item).value };
    pool.push(item);
}

/// # Safety
///
/// `work` must be the field of a [`Shared`] that was queued with a reference of its own.
unsafe extern "C" fn shared_run(work: *mut bindings::callback_head) {
    let work: *mut UnsafeCell<bindings::callback_head> = work.cast();
    // SAFETY: The caller guarantees that `work` is the field of a `Shared`. Its reference was
    // leaked by `run_shared()` and is taken back once.
    let item = unsafe { Arc::from_raw(container_of!(work, Shared, work).cast_const()) };
    POOL.get().sum += item.value;
}

/// # Safety
///
/// `work` must be the field of an [`Embedded`] in a leaked box that was queued.
unsafe extern "C" fn boxed_run(work: *mut bindings::callback_head) {
    // SAFETY: The caller guarantees that `work` is the field of an `Embedded` in a box. The box was
    // leaked by `run_boxed()` and is taken back once.
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
    // SAFETY: The current task is valid. All callers pass a valid work that is not queued, and keep
    // it in memory until its callback has run.
    kernel::error::to_result(unsafe { bindings::task_work_add(Task::current_raw(), work, mode) })
}

#[inline(never)]
fn run_embedded(count: usize) -> Result {
    for _ in 0..count {
        let item = POOL.get().pop();
        // SAFETY: Items of the pool are leaked boxes, so that the pointer is valid.
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
        // SAFETY: `into_raw()` returned a pointer to a valid item.
        if let Err(error) = add(unsafe { (*item).work.get() }) {
            // SAFETY: The item was not queued, so that the reference from `into_raw()` is still
            // ours.
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
        // SAFETY: `into_raw()` returned a pointer to a valid item.
        if let Err(error) = add(unsafe { &raw mut (*item).work }) {
            // SAFETY: The item was not queued, so that the box from `into_raw()` is still ours.
            drop(unsafe { KBox::from_raw(item) });
            return Err(error);
        }
    }
    Ok(())
}

/// The item that is queued on another thread.
#[repr(C)]
struct Round {
    work: UnsafeCell<bindings::callback_head>,
    ran: Begun,
}

static TARGET: Alone<Option<(ARef<Task>, KBox<Round>)>> = Alone(UnsafeCell::new(None));

/// # Safety
///
/// `work` must be the first field of a [`Round`] that is valid during the call.
unsafe extern "C" fn round_run(work: *mut bindings::callback_head) {
    // SAFETY: The caller guarantees that `work` is the first field of a valid `Round`.
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
        // SAFETY: `target` is a valid task. The work is valid, as `TARGET` owns it, and is not
        // queued: the previous round has waited for its callback.
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
/// `work` must be the field of a [`Work`] that is valid during the call.
unsafe extern "C" fn work_run(work: *mut bindings::kthread_work) {
    let work: *mut UnsafeCell<bindings::kthread_work> = work.cast();
    // SAFETY: The caller guarantees that `work` is the field of a valid `Work`.
    POOL.get().sum += unsafe { (*container_of!(work, Work, work)).value };
}

/// `set_current_state()`.
fn set_current_state(state: u32) {
    let task = Task::current_raw();
    // SAFETY: The current task is valid, and may change its own state.
    unsafe { ptr::write_volatile(&raw mut (*task).__state, state) };
    smp_mb(Full);
}

/// # Safety
///
/// Must be called by a new kernel thread. `begun` must point to a [`Begun`] that stays valid until
/// the thread ends.
unsafe extern "C" fn until_stopped(begun: *mut c_void) -> c_int {
    // SAFETY: The caller guarantees that `begun` points to a valid `Begun`.
    unsafe { &*begun.cast::<Begun>() }.complete();
    loop {
        set_current_state(bindings::TASK_IDLE);
        // SAFETY: The caller guarantees that the current task is a kernel thread.
        if unsafe { bindings::kthread_should_stop() } {
            break;
        }
        // SAFETY: `schedule()` may be called here, because a thread's body runs in process context
        // without locks.
        unsafe { bindings::schedule() };
    }
    set_current_state(bindings::TASK_RUNNING);
    0
}

/// # Safety
///
/// Must be called by a new kernel thread.
unsafe extern "C" fn until_stopped_or_parked(_data: *mut c_void) -> c_int {
    loop {
        set_current_state(bindings::TASK_IDLE);
        // SAFETY: The caller guarantees that the current task is a kernel thread.
        if unsafe { bindings::kthread_should_stop() } {
            break;
        }
        // SAFETY: The caller guarantees that the current task is a kernel thread.
        if unsafe { bindings::kthread_should_park() } {
            set_current_state(bindings::TASK_RUNNING);
            // SAFETY: The caller guarantees that the current task is a kernel thread.
            unsafe { bindings::kthread_parkme() };
            continue;
        }
        // SAFETY: `schedule()` may be called here, because a thread's body runs in process context
        // without locks.
        unsafe { bindings::schedule() };
    }
    set_current_state(bindings::TASK_RUNNING);
    0
}

fn run(
    main: unsafe extern "C" fn(*mut c_void) -> c_int,
    data: *const Begun,
) -> Result<*mut bindings::task_struct> {
    // SAFETY: `main` is called by the new thread with `data`, which all callers choose to fulfil
    // its requirements. The format and the name are valid strings.
    let task = from_err_ptr(unsafe {
        bindings::kthread_create_on_node(
            Some(main),
            data.cast_mut().cast(),
            bindings::NUMA_NO_NODE,
            c"%s".as_char_ptr(),
            c"bench".as_char_ptr(),
        )
    })?;
    // SAFETY: The task was just created and has not run, so that it is valid.
    unsafe { bindings::wake_up_process(task) };
    Ok(task)
}

struct Standing {
    parkable: *mut bindings::task_struct,
    worker: *mut bindings::kthread_worker,
    /// One per CPU.
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
            // SAFETY: The list head is valid for writes, and does not move, as it is in a box.
            unsafe { bindings::INIT_LIST_HEAD(&raw mut (*work.work.get()).node) };
            works.push(work, GFP_KERNEL)?;
        }
        // SAFETY: The name is a valid string without format specifiers.
        let worker = from_err_ptr(unsafe {
            bindings::kthread_create_worker_on_node(
                0,
                bindings::NUMA_NO_NODE,
                c"bench".as_char_ptr(),
            )
        })?;
        // SAFETY: The worker was just created, so that it and its task are valid.
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
        // SAFETY: `index` is less than `BATCH_SIZE`, the number of works. C does not check either.
        let work = unsafe { self.works.get_unchecked(index) }.work.get();
        // SAFETY: The worker is valid until `self` is dropped. The work is initialised, and stays
        // valid because `self` owns it.
        if unsafe { bindings::kthread_queue_work(self.worker, work) } {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    fn flush(&self) {
        // SAFETY: The worker is valid until `self` is dropped.
        unsafe { bindings::kthread_flush_worker(self.worker) };
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        // SAFETY: The thread is valid, because its body only returns after a request to stop.
        unsafe { bindings::kthread_stop(self.parkable) };
        // SAFETY: The worker is valid, and is not used afterwards.
        unsafe { bindings::kthread_destroy_worker(self.worker) };
    }
}

#[inline(never)]
fn run_stop(count: usize) -> Result {
    let begun = of_this_cpu(&standing()?.begun);
    for _ in 0..count {
        let task = run(until_stopped, begun)?;
        begun.wait();
        // SAFETY: The thread is valid, because its body only returns after a request to stop.
        unsafe { bindings::kthread_stop(task) };
    }
    Ok(())
}

#[inline(never)]
fn park_unpark(count: usize) -> Result {
    let standing = standing()?;
    for _ in 0..count {
        // SAFETY: The thread is valid, because its body only returns after a request to stop; it
        // parks on request.
        kernel::error::to_result(unsafe { bindings::kthread_park(standing.parkable) })?;
        // SAFETY: The thread is valid, because its body only returns after a request to stop.
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

// The kernel's bindings contain no notifiers on user-mode Linux.
#[cfg(not(CONFIG_UML))]
include!("raw_notifiers.rs");
#[cfg(CONFIG_UML)]
include!("raw_without_notifiers.rs");

// Shared notifiers and many ranges are not measured here: they would measure the kernel's C code.

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
