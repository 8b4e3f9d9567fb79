// SPDX-License-Identifier: GPL-2.0

//! `/dev/tether-test`: task works that user-space tests control; see `tether_test.h`.

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
        ArcBorrow,
        Mutex, //
    },
    task::Task,
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
        Instant,
        Monotonic, //
    },
    uaccess::UserSlice, //
};
use tether::{
    kthread,
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
            MmuNotifierRange,
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
        NotifyMode,
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
    description: "Test: task works that user-space tests control",
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

/// The position of an item in a file's queue.
struct Place {
    number: Atomic<i64>,
    last: Arc<Atomic<i64>>,
}

/// The data of an item, with its counters.
struct Payload {
    target: ARef<Task>,
    /// The item is also added to tasks other than `target`.
    anywhere: bool,
    place: Option<Place>,
}

impl Payload {
    fn new(target: &ARef<Task>) -> Self {
        MADE.fetch_add(1, Full);
        Self {
            target: target.clone(),
            anywhere: false,
            place: None,
        }
    }

    fn anywhere(target: &ARef<Task>) -> Self {
        let mut this = Self::new(target);
        this.anywhere = true;
        this
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
        let wrong = !self.anywhere && **context.task() != *self.target;
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

/// The action of a callback, besides counting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// Adds the item again.
    Requeue,
    /// Adds a new item, this many times.
    Chain(u32),
    /// Waits until [`GATE`] is open, and adds the item again.
    Block,
}

/// Non-zero if the callbacks that wait for the gate may return.
static GATE: Atomic<i32> = Atomic::new(1);

fn wait_for_gate() {
    for _ in 0..20_000 {
        if GATE.load(Relaxed) != 0 {
            return;
        }
        fsleep(Delta::from_millis(1));
    }
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
            Then::Nothing | Then::Chain(0) | Then::Block => {}
            Then::Requeue => note_requeue(task_work::add(context.task(), this, NotifyMode::Resume)),
            Then::Chain(left) => {
                let target = this.payload.target.clone();
                // The new item may get the memory of this one.
                drop(this);
                let next = Boxed::new(Payload::new(&target), Then::Chain(left - 1));
                if let Ok(next) = next {
                    note_requeue(task_work::add(context.task(), next, NotifyMode::Resume));
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
        if this.then == Then::Block {
            wait_for_gate();
        }
        if this.then != Then::Nothing {
            note_requeue(task_work::add(context.task(), this, NotifyMode::Resume));
        }
    }
}

/// An item with two fields. The callback of each field adds the item by the other field.
#[pin_data]
struct TwoFields<const SHARED: bool> {
    payload: Payload,
    #[pin]
    first: TaskWork<TwoFields<SHARED>, 1>,
    #[pin]
    second: TaskWork<TwoFields<SHARED>, 2>,
}

impl_has_task_work! {
    impl{const SHARED: bool} HasTaskWork<Self, 1> for TwoFields<SHARED> { self.first }
    impl{const SHARED: bool} HasTaskWork<Self, 2> for TwoFields<SHARED> { self.second }
}

macro_rules! two_fields {
    ($shared:literal, $pointer:ident, $field:literal, $other:literal) => {
        impl TaskWorkItem<$field> for TwoFields<$shared> {
            type Pointer = two_fields!($pointer);

            fn run(this: Self::Pointer, context: &Context<'_>) {
                this.payload.ran(context);
                note_requeue(task_work::add::<_, $other>(
                    context.task(),
                    this,
                    NotifyMode::Resume,
                ));
            }
        }
    };
    (KBox) => { Pin<KBox<Self>> };
    (Arc) => { Arc<Self> };
}
two_fields!(false, KBox, 1, 2);
two_fields!(false, KBox, 2, 1);
two_fields!(true, Arc, 1, 2);
two_fields!(true, Arc, 2, 1);

impl<const SHARED: bool> TwoFields<SHARED>
where
    Self: TaskWorkItem<1> + TaskWorkItem<2>,
{
    fn new(payload: Payload) -> impl PinInit<Self> {
        pin_init!(Self { payload, first <- TaskWork::new(), second <- TaskWork::new() })
    }
}

/// Adds an item to two tasks in turn, while a thread cancels it on the first task. Returns the
/// number of adds to the second task after which it did not run.
fn cancel_other(x: ARef<Task>, y: ARef<Task>, milliseconds: u32) -> Result<isize> {
    let item = Shared::new(Payload::anywhere(&x), Then::Nothing)?;
    let (target, cancelled) = (x.clone(), item.clone());
    let canceller = kthread::spawn(c"canceller", move |context| {
        while !context.should_stop() {
            for _ in 0..1000 {
                let _ = task_work::cancel(&target, &cancelled);
            }
        }
    })?;
    let mut lost = 0;
    let begin = Instant::<Monotonic>::now();
    'all: while begin.elapsed().as_millis() < i64::from(milliseconds) {
        for (task, is_second) in [(&x, false), (&y, true)] {
            loop {
                if current!().signal_pending() {
                    break 'all;
                }
                let before = RAN.load(Relaxed);
                match task_work::add(task, item.clone(), NotifyMode::Resume) {
                    Ok(()) => {
                        if task_work::wait(&item).is_err() {
                            break 'all;
                        }
                        lost += isize::from(is_second && RAN.load(Relaxed) == before);
                        break;
                    }
                    // The item was cancelled, and the target has not reached the node yet.
                    Err(refused) if refused.error == EBUSY => {}
                    Err(refused) => return Err(refused.error),
                }
            }
        }
    }
    let _ = canceller.stop();
    Ok(lost)
}

/// Waits for an item that runs on `other` and is then added to the caller.
fn wait_retarget(other: &ARef<Task>) -> Result {
    let item = Shared::new(Payload::anywhere(other), Then::Block)?;
    GATE.store(0, Relaxed);
    task_work::add(other, item.clone(), NotifyMode::Signal)?;
    let me = ARef::<Task>::from(&**current!());
    let again = item.clone();
    let adder = kthread::spawn(c"again", move |context| {
        context.sleep_for(Delta::from_millis(50));
        GATE.store(1, Relaxed);
        let mut item = again;
        while !context.should_stop() {
            match task_work::add(&me, item, NotifyMode::Resume) {
                Ok(()) => return,
                Err(refused) => item = refused.item,
            }
        }
    })?;
    let result = task_work::wait(&item);
    let _ = adder.stop();
    result
}

/// A timer that adds works in its interrupt.
#[pin_data]
struct Timer {
    target: ARef<Task>,
    item: Arc<Shared>,
    queue: Option<Arc<Ordered>>,
    added: Atomic<i64>,
    #[pin]
    timer: HrTimer<Self>,
}

kernel::impl_has_hr_timer! {
    impl HasHrTimer<Self> for Timer { mode: RelativeMode<Monotonic>, field: self.timer }
}

impl Timer {
    fn add(&self) {
        let payload = Payload::new(&self.target);
        let work = move |context: &Context<'_>| payload.ran(context);
        let pending = match &self.queue {
            Some(queue) => queue.add_fn(work, GFP_ATOMIC),
            None => task_work::add_fn(&self.target, work, NotifyMode::Signal, GFP_ATOMIC),
        };
        let number = self.added.fetch_add(1, Relaxed);
        if let Ok(pending) = pending {
            core::hint::black_box(pending.is_done());
            // The work is pending, is running, or has run: `wait()` does not sleep in an interrupt.
            if !matches!(pending.wait(), Ok(()) | Err(EDEADLK)) {
                ORDER_ERRORS.fetch_add(1, Full);
            }
            if number % 3 == 0 {
                drop(pending.cancel());
            }
        }
        match &self.queue {
            Some(queue) => {
                core::hint::black_box(queue.target().pid());
                drop(queue.add(self.item.clone()));
            }
            None if number % 2 == 0 => drop(task_work::add_soon(&self.target, self.item.clone())),
            None => drop(task_work::add(
                &self.target,
                self.item.clone(),
                NotifyMode::Resume,
            )),
        }
        if !matches!(task_work::wait(&self.item), Ok(()) | Err(EDEADLK)) {
            ORDER_ERRORS.fetch_add(1, Full);
        }
        if number % 5 == 0 {
            drop(task_work::cancel(&self.target, &self.item));
        }
    }
}

impl HrTimerCallback for Timer {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        this.add();
        context.forward_now(Delta::from_micros(300));
        HrTimerRestart::Restart
    }
}

/// Adds works in an interrupt and concurrently in the calling task. Returns the number of adds in
/// the interrupt.
fn interrupts(target: ARef<Task>, milliseconds: u32, by_queue: bool) -> Result<isize> {
    let queue = match by_queue {
        true => Some(Ordered::new(&target, NotifyMode::Resume)?),
        false => None,
    };
    let item = Shared::new(Payload::new(&target), Then::Nothing)?;
    let timer = Arc::pin_init(
        pin_init!(Timer { target, item, queue, added: Atomic::new(0), timer <- HrTimer::new() }),
        GFP_KERNEL,
    )?;
    let handle = timer.clone().start(Delta::from_micros(300));
    let begin = Instant::<Monotonic>::now();
    while begin.elapsed().as_millis() < i64::from(milliseconds) && !current!().signal_pending() {
        let payload = Payload::new(&timer.target);
        let work = move |context: &Context<'_>| payload.ran(context);
        match &timer.queue {
            Some(queue) => drop(queue.add_fn(work, GFP_KERNEL)),
            None => drop(task_work::add_fn(
                &timer.target,
                work,
                NotifyMode::Resume,
                GFP_KERNEL,
            )),
        }
        fsleep(Delta::from_micros(50));
    }
    drop(handle);
    Ok(timer.added.load(Relaxed) as isize)
}

/// Adds and cancels up to `count` times. Returns the number of rounds before [`EAGAIN`].
fn add_cancel(target: &ARef<Task>, count: u32, kind: u32) -> Result<isize> {
    let queue = match kind {
        2 => Some(Ordered::new(target, NotifyMode::None)?),
        _ => None,
    };
    for done in 0..count {
        let payload = Payload::new(target);
        let result = if kind == 1 {
            let item = Shared::new(payload, Then::Nothing)?;
            match task_work::add(target, item.clone(), NotifyMode::None) {
                Ok(()) => Ok(outcome(task_work::cancel(target, &item))),
                Err(refused) => Err(refused.error),
            }
        } else {
            let work = move |context: &Context<'_>| payload.ran(context);
            let pending = match &queue {
                Some(queue) => queue.add_fn(work, GFP_KERNEL),
                None => task_work::add_fn(target, work, NotifyMode::None, GFP_KERNEL),
            };
            match pending {
                Ok(pending) => Ok(outcome(pending.cancel())),
                Err(refused) => Err(refused.error),
            }
        };
        match result {
            Ok(0) => {}
            Ok(_) => return Err(EUCLEAN),
            Err(error) if error == EAGAIN => return Ok(done as isize),
            Err(error) => return Err(error),
        }
    }
    Ok(count as isize)
}

/// `TETHER_TEST_CALL`.
fn call(target: &ARef<Task>, kind: u32) -> Result<isize> {
    let short = Delta::from_millis(200);
    let payload = Payload::new(target);
    if kind == 4 {
        let item = Shared::new(payload, Then::Nothing)?;
        task_work::add(target, item.clone(), NotifyMode::Signal)?;
        return task_work::wait_killable(&item).map(|()| 0);
    }
    if kind >= 2 {
        let time = if kind == 2 {
            short
        } else {
            Delta::from_secs(120)
        };
        let item = Shared::new(payload, Then::Nothing)?;
        task_work::add(target, item.clone(), NotifyMode::Signal)?;
        let waited = task_work::wait_uninterruptible(&item, time);
        drop(task_work::cancel(target, &item));
        let closure = task_work::add_fn(target, |_| (), NotifyMode::Signal, GFP_KERNEL)?;
        let waited_too = closure.wait_uninterruptible(time);
        closure.cancel();
        return if waited == waited_too {
            waited.map(|()| 0)
        } else {
            Err(EUCLEAN)
        };
    }
    let work = move |context: &Context<'_>| {
        payload.ran(context);
        context.task().pid() as isize
    };
    let call = task_work::call(target, work, NotifyMode::Signal, GFP_KERNEL)?;
    if kind == 0 {
        return Ok(call.wait_killable()?);
    }
    match call.wait_timeout(short) {
        Ok(pid) => Ok(pid),
        Err(refused) if refused.error == ETIMEDOUT => match refused.item.cancel() {
            Cancel::Cancelled(()) => Ok(0),
            _ => Err(EUCLEAN),
        },
        Err(refused) => Err(refused.error),
    }
}

