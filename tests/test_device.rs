// SPDX-License-Identifier: GPL-2.0

//! Misc devices, and functions that are called in interrupt context; see `device_test.c`.

#![forbid(unsafe_code)]

use kernel::{
    fs::File,
    impl_has_hr_timer,
    ioctl::_IO,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    new_mutex,
    new_poll_condvar,
    page::PAGE_SIZE,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        poll::PollCondVar,
        Mutex,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        hrtimer::{
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Monotonic, //
    }, //
};
use tether::{
    fd::{
        self,
        TakenFile, //
    },
    kthread::{
        self,
        Wake, //
    },
    misc_device::{
        Kiocb,
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration,
        PollTable,
        Ready,
        TransientFile, //
    },
    pid,
    ptrace::{
        self,
        Permission, //
    },
    syscall::{
        self,
        SyscallContext, //
    },
    user_stack, //
};

module! {
    type: TestDevice,
    name: "test_device",
    authors: ["The Tether developers"],
    description: "Test: misc devices",
    license: "GPL",
    params: {
        milliseconds: i64 {
            default: 0,
            description: "The time that init takes after the registration of the devices",
        },
        fail: bool {
            default: false,
            description: "Whether init fails afterwards",
        },
        forget: bool {
            default: false,
            description: "Whether the registrations are leaked",
        },
        linger: bool {
            default: false,
            description: "Whether a leaked thread uses a registration during module teardown",
        },
    },
}

type Slot = Pin<KBox<Mutex<Option<Registered<Plain>>>>>;
type Registered<T> = Pin<KBox<MiscDeviceRegistration<T>>>;

fn register<T: MiscDevice>(name: &'static CStr) -> Result<Registered<T>> {
    let options = MiscDeviceOptions { name };
    KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)
}

/// Registers `/dev/test-plain`, with read permission for all users.
fn register_plain() -> Result<Registered<Plain>> {
    let options = MiscDeviceOptions {
        name: c"test-plain",
    };
    KBox::pin_init(
        MiscDeviceRegistration::register_with_mode(options, 0o644),
        GFP_KERNEL,
    )
}

/// Returns the error of a registration with these permissions.
fn refused_mode(mode: u16) -> Option<Error> {
    let options = MiscDeviceOptions { name: c"test-mode" };
    let registration: Result<Registered<Plain>> = KBox::pin_init(
        MiscDeviceRegistration::register_with_mode(options, mode),
        GFP_KERNEL,
    );
    registration.err()
}

/// The registration of `/dev/test-plain`.
static PLAIN: SetOnce<Slot> = SetOnce::new();

fn plain() -> Result<&'static Mutex<Option<Registered<Plain>>>> {
    PLAIN.as_ref().map(|plain| &**plain).ok_or(ENODEV)
}

fn drop_plain() -> Result {
    let registration = plain()?.lock().take();
    registration.map(drop).ok_or(ENODEV)
}

fn register_other() -> Result {
    register::<Plain>(c"test-other").map(drop)
}

/// Uses a registration after module teardown has ended it: the registration is older than this
/// thread, so teardown ends it first.
fn linger(registration: Registered<Plain>) {
    for _ in 0..100 {
        fsleep(Delta::from_millis(1));
        if registration.device().name() != c"test-plain" {
            pr_err!("BUG: the device has lost its name\n");
        }
    }
    if register_other() != Err(ENODEV) {
        pr_err!("BUG: a device was registered for a module that ends\n");
    }
    drop(registration);
}

/// The number of descriptors of `/dev/test-device` that were closed.
static FLUSHED: Atomic<u32> = Atomic::new(0);

/// The number of files that were released.
static RELEASED: Atomic<u32> = Atomic::new(0);

struct TestDevice {
    device: Option<Registered<Device>>,
}

impl kernel::Module for TestDevice {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        PLAIN.populate(KBox::pin_init(new_mutex!(None), GFP_KERNEL)?);
        let device = register(c"test-device")?;
        *plain()?.lock() = Some(register_plain()?);
        fsleep(Delta::from_millis(module_parameters::milliseconds.value()));
        let this = Self {
            device: Some(device),
        };
        if module_parameters::linger.value() {
            let registration = plain()?.lock().take().ok_or(ENODEV)?;
            core::mem::forget(kthread::spawn(c"test_device", move |context| {
                while context.sleep_for(Delta::from_millis(1)) != Wake::Stopped {}
                linger(registration);
            })?);
        }
        if module_parameters::fail.value() {
            return Err(EUCLEAN);
        }
        Ok(this)
    }
}

