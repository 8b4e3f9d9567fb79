// SPDX-License-Identifier: GPL-2.0

//! One kind for each type of the API that owns a resource: its creation, use, end and leak. The
//! modules `leak` and `test_torture` include this file.

use core::{
    marker::PhantomData,
    mem::needs_drop, //
};
use kernel::{
    cpu::CpuId,
    fs::File,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full, //
        },
        Arc,
        Completion,
        Mutex, //
    },
    task::Task,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use ledger::{
    ledger_dropped,
    ledger_forgotten,
    ledger_made,
    Kind, //
};
use tether::{
    fd,
    kthread::{
        self,
        worker::{
            impl_has_kthread_delayed_work,
            impl_has_kthread_work,
            KthreadDelayedWork,
            KthreadWork,
            KthreadWorkItem,
            KthreadWorker,
            WorkContext, //
        },
        Builder,
        Exit,
        Parkable,
        Plain,
        Policy,
        Thread,
        Unstarted,
        Wake,
        Waker, //
    },
    misc_device::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration,
        PollTable,
        Ready,
        TransientFile, //
    },
    mm::{
        hmm::{
            HmmRange,
            Pfn,
            Request, //
        },
        mirror::{
            new_mirror,
            Mirror,
            MirrorDevice, //
        },
        mmu_interval_notifier::{
            new_mmu_interval_notifier,
            Invalidate,
            InvalidateInTwoPasses,
            MmuIntervalNotifier,
            OnePass,
            Registration as IntervalRegistration,
            Shadow,
            TwoPasses, //
        },
        mmu_notifier::{
            Age,
            InvalidateRanges,
            MmuNotifier,
            MmuNotifierRange,
            Ranges,
            Registration,
            TryInvalidateRanges,
            TryRanges,
            WithAge,
            WouldSleep, //
        },
        shared_counters::SharedCounters,
        shared_notifier::{
            Shared,
            SharedNotifier, //
        },
        Mm,
        MmWithUser, //
    },
    pid,
    ptrace::{
        self,
        Permission,
        Tracee, //
    },
    syscall::SyscallContext,
    task_work::{
        self,
        impl_has_task_work,
        Call,
        Cancel,
        Context,
        NotifyMode,
        Ordered,
        Pending,
        TaskWork,
        TaskWorkItem, //
    },
    tether::Refused, //
};

/// A member of each object, which counts its creation and drop in the ledger.
pub(crate) struct Counted(Kind);

impl Counted {
    fn new(kind: Kind) -> Self {
        ledger_made(kind);
        Self(kind)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ledger_dropped(self.0);
    }
}

/// A created object.
pub(crate) trait Thing: Send {
    /// Uses the object; `random` selects the operation.
    fn work(&self, random: u32) -> Result;

    /// Ends the object by an operation other than drop, if there is one.
    fn finish(&mut self, random: u32) -> Result;

    fn forget(&mut self);
}

/// A type of which a [`Thing`] can be made.
trait Usable: Send + Sized + 'static {
    fn work(&self, _random: u32) -> Result {
        Ok(())
    }

    fn finish(self, _random: u32) -> Result {
        Ok(())
    }

    /// Returns the kind if the `Counted` is never dropped once `self` is leaked.
    fn own(&self) -> Option<Kind> {
        None
    }
}

struct Made<T>(Option<T>);

impl<T: Usable> Thing for Made<T> {
    fn work(&self, random: u32) -> Result {
        self.0.as_ref().ok_or(ENOENT)?.work(random)
    }

    fn finish(&mut self, random: u32) -> Result {
        self.0.take().ok_or(ENOENT)?.finish(random)
    }

    fn forget(&mut self) {
        let Some(this) = self.0.take() else {
            return;
        };
        if let Some(kind) = this.own() {
            ledger_forgotten(kind);
        }
        core::mem::forget(this);
    }
}

fn made(thing: impl Usable) -> Result<KBox<dyn Thing>> {
    Ok(KBox::new(Made(Some(thing)), GFP_KERNEL)?)
}

/// The context in which an object is created.
pub(crate) struct Place<'a> {
    pub(crate) module: &'static ThisModule,
    pub(crate) target: ARef<Task>,
    /// The context of the caller's system call, in an ioctl handler.
    pub(crate) syscall: Option<&'a SyscallContext<'a>>,
}

/// Returns the task with this pid, or the calling task for 0.
pub(crate) fn target(pid: i32) -> Result<ARef<Task>> {
    match pid {
        0 => Ok(ARef::<Task>::from(&**current!())),
        pid => pid::find_task(pid).ok_or(ESRCH),
    }
}

/// The descriptor that [`Kind::TakenFile`] takes.
const DESCRIPTOR: u32 = 100;

/// The length of the range of interval notifiers. No supported architecture has user addresses
/// beyond the range: they have at most 56 bits.
const EVERYWHERE: usize = 1 << 56;

