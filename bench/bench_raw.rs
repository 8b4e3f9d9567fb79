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
    size_of::<bindings::mmu_notifier>(),
    size_of::<Interval>() - size_of::<usize>(),
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

#[repr(C)]
struct Notifier {
    notifier: bindings::mmu_notifier,
    starts: usize,
    ends: usize,
}

/// # Safety
///
/// Called with what is registered.
unsafe extern "C" fn notifier_start(
    notifier: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) -> c_int {
    // SAFETY: By the function's contract.
    unsafe { (*notifier.cast::<Notifier>()).starts += (*range).end - (*range).start };
    0
}

/// # Safety
///
/// Called with what is registered.
unsafe extern "C" fn notifier_end(
    notifier: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) {
    // SAFETY: By the function's contract.
    unsafe { (*notifier.cast::<Notifier>()).ends += (*range).end - (*range).start };
}

static NOTIFIER_OPS: Alone<bindings::mmu_notifier_ops> =
    Alone(UnsafeCell::new(bindings::mmu_notifier_ops {
        invalidate_range_start: Some(notifier_start),
        invalidate_range_end: Some(notifier_end),
        ..pin_init::zeroed()
    }));

#[repr(C)]
struct Interval {
    notifier: bindings::mmu_interval_notifier,
    lock: bindings::mutex,
    shadow: usize,
}

/// # Safety
///
/// Called with what is inserted.
unsafe extern "C" fn interval_invalidate(
    notifier: *mut bindings::mmu_interval_notifier,
    range: *const bindings::mmu_notifier_range,
    sequence: usize,
) -> bool {
    // SAFETY: By the function's contract.
    let (it, range) = unsafe { (&mut *notifier.cast::<Interval>(), &*range) };
    if range.flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE != 0 {
        // SAFETY: The lock is initialised.
        unsafe { bindings::mutex_lock(&mut it.lock) };
    } else {
        // SAFETY: As above.
        if unsafe { bindings::mutex_trylock(&mut it.lock) } == 0 {
            return false;
        }
    }
    // `mmu_interval_set_seq()`.
    //
    // SAFETY: The notifier is valid.
    unsafe { ptr::write_volatile(&raw mut it.notifier.invalidate_seq, sequence) };
    it.shadow += range.end - range.start;
    // SAFETY: It is held.
    unsafe { bindings::mutex_unlock(&mut it.lock) };
    true
}

static INTERVAL_OPS: Alone<bindings::mmu_interval_notifier_ops> =
    Alone(UnsafeCell::new(bindings::mmu_interval_notifier_ops {
        invalidate: Some(interval_invalidate),
        ..pin_init::zeroed()
    }));

struct Notifiers {
    registered: KVVec<KBox<UnsafeCell<Notifier>>>,
    intervals: KVec<KBox<UnsafeCell<Interval>>>,
}

static NOTIFIERS_THERE: Alone<Notifiers> = Alone(UnsafeCell::new(Notifiers {
    registered: KVVec::new(),
    intervals: KVec::new(),
}));

fn mm() -> *mut bindings::mm_struct {
    // SAFETY: The current task is valid, and is a process.
    unsafe { (*Task::current_raw()).mm }
}

#[inline(never)]
fn have_notifiers(count: usize) -> Result {
    let there = &mut NOTIFIERS_THERE.get().registered;
    if there.capacity() == 0 {
        there.reserve(NOTIFIERS_MAX, GFP_KERNEL)?;
    }
    while there.len() < count {
        let notifier = KBox::new(
            UnsafeCell::new(Notifier {
                notifier: pin_init::zeroed(),
                starts: 0,
                ends: 0,
            }),
            GFP_KERNEL,
        )?;
        let raw = notifier.get();
        // SAFETY: It is valid.
        unsafe { (*raw).notifier.ops = NOTIFIER_OPS.get() };
        // SAFETY: It stays where it is until it was unregistered.
        kernel::error::to_result(unsafe { bindings::mmu_notifier_register(raw.cast(), mm()) })?;
        there.push(notifier, GFP_KERNEL)?;
    }
    while there.len() > count {
        let Some(notifier) = there.pop() else { break };
        // SAFETY: It is registered.
        unsafe { bindings::mmu_notifier_unregister(notifier.get().cast(), mm()) };
    }
    Ok(())
}

fn interval() -> Result<KBox<UnsafeCell<Interval>>> {
    let it = KBox::new(
        UnsafeCell::new(Interval {
            notifier: pin_init::zeroed(),
            lock: Default::default(),
            shadow: 0,
        }),
        GFP_KERNEL,
    )?;
    // SAFETY: It is valid, and does not move; the name and the class are static.
    unsafe {
        bindings::__mutex_init(
            &raw mut (*it.get()).lock,
            c"bench".as_char_ptr(),
            kernel::static_lock_class!().as_ptr(),
        )
    };
    Ok(it)
}

fn insert(it: *mut Interval) -> Result {
    // SAFETY: It stays where it is until it was removed.
    kernel::error::to_result(unsafe {
        bindings::mmu_interval_notifier_insert(
            &raw mut (*it).notifier,
            mm(),
            0,
            1 << 46,
            INTERVAL_OPS.get(),
        )
    })
}

#[inline(never)]
fn have_intervals(count: usize) -> Result {
    let there = &mut NOTIFIERS_THERE.get().intervals;
    while there.len() < count.min(INTERVALS_MAX) {
        let it = interval()?;
        insert(it.get())?;
        there.push(it, GFP_KERNEL)?;
    }
    while there.len() > count {
        let Some(it) = there.pop() else { break };
        // SAFETY: It is inserted.
        unsafe { bindings::mmu_interval_notifier_remove(it.get().cast()) };
    }
    Ok(())
}

#[inline(never)]
fn interval_read(mut count: usize) -> Result {
    let it = NOTIFIERS_THERE.get().intervals.first().ok_or(EINVAL)?.get();
    while count != 0 {
        count -= 1;
        // SAFETY: It is inserted.
        let sequence = unsafe { bindings::mmu_interval_read_begin(it.cast()) };
        // SAFETY: The lock is initialised.
        unsafe { bindings::mutex_lock(&raw mut (*it).lock) };
        // `mmu_interval_read_retry()`.
        //
        // SAFETY: It is valid, and the lock is held.
        unsafe {
            if (*it).notifier.invalidate_seq == sequence {
                (*it).shadow += count;
            }
        }
        // SAFETY: It is held.
        unsafe { bindings::mutex_unlock(&raw mut (*it).lock) };
    }
    Ok(())
}

#[inline(never)]
fn interval_insert_remove(count: usize) -> Result {
    let it = interval()?;
    for _ in 0..count {
        insert(it.get())?;
        // SAFETY: It is inserted.
        unsafe { bindings::mmu_interval_notifier_remove(it.get().cast()) };
    }
    Ok(())
}

#[inline(never)]
fn shared_get_put(_count: usize) -> Result {
    Err(ENOTTY)
}

// The kernel's tree is the same for all.

#[inline(never)]
fn have_ranges(_count: usize) -> Result {
    Err(ENOTTY)
}

#[inline(never)]
fn range_insert(_index: usize) -> Result {
    Err(ENOTTY)
}

#[inline(never)]
fn range_remove() -> Result {
    Err(ENOTTY)
}
