// SPDX-License-Identifier: GPL-2.0

//! `/dev/tether-test`: what the tests in user space drive; see `tether_test.h`.

use kernel::{
    fs::File,
    ioctl::{
        _IO,
        _IOR,
        _IOW, //
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
    time::Delta,
    uaccess::UserSlice, //
};
use tether::{
    misc_device::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration,
        TransientFile, //
    },
    mm::{
        mmu_notifier::{
            InvalidateRanges,
            MmuNotifier,
            Range,
            Ranges,
            Registration, //
        },
        Mm, //
    },
    pid,
    task_work::{
        self,
        impl_has_task_work,
        Cancel,
        Context,
        Mode,
        Ordered,
        Pending,
        TaskWork,
        TaskWorkItem, //
    },
    tether::Refused, //
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
static AGAIN: Atomic<i64> = Atomic::new(0);
static ORDER_ERRORS: Atomic<i64> = Atomic::new(0);

/// The place of an item in a file's queue, if it is in one.
struct Place {
    number: Atomic<i64>,
    last: Arc<Atomic<i64>>,
}

/// What an item carries, and how it counts.
struct Payload {
    target: ARef<Task>,
    place: Option<Place>,
}

impl Payload {
    fn new(target: &ARef<Task>) -> Self {
        MADE.fetch_add(1, Full);
        Self {
            target: target.clone(),
            place: None,
        }
    }

    fn at(target: &ARef<Task>, number: i64, last: &Arc<Atomic<i64>>) -> Self {
        let mut this = Self::new(target);
        this.place = Some(Place {
            number: Atomic::new(number),
            last: last.clone(),
        });
        this
    }

    fn ran(&self, context: &Context<'_>) {
        RAN.fetch_add(1, Full);
        RAN_EXITING.fetch_add(i64::from(context.is_exiting()), Full);
        RAN_WITHOUT_MM.fetch_add(i64::from(context.mm().is_none()), Full);
        let wrong = **context.task() != *self.target;
        RAN_IN_WRONG_TASK.fetch_add(i64::from(wrong), Full);
        if let Some(place) = &self.place {
            let number = place.number.load(Relaxed);
            let wrong = place.last.xchg(number, Full) >= number;
            ORDER_ERRORS.fetch_add(i64::from(wrong), Full);
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Full);
    }
}

/// What a callback does besides counting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// Adds the item again.
    Requeue,
    /// Adds a fresh one, this many times.
    Chain(u32),
}

fn note_requeue<T>(result: Result<(), Refused<T>>) {
    let error = result.map_or_else(|refused| refused.error.to_errno(), |()| 0);
    REQUEUE_ERROR.store(error.into(), Relaxed);
}

#[pin_data]
struct Boxed {
    payload: Payload,
    then: Then,
    #[pin]
    work: TaskWork<Boxed>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Boxed { self.work }
}

impl Boxed {
    fn new(payload: Payload, then: Then) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self { payload, then, work <- TaskWork::new() }),
            GFP_KERNEL,
        )
    }
}

impl TaskWorkItem for Boxed {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, context: &Context<'_>) {
        this.payload.ran(context);
        match this.then {
            Then::Nothing | Then::Chain(0) => {}
            Then::Requeue => note_requeue(task_work::add(context.task(), this, Mode::Resume)),
            Then::Chain(left) => {
                let target = this.payload.target.clone();
                // The fresh one may well get the same memory.
                drop(this);
                let next = Boxed::new(Payload::new(&target), Then::Chain(left - 1));
                if let Ok(next) = next {
                    note_requeue(task_work::add(context.task(), next, Mode::Resume));
                }
            }
        }
    }
}

#[pin_data]
struct Shared {
    payload: Payload,
    then: Then,
    #[pin]
    work: TaskWork<Shared>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Shared { self.work }
}

impl Shared {
    fn new(payload: Payload, then: Then) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self { payload, then, work <- TaskWork::new() }),
            GFP_KERNEL,
        )
    }
}

impl TaskWorkItem for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Self::Pointer, context: &Context<'_>) {
        this.payload.ran(context);
        if this.then == Then::Requeue {
            note_requeue(task_work::add(context.task(), this, Mode::Resume));
        }
    }
}

/// What a file keeps of what it has added.
trait Kept: Send + Sync {
    fn cancel(&mut self, task: Option<&Task>) -> isize;
    fn wait(&self, time: Option<Delta>) -> Result;
    fn add_again(&self, mode: Mode) -> Result;
}