/// Creates an object of a kind. Notifiers are registered on the caller's address space.
pub(crate) fn make(kind: Kind, place: &Place<'_>, random: u32) -> Result<KBox<dyn Thing>> {
    match kind {
        Kind::BoxWork => {
            task_work::add(&place.target, boxed(kind)?, mode(random))?;
            made(())
        }
        Kind::ArcWork => {
            let item = SharedItem::new(kind)?;
            task_work::add(&place.target, item.clone(), mode(random))?;
            made(ArcWork(place.target.clone(), item))
        }
        Kind::Closure => {
            let counted = Counted::new(kind);
            let work = move |_: &Context<'_>| drop(counted);
            made(task_work::add_fn(
                &place.target,
                work,
                mode(random),
                GFP_KERNEL,
            )?)
        }
        Kind::Call => {
            let counted = Counted::new(kind);
            let work = move |_: &Context<'_>| {
                drop(counted);
                7u32
            };
            made(task_work::call(
                &place.target,
                work,
                mode(random),
                GFP_KERNEL,
            )?)
        }
        Kind::Queue => {
            let queue = Ordered::new(&place.target, mode(random))?;
            let queue = Queue(queue);
            queue.work(random)?;
            made(queue)
        }
        Kind::Refusal => {
            // Kernel threads are refused as targets.
            let thread = builder(random)?.create(|_| {})?;
            match task_work::add(&thread.task(), boxed(kind)?, mode(random)) {
                Ok(()) => Err(EUCLEAN),
                Err(refused) if refused.error == EINVAL => made(refused),
                Err(refused) => Err(refused.error),
            }
        }
        Kind::Cancellation => {
            let counted = Counted::new(kind);
            let work = move |_: &Context<'_>| drop(counted);
            let pending = task_work::add_fn(&place.target, work, mode(random), GFP_KERNEL)?;
            made(Cancellation(kind, pending.cancel()))
        }
        Kind::TakenFile => {
            let syscall = place.syscall.ok_or(ENOTTY)?;
            let file = fd::take(syscall, DESCRIPTOR, GFP_KERNEL)?;
            made(With(file, Counted::new(kind)))
        }
        Kind::Thread => start(kind, random),
        Kind::Parkable => start_parkable(kind, random, false),
        Kind::ParkRequest => start_parkable(kind, random, true),
        Kind::Unstarted => made(builder(random)?.create(Body::new(kind, random).sleeps())?),
        Kind::Builder => {
            let builder = With(
                Builder::formatted(fmt!("kinds/{random}"))?,
                Counted::new(kind),
            );
            // The builder is not kept in a `Thing`: leak it or drop it here.
            if random % 8 == 0 {
                ledger_forgotten(kind);
                core::mem::forget(builder);
            } else {
                drop(builder);
            }
            made(())
        }
        Kind::Waker => {
            let thread = kthread::spawn(c"kinds", |context| {
                context.sleep_for(Delta::from_millis(1));
            })?;
            made(With(thread.waker(), Counted::new(kind)))
        }
        Kind::Exit => {
            let body = Body::new(kind, random).sleeps();
            made(builder(random)?.spawn(body)?.stop()?)
        }
        Kind::Worker => {
            let worker = Builder::new(c"kinds-worker").worker(place.module)?;
            // Two works with a short delay, and a work with a delay that does not end.
            for delay in [1, 2, 1_000_000] {
                worker.enqueue_delayed(Delayed::boxed(kind)?, delay)?;
            }
            worker.work(random)?;
            made(worker)
        }
        Kind::Work => {
            let worker = Builder::new(c"kinds-worker").worker(place.module)?;
            let item = Arc::pin_init(
                pin_init!(Work { counted: Counted::new(kind), work <- KthreadWork::new() }),
                GFP_KERNEL,
            )?;
            worker.enqueue(item.clone())?;
            made((worker, item))
        }
        Kind::DelayedWork => {
            let worker = Builder::new(c"kinds-worker").worker(place.module)?;
            let item = Arc::pin_init(Delayed::new(kind), GFP_KERNEL)?;
            worker.enqueue_delayed(item.clone(), (random % 5) as usize)?;
            made((worker, item))
        }
        Kind::Notifier => {
            let task = current!();
            notifier_on(task.mm().ok_or(EINVAL)?)
        }
        Kind::TryNotifier => {
            let task = current!();
            let mm = task.mm().ok_or(EINVAL)?;
            let registration = Registration::new(mm, TryListener::new(kind));
            made(KBox::pin_init(registration, GFP_KERNEL)?)
        }
        Kind::Interval => {
            let task = current!();
            let mm = task.mm().ok_or(EINVAL)?;
            let notifier = IntervalListener(TryListener::new(kind));
            let registration = new_mmu_interval_notifier!(mm, 0, EVERYWHERE, notifier, 0);
            made(KBox::pin_init(registration, GFP_KERNEL)?)
        }
        Kind::TwoPasses => {
            let task = current!();
            let mm = task.mm().ok_or(EINVAL)?;
            let notifier = PassesListener(TryListener::new(kind));
            let registration = new_mmu_interval_notifier!(mm, 0, EVERYWHERE, notifier, 0);
            made(KBox::pin_init(registration, GFP_KERNEL)?)
        }
        Kind::Shared => {
            let task = current!();
            made(Shared::<Common>::get(task.mm().ok_or(EINVAL)?)?)
        }
        Kind::Mirror => {
            let task = current!();
            let mm = task.mm().ok_or(EINVAL)?;
            let mirror = new_mirror!(mm, 0, EVERYWHERE, TryListener::new(kind));
            made(KBox::pin_init(mirror, GFP_KERNEL)?)
        }
        Kind::ThreadCircle => {
            let own = circle::<Unstarted<()>>()?;
            let captured = own.clone();
            let counted = Counted::new(kind);
            let body = move |_: &kthread::Context<'_>| drop((captured, counted));
            *own.own.lock() = Some(Builder::new(c"kinds-circle").create(body)?);
            made(())
        }
        Kind::WorkerCircle => {
            worker_circle(place.module, kind)?;
            made(())
        }
        Kind::Numbering => made(With(pid::Numbering::of_current(), Counted::new(kind))),
        Kind::ThreadRing => {
            thread_ring(kind)?;
            made(())
        }
        Kind::WorkerRing => {
            worker_ring(place.module, kind)?;
            made(())
        }
        Kind::Supervisor => {
            let counted = Counted::new(kind);
            let supervisor = kthread::spawn(c"kinds-supervisor", move |_| supervise(counted))?;
            core::mem::forget(supervisor);
            made(())
        }
        Kind::WorkSupervisor => {
            let counted = Counted::new(kind);
            let worker = Builder::new(c"kinds-supervisor").worker(place.module)?;
            worker.try_spawn(GFP_KERNEL, move |_| supervise(counted))?;
            core::mem::forget(worker);
            made(())
        }
        Kind::FlushRing => {
            flush_ring(place.module, kind)?;
            made(())
        }
        Kind::PollDevice => {
            let device = MiscDeviceRegistration::<Device>::register(MiscDeviceOptions {
                name: c"tether-kinds",
            });
            made(With(
                KBox::pin_init(device, GFP_KERNEL)?,
                Counted::new(kind),
            ))
        }
        Kind::Counters => {
            let counters = SharedCounters::new(1 + random as usize % 2048, GFP_KERNEL)?;
            made(With(counters, Counted::new(kind)))
        }
        Kind::Tracee => {
            let tracee = ptrace::tracee(place.target.pid())?;
            made(With(tracee, Counted::new(kind)))
        }
        Kind::Permission => {
            let tracee = ptrace::tracee(place.target.pid())?;
            made(With(tracee.permission(), Counted::new(kind)))
        }
    }
}

