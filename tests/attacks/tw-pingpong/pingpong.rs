// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds boxes to another task in their callback, so that two tasks add them to each other.
//!
//! An item is not added to its own task inside its callback, since the task would not return
//! from `task_work_run()`. A box may be added to another task there. If that task adds it back
//! before the callback has returned, neither task leaves `task_work_run()`: neither can be
//! killed, and the module stays pinned.
//!
//! A sound library refuses the add, at the latest when the target is being killed: both tasks
//! exit after SIGKILL.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
    },
    task::Task,
    time::{delay::fsleep, Delta, Instant, Monotonic},
};
use tether::{
    impl_has_task_work,
    misc_device::*,
    pid,
    task_work::{self, Context, NotifyMode, TaskWork, TaskWorkItem},
};
module! { type: M, name: "pingpong", authors: ["h"], description: "attack", license: "GPL", }
const GO: u32 = _IO(0xBB, 1);
static ROUNDS: Atomic<i32> = Atomic::new(0);
#[pin_data]
struct Ball {
    one: ARef<Task>,
    other: ARef<Task>,
    begun: Instant<Monotonic>,
    #[pin]
    work: TaskWork<Ball>,
}
impl_has_task_work! { impl HasTaskWork<Self> for Ball { self.work } }
impl TaskWorkItem for Ball {
    type Pointer = Pin<KBox<Ball>>;
    fn run(this: Pin<KBox<Ball>>, context: &Context<'_>) {
        ROUNDS.fetch_add(1, Relaxed);
        // Stop after a minute, so that the VM can be used again if the attack succeeds.
        if this.begun.elapsed().as_millis() > 60_000 {
            pr_info!("pingpong: over after {} rounds\n", ROUNDS.load(Relaxed));
            return;
        }
        let me: &Task = context.task();
        let to = if me == &*this.one {
            this.other.clone()
        } else {
            this.one.clone()
        };
        match task_work::add(&to, this, NotifyMode::Signal) {
            Ok(()) => fsleep(Delta::from_millis(20)),
            Err(refused) => pr_info!(
                "pingpong: refused: {:?} after {} rounds\n",
                refused.error,
                ROUNDS.load(Relaxed)
            ),
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
    fn ioctl(_: &Self, _: &File, command: u32, other: usize) -> Result<isize> {
        if command != GO {
            return Err(ENOTTY);
        }
        let me = kernel::current!();
        let other = pid::find_task(other as i32).ok_or(ESRCH)?;
        for _ in 0..16 {
            let other = other.clone();
            let ball = KBox::pin_init(
                pin_init!(Ball {
                    one: ARef::from(&**me),
                    other,
                    begun: Instant::now(),
                    work <- TaskWork::new(),
                }),
                GFP_KERNEL,
            )?;
            task_work::add(me, ball, NotifyMode::Signal)?;
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"pingpong" }),
        })
    }
}
