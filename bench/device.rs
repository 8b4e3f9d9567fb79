// SPDX-License-Identifier: GPL-2.0

// The common part of bench_raw.rs and bench_tether.rs, which include this file: the device, and the
// pool of items.

const MAX: usize = 4096;
const BATCH_SIZE: usize = 64;
const NOTIFIERS_MAX: usize = 10_000;
const INTERVALS_MAX: usize = 16;
const RANGES_MAX: usize = 100_000;
const NOTHING: u32 = _IO(0xBA, 0);
const EMBEDDED: u32 = _IO(0xBA, 1);
const SHARED: u32 = _IO(0xBA, 2);
const BOXED: u32 = _IO(0xBA, 3);
const RUN_STOP: u32 = _IO(0xBA, 4);
const PARK_UNPARK: u32 = _IO(0xBA, 5);
const QUEUE_FLUSH: u32 = _IO(0xBA, 6);
const BATCH: u32 = _IO(0xBA, 7);
const NOTIFIERS: u32 = _IO(0xBA, 8);
const INTERVALS: u32 = _IO(0xBA, 9);
const INTERVAL_READ: u32 = _IO(0xBA, 10);
const INTERVAL_INSERT_REMOVE: u32 = _IO(0xBA, 11);
const SHARED_GET_PUT: u32 = _IO(0xBA, 12);
const RANGES: u32 = _IO(0xBA, 13);
const RANGE_INSERT: u32 = _IO(0xBA, 14);
const RANGE_REMOVE: u32 = _IO(0xBA, 15);
const BE_TARGET: u32 = _IO(0xBA, 16);
const ROUND_TRIP: u32 = _IO(0xBA, 17);
const SIZE: u32 = _IO(0xBA, 18);

/// A value that the benchmark's program uses without a lock, as in C.
struct Alone<T>(UnsafeCell<T>);

// SAFETY: Only the benchmark's program opens the device, and its accesses are sequential. The
// operations that "together" runs on two CPUs are an exception: both may add to `POOL.sum`, and an
// addition may be lost, as in C. The sum is never read; it keeps the compiler from removing the
// work. All other values are only read by these operations.
unsafe impl<T> Sync for Alone<T> {}

impl<T> Alone<T> {
    #[expect(clippy::mut_from_ref)]
    fn get(&self) -> &mut T {
        // SAFETY: The pointer is valid. The accesses are sequential, except as stated above, and a
        // caller does not use a reference from an earlier call while it changes the value.
        unsafe { &mut *self.0.get() }
    }
}

/// The items that are not in use.
struct Pool {
    items: [*mut Embedded; MAX],
    count: usize,
    shared: Option<KVVec<Arc<Shared>>>,
    sum: usize,
}

static POOL: Alone<Pool> = Alone(UnsafeCell::new(Pool {
    items: [core::ptr::null_mut(); MAX],
    count: 0,
    shared: None,
    sum: 0,
}));

impl Pool {
    fn push(&mut self, item: *mut Embedded) {
        // SAFETY: `count` is less than `MAX`, the number of all items. C does not check either.
        unsafe { *self.items.get_unchecked_mut(self.count) = item };
        self.count += 1;
    }

    fn pop(&mut self) -> *mut Embedded {
        self.count -= 1;
        // SAFETY: `count` was greater than 0, as operations take at most `MAX` items. C does not
        // check either.
        unsafe { *self.items.get_unchecked(self.count) }
    }
}

/// A completion that is used repeatedly; the kernel crate's `Completion` only has `complete_all()`.
struct Begun(KBox<UnsafeCell<kernel::bindings::completion>>);

// SAFETY: A C completion may be used by any thread.
unsafe impl Send for Begun {}
// SAFETY: A C completion synchronises concurrent accesses itself.
unsafe impl Sync for Begun {}

impl Begun {
    fn new() -> Result<Self> {
        let this = Self(KBox::new(UnsafeCell::new(Default::default()), GFP_KERNEL)?);
        // SAFETY: The completion is valid for writes, and does not move, as it is in a box.
        unsafe { kernel::bindings::init_completion(this.0.get()) };
        Ok(this)
    }

    fn complete(&self) {
        // SAFETY: The completion was initialised in `new()`, and is valid as long as `self` is.
        unsafe { kernel::bindings::complete(self.0.get()) };
    }

    fn wait(&self) {
        // SAFETY: The completion was initialised in `new()`, and is valid as long as `self` is.
        unsafe { kernel::bindings::wait_for_completion(self.0.get()) };
    }
}

/// Returns the element of the current CPU. A measuring thread stays on its CPU.
fn of_this_cpu(all: &[Begun; 2]) -> &Begun {
    &all[CpuId::current().as_u32() as usize % 2]
}

/// The threads and works that exist as long as the module.
static STANDING: Alone<Option<Standing>> = Alone(UnsafeCell::new(None));

fn standing() -> Result<&'static Standing> {
    STANDING.get().as_ref().ok_or(EINVAL)
}

/// Ends them when the module is dropped, after the device.
struct Threads;

impl Threads {
    fn new(module: &'static ThisModule) -> Result<Self> {
        *STANDING.get() = Some(Standing::new(module)?);
        Ok(Self)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        *STANDING.get() = None;
    }
}

#[pin_data]
struct Bench {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
    _threads: Threads,
}

impl kernel::InPlaceModule for Bench {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            prepare()?;
            let threads = Threads::new(module)?;
            Ok(try_pin_init!(Self {
                _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                    name: NAME,
                }),
                _threads: threads,
            }? Error))
        })
    }
}

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn ioctl(_me: &Self, _file: &File, command: u32, count: usize) -> Result<isize> {
        let limit = match command {
            NOTIFIERS => NOTIFIERS_MAX,
            RANGES | RANGE_INSERT => RANGES_MAX,
            _ => MAX,
        };
        if count > limit {
            return Err(EINVAL);
        }
        match command {
            NOTHING => {}
            EMBEDDED => run_embedded(count)?,
            SHARED => run_shared(count)?,
            BOXED => run_boxed(count)?,
            RUN_STOP => run_stop(count)?,
            PARK_UNPARK => park_unpark(count)?,
            QUEUE_FLUSH => queue_flush(count)?,
            BATCH => queue_batch(count)?,
            NOTIFIERS => have_notifiers(count)?,
            INTERVALS => have_intervals(count.min(INTERVALS_MAX))?,
            INTERVAL_READ => interval_read(count)?,
            INTERVAL_INSERT_REMOVE => interval_insert_remove(count)?,
            SHARED_GET_PUT => shared_get_put(count)?,
            RANGES => have_ranges(count)?,
            RANGE_INSERT => range_insert(count)?,
            RANGE_REMOVE => range_remove()?,
            BE_TARGET => be_target()?,
            ROUND_TRIP => round_trip(count)?,
            SIZE => return Ok(*SIZES.get(count).ok_or(EINVAL)? as isize),
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
