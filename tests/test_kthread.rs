// SPDX-License-Identifier: GPL-2.0

//! `/dev/test-kthread`: threads that user-space tests control; see `test_kthread.h`.

use kernel::{
    cpu::CpuId,
    cpumask::CpumaskVar,
    fs::File,
    ioctl::{
        _IO,
        _IOR,
        _IOW,
        _IOWR, //
    },
    mm::MmWithUser,
    module::this_module,
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
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use tether::kthread::{
    self,
    worker::{
        impl_has_kthread_delayed_work,
        impl_has_kthread_work,
        KthreadDelayedWork,
        KthreadWork,
        KthreadWorkItem,
        KthreadWorker,
        WorkContext, //
    },
    Builder,
    Context,
    Exit,
    Mode,
    Parkable,
    Plain,
    Policy,
    Thread,
    Wake, //
};
use tether::misc_device::{
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};

module! {
    type: TestKthread,
    name: "test_kthread",
    authors: ["The Tether developers"],
    description: "Test: threads that user-space tests control",
    license: "GPL",
}

#[pin_data]
struct TestKthread {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for TestKthread {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"test-kthread",
            }),
        })
    }
}

static MADE: Atomic<i64> = Atomic::new(0);
static DROPPED: Atomic<i64> = Atomic::new(0);

/// A member of each body, work and result, which counts the values that exist.
struct Counted;

impl Counted {
    fn new() -> Self {
        MADE.fetch_add(1, Full);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Full);
    }
}

/// A pseudo-random sequence that depends on its seed only.
struct Random(u32);

impl Random {
    fn new(seed: u32) -> Self {
        Self(seed.wrapping_mul(2_654_435_761) | 1)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % limit.max(1)
    }
}

/// Reads the first words of an ioctl's argument.
fn read<const COUNT: usize>(number: usize) -> Result<[u32; COUNT]> {
    let mut words = [0; COUNT];
    let mut reader = UserSlice::new(UserPtr::from_addr(number), 4 * COUNT).reader();
    for word in &mut words {
        *word = reader.read()?;
    }
    Ok(words)
}

/// Writes words to an ioctl's argument, after the first `skip` words.
fn write<const COUNT: usize>(number: usize, skip: usize, words: [u32; COUNT]) -> Result {
    let mut writer = UserSlice::new(UserPtr::from_addr(number + 4 * skip), 4 * COUNT).writer();
    for word in &words {
        writer.write(word)?;
    }
    Ok(())
}

/// Returns a body; see `enum kthread_test_body`.
fn body<M: Mode>(kind: u32) -> Result<impl FnOnce(&Context<'_, M>) -> i64 + Send + 'static> {
    if kind > 3 {
        return Err(EINVAL);
    }
    let counted = Counted::new();
    Ok(move |context: &Context<'_, M>| {
        let _counted = counted;
        match kind {
            0 => return ticker(|| context.sleep_for(Delta::from_millis(1)).is_stopped()),
            2 => return ticker(|| never_sleeps(context)),
            3 => {
                if let Err(error) = context.set_policy(Policy::Fifo) {
                    return error.to_errno().into();
                }
                return ticker(|| context.sleep_for(Delta::from_millis(1)).is_stopped());
            }
            _ => {}
        }
        if let Err(error) = context.allow_signal(10) {
            return error.to_errno().into();
        }
        loop {
            match context.sleep() {
                Wake::Signal(signal) => return signal.into(),
                Wake::Stopped => return 0,
                _ => {}
            }
        }
    })
}

/// Calls the sleeping functions of the context, but with conditions that end the sleep at once, so
/// that the thread is never suspended in them. Returns whether the thread is requested to stop.
fn never_sleeps<M: Mode>(context: &Context<'_, M>) -> bool {
    fsleep(Delta::from_micros(200));
    context.wait_until(|| true).is_stopped() || context.sleep_for(Delta::ZERO).is_stopped()
}

