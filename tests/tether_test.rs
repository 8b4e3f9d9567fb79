// SPDX-License-Identifier: GPL-2.0

//! `/dev/tether-test`: what the tests in user space drive; see `tether_test.h`.

use kernel::{
    fs::File,
    ioctl::{
        _IO,
        _IOR,
        _IOW, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    task::Task,
    uaccess::UserSlice, //
};
use tether::{
    mm::{
        mmu_notifier::{
            MmuNotifier,
            Range,
            Registration, //
        },
        Mm, //
    },
    pid,
    task_work::{
        self,
        impl_has_task_work,
        Context,
        Mode,
        TaskWork,
        TaskWorkItem, //
    }, //
};

module! {
    type: TetherTest,
    name: "tether_test",
    authors: ["The Tether developers"],
    description: "Test: what the tests in user space drive",
    license: "GPL",
}

#[pin_data]
struct TetherTest {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for TetherTest {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"tether-test",
            }),
        })
    }
}

static MADE: Atomic<i64> = Atomic::new(0);
static RAN: Atomic<i64> = Atomic::new(0);
static DROPPED: Atomic<i64> = Atomic::new(0);
static RAN_EXITING: Atomic<i64> = Atomic::new(0);
static RAN_WITHOUT_MM: Atomic<i64> = Atomic::new(0);
static RAN_IN_WRONG_TASK: Atomic<i64> = Atomic::new(0);
static REQUEUE_ERROR: Atomic<i64> = Atomic::new(0);

/// What an item carries, and how it counts.
struct Payload {
    target: ARef<Task>,
}

impl Payload {
    fn new(target: &ARef<Task>) -> Self {
        MADE.fetch_add(1, Full);
        Self {
            target: target.clone(),
        }
    }

    fn ran(&self, context: &Context<'_>) {
        RAN.fetch_add(1, Full);
        RAN_EXITING.fetch_add(i64::from(context.is_exiting()), Full);
        RAN_WITHOUT_MM.fetch_add(i64::from(context.mm().is_none()), Full);
        let wrong = **context.task() != *self.target;
        RAN_IN_WRONG_TASK.fetch_add(i64::from(wrong), Full);
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Full);
    }
}

#[pin_data]
struct Boxed {
    payload: Payload,
    #[pin]
    work: TaskWork<Boxed>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Boxed { self.work }
}

impl TaskWorkItem for Boxed {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, context: &Context<'_>) {
        this.payload.ran(context);
    }
}

#[pin_data]
struct Shared {
    payload: Payload,
    requeue: bool,
    #[pin]
    work: TaskWork<Shared>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Shared { self.work }
}

impl TaskWorkItem for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Self::Pointer, context: &Context<'_>) {
        this.payload.ran(context);
        if this.requeue {
            let result = task_work::add(context.task(), this, Mode::Resume);
            let error = result.map_or_else(|refused| refused.error.to_errno(), |()| 0);
            REQUEUE_ERROR.store(error.into(), Relaxed);
        }
    }
}

/// `struct tether_test_add`.
#[derive(FromBytes)]
#[repr(C)]
struct AddArgument {
    tid: i32,
    mode: u32,
    kind: u32,
    _reserved: u32,
}

/// `struct tether_test_counts`.
#[derive(IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
struct CountsArgument([i64; 10]);

const ADD: u32 = _IOW::<AddArgument>(0xB9, 1);
const COUNTS: u32 = _IOR::<CountsArgument>(0xB9, 2);
const REGISTER: u32 = _IO(0xB9, 3);
const UNREGISTER: u32 = _IO(0xB9, 4);

