// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Drops a `TakenFile` in another task while the ioctl that was called through this file runs.
//!
//! The drop adds a boxed work to the task that has called `fd::take()`. The box may lie at the
//! address of the item that the running callback has freed, so that an add is refused with
//! `EBUSY` as if the callback added its own item. If the current task released the file in this
//! case, the ioctl of the other task would lose the file that its `fdget()` has borrowed
//! without a reference.
//!
//! A sound library releases the file after the system call that has called `fd::take()`.
use kernel::{
    fs::File,
    ioctl::_IO,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed},
        Mutex, SetOnce,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    fd::{self, TakenFile},
    impl_has_task_work,
    misc_device::*,
    syscall::SyscallContext,
    task_work::{self, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: M, name: "takebusy", authors: ["h"], description: "attack", license: "GPL", }

const TAKE: u32 = _IO(0xBB, 1);
const WAIT: u32 = _IO(0xBB, 2);
/// 0: idle, 1: a callback has freed its box, 2: a file was taken, 3: the `TakenFile` was dropped.
static PHASE: Atomic<i32> = Atomic::new(0);
static IN_IOCTL: Atomic<i32> = Atomic::new(0);
static RELEASED: Atomic<i32> = Atomic::new(0);
static TRIES: Atomic<i32> = Atomic::new(0);

#[pin_data]
struct Slot {
    #[pin]
    taken: Mutex<Option<TakenFile>>,
}
static SLOT: SetOnce<Pin<KBox<Slot>>> = SetOnce::new();

fn wait_for(phase: i32) -> bool {
    for _ in 0..2000 {
        if PHASE.load(Acquire) == phase {
            return true;
        }
        fsleep(Delta::from_micros(100));
    }
    false
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
    fn run(this: Pin<KBox<Item>>, _: &Context<'_>) {
        drop(this);
        PHASE.store(1, Relaxed);
        if wait_for(2) {
            if let Some(slot) = SLOT.as_ref() {
                let taken = slot.taken.lock().take();
                drop(taken);
            }
        }
        PHASE.store(3, Relaxed);
    }
}

struct Dev(Atomic<i32>);
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev(Atomic::new(0)), GFP_KERNEL)?)
    }
    fn release(device: KBox<Self>, _: &TransientFile) {
        if device.0.load(Relaxed) == 1 {
            pr_err!(
                "takebusy: BAD: released while its ioctl runs, after {} tries\n",
                TRIES.load(Relaxed)
            );
            RELEASED.fetch_add(1, Full);
        }
    }
    fn ioctl_in_syscall(
        me: &Self,
        _: &File,
        command: u32,
        fd: usize,
        context: &SyscallContext<'_>,
    ) -> Result<isize> {
        match command {
            WAIT => {
                let item = KBox::pin_init(
                    pin_init!(Item { padding: [0; 2], work <- TaskWork::new() }),
                    GFP_KERNEL,
                )?;
                task_work::add(kernel::current!(), item, NotifyMode::Resume)?;
                Ok(0)
            }
            TAKE => {
                if !wait_for(1) {
                    return Err(EAGAIN);
                }
                let taken = fd::take(context, fd as u32, GFP_KERNEL)?;
                TRIES.fetch_add(1, Relaxed);
                IN_IOCTL.store(1, Relaxed);
                me.0.store(1, Relaxed);
                if let Some(slot) = SLOT.as_ref() {
                    *slot.taken.lock() = Some(taken);
                }
                PHASE.store(2, Relaxed);
                wait_for(3);
                fsleep(Delta::from_millis(5));
                if RELEASED.load(Relaxed) == 0 {
                    me.0.store(0, Relaxed);
                }
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
                dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"takebusy" }),
            }))
        })
    }
}
