// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops a `TakenFile` in another task while the ioctl that was called through this file runs, and
//! its task is being killed.
//!
//! `task_work::add()` refuses works of other tasks for a task that is being killed. If the drop
//! released the file in this case, the ioctl would lose the file that its `fdget()` has borrowed
//! without a reference: its private data is freed, and its module is unpinned.
//!
//! A sound library releases the file after the system call that has called `fd::take()`.
use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Mutex, SetOnce,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    fd::{self, TakenFile},
    misc_device::*,
    syscall::SyscallContext,
};
module! { type: M, name: "takekill", authors: ["h"], description: "attack", license: "GPL", }

#[pin_data]
struct Slot {
    #[pin]
    taken: Mutex<Option<TakenFile>>,
}
static SLOT: SetOnce<Pin<KBox<Slot>>> = SetOnce::new();
static RELEASED: Atomic<i32> = Atomic::new(0);

/// 1 while the ioctl that has taken the file runs.
struct Dev(Atomic<i32>, Atomic<i32>);
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev(Atomic::new(0), Atomic::new(0)), GFP_KERNEL)?)
    }
    fn release(device: KBox<Self>, _: &TransientFile) {
        if device.0.load(Relaxed) == 1 {
            pr_err!("takekill: BAD: released while its ioctl runs\n");
        } else if device.1.load(Relaxed) == 1 {
            pr_info!("takekill: released in order\n");
        }
        RELEASED.fetch_add(1, Full);
    }
    fn ioctl_in_syscall(
        me: &Self,
        _: &File,
        command: u32,
        fd: usize,
        context: &SyscallContext<'_>,
    ) -> Result<isize> {
        let slot = SLOT.as_ref().ok_or(EINVAL)?;
        match command {
            0xBB01 => {
                let taken = fd::take(context, fd as u32, GFP_KERNEL)?;
                me.0.store(1, Relaxed);
                me.1.store(1, Relaxed);
                *slot.taken.lock() = Some(taken);
                for _ in 0..30 {
                    fsleep(Delta::from_millis(100));
                    // With KASAN, a use after free.
                    if me.0.load(Relaxed) != 1 {
                        pr_err!("takekill: BAD: the private data of the file has changed\n");
                        break;
                    }
                }
                me.0.store(0, Relaxed);
                Ok(0)
            }
            0xBB02 => {
                let taken = slot.taken.lock().take();
                pr_info!("takekill: dropping {}\n", taken.is_some());
                drop(taken);
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
                pin_init!(Slot { taken <- new_mutex!(None) }),
                GFP_KERNEL,
            )?);
            Ok(try_pin_init!(Self {
                dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"takekill" }),
            }))
        })
    }
}