impl Usable for () {}

/// An object of the API that contains no `Counted`, with a `Counted` beside it.
struct With<T>(T, Counted);

macro_rules! with {
    ($($type:ty: |$this:ident| $use:block)*) => {$(
        impl Usable for With<$type> {
            fn work(&self, _random: u32) -> Result {
                let $this = &self.0;
                $use
                Ok(())
            }

            fn own(&self) -> Option<Kind> {
                Some(self.1.0)
            }
        }
    )*};
}

with! {
    fd::TakenFile: |_file| {}
    Waker: |waker| { waker.wake(); }
    pid::Numbering: |numbering| { numbering.numbers(current!()); }
    Pin<KBox<MiscDeviceRegistration<Device>>>: |device| {
        if device.device().name() != c"tether-kinds" {
            return Err(EUCLEAN);
        }
    }
    SharedCounters: |counters| {
        if let Some(counter) = counters.get(counters.len() - 1) {
            counter.add(1);
        }
    }
    Tracee: |_tracee| {}
    Permission: |permission| { permission.still_holds(current!()); }
}

// Task works.

fn mode(random: u32) -> NotifyMode {
    match random % 4 {
        0 => NotifyMode::None,
        1 => NotifyMode::Signal,
        2 => NotifyMode::SignalNoIpi,
        _ => NotifyMode::Resume,
    }
}

/// An item in a box.
#[pin_data]
struct Boxed {
    counted: Counted,
    #[pin]
    work: TaskWork<Boxed>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Boxed { self.work }
}

impl TaskWorkItem for Boxed {
    type Pointer = Pin<KBox<Self>>;

    fn run(_this: Self::Pointer, _context: &Context<'_>) {}
}

fn boxed(kind: Kind) -> Result<Pin<KBox<Boxed>>> {
    let item = pin_init!(Boxed { counted: Counted::new(kind), work <- TaskWork::new() });
    KBox::pin_init(item, GFP_KERNEL)
}

/// An item in an `Arc`.
#[pin_data]
struct SharedItem {
    counted: Counted,
    #[pin]
    work: TaskWork<SharedItem>,
}

impl SharedItem {
    fn new(kind: Kind) -> Result<Arc<Self>> {
        let item = pin_init!(Self { counted: Counted::new(kind), work <- TaskWork::new() });
        Arc::pin_init(item, GFP_KERNEL)
    }
}

impl_has_task_work! {
    impl HasTaskWork<Self> for SharedItem { self.work }
}

impl TaskWorkItem for SharedItem {
    type Pointer = Arc<Self>;