/// Ticks until `is_stopped` returns true. Returns the longest time between two ticks, in
/// milliseconds.
fn ticker(mut is_stopped: impl FnMut() -> bool) -> i64 {
    let mut longest = 0;
    let mut last = Instant::<Monotonic>::now();
    while !is_stopped() {
        longest = longest.max(last.elapsed().as_millis());
        last = Instant::now();
    }
    longest
}

/// A work that enqueues itself for each tick.
#[pin_data]
struct Ticker {
    #[pin]
    last: Mutex<Instant<Monotonic>>,
    longest: Atomic<i64>,
    #[pin]
    work: KthreadDelayedWork<Ticker>,
    _counted: Counted,
}

impl_has_kthread_delayed_work! {
    impl HasKthreadDelayedWork<Self> for Ticker { self.work }
}

impl KthreadWorkItem for Ticker {
    type Pointer = Arc<Ticker>;

    fn run(this: Arc<Ticker>, context: &WorkContext<'_>) {
        let mut last = this.last.lock();
        let longest = this.longest.load(Relaxed).max(last.elapsed().as_millis());
        this.longest.store(longest, Relaxed);
        *last = Instant::now();
        drop(last);
        // This fails when the worker is torn down.
        let _ = context.queue().enqueue_delayed(this, 1);
    }
}

/// The thread or worker that a file owns.
enum Kept {
    Plain(Thread<i64>),
    Parkable(Thread<i64, Parkable>),
    Worker(KthreadWorker, Arc<Ticker>),
}

impl Kept {
    fn pid(&self) -> isize {
        let task = match self {
            Kept::Plain(thread) => thread.task(),
            Kept::Parkable(thread) => thread.task(),
            Kept::Worker(worker, _) => worker.task(),
        };
        task.pid() as isize
    }

    fn stop(self) -> Result<isize> {
        let exit = match self {
            Kept::Plain(thread) => thread.stop()?,
            Kept::Parkable(thread) => thread.stop()?,
            Kept::Worker(worker, ticker) => {
                drop(worker);
                return Ok(ticker.longest.load(Relaxed) as isize);
            }
        };
        exit.returned().map(|result| result as isize).ok_or(EINTR)
    }

    fn join(self) -> Result<isize> {
        Ok(match self {
            Kept::Plain(thread) => thread.join()?,
            Kept::Parkable(thread) => thread.join()?,
            Kept::Worker(..) => return Err(EOPNOTSUPP),
        } as isize)
    }

    fn set_policy(&self, policy: Policy) -> Result {
        match self {
            Kept::Plain(thread) => thread.set_policy(policy),
            Kept::Parkable(thread) => thread.set_policy(policy),
            Kept::Worker(worker, _) => worker.set_policy(policy),
        }
    }

    fn send(&self, signal: u32) -> Result {
        match self {
            Kept::Plain(thread) => thread.send_signal(signal),
            Kept::Parkable(thread) => thread.send_signal(signal),
            Kept::Worker(..) => Err(EOPNOTSUPP),
        }
    }

    fn parkable(&self) -> Result<&Thread<i64, Parkable>> {
        match self {
            Kept::Parkable(thread) => Ok(thread),
            _ => Err(EOPNOTSUPP),
        }
    }
}

fn cpu(number: u32) -> Result<CpuId> {
    CpuId::from_u32(number).ok_or(EINVAL)
}

/// Returns a niceness or an `enum kthread_test_policy` as a policy.
fn policy(number: i32) -> Policy {
    let deadline = |runtime, deadline| Policy::Deadline {
        runtime: Delta::from_millis(runtime),
        deadline: Delta::from_millis(deadline),
        period: Delta::from_millis(100),
    };
    match number {
        20 => Policy::FifoLow,
        21 => Policy::Fifo,
        22 => deadline(1, 100),
        23 => deadline(1, 101),
        24 => deadline(-1, 100),
        25 => deadline(0, 100),
        26 => deadline(100, 100),
        nice => Policy::Normal { nice },
    }
}

