// SPDX-License-Identifier: GPL-2.0

//! The file operations of `/dev/mmwatch`.

use super::{
    abi::{
        Event,
        RangeArgument,
        Stack,
        StatusArgument,
        WatchArgument,
        ADD_RANGE,
        FLAG_FOLLOW,
        FLAG_RANGES,
        FLAG_STACKS,
        REMOVE_RANGE,
        STATUS,
        UNWATCH,
        WATCH, //
    },
    queue::{
        Drain,
        Events, //
    },
    ranges::{
        RangeRecorder,
        WatchedRanges, //
    },
    recorder::Recorder,
    watch::{
        is_same,
        Watch, //
    },
    Slot,
    MAX_RANGES,
    MAX_WATCHES,
    RANGES,
    READ_EVENTS,
    WATCHES, //
};
use kernel::{
    fs::File,
    iov::IovIterDest,
    mm::{
        virt::VmaNew,
        Mm,
        MmWithUser, //
    },
    new_mutex,
    new_poll_condvar,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic, //
        },
        poll::PollCondVar,
        Arc,
        Mutex, //
    },
    task::Task,
    uaccess::UserSlice, //
};
use tether::{
    kthread::{
        self,
        Thread, //
    },
    misc_device::{
        Kiocb,
        MiscDevice,
        MiscDeviceRegistration,
        PollTable,
        Ready,
        TransientFile, //
    },
    mm::{
        interval_notifier::new_interval_notifier,
        shared_counters::SharedCounters, //
    },
    ptrace, //
};

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
pub(super) struct Device {
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
            // A new watch may begin when the lock is released, which then has a mappable of its own.
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
pub(super) struct Target<'a> {
    pub(super) task: ARef<Task>,
    pub(super) mm: &'a MmWithUser,
    /// With `MMWATCH_FOLLOW`.
    pub(super) permission: Option<ptrace::Permission>,
    pub(super) readable: Arc<PollCondVar>,
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
