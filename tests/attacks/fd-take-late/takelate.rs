// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops a taken file in another thread, after the task that has called `take()` has left that
//! system call and sleeps in a later one.
//!
//! The file is the write end of a pipe, and the later system call reads from the pipe. If the
//! drop queued its task work without notifying the task, the read would never see the end of the
//! pipe, because the task does not run the work while it sleeps.
//!
//! A sound library interrupts the sleep: the task releases the file, the read returns, and the
//! process ends.
use kernel::{
    fs::File,
    ioctl::_IO,
    new_mutex,
    prelude::*,
    sync::{Mutex, SetOnce},
    time::{delay::fsleep, Delta},
};
use tether::{
    fd::{self, TakenFile},
    kthread::{self, Thread},
    misc_device::*,
    syscall::SyscallContext,
};
module! { type: M, name: "takelate", authors: ["h"], description: "attack", license: "GPL", }
const TAKE: u32 = _IO(0xBB, 1);
#[pin_data]
struct Slot {
    #[pin]
    taken: Mutex<Option<TakenFile>>,
}
static SLOT: SetOnce<Pin<KBox<Slot>>> = SetOnce::new();
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
        if command != TAKE {
            return Err(ENOTTY);
        }
        let taken = fd::take(context, fd as u32, GFP_KERNEL)?;
        if let Some(slot) = SLOT.as_ref() {
            *slot.taken.lock() = Some(taken);
        }
        Ok(0)
    }
}
#[pin_data]
struct M {
    #[pin]
    dev: MiscDeviceRegistration<Dev>,
    thread: Thread<()>,
}
impl kernel::InPlaceModule for M {
    fn init(_: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            SLOT.populate(KBox::pin_init(
                pin_init!(Slot { taken <- new_mutex!(None) }),
                GFP_KERNEL,
            )?);
            let thread = kthread::spawn(c"takelate", |context| {
                while !context.should_stop() {
                    fsleep(Delta::from_millis(20));
                    let Some(slot) = SLOT.as_ref() else { continue };
                    let taken = slot.taken.lock().take();
                    if let Some(taken) = taken {
                        fsleep(Delta::from_millis(1000));
                        drop(taken);
                        pr_info!("takelate: dropped\n");
                    }
                }
            })?;
            Ok(try_pin_init!(Self {
                dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"takelate" }),
                thread,
            }))
        })
    }
}
