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
        INTERFACE,
        REMOVE_RANGE,
        STATUS,
        UNWATCH,
        VERSION,
        WATCH, //
    },
    queue::{
        Drain,
        Events, //
    },
    ranges::{
        RangeRecorder,
        WatchedRange,
        WatchedRanges, //
    },
    recorder::Recorder,
    watch::{
        is_same,
        Watch, //
    },
    Slot,
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
    prelude::*,
    static_lock_class,
    str::CString,
    sync::{
        aref::ARef,
        atomic::Atomic,
        poll::PollCondVarBox,
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
    mm::mmu_interval_notifier::new_mmu_interval_notifier,
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

/// What a file does.
enum State {
    Idle,
    /// A call is beginning a watch.
    Beginning,
    Watching(Active),
}

/// An open file.
#[pin_data]
pub(super) struct Device {
    /// Nobody waits for an address space while they hold this lock. The holder of an address
    /// space's lock may be another process, which decides how long it holds it, and which takes
    /// this lock in `mmap()`.
    #[pin]
    state: Mutex<State>,
    readable: Arc<PollCondVarBox>,
}

/// A file in [`State::Beginning`], which is idle again if the watch does not begin.
struct Beginning<'a>(&'a Device);

impl<'a> Beginning<'a> {
    fn new(device: &'a Device) -> Result<Self> {
        let mut state = device.state.lock();
        match &*state {
            State::Idle => *state = State::Beginning,
            State::Beginning => return Err(EBUSY),
            State::Watching(active) => {
                Device::check_caller(&active.watch)?;
                return Err(EBUSY);
            }
        }
        drop(state);
        Ok(Self(device))
    }

    fn succeed(self, active: Active) {
        *self.0.state.lock() = State::Watching(active);
        // From here on, another call may end this watch and begin the next one.
        core::mem::forget(self);
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        *self.0.state.lock() = State::Idle;
    }
}

impl Device {
    /// Calls `f` with the watch, if the calling process has started it.
    fn with_active<R>(&self, f: impl FnOnce(&mut Active) -> Result<R>) -> Result<R> {
        let mut state = self.state.lock();
        let State::Watching(active) = &mut *state else {
            return Err(EINVAL);
        };
        Self::check_caller(&active.watch)?;
        f(active)
    }

