// SPDX-License-Identifier: GPL-2.0

//! mmwatch: reports the changes of an address space. `mmwatch.h` describes the interface to user
//! space.
//!
//! All three abstractions work together here:
//!
//! ```text
//!    task that changes the               thread of the watch            reader
//!    address space
//!
//!    InvalidateRanges::invalidate_range_start
//!      adds an event to the ring of its CPU ---> moves events to ---> read(), poll()
//!      increments the count                      the queue (woken
//!      queues work on the watched task           once for a batch)
//!                 |
//!    watched task, before it returns to user space
//!      TaskWorkItem::run
//!        writes the count to user memory
//!        watches a program that it has executed
//! ```
//!
//! The notifier does not sleep or allocate. The only lock that it takes is the lock of the ring,
//! which readers do not take.

use kernel::{
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    fs::File,
    ioctl::{
        _IO,
        _IOR,
        _IOW,
        _IOWR, //
    },
    iov::IovIterDest,
    mm::{
        virt::VmaNew,
        Mm,
        MmWithUser, //
    },
    new_mutex,
    new_poll_condvar,
    new_spinlock,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        poll::PollCondVar,
        Arc,
        Mutex,
        SetOnce,
        SpinLock, //
    },
    task::Task,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    uaccess::UserSlice, //
};
use tether::{
    kthread::{
        self,
        Thread,
        Waker, //
    },
    misc_device::{
        Kiocb,
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration,
        PollTable,
        Ready,
        TransientFile, //
    },
    mm::{
        interval_notifier::{
            new_interval_notifier,
            IntervalNotifier,
            Invalidate,
            OnePass,
            Registration as IntervalRegistration, //
        },
        mmu_notifier::{
            Event as MmuEvent,
            InvalidateRanges,
            MmuNotifier,
            Range,
            Ranges,
            Registration,
            WouldSleep, //
        },
        shared_counters::SharedCounters, //
    },
    pid::Numbering,
    ptrace,
    syscall,
    task_work::{
        self,
        impl_has_task_work,
        Context,
        Mode,
        TaskWork,
        TaskWorkItem, //
    },
    user_stack, //
};

module! {
    type: MmwatchModule,
    name: "mmwatch",
    authors: ["The Tether developers"],
    description: "Reports the changes of an address space",
    license: "GPL",
}

const MAX_WATCHES: usize = 64;
const MAX_RANGES: usize = 131072;
/// Capacity of the queue that readers read from.
const QUEUE_EVENTS: usize = 32768;
/// Maximum number of events that one call of read() returns.
const READ_EVENTS: usize = 256;
/// Capacity of the ring of each CPU.
const RING_EVENTS: usize = 2048;
/// Time for which the thread collects further events after the first one. A ring that is half full
/// ends this early.
const BATCH: Delta = Delta::from_millis(10);

const KIND_RELEASE: u32 = 5;
const KIND_OTHER: u32 = 8;
const KIND_DROPPED: u32 = 9;
const KIND_EXEC: u32 = 10;
const KIND_NOT_FOLLOWED: u32 = 11;
const FLAG_BLOCKABLE: u32 = 1 << 0;
const FLAG_EXECUTED: u32 = 1 << 1;
const COMPAT_CALL: u32 = 1 << 29;
/// Flags in `struct mmwatch_watch`.
const FLAG_RANGES: u32 = 1 << 0;
const FLAG_STACKS: u32 = 1 << 1;
const FLAG_FOLLOW: u32 = 1 << 2;

const WATCH: u32 = _IOW::<WatchArgument>(0xB8, 1);
const ADD_RANGE: u32 = _IOWR::<RangeArgument>(0xB8, 4);
const REMOVE_RANGE: u32 = _IO(0xB8, 5);
const STATUS: u32 = _IOR::<StatusArgument>(0xB8, 2);
const UNWATCH: u32 = _IO(0xB8, 3);

/// `struct mmwatch_event`.
#[derive(Clone, Copy, Default, IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
struct Event {
    time: u64,
    start: u64,
    end: u64,
    count: u64,
    kind: u32,
    flags: u32,
    pid: i32,
    tgid: i32,
    syscall: i32,
    cpu: u32,
    latency: u32,
    reserved: u32,
    cookie: u64,
}

/// The addresses that follow an event, with `MMWATCH_STACKS`.
type Stack = [u64; 16];

/// `struct mmwatch_range`.
#[derive(FromBytes, IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
struct RangeArgument {
    start: u64,
    length: u64,
    cookie: u64,
    value: u64,
    index: u32,
    reserved: u32,
}

/// `struct mmwatch_watch`.
#[derive(FromBytes)]
#[repr(C)]
struct WatchArgument {
    pid: i32,
    flags: u32,
    count_address: u64,
}

/// `struct mmwatch_status`.
#[derive(IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
struct StatusArgument {
    count: u64,
    published: u64,
    pages: u64,
    dropped: u64,
    ended: u32,
    reserved: u32,
}

#[pin_data]
struct MmwatchModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for MmwatchModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"mmwatch",
            }),
        })
    }
}

/// Number of watches and of ranges, in the whole system.
static WATCHES: Atomic<usize> = Atomic::new(0);
static RANGES: Atomic<usize> = Atomic::new(0);

