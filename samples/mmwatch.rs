// SPDX-License-Identifier: GPL-2.0

//! mmwatch: see an address space change. What user space sees of it is in `mmwatch.h`.
//!
//! All three abstractions work together here:
//!
//! ```text
//!    who changes the address space            the watch's thread          reader
//!
//!    InvalidateRanges::invalidate_range_start
//!      notes the event in its CPU's ring ---> moves it to the queue ----> read(), poll()
//!      counts it                              (woken once for a batch)
//!      adds the watch to the watched task
//!                 |
//!    the watched task, on its way out
//!      TaskWorkItem::run
//!        writes the count to its memory
//!        watches the program that it has executed
//! ```
//!
//! The notifier neither sleeps nor allocates, and takes no lock but that of the ring, which readers
//! do not.

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
    description: "See an address space change",
    license: "GPL",
}

const MAX_WATCHES: usize = 64;
const MAX_RANGES: usize = 131072;
/// For readers.
const QUEUE_EVENTS: usize = 32768;
/// As many as one call of read() returns at most.
const READ_EVENTS: usize = 256;
/// For the thread, on each CPU.
const RING_EVENTS: usize = 2048;
/// How long the thread lets events gather once there are some, if no ring is half full before that.
const BATCH: Delta = Delta::from_millis(10);

const KIND_RELEASE: u32 = 5;
const KIND_OTHER: u32 = 8;
const KIND_DROPPED: u32 = 9;
const KIND_EXEC: u32 = 10;
const KIND_NOT_FOLLOWED: u32 = 11;
const FLAG_BLOCKABLE: u32 = 1 << 0;
const FLAG_EXECUTED: u32 = 1 << 1;
const COMPAT_CALL: u32 = 1 << 29;
/// Of a watch.
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

/// How many watches there are, and ranges.
static WATCHES: Atomic<usize> = Atomic::new(0);
static RANGES: Atomic<usize> = Atomic::new(0);

/// One of as many as there may be.
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

/// Events, as many as there is place for, and how many more there were.
struct Events {
    events: KVVec<Event>,
    /// One for each event, if they are wanted.
    stacks: KVVec<Stack>,
    dropped: u64,
}

impl Events {
    /// What is not bounded by few is charged to who asks for it.
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
            // There is a place for each event.
            let _ = self.stacks.push_within_capacity(*stack);
        }
    }

    /// Adds others, as many as there is place for.
    fn extend(&mut self, other: &Self) {
        let room = self.events.capacity() - self.events.len();
        let count = room.min(other.events.len());
        // There is place for so many.
        let _ = self
            .events
            .extend_from_slice(&other.events[..count], GFP_KERNEL);
        let stacks = other.stacks.get(..count).unwrap_or_default();
        let _ = self.stacks.extend_from_slice(stacks, GFP_KERNEL);
        self.dropped += (other.events.len() - count) as u64;
    }

    /// Copies the events to a process, each with its stack if they have one. Returns how many were
    /// copied whole.
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

/// What the notifier fills on one CPU and the thread empties.
// A ring's lock is taken on its own CPU; others are not to be on the same line.
#[repr(align(64))]
#[pin_data]
struct Ring {
    #[pin]
    events: SpinLock<Events>,
}

/// What the thread fills and readers empty.
struct Queue {
    events: Events,
    /// The first of them that was not read.
    next: usize,
    /// Nothing comes after what is here.
    ended: bool,
    /// A reader copies events to its process, without the lock: a page of that may have to be
    /// waited for, and another process may decide for how long.
    reading: bool,
    /// Another reader waits for this.
    waiting: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.next == self.events.events.len() && self.events.dropped == 0
    }

    /// Makes room of what was read. Not while a reader copies, which then moves `next`.
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

    /// Copies the next events, as many as `batch` has place for. How many were dropped comes first.
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

    /// Removes the first `count` events of a batch, which were read.
    fn consume(&mut self, batch: &Events, count: usize) {
        let dropped = usize::from(batch.dropped != 0).min(count);
        if dropped != 0 {
            self.events.dropped -= batch.dropped;
        }
        self.next += count - dropped;
    }
}

