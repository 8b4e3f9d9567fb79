// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Frees the box of the running callback, creates an `Arc`, and adds the `Arc` to the same
//! task.
//!
//! The `Arc` may lie at the address of the box. A library that compares addresses would take it
//! for the item of the running callback, which must not be added there.
//!
//! A sound library accepts the `Arc`, which was never added before.
use kernel::{
    fs::File,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use tether::{
    impl_has_task_work,
    misc_device::*,
    task_work::{self, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: M, name: "fresharc", authors: ["h"], description: "attack", license: "GPL", }
static BUSY: Atomic<i32> = Atomic::new(0);
static RAN: Atomic<i32> = Atomic::new(0);
#[pin_data]
struct Shared {
    n: u64,
    #[pin]
    work: TaskWork<Shared>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Shared { self.work } }
impl TaskWorkItem for Shared {
    type Pointer = Arc<Shared>;
    fn run(_: Arc<Shared>, _: &Context<'_>) {
        RAN.fetch_add(1, Relaxed);
    }
}
#[pin_data]
struct Item {
    padding: [u64; 2],
    #[pin]
    work: TaskWork<Item>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Item { self.work } }
impl TaskWorkItem for Item {
    type Pointer = Pin<KBox<Item>>;
    fn run(this: Pin<KBox<Item>>, context: &Context<'_>) {
        drop(this);
        let Ok(fresh) = Arc::pin_init(
            pin_init!(Shared { n: 1, work <- TaskWork::new() }),
            GFP_KERNEL,
        ) else {
            return;
        };
        if let Err(refused) = task_work::add(context.task(), fresh, NotifyMode::Resume) {
            pr_info!(
                "fresharc: refused {:?}, of {}\n",
                refused.error,
                refused.item.n
            );
            BUSY.fetch_add(1, Relaxed);
        }
    }
}
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, _: u32, _: usize) -> Result<isize> {
        let item = KBox::pin_init(
            pin_init!(Item { padding: [0; 2], work <- TaskWork::new() }),
            GFP_KERNEL,
        )?;
        task_work::add(kernel::current!(), item, NotifyMode::Resume)?;
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"fresharc" }),
        })
    }
}