impl Drop for TestDevice {
    fn drop(&mut self) {
        if module_parameters::forget.value() {
            core::mem::forget(self.device.take());
        } else {
            let _ = drop_plain();
        }
    }
}

/// A device that implements no optional methods.
struct Plain;

/// The action of the next open: an `enum device_test_open`.
static NEXT_OPEN: Atomic<u32> = Atomic::new(0);

fn in_thread(f: fn() -> Result) -> Result {
    kthread::spawn(c"test_device", move |_| f())?
        .join()
        .map_err(|_| EDEADLK)?
}

#[vtable]
impl MiscDevice for Plain {
    type Ptr = KBox<Self>;

    fn open(file: &TransientFile, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        match NEXT_OPEN.xchg(0, Relaxed) {
            1 => drop_plain()?,
            2 => in_thread(drop_plain)?,
            3 => register_other()?,
            4 => in_thread(register_other)?,
            5 => return Err(EDOM),
            _ => {}
        }
        // This reference is valid even if the registration was just dropped.
        if misc.device().name() != c"test-plain" || file.cred().euid() != current_euid() {
            return Err(EUCLEAN);
        }
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn release(_me: KBox<Self>, _file: &TransientFile) {
        RELEASED.fetch_add(1u32, Relaxed);
    }
}

fn current_euid() -> kernel::task::Kuid {
    kernel::task::Kuid::current_euid()
}

/// The private data of a file: counts the bytes that were written and not yet read.
#[pin_data]
struct Device {
    #[pin]
    bytes: Mutex<usize>,
    #[pin]
    readable: PollCondVar,
}

const TAKE: u32 = _IO(0xBF, 1);
const TAKE_BY_THREAD: u32 = _IO(0xBF, 2);
const TAKE_FORGET: u32 = _IO(0xBF, 3);
const IN_INTERRUPT: u32 = _IO(0xBF, 4);
const ACTION_OF_OPEN: u32 = _IO(0xBF, 5);
const REGISTER: u32 = _IO(0xBF, 6);
const DROP: u32 = _IO(0xBF, 7);
const COUNT_RELEASED: u32 = _IO(0xBF, 8);
const CHURN: u32 = _IO(0xBF, 9);
const NO_NAME: u32 = _IO(0xBF, 10);
const COUNT_FLUSHED: u32 = _IO(0xBF, 11);
const BAD_MODES: u32 = _IO(0xBF, 12);

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(
            pin_init!(Self {
                bytes <- new_mutex!(0),
                readable <- new_poll_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    fn release(_me: Self::Ptr, file: &TransientFile) {
        if file.flags() & kernel::fs::file::flags::O_NONBLOCK != 0 {
            // The module must still be loaded after this sleep.
            fsleep(Delta::from_millis(200));
        }
        RELEASED.fetch_add(1u32, Relaxed);
    }

    /// Fails while there are bytes to be read.
    fn flush(me: Pin<&Self>, _file: &File) -> Result {
        FLUSHED.fetch_add(1u32, Relaxed);
        match *me.bytes.lock() {
            0 => Ok(()),
            _ => Err(EDQUOT),
        }
    }

    fn mmap(_me: Pin<&Self>, _file: &File, vma: &VmaNew) -> Result {
        if vma.end() - vma.start() != PAGE_SIZE {
            return Err(EINVAL);
        }
        vma.set_dontexpand();
        Ok(())
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let mut bytes = kiocb.file().get_ref().bytes.lock();
        if *bytes == 0 && kiocb.is_nonblocking() {
            return Err(EAGAIN);
        }
        let mut read = 0;
        while *bytes != 0 && iov.copy_to_iter(b"x") == 1 {
            *bytes -= 1;
            read += 1;
        }
        *kiocb.ki_pos_mut() += read as i64;
        Ok(read)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let me = kiocb.file();
        let written = iov.len();
        iov.advance(written);
        *me.bytes.lock() += written;
        me.readable.notify_all();
        Ok(written)
    }

    fn ioctl_in_syscall(
        _me: Pin<&Self>,
        _file: &File,
        command: u32,
        argument: usize,
        context: &SyscallContext<'_>,
    ) -> Result<isize> {
        let take = || fd::take(context, argument as u32, GFP_KERNEL);
        match command {
            TAKE => drop(take()?),
            TAKE_BY_THREAD => {
                let file = take()?;
                let before = RELEASED.load(Relaxed);
                kthread::spawn(c"test_device", move |_| drop(file))?
                    .join()
                    .map_err(|_| EDEADLK)?;
                fsleep(Delta::from_millis(100));
                return Ok((RELEASED.load(Relaxed) - before) as isize);
            }
            TAKE_FORGET => core::mem::forget(take()?),
            IN_INTERRUPT => return in_interrupt(context, argument as i32),
            ACTION_OF_OPEN => NEXT_OPEN.store(argument as u32, Relaxed),
            REGISTER => {
                let registration = register_plain()?;
                let old = plain()?.lock().replace(registration);
                drop(old);
            }
            DROP => drop_plain()?,
            COUNT_RELEASED => return Ok(RELEASED.load(Relaxed) as isize),
            CHURN => {
                for _ in 0..argument {
                    register_other()?;
                }
            }
            NO_NAME => drop(register::<Plain>(c"")?),
            COUNT_FLUSHED => return Ok(FLUSHED.load(Relaxed) as isize),
            BAD_MODES => {
                if refused_mode(0) != Some(EINVAL) || refused_mode(0o1000) != Some(EINVAL) {
                    return Err(EUCLEAN);
                }
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn poll<'a>(me: Pin<&'a Self>, _file: &File, table: &PollTable<'a>) -> Ready {
        table.register_wait(&me.get_ref().readable);
        match *me.bytes.lock() {
            0 => Ready::WRITE,
            7 => Ready::PRIORITY | Ready::READ_BAND | Ready::WRITE_BAND | Ready::READ_HANG_UP,
            _ => Ready::READ | Ready::WRITE,
        }
    }

    fn show_fdinfo(me: Pin<&Self>, m: &SeqFile, _file: &File) {
        seq_print!(m, "bytes:\t{}\n", *me.bytes.lock());
    }
}

/// The objects that an interrupt uses and drops.
#[pin_data]
struct Timer {
    #[pin]
    timer: HrTimer<Self>,
    file: Option<TakenFile>,
    device: Option<Registered<Plain>>,
    permission: Option<Permission>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Timer { mode: RelativeMode<Monotonic>, field: self.timer }
}

/// The result of the interrupt: one bit per failure, and `DONE`.
static RESULT: Atomic<u32> = Atomic::new(0);
const DONE: u32 = 1 << 31;

impl HrTimerCallback for Timer {
    type Pointer<'a> = Pin<KBox<Self>>;

    fn run(this: Pin<&mut Self>, _context: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let this = this.project();
        let options = MiscDeviceOptions {
            name: c"test-interrupt",
        };
        let registered = KBox::pin_init(
            MiscDeviceRegistration::<Plain>::register(options),
            GFP_ATOMIC,
        );
        let mut entries = [0; 8];
        let saved = user_stack::save(&mut entries);
        let failures = [
            pid::find_task(1).is_some(),
            pid::find_task(current_pid()).is_some(),
            ptrace::tracee(1).err() != Some(ESRCH),
            registered.err() != Some(EINVAL),
            saved > entries.len(),
            syscall::current_number().is_some_and(|number| number > 10_000),
            this.device
                .as_ref()
                .is_some_and(|device| device.device().name() != c"test-other"),
        ];
        if let Some(permission) = this.permission.as_ref() {
            permission.still_holds(kernel::current!());
        }
        drop(this.file.take());
        drop(this.device.take());
        drop(this.permission.take());
        let mut result = DONE;
        for (bit, failed) in failures.into_iter().enumerate() {
            result |= u32::from(failed) << bit;
        }
        RESULT.store(result, Release);
        HrTimerRestart::NoRestart
    }
}

fn current_pid() -> i32 {
    kernel::current!().pid()
}

fn in_interrupt(context: &SyscallContext<'_>, tracee: i32) -> Result<isize> {
    let permission = match tracee {
        0 => None,
        pid => Some(ptrace::tracee(pid)?.permission()),
    };
    // Take descriptor 100, if it is open.
    let file = fd::take(context, 100, GFP_KERNEL).ok();
    let device = register::<Plain>(c"test-other")?;
    let timer = KBox::pin_init(
        pin_init!(Timer {
            timer <- HrTimer::new(),
            file,
            device: Some(device),
            permission,
        }),
        GFP_KERNEL,
    )?;
    RESULT.store(0, Relaxed);
    let handle = timer.start(Delta::from_micros(50));
    let result = loop {
        match RESULT.load(Acquire) {
            0 => fsleep(Delta::from_micros(100)),
            result => break result,
        }
    };
    drop(handle);
    Ok((result & !DONE) as isize)
}
