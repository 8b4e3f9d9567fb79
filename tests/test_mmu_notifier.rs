// SPDX-License-Identifier: GPL-2.0

//! `/dev/test-mmu-notifier`: notifiers of all kinds, and counters of their callbacks; see
//! `test_mmu_notifier.h`.

use kernel::{
    fs::File,
    ioctl::{
        _IO,
        _IOR,
        _IOWR, //
    },
    mm::virt::VmaNew,
    new_mutex,
    page::PAGE_SIZE,
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
    }, //
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
        hmm::{
            DeviceOwner,
            HmmRange,
            Pfn,
            Request, //
        },
        mmu_interval_notifier::{
            new_mmu_interval_notifier,
            Invalidate,
            InvalidateInTwoPasses,
            MmuIntervalNotifier,
            OnePass,
            Registration as IntervalRegistration,
            Shadow,
            TwoPasses, //
        },
        mmu_notifier::{
            Age,
            Event,
            InvalidateRanges,
            InvalidateSecondaryTlbs,
            MmuNotifier,
            MmuNotifierRange,
            Ranges,
            Registration,
            ReleaseOnly,
            SecondaryTlbs,
            TryInvalidateRanges,
            TryRanges,
            WithAge,
            WouldSleep, //
        },
        shared_notifier::{
            Shared,
            SharedNotifier, //
        },
        Mm,
        MmWithUser, //
    }, //
};

/// The length of the range of an interval notifier. No supported architecture has user addresses
/// beyond the range: they have at most 56 bits.
const EVERYWHERE: usize = 1 << 56;

module! {
    type: TestMmuNotifier,
    name: "test_mmu_notifier",
    authors: ["The Tether developers"],
    description: "Test: notifiers of all kinds",
    license: "GPL",
}

#[pin_data]
struct TestMmuNotifier {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for TestMmuNotifier {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"test-mmu-notifier",
            }),
        })
    }
}

/// The counters of a file's notifiers, in the order of `struct mmu_test_counts`.
#[derive(Clone, Copy)]
enum Count {
    Starts,
    Ends,
    Unmap,
    Clear,
    ProtectionVma,
    ProtectionPage,
    Other,
    Nonblockable,
    Blockable,
    Tried,
    Refused,
    Tlbs,
    Aged,
    Releases,
    Elsewhere,
    Invalidated,
    Begun,
    Finished,
    MostBegun,
    LookedUp,
}

const COUNTS: usize = Count::LookedUp as usize + 1;

struct Heard {
    counts: [Atomic<i64>; COUNTS],
    refuse: Atomic<i64>,
    /// The duration of a release, in milliseconds.
    linger: Atomic<i64>,
}

impl Heard {
    fn new() -> Self {
        Self {
            counts: core::array::from_fn(|_| Atomic::new(0)),
            refuse: Atomic::new(0),
            linger: Atomic::new(0),
        }
    }

    fn note(&self, count: Count) {
        self.counts[count as usize].fetch_add(1, Full);
    }

    fn count(&self, count: Count) -> i64 {
        self.counts[count as usize].load(Relaxed)
    }

    /// Returns whether to refuse the current range, and decrements the number of refusals.
    fn refuses(&self) -> bool {
        let refuses = self.refuse.fetch_sub(1, Full) > 0;
        if !refuses {
            self.refuse.store(0, Relaxed);
        }
        refuses
    }
}

/// A notifier of any kind.
struct Notifier<const KIND: usize> {
    heard: Arc<Heard>,
    /// The address of the `mm_struct` that the notifier is registered on, only for comparisons.
    mm: usize,
}

impl<const KIND: usize> Notifier<KIND> {
    fn heard(&self, count: Count, mm: &Mm) {
        self.heard.note(count);
        if mm.as_raw() as usize != self.mm {
            self.heard.note(Count::Elsewhere);
        }
    }
}

macro_rules! notifiers {
    ($($kind:literal: $callbacks:ty,)*) => {$(
        impl MmuNotifier for Notifier<$kind> {
            type Callbacks = $callbacks;

            fn release(&self, mm: &Mm) {
                self.heard(Count::Releases, mm);
                let linger = self.heard.linger.load(Relaxed);
                if linger != 0 {
                    fsleep(Delta::from_millis(linger));
                }
            }
        }
    )*};
}