/// What the thread needs to empty the rings.
struct Drain {
    /// One for each ring: what comes out of it.
    batches: KVec<Events>,
    /// Count, kind, ring and place of each event, to be sorted.
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
    /// Puts what came out of the rings in order.
    fn sort(&mut self) {
        self.order.clear();
        for (number, batch) in self.batches.iter().enumerate() {
            for (place, event) in batch.events.iter().enumerate() {
                // What is no invalidation comes after that which it has the count of.
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

/// Sorts in place. Unlike `sort_unstable()` it neither calls itself nor has scratch space on the
/// stack: that takes a kilobyte for each of some ten calls, of which a kernel's stack has not many.
fn heap_sort<T: Ord>(items: &mut [T]) {
    for root in (0..items.len() / 2).rev() {
        sift_down(items, root);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sift_down(&mut items[..end], 0);
    }
}

/// Makes a heap of what is one but for its root.
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

/// What a watch is told by.
struct Notifier {
    current: Option<Pin<KBox<Registration<Recorder>>>>,
    /// That of the program before, which the thread is to drop.
    retired: Option<Pin<KBox<Registration<Recorder>>>>,
    /// The watch is over: there is to be no other one.
    over: bool,
}

/// What the notifier, the thread, the watched task and readers share.
#[pin_data]
struct Watch {
    /// The task that the count is published by.
    target: ARef<Task>,
    watched: ARef<Mm>,
    /// The address space of who asked: nobody else may read.
    watcher: ARef<Mm>,
    /// How the watcher numbers tasks.
    numbering: Numbering,
    /// What the program that it executes has to keep to, to be watched as well.
    permission: Option<ptrace::Permission>,
    count_address: usize,
    stacks: bool,
    begun: Instant<Monotonic>,
    count: Atomic<u64>,
    published: Atomic<u64>,
    pages: Atomic<u64>,
    dropped: Atomic<u64>,
    /// The address space has ended. What is told of it afterwards, as that its pages go, is no
    /// news.
    ended: Atomic<bool>,
    /// And there is no other one.
    over: Atomic<bool>,
    waker: SetOnce<Waker>,
    /// The thread was woken, and did not look into the rings since.
    awake: Atomic<bool>,
    rings: KVec<Pin<KBox<Ring>>>,
    #[pin]
    queue: Mutex<Queue>,
    #[pin]
    notifier: Mutex<Notifier>,
    /// That of the file, as a poll may still wait for it when the watch is over.
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

    /// Watches the program that was executed, in the task that has done so, before its first
    /// instruction.
    fn run(this: Arc<Watch>, context: &Context<'_>) {
        if let Err(error) = this.watch_next(context) {
            this.note_not_followed(error);
            this.set_over();
        }
    }
}

impl TaskWorkItem<PUBLISH> for Watch {
    type Pointer = Arc<Watch>;

    /// Publishes the count, in the watched task, on its way back to user space.
    fn run(this: Arc<Watch>, context: &Context<'_>) {
        // Writing may change the address space in turn, as when the page was shared with a child.
        for _ in 0..4 {
            let count = this.count.load(Acquire);
            // The task may have executed another program, or be past its end.
            if let Some(mm) = context.mm() {
                if this.count_address != 0 && is_same(mm, &this.watched) {
                    let address = UserPtr::from_addr(this.count_address);
                    let mut writer = UserSlice::new(address, size_of::<u64>()).writer();
                    // If the program has unmapped it, then it does not want to know.
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

/// The number of a system call, as events have it.
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

    /// Notes an event. Called in the notifier.
    fn note(&self, event: Event, mm: &Mm) {
        let task = current!();
        let time = self.begun.elapsed().as_nanos();
        let (pid, tgid) = self.numbering.numbers(task);
        let cpu = CpuId::current().as_u32();
        let stack = self.stacks.then(|| {
            let mut stack = Stack::default();
            // Where somebody else is in a program of his own is nobody's business.
            // The program may have become one that its user may not inspect since it is watched.
            if task.mm().is_some_and(|own| is_same(own, mm))
                && (is_same(mm, &self.watcher) || ptrace::is_dumpable(task))
            {
                user_stack::save(&mut stack);
            }
            stack
        });
        // There is one for each.
        let Some(ring) = self.rings.get(cpu as usize) else {
            return;
        };
        let length = {
            let mut ring = ring.events.lock();
            // Under the lock, so that the counts in a ring go up.
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
        // If the thread was looking into this ring just before, then it had said that it is not
        // awake before that, and this sees it.
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

    /// Nothing comes after what was noted.
    fn set_over(&self) {
        self.over.store(true, Release);
        // It may have looked into the rings just before.
        self.wake();
    }

    /// Notes that what the process executes is not watched, and why.
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
        // It is dropped outside of the lock.
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

    /// Ends what tells of events.
    fn end(&self) {
        let (current, retired) = {
            let mut notifier = self.notifier.lock();
            notifier.over = true;
            (notifier.current.take(), notifier.retired.take())
        };
        // Outside of the lock. There are no more events when the watch has ended, so that callbacks
        // are waited for; if that fails the task is being killed, and they end later.
        for registration in [current, retired].into_iter().flatten() {
            let _ = KBox::into_inner(Pin::into_inner(registration)).unregister();
        }
    }

    /// The body of the watch's thread: brings events from the rings to the queue.
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

    /// Returns whether there will be no more.
    fn move_events(&self, drain: &mut Drain) -> bool {
        // What was noted before that is in the rings.
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

/// Notes that a range is invalidated, or a part of it.
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
    // One that is pending already will publish this as well, and a task that exits has nobody
    // to publish it to.
    if watch.count_address != 0 {
        let _ = task_work::add::<_, PUBLISH>(&watch.target, watch.clone(), Mode::Resume);
    }
}

/// What hears of the address space.
struct Recorder {
    watch: Arc<Watch>,
    /// Only of its end: of what else happens, ranges hear.
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
        // An exiting task has let go of its address space before this; one that executes another
        // program has the new one already.
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
            // Somebody had a hold on the address space for longer than the process: this is not the
            // place to learn what that does now.
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

/// What hears of a range.
struct RangeRecorder {
    watch: Arc<Watch>,
    start: usize,
    end: usize,
    cookie: u64,
    counter: Option<(Arc<SharedCounters>, usize)>,
    /// It is being removed, and was counted for the last time.
    removed: Atomic<bool>,
    _slot: Slot<MAX_RANGES>,
}

impl RangeRecorder {
    fn counter(&self) -> Option<&Atomic<u64>> {
        let (counters, index) = self.counter.as_ref()?;
        counters.get(*index)
    }

    /// Tells who looks at the counter that the range is not what it was.
    fn count(&self) {
        if let Some(counter) = self.counter() {
            counter.fetch_add(1u64, Full);
        }
    }

    /// Counts for the last time.
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
        // A range that is being removed was counted for the last time.
        if self.removed.load(Relaxed) {
            return;
        }
        self.count();
        // The end of all of it is noted once, by who hears of that.
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
    /// The places of those that were taken away.
    free: KVVec<u32>,
}

impl WatchedRanges {
    /// The place of the next one.
    fn place(&mut self, counters: Option<&SharedCounters>) -> Result<u32> {
        if let Some(index) = self.free.last() {
            return Ok(*index);
        }
        let index = self.ranges.len();
        if counters.is_some_and(|counters| index >= counters.len()) {
            return Err(ENOSPC);
        }
        // Nothing is to fail later for lack of these.
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
        // Before it hears of nothing any more.
        range.notifier().count_removed();
        Ok(range)
    }

    /// The place of a range that was taken, and removed: until then, it counts there.
    fn give_back(&mut self, index: usize) -> Result {
        self.free
            .push_within_capacity(index as u32)
            .map_err(|_| ENOMEM)
    }
}

/// A watch, and what keeps it going.
struct Active {
    /// If only these are watched.
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

/// What may be mapped.
struct Mappable {
    /// Who may do so: who watches ranges.
    watcher: Option<ARef<Mm>>,
    /// There are ranges already.
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
    // Apart, as it is taken under the `mmap_lock`, which what is done under the other one may take.
    #[pin]
    mappable: Mutex<Mappable>,
    readable: Arc<PollCondVar>,
}

impl Device {
    /// The watch, if it belongs to the calling process.
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

    /// Fails if the file watches already.
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
            // Checks that the counter can be written. Not under the lock: the page may be one that
            // a user has to bring in.
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
        let active = self.active.lock().take();
        let Some(active) = active else {
            return Ok(());
        };
        *self.mappable.lock() = Mappable::NOTHING;
        let watch = active.watch.clone();
        // Outside of the lock: it waits for the notifier and for the thread.
        drop(active);
        watch.queue.lock().ended = true;
        watch.readable.notify_all();
        Ok(())
    }

    /// Calls `f` with the ranges of a watch of the calling process.
    fn with_ranges<R>(
        &self,
        f: impl FnOnce(&Arc<Watch>, &mut WatchedRanges) -> Result<R>,
    ) -> Result<R> {
        let mut guard = self.active.lock();
        let active = Option::as_mut(&mut *guard).ok_or(EINVAL)?;
        Self::check_caller(&active.watch)?;
        f(&active.watch, active.ranges.as_mut().ok_or(EINVAL)?)
    }

    /// Adds a range, and says in `argument` which counter it has.
    fn add_range(&self, argument: &mut RangeArgument) -> Result {
        if argument.reserved != 0 {
            return Err(EINVAL);
        }
        let start = usize::try_from(argument.start).map_err(|_| EOVERFLOW)?;
        let length = usize::try_from(argument.length).map_err(|_| EOVERFLOW)?;
        let end = start.checked_add(length).ok_or(EOVERFLOW)?;
        self.with_ranges(|watch, ranges| {
            let slot = Slot::take(&RANGES)?;
            let counters = {
                // From now on they are what they are.
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
                new_interval_notifier!(&mm, start, length, recorder, ()),
                GFP_KERNEL_ACCOUNT,
            )?;
            // Who was in the middle of changing it when it was added has not told it so, and has to
            // be through with that.
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
        })
    }

    fn remove_range(&self, index: usize) -> Result {
        let range = self.with_ranges(|_, ranges| ranges.take(index))?;
        // Outside of the lock: this waits for tasks that are about to change the range.
        KBox::into_inner(Pin::into_inner(range)).unregister()?;
        self.with_ranges(|_, ranges| ranges.give_back(index))
    }
}

/// What is to be watched.
struct Target<'a> {
    task: ARef<Task>,
    mm: &'a MmWithUser,
    /// If what it executes is to be watched as well.
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
                // One that is refused does not decide how many there are.
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
        // Events that were not copied stay for the next read.
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
        let Ok(watch) = me.watch() else {
            return Ready::ERROR;
        };
        table.register_wait(&me.get_ref().readable);
        let queue = watch.queue.lock();
        match (queue.is_empty(), queue.ended) {
            (false, _) => Ready::READ,
            (true, false) => Ready::NOTHING,
            (true, true) => Ready::READ | Ready::HANG_UP,
        }
    }
}
