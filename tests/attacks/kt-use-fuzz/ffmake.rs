// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Creates threads, workers and closures, and passes their handles to `ffkeep.ko`. With
//! `fail=1`, the init fails afterwards.
//!
//! `ffkeep_code.rs` describes the misuse and the expected answer.
use ffkeep::{Canary, Closure, Handle};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};
use tether::{
    impl_has_kthread_delayed_work,
    kthread::{
        worker::{KthreadDelayedWork, KthreadWorkItem, WorkContext},
        Builder, Parkable, Unstarted, Wake,
    },
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: Make, name: "ffmake", authors: ["h"], description: "attack", license: "GPL",
    params: {
        fail: i32 { default: 0, description: "fail", },
        target: i32 { default: 0, description: "the target of closures", },
    },
}
#[pin_data]
struct Item {
    _canary: Canary,
    #[pin]
    work: KthreadDelayedWork<Item>,
}
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &WorkContext<'_>) {
        let _ = context.queue().enqueue_delayed(this, 1);
    }
}
fn create() -> Result<Unstarted<Canary, Parkable>> {
    let canary = Canary::new()?;
    Ok(Builder::new(c"ffmake").parkable().create(move |context| {
        let mut n = 0;
        loop {
            n += 1;
            match context.sleep_for(Delta::from_millis(3)) {
                Wake::Stopped => break,
                Wake::Park(request) => request.park(),
                _ if n > 50 => break,
                _ => (),
            }
        }
        canary
    })?)
}
fn ran(_: &task_work::Context<'_>) {}
struct Make;
impl kernel::Module for Make {
    fn init(module: &'static ThisModule) -> Result<Self> {
        for _ in 0..2 {
            ffkeep::ffkeep_keep(Handle::Thread(create()?.start()));
            ffkeep::ffkeep_keep(Handle::Unstarted(create()?));
            ffkeep::ffkeep_keep(Handle::Shared(Arc::new(create()?.start(), GFP_KERNEL)?));
            let worker = Builder::new(c"ffmake-w").worker(module)?;
            for delay in 0..3 {
                let item = Arc::pin_init(
                    try_pin_init!(Item { _canary: Canary::new()?, work <- KthreadDelayedWork::new() }),
                    GFP_KERNEL,
                )?;
                worker.enqueue_delayed(item, delay)?;
            }
            let canary = Canary::new()?;
            worker.try_spawn(GFP_KERNEL, move |_| {
                fsleep(Delta::from_millis(3));
                drop(canary);
            })?;
            ffkeep::ffkeep_keep(Handle::Worker(worker));
            if let Some(target) = pid::find_task(module_parameters::target.value()) {
                for mode in [NotifyMode::None, NotifyMode::Resume, NotifyMode::Signal] {
                    let pending = task_work::add_fn(&target, ran as Closure, mode, GFP_KERNEL)?;
                    ffkeep::ffkeep_keep(Handle::Pending(pending));
                }
            }
        }
        if module_parameters::fail.value() != 0 {
            fsleep(Delta::from_millis(5));
            return Err(EIO);
        }
        Ok(Make)
    }
}