/// Counts one object, of which there are at most `MAX`.
struct Slot<const MAX: usize>(&'static Atomic<usize>);

impl<const MAX: usize> Slot<MAX> {
    fn take(counter: &'static Atomic<usize>) -> Result<Self> {
        if counter.fetch_add(1usize, Full) >= MAX {
            counter.fetch_sub(1usize, Full);
            return Err(ENOSPC);
        }
        Ok(Self(counter))
    }
}

impl<const MAX: usize> Drop for Slot<MAX> {
    fn drop(&mut self) {
        self.0.fetch_sub(1usize, Full);
    }
}

/// A bounded list of events, and the number of events that did not fit.
struct Events {
    events: KVVec<Event>,
    /// The stack of each event; empty without `MMWATCH_STACKS`.
    stacks: KVVec<Stack>,
    dropped: u64,
}

impl Events {
    /// Allocates room for `capacity` events, charged to the caller's memory cgroup.
    fn new(capacity: usize, stacks: bool) -> Result<Self> {
        Ok(Self {
            events: KVVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?,
            stacks: if stacks {
                KVVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?
            } else {
                KVVec::new()
            },
            dropped: 0,
        })
    }

    fn push(&mut self, event: Event, stack: Option<&Stack>) {
        if self.events.push_within_capacity(event).is_err() {
            self.dropped += 1;
        } else if let Some(stack) = stack {
            // `stacks` has the same capacity as `events`, so this cannot fail.
            let _ = self.stacks.push_within_capacity(*stack);
        }
    }

    /// Appends as many events of `other` as fit, and counts the rest as dropped.
    fn extend(&mut self, other: &Self) {
        let room = self.events.capacity() - self.events.len();
        let count = room.min(other.events.len());
        // `count` is at most the room left, so this cannot fail.
        let _ = self
            .events
            .extend_from_slice(&other.events[..count], GFP_KERNEL);
        let stacks = other.stacks.get(..count).unwrap_or_default();
        let _ = self.stacks.extend_from_slice(stacks, GFP_KERNEL);
        self.dropped += (other.events.len() - count) as u64;
    }

    /// Copies the events to user memory, each followed by its stack if stacks are recorded. Returns
    /// the number of events that were copied completely.
    fn copy_to_iter(&self, iov: &mut IovIterDest<'_>) -> usize {
        if self.stacks.is_empty() {
            return iov.copy_to_iter(self.events.as_bytes()) / size_of::<Event>();
        }
        let mut copied = 0;
        for (event, stack) in self.events.iter().zip(&self.stacks) {
            let bytes = iov.copy_to_iter(event.as_bytes()) + iov.copy_to_iter(stack.as_bytes());
            if bytes < size_of::<Event>() + size_of::<Stack>() {
                break;
            }
            copied += 1;
        }
        copied
    }

    fn clear(&mut self) {
        self.events.clear();
        self.stacks.clear();
        self.dropped = 0;
    }
}

/// The events of one CPU, between the notifier and the thread of the watch.
// Each CPU takes the lock of its own ring, so rings must not share a cache line.
#[repr(align(64))]
#[pin_data]
struct Ring {
    #[pin]
    events: SpinLock<Events>,
}

/// The events between the thread of the watch and readers.
struct Queue {
    events: Events,
    /// Index of the first event that was not read.
    next: usize,
    /// No more events are added.
    ended: bool,
    /// A reader copies events to user memory, with the lock released: the copy may fault, and
    /// another process may decide how long the fault takes.
    reading: bool,
    /// Another reader waits until `reading` is false.
    waiting: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.next == self.events.events.len() && self.events.dropped == 0
    }

    /// Removes the events that were read. Does nothing while a reader copies events, because the
    /// reader advances `next` afterwards.
    fn compact(&mut self) {
        fn remove<T: Copy>(vec: &mut KVVec<T>, count: usize) {
            let count = count.min(vec.len());
            vec.copy_within(count.., 0);
            vec.truncate(vec.len() - count);
        }

        if self.next != 0 && !self.reading {
            remove(&mut self.events.events, self.next);
            remove(&mut self.events.stacks, self.next);
            self.next = 0;
        }
    }

    /// Copies the next events to `batch`, as many as fit. If events were dropped, the first event
    /// copied reports their number.
    fn copy_to(&self, batch: &mut Events) {
        if self.events.dropped != 0 {
            let event = Event {
                start: self.events.dropped,
                kind: KIND_DROPPED,
                syscall: -1,
                ..Event::default()
            };
            batch.dropped = self.events.dropped;
            batch.push(event, self.has_stacks().then_some(&Stack::default()));
        }
        for index in self.next..self.events.events.len() {
            if batch.events.len() == batch.events.capacity() {
                break;
            }
            batch.push(self.events.events[index], self.events.stacks.get(index));
        }
    }

    fn has_stacks(&self) -> bool {
        self.events.stacks.capacity() != 0
    }

    /// Removes the first `count` events of `batch`, which a reader has copied.
    fn consume(&mut self, batch: &Events, count: usize) {
        let dropped = usize::from(batch.dropped != 0).min(count);
        if dropped != 0 {
            self.events.dropped -= batch.dropped;
        }
        self.next += count - dropped;
    }
}

/// Buffers of the thread of the watch, which empties the rings.
struct Drain {
    /// For each ring, a buffer that is swapped with the ring's.
    batches: KVec<Events>,
    /// Sort keys: count, kind, index of the ring and index in the ring of each event.
    order: KVVec<(u64, u32, u32, u32)>,
}

