// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls all functions, and drops all objects, in a callback that runs in the exit of its task.
//!
//! A task in its exit has no address space, no descriptors and no namespaces, and gets no
//! signals.
//!
//! A sound library returns errors where these are needed. No task hangs in its exit, each
//! payload is dropped once, and `rmmod` succeeds.
use kernel::{
    fs::File,
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
    fd, impl_has_task_work,
    kthread::{self, worker::KthreadWorker, Builder},
    misc_device::*,
    pid, ptrace,
    syscall::{self, SyscallContext},
    task_work::{self, Context, NotifyMode, Ordered, TaskWork, TaskWorkItem},
    user_stack,
};
module! { type: M, name: "exitcalls", authors: ["h"], description: "attack", license: "GPL", }
static LIVE: Atomic<i32> = Atomic::new(0);
static RAN: Atomic<i32> = Atomic::new(0);
struct Canary(KBox<u64>);
impl Canary {
    fn new() -> Result<Self> {
        let it = Canary(KBox::new(0x5a5a, GFP_KERNEL)?);
        LIVE.fetch_add(1, Full);
        Ok(it)
    }
}
impl Drop for Canary {
    fn drop(&mut self) {
        if *self.0 != 0x5a5a || LIVE.fetch_sub(1, Full) <= 0 {
            pr_err!("exitcalls: BAD: dropped twice\n");
        }
    }
}
#[pin_data]
struct Item {
    canary: Canary,
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, context: &Context<'_>) {
        let _ = task_work::add(context.task(), this.clone(), NotifyMode::Signal);
        let _ = task_work::cancel(context.task(), &this);
        let _ = task_work::wait(&this);
        let _ = &this.canary;
    }
}
fn calls(
    context: &Context<'_>,
    worker: &KthreadWorker,
    queue: &Arc<Ordered>,
    me: &ARef<Task>,
) -> Result {
    let task = context.task();
    let canary = Canary::new()?;
    let _ = task_work::add_fn(task, move |_| drop(canary), NotifyMode::Resume, GFP_KERNEL)
        .map(|p| p.wait());
    let canary = Canary::new()?;
    let _ = queue
        .add_fn(move |_| drop(canary), GFP_KERNEL)
        .map(|p| p.cancel());
    let canary = Canary::new()?;
    let _ = queue.add_fn(move |_| drop(canary), GFP_KERNEL);
    let own = Ordered::new(task, NotifyMode::None)?;
    let canary = Canary::new()?;
    let _ = own.add_fn(move |_| drop(canary), GFP_KERNEL);
    let item = Arc::pin_init(
        try_pin_init!(Item { canary: Canary::new()?, work <- TaskWork::new() }),
        GFP_KERNEL,
    )?;
    let _ = task_work::add(task, item, NotifyMode::None);
    let mut stack = [0u64; 4];
    let _ = user_stack::save(&mut stack);
    let _ = (
        syscall::current_number(),
        syscall::current_is_compat(),
        ptrace::is_dumpable(task),
    );
    let _ = (
        pid::find_task(1).is_some(),
        pid::find_task(task.pid()).is_some(),
    );
    let _ = pid::Numbering::of_current().numbers(me);
    let _ = ptrace::tracee(1);
    let _ = context.mm().is_some();
    let canary = Canary::new()?;
    let thread = kthread::spawn(c"exitcalls", move |context| {
        let _ = context.sleep_for(Delta::from_millis(1));
        canary
    })?;
    let _ = thread.join_killable().map_err(|refused| drop(refused.item));
    let canary = Canary::new()?;
    let thread = Builder::new(c"exitcalls")
        .parkable()
        .spawn(move |context| {
            while !context.sleep().is_stopped() {}
            canary
        })?;
    let _ = (
        thread.park_killable(),
        thread.park_timeout(Delta::from_millis(20)),
        thread.park(),
    );
    thread.request_stop();
    match thread.detach() {
        Ok(()) => (),
        Err(refused) => drop(refused),
    }
    Ok(drop((
        worker.flush(),
        worker.flush_killable(),
        worker.flush_timeout(Delta::from_millis(50)),
    )))
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
        _: &File,
        command: u32,
        fd: usize,
        context: &SyscallContext<'_>,
    ) -> Result<isize> {
        if command != _IO(0xBB, 1) {
            return Err(ENOTTY);
        }
        let current = kernel::current!();
        let me: ARef<Task> = ARef::from(&**current);
        let queue = Ordered::new(&me, NotifyMode::None)?;
        let worker = Builder::new(c"exitcalls-w").worker(MODULE.copy().ok_or(ENODEV)?)?;
        let taken = fd::take(context, fd as u32, GFP_KERNEL)?;
        let canary = Canary::new()?;
        task_work::add_fn(
            current,
            move |context| {
                RAN.fetch_add(1, Relaxed);
                if !context.is_exiting() {
                    pr_info!("exitcalls: not exiting\n");
                }
                if let Err(error) = calls(context, &worker, &queue, &me) {
                    pr_info!("exitcalls: {error:?}\n");
                }
                drop((taken, canary));
            },
            NotifyMode::None,
            GFP_KERNEL,
        )?;
        Ok(0)
    }
}
static MODULE: SetOnce<&'static ThisModule> = SetOnce::new();
#[pin_data]
struct M {
    #[pin]
    dev: MiscDeviceRegistration<Dev>,
}
impl kernel::InPlaceModule for M {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        MODULE.populate(module);
        try_pin_init!(Self {
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"exitcalls" }),
        })
    }
}
