// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Waits in a callback that runs at the beginning of the exit of its task, before `PF_EXITING`
//! is set.
//!
//! A task that is traced with `PTRACE_O_TRACEEXIT` runs works in `ptrace_notify()`, and a task
//! with an io_uring in `io_uring_files_cancel()`. Its process has `SIGNAL_GROUP_EXIT` by then,
//! so that `prepare_signal()` drops every signal, including SIGKILL. A library that tests
//! `PF_EXITING` only would start a wait that cannot be killed.
//!
//! A sound library refuses the waits, with `EDEADLK` or `EINTR`, or lets SIGKILL end them.
use kernel::{
    fs::File,
    ioctl::_IO,
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, Builder},
    misc_device::*,
    pid,
    task_work::{self, NotifyMode},
};
module! { type: M, name: "traceexit", authors: ["h"], description: "attack", license: "GPL", }
struct Dev;
#[vtable]
impl MiscDevice for Dev {
    type Ptr = KBox<Self>;
    fn open(_: &TransientFile, _: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Dev, GFP_KERNEL)?)
    }
    fn ioctl(_: &Self, _: &File, command: u32, stopped: usize) -> Result<isize> {
        const FIRST: u32 = _IO(0xBB, 1);
        let mode = command.wrapping_sub(FIRST);
        if mode > 3 {
            return Err(ENOTTY);
        }
        let stopped = pid::find_task(stopped as i32).ok_or(ESRCH)?;
        task_work::add_fn(
            kernel::current!(),
            move |context| {
                pr_info!(
                    "traceexit: {mode} begins, exiting {}\n",
                    context.is_exiting()
                );
                let result = match mode {
                    0 | 1 => {
                        match task_work::add_fn(&stopped, |_| (), NotifyMode::Signal, GFP_KERNEL) {
                            Ok(pending) if mode == 0 => pending.wait(),
                            Ok(pending) => pending.wait_timeout(Delta::from_secs(86400)),
                            Err(refused) => Err(refused.error),
                        }
                    }
                    2 => kthread::spawn(
                        c"traceexit",
                        |context| while !context.sleep().is_stopped() {},
                    )
                    .map_err(|refused| refused.error)
                    .and_then(|thread| thread.join_killable().map_err(|refused| refused.error)),
                    _ => Builder::new(c"traceexit")
                        .parkable()
                        .spawn(|context| {
                            while !context.should_stop() {
                                fsleep(Delta::from_millis(50));
                            }
                        })
                        .map_err(|refused| refused.error)
                        .and_then(|thread| thread.park_killable()),
                };
                pr_info!("traceexit: {mode}: {result:?}\n");
            },
            NotifyMode::None,
            GFP_KERNEL,
        )?;
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
            dev <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"traceexit" }),
        })
    }
}