type SharedKept = Arc<Mutex<KBox<dyn Kept>>>;

fn outcome<T>(cancel: Cancel<T>) -> isize {
    match cancel {
        Cancel::Cancelled(_) => 0,
        Cancel::TooLate => 1,
        Cancel::NotQueued => 2,
    }
}

struct KeptArc(ARef<Task>, Arc<Shared>);

impl Kept for KeptArc {
    fn cancel(&mut self, task: Option<&Task>) -> isize {
        outcome(task_work::cancel(task.unwrap_or(&self.0), &self.1))
    }

    fn wait(&self, time: Option<Delta>) -> Result {
        match time {
            Some(time) => task_work::wait_timeout(&self.1, time),
            None => task_work::wait(&self.1),
        }
    }

    fn add_again(&self, mode: Mode) -> Result {
        Ok(task_work::add(&self.0, self.1.clone(), mode)?)
    }
}

struct KeptClosure<F>(Option<Pending<F>>);

impl<F: FnOnce(&Context<'_>) + Send + 'static> Kept for KeptClosure<F> {
    fn cancel(&mut self, _task: Option<&Task>) -> isize {
        self.0.take().map_or(2, |pending| outcome(pending.cancel()))
    }

    fn wait(&self, time: Option<Delta>) -> Result {
        let pending = self.0.as_ref().ok_or(EINVAL)?;
        match time {
            Some(time) => pending.wait_timeout(time),
            None => pending.wait(),
        }
    }

    fn add_again(&self, _mode: Mode) -> Result {
        Err(EINVAL)
    }
}

/// A file's queue.
struct Queue {
    queue: Arc<Ordered>,
    target: ARef<Task>,
    next: i64,
    last: Arc<Atomic<i64>>,
    /// One that is added again and again.
    again: Arc<Shared>,
}

impl Queue {
    fn new(target: &ARef<Task>, mode: Mode) -> Result<Self> {
        let last = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        Ok(Self {
            queue: Ordered::new(target, mode)?,
            target: target.clone(),
            next: 1,
            again: Shared::new(Payload::at(target, 0, &last), Then::Nothing)?,
            last,
        })
    }

    /// Adds the one that was there before, behind all others, if it is not pending.
    fn add_again(&mut self) -> Result {
        let (Ok(()), Some(place)) = (
            task_work::wait_timeout(&self.again, Delta::from_millis(1)),
            &self.again.payload.place,
        ) else {
            return Ok(());
        };
        place.number.store(self.next, Relaxed);
        self.queue.add(self.again.clone())?;
        self.next += 1;
        AGAIN.fetch_add(1, Full);
        Ok(())
    }

    fn add(&mut self) -> Result {
        let payload = Payload::at(&self.target, self.next, &self.last);
        match self.next % 3 {
            0 => self.queue.add(Boxed::new(payload, Then::Nothing)?)?,
            1 => self.queue.add(Shared::new(payload, Then::Nothing)?)?,
            _ => drop(
                self.queue
                    .add_fn(move |context| payload.ran(context), GFP_KERNEL)?,
            ),
        }
        self.next += 1;
        Ok(())
    }
}

/// `struct tether_test_add`.
#[derive(FromBytes)]
#[repr(C)]
struct AddArgument {
    tid: i32,
    mode: u32,
    kind: u32,
    count: u32,
}

/// `struct tether_test_counts`.
#[derive(IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
struct CountsArgument([i64; 12]);

const ADD: u32 = _IOW::<AddArgument>(0xB9, 1);
const COUNTS: u32 = _IOR::<CountsArgument>(0xB9, 2);
const REGISTER: u32 = _IO(0xB9, 3);
const UNREGISTER: u32 = _IO(0xB9, 4);
const CANCEL: u32 = _IO(0xB9, 5);
const WAIT: u32 = _IO(0xB9, 6);
const ADD_AGAIN: u32 = _IO(0xB9, 7);

fn find(tid: usize) -> Result<ARef<Task>> {
    match tid {
        0 => Ok(ARef::<Task>::from(&**current!())),
        tid => pid::find_task(tid as i32).ok_or(ESRCH),
    }
}

fn mode(mode: u32) -> Result<Mode> {
    Ok(match mode {
        0 => Mode::None,
        1 => Mode::Resume,
        2 => Mode::Signal,
        3 => Mode::SignalNoIpi,
        _ => return Err(EINVAL),
    })
}

struct Notifier {
    starts: Atomic<i64>,
    ends: Atomic<i64>,
    releases: Arc<Atomic<i64>>,
}

#[vtable]
impl InvalidateRanges for Notifier {
    fn invalidate_range_start(&self, _range: &Range<'_>) {
        self.starts.fetch_add(1, Full);
    }

    fn invalidate_range_end(&self, _range: &Range<'_>) {
        self.ends.fetch_add(1, Full);
    }
}

impl MmuNotifier for Notifier {
    type Callbacks = Ranges;

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
    #[pin]
    kept: Mutex<Option<SharedKept>>,
    #[pin]
    queue: Mutex<Option<Queue>>,
}

impl Device {
    fn kept(&self) -> Result<SharedKept> {
        self.kept.lock().clone().ok_or(EINVAL)
    }

    fn keep(&self, kept: KBox<dyn Kept>) -> Result {
        let kept = Arc::pin_init(new_mutex!(kept), GFP_KERNEL)?;
        *self.kept.lock() = Some(kept);
        Ok(())
    }

    fn add(&self, argument: &AddArgument) -> Result {
        let target = find(argument.tid as usize)?;
        if (argument.mode, argument.kind) == (4, 0) {
            let item = Boxed::new(Payload::new(&target), Then::Nothing)?;
            return Ok(task_work::add_soon(&target, item)?);
        }
        let mode = mode(argument.mode)?;
        if argument.kind == 7 {
            let mut guard = self.queue.lock();
            let queue: &mut Option<Queue> = &mut guard;
            let queue = match queue {
                Some(queue) => queue,
                None => queue.insert(Queue::new(&target, mode)?),
            };
            for round in 0..argument.count {
                queue.add()?;
                if round == 0 {
                    queue.add_again()?;
                }
            }
            return Ok(());
        }
        let payload = Payload::new(&target);
        match argument.kind {
            0 => task_work::add(&target, Boxed::new(payload, Then::Nothing)?, mode)?,
            1 => task_work::add(&target, Shared::new(payload, Then::Nothing)?, mode)?,
            2 => drop(task_work::add_fn(
                &target,
                move |context| payload.ran(context),
                mode,
                GFP_KERNEL,
            )?),
            3 => {
                let item = Shared::new(payload, Then::Nothing)?;
                task_work::add(&target, item.clone(), mode)?;
                task_work::add(&target, item, mode)?;
            }
            4 => task_work::add(&target, Shared::new(payload, Then::Requeue)?, mode)?,
            5 => task_work::add(&target, Boxed::new(payload, Then::Requeue)?, mode)?,
            6 => {
                let item = Boxed::new(payload, Then::Chain(argument.count))?;
                task_work::add(&target, item, mode)?;
            }
            8 => {
                let item = Shared::new(payload, Then::Nothing)?;
                task_work::add(&target, item.clone(), mode)?;
                self.keep(KBox::new(KeptArc(target, item), GFP_KERNEL)?)?;
            }
            9 => {
                let pending = task_work::add_fn(
                    &target,
                    move |context| payload.ran(context),
                    mode,
                    GFP_KERNEL,
                )?;
                self.keep(KBox::new(KeptClosure(Some(pending)), GFP_KERNEL)?)?;
            }
            _ => return Err(EINVAL),
        }
        Ok(())
    }
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let releases = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        KBox::pin_init(
            pin_init!(Self {
                registration <- new_mutex!(None),
                releases,
                kept <- new_mutex!(None),
                queue <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, command: u32, number: usize) -> Result<isize> {
        let argument = UserPtr::from_addr(number);
        match command {
            ADD => {
                let mut bytes = [0; size_of::<AddArgument>()];
                UserSlice::new(argument, bytes.len())
                    .reader()
                    .read_slice(&mut bytes)?;
                me.add(&AddArgument::read_from_bytes(&bytes).map_err(|_| EINVAL)?)?;
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
                    ORDER_ERRORS.load(Relaxed),
                    AGAIN.load(Relaxed),
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
            CANCEL => {
                let task = match number {
                    0 => None,
                    tid => Some(find(tid)?),
                };
                return Ok(me.kept()?.lock().cancel(task.as_deref()));
            }
            WAIT => {
                let time = (number != 0).then(|| Delta::from_millis(number as i64));
                me.kept()?.lock().wait(time)?;
            }
            ADD_AGAIN => me.kept()?.lock().add_again(mode(number as u32)?)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
