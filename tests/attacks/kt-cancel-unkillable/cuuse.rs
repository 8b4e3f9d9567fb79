// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Cancels and flushes, in tasks of a user, a work item that runs until another task continues.
//!
//! The item waits for a closure on a stopped task. Two processes call `cancel_killable()` and
//! `flush_work_killable()` in an ioctl and are killed.
//!
//! A sound library ends both waits with `EINTR`, so that both processes exit while the other
//! task is still stopped.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::{aref::ARef, Arc, SetOnce},
    task::Task,
};
use tether::{
    impl_has_kthread_work,
    kthread::{
        worker::{KthreadWork, KthreadWorkItem, KthreadWorker, WorkContext},
        Builder,
    },
    misc_device::*,
    pid,
};
module! { type: M, name: "cuuse", authors: ["h"], description: "attack", license: "GPL", }
#[pin_data]
struct Item {
    stopped: ARef<Task>,
    #[pin]
    work: KthreadWork<Item>,
}
impl_has_kthread_work! { impl HasKthreadWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &WorkContext<'_>) {
        pr_info!("cuuse: runs\n");
        pr_info!("cuuse: ran: {:?}\n", cuask::cuask_ask(&this.stopped));
    }
}
static WORKER: SetOnce<KthreadWorker> = SetOnce::new();
static ITEM: SetOnce<Arc<Item>> = SetOnce::new();
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, stopped: usize) -> Result<isize> {
        const FIRST: u32 = _IO(0xBB, 1);
        let worker = WORKER.as_ref().ok_or(ENODEV)?;
        match command.wrapping_sub(FIRST) {
            0 => {
                let stopped = pid::find_task(stopped as i32).ok_or(ESRCH)?;
                let item = Arc::pin_init(
                    pin_init!(Item { stopped, work <- KthreadWork::new() }),
                    GFP_KERNEL,
                )?;
                ITEM.populate(item.clone());
                worker.enqueue(item)?;
            }
            1 => drop(worker.cancel_killable(ITEM.as_ref().ok_or(ENOENT)?)?),
            2 => worker.flush_work_killable(ITEM.as_ref().ok_or(ENOENT)?)?,
            _ => return Err(ENOTTY),
        }
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
        pin_init::pin_init_scope(move || {
            WORKER.populate(Builder::new(c"cuuse").worker(module)?);
            Ok(try_pin_init!(Self {
                dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"cuuse" }),
            }))
        })
    }
}
