// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds a shared item to a task of another user again and again, while its callback runs.
//!
//! An `Arc` that is added while its callback runs is run once more in the same
//! `task_work_run()`. If another task adds it faster than it runs, the target does not return
//! to user space and cannot be killed.
//!
//! A sound library refuses the item when the target is being killed: the target exits after
//! SIGKILL.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::{Arc, SetOnce},
    time::{delay::fsleep, Delta},
};
use tether::{
    impl_has_task_work,
    misc_device::*,
    pid,
    task_work::{self, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: M, name: "readd", authors: ["h"], description: "attack", license: "GPL", }
static ITEM: SetOnce<Arc<Item>> = SetOnce::new();
#[pin_data]
struct Item {
    n: u64,
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &Context<'_>) {
        let _ = this.n;
        fsleep(Delta::from_millis(30));
    }
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, target: usize) -> Result<isize> {
        if command != _IO(0xBB, 1) {
            return Err(ENOTTY);
        }
        let target = pid::find_task(target as i32).ok_or(ESRCH)?;
        let item = ITEM.as_ref().ok_or(ENODEV)?;
        task_work::add(&target, item.clone(), NotifyMode::Signal)?;
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
        pin_init::pin_init_scope(|| {
            ITEM.populate(Arc::pin_init(
                pin_init!(Item { n: 1, work <- TaskWork::new() }),
                GFP_KERNEL,
            )?);
            Ok(try_pin_init!(Self {
                dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"readd" }),
            }))
        })
    }
}