notifiers! {
    0: ReleaseOnly,
    1: Ranges,
    2: TryRanges,
    3: SecondaryTlbs,
    4: WithAge<Ranges>,
}

#[vtable]
impl<const KIND: usize> InvalidateRanges for Notifier<KIND> {
    fn invalidate_range_start(&self, range: &MmuNotifierRange<'_>) {
        self.heard(Count::Starts, range.mm());
        self.heard.note(match range.event() {
            Event::Unmap => Count::Unmap,
            Event::Clear => Count::Clear,
            Event::ProtectionVma => Count::ProtectionVma,
            Event::ProtectionPage => Count::ProtectionPage,
            _ => Count::Other,
        });
        if !range.is_blockable() {
            self.heard.note(Count::Nonblockable);
        }
    }

    fn invalidate_range_end(&self, range: &MmuNotifierRange<'_>) {
        self.heard(Count::Ends, range.mm());
    }
}

impl TryInvalidateRanges for Notifier<2> {
    fn invalidate_range(&self, range: &MmuNotifierRange<'_>) {
        self.heard(Count::Blockable, range.mm());
    }

    fn try_invalidate_range(&self, range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        self.heard(Count::Tried, range.mm());
        if !self.heard.refuses() {
            return Ok(());
        }
        self.heard(Count::Refused, range.mm());
        Err(WouldSleep)
    }
}

impl InvalidateSecondaryTlbs for Notifier<3> {
    fn invalidate_secondary_tlbs(&self, mm: &Mm, _start: usize, _end: usize) {
        self.heard(Count::Tlbs, mm);
    }
}

impl Age for Notifier<4> {
    fn clear_flush_young(&self, mm: &Mm, _start: usize, _end: usize) -> bool {
        self.heard(Count::Aged, mm);
        true
    }

    fn clear_young(&self, mm: &Mm, _start: usize, _end: usize) -> bool {
        self.heard(Count::Aged, mm);
        true
    }

    fn test_young(&self, mm: &Mm, _address: usize) -> bool {
        self.heard(Count::Aged, mm);
        true
    }
}

impl MmuIntervalNotifier for Notifier<5> {
    /// The number of invalidations.
    type Shadow = i64;
    type Passes = OnePass;

    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        shadow: &mut i64,
    ) -> Result<(), WouldSleep> {
        self.heard(Count::Tried, range.mm());
        if self.heard.refuses() {
            self.heard(Count::Refused, range.mm());
            return Err(WouldSleep);
        }
        self.invalidate(range, shadow);
        Ok(())
    }
}

impl Invalidate for Notifier<5> {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, shadow: &mut i64) {
        self.heard(Count::Invalidated, range.mm());
        *shadow += 1;
    }
}

impl MmuIntervalNotifier for Notifier<6> {
    type Shadow = i64;
    type Passes = TwoPasses;

    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        _shadow: &mut i64,
    ) -> Result<(), WouldSleep> {
        self.heard(Count::Tried, range.mm());
        // A callback that refuses because it would have to sleep.
        self.heard(Count::Refused, range.mm());
        Err(WouldSleep)
    }
}

impl InvalidateInTwoPasses for Notifier<6> {
    /// A heap allocation, so that debug kernels notice a value that is freed too early or lost.
    type Begun = KBox<i64>;

    fn begin(&self, range: &MmuNotifierRange<'_>, shadow: &mut i64) -> Option<KBox<i64>> {
        self.heard(Count::Begun, range.mm());
        let begun = self.heard.count(Count::Begun) - self.heard.count(Count::Finished);
        if begun > self.heard.count(Count::MostBegun) {
            self.heard.counts[Count::MostBegun as usize].store(begun, Relaxed);
        }
        *shadow += 1;
        let Ok(begun) = KBox::new(*shadow, GFP_NOWAIT) else {
            // Without memory there is no second pass.
            self.heard.note(Count::Finished);
            return None;
        };
        Some(begun)
    }

