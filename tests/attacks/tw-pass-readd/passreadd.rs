// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds and cancels an item in the destructor of a cancelled item, again and again.
//!
//! The destructor of a cancelled `Arc` runs in task_work_run() of the target, when the target
//! reaches the node. task_work_run() does not return while works are added. The library therefore
//! refuses adds to a task that is being killed, if the task is in a callback. If this rule did not
//! cover destructors of cancelled items, a killed task would not exit.
//!
//! A sound library treats such a destructor as a callback: the add fails with `ESRCH`, and the task
//! exits.
use kernel::{
    current,
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    impl_has_task_work,
    misc_device::*,
    task_work::{self, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: M, name: "passreadd", authors: ["h"], description: "attack", license: "GPL", }
static END: Atomic<bool> = Atomic::new(false);
static COUNT: Atomic<i32> = Atomic::new(0);
struct Again;
impl Drop for Again {
    fn drop(&mut self) {
        if !END.load(Relaxed) {
            fsleep(Delta::from_micros(100));
            if let Err(error) = again() {
                pr_info!("passreadd: {error:?}\n");
            }
        }
    }
}
#[pin_data]
struct Item {
    again: Again,
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &Context<'_>) {
        let _ = &this.again;
        pr_info!("passreadd: it ran\n");
    }
}
fn again() -> Result {
    COUNT.fetch_add(1, Relaxed);
    let item = Arc::pin_init(
        pin_init!(Item { again: Again, work <- TaskWork::new() }),
        GFP_KERNEL,
    )?;
    if let Err(refused) = task_work::add(current!(), item.clone(), NotifyMode::Resume) {
        // The destructor of the item that is dropped here must not add another item.
        END.store(true, Relaxed);
        return Err(refused.error);
    }
    drop(task_work::cancel(current!(), &item));
    Ok(())
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, end: usize) -> Result<isize> {
        if command != _IO(0xBB, 1) {
            return Err(ENOTTY);
        }
        if end != 0 {
            END.store(true, Relaxed);
            pr_info!("passreadd: {} times\n", COUNT.load(Relaxed));
        } else {
            again()?;
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
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"passreadd" }),
        })
    }
}
