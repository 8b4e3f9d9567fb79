// SPDX-License-Identifier: GPL-2.0

//! The benchmark's work on Tether; see `bench.h`.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit, //
};
use kernel::{
    cpu::CpuId,
    fs::File,
    ioctl::_IO,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    task::Task, //
};
use tether::{
    kthread::{
        self,
        worker::{
            impl_has_kthread_work,
            KthreadWork,
            KthreadWorkItem,
            KthreadWorker,
            WorkContext, //
        },
        Builder,
        Parkable,
        Thread, //
    },
    mm::{
        mmu_interval_notifier::{
            new_mmu_interval_notifier,
            Invalidate,
            MmuIntervalNotifier,
            OnePass,
            Registration as IntervalRegistration, //
        },
        mmu_notifier::{
            InvalidateRanges,
            MmuNotifier,
            MmuNotifierRange,
            Ranges,
            Registration,
            WouldSleep, //
        },
        shared_notifier::{
            Shared as SharedRef,
            SharedNotifier, //
        },
        MmWithUser, //
    },
    task_work::{
        self,
        impl_has_task_work,
        Context,
        NotifyMode,
        TaskWork,
        TaskWorkItem, //
    }, //
};

module! {
    type: Bench,
    name: "bench_tether",
    authors: ["The Tether developers"],
    description: "Benchmark: Tether",
    license: "GPL",
}

const NAME: &CStr = c"bench-tether";

include!("device.rs");

/// The sizes of `enum bench_object`.
const SIZES: [usize; 4] = [
    size_of::<TaskWork<Embedded>>(),
    size_of::<KthreadWork<Work>>(),
    size_of::<Registration<Nothing>>(),
    size_of::<Inserted<0>>() - size_of::<usize>(),
];

#[pin_data]
struct Embedded {
    value: usize,
    #[pin]
    work: TaskWork<Embedded>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Embedded { self.work }
}

impl TaskWorkItem for Embedded {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, _context: &Context<'_>) {
        let pool = POOL.get();
        pool.sum += this.value;
        // SAFETY: The item is not moved: only the raw pointer is kept until it is pinned again.
        pool.push(KBox::into_raw(unsafe { Pin::into_inner_unchecked(this) }));
    }
}

#[pin_data]
struct Shared {
    value: usize,
    #[pin]
    work: TaskWork<Shared>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Shared { self.work }
}

impl TaskWorkItem for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Self::Pointer, _context: &Context<'_>) {
        POOL.get().sum += this.value;
    }
}

fn prepare() -> Result {
    let pool = POOL.get();
    let mut shared = KVVec::with_capacity(MAX, GFP_KERNEL)?;
    for value in 0..MAX {
        let item = KBox::pin_init(
            pin_init!(Embedded { value, work <- TaskWork::new() }),
            GFP_KERNEL,
        )?;
        // SAFETY: The item is not moved: only the raw pointer is kept until it is pinned again.
        pool.push(KBox::into_raw(unsafe { Pin::into_inner_unchecked(item) }));
        let item = Arc::pin_init(
            pin_init!(Shared { value, work <- TaskWork::new() }),
            GFP_KERNEL,
        )?;
        shared.push(item, GFP_KERNEL)?;
    }
    pool.shared = Some(shared);
    Ok(())
}

#[inline(never)]
fn run_embedded(count: usize) -> Result {
    let task = current!();
    for _ in 0..count {
        // SAFETY: Items of the pool come from pinned boxes and were not moved since. `pop()`
        // removes the item, so that the box is owned once.
        let item = unsafe { Pin::new_unchecked(KBox::from_raw(POOL.get().pop())) };
        task_work::add(task, item, NotifyMode::Resume)?;
    }
    Ok(())
}

#[inline(never)]
fn run_shared(count: usize) -> Result {
    let task = current!();
    let shared = POOL.get().shared.as_ref().ok_or(EINVAL)?;
    for item in shared.iter().take(count) {
        task_work::add(task, item.clone(), NotifyMode::Resume)?;
    }
    Ok(())
}

#[inline(never)]
fn run_boxed(count: usize) -> Result {
    let task = current!();
    for value in 0..count {
        task_work::add_fn(
            task,
            move |_| POOL.get().sum += value,
            NotifyMode::Resume,
            GFP_KERNEL,
        )?;
    }
    Ok(())
}