impl Drain {
    fn new(rings: usize, stacks: bool) -> Result<Self> {
        let mut batches = KVec::with_capacity(rings, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..rings {
            batches.push(Events::new(RING_EVENTS, stacks)?, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self {
            batches,
            order: KVVec::with_capacity(rings * RING_EVENTS, GFP_KERNEL_ACCOUNT)?,
        })
    }
}

impl Drain {
    /// Sorts the events of all rings by count.
    fn sort(&mut self) {
        self.order.clear();
        for (number, batch) in self.batches.iter().enumerate() {
            for (place, event) in batch.events.iter().enumerate() {
                // An event that is not an invalidation has the count of the last invalidation
                // before it, and is placed after that one.
                let kind = match event.kind {
                    KIND_RELEASE => KIND_DROPPED,
                    kind => kind,
                };
                let key = (event.count, kind, number as u32, place as u32);
                let _ = self.order.push_within_capacity(key);
            }
        }
        heap_sort(&mut self.order);
    }
}

/// Sorts in place, without recursion. `sort_unstable()` takes about a kilobyte of stack for each of
/// about ten nested calls, which is too much for a kernel stack.
fn heap_sort<T: Ord>(items: &mut [T]) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(&mut items[..end], 0);
    }
}

/// Restores the heap order of `items`, in which only the subtree at `root` may violate it, and only
/// at its root.
fn sift_down<T: Ord>(items: &mut [T], mut root: usize) {
    loop {
        let mut child = 2 * root + 1;
        if child >= items.len() {
            return;
        }
        if child + 1 < items.len() && items[child] < items[child + 1] {
            child += 1;
        }
        if items[root] >= items[child] {
            return;
        }
        items.swap(root, child);
        root = child;
    }
}

/// The MMU notifiers of a watch.
struct Notifier {
    current: Option<Pin<KBox<Registration<Recorder>>>>,
    /// The notifier of the previous program, to be dropped by the thread of the watch.
    retired: Option<Pin<KBox<Registration<Recorder>>>>,
    /// The watch has ended: no further notifier may be registered.
    over: bool,
}

/// The state shared by the notifier, the thread of the watch, the watched task and readers.
#[pin_data]
struct Watch {
    /// The task that publishes the count.
    target: ARef<Task>,
    watched: ARef<Mm>,
    /// The address space of the process that started the watch; only this process may read.
    watcher: ARef<Mm>,
    /// The pid namespace of the watcher, in which events report tasks.
    numbering: Numbering,
    /// The permission to inspect the process, with `MMWATCH_FOLLOW`: tested again after each exec.
    permission: Option<ptrace::Permission>,
    count_address: usize,
    stacks: bool,
    begun: Instant<Monotonic>,
    count: Atomic<u64>,
    published: Atomic<u64>,
    pages: Atomic<u64>,
    dropped: Atomic<u64>,
    /// The address space is gone. Invalidations after that, as by the release of its pages, are not
    /// recorded.
    ended: Atomic<bool>,
    /// The address space is gone, and no other one is watched afterwards.
    over: Atomic<bool>,
    waker: SetOnce<Waker>,
    /// The thread was woken, and has not yet checked the rings since.
    awake: Atomic<bool>,
    rings: KVec<Pin<KBox<Ring>>>,
    #[pin]
    queue: Mutex<Queue>,
    #[pin]
    notifier: Mutex<Notifier>,
    /// Owned by the file as well, because a poll may still wait for it after the end of the watch.
    readable: Arc<PollCondVar>,
    #[pin]
    publish: TaskWork<Watch, PUBLISH>,
    #[pin]
    follow: TaskWork<Watch, FOLLOW>,
}

const PUBLISH: u64 = 0;
const FOLLOW: u64 = 1;

impl_has_task_work! {
    impl HasTaskWork<Self, PUBLISH> for Watch { self.publish }
    impl HasTaskWork<Self, FOLLOW> for Watch { self.follow }
}

impl TaskWorkItem<FOLLOW> for Watch {
    type Pointer = Arc<Watch>;

    /// Watches the program that the current task has executed. Runs in that task, before the first
    /// instruction of the program.
    fn run(this: Arc<Watch>, context: &Context<'_>) {
        if let Err(error) = this.watch_next(context) {
            this.note_not_followed(error);
            this.set_over();
        }
    }
}

impl TaskWorkItem<PUBLISH> for Watch {
    type Pointer = Arc<Watch>;

    /// Publishes the count. Runs in the watched task, before it returns to user space.
    fn run(this: Arc<Watch>, context: &Context<'_>) {
        // The write may itself invalidate the page, for instance if the page is shared with a
        // child. Repeat, so that this invalidation is published too.
        for _ in 0..4 {
            let count = this.count.load(Acquire);
            // The task may have executed another program, or may be exiting.
            if let Some(mm) = context.mm() {
                if this.count_address != 0 && is_same(mm, &this.watched) {
                    let address = UserPtr::from_addr(this.count_address);
                    let mut writer = UserSlice::new(address, size_of::<u64>()).writer();
                    // Fails if the program has unmapped the address; the count is then not
                    // published.
                    let _ = writer.write(&count);
                }
            }
            this.published.store(count, Release);
            if this.count.load(Acquire) == count {
                break;
            }
        }
    }
}

/// Returns the number of a system call as reported in events.
fn numbered(number: u32) -> i32 {
    let compat = if syscall::current_is_compat() {
        COMPAT_CALL
    } else {
        0
    };
    (number | compat) as i32
}

fn is_same(a: &Mm, b: &Mm) -> bool {
    core::ptr::eq(a.as_raw(), b.as_raw())
}

