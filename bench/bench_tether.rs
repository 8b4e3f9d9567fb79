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

const NAME: &CStr = c"bench-tether";

include!("device.rs");

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