/// `KTHREAD_TEST_MAKE`.
fn make(number: usize) -> Result<Kept> {
    let [kind, flags, node, bound, preferred, nice] = read(number)?;
    let said = |value: u32| (value as i32 >= 0).then_some(value);
    let mut mask = CpumaskVar::new_zero(GFP_KERNEL)?;
    let mut builder = if flags & 4 != 0 {
        Builder::formatted(fmt!("kthread-test/a-name-that-is-long/{}", 42))?
    } else {
        Builder::new(c"kthread-test")
    };
    if flags & 1 != 0 {
        builder = builder.freezable();
    }
    if let Some(node) = said(node) {
        builder = builder.on_node(node);
    }
    if let Some(bound) = said(bound) {
        builder = builder.bind(cpu(bound)?);
    }
    if let Some(preferred) = said(preferred) {
        mask.set(cpu(preferred)?);
        builder = builder.prefer(&mask);
    }
    if nice != 100 {
        builder = builder.policy(policy(nice as i32));
    }
    if flags & 8 != 0 {
        let worker = builder.worker(this_module::<TestKthread>())?;
        let ticker = Arc::pin_init(
            pin_init!(Ticker {
                last <- new_mutex!(Instant::now()),
                longest: Atomic::new(0),
                work <- KthreadDelayedWork::new(),
                _counted: Counted::new(),
            }),
            GFP_KERNEL,
        )?;
        worker.enqueue(ticker.clone())?;
        return Ok(Kept::Worker(worker, ticker));
    }
    Ok(if flags & 2 != 0 {
        Kept::Parkable(builder.parkable().spawn(body::<Parkable>(kind)?)?)
    } else {
        Kept::Plain(builder.spawn(body::<Plain>(kind)?)?)
    })
}

/// `KTHREAD_TEST_CYCLES`.
fn cycles(number: usize) -> Result {
    let [count, join, delay, seed] = read(number)?;
    let mut random = Random::new(seed);
    let mut ran = 0;
    for _ in 0..count {
        let (counted, result) = (Counted::new(), Counted::new());
        let work = random.below(delay);
        let thread = kthread::spawn(c"kthread-cycle", move |context| {
            let _counted = counted;
            if work % 4 == 0 {
                fsleep(Delta::from_micros(work.into()));
            }
            if join == 0 {
                while !context.sleep().is_stopped() {}
            }
            result
        })?;
        if random.below(4) == 0 {
            fsleep(Delta::from_micros(random.below(delay).into()));
        }
        if join != 0 {
            drop(thread.join()?);
            ran += 1;
        } else if let Exit::Returned(result) = thread.stop()? {
            drop(result);
            ran += 1;
        }
    }
    write(number, 4, [ran])
}

/// A slot for a thread of a storm. Any thread of the storm may take the thread out.
#[pin_data]
struct Slot {
    #[pin]
    thread: Mutex<Option<Arc<Thread<Counted, Parkable>>>>,
}

/// A storm of operations on threads; see `struct kthread_test_storm`.
struct Storm {
    slots: KVec<Pin<KBox<Slot>>>,
    made: Atomic<i32>,
    parked: Atomic<i32>,
    busy: Atomic<i32>,
    over: Atomic<i32>,
    errors: Atomic<i32>,
}

impl Storm {
    /// Creates a thread. Some threads are bound to a CPU, which may go offline; some prefer a CPU.
    fn make(&self, index: usize, random: &mut Random) -> Result<Thread<Counted, Parkable>> {
        let (counted, result) = (Counted::new(), Counted::new());
        let rounds = random.below(200);
        let pause = random.below(20);
        let mut mask = CpumaskVar::new_zero(GFP_KERNEL)?;
        let builder = Builder::formatted(fmt!("kthread-storm/{index}"))?;
        let builder = match index % 4 {
            0 => builder.bind(cpu(1)?),
            1 => {
                mask.set(cpu(1)?);
                builder.prefer(&mask)
            }
            _ => builder,
        };
        let thread = builder.parkable().spawn(move |context| {
            let _counted = counted;
            for _ in 0..rounds {
                if context
                    .sleep_for(Delta::from_millis(pause.into()))
                    .is_stopped()
                {
                    break;
                }
            }
            result
        })?;
        self.made.fetch_add(1, Relaxed);
        Ok(thread)
    }