    fn finish(&self, begun: KBox<i64>, shadow: &Shadow<i64>) {
        fsleep(Delta::from_millis(1));
        // The lock of the shadow is free in the second pass.
        if shadow.with(|shadow| *shadow >= *begun) {
            self.heard.note(Count::Finished);
        }
    }
}

static SHARED_MADE: Atomic<i64> = Atomic::new(0);
static SHARED_DROPPED: Atomic<i64> = Atomic::new(0);

/// The shared notifier of all files of a process.
struct Common {
    /// A reference to this notifier, which `release()` drops when the address space ends.
    own: Pin<KBox<Mutex<Option<Shared<Common>>>>>,
}

impl MmuNotifier for Common {
    type Callbacks = Ranges;

    fn release(&self, _mm: &Mm) {
        let own = self.own.lock().take();
        drop(own);
    }
}

#[vtable]
impl InvalidateRanges for Common {
    fn invalidate_range_start(&self, _range: &MmuNotifierRange<'_>) {}
}

impl SharedNotifier for Common {
    fn new(_mm: &MmWithUser) -> Result<Self> {
        let own = KBox::pin_init(new_mutex!(None), GFP_KERNEL)?;
        SHARED_MADE.fetch_add(1, Full);
        Ok(Self { own })
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        // The destructor may sleep.
        fsleep(Delta::from_millis(1));
        SHARED_DROPPED.fetch_add(1, Full);
    }
}

/// A shared notifier that differs from `Common` only by its type.
struct Other;

impl MmuNotifier for Other {
    type Callbacks = Ranges;
}

#[vtable]
impl InvalidateRanges for Other {
    fn invalidate_range_start(&self, _range: &MmuNotifierRange<'_>) {}
}

impl SharedNotifier for Other {
    fn new(_mm: &MmWithUser) -> Result<Self> {
        SHARED_MADE.fetch_add(1, Full);
        Ok(Self)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        SHARED_DROPPED.fetch_add(1, Full);
    }
}

static OWNER: DeviceOwner = DeviceOwner::new();

/// Looks up four pages, each with its own request.
fn fault(mm: &MmWithUser, address: usize, wanted: [u64; 4]) -> Result<[u64; 4]> {
    let mut requests = [Request::Snapshot; 4];
    for (request, wanted) in requests.iter_mut().zip(wanted) {
        *request = match wanted {
            0 => Request::Snapshot,
            1 => Request::Read,
            2 => Request::Write,
            _ => return Err(EINVAL),
        };
    }
    let heard = Arc::new(Heard::new(), GFP_KERNEL)?;
    let notifier = Notifier::<5> {
        heard,
        mm: mm.as_raw() as usize,
    };
    let registration = KBox::pin_init(
        new_mmu_interval_notifier!(mm, address, 4 * PAGE_SIZE, notifier, 0),
        GFP_KERNEL,
    )?;
    let mut pfns = [Pfn::default(); 4];
    let range = HmmRange::new(address, &mut pfns)
        .requests(&requests)
        .owner(&OWNER)
        .timeout(Delta::from_secs(10));
    registration.fault(mm, range, |pfns, _| {
        core::array::from_fn(|index| {
            let pfn = pfns[index];
            u64::from(pfn.is_valid())
                | u64::from(pfn.is_writable()) << 1
                | u64::from(pfn.is_error()) << 2
        })
    })
}

/// Faults in a page that may never become available.
fn fault_one(mm: &MmWithUser, address: usize, timeout: Option<Delta>) -> Result {
    let notifier = Notifier::<5> {
        heard: Arc::new(Heard::new(), GFP_KERNEL)?,
        mm: mm.as_raw() as usize,
    };
    let registration = KBox::init(
        new_mmu_interval_notifier!(mm, address, PAGE_SIZE, notifier, 0),
        GFP_KERNEL,
    )?;
    let mut pfns = [Pfn::default()];
    let mut range = HmmRange::new(address, &mut pfns).request(Request::Read);
    if let Some(timeout) = timeout {
        range = range.timeout(timeout);
    }
    registration.fault(mm, range, |_, _| ())
}

type Own = Pin<KBox<Mutex<Option<KBox<IntervalRegistration<Evicted>>>>>>;

/// Drops its own registration when its range is invalidated, like an entry of a registration cache.
struct Evicted {
    own: Arc<Own>,
    heard: Arc<Heard>,
}

impl MmuIntervalNotifier for Evicted {
    type Shadow = ();
    type Passes = OnePass;