    fn watch(&self) -> Result<Arc<Watch>> {
        self.with_active(|active| Ok(active.watch.clone()))
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
        if argument.flags & !(FLAG_RANGES | FLAG_STACKS | FLAG_FOLLOW) != 0 {
            return Err(EINVAL);
        }
        let ranges = argument.flags & FLAG_RANGES != 0;
        let follow = argument.flags & FLAG_FOLLOW != 0;
        if follow && (ranges || argument.pid == 0) {
            return Err(EINVAL);
        }
        let count_address = usize::try_from(argument.count_address).map_err(|_| EINVAL)?;
        if count_address % align_of::<u64>() != 0 {
            return Err(EINVAL);
        }
        let beginning = Beginning::new(self)?;
        if argument.pid == 0 && count_address != 0 {
            // Check that the count can be written.
            UserSlice::new(UserPtr::from_addr(count_address), size_of::<u64>())
                .writer()
                .write(&0u64)?;
        }
        let slot = Slot::take(&WATCHES)?;
        beginning.succeed(if argument.pid == 0 {
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
        Ok(())
    }

    fn end(&self) -> Result {
        let active = {
            let mut state = self.state.lock();
            match &*state {
                State::Watching(active) => Self::check_caller(&active.watch)?,
                _ => return Err(EINVAL),
            }
            core::mem::replace(&mut *state, State::Idle)
        };
        let State::Watching(active) = active else {
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
        self.with_active(|active| f(&active.watch, active.ranges.as_mut().ok_or(EINVAL)?))
    }

    /// Calls `f` with the ranges of `watch`, unless that watch has ended.
    fn with_ranges_of<R>(
        &self,
        watch: &Arc<Watch>,
        f: impl FnOnce(&mut WatchedRanges) -> Result<R>,
    ) -> Result<R> {
        self.with_ranges(|current, ranges| {
            if !Arc::ptr_eq(current, watch) {
                return Err(EINVAL);
            }
            f(ranges)
        })
    }

    /// Adds a range. Stores the index and the value of its counter in `argument`. Returns the watch
    /// that the range was added to.
    fn add_range(&self, argument: &mut RangeArgument) -> Result<Arc<Watch>> {
        if argument.reserved != 0 {
            return Err(EINVAL);
        }
        let start = usize::try_from(argument.start).map_err(|_| EOVERFLOW)?;
        let length = usize::try_from(argument.length).map_err(|_| EOVERFLOW)?;
        let end = start.checked_add(length).ok_or(EOVERFLOW)?;
        let slot = Slot::take(&RANGES)?;
        let (watch, place) =
            self.with_ranges(|watch, ranges| Ok((watch.clone(), ranges.place()?)))?;
        let index = place.index;
        let recorder = RangeRecorder {
            watch: watch.clone(),
            start,
            end,
            cookie: argument.cookie,
            counter: place.counters.map(|counters| (counters, index as usize)),
            removed: Atomic::new(false),
            _slot: slot,
        };
        // Without the lock of the file, because this waits for the `mmap_lock`, and for
        // invalidations in progress.
        let added = Self::register_range(recorder, argument).and_then(|range| {
            let mut range = Some(range);
            self.with_ranges_of(&watch, |ranges| {
                ranges.put(index, range.take());
                Ok(())
            })
        });
        if added.is_err() {
            let _ = self.with_ranges_of(&watch, |ranges| {
                ranges.not_added(index);
                Ok(())
            });
        }
        argument.index = index;
        added.map(|()| watch)
    }

    /// Registers the notifier of a range. Stores the value of its counter in `argument`.
    fn register_range(
        recorder: RangeRecorder,
        argument: &mut RangeArgument,
    ) -> Result<WatchedRange> {
        let mm = recorder.watch.watched.mmget_not_zero().ok_or(ESRCH)?;
        let (start, length) = (recorder.start, recorder.end - recorder.start);
        let range = KBox::pin_init(
            new_mmu_interval_notifier!(&mm, start, length, recorder, ()),
            GFP_KERNEL_ACCOUNT,
        )?;
        // An invalidation that was in progress when the notifier was inserted did not call the
        // notifier. `read()` waits for the end of such invalidations.
        let value = range.read(
            || Ok(()),
            |(), ()| {
                range
                    .notifier()
                    .counter()
                    .map_or(0, |counter| counter.load())
            },
        );
        match value {
            Ok(value) => argument.value = value,
            Err(error) => {
                // The next range may get the same counter.
                range.notifier().count_removed();
                return Err(error);
            }
        }
        Ok(range)
    }

    fn remove_range(&self, index: usize) -> Result {
        self.remove_range_of(&self.watch()?, index)
    }

    fn remove_range_of(&self, watch: &Arc<Watch>, index: usize) -> Result {
        let range = self.with_ranges_of(watch, |ranges| ranges.take(index))?;
        // Without the lock, because this waits for tasks that are invalidating the range.
        KBox::into_inner(Pin::into_inner(range)).unregister()?;
        // If the watch has ended meanwhile, so have its indices.
        let _ = self.with_ranges_of(watch, |ranges| {
            ranges.give_back(index as u32);
            Ok(())
        });
        Ok(())
    }
}

/// The process to watch.
pub(super) struct Target<'a> {
    pub(super) task: ARef<Task>,
    pub(super) mm: &'a MmWithUser,
    /// With `MMWATCH_FOLLOW`.
    pub(super) permission: Option<ptrace::Permission>,
    pub(super) readable: Arc<PollCondVarBox>,
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
            ranges: ranges.then(WatchedRanges::new),
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
        let readable = PollCondVarBox::new(c"mmwatch", static_lock_class!())?;
        let readable = Arc::new(readable, GFP_KERNEL_ACCOUNT)?;
        KBox::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State::Idle),
                readable,
            }),
            GFP_KERNEL,
        )
    }

    fn mmap(me: Pin<&Self>, _file: &File, area: &VmaNew) -> Result {
        let wanted = (area.end() - area.start()) / size_of::<u64>();
        me.with_ranges(|_, ranges| ranges.map(area, wanted))
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
                let watch = me.add_range(&mut range)?;
                if let Err(error) = user().writer().write_slice(range.as_bytes()) {
                    // The watch may have ended, and its range with it.
                    let _ = me.remove_range_of(&watch, range.index as usize);
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
            VERSION => UserSlice::new(argument, size_of::<u32>())
                .writer()
                .write(&INTERFACE)?,
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
