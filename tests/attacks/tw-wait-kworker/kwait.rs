// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits for a closure on a stopped task in `release()`, in the work item that releases files.
//!
//! If a kernel thread drops the last reference to a file, a work item of the kernel calls
//! `release()`. Workers of workqueues get no signals and are not asked to stop. While `wait()`
//! sleeps there, no other file is released by this work item.
//!
//! A sound library refuses the wait in a worker of a workqueue with `EDEADLK`.
use kernel::{
    fs::File,
    ioctl::_IO,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Mutex, SetOnce,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread,
    misc_device::*,
    pid,
    task_work::{self, NotifyMode},
};
module! { type: M, name: "kwait", authors: ["h"], description: "attack", license: "GPL", }
const KEEP: u32 = _IO(0xBB, 1);
const DROP: u32 = _IO(0xBB, 2);
#[pin_data]
struct Slot {
    #[pin]
    files: Mutex<KVec<ARef<File>>>,
}
static SLOT: SetOnce<Pin<KBox<Slot>>> = SetOnce::new();
struct Dev(Atomic<i32>);
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev(Atomic::new(0)), GFP_KERNEL)?)
    }
    fn release(device: KBox<Self>, _: &TransientFile) {
        let Some(stopped) = pid::find_task(device.0.load(Relaxed)) else {
            pr_info!("kwait: released {}\n", device.0.load(Relaxed));
            return;
        };
        pr_info!("kwait: waits in {}\n", kernel::current!().pid());
        if let Ok(pending) = task_work::add_fn(&stopped, |_| (), NotifyMode::Signal, GFP_KERNEL) {
            pr_info!("kwait: waited: {:?}\n", pending.wait());
        }
    }
    fn ioctl(me: &Self, file: &File, command: u32, stopped: usize) -> Result<isize> {
        let slot = SLOT.as_ref().ok_or(ENODEV)?;
        match command {
            KEEP => {
                me.0.store(stopped as i32, Relaxed);
                slot.files.lock().push(file.into(), GFP_KERNEL)?;
                Ok(0)
            }
            DROP => {
                let files = core::mem::take(&mut *slot.files.lock());
                let thread = kthread::spawn(c"kwait", move |_| {
                    for file in files {
                        drop(file);
                        fsleep(Delta::from_millis(300));
                    }
                })?;
                drop(thread.join());
                Ok(0)
            }
            _ => Err(ENOTTY),
        }
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
            SLOT.populate(KBox::pin_init(
                pin_init!(Slot { files <- new_mutex!(KVec::new()) }),
                GFP_KERNEL,
            )?);
            Ok(try_pin_init!(Self {
                dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"kwait" }),
            }))
        })
    }
}