/// The item that is queued on another thread.
#[pin_data]
struct Round {
    ran: Begun,
    #[pin]
    work: TaskWork<Round>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Round { self.work }
}

struct Target {
    task: ARef<Task>,
    round: *mut Round,
}

static TARGET: Alone<Option<Target>> = Alone(UnsafeCell::new(None));

impl Target {
    /// Takes the item, like a pool with a single item.
    fn take(&self) -> Pin<KBox<Round>> {
        // SAFETY: The item comes from a pinned box and was not moved since. It is not queued, so
        // that the box is owned once.
        unsafe { Pin::new_unchecked(KBox::from_raw(self.round)) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl TaskWorkItem for Round {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, _context: &Context<'_>) {
        // SAFETY: The item is not moved: `Target` keeps the raw pointer until it is pinned again.
        let this = KBox::into_raw(unsafe { Pin::into_inner_unchecked(this) });
        // SAFETY: The item is valid: the waiting thread takes it only after `complete()`.
        unsafe { &(*this).ran }.complete();
    }
}

#[inline(never)]
fn be_target() -> Result {
    let round = KBox::pin_init(
        try_pin_init!(Round {
            ran: Begun::new()?,
            work <- TaskWork::new(),
        }? Error),
        GFP_KERNEL,
    )?;
    *TARGET.get() = Some(Target {
        task: ARef::from(&**current!()),
        // SAFETY: The item is not moved: `Target` keeps the raw pointer until it is pinned again.
        round: KBox::into_raw(unsafe { Pin::into_inner_unchecked(round) }),
    });
    Ok(())
}

#[inline(never)]
fn round_trip(count: usize) -> Result {
    let target = TARGET.get().as_ref().ok_or(ESRCH)?;
    // SAFETY: The item is valid as long as the `Target` exists, which is never replaced meanwhile.
    let ran = unsafe { &(*target.round).ran };
    for _ in 0..count {
        task_work::add(&target.task, target.take(), NotifyMode::Signal)?;
        ran.wait();
    }
    Ok(())
}

#[pin_data]
struct Work {
    value: usize,
    #[pin]
    work: KthreadWork<Work>,
}

impl_has_kthread_work! {
    impl HasKthreadWork<Self> for Work { self.work }
}

impl KthreadWorkItem for Work {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, _context: &WorkContext<'_>) {
        POOL.get().sum += this.value;
        // The item stays in memory; `Standing` has a raw pointer to it.
        //
        // SAFETY: The item is not moved: `Standing` keeps the raw pointer until it is pinned again.
        let _ = KBox::into_raw(unsafe { Pin::into_inner_unchecked(this) });
    }
}

struct Standing {
    parkable: Thread<(), Parkable>,
    worker: KthreadWorker,
    /// One per CPU.
    begun: [Begun; 2],
    works: KVVec<*mut Work>,
}

impl Standing {
    fn new(module: &'static ThisModule) -> Result<Self> {
        let mut works = KVVec::with_capacity(BATCH_SIZE, GFP_KERNEL)?;
        for value in 0..BATCH_SIZE {
            let work = pin_init!(Work { value, work <- KthreadWork::new() });
            let work = KBox::pin_init(work, GFP_KERNEL)?;
            // SAFETY: The item is not moved: the raw pointer is kept until it is pinned again.
            let work = KBox::into_raw(unsafe { Pin::into_inner_unchecked(work) });
            works.push(work, GFP_KERNEL)?;
        }
        Ok(Self {
            parkable: Builder::new(c"bench")
                .parkable()
                .spawn(|context| while !context.sleep().is_stopped() {})?,
            worker: Builder::new(c"bench").worker(module)?,
            begun: [Begun::new()?, Begun::new()?],
            works,
        })
    }