    fn try_invalidate(
        &self,
        _range: &MmuNotifierRange<'_>,
        _shadow: &mut (),
    ) -> Result<(), WouldSleep> {
        Err(WouldSleep)
    }
}

impl Invalidate for Evicted {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>, _shadow: &mut ()) {
        let own = self.own.lock().take();
        drop(own);
    }
}

impl Drop for Evicted {
    fn drop(&mut self) {
        self.heard.note(Count::Releases);
    }
}

/// The registration of a notifier of any kind.
trait Registered: Send {
    /// Unregisters the notifier, and waits for its end.
    fn unregister(&mut self) -> Result;

    /// Calls `f` with the shadow locked.
    fn with_locked(&self, _f: &mut dyn FnMut() -> Result) -> Result {
        Err(ENOENT)
    }

    /// Holds the lock of the shadow for `time`.
    fn hold(&self, _time: Delta) -> bool {
        false
    }

    /// Begins a look-up that takes `time`, and returns whether it cannot be committed because the
    /// range has changed.
    fn sequence(&self, _time: Delta) -> Result<bool> {
        Err(ENOENT)
    }

    /// Records a look-up in the shadow. The first look-up takes `time`.
    fn read(&self, _heard: &Heard, _time: Delta) -> Result {
        Err(ENOENT)
    }
}

impl<const KIND: usize> Registered for Option<KBox<IntervalRegistration<Notifier<KIND>>>>
where
    Notifier<KIND>: MmuIntervalNotifier,
{
    fn unregister(&mut self) -> Result {
        self.take()
            .map_or(Ok(()), |it| KBox::into_inner(it).unregister())
    }

    fn with_locked(&self, f: &mut dyn FnMut() -> Result) -> Result {
        self.as_ref().ok_or(ENOENT)?.shadow().with(|_| f())
    }

    fn hold(&self, time: Delta) -> bool {
        self.with_locked(&mut || {
            fsleep(time);
            Ok(())
        })
        .is_ok()
    }

    fn sequence(&self, time: Delta) -> Result<bool> {
        let registration = self.as_ref().ok_or(ENOENT)?;
        let sequence = registration.begin()?;
        let in_closure = registration.shadow().with(|_| {
            let begun = registration.begin().err();
            (begun, sequence.commit(|_| ()).err())
        });
        if in_closure != (Some(EDEADLK), Some(EDEADLK)) {
            return Err(EUCLEAN);
        }
        fsleep(time);
        let stale = sequence.is_stale();
        match sequence.commit(|_| ()) {
            Ok(()) if stale => Err(EUCLEAN),
            Ok(()) => Ok(false),
            Err(error) if error == EAGAIN => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn read(&self, heard: &Heard, time: Delta) -> Result {
        let mut first = true;
        self.as_ref().ok_or(ENOENT)?.read(
            || {
                heard.note(Count::LookedUp);
                if core::mem::replace(&mut first, false) {
                    fsleep(time);
                }
                Ok(())
            },
            |(), _| (),
        )
    }
}

impl<const KIND: usize> Registered for Option<KBox<Registration<Notifier<KIND>>>>
where
    Notifier<KIND>: MmuNotifier,
{
    fn unregister(&mut self) -> Result {
        self.take()
            .map_or(Ok(()), |it| KBox::into_inner(it).unregister())
    }
}

/// The private data of an open file.
#[pin_data]
struct Device {
    heard: Arc<Heard>,
    #[pin]
    registered: Mutex<KVec<KBox<dyn Registered>>>,
    #[pin]
    shared: Mutex<KVec<Shared<Common>>>,
    #[pin]
    others: Mutex<KVec<Shared<Other>>>,
}

impl Device {
    fn register<const KIND: usize>(&self) -> Result
    where
        Notifier<KIND>: MmuNotifier,
    {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let notifier = Notifier::<KIND> {
            heard: self.heard.clone(),
            mm: mm.as_raw() as usize,
        };
        let registration = KBox::init(Registration::new(mm, notifier), GFP_KERNEL)?;
        if !registration.is_on(mm) {
            return Err(EUCLEAN);
        }
        self.keep(Some(registration))
    }

    fn insert<const KIND: usize>(&self) -> Result
    where
        Notifier<KIND>: MmuIntervalNotifier<Shadow = i64>,
    {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let notifier = Notifier::<KIND> {
            heard: self.heard.clone(),
            mm: mm.as_raw() as usize,
        };
        let registration = KBox::init(
            new_mmu_interval_notifier!(mm, 0, EVERYWHERE, notifier, 0),
            GFP_KERNEL,
        )?;
        self.keep(Some(registration))
    }

    /// Calls `f` with the shadow of an interval notifier of the file locked.
    fn with_locked(&self, f: &mut dyn FnMut() -> Result) -> Result {
        let registered = self.registered.lock();
        registered.first().ok_or(ENOENT)?.with_locked(f)
    }

    fn keep(&self, registration: impl Registered + 'static) -> Result {
        let registration: KBox<dyn Registered> = KBox::new(registration, GFP_KERNEL)?;
        Ok(self.registered.lock().push(registration, GFP_KERNEL)?)
    }
}

const REGISTER: u32 = _IO(0xBC, 1);
const UNREGISTER: u32 = _IO(0xBC, 2);
const REFUSE: u32 = _IO(0xBC, 3);
const GET_COUNTS: u32 = _IOR::<[i64; COUNTS + 2]>(0xBC, 4);
const DROP: u32 = _IO(0xBC, 13);
const COPY: u32 = _IO(0xBC, 14);
const ZAP: u32 = _IO(0xBC, 15);
const FAULT_WITHIN: u32 = _IO(0xBC, 16);
const FAULT_STOPPED: u32 = _IO(0xBC, 17);
const EVICT: u32 = _IO(0xBC, 18);
const GET: u32 = _IO(0xBC, 5);
const PUT: u32 = _IO(0xBC, 6);
const GET_SELF: u32 = _IO(0xBC, 7);
const GET_OTHER: u32 = _IO(0xBC, 8);
const HOLD: u32 = _IO(0xBC, 9);
const READ: u32 = _IO(0xBC, 12);
const SEQUENCE: u32 = _IO(0xBC, 19);
const LINGER: u32 = _IO(0xBC, 11);
const FAULT: u32 = _IOWR::<[u64; 9]>(0xBC, 10);

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let heard = Arc::new(Heard::new(), GFP_KERNEL)?;
        KBox::pin_init(
            pin_init!(Self {
                heard,
                registered <- new_mutex!(KVec::new()),
                shared <- new_mutex!(KVec::new()),
                others <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn mmap(me: Pin<&Self>, _file: &File, vma: &VmaNew) -> Result {
        let mm = vma.mm();
        let notifier = Notifier::<0> {
            heard: me.heard.clone(),
            mm: mm.as_raw() as usize,
        };
        let registration = KBox::init(Registration::new(mm, notifier), GFP_KERNEL)?;
        me.keep(Some(registration))
    }

    fn ioctl(me: Pin<&Self>, _file: &File, command: u32, number: usize) -> Result<isize> {
        match command {
            REGISTER => match number {
                0 => me.register::<0>()?,
                1 => me.register::<1>()?,
                2 => me.register::<2>()?,
                3 => me.register::<3>()?,
                4 => me.register::<4>()?,
                5 => me.insert::<5>()?,
                6 => me.insert::<6>()?,
                _ => return Err(EINVAL),
            },
            UNREGISTER => {
                let mut all = core::mem::replace(&mut *me.registered.lock(), KVec::new());
                for registered in &mut all {
                    registered.unregister()?;
                }
            }
            DROP => {
                let all = core::mem::replace(&mut *me.registered.lock(), KVec::new());
                drop(all);
            }
            COPY => me.with_locked(&mut || {
                UserSlice::new(UserPtr::from_addr(number), 8)
                    .writer()
                    .write(&7u64)
            })?,
            ZAP => {
                let task = current!();
                let mm = task.mm().ok_or(EINVAL)?;
                let guard = mm.mmap_read_lock();
                let vma = guard.vma_lookup(number).ok_or(EFAULT)?;
                me.with_locked(&mut || {
                    vma.zap_vma_range(number, PAGE_SIZE);
                    Ok(())
                })?;
            }
            FAULT_WITHIN => {
                let task = current!();
                let mm = task.mm().ok_or(EINVAL)?;
                fault_one(mm, number, Some(Delta::from_millis(300)))?;
            }
            FAULT_STOPPED => {
                let task = current!();
                let mm = ARef::from(task.mm().ok_or(EINVAL)?);
                let thread = kthread::spawn(c"test-faults", move |_| fault_one(&mm, number, None))?;
                fsleep(Delta::from_millis(300));
                let begun = Instant::<Monotonic>::now();
                thread.stop()?;
                return Ok(begun.elapsed().as_millis() as isize);
            }
            EVICT => {
                let task = current!();
                let mm = task.mm().ok_or(EINVAL)?;
                let own = Arc::new(KBox::pin_init(new_mutex!(None), GFP_KERNEL)?, GFP_KERNEL)?;
                let evicted = Evicted {
                    own: own.clone(),
                    heard: me.heard.clone(),
                };
                let registration = KBox::init(
                    new_mmu_interval_notifier!(mm, number, PAGE_SIZE, evicted, ()),
                    GFP_KERNEL,
                )?;
                *own.lock() = Some(registration);
            }
            GET | GET_SELF => {
                let task = current!();
                let mm = task.mm().ok_or(EINVAL)?;
                let shared = Shared::<Common>::get(mm)?;
                if !shared.is_on(mm) {
                    return Err(EUCLEAN);
                }
                if command == GET_SELF {
                    let own = Shared::<Common>::get(mm)?;
                    let old = shared.own.lock().replace(own);
                    drop(old);
                } else {
                    me.shared.lock().push(shared, GFP_KERNEL)?;
                }
            }
            GET_OTHER => {
                let task = current!();
                let mm = task.mm().ok_or(EINVAL)?;
                let other = Shared::<Other>::get(mm)?;
                me.others.lock().push(other, GFP_KERNEL)?;
            }
            FAULT => {
                let pointer = UserPtr::from_addr(number);
                let (mut reader, mut writer) =
                    UserSlice::new(pointer, size_of::<[u64; 9]>()).reader_writer();
                let address: u64 = reader.read()?;
                let wanted: [u64; 4] = reader.read()?;
                let task = current!();
                let mm = task.mm().ok_or(EINVAL)?;
                let found = fault(mm, address as usize, wanted)?;
                writer.write(&address)?;
                writer.write(&wanted)?;
                writer.write(&found)?;
            }
            HOLD => {
                let time = Delta::from_millis(i64::try_from(number)?.min(1000));
                let registered = me.registered.lock();
                if !registered.iter().any(|it| it.hold(time)) {
                    return Err(ENOENT);
                }
            }
            READ => {
                let time = Delta::from_millis(i64::try_from(number)?.min(1000));
                let registered = me.registered.lock();
                registered.first().ok_or(ENOENT)?.read(&me.heard, time)?;
            }
            SEQUENCE => {
                let time = Delta::from_millis(i64::try_from(number)?.min(1000));
                let registered = me.registered.lock();
                let stale = registered.first().ok_or(ENOENT)?.sequence(time)?;
                return Ok(stale.into());
            }
            PUT => {
                let shared = me.shared.lock().pop();
                drop(shared.ok_or(ENOENT)?);
            }
            LINGER => me
                .heard
                .linger
                .store(i64::try_from(number)?.min(1000), Relaxed),
            REFUSE => me.heard.refuse.store(number as i64, Relaxed),
            GET_COUNTS => {
                let length = 8 * (COUNTS + 2);
                let mut writer = UserSlice::new(UserPtr::from_addr(number), length).writer();
                for count in &me.heard.counts {
                    writer.write(&count.load(Relaxed))?;
                }
                writer.write(&SHARED_MADE.load(Relaxed))?;
                writer.write(&SHARED_DROPPED.load(Relaxed))?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
