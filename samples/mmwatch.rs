// SPDX-License-Identifier: GPL-2.0

//! mmwatch: see an address space change. What user space sees of it is in `mmwatch.h`.
//!
//! All three abstractions work together here:
//!
//! ```text
//!    who changes the address space            the watch's thread          reader
//!
//!    InvalidateRanges::invalidate_range_start
//!      notes the event in a ring -----------> moves it to the queue ----> read(), poll()
//!      counts it                              (woken once for a batch)
//!      adds the watch to the watched task
//!                 |
//!    the watched task, on its way out
//!      TaskWorkItem::run
//!        writes the count to its memory
//! ```
//!
//! The notifier neither sleeps nor allocates, and takes no lock but that of the ring.

use kernel::{
    cpu::CpuId,
    fs::{
        File,
        Kiocb, //
    },
    ioctl::{
        _IO,
        _IOR,
        _IOW, //
    },
    iov::IovIterDest,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    mm::{
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
        poll::{
            PollCondVar,
            PollTable, //
        },
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
    misc_poll::{
        is_nonblocking,
        PollMiscDevice,
        PollMiscDeviceRegistration,
        Ready, //
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
        }, //
    },
    ptrace,
    syscall,
    task_work::{
        self,
        impl_has_task_work,
        Context,
        Mode,
        TaskWork,
        TaskWorkItem, //
    }, //
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
/// For the thread.
const RING_EVENTS: usize = 4096;
/// How long the thread lets events gather once there are some.
const BATCH: Delta = Delta::from_millis(2);

const KIND_RELEASE: u32 = 5;
const KIND_OTHER: u32 = 8;
const KIND_DROPPED: u32 = 9;
const FLAG_BLOCKABLE: u32 = 1 << 0;
const FLAG_EXECUTED: u32 = 1 << 1;
/// Of a watch.
const FLAG_RANGES: u32 = 1 << 0;

const WATCH: u32 = _IOW::<WatchArgument>(0xB8, 1);
const ADD_RANGE: u32 = _IOW::<RangeArgument>(0xB8, 4);
const STATUS: u32 = _IOR::<StatusArgument>(0xB8, 2);
const UNWATCH: u32 = _IO(0xB8, 3);

/// `struct mmwatch_event`.
#[derive(Clone, Copy, IntoBytes, zerocopy_derive::Immutable)]
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

/// `struct mmwatch_range`.
#[derive(FromBytes)]
#[repr(C)]
struct RangeArgument {
    start: u64,
    length: u64,
    cookie: u64,
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
    _device: PollMiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for MmwatchModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- PollMiscDeviceRegistration::register(MiscDeviceOptions {
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

/// What the notifier fills and the thread empties.
struct Ring {
    events: KVVec<Event>,
    dropped: u64,
    /// The address space is gone: nothing comes after what is here.
    ended: bool,
}

/// What the thread fills and readers empty.
struct Queue {
    events: KVVec<Event>,
    /// The first of them that was not read.
    next: usize,
    /// How many did not fit, and were not told to a reader yet.
    dropped: u64,
    /// Nothing comes after what is here.
    ended: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.next == self.events.len() && self.dropped == 0
    }

    fn push(&mut self, event: Event) {
        if self.events.push_within_capacity(event).is_err() {
            self.dropped += 1;
        }
    }

    /// Makes room of what was read.
    fn compact(&mut self) {
        if self.next == 0 {
            return;
        }
        self.events.copy_within(self.next.., 0);
        self.events.truncate(self.events.len() - self.next);
        self.next = 0;
    }

    /// The next event for a reader.
    fn peek(&self) -> Option<Event> {
        if self.dropped != 0 {
            return Some(Event {
                time: 0,
                start: self.dropped,
                end: 0,
                count: 0,
                kind: KIND_DROPPED,
                flags: 0,
                pid: 0,
                tgid: 0,
                syscall: -1,
                cpu: 0,
                latency: 0,
                reserved: 0,
                cookie: 0,
            });
        }
        self.events.get(self.next).copied()
    }

    fn consume(&mut self) {
        if self.dropped != 0 {
            self.dropped = 0;
        } else {
            self.next += 1;
        }
    }
}

/// What the notifier, the thread, the watched task and readers share.
#[pin_data]
struct Watch {
    /// The task that the count is published by.
    target: ARef<Task>,
    watched: ARef<Mm>,
    /// The address space of who asked: nobody else may read.
    watcher: ARef<Mm>,
    count_address: usize,
    begun: Instant<Monotonic>,
    count: Atomic<u64>,
    published: Atomic<u64>,
    pages: Atomic<u64>,
    dropped: Atomic<u64>,
    /// The address space has ended. What is told of it afterwards, as that its pages go, is no news.
    ended: Atomic<bool>,
    waker: SetOnce<Waker>,
    #[pin]
    ring: SpinLock<Ring>,
    #[pin]
    queue: Mutex<Queue>,
    #[pin]
    readable: PollCondVar,
    #[pin]
    publish: TaskWork<Watch>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Watch { self.publish }
}

impl TaskWorkItem for Watch {
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

fn is_same(a: &Mm, b: &Mm) -> bool {
    core::ptr::eq(a.as_raw(), b.as_raw())
}

impl Watch {
    fn new(
        target: ARef<Task>,
        mm: &MmWithUser,
        watcher: &Mm,
        count_address: usize,
    ) -> Result<Arc<Self>> {
        let ring = Ring {
            events: KVVec::with_capacity(RING_EVENTS, GFP_KERNEL)?,
            dropped: 0,
            ended: false,
        };
        let queue = Queue {
            events: KVVec::with_capacity(QUEUE_EVENTS, GFP_KERNEL)?,
            next: 0,
            dropped: 0,
            ended: false,
        };
        Arc::pin_init(
            pin_init!(Self {
                target,
                watched: ARef::from(&**mm),
                watcher: ARef::from(watcher),
                count_address,
                begun: Instant::now(),
                count: Atomic::new(0),
                published: Atomic::new(0),
                pages: Atomic::new(0),
                dropped: Atomic::new(0),
                ended: Atomic::new(false),
                waker: SetOnce::new(),
                ring <- new_spinlock!(ring),
                queue <- new_mutex!(queue),
                readable <- new_poll_condvar!(),
                publish <- TaskWork::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Notes an event. Called in the notifier.
    fn note(&self, kind: u32, flags: u32, start: usize, end: usize, cookie: u64) {
        let task = current!();
        let time = self.begun.elapsed().as_nanos();
        let (cpu, syscall) = (CpuId::current().as_u32(), syscall::current_number());
        let (first, dropped) = {
            let mut ring = self.ring.lock();
            // Under the lock, so that the counts in the ring go up.
            let count = self.count.load(Relaxed) + u64::from(kind != KIND_RELEASE);
            self.count.store(count, Release);
            let event = Event {
                time: time as u64,
                start: start as u64,
                end: end as u64,
                count,
                kind,
                flags,
                pid: task.pid(),
                tgid: task.tgid(),
                syscall: syscall.map_or(-1, |number| number as i32),
                cpu,
                latency: u32::try_from(self.begun.elapsed().as_nanos() - time).unwrap_or(u32::MAX),
                reserved: 0,
                cookie,
            };
            let first = ring.events.is_empty();
            let dropped = ring.events.push_within_capacity(event).is_err();
            ring.dropped += u64::from(dropped);
            ring.ended |= kind == KIND_RELEASE;
            (first, dropped)
        };
        if dropped {
            self.dropped.fetch_add(1u64, Relaxed);
        }
        if first {
            if let Some(waker) = self.waker.as_ref() {
                waker.wake();
            }
        }
    }

    /// The body of the watch's thread: brings events from the ring to the queue.
    fn drain(&self, context: &kthread::Context<'_>, mut spare: KVVec<Event>) {
        loop {
            let stop = context.wait_until(|| !self.ring.lock().events.is_empty())
                == kthread::Wake::Stopped
                || context.sleep_for(BATCH) == kthread::Wake::Stopped;
            let (dropped, ended) = {
                let mut ring = self.ring.lock();
                core::mem::swap(&mut ring.events, &mut spare);
                (core::mem::take(&mut ring.dropped), ring.ended)
            };
            {
                let mut queue = self.queue.lock();
                queue.compact();
                let before = queue.dropped;
                for event in spare.drain_all() {
                    queue.push(event);
                }
                self.dropped.fetch_add(queue.dropped - before, Relaxed);
                queue.dropped += dropped;
                queue.ended |= ended;
                self.readable.notify_all();
            }
            if stop {
                return;
            }
        }
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
    watch.note(kind, flags, start, end, cookie);
    // One that is pending already will publish this as well, and a task that exits has nobody
    // to publish it to.
    let _ = task_work::add(&watch.target, watch.clone(), Mode::Resume);
}

/// What hears of the address space.
struct Recorder {
    watch: Arc<Watch>,
    /// Only of its end: of what else happens, ranges hear.
    end_only: bool,
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

    fn release(&self, _mm: &Mm) {
        let task = current!();
        // An exiting task has let go of its address space before this; one that executes another
        // program has the new one already.
        let executed = task.tgid() == self.watch.target.tgid()
            && task
                .mm()
                .is_some_and(|mm| !is_same(mm, &self.watch.watched));
        let flags = FLAG_BLOCKABLE | if executed { FLAG_EXECUTED } else { 0 };
        self.watch.ended.store(true, Relaxed);
        self.watch.note(KIND_RELEASE, flags, 0, usize::MAX, 0);
    }
}

/// What hears of a range.
struct RangeRecorder {
    watch: Arc<Watch>,
    start: usize,
    end: usize,
    cookie: u64,
    _slot: Slot<MAX_RANGES>,
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
        // The end of all of it is noted once, by who hears of that.
        if range.event() != MmuEvent::Release {
            let (start, end) = (range.start().max(self.start), range.end().min(self.end));
            note_range(&self.watch, range, start, end, self.cookie);
        }
    }
}

/// A watch, and what keeps it going. They end in this order.
struct Active {
    _registration: Pin<KBox<Registration<Recorder>>>,
    /// If only these are watched.
    ranges: Option<KVVec<Pin<KBox<IntervalRegistration<RangeRecorder>>>>>,
    _thread: Thread<()>,
    watch: Arc<Watch>,
    _slot: Slot<MAX_WATCHES>,
}

/// An open file.
#[pin_data]
struct Device {
    #[pin]
    active: Mutex<Option<Active>>,
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

    fn begin(&self, argument: &WatchArgument) -> Result {
        let task = current!();
        let own = task.mm().ok_or(EINVAL)?;
        if argument.flags & !FLAG_RANGES != 0 {
            return Err(EINVAL);
        }
        let ranges = argument.flags & FLAG_RANGES != 0;
        let count_address = usize::try_from(argument.count_address).map_err(|_| EINVAL)?;
        if !count_address.is_multiple_of(align_of::<u64>()) {
            return Err(EINVAL);
        }
        let mut active = self.active.lock();
        if let Some(active) = active.as_ref() {
            Self::check_caller(&active.watch)?;
            return Err(EBUSY);
        }
        let slot = Slot::take(&WATCHES)?;
        *active = Some(if argument.pid == 0 {
            if count_address != 0 {
                // Also tells whether it can be written.
                let address = UserPtr::from_addr(count_address);
                UserSlice::new(address, size_of::<u64>())
                    .writer()
                    .write(&0u64)?;
            }
            Active::new(ARef::from(&**task), own, own, count_address, ranges, slot)?
        } else {
            if count_address != 0 {
                return Err(EINVAL);
            }
            let tracee = ptrace::tracee(argument.pid)?;
            Active::new(tracee.task, &tracee.mm, own, 0, ranges, slot)?
        });
        Ok(())
    }

    fn add_range(&self, argument: &RangeArgument) -> Result {
        let mut guard = self.active.lock();
        let active = Option::as_mut(&mut *guard).ok_or(EINVAL)?;
        Self::check_caller(&active.watch)?;
        let ranges = active.ranges.as_mut().ok_or(EINVAL)?;
        let start = usize::try_from(argument.start).map_err(|_| EOVERFLOW)?;
        let length = usize::try_from(argument.length).map_err(|_| EOVERFLOW)?;
        let end = start.checked_add(length).ok_or(EOVERFLOW)?;
        let recorder = RangeRecorder {
            watch: active.watch.clone(),
            start,
            end,
            cookie: argument.cookie,
            _slot: Slot::take(&RANGES)?,
        };
        // What is not bounded by few is charged to who asks for it.
        ranges.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let mm = active.watch.watched.mmget_not_zero().ok_or(ESRCH)?;
        let range = KBox::pin_init(
            new_interval_notifier!(&mm, start, length, recorder, ()),
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(ranges.push(range, GFP_KERNEL_ACCOUNT)?)
    }
}

impl Active {
    fn new(
        target: ARef<Task>,
        mm: &MmWithUser,
        watcher: &Mm,
        count_address: usize,
        ranges: bool,
        slot: Slot<MAX_WATCHES>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("mmwatch/{}", target.pid()))?;
        let watch = Watch::new(target, mm, watcher, count_address)?;
        let spare = KVVec::with_capacity(RING_EVENTS, GFP_KERNEL)?;
        let drained = watch.clone();
        let thread = kthread::spawn(&name, move |context| drained.drain(context, spare))?;
        watch.waker.populate(thread.waker());
        let recorder = Recorder {
            watch: watch.clone(),
            end_only: ranges,
        };
        Ok(Self {
            _registration: KBox::pin_init(Registration::new(mm, recorder), GFP_KERNEL)?,
            ranges: ranges.then(KVVec::new),
            _thread: thread,
            watch,
            _slot: slot,
        })
    }
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(pin_init!(Self { active <- new_mutex!(None) }), GFP_KERNEL)
    }

    fn ioctl(me: Pin<&Self>, _file: &File, command: u32, argument: usize) -> Result<isize> {
        let argument = UserPtr::from_addr(argument);
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
                UserSlice::new(argument, bytes.len())
                    .reader()
                    .read_slice(&mut bytes)?;
                me.add_range(&RangeArgument::read_from_bytes(&bytes).map_err(|_| EINVAL)?)?;
            }
            STATUS => {
                let status = me.watch()?.status();
                UserSlice::new(argument, size_of::<StatusArgument>())
                    .writer()
                    .write_slice(status.as_bytes())?;
            }
            UNWATCH => {
                me.watch()?;
                let active = me.active.lock().take();
                if let Some(active) = active {
                    let watch = active.watch.clone();
                    // Outside of the lock: it waits for the notifier and for the thread.
                    drop(active);
                    watch.queue.lock().ended = true;
                    watch.readable.notify_all();
                }
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let watch = kiocb.file().get_ref().watch()?;
        if iov.len() < size_of::<Event>() {
            return Err(EINVAL);
        }
        let mut queue = watch.queue.lock();
        while queue.is_empty() {
            if queue.ended {
                return Ok(0);
            }
            if is_nonblocking(&kiocb) {
                return Err(EAGAIN);
            }
            if watch.readable.wait_interruptible(&mut queue) {
                return Err(ERESTARTSYS);
            }
        }
        let mut read = 0;
        while iov.len() >= size_of::<Event>() {
            let Some(event) = queue.peek() else {
                break;
            };
            let copied = iov.copy_to_iter(event.as_bytes());
            if copied < size_of::<Event>() {
                // What was not copied whole stays for the next read.
                return if read == 0 { Err(EFAULT) } else { Ok(read) };
            }
            queue.consume();
            read += copied;
        }
        Ok(read)
    }
}

impl PollMiscDevice for Device {
    fn poll(me: Pin<&Self>, file: &File, table: &PollTable<'_>) -> Ready {
        let Ok(watch) = me.watch() else {
            return Ready::ERROR;
        };
        table.register_wait(file, &watch.readable);
        let queue = watch.queue.lock();
        match (queue.is_empty(), queue.ended) {
            (false, _) => Ready::READ,
            (true, false) => Ready::NOTHING,
            (true, true) => Ready::READ | Ready::HANG_UP,
        }
    }
}