    #[inline(always)]
    fn enqueue(&self, index: usize) -> Result {
        // SAFETY: `index` is less than `BATCH_SIZE`, the number of works. C does not check either.
        let work = unsafe { *self.works.get_unchecked(index) };
        // SAFETY: The item comes from a pinned box and was not moved since. It is not pending, so
        // that the box is owned once.
        let work = unsafe { Pin::new_unchecked(KBox::from_raw(work)) };
        Ok(self.worker.enqueue(work)?)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        for work in &self.works {
            // SAFETY: The item comes from a pinned box and was not moved since. The worker was
            // flushed, so that it is not pending and the box is owned once.
            drop(unsafe { Pin::new_unchecked(KBox::from_raw(*work)) });
        }
    }
}

#[inline(never)]
fn run_stop(count: usize) -> Result {
    let begun = of_this_cpu(&standing()?.begun);
    for _ in 0..count {
        let thread = kthread::spawn(c"bench", move |context| {
            begun.complete();
            while !context.sleep().is_stopped() {}
        })?;
        begun.wait();
        thread.stop()?;
    }
    Ok(())
}

#[inline(never)]
fn park_unpark(count: usize) -> Result {
    let standing = standing()?;
    for _ in 0..count {
        standing.parkable.park()?;
        standing.parkable.unpark();
    }
    Ok(())
}

#[inline(never)]
fn queue_flush(count: usize) -> Result {
    let standing = standing()?;
    for _ in 0..count {
        standing.enqueue(0)?;
        standing.worker.flush()?;
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
        standing.worker.flush()?;
    }
    Ok(())
}

struct Notifier {
    starts: UnsafeCell<usize>,
    ends: UnsafeCell<usize>,
}

// SAFETY: Only one thread invalidates in the benchmark, so that the counters are not accessed
// concurrently, like the counters of C.
unsafe impl Send for Notifier {}
// SAFETY: Only one thread invalidates in the benchmark, so that shared references are not used
// concurrently.
unsafe impl Sync for Notifier {}

impl MmuNotifier for Notifier {
    type Callbacks = Ranges;
}

#[vtable]
impl InvalidateRanges for Notifier {
    fn invalidate_range_start(&self, range: &MmuNotifierRange<'_>) {
        // SAFETY: Only one thread invalidates in the benchmark, and the pointer is valid.
        unsafe {
            let sum = self.starts.get();
            *sum = (*sum).wrapping_add(range.end() - range.start());
        }
    }

    fn invalidate_range_end(&self, range: &MmuNotifierRange<'_>) {
        // SAFETY: Only one thread invalidates in the benchmark, and the pointer is valid.
        unsafe {
            let sum = self.ends.get();
            *sum = (*sum).wrapping_add(range.end() - range.start());
        }
    }
}

/// A type for each place that inserts an interval, so that its code is inlined as in a driver.
struct Interval<const USE: usize>;

type Inserted<const USE: usize> = IntervalRegistration<Interval<USE>>;
type Memory<const USE: usize> = KBox<MaybeUninit<Inserted<USE>>>;

impl<const USE: usize> MmuIntervalNotifier for Interval<USE> {
    type Shadow = usize;
    type Passes = OnePass;

    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        shadow: &mut usize,
    ) -> Result<(), WouldSleep> {
        self.invalidate(range, shadow);
        Ok(())
    }
}

impl<const USE: usize> Invalidate for Interval<USE> {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, shadow: &mut usize) {
        // Wraps around, as in C: the last invalidation covers the whole address space.
        *shadow = shadow.wrapping_add(range.end() - range.start());
    }
}

/// An empty notifier, to measure the size of a registration.
struct Nothing;

impl MmuNotifier for Nothing {
    type Callbacks = Ranges;
}

#[vtable]
impl InvalidateRanges for Nothing {}

impl SharedNotifier for Notifier {
    fn new(_mm: &MmWithUser) -> Result<Self> {
        Ok(notifier())
    }
}

fn notifier() -> Notifier {
    Notifier {
        starts: UnsafeCell::new(0),
        ends: UnsafeCell::new(0),
    }
}

struct Notifiers {
    registered: KVVec<Pin<KBox<Registration<Notifier>>>>,
    intervals: KVec<Pin<KBox<Inserted<0>>>>,
    ranges: KVVec<Pin<KBox<Inserted<1>>>>,
    one: Option<Pin<KBox<Inserted<2>>>>,
    memory: Option<Memory<2>>,
}

static NOTIFIERS_THERE: Alone<Notifiers> = Alone(UnsafeCell::new(Notifiers {
    registered: KVVec::new(),
    intervals: KVec::new(),
    ranges: KVVec::new(),
    one: None,
    memory: None,
}));

#[inline(never)]
fn have_notifiers(count: usize) -> Result {
    let there = &mut NOTIFIERS_THERE.get().registered;
    if there.capacity() == 0 {
        there.reserve(NOTIFIERS_MAX, GFP_KERNEL)?;
    }
    let task = current!();
    let mm = task.mm().ok_or(EINVAL)?;
    while there.len() < count {
        let registration = KBox::pin_init(Registration::new(mm, notifier()), GFP_KERNEL)?;
        there.push(registration, GFP_KERNEL)?;
    }
    while there.len() > count {
        // Wait, so that no callback of a removed notifier is measured.
        if let Some(it) = there.pop() {
            KBox::into_inner(Pin::into_inner(it)).unregister()?;
        }
    }
    Ok(())
}

