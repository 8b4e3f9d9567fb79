// SPDX-License-Identifier: GPL-2.0

//! The benchmark's work on Tether; see `bench.h`.

use core::cell::UnsafeCell;
use kernel::{
    fs::File,
    ioctl::_IO,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::Arc, //
};
use tether::task_work::{
    self,
    impl_has_task_work,
    Context,
    Mode,
    TaskWork,
    TaskWorkItem, //
};

module! {
    type: Bench,
    name: "bench_tether",
    authors: ["The Tether developers"],
    description: "Benchmark: Tether",
    license: "GPL",
}

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
                    name: c"bench-tether",
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

#[pin_data]
struct Embedded {
    value: usize,
    #[pin]
    work: TaskWork<Embedded>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Embedded { self.work }
}

impl TaskWorkItem for Embedded {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Self::Pointer, _context: &Context<'_>) {
        let pool = POOL.get();
        pool.sum += this.value;
        // SAFETY: It stays pinned, behind a raw pointer.
        pool.push(KBox::into_raw(unsafe { Pin::into_inner_unchecked(this) }));
    }
}

#[pin_data]
struct Shared {
    value: usize,
    #[pin]
    work: TaskWork<Shared>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Shared { self.work }
}

impl TaskWorkItem for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Self::Pointer, _context: &Context<'_>) {
        POOL.get().sum += this.value;
    }
}

fn prepare() -> Result {
    let pool = POOL.get();
    let mut shared = KVVec::with_capacity(MAX, GFP_KERNEL)?;
    for value in 0..MAX {
        let item = KBox::pin_init(
            pin_init!(Embedded { value, work <- TaskWork::new() }),
            GFP_KERNEL,
        )?;
        // SAFETY: As in `run`.
        pool.push(KBox::into_raw(unsafe { Pin::into_inner_unchecked(item) }));
        let item = Arc::pin_init(
            pin_init!(Shared { value, work <- TaskWork::new() }),
            GFP_KERNEL,
        )?;
        shared.push(item, GFP_KERNEL)?;
    }
    pool.shared = Some(shared);
    Ok(())
}

fn run_embedded(count: usize) -> Result {
    let task = current!();
    for _ in 0..count {
        // SAFETY: What is in the pool was a pinned box.
        let item = unsafe { Pin::new_unchecked(KBox::from_raw(POOL.get().pop())) };
        task_work::add(task, item, Mode::Resume)?;
    }
    Ok(())
}

fn run_shared(count: usize) -> Result {
    let task = current!();
    let shared = POOL.get().shared.as_ref().ok_or(EINVAL)?;
    for item in shared.iter().take(count) {
        task_work::add(task, item.clone(), Mode::Resume)?;
    }
    Ok(())
}

fn run_boxed(count: usize) -> Result {
    let task = current!();
    for value in 0..count {
        task_work::add_fn(
            task,
            move |_| POOL.get().sum += value,
            Mode::Resume,
            GFP_KERNEL,
        )?;
    }
    Ok(())
}