impl Watch {
    fn new(
        target: Target<'_>,
        watcher: &Mm,
        argument: &WatchArgument,
        count_address: usize,
    ) -> Result<Arc<Self>> {
        let stacks = argument.flags & FLAG_STACKS != 0;
        let queue = Queue {
            events: Events::new(QUEUE_EVENTS, stacks)?,
            next: 0,
            ended: false,
            reading: false,
            waiting: false,
        };
        let mut rings = KVec::new();
        for _ in 0..nr_cpu_ids() {
            let events = Events::new(RING_EVENTS, stacks)?;
            let ring = pin_init!(Ring { events <- new_spinlock!(events) });
            rings.push(
                KBox::pin_init(ring, GFP_KERNEL_ACCOUNT)?,
                GFP_KERNEL_ACCOUNT,
            )?;
        }
        let Target {
            task,
            mm,
            permission,
            readable,
        } = target;
        Arc::pin_init(
            pin_init!(Self {
                target: task,
                watched: ARef::from(&**mm),
                watcher: ARef::from(watcher),
                numbering: Numbering::of_current(),
                permission,
                count_address,
                stacks,
                begun: Instant::now(),
                count: Atomic::new(0),
                published: Atomic::new(0),
                pages: Atomic::new(0),
                dropped: Atomic::new(0),
                ended: Atomic::new(false),
                over: Atomic::new(false),
                waker: SetOnce::new(),
                awake: Atomic::new(false),
                rings,
                queue <- new_mutex!(queue),
                notifier <- new_mutex!(Notifier { current: None, retired: None, over: false }),
                readable,
                publish <- TaskWork::new(),
                follow <- TaskWork::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Records an event. Called by the notifier.
    fn note(&self, event: Event, mm: &Mm) {
        let task = current!();
        let time = self.begun.elapsed().as_nanos();
        let (pid, tgid) = self.numbering.numbers(task);
        let cpu = CpuId::current().as_u32();
        let stack = self.stacks.then(|| {
            let mut stack = Stack::default();
            // Stacks of tasks of other address spaces are not recorded. The watched program may
            // have become one that its user may not inspect, so this is tested for each event.
            if task.mm().is_some_and(|own| is_same(own, mm))
                && (is_same(mm, &self.watcher) || ptrace::is_dumpable(task))
            {
                user_stack::save(&mut stack);
            }
            stack
        });
        // There is a ring for each possible CPU, so this does not fail.
        let Some(ring) = self.rings.get(cpu as usize) else {
            return;
        };
        let length = {
            let mut ring = ring.events.lock();
            // Increment the count with the lock held, so that the counts in a ring are ascending.
            let count = if event.kind < KIND_DROPPED && event.kind != KIND_RELEASE {
                self.count.fetch_add(1u64, Release) + 1
            } else {
                self.count.load(Relaxed)
            };
            let event = Event {
                time: time as u64,
                count,
                pid,
                tgid,
                syscall: syscall::current_number().map_or(-1, numbered),
                cpu,
                latency: u32::try_from(self.begun.elapsed().as_nanos() - time).unwrap_or(u32::MAX),
                ..event
            };
            ring.push(event, stack.as_ref());
            ring.events.len()
        };
        // The thread clears `awake` before it checks the rings. If the thread has found this ring
        // empty, its lock section precedes ours, and `awake` is seen as false here.
        let first = !self.awake.load(Relaxed) && !self.awake.xchg(true, Relaxed);
        if first || length == RING_EVENTS / 2 {
            self.wake();
        }
    }

    /// Wakes the thread.
    fn wake(&self) {
        if let Some(waker) = self.waker.as_ref() {
            waker.wake();
        }
    }

    /// Marks the watch as over: no events are recorded afterwards.
    fn set_over(&self) {
        self.over.store(true, Release);
        // The thread may have tested `over` and the rings just before this store.
        self.wake();
    }

    /// Records that the program which the process has executed is not watched, and the reason.
    fn note_not_followed(&self, error: Error) {
        let event = Event {
            kind: KIND_NOT_FOLLOWED,
            start: u64::from(error.to_errno().unsigned_abs()),
            ..Event::default()
        };
        self.note(event, &self.watched);
    }

    /// Watches the program that the current task has executed.
    fn watch_next(self: &Arc<Self>, context: &Context<'_>) -> Result {
        let permission = self.permission.as_ref().ok_or(EPERM)?;
        let mm = context.mm().ok_or(ESRCH)?;
        if !permission.still_holds(context.task()) {
            return Err(EPERM);
        }
        let mut notifier = self.notifier.lock();
        if notifier.over {
            return Ok(());
        }
        let next = Recorder::register(self, mm, false)?;
        // The thread of the watch drops the old notifier, outside of this lock.
        notifier.retired = notifier.current.replace(next);
        self.ended.store(false, Relaxed);
        drop(notifier);
        let event = Event {
            kind: KIND_EXEC,
            ..Event::default()
        };
        self.note(event, mm);
        Ok(())
    }

    /// Unregisters the notifiers.
    fn end(&self) {
        let (current, retired) = {
            let mut notifier = self.notifier.lock();
            notifier.over = true;
            (notifier.current.take(), notifier.retired.take())
        };
        // Unregister outside of the lock. `unregister()` waits for running callbacks, so that no
        // event is recorded afterwards. It fails if the current task is being killed, or after ten
        // seconds; callbacks may then run a little longer.
        for registration in [current, retired].into_iter().flatten() {
            let _ = KBox::into_inner(Pin::into_inner(registration)).unregister();
        }
    }

    /// The body of the thread: moves events from the rings to the queue.
    fn drain(&self, context: &kthread::Context<'_>, mut drain: Drain) {
        let mut ended = false;
        loop {
            let something = || {
                if self.over.load(Relaxed) && !ended {
                    return true;
                }
                self.awake.store(false, Relaxed);
                let is_empty = |ring: &Pin<KBox<Ring>>| {
                    let ring = ring.events.lock();
                    ring.events.is_empty() && ring.dropped == 0
                };
                !self.rings.iter().all(is_empty)
            };
            let stop = context.wait_until(something) == kthread::Wake::Stopped || {
                self.awake.store(true, Relaxed);
                context.sleep_for(BATCH) == kthread::Wake::Stopped
            };
            ended = self.move_events(&mut drain);
            let retired = self.notifier.lock().retired.take();
            drop(retired);
            if stop {
                return;
            }
        }
    }

    /// Moves all events from the rings to the queue. Returns whether these were the last ones.
    fn move_events(&self, drain: &mut Drain) -> bool {
        // Events recorded before `over` was set are in the rings.
        let ended = self.over.load(Acquire);
        let mut dropped = 0;
        for (ring, batch) in self.rings.iter().zip(&mut drain.batches) {
            batch.clear();
            core::mem::swap(&mut *ring.events.lock(), batch);
            dropped += batch.dropped;
        }
        let several = drain.batches.iter().filter(|it| !it.events.is_empty());
        let several = several.count() > 1;
        if several {
            drain.sort();
        }
        let mut queue = self.queue.lock();
        queue.compact();
        let before = queue.events.dropped;
        if several {
            for (_, _, number, place) in &drain.order {
                let batch = &drain.batches[*number as usize];
                let place = *place as usize;
                queue
                    .events
                    .push(batch.events[place], batch.stacks.get(place));
            }
        } else {
            for batch in &drain.batches {
                queue.events.extend(batch);
            }
        }
        queue.events.dropped += dropped;
        self.dropped
            .fetch_add(queue.events.dropped - before, Relaxed);
        queue.ended |= ended;
        self.readable.notify_all();
        ended
    }

    fn status(&self) -> StatusArgument {
        StatusArgument {
            count: self.count.load(Relaxed),
            published: self.published.load(Relaxed),
            pages: self.pages.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            ended: self.queue.lock().ended.into(),
            reserved: 0,
        }
    }
}

/// Records that `start` to `end` is invalidated, as a part of `range`.
fn note_range(watch: &Arc<Watch>, range: &Range<'_>, start: usize, end: usize, cookie: u64) {
    if watch.ended.load(Relaxed) {
        return;
    }
    let kind = match range.event() {
        MmuEvent::Unmap => 0,
        MmuEvent::Clear => 1,
        MmuEvent::ProtectionVma => 2,
        MmuEvent::ProtectionPage => 3,
        MmuEvent::SoftDirty => 4,
        MmuEvent::Release => KIND_RELEASE,
        MmuEvent::Migrate => 6,
        MmuEvent::Exclusive => 7,
        _ => KIND_OTHER,
    };
    let flags = if range.is_blockable() {
        FLAG_BLOCKABLE
    } else {
        0
    };
    let pages = (end - start) / PAGE_SIZE;
    watch.pages.fetch_add(pages as u64, Relaxed);
    let event = Event {
        start: start as u64,
        end: end as u64,
        kind,
        flags,
        cookie,
        ..Event::default()
    };
    watch.note(event, range.mm());
    // If the work is already queued, its run publishes this invalidation as well. If the task is
    // exiting, there is no user space to publish the count to.
    if watch.count_address != 0 {
        let _ = task_work::add::<_, PUBLISH>(&watch.target, watch.clone(), Mode::Resume);
    }
}

/// The notifier of an address space.
struct Recorder {
    watch: Arc<Watch>,
    /// Records the end of the address space only; its invalidations are recorded by ranges.
    end_only: bool,
}

impl Recorder {
    fn register(
        watch: &Arc<Watch>,
        mm: &MmWithUser,
        end_only: bool,
    ) -> Result<Pin<KBox<Registration<Self>>>> {
        let watch = watch.clone();
        KBox::pin_init(Registration::new(mm, Self { watch, end_only }), GFP_KERNEL)
    }
}

#[vtable]
impl InvalidateRanges for Recorder {
    fn invalidate_range_start(&self, range: &Range<'_>) {
        if !self.end_only {
            note_range(&self.watch, range, range.start(), range.end(), 0);
        }
    }
}

impl MmuNotifier for Recorder {
    type Callbacks = Ranges;

    fn release(&self, mm: &Mm) {
        let watch = &self.watch;
        let task = current!();
        let own = task.tgid() == watch.target.tgid();
        // The address space is detached from an exiting task before this callback. A task in an
        // exec has its new address space already.
        let executed = own && task.mm().is_some_and(|new| !is_same(new, mm));
        let event = Event {
            end: u64::MAX,
            kind: KIND_RELEASE,
            flags: FLAG_BLOCKABLE | if executed { FLAG_EXECUTED } else { 0 },
            ..Event::default()
        };
        watch.ended.store(true, Relaxed);
        watch.note(event, mm);
        if watch.permission.is_some() {
            // If this runs in another process, that process held a reference to the address space
            // for longer than the watched process. The state of the watched process is unknown
            // then.
            let mut result = if own { Ok(()) } else { Err(EBUSY) };
            if executed {
                result = task_work::add::<_, FOLLOW>(task, watch.clone(), Mode::Resume)
                    .map_err(|refused| refused.error);
                if result.is_ok() {
                    return;
                }
            }
            if let Err(error) = result {
                watch.note_not_followed(error);
            }
        }
        watch.set_over();
    }
}

/// The notifier of a range.
struct RangeRecorder {
    watch: Arc<Watch>,
    start: usize,
    end: usize,
    cookie: u64,
    counter: Option<(Arc<SharedCounters>, usize)>,
    /// The range is being removed, and its counter was incremented for the last time.
    removed: Atomic<bool>,
    _slot: Slot<MAX_RANGES>,
}

impl RangeRecorder {
    fn counter(&self) -> Option<&Atomic<u64>> {
        let (counters, index) = self.counter.as_ref()?;
        counters.get(*index)
    }

    /// Increments the counter: readers learn that the range has changed.
    fn count(&self) {
        if let Some(counter) = self.counter() {
            counter.fetch_add(1u64, Full);
        }
    }

    /// Increments the counter for the last time.
    fn count_removed(&self) {
        self.removed.store(true, Relaxed);
        self.count();
    }
}

impl IntervalNotifier for RangeRecorder {
    type Shadow = ();
    type Passes = OnePass;

    fn try_invalidate(&self, range: &Range<'_>, shadow: &mut ()) -> Result<(), WouldSleep> {
        self.invalidate(range, shadow);
        Ok(())
    }
}

impl Invalidate for RangeRecorder {
    fn invalidate(&self, range: &Range<'_>, _shadow: &mut ()) {
        // The counter of a range that is being removed may not change any more.
        if self.removed.load(Relaxed) {
            return;
        }
        self.count();
        // `Recorder` records the end of the address space, once.
        if range.event() != MmuEvent::Release {
            let (start, end) = (range.start().max(self.start), range.end().min(self.end));
            note_range(&self.watch, range, start, end, self.cookie);
        }
    }
}

type WatchedRange = Pin<KBox<IntervalRegistration<RangeRecorder>>>;

/// The ranges of a watch.
struct WatchedRanges {
    ranges: KVVec<Option<WatchedRange>>,
    /// Indices of removed ranges.
    free: KVVec<u32>,
}

impl WatchedRanges {
    /// Returns the index for the next range.
    fn place(&mut self, counters: Option<&SharedCounters>) -> Result<u32> {
        if let Some(index) = self.free.last() {
            return Ok(*index);
        }
        let index = self.ranges.len();
        if counters.is_some_and(|counters| index >= counters.len()) {
            return Err(ENOSPC);
        }
        // Reserve memory now, so that `put()` and `give_back()` cannot fail for lack of memory.
        self.ranges.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.free.reserve(index + 1, GFP_KERNEL_ACCOUNT)?;
        Ok(index as u32)
    }

    fn put(&mut self, index: u32, range: WatchedRange) -> Result {
        if self.free.last() == Some(&index) {
            self.free.pop();
            self.ranges[index as usize] = Some(range);
        } else {
            self.ranges
                .push_within_capacity(Some(range))
                .map_err(|_| ENOMEM)?;
        }
        Ok(())
    }

    fn take(&mut self, index: usize) -> Result<WatchedRange> {
        let range = self.ranges.get_mut(index).and_then(Option::take);
        let range = range.ok_or(ENOENT)?;
        // Mark the range as changed before its notifier is unregistered.
        range.notifier().count_removed();
        Ok(range)
    }

    /// Makes the index of a range reusable. The range must be unregistered: until then its notifier
    /// uses the counter at this index.
    fn give_back(&mut self, index: usize) -> Result {
        self.free
            .push_within_capacity(index as u32)
            .map_err(|_| ENOMEM)
    }
}

/// A watch, with its thread and ranges.
struct Active {
    /// The watched ranges, with `MMWATCH_RANGES`.
    ranges: Option<WatchedRanges>,
    _thread: Thread<()>,
    watch: Arc<Watch>,
    _slot: Slot<MAX_WATCHES>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.watch.end();
        for range in self.ranges.iter().flat_map(|it| it.ranges.iter().flatten()) {
            range.notifier().count_removed();
        }
    }
}

/// The counters that a process can map.
struct Mappable {
    /// The address space that may map counters: that of the watcher, with `MMWATCH_RANGES`.
    watcher: Option<ARef<Mm>>,
    /// A range was added.
    used: bool,
    counters: Option<Arc<SharedCounters>>,
}

impl Mappable {
    const NOTHING: Self = Self {
        watcher: None,
        used: false,
        counters: None,
    };
}

/// An open file.
#[pin_data]
struct Device {
    #[pin]
    active: Mutex<Option<Active>>,
    // A separate lock: mmap() takes it with the `mmap_lock` held, and code that holds the lock of
    // `active` may take the `mmap_lock`.
    #[pin]
    mappable: Mutex<Mappable>,
    readable: Arc<PollCondVar>,
}

impl Device {
    /// Returns the watch, if the calling process has started it.
    fn watch(&self) -> Result<Arc<Watch>> {
        let active = self.active.lock();
        let active = active.as_ref().ok_or(EINVAL)?;
        Self::check_caller(&active.watch)?;
        Ok(active.watch.clone())
    }

    fn check_caller(watch: &Watch) -> Result {
        match current!().mm() {
            Some(mm) if is_same(mm, &watch.watcher) => Ok(()),
            _ => Err(ESTALE),
        }
    }

    /// Fails if the file has a watch.
    fn check_idle(&self, active: &Option<Active>) -> Result {
        match active {
            Some(active) => {
                Self::check_caller(&active.watch)?;
                Err(EBUSY)
            }
            None => Ok(()),
        }
    }

    fn begin(&self, argument: &WatchArgument) -> Result {
        let task = current!();
        let own = task.mm().ok_or(EINVAL)?;
        if argument.flags & !(FLAG_RANGES | FLAG_STACKS | FLAG_FOLLOW) != 0 {
            return Err(EINVAL);
        }
        let ranges = argument.flags & FLAG_RANGES != 0;
        let follow = argument.flags & FLAG_FOLLOW != 0;
        if follow && (ranges || argument.pid == 0) {
            return Err(EINVAL);
        }
        let count_address = usize::try_from(argument.count_address).map_err(|_| EINVAL)?;
        if !count_address.is_multiple_of(align_of::<u64>()) {
            return Err(EINVAL);
        }
        self.check_idle(&self.active.lock())?;
        if argument.pid == 0 && count_address != 0 {
            // Check that the count can be written. Do not hold the lock: the write may fault, and
            // another process may decide how long the fault takes.
            UserSlice::new(UserPtr::from_addr(count_address), size_of::<u64>())
                .writer()
                .write(&0u64)?;
        }
        let mut active = self.active.lock();
        self.check_idle(&active)?;
        let slot = Slot::take(&WATCHES)?;
        *active = Some(if argument.pid == 0 {
            let target = Target {
                task: ARef::from(&**task),
                mm: own,
                permission: None,
                readable: self.readable.clone(),
            };
            Active::new(target, own, argument, count_address, slot)?
        } else {
            if count_address != 0 {
                return Err(EINVAL);
            }
            let tracee = ptrace::tracee(argument.pid)?;
            let target = Target {
                permission: follow.then(|| tracee.permission()),
                task: tracee.task,
                mm: &tracee.mm,
                readable: self.readable.clone(),
            };
            Active::new(target, own, argument, 0, slot)?
        });
        if ranges {
            self.mappable.lock().watcher = Some(ARef::from(&**own));
        }
        Ok(())
    }

    fn end(&self) -> Result {
        self.watch()?;
        let active = {
            let mut active = self.active.lock();
            // A new watch may begin when the lock is released, and what is mappable is its own then.
            *self.mappable.lock() = Mappable::NOTHING;
            active.take()
        };
        let Some(active) = active else {
            return Ok(());
        };
        let watch = active.watch.clone();
        // Outside of the lock, because this waits for the notifier and for the thread.
        drop(active);
        watch.queue.lock().ended = true;
        watch.readable.notify_all();
        Ok(())
    }

    /// Calls `f` with the ranges of the watch, if the calling process has started it.
    fn with_ranges<R>(
        &self,
        f: impl FnOnce(&Arc<Watch>, &mut WatchedRanges) -> Result<R>,
    ) -> Result<R> {
        let mut guard = self.active.lock();
        let active = Option::as_mut(&mut *guard).ok_or(EINVAL)?;
        Self::check_caller(&active.watch)?;
        f(&active.watch, active.ranges.as_mut().ok_or(EINVAL)?)
    }

    /// Adds a range. Stores the index and the value of its counter in `argument`.
    fn add_range(&self, argument: &mut RangeArgument) -> Result {
        if argument.reserved != 0 {
            return Err(EINVAL);
        }
        let start = usize::try_from(argument.start).map_err(|_| EOVERFLOW)?;
        let length = usize::try_from(argument.length).map_err(|_| EOVERFLOW)?;
        let end = start.checked_add(length).ok_or(EOVERFLOW)?;
        self.with_ranges(|watch, ranges| {
            let added = self.add_range_to(watch, ranges, argument, start, end);
            if added.is_err() && ranges.ranges.is_empty() {
                self.mappable.lock().used = false;
            }
            added
        })
    }

    fn add_range_to(
        &self,
        watch: &Arc<Watch>,
        ranges: &mut WatchedRanges,
        argument: &mut RangeArgument,
        start: usize,
        end: usize,
    ) -> Result {
        let slot = Slot::take(&RANGES)?;
        let counters = {
            // Counters cannot be created after the first range was added.
            let mut mappable = self.mappable.lock();
            mappable.used = true;
            mappable.counters.clone()
        };
        let index = ranges.place(counters.as_deref())?;
        let recorder = RangeRecorder {
            watch: watch.clone(),
            start,
            end,
            cookie: argument.cookie,
            counter: counters.map(|counters| (counters, index as usize)),
            removed: Atomic::new(false),
            _slot: slot,
        };
        let mm = watch.watched.mmget_not_zero().ok_or(ESRCH)?;
        let range = KBox::pin_init(
            new_interval_notifier!(&mm, start, end - start, recorder, ()),
            GFP_KERNEL_ACCOUNT,
        )?;
        // An invalidation that was in progress when the notifier was inserted did not call the
        // notifier. `read()` waits for the end of such invalidations.
        argument.value = range.read(
            || Ok(()),
            |(), ()| {
                range
                    .notifier()
                    .counter()
                    .map_or(0, |counter| counter.load(Acquire))
            },
        )?;
        argument.index = index;
        ranges.put(index, range)
    }

    fn remove_range(&self, index: usize) -> Result {
        let range = self.with_ranges(|_, ranges| ranges.take(index))?;
        // Outside of the lock, because this waits for tasks that are invalidating the range.
        KBox::into_inner(Pin::into_inner(range)).unregister()?;
        self.with_ranges(|_, ranges| ranges.give_back(index))
    }
}

/// The process to watch.
struct Target<'a> {
    task: ARef<Task>,
    mm: &'a MmWithUser,
    /// With `MMWATCH_FOLLOW`.
    permission: Option<ptrace::Permission>,
    readable: Arc<PollCondVar>,
}

impl Active {
    fn new(
        target: Target<'_>,
        watcher: &Mm,
        argument: &WatchArgument,
        count_address: usize,
        slot: Slot<MAX_WATCHES>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("mmwatch/{}", target.task.pid()))?;
        let mm = target.mm;
        let watch = Watch::new(target, watcher, argument, count_address)?;
        let drain = Drain::new(watch.rings.len(), watch.stacks)?;
        let drained = watch.clone();
        let thread = kthread::spawn(&name, move |context| drained.drain(context, drain))?;
        watch.waker.populate(thread.waker());
        let ranges = argument.flags & FLAG_RANGES != 0;
        let registration = Recorder::register(&watch, mm, ranges)?;
        watch.notifier.lock().current = Some(registration);
        Ok(Self {
            ranges: ranges.then(|| WatchedRanges {
                ranges: KVVec::new(),
                free: KVVec::new(),
            }),
            _thread: thread,
            watch,
            _slot: slot,
        })
    }
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let readable = Arc::pin_init(new_poll_condvar!(), GFP_KERNEL)?;
        KBox::pin_init(
            pin_init!(Self {
                active <- new_mutex!(None),
                mappable <- new_mutex!(Mappable::NOTHING),
                readable,
            }),
            GFP_KERNEL,
        )
    }

