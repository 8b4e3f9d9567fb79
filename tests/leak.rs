// SPDX-License-Identifier: GPL-2.0

//! A module that forgets what it has made: threads, a worker with works, and notifiers on the
//! process that has loaded it.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Completion,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use tether::{
    kthread::{
        self,
        worker::{
            impl_has_kthread_delayed_work,
            KthreadDelayedWork,
            KthreadWorkItem,
            KthreadWorker,
            WorkContext, //
        },
        Builder,
        Unstarted,
        Wake, //
    },
    mm::{
        interval_notifier::{
            new_interval_notifier,
            IntervalNotifier,
            InvalidateInTwoPasses,
            Registration as IntervalRegistration,
            Shadow,
            TwoPasses, //
        },
        mirror::{
            new_mirror,
            MirrorDevice, //
        },
        mmu_notifier::{
            InvalidateRanges,
            MmuNotifier,
            Range,
            Ranges,
            Registration,
            WouldSleep, //
        },
        shared_notifier::{
            Shared,
            SharedNotifier, //
        },
        Mm,
        MmWithUser, //
    }, //
};

module! {
    type: Leak,
    name: "leak",
    authors: ["The Tether developers"],
    description: "Test: a module that forgets what it has made",
    license: "GPL",
}

struct Leak;

struct Notifier;

#[vtable]
impl InvalidateRanges for Notifier {
    fn invalidate_range_start(&self, _range: &Range<'_>) {}

    fn invalidate_range_end(&self, _range: &Range<'_>) {}
}

impl MmuNotifier for Notifier {
    type Callbacks = Ranges;

    fn release(&self, _mm: &Mm) {
        pr_info!("released\n");
    }
}

impl SharedNotifier for Notifier {
    fn new(_mm: &MmWithUser) -> Result<Self> {
        Ok(Self)
    }
}

impl IntervalNotifier for Notifier {
    type Shadow = ();
    type Passes = TwoPasses;

    fn try_invalidate(&self, _range: &Range<'_>, _shadow: &mut ()) -> Result<(), WouldSleep> {
        Ok(())
    }
}

impl MirrorDevice for Notifier {
    fn invalidate(&self, _range: &Range<'_>) {}

    fn try_invalidate(&self, _range: &Range<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}

impl InvalidateInTwoPasses for Notifier {
    type Begun = ();

    fn begin(&self, _range: &Range<'_>, _shadow: &mut ()) -> Option<()> {
        Some(())
    }

    fn finish(&self, _begun: (), _shadow: &Shadow<()>) {}
}

#[pin_data]
struct Work {
    #[pin]
    work: KthreadDelayedWork<Work>,
}

impl_has_kthread_delayed_work! {
    impl HasKthreadDelayedWork<Self> for Work { self.work }
}

impl KthreadWorkItem for Work {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, context: &WorkContext<'_>) {
        // For ever.
        let _ = context.queue().enqueue_delayed(this, 1);
    }
}

/// Threads that were not started, or are parked, and a worker.
fn leak_threads(module: &'static ThisModule) -> Result {
    core::mem::forget(Builder::new(c"leak-unstarted").create(|_| pr_info!("it runs\n"))?);
    let parked = Builder::new(c"leak-parked")
        .parkable()
        .spawn(|context| while !context.sleep().is_stopped() {})?;
    parked.park()?;
    core::mem::forget(parked);
    let worker = Builder::new(c"leak-worker").worker(module)?;
    for delay in [0, 1, 1_000_000] {
        let work = pin_init!(Work { work <- KthreadDelayedWork::new() });
        worker.enqueue_delayed(KBox::pin_init(work, GFP_KERNEL)?, delay)?;
    }
    core::mem::forget(worker);
    Ok(())
}

/// What holds itself.
#[pin_data]
struct Circle<T> {
    #[pin]
    own: Mutex<Option<T>>,
}

fn circle<T>() -> Result<Arc<Circle<T>>> {
    Arc::pin_init(pin_init!(Circle { own <- new_mutex!(None) }), GFP_KERNEL)
}

/// A thread whose body has its own handle, and a worker whose work has it: they are dropped by who
/// ends them.
fn leak_circles(module: &'static ThisModule) -> Result {
    let own = circle::<Unstarted<()>>()?;
    let captured = own.clone();
    *own.own.lock() = Some(Builder::new(c"leak-circle").create(move |_| drop(captured))?);
    let own = circle::<KthreadWorker>()?;
    let captured = own.clone();
    let worker = Builder::new(c"leak-circle").worker(module)?;
    let go = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let gate = go.clone();
    // Until it is sure that the other one is pending.
    worker.try_spawn(GFP_KERNEL, move |context| {
        gate.wait_for_completion();
        // As long as the worker is not closed.
        while context.queue().try_spawn(GFP_KERNEL, |_| ()).is_ok() {
            fsleep(Delta::from_millis(1));
        }
    })?;
    worker.try_spawn(GFP_KERNEL, move |_| drop(captured))?;
    *own.own.lock() = Some(worker);
    go.complete_all();
    Ok(())
}

impl kernel::Module for Leak {
    fn init(module: &'static ThisModule) -> Result<Self> {
        leak_threads(module)?;
        leak_circles(module)?;
        let thread = kthread::spawn(c"leak", |context| {
            while context.sleep_for(Delta::from_millis(1)) != Wake::Stopped {}
            pr_info!("stopped\n");
        })?;
        core::mem::forget(thread);
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        core::mem::forget(KBox::pin_init(Registration::new(mm, Notifier), GFP_KERNEL)?);
        let interval: Pin<KBox<IntervalRegistration<Notifier>>> = KBox::pin_init(
            new_interval_notifier!(mm, 0, 1 << 46, Notifier, ()),
            GFP_KERNEL,
        )?;
        core::mem::forget(interval);
        core::mem::forget(Shared::<Notifier>::get(mm)?);
        core::mem::forget(KBox::pin_init(
            new_mirror!(mm, 0, 1 << 46, Notifier),
            GFP_KERNEL,
        )?);
        Ok(Self)
    }
}