/// Inserts an interval notifier in existing memory, as in C.
#[inline(always)]
fn insert<const USE: usize>(
    mm: &MmWithUser,
    memory: Memory<USE>,
    start: usize,
    length: usize,
) -> Result<Pin<KBox<Inserted<USE>>>> {
    memory.write_pin_init(new_mmu_interval_notifier!(mm, start, length, Interval, 0))
}

/// Removes an interval notifier, and returns its memory.
#[inline(always)]
fn remove<const USE: usize>(interval: Pin<KBox<Inserted<USE>>>) -> Memory<USE> {
    // SAFETY: The registration is dropped in place, and not moved before.
    KBox::drop_contents(unsafe { Pin::into_inner_unchecked(interval) })
}

/// The length of a range that covers the whole memory of the benchmark.
const WHOLE: usize = 1 << 46;

#[inline(never)]
fn have_intervals(count: usize) -> Result {
    let there = &mut NOTIFIERS_THERE.get().intervals;
    let task = current!();
    let mm = task.mm().ok_or(EINVAL)?;
    while there.len() < count {
        let memory = KBox::new_uninit(GFP_KERNEL)?;
        there.push(insert(mm, memory, 0, WHOLE)?, GFP_KERNEL)?;
    }
    while there.len() > count {
        // Wait, so that no callback of a removed notifier is measured.
        if let Some(it) = there.pop() {
            KBox::into_inner(Pin::into_inner(it)).unregister()?;
        }
    }
    Ok(())
}

#[inline(never)]
fn interval_read(mut count: usize) -> Result {
    let it: &Inserted<0> = NOTIFIERS_THERE.get().intervals.first().ok_or(EINVAL)?;
    while count != 0 {
        count -= 1;
        it.read(|| Ok(count), |count, shadow| *shadow += count)?;
    }
    Ok(())
}

#[inline(never)]
fn interval_insert_remove(count: usize) -> Result {
    let task = current!();
    let mm = task.mm().ok_or(EINVAL)?;
    let mut memory: Memory<3> = KBox::new_uninit(GFP_KERNEL)?;
    for _ in 0..count {
        memory = remove(insert(mm, memory, 0, WHOLE)?);
    }
    Ok(())
}

#[inline(never)]
fn shared_get_put(count: usize) -> Result {
    let task = current!();
    let mm = task.mm().ok_or(EINVAL)?;
    let _held = SharedRef::<Notifier>::get(mm)?;
    for _ in 0..count {
        let _shared = SharedRef::<Notifier>::get(mm)?;
    }
    Ok(())
}

/// Returns the start of a range of one page. The ranges cover every other page.
const fn range_start(index: usize) -> usize {
    (1 << 44) + index * 2 * PAGE_SIZE
}

#[inline(never)]
fn have_ranges(count: usize) -> Result {
    let there = NOTIFIERS_THERE.get();
    let task = current!();
    let mm = task.mm().ok_or(EINVAL)?;
    while there.ranges.len() < count {
        let memory = KBox::new_uninit(GFP_KERNEL)?;
        let range = insert(mm, memory, range_start(there.ranges.len()), PAGE_SIZE)?;
        there.ranges.push(range, GFP_KERNEL)?;
    }
    while there.ranges.len() > count {
        if let Some(it) = there.ranges.pop() {
            KBox::into_inner(Pin::into_inner(it)).unregister()?;
        }
    }
    there.memory = Some(KBox::new_uninit(GFP_KERNEL)?);
    Ok(())
}

#[inline(never)]
fn range_insert(index: usize) -> Result {
    let there = NOTIFIERS_THERE.get();
    let task = current!();
    let mm = task.mm().ok_or(EINVAL)?;
    let memory = there.memory.take().ok_or(EINVAL)?;
    there.one = Some(insert(mm, memory, range_start(index), PAGE_SIZE)?);
    Ok(())
}

#[inline(never)]
fn range_remove() -> Result {
    let there = NOTIFIERS_THERE.get();
    there.memory = Some(remove(there.one.take().ok_or(EINVAL)?));
    Ok(())
}
