// SPDX-License-Identifier: GPL-2.0

//! A watch: its thread, which moves events to the queue, and its works on the watched task.

use super::{
    abi::{
        Event,
        Stack,
        StatusArgument,
        WatchArgument,
        COMPAT_CALL,
        FLAG_STACKS,
        KIND_DROPPED,
        KIND_EXEC,
        KIND_NOT_FOLLOWED,
        KIND_RELEASE, //
    },
    device::Target,
    queue::{
        Drain,
        Events,
        Queue,
        Ring, //
    },
    recorder::Recorder,
    BATCH,
    QUEUE_EVENTS,
    RING_EVENTS, //
};
use kernel::{
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    mm::Mm,
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        poll::PollCondVarBox,
        Arc,
        Mutex,
        SetOnce, //
    },
    task::Task,
    time::{
        Instant,
        Monotonic, //
    },
    uaccess::UserSlice, //
};
use tether::{
    kthread::{
        self,
        Waker, //
    },
    mm::mmu_notifier::Registration,
    pid::Numbering,
    ptrace,
    syscall,
    task_work::{
        impl_has_task_work,
        Context,
        TaskWork,
        TaskWorkItem, //
    },
    user_stack, //
};

/// The MMU notifiers of a watch.
pub(super) struct Notifier {
    pub(super) current: Option<Pin<KBox<Registration<Recorder>>>>,
    /// The notifier of the previous program, to be dropped by the thread of the watch.
    pub(super) retired: Option<Pin<KBox<Registration<Recorder>>>>,
    /// The watch has ended: no further notifier may be registered.
    pub(super) over: bool,
}

/// The state shared by the notifier, the thread of the watch, the watched task and readers.
#[pin_data]
pub(super) struct Watch {
    /// The task that publishes the count.
    pub(super) target: ARef<Task>,
    pub(super) watched: ARef<Mm>,
    /// The address space of the process that started the watch; only this process may read.
    pub(super) watcher: ARef<Mm>,
    /// The pid namespace of the watcher, in which events report tasks.
    numbering: Numbering,
    /// The permission to inspect the process, with `MMWATCH_FOLLOW`: tested again after each exec.
    pub(super) permission: Option<ptrace::Permission>,
    pub(super) count_address: usize,
    pub(super) stacks: bool,
    begun: Instant<Monotonic>,
    count: Atomic<u64>,
    published: Atomic<u64>,
    pub(super) pages: Atomic<u64>,
    dropped: Atomic<u64>,
    /// The address space is gone. Invalidations after that, as by the release of its pages, are not
    /// recorded.
    pub(super) ended: Atomic<bool>,
    /// The address space is gone, and no other one is watched afterwards.
    over: Atomic<bool>,
    pub(super) waker: SetOnce<Waker>,
    /// The thread was woken, and has not yet checked the rings since.
    awake: Atomic<bool>,
    pub(super) rings: KVec<Pin<KBox<Ring>>>,
    #[pin]
    pub(super) queue: Mutex<Queue>,
    #[pin]
    pub(super) notifier: Mutex<Notifier>,
    /// Owned by the file as well, because a poll may still wait for it after the end of the watch.
    pub(super) readable: Arc<PollCondVarBox>,
    #[pin]
    publish: TaskWork<Watch, PUBLISH>,
    #[pin]
    follow: TaskWork<Watch, FOLLOW>,
}

pub(super) const PUBLISH: u64 = 0;
pub(super) const FOLLOW: u64 = 1;

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

pub(super) fn is_same(a: &Mm, b: &Mm) -> bool {
    core::ptr::eq(a.as_raw(), b.as_raw())
}

impl Watch {
    pub(super) fn new(
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
    pub(super) fn note(&self, event: Event, mm: &Mm) {
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
    pub(super) fn set_over(&self) {
        self.over.store(true, Release);
        // The thread may have tested `over` and the rings just before this store.
        self.wake();
    }

    /// Records that the program which the process has executed is not watched, and the reason.
    pub(super) fn note_not_followed(&self, error: Error) {
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
        if self.notifier.lock().over {
            return Ok(());
        }
        // Without the lock: this waits for the `mmap_lock`, and the end of the watch takes the
        // lock.
        let next = Recorder::register(self, mm, false)?;
        let mut notifier = self.notifier.lock();
        if notifier.over {
            return Ok(());
        }
        // The thread of the watch drops the old notifier, outside of this lock.
        let current = notifier.current.replace(next);
        let older = core::mem::replace(&mut notifier.retired, current);
        self.ended.store(false, Relaxed);
        drop(notifier);
        drop(older);
        let event = Event {
            kind: KIND_EXEC,
            ..Event::default()
        };
        self.note(event, mm);
        Ok(())
    }

    /// Unregisters the notifiers.
    pub(super) fn end(&self) {
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
    pub(super) fn drain(&self, context: &kthread::Context<'_>, mut drain: Drain) {
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

    pub(super) fn status(&self) -> StatusArgument {
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
