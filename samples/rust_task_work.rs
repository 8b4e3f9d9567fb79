// SPDX-License-Identifier: GPL-2.0

//! Rust task work sample: logs a message in the context of the process that has written it.
//!
//! Text that a process writes to `/dev/rust-task-work` is logged by the process itself, before it
//! returns to user space:
//!
//! ```sh
//! sh -c 'echo hello > /dev/rust-task-work'
//! dmesg | tail -n 1        # rust_task_work: task work of pid 42: hello
//! ```

use kernel::{
    iov::IovIterSource,
    prelude::*,
    str::{
        BStr,
        CString, //
    }, //
};
use tether::misc_device::{
    Kiocb,
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};
use tether::task_work::{
    self,
    NotifyMode, //
};

module! {
    type: TaskWorkModule,
    name: "rust_task_work",
    authors: ["The Tether developers"],
    description: "Rust task work sample",
    license: "GPL",
}

#[pin_data]
struct TaskWorkModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for TaskWorkModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"rust-task-work",
            }),
        })
    }
}

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn write_iter(_kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        if iov.len() > 256 {
            return Err(EMSGSIZE);
        }
        let mut text = KVVec::new();
        let length = iov.copy_from_iter_vec(&mut text, GFP_KERNEL)?;
        let text = BStr::from_bytes(text.trim_ascii_end());
        let text = CString::try_from_fmt(fmt!("{text}"))?;
        // The closure owns the text, runs in the task, and drops the text there.
        task_work::add_fn(
            current!(),
            move |context| pr_info!("task work of pid {}: {}\n", context.task().pid(), &*text),
            NotifyMode::Resume,
            GFP_KERNEL,
        )?;
        Ok(length)
    }
}