    fn run(_this: Self::Pointer, _context: &Context<'_>) {}
}

struct ArcWork(ARef<Task>, Arc<SharedItem>);

impl Usable for ArcWork {
    fn work(&self, random: u32) -> Result {
        match random % 4 {
            0 => drop(task_work::cancel(&self.0, &self.1)),
            1 => task_work::wait_timeout(&self.1, Delta::from_millis(1))?,
            _ => task_work::add(&self.0, self.1.clone(), mode(random >> 2))?,
        }
        Ok(())
    }

    fn finish(self, _random: u32) -> Result {
        drop(task_work::cancel(&self.0, &self.1));
        Ok(())
    }

    fn own(&self) -> Option<Kind> {
        Some(self.1.counted.0)
    }
}

impl<F: FnOnce(&Context<'_>) + Send + 'static> Usable for Pending<F> {
    fn work(&self, _random: u32) -> Result {
        self.wait_timeout(Delta::from_millis(1))
    }

    fn finish(self, _random: u32) -> Result {
        drop(self.cancel());
        Ok(())
    }
}

impl Usable for Call<u32> {
    fn work(&self, _random: u32) -> Result {
        self.is_done();
        Ok(())
    }

    fn finish(self, random: u32) -> Result {
        if random % 2 == 0 {
            self.cancel();
            return Ok(());
        }
        match self.wait_timeout(Delta::from_millis(1)) {
            Ok(7) => Ok(()),
            Ok(_) => Err(EUCLEAN),
            Err(refused) => Err(refused.error),
        }
    }
}

struct Queue(Arc<Ordered>);

impl Usable for Queue {
    fn work(&self, random: u32) -> Result {
        for number in 0..random % 4 {
            if number % 2 == 0 {
                self.0.add(boxed(Kind::Queue)?)?;
            } else {
                let counted = Counted::new(Kind::Queue);
                self.0.add_fn(move |_| drop(counted), GFP_KERNEL)?;
            }
        }
        Ok(())
    }
}

impl Usable for Refused<Pin<KBox<Boxed>>> {
    fn own(&self) -> Option<Kind> {
        Some(self.item.counted.0)
    }
}

struct Cancellation<F>(Kind, Cancel<F>);

impl<F: FnOnce(&Context<'_>) + Send + 'static> Usable for Cancellation<F> {
    fn own(&self) -> Option<Kind> {
        // If it was too late to cancel, the closure has run or will run.
        matches!(self.1, Cancel::Cancelled(_)).then_some(self.0)
    }
}

// Threads.

/// Returns a builder. Some builders bind the thread to a CPU, which may go offline.
fn builder(random: u32) -> Result<Builder<'static>> {
    let builder = Builder::new(c"kinds");
    Ok(match random % 8 {
        0 => builder.bind(CpuId::from_u32(1).ok_or(EINVAL)?),
        1 => builder.policy(Policy::Normal { nice: 10 }),
        2 => builder.freezable(),
        3 => builder.on_node(0),
        _ => builder,
    })
}

/// The captures of a thread's body.
struct Body {
    counted: Counted,
    result: Counted,
    rounds: u32,
}

impl Body {
    fn new(kind: Kind, random: u32) -> Self {
        Self {
            counted: Counted::new(kind),
            result: Counted::new(kind),
            rounds: random % 100,
        }
    }

    /// A body that returns after `rounds` milliseconds, or when it is requested to stop.
    fn sleeps(self) -> impl FnOnce(&kthread::Context<'_>) -> Counted + Send + 'static {
        move |context| {
            let _counted = self.counted;
            for _ in 0..self.rounds {
                if context.sleep_for(Delta::from_millis(1)).is_stopped() {
                    break;
                }
            }
            self.result
        }
    }

    /// A body like [`Body::sleeps`] that parks on request. If `forgets`, it leaks every other
    /// request.
    fn parks(
        self,
        forgets: bool,
    ) -> impl FnOnce(&kthread::Context<'_, Parkable>) -> Counted + Send + 'static {
        move |context| {
            let _counted = self.counted;
            let mut forgotten = false;
            for _ in 0..self.rounds {
                match context.sleep_for(Delta::from_millis(1)) {
                    Wake::Stopped => break,
                    Wake::Park(request) if forgets && !forgotten => {
                        core::mem::forget(request);
                        forgotten = true;
                    }
                    Wake::Park(request) => {
                        request.park();
                        forgotten = false;
                    }
                    _ => {}
                }
            }
            self.result
        }
    }
}

/// The handle of a started thread.
struct Started<M>(Thread<Counted, M>);

impl<M> Started<M> {
    fn ask(&self, random: u32) -> Result {
        match random % 4 {
            0 => self.0.request_stop(),
            1 => return self.0.set_policy(Policy::FifoLow),
            _ => self.0.wake(),
        }
        Ok(())
    }
}

/// Ends a thread; `random` selects the operation.
fn end<M>(thread: Thread<Counted, M>, random: u32) -> Result {
    match random % 4 {
        0 => drop(thread.join()?),
        1 => drop(thread.try_join()?),
        2 => thread.detach()?,
        _ => drop(thread.stop()?),
    }
    Ok(())
}

fn start(kind: Kind, random: u32) -> Result<KBox<dyn Thing>> {
    let body = Body::new(kind, random).sleeps();
    made(Started(builder(random)?.spawn(body)?))
}

fn start_parkable(kind: Kind, random: u32, forgets: bool) -> Result<KBox<dyn Thing>> {
    let body = Body::new(kind, random).parks(forgets);
    made(Started(builder(random)?.parkable().spawn(body)?))
}

impl Usable for Started<Plain> {
    fn work(&self, random: u32) -> Result {
        self.ask(random)
    }

    fn finish(self, random: u32) -> Result {
        end(self.0, random)
    }
}

impl Usable for Started<Parkable> {
    fn work(&self, random: u32) -> Result {
        match random % 8 {
            0 => self.ask(random >> 3)?,
            1..=3 => self.0.unpark(),
            _ => self.0.park()?,
        }
        Ok(())
    }

    fn finish(self, random: u32) -> Result {
        end(self.0, random)
    }
}

impl Usable for Unstarted<Counted> {
    fn finish(self, random: u32) -> Result {
        end(self.start(), random)
    }
}

impl Usable for Exit<Counted> {
    fn own(&self) -> Option<Kind> {
        match self {
            Exit::Returned(counted) => Some(counted.0),
            Exit::NeverRan | Exit::Died => None,
        }
    }
}

// Workers.

#[pin_data]
struct Work {
    counted: Counted,
    #[pin]
    work: KthreadWork<Work>,
}

impl_has_kthread_work! {
    impl HasKthreadWork<Self> for Work { self.work }
}

impl KthreadWorkItem for Work {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>, _context: &WorkContext<'_>) {}
}

/// A work that enqueues itself again. `SHARED` selects an `Arc` or a box as its pointer.
#[pin_data]
struct Delayed<const SHARED: bool> {
    counted: Counted,
    #[pin]
    work: KthreadDelayedWork<Delayed<SHARED>>,
}

impl_has_kthread_delayed_work! {
    impl{const SHARED: bool} HasKthreadDelayedWork<Self> for Delayed<SHARED> { self.work }
}

impl KthreadWorkItem for Delayed<false> {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, context: &WorkContext<'_>) {
        let _ = context.queue().enqueue_delayed(this, 1);
    }
}

impl KthreadWorkItem for Delayed<true> {
    type Pointer = Arc<Self>;

    fn run(this: Self::Pointer, context: &WorkContext<'_>) {
        let _ = context.queue().enqueue_delayed(this, 2);
    }
}

impl Delayed<false> {
    fn boxed(kind: Kind) -> Result<Pin<KBox<Self>>> {
        let item =
            pin_init!(Self { counted: Counted::new(kind), work <- KthreadDelayedWork::new() });
        KBox::pin_init(item, GFP_KERNEL)
    }
}

impl Delayed<true> {
    fn new(kind: Kind) -> impl PinInit<Self> {
        pin_init!(Self { counted: Counted::new(kind), work <- KthreadDelayedWork::new() })
    }
}

impl Usable for KthreadWorker {
    fn work(&self, random: u32) -> Result {
        if random % 4 == 0 {
            return self.flush();
        }
        let counted = Counted::new(Kind::Worker);
        Ok(self.try_spawn(GFP_KERNEL, move |_| drop(counted))?)
    }

    fn finish(self, _random: u32) -> Result {
        self.flush()
    }
}

impl Usable for (KthreadWorker, Arc<Work>) {
    fn work(&self, random: u32) -> Result {
        match random % 4 {
            0 => drop(self.0.cancel(&self.1)?),
            1 => self.0.flush_work(&self.1)?,
            _ => self.0.enqueue(self.1.clone())?,
        }
        Ok(())
    }

    fn own(&self) -> Option<Kind> {
        Some(self.1.counted.0)
    }
}

impl Usable for (KthreadWorker, Arc<Delayed<true>>) {
    fn work(&self, random: u32) -> Result {
        match random % 4 {
            0 => drop(self.0.cancel(&self.1)?),
            1 => self.0.flush_work(&self.1)?,
            _ => drop(
                self.0
                    .modify_delayed(self.1.clone(), (random % 5) as usize)?,
            ),
        }
        Ok(())
    }

    fn own(&self) -> Option<Kind> {
        Some(self.1.counted.0)
    }
}

// Objects that own themselves, directly or through another object.

#[pin_data]
struct Circle<T> {
    #[pin]
    own: Mutex<Option<T>>,
}

fn circle<T>() -> Result<Arc<Circle<T>>> {
    Arc::pin_init(pin_init!(Circle { own <- new_mutex!(None) }), GFP_KERNEL)
}

/// Enqueues a work that runs until the worker is closed. The work waits for the returned completion
/// before it first checks the worker; hence works that are enqueued before `complete_all()` are
/// pending when the worker is torn down.
fn keep_busy(worker: &KthreadWorker) -> Result<Arc<Completion>> {
    let go = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let gate = go.clone();
    worker.try_spawn(GFP_KERNEL, move |context| {
        gate.wait_for_completion();
        while context.queue().try_spawn(GFP_KERNEL, |_| ()).is_ok() {
            fsleep(Delta::from_millis(1));
        }
    })?;
    Ok(go)
}

/// Creates a worker with a pending work that holds the handle of the worker, behind a running work.
fn worker_circle(module: &'static ThisModule, kind: Kind) -> Result {
    let own = circle::<KthreadWorker>()?;
    let captured = own.clone();
    let worker = Builder::new(c"kinds-circle").worker(module)?;
    let go = keep_busy(&worker)?;
    let counted = Counted::new(kind);
    let last = worker.try_spawn(GFP_KERNEL, move |_| drop((captured, counted)));
    *own.own.lock() = Some(worker);
    go.complete_all();
    Ok(last?)
}

/// Module teardown ends an unstarted thread first. Its body owns the handle of a running thread,
/// which drops the handle of the unstarted one when it is requested to stop.
fn thread_ring(kind: Kind) -> Result {
    let own = circle::<Thread<()>>()?;
    let captured = own.clone();
    let counted = Counted::new(kind);
    let unstarted = Builder::new(c"kinds-unstarted").create(move |_| drop((captured, counted)))?;
    let counted = Counted::new(kind);
    let running = kthread::spawn(c"kinds-running", move |context| {
        while !context.sleep().is_stopped() {}
        drop((unstarted, counted));
    })?;
    *own.own.lock() = Some(running);
    Ok(())
}

/// Module teardown ends a worker first. A pending work of it owns the handle of a running thread,
/// which drops the worker when it is requested to stop.
fn worker_ring(module: &'static ThisModule, kind: Kind) -> Result {
    let own = circle::<Thread<()>>()?;
    let captured = own.clone();
    let worker = Builder::new(c"kinds-ring").worker(module)?;
    let go = keep_busy(&worker)?;
    let counted = Counted::new(kind);
    worker.try_spawn(GFP_KERNEL, move |_| drop((captured, counted)))?;
    let counted = Counted::new(kind);
    let running = kthread::spawn(c"kinds-running", move |context| {
        while !context.sleep().is_stopped() {}
        drop((worker, counted));
    })?;
    *own.own.lock() = Some(running);
    go.complete_all();
    Ok(())
}

/// Joins a younger thread, which returns when it is requested to stop.
fn supervise(counted: Counted) {
    let child = kthread::spawn(c"kinds-child", move |context| {
        while !context.sleep().is_stopped() {}
        drop(counted);
    });
    if let Ok(child) = child {
        let _ = child.join();
    }
}

/// A thread flushes a worker with a work that drops the handle of that thread.
fn flush_ring(module: &'static ThisModule, kind: Kind) -> Result {
    let own = circle::<Thread<()>>()?;
    let captured = own.clone();
    let worker = Builder::new(c"kinds-ring").worker(module)?;
    let go = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let gate = go.clone();
    let counted = Counted::new(kind);
    worker.try_spawn(GFP_KERNEL, move |_| {
        gate.wait_for_completion();
        let thread = captured.own.lock().take();
        drop((thread, counted));
    })?;
    let counted = Counted::new(kind);
    let thread = kthread::spawn(c"kinds-flusher", move |_| {
        let _ = worker.flush();
        drop(counted);
    })?;
    *own.own.lock() = Some(thread);
    fsleep(Delta::from_millis(5));
    go.complete_all();
    Ok(())
}

// Notifiers.

struct Listener(Counted);

#[vtable]
impl InvalidateRanges for Listener {
    fn invalidate_range_start(&self, _range: &MmuNotifierRange<'_>) {}

    fn invalidate_range_end(&self, _range: &MmuNotifierRange<'_>) {}
}

impl Age for Listener {
    fn clear_flush_young(&self, _mm: &Mm, _start: usize, _end: usize) -> bool {
        true
    }

    fn clear_young(&self, _mm: &Mm, _start: usize, _end: usize) -> bool {
        true
    }

    fn test_young(&self, _mm: &Mm, _address: usize) -> bool {
        false
    }
}

impl MmuNotifier for Listener {
    type Callbacks = WithAge<Ranges>;
}

/// Registers a notifier on an address space, for [`make`] and for task works of other processes.
pub(crate) fn notifier_on(mm: &MmWithUser) -> Result<KBox<dyn Thing>> {
    let registration = Registration::new(mm, Listener(Counted::new(Kind::Notifier)));
    made(KBox::pin_init(registration, GFP_KERNEL)?)
}

/// A notifier that refuses every other range: of an address space, an interval or a mirror.
struct TryListener {
    counted: Counted,
    calls: Atomic<i32>,
}

impl TryListener {
    fn new(kind: Kind) -> Self {
        Self {
            counted: Counted::new(kind),
            calls: Atomic::new(0),
        }
    }

    fn answer(&self) -> Result<(), WouldSleep> {
        if self.calls.fetch_add(1, Full) % 2 == 0 {
            Err(WouldSleep)
        } else {
            Ok(())
        }
    }
}

impl TryInvalidateRanges for TryListener {
    fn invalidate_range(&self, _range: &MmuNotifierRange<'_>) {}

    fn try_invalidate_range(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        self.answer()
    }
}

impl MmuNotifier for TryListener {
    type Callbacks = TryRanges;
}

struct IntervalListener(TryListener);

impl MmuIntervalNotifier for IntervalListener {
    type Shadow = u32;
    type Passes = OnePass;

    fn try_invalidate(
        &self,
        _range: &MmuNotifierRange<'_>,
        _shadow: &mut u32,
    ) -> Result<(), WouldSleep> {
        self.0.answer()
    }
}

impl Invalidate for IntervalListener {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>, shadow: &mut u32) {
        *shadow = shadow.wrapping_add(1);
    }
}

struct PassesListener(TryListener);

impl MmuIntervalNotifier for PassesListener {
    type Shadow = u32;
    type Passes = TwoPasses;

    fn try_invalidate(
        &self,
        _range: &MmuNotifierRange<'_>,
        _shadow: &mut u32,
    ) -> Result<(), WouldSleep> {
        self.0.answer()
    }
}

impl InvalidateInTwoPasses for PassesListener {
    type Begun = Option<KBox<u32>>;

    fn begin(&self, _range: &MmuNotifierRange<'_>, shadow: &mut u32) -> Option<Self::Begun> {
        *shadow = shadow.wrapping_add(1);
        Some(KBox::new(*shadow, GFP_NOWAIT).ok())
    }

    fn finish(&self, _begun: Self::Begun, shadow: &Shadow<u32>) {
        shadow.with(|shadow| *shadow = shadow.wrapping_add(1));
    }
}

impl MirrorDevice for TryListener {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>) {}

    fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        self.answer()
    }
}

/// The shared notifier of an address space.
struct Common {
    counted: Counted,
    forgotten: Atomic<bool>,
}

impl SharedNotifier for Common {
    fn new(_mm: &MmWithUser) -> Result<Self> {
        Ok(Self {
            counted: Counted::new(Kind::Shared),
            forgotten: Atomic::new(false),
        })
    }
}

#[vtable]
impl InvalidateRanges for Common {
    fn invalidate_range_start(&self, _range: &MmuNotifierRange<'_>) {}
}

impl MmuNotifier for Common {
    type Callbacks = Ranges;
}

impl Usable for Pin<KBox<Registration<Listener>>> {
    fn own(&self) -> Option<Kind> {
        Some(self.notifier().0 .0)
    }
}

impl Usable for Pin<KBox<Registration<TryListener>>> {
    fn own(&self) -> Option<Kind> {
        Some(self.notifier().counted.0)
    }
}

/// Takes a snapshot of four pages, if the notifier is on the caller's address space; `random`
/// selects the address.
fn look_up<T: MmuIntervalNotifier<Shadow = u32>>(
    registration: &IntervalRegistration<T>,
    random: u32,
) -> Result {
    let task = current!();
    let mm = task.mm().ok_or(EINVAL)?;
    let mut pfns = [Pfn::default(); 4];
    let address = (1 << 44) + random as usize % 512 * PAGE_SIZE;
    let range = HmmRange::new(address, &mut pfns)
        .request(Request::Snapshot)
        .timeout(Delta::from_millis(100));
    registration.fault(mm, range, |_, shadow| *shadow = shadow.wrapping_add(1))
}

impl Usable for Pin<KBox<IntervalRegistration<IntervalListener>>> {
    fn work(&self, random: u32) -> Result {
        look_up(self, random)
    }

    fn own(&self) -> Option<Kind> {
        Some(self.notifier().0.counted.0)
    }
}

impl Usable for Pin<KBox<IntervalRegistration<PassesListener>>> {
    fn work(&self, random: u32) -> Result {
        look_up(self, random)
    }

    fn own(&self) -> Option<Kind> {
        Some(self.notifier().0.counted.0)
    }
}

impl Usable for Shared<Common> {
    fn own(&self) -> Option<Kind> {
        // All holders share one notifier: report the leak once.
        (!self.forgotten.xchg(true, Full)).then_some(self.counted.0)
    }
}

impl Usable for Pin<KBox<Mirror<TryListener>>> {
    fn work(&self, random: u32) -> Result {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let address = (1 << 44) + random as usize % 512 * PAGE_SIZE;
        let time = Some(Delta::from_millis(100));
        self.fault(mm, address, 4, Request::Read, time)?;
        self.with_pages(|pages| {
            if let Some(frame) = pages.get(address) {
                frame.read(0, &mut [0; 8])?;
            }
            Ok(())
        })
    }

    fn own(&self) -> Option<Kind> {
        Some(self.device().counted.0)
    }
}

// Devices.

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn poll<'a>(_device: &'a Self, _file: &File, _table: &PollTable<'a>) -> Ready {
        Ready::READ
    }
}

// All public types of the API. For each type that owns a resource, the list names the kinds above
// that create an object of the type, or an object that contains it. The compiler tests that the
// other types own nothing. `scripts/check-leaks` tests that each public type is listed, hence one
// type per line.

macro_rules! types {
    (
        made { $($owner:ty => $($kind:ident)+,)* }
        within { $($part:ty => $($in:ident)+,)* }
        elsewhere { $($other:ty,)* }
        nothing { $($plain:ty,)* }
    ) => {
        $(const _: &[Kind] = {
            assert!(needs_drop::<$owner>());
            &[$(Kind::$kind),+]
        };)*
        $(const _: (PhantomData<$part>, &[Kind]) = (PhantomData, &[$(Kind::$in),+]);)*
        $(const _: () = assert!(needs_drop::<$other>());)*
        $(const _: () = assert!(!needs_drop::<$plain>());)*
    };
}

types! {
    made {
        tether::fd::TakenFile => TakenFile,
        tether::kthread::Builder<'static> => Builder,
        tether::kthread::Exit<Counted> => Exit,
        tether::kthread::ParkRequest<'static> => ParkRequest,
        tether::kthread::Thread<Counted> => Thread Parkable,
        tether::kthread::Unstarted<Counted> => Unstarted ThreadCircle ThreadRing,
        tether::kthread::Wake<kthread::ParkRequest<'static>> => ParkRequest,
        tether::kthread::Waker => Waker,
        tether::kthread::worker::KthreadWorker
            => Worker WorkerCircle WorkerRing WorkSupervisor FlushRing,
        tether::kthread::worker::KthreadDelayedWork<Delayed<true>> => DelayedWork Worker,
        tether::kthread::worker::KthreadWork<Work> => Work,
        tether::misc_device::MiscDeviceRegistration<Device> => PollDevice,
        tether::mm::mmu_interval_notifier::Registration<IntervalListener> => Interval TwoPasses,
        tether::mm::mirror::Mirror<TryListener> => Mirror,
        tether::mm::mmu_notifier::Registration<Listener> => Notifier TryNotifier,
        tether::mm::shared_notifier::Shared<Common> => Shared,
        tether::mm::shared_counters::SharedCounters => Counters,
        tether::pid::Numbering => Numbering,
        tether::ptrace::Permission => Permission,
        tether::ptrace::Tracee => Tracee,
        tether::task_work::Call<Counted> => Call,
        tether::task_work::Cancel<Counted> => Cancellation,
        tether::task_work::Ordered => Queue,
        tether::task_work::Pending<Counted> => Closure,
        tether::tether::Refused<Counted> => Refusal,
    }
    within {
        tether::kthread::worker::DelayedNode => DelayedWork,
        tether::kthread::worker::Node => Work,
        tether::kthread::worker::Queue => Worker,
        tether::mm::mmu_interval_notifier::Shadow<Counted> => Interval TwoPasses,
        tether::mm::mmu_interval_notifier::Slot<Counted> => TwoPasses,
        tether::task_work::Node => BoxWork ArcWork,
        tether::task_work::TaskWork<Boxed> => BoxWork ArcWork,
    }
    elsewhere {
        // Tested by `test_dma_mirror`, because it needs a device.
        tether::mm::dma_mirror::DmaMirror<TryListener>,
    }
    nothing {
        tether::misc_device::Kiocb<'static, KBox<Device>>,
        tether::misc_device::PollTable<'static>,
        tether::misc_device::TransientFile,
        tether::syscall::SyscallContext<'static>,
        tether::kthread::Context<'static>,
        tether::kthread::Parkable,
        tether::kthread::Plain,
        tether::kthread::Policy,
        tether::kthread::worker::Vtable,
        tether::kthread::worker::WorkContext<'static>,
        tether::misc_device::Ready,
        tether::mm::dma_mirror::Addresses<'static>,
        tether::mm::dma_mirror::Mapped,
        tether::mm::hmm::DeviceOwner,
        tether::mm::hmm::HmmRange<'static>,
        tether::mm::hmm::Pfn,
        tether::mm::hmm::Request,
        tether::mm::mmu_interval_notifier::OnePass,
        tether::mm::mmu_interval_notifier::Sequence<'static, IntervalListener>,
        tether::mm::mmu_interval_notifier::TwoPasses,
        tether::mm::mirror::Frame<'static>,
        tether::mm::mirror::Pages<'static>,
        tether::mm::shared_counters::Counter,
        tether::mm::mmu_notifier::Event,
        tether::mm::mmu_notifier::MayRefuse<TryListener>,
        tether::mm::mmu_notifier::Ops,
        tether::mm::mmu_notifier::MmuNotifierRange<'static>,
        tether::mm::mmu_notifier::Ranges,
        tether::mm::mmu_notifier::Refusal,
        tether::mm::mmu_notifier::ReleaseOnly,
        tether::mm::mmu_notifier::SecondaryTlbs,
        tether::mm::mmu_notifier::TryRanges,
        tether::mm::mmu_notifier::WithAge<Ranges>,
        tether::mm::mmu_notifier::WouldSleep,
        tether::task_work::Context<'static>,
        tether::task_work::NotifyMode,
        tether::task_work::Vtable,
    }
}