/// An item or closure that a file has added and still refers to.
trait Kept: Send + Sync {
    fn cancel(&mut self, task: Option<&Task>) -> isize;
    fn wait(&self, time: Option<Delta>) -> Result;
    fn add_again(&self, mode: NotifyMode) -> Result;
    fn add_to(&self, target: &Task) -> Result;
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

    fn add_again(&self, mode: NotifyMode) -> Result {
        Ok(task_work::add(&self.0, self.1.clone(), mode)?)
    }

    fn add_to(&self, target: &Task) -> Result {
        Ok(task_work::add(target, self.1.clone(), NotifyMode::Resume)?)
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

    fn add_again(&self, _mode: NotifyMode) -> Result {
        Err(EINVAL)
    }

    fn add_to(&self, _target: &Task) -> Result {
        Err(EINVAL)
    }
}

/// The queue of a file.
struct Queue {
    queue: Arc<Ordered>,
    target: ARef<Task>,
    next: i64,
    last: Arc<Atomic<i64>>,
    /// An item that is added repeatedly.
    again: Arc<Shared>,
}

impl Queue {
    fn new(target: &ARef<Task>, mode: NotifyMode) -> Result<Self> {
        let last = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        Ok(Self {
            queue: Ordered::new(target, mode)?,
            target: target.clone(),
            next: 1,
            again: Shared::new(Payload::at(target, 0, &last), Then::Nothing)?,
            last,
        })
    }

