// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls all functions, and drops all objects, in a task that has interrupts disabled.
//!
//! `in_task()` is true there. Nevertheless the task must not sleep, nor take a lock that is
//! held with interrupts enabled elsewhere, as under a spinlock that interrupts take.
//!
//! A sound library returns `EDEADLK` where a call would sleep, and each payload is dropped
//! exactly once.
use kernel::{
    fs::File,
    interrupt::local_interrupt_disable,
    ioctl::_IO,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Full, Relaxed},
        Arc, SetOnce,
    },
    task::Task,
    time::Delta,
};
use tether::{
    fd, impl_has_kthread_delayed_work, impl_has_task_work,
    kthread::{
        worker::{KthreadDelayedWork, KthreadWorkItem, WorkContext},
        Builder, Policy,
    },
    misc_device::*,
    pid, ptrace,
    syscall::{self, SyscallContext},
    task_work::{self, Context, NotifyMode, Ordered, TaskWork, TaskWorkItem},
    user_stack,
};
module! { type: M, name: "irqoff", authors: ["h"], description: "attack", license: "GPL", }
static LIVE: Atomic<i32> = Atomic::new(0);
static WRONG: Atomic<i32> = Atomic::new(0);
static MODULE: SetOnce<&'static ThisModule> = SetOnce::new();
struct Canary(KBox<u64>);
impl Canary {
    fn new() -> Result<Self> {
        let it = Canary(KBox::new(0x5a5a, GFP_ATOMIC)?);
        LIVE.fetch_add(1, Full);
        Ok(it)
    }
}
impl Drop for Canary {
    fn drop(&mut self) {
        if *self.0 != 0x5a5a || LIVE.fetch_sub(1, Full) <= 0 {
            pr_err!("irqoff: BAD: dropped twice\n");
        }
    }
}
#[pin_data]
struct Item {
    canary: Canary,
    #[pin]
    task: TaskWork<Item>,
    #[pin]
    work: KthreadDelayedWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.task } }
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &Context<'_>) {
        let _ = &this.canary;
    }
}
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(_: Arc<Item>, _: &WorkContext<'_>) {}
}
fn wrong(line: u32, is: bool) {
    if is {
        pr_err!("irqoff: BAD: wrong answer in line {line}\n");
        WRONG.fetch_add(1, Relaxed);
    }
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl_in_syscall(
        _: &Self,
        file: &File,
        command: u32,
        fd: usize,
        context: &SyscallContext<'_>,
    ) -> Result<isize> {
        if command == _IO(0xBB, 2) {
            pr_info!(
                "irqoff: wrong {}, live {}\n",
                WRONG.load(Relaxed),
                LIVE.load(Relaxed)
            );
            return Ok(0);
        }
        if command != _IO(0xBB, 1) {
            return Err(ENOTTY);
        }
        let module = MODULE.copy().ok_or(ENODEV)?;
        let current = kernel::current!();
        let me: ARef<Task> = ARef::from(&**current);
        let body = |canary: Canary| {
            move |context: &tether::kthread::Context<'_>| {
                while !context.sleep().is_stopped() {}
                canary
            }
        };
        let running = Builder::new(c"irqoff").spawn(body(Canary::new()?))?;
        let stopped = Builder::new(c"irqoff").spawn(body(Canary::new()?))?;
        let unstarted = Builder::new(c"irqoff").create(body(Canary::new()?))?;
        let started = Builder::new(c"irqoff").create(body(Canary::new()?))?;
        let worker = Builder::new(c"irqoff").worker(module)?;
        let parkable = Builder::new(c"irqoff")
            .parkable()
            .spawn(|context| while !context.sleep().is_stopped() {})?;
        let queue = Ordered::new(&me, NotifyMode::Signal)?;
        let item = Arc::pin_init(
            try_pin_init!(Item { canary: Canary::new()?, task <- TaskWork::new(), work <- KthreadDelayedWork::new() }),
            GFP_KERNEL,
        )?;
        let taken = fd::take(context, fd as u32, GFP_KERNEL)?;
        let keep: ARef<File> = file.into();
        let device = KBox::pin_init(
            MiscDeviceRegistration::<Dev>::register(MiscDeviceOptions { name: c"irqoff2" }),
            GFP_KERNEL,
        );
        let canaries = [Canary::new()?, Canary::new()?, Canary::new()?];
        let guard = local_interrupt_disable();
        wrong(line!(), parkable.park() != Err(EDEADLK));
        wrong(
            line!(),
            parkable.park_timeout(Delta::from_secs(1)) != Err(EDEADLK),
        );
        wrong(line!(), worker.flush() != Err(EDEADLK));
        wrong(line!(), worker.flush_killable() != Err(EDEADLK));
        wrong(
            line!(),
            worker.flush_timeout(Delta::from_millis(9)) != Err(EDEADLK),
        );
        wrong(line!(), running.set_policy(Policy::Fifo) != Err(EDEADLK));
        wrong(line!(), Builder::new(c"irqoff").spawn(|_| ()).is_ok());
        wrong(line!(), Builder::new(c"irqoff").worker(module).is_ok());
        let [one, two, three] = canaries;
        wrong(
            line!(),
            worker.try_spawn(GFP_ATOMIC, move |_| drop(one)).is_err(),
        );
        wrong(line!(), worker.modify_delayed(item.clone(), 1).is_err());
        wrong(line!(), worker.flush_work(&item) != Err(EDEADLK));
        let _ = worker.modify_delayed(item.clone(), 0);
        let _ = worker.cancel(&item);
        let _ = worker.enqueue_delayed(item.clone(), 3);
        wrong(
            line!(),
            task_work::add(&me, item.clone(), NotifyMode::Signal).is_err(),
        );
        wrong(line!(), task_work::wait(&item) != Err(EDEADLK));
        let _ = task_work::cancel(&me, &item);
        wrong(
            line!(),
            task_work::add_fn(&me, move |_| drop(two), NotifyMode::Signal, GFP_ATOMIC).is_err(),
        );
        wrong(
            line!(),
            queue.add_fn(move |_| drop(three), GFP_ATOMIC).is_err(),
        );
        let _ = (
            pid::find_task(1).is_some(),
            ptrace::is_dumpable(current),
            syscall::current_number(),
        );
        let mut stack = [0; 4];
        let _ = user_stack::save(&mut stack);
        let _ = pid::Numbering::of_current().numbers(&me);
        let _ = started.task().pid();
        let started = started.start();
        running.request_stop();
        running.wake();
        let stopped = match stopped.stop() {
            Ok(_) => None,
            Err(refused) => Some(refused.item),
        };
        wrong(line!(), stopped.is_none());
        if let Some(stopped) = stopped {
            wrong(line!(), stopped.detach().is_ok());
        }
        drop((
            running, unstarted, started, worker, parkable, queue, item, taken, device, keep,
        ));
        drop(guard);
        Ok(0)
    }
}
#[pin_data]
struct M {
    #[pin]
    dev: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        MODULE.populate(module);
        try_pin_init!(Self {
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"irqoff" }),
        })
    }
}
