// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Stops a thread, or drops a worker, that waits killably for a closure in a stopped task.
//!
//! A stop request sets `TIF_NOTIFY_SIGNAL`, which ends interruptible sleeps only. A kernel thread
//! ignores SIGKILL, so that nothing ends a killable sleep.
//!
//! A sound library ends the wait when the thread is asked to stop, as it ends `Pending::wait()`,
//! or refuses the wait.
use kernel::{
    fs::File,
    prelude::*,
    sync::{Arc, SetOnce},
    task::Task,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, Builder},
    misc_device::*,
    pid,
    task_work::{self, impl_has_task_work, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: M, name: "killstop", authors: ["h"], description: "attack", license: "GPL", }
static MODULE: SetOnce<&'static ThisModule> = SetOnce::new();
#[pin_data]
struct Item {
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(_: Arc<Item>, _: &Context<'_>) {}
}
fn wait(form: u32, task: &Task) -> Result<usize> {
    match form {
        0 => task_work::add_fn(task, |_| (), NotifyMode::Signal, GFP_KERNEL)?.wait()?,
        1 => task_work::add_fn(task, |_| (), NotifyMode::Signal, GFP_KERNEL)?.wait_killable()?,
        2 => task_work::call(task, |_| (), NotifyMode::Signal, GFP_KERNEL)?.wait_killable()?,
        3 => {
            let nothing = Arc::new(|_: &Context<'_>| (), GFP_KERNEL)?;
            return task_work::in_each_thread(task, &nothing, Delta::from_secs(86400));
        }
        _ => {
            let item = Arc::pin_init(pin_init!(Item { work <- TaskWork::new() }), GFP_KERNEL)?;
            task_work::add(task, item.clone(), NotifyMode::Signal)?;
            task_work::wait_killable(&item)?;
        }
    }
    Ok(0)
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, form: u32, stopped: usize) -> Result<isize> {
        let task = pid::find_task(stopped as i32).ok_or(ESRCH)?;
        let module = MODULE.copy().ok_or(EIO)?;
        if form & 0x10 != 0 {
            let worker = Builder::new(c"killstop-w").worker(module)?;
            worker.try_spawn(GFP_KERNEL, move |_| {
                pr_info!("killstop: {form}: {:?}\n", wait(form & 15, &task));
            })?;
            fsleep(Delta::from_millis(500));
            pr_info!("killstop: {form}: stops\n");
            drop(worker);
        } else {
            let thread = kthread::spawn(c"killstop", move |_| {
                pr_info!("killstop: {form}: {:?}\n", wait(form & 15, &task));
            })?;
            fsleep(Delta::from_millis(500));
            pr_info!("killstop: {form}: stops\n");
            drop(thread.stop());
        }
        pr_info!("killstop: {form}: stopped\n");
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"killstop" }),
        })
    }
}