    /// Adds the item `again` as the last of the queue, unless it is pending.
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

/// `struct tether_test_race`.
#[derive(FromBytes)]
#[repr(C)]
struct RaceArgument {
    tid: i32,
    other: i32,
    count: u32,
    kind: u32,
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
const OPEN_GATE: u32 = _IO(0xB9, 8);
const ADD_TO: u32 = _IO(0xB9, 9);
const CANCEL_OTHER: u32 = _IOW::<RaceArgument>(0xB9, 10);
const WAIT_RETARGET: u32 = _IO(0xB9, 11);
const INTERRUPTS: u32 = _IOW::<RaceArgument>(0xB9, 12);
const ADD_CANCEL: u32 = _IOW::<RaceArgument>(0xB9, 13);
const CALL: u32 = _IOW::<RaceArgument>(0xB9, 14);

fn read_race(argument: UserPtr) -> Result<RaceArgument> {
    let mut bytes = [0; size_of::<RaceArgument>()];
    UserSlice::new(argument, bytes.len())
        .reader()
        .read_slice(&mut bytes)?;
    RaceArgument::read_from_bytes(&bytes).map_err(|_| EINVAL)
}

fn find(tid: usize) -> Result<ARef<Task>> {
    match tid {
        0 => Ok(ARef::<Task>::from(&**current!())),
        tid => pid::find_task(tid as i32).ok_or(ESRCH),
    }
}

fn mode(mode: u32) -> Result<NotifyMode> {
    Ok(match mode {
        0 => NotifyMode::None,
        1 => NotifyMode::Resume,
        2 => NotifyMode::Signal,
        3 => NotifyMode::SignalNoIpi,
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
    fn invalidate_range_start(&self, _range: &MmuNotifierRange<'_>) {
        self.starts.fetch_add(1, Full);
    }

    fn invalidate_range_end(&self, _range: &MmuNotifierRange<'_>) {
        self.ends.fetch_add(1, Full);
    }
}

impl MmuNotifier for Notifier {
    type Callbacks = Ranges;

    fn release(&self, _mm: &Mm) {
        self.releases.fetch_add(1, Full);
    }
}

/// The private data of an open file.
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
            10 => {
                let item = KBox::pin_init(TwoFields::<false>::new(payload), GFP_KERNEL)?;
                task_work::add::<_, 1>(&target, item, mode)?;
            }
            11 => {
                let item = Arc::pin_init(TwoFields::<true>::new(payload), GFP_KERNEL)?;
                task_work::add::<_, 1>(&target, item, mode)?;
            }
            12 => {
                let item = Shared::new(payload, Then::Block)?;
                task_work::add(&target, item.clone(), mode)?;
                self.keep(KBox::new(KeptArc(target, item), GFP_KERNEL)?)?;
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
                let old = me.registration.lock().take().ok_or(EINVAL)?;
                KBox::into_inner(Pin::into_inner(old)).unregister()?;
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
            OPEN_GATE => GATE.store(number as i32, Relaxed),
            ADD_TO => {
                let target = find(number)?;
                me.kept()?.lock().add_to(&target)?;
            }
            CANCEL_OTHER => {
                let race = read_race(argument)?;
                let (x, y) = (find(race.tid as usize)?, find(race.other as usize)?);
                return cancel_other(x, y, race.count);
            }
            WAIT_RETARGET => wait_retarget(&find(number)?)?,
            INTERRUPTS => {
                let race = read_race(argument)?;
                return interrupts(find(race.tid as usize)?, race.count, race.other != 0);
            }
            CALL => {
                let race = read_race(argument)?;
                return call(&find(race.tid as usize)?, race.kind);
            }
            ADD_CANCEL => {
                let race = read_race(argument)?;
                return add_cancel(&find(race.tid as usize)?, race.count, race.kind);
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