    fn blow(&self, context: &Context<'_>, seed: u32) -> Result {
        let mut random = Random::new(seed);
        while !context.should_stop() {
            let index = random.below(self.slots.len() as u32) as usize;
            let slot = &self.slots[index].thread;
            let thread = slot.lock().clone();
            let Some(thread) = thread.filter(|thread| !thread.is_finished()) else {
                let thread = Arc::new(self.make(index, &mut random)?, GFP_KERNEL)?;
                let old = slot.lock().replace(thread);
                drop(old);
                continue;
            };
            match random.below(32) {
                0..12 => {
                    let count = match thread.park() {
                        Ok(()) => &self.parked,
                        Err(EBUSY) => &self.busy,
                        Err(ESRCH) => &self.over,
                        Err(_) => &self.errors,
                    };
                    count.fetch_add(1, Relaxed);
                }
                12..28 => thread.unpark(),
                28..30 => thread.wake(),
                30 => thread.request_stop(),
                _ => {
                    let old = slot.lock().take();
                    drop(old);
                }
            }
        }
        Ok(())
    }
}

/// `KTHREAD_TEST_STORM`.
fn storm(number: usize) -> Result {
    let [threads, milliseconds, seed] = read(number)?;
    let mut slots = KVec::with_capacity(threads as usize, GFP_KERNEL)?;
    for _ in 0..threads {
        let slot = KBox::pin_init(pin_init!(Slot { thread <- new_mutex!(None) }), GFP_KERNEL)?;
        slots.push(slot, GFP_KERNEL)?;
    }
    let storm = Arc::new(
        Storm {
            slots,
            made: Atomic::new(0),
            parked: Atomic::new(0),
            busy: Atomic::new(0),
            over: Atomic::new(0),
            errors: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let mut blowers = KVec::new();
    for number in 0..4 {
        let storm = storm.clone();
        let blower = kthread::spawn(c"kthread-blow", move |context| {
            storm.blow(context, seed + number)
        })?;
        blowers.push(blower, GFP_KERNEL)?;
    }
    fsleep(Delta::from_millis(milliseconds.into()));
    for blower in blowers {
        if blower.stop()? != Exit::Returned(Ok(())) {
            storm.errors.fetch_add(1, Relaxed);
        }
    }
    let counts = [
        &storm.made,
        &storm.parked,
        &storm.busy,
        &storm.over,
        &storm.errors,
    ];
    write(number, 3, counts.map(|count| count.load(Relaxed) as u32))
}

/// `KTHREAD_TEST_MM`.
fn with_mm(number: usize) -> Result {
    let [low, high, milliseconds] = read(number)?;
    let address = low as usize | (high as usize) << 32;
    let task = current!();
    let mm: ARef<MmWithUser> = task.mm().ok_or(EINVAL)?.into();
    let thread = kthread::spawn(c"kthread-mm", move |context| {
        let (mut seen, mut gone, mut errors) = (0, 0, 0);
        while !context.should_stop() {
            let result = context.with_mm(&mm, || {
                let slice = || UserSlice::new(UserPtr::from_addr(address), 4);
                let value = slice().reader().read::<u32>()?;
                slice().writer().write(&(value + 1))
            });
            match result {
                Ok(()) => seen += 1,
                Err(EFAULT) => gone += 1,
                Err(_) => errors += 1,
            }
        }
        [seen, gone, errors]
    })?;
    fsleep(Delta::from_millis(milliseconds.into()));
    write(number, 3, thread.stop()?.returned().ok_or(EINTR)?)
}

#[pin_data]
struct Item {
    #[pin]
    work: KthreadWork<Item>,
    _counted: Counted,
}

impl_has_kthread_work! {
    impl HasKthreadWork<Self> for Item { self.work }
}

impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;

    fn run(_this: Arc<Item>, _context: &WorkContext<'_>) {}
}

/// `KTHREAD_TEST_KIND`.
fn kind(kind: usize) -> Result {
    let counted = Counted::new();
    let module = this_module::<TestKthread>();
    match kind {
        0 => {
            kthread::spawn(c"kthread-kind", move |_| drop(counted))?.stop()?;
        }
        1 => {
            let mut mask = CpumaskVar::new_zero(GFP_KERNEL)?;
            mask.set(cpu(0)?);
            let thread = Builder::formatted(fmt!("kthread-kind-{kind}"))?
                .prefer(&mask)
                .parkable()
                .create(move |_| drop(counted))?
                .start();
            thread.join()?;
        }
        2 => {
            let worker = Builder::new(c"kthread-kind").worker(module)?;
            let item = pin_init!(Item { work <- KthreadWork::new(), _counted: counted });
            worker.enqueue(Arc::pin_init(item, GFP_KERNEL)?)?;
            worker.flush()?;
        }
        3 => {
            let worker = Builder::new(c"kthread-kind").worker(module)?;
            worker.try_spawn(GFP_KERNEL, move |_| drop(counted))?;
            worker.flush()?;
        }
        4 => {
            let worker = Builder::new(c"kthread-kind").worker(module)?;
            let item = pin_init!(Item { work <- KthreadWork::new(), _counted: counted });
            worker.enqueue(Arc::pin_init(item, GFP_KERNEL)?)?;
            worker.flush_killable()?;
        }
        _ => return Err(EINVAL),
    }
    Ok(())
}

/// The private data of an open file.
#[pin_data]
struct Device {
    #[pin]
    kept: Mutex<Option<Kept>>,
}

const MAKE: u32 = _IOW::<[u32; 6]>(0xBB, 1);
const STOP: u32 = _IO(0xBB, 2);
const JOIN: u32 = _IO(0xBB, 3);
const PARK: u32 = _IO(0xBB, 4);
const UNPARK: u32 = _IO(0xBB, 5);
const CYCLES: u32 = _IOWR::<[u32; 6]>(0xBB, 6);
const STORM: u32 = _IOWR::<[u32; 8]>(0xBB, 7);
const MM: u32 = _IOWR::<[u32; 6]>(0xBB, 8);
const KIND: u32 = _IO(0xBB, 9);
const COUNTS: u32 = _IOR::<[i64; 2]>(0xBB, 10);
const SET_POLICY: u32 = _IO(0xBB, 11);
const SEND: u32 = _IO(0xBB, 12);

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(pin_init!(Self { kept <- new_mutex!(None) }), GFP_KERNEL)
    }

    fn ioctl(me: Pin<&Self>, _file: &File, command: u32, number: usize) -> Result<isize> {
        match command {
            MAKE => {
                let kept = make(number)?;
                let pid = kept.pid();
                let old = me.kept.lock().replace(kept);
                drop(old);
                return Ok(pid);
            }
            STOP | JOIN => {
                let kept = me.kept.lock().take().ok_or(ENOENT)?;
                return if command == STOP {
                    kept.stop()
                } else {
                    kept.join()
                };
            }
            PARK => me.kept.lock().as_ref().ok_or(ENOENT)?.parkable()?.park()?,
            UNPARK => me.kept.lock().as_ref().ok_or(ENOENT)?.parkable()?.unpark(),
            SET_POLICY => {
                let policy = policy(number as i32);
                me.kept.lock().as_ref().ok_or(ENOENT)?.set_policy(policy)?;
            }
            SEND => me.kept.lock().as_ref().ok_or(ENOENT)?.send(number as u32)?,
            CYCLES => cycles(number)?,
            STORM => storm(number)?,
            MM => with_mm(number)?,
            KIND => kind(number)?,
            COUNTS => {
                let mut writer = UserSlice::new(UserPtr::from_addr(number), 16).writer();
                writer.write(&MADE.load(Relaxed))?;
                writer.write(&DROPPED.load(Relaxed))?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