    fn mmap(me: Pin<&Self>, _file: &File, area: &VmaNew) -> Result {
        let mut mappable = me.mappable.lock();
        match (&mappable.watcher, current!().mm()) {
            (None, _) => return Err(EINVAL),
            (Some(watcher), Some(mm)) if is_same(mm, watcher) => {}
            _ => return Err(ESTALE),
        }
        let wanted = (area.end() - area.start()) / size_of::<u64>();
        if wanted > MAX_RANGES {
            return Err(ENOSPC);
        }
        match &mappable.counters {
            Some(counters) if counters.len() >= wanted => counters.map(area),
            None if !mappable.used => {
                let counters = SharedCounters::new(wanted, GFP_KERNEL_ACCOUNT)?;
                // A mapping that fails must not determine the number of counters.
                counters.map(area)?;
                mappable.counters = Some(Arc::new(counters, GFP_KERNEL)?);
                Ok(())
            }
            _ => Err(EBUSY),
        }
    }

    fn ioctl(me: Pin<&Self>, _file: &File, command: u32, word: usize) -> Result<isize> {
        let argument = UserPtr::from_addr(word);
        match command {
            WATCH => {
                let mut bytes = [0; size_of::<WatchArgument>()];
                UserSlice::new(argument, bytes.len())
                    .reader()
                    .read_slice(&mut bytes)?;
                me.begin(&WatchArgument::read_from_bytes(&bytes).map_err(|_| EINVAL)?)?;
            }
            ADD_RANGE => {
                let mut bytes = [0; size_of::<RangeArgument>()];
                let user = || UserSlice::new(argument, size_of::<RangeArgument>());
                user().reader().read_slice(&mut bytes)?;
                let mut range = RangeArgument::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
                me.add_range(&mut range)?;
                if let Err(error) = user().writer().write_slice(range.as_bytes()) {
                    me.remove_range(range.index as usize)?;
                    return Err(error);
                }
            }
            REMOVE_RANGE => me.remove_range(word)?,
            STATUS => {
                let status = me.watch()?.status();
                UserSlice::new(argument, size_of::<StatusArgument>())
                    .writer()
                    .write_slice(status.as_bytes())?;
            }
            UNWATCH => me.end()?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let watch = kiocb.file().get_ref().watch()?;
        let size = size_of::<Event>() + if watch.stacks { size_of::<Stack>() } else { 0 };
        if iov.len() < size {
            return Err(EINVAL);
        }
        let mut batch = Events::new((iov.len() / size).min(READ_EVENTS), watch.stacks)?;
        let mut queue = watch.queue.lock();
        while queue.reading || queue.is_empty() {
            if !queue.reading && queue.ended {
                return Ok(0);
            }
            queue.waiting = queue.reading;
            if kiocb.is_nonblocking() {
                return Err(EAGAIN);
            }
            if watch.readable.wait_interruptible(&mut queue) {
                return Err(ERESTARTSYS);
            }
        }
        queue.copy_to(&mut batch);
        queue.reading = true;
        drop(queue);
        let count = batch.copy_to_iter(iov);
        let mut queue = watch.queue.lock();
        // Events that were not copied remain for the next read.
        queue.consume(&batch, count);
        queue.reading = false;
        if core::mem::take(&mut queue.waiting) {
            watch.readable.notify_all();
        }
        if count == 0 {
            Err(EFAULT)
        } else {
            Ok(count * size)
        }
    }

    fn poll<'a>(me: Pin<&'a Self>, _file: &File, table: &PollTable<'a>) -> Ready {
        // Before the first return: epoll calls this once, and a watch may begin later.
        table.register_wait(&me.get_ref().readable);
        let Ok(watch) = me.watch() else {
            return Ready::ERROR;
        };
        let queue = watch.queue.lock();
        match (queue.is_empty(), queue.ended) {
            (false, _) => Ready::READ,
            (true, false) => Ready::NOTHING,
            (true, true) => Ready::READ | Ready::HANG_UP,
        }
    }
}
