// SPDX-License-Identifier: GPL-2.0

// What bench_raw.rs and bench_tether.rs have in common, and include: the device, and what they take
// their items from.

const MAX: usize = 4096;
const NOTHING: u32 = _IO(0xBA, 0);
const EMBEDDED: u32 = _IO(0xBA, 1);
const SHARED: u32 = _IO(0xBA, 2);
const BOXED: u32 = _IO(0xBA, 3);

/// What is used by one program, from one thread: no lock, as in C.
struct Alone<T>(UnsafeCell<T>);

// SAFETY: By what the type is for.
unsafe impl<T> Sync for Alone<T> {}

impl<T> Alone<T> {
    #[expect(clippy::mut_from_ref)]
    fn get(&self) -> &mut T {
        // SAFETY: By what the type is for: there is one thread, which does not nest this.
        unsafe { &mut *self.0.get() }
    }
}

/// Items that are not in use.
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
        // SAFETY: There are no more items than places, as in C.
        unsafe { *self.items.get_unchecked_mut(self.count) = item };
        self.count += 1;
    }

    fn pop(&mut self) -> *mut Embedded {
        self.count -= 1;
        // SAFETY: As above.
        unsafe { *self.items.get_unchecked(self.count) }
    }
}

#[pin_data]
struct Bench {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for Bench {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            prepare()?;
            Ok(try_pin_init!(Self {
                _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                    name: NAME,
                }),
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
        if count > MAX {
            return Err(EINVAL);
        }
        match command {
            NOTHING => {}
            EMBEDDED => run_embedded(count)?,
            SHARED => run_shared(count)?,
            BOXED => run_boxed(count)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