fn add(argument: &AddArgument) -> Result {
    let target = match argument.tid {
        0 => ARef::<Task>::from(&**current!()),
        tid => pid::find_task(tid).ok_or(ESRCH)?,
    };
    let mode = match argument.mode {
        0 => Mode::None,
        1 => Mode::Resume,
        2 => Mode::Signal,
        3 => Mode::SignalNoIpi,
        _ => return Err(EINVAL),
    };
    let payload = Payload::new(&target);
    let shared = |payload, requeue| {
        Arc::pin_init(
            pin_init!(Shared { payload, requeue, work <- TaskWork::new() }),
            GFP_KERNEL,
        )
    };
    match argument.kind {
        0 => {
            let item = KBox::pin_init(
                pin_init!(Boxed { payload, work <- TaskWork::new() }),
                GFP_KERNEL,
            )?;
            task_work::add(&target, item, mode)?;
        }
        1 => task_work::add(&target, shared(payload, false)?, mode)?,
        2 => task_work::add_fn(
            &target,
            move |context| payload.ran(context),
            mode,
            GFP_KERNEL,
        )?,
        3 => {
            let item = shared(payload, false)?;
            task_work::add(&target, item.clone(), mode)?;
            task_work::add(&target, item, mode)?;
        }
        4 => task_work::add(&target, shared(payload, true)?, mode)?,
        _ => return Err(EINVAL),
    }
    Ok(())
}

struct Notifier {
    starts: Atomic<i64>,
    ends: Atomic<i64>,
    releases: Arc<Atomic<i64>>,
}

#[vtable]
impl MmuNotifier for Notifier {
    fn invalidate_range_start(&self, _range: &Range<'_>) {
        self.starts.fetch_add(1, Full);
    }

    fn invalidate_range_end(&self, _range: &Range<'_>) {
        self.ends.fetch_add(1, Full);
    }

    fn release(&self, _mm: &Mm) {
        self.releases.fetch_add(1, Full);
    }
}

/// An open file.
#[pin_data]
struct Device {
    #[pin]
    registration: Mutex<Option<Pin<KBox<Registration<Notifier>>>>>,
    releases: Arc<Atomic<i64>>,
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let releases = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        KBox::pin_init(
            pin_init!(Self { registration <- new_mutex!(None), releases }),
            GFP_KERNEL,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, command: u32, argument: usize) -> Result<isize> {
        let argument = UserPtr::from_addr(argument);
        match command {
            ADD => {
                let mut bytes = [0; size_of::<AddArgument>()];
                UserSlice::new(argument, bytes.len())
                    .reader()
                    .read_slice(&mut bytes)?;
                add(&AddArgument::read_from_bytes(&bytes).map_err(|_| EINVAL)?)?;
            }
            COUNTS => {
                let (starts, ends) = match me.registration.lock().as_ref() {
                    Some(it) => (
                        it.notifier().starts.load(Relaxed),
                        it.notifier().ends.load(Relaxed),
                    ),
                    None => (0, 0),
                };
                let counts = CountsArgument([
                    MADE.load(Relaxed),
                    RAN.load(Relaxed),
                    DROPPED.load(Relaxed),
                    RAN_EXITING.load(Relaxed),
                    RAN_WITHOUT_MM.load(Relaxed),
                    RAN_IN_WRONG_TASK.load(Relaxed),
                    REQUEUE_ERROR.load(Relaxed),
                    starts,
                    ends,
                    me.releases.load(Relaxed),
                ]);
                UserSlice::new(argument, size_of::<CountsArgument>())
                    .writer()
                    .write_slice(counts.as_bytes())?;
            }
            REGISTER => {
                let task = current!();
                let mm = task.mm().ok_or(EINVAL)?;
                let notifier = Notifier {
                    starts: Atomic::new(0),
                    ends: Atomic::new(0),
                    releases: me.releases.clone(),
                };
                let registration = KBox::pin_init(Registration::new(mm, notifier), GFP_KERNEL)?;
                let old = me.registration.lock().replace(registration);
                drop(old);
            }
            UNREGISTER => {
                let old = me.registration.lock().take();
                drop(old.ok_or(EINVAL)?);
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
