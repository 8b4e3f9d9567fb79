// SPDX-License-Identifier: GPL-2.0

// The notifiers of bench_raw.rs, which includes this file.

const SIZE_NOTIFIER: usize = size_of::<bindings::mmu_notifier>();
const SIZE_INTERVAL: usize = size_of::<Interval>() - size_of::<usize>();

#[repr(C)]
struct Notifier {
    notifier: bindings::mmu_notifier,
    starts: usize,
    ends: usize,
}

/// # Safety
///
/// `notifier` must be the first field of a registered [`Notifier`], and `range` valid.
unsafe extern "C" fn notifier_start(
    notifier: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) -> c_int {
    // SAFETY: The caller guarantees that both pointers are valid. Only one thread invalidates.
    unsafe {
        let sum = &raw mut (*notifier.cast::<Notifier>()).starts;
        *sum = (*sum).wrapping_add((*range).end - (*range).start);
    }
    0
}

/// # Safety
///
/// `notifier` must be the first field of a registered [`Notifier`], and `range` valid.
unsafe extern "C" fn notifier_end(
    notifier: *mut bindings::mmu_notifier,
    range: *const bindings::mmu_notifier_range,
) {
    // SAFETY: The caller guarantees that both pointers are valid. Only one thread invalidates.
    unsafe {
        let sum = &raw mut (*notifier.cast::<Notifier>()).ends;
        *sum = (*sum).wrapping_add((*range).end - (*range).start);
    }
}

static NOTIFIER_OPS: Alone<bindings::mmu_notifier_ops> =
    Alone(UnsafeCell::new(bindings::mmu_notifier_ops {
        invalidate_range_start: Some(notifier_start),
        invalidate_range_end: Some(notifier_end),
        ..pin_init::zeroed()
    }));

#[repr(C)]
struct Interval {
    notifier: bindings::mmu_interval_notifier,
    lock: bindings::mutex,
    shadow: usize,
}

/// # Safety
///
/// `notifier` must be the first field of an inserted [`Interval`], and `range` valid.
unsafe extern "C" fn interval_invalidate(
    notifier: *mut bindings::mmu_interval_notifier,
    range: *const bindings::mmu_notifier_range,
    sequence: usize,
) -> bool {
    // SAFETY: The caller guarantees that both pointers are valid. Only one thread invalidates.
    let (it, range) = unsafe { (&mut *notifier.cast::<Interval>(), &*range) };
    if range.flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE != 0 {
        // SAFETY: The mutex was initialised in `interval()`, and the range allows sleeping.
        unsafe { bindings::mutex_lock(&mut it.lock) };
    } else {
        // SAFETY: The mutex was initialised in `interval()`.
        if unsafe { bindings::mutex_trylock(&mut it.lock) } == 0 {
            return false;
        }
    }
    // `mmu_interval_set_seq()`.
    //
    // SAFETY: The notifier is valid, and its sequence is written with the mutex held.
    unsafe { ptr::write_volatile(&raw mut it.notifier.invalidate_seq, sequence) };
    it.shadow = it.shadow.wrapping_add(range.end - range.start);
    // SAFETY: This task holds the mutex.
    unsafe { bindings::mutex_unlock(&mut it.lock) };
    true
}

static INTERVAL_OPS: Alone<bindings::mmu_interval_notifier_ops> =
    Alone(UnsafeCell::new(bindings::mmu_interval_notifier_ops {
        invalidate: Some(interval_invalidate),
        ..pin_init::zeroed()
    }));

struct Notifiers {
    registered: KVVec<KBox<UnsafeCell<Notifier>>>,
    intervals: KVec<KBox<UnsafeCell<Interval>>>,
}

static NOTIFIERS_THERE: Alone<Notifiers> = Alone(UnsafeCell::new(Notifiers {
    registered: KVVec::new(),
    intervals: KVec::new(),
}));

fn mm() -> *mut bindings::mm_struct {
    // SAFETY: The current task is valid, and is a process with an address space.
    unsafe { (*Task::current_raw()).mm }
}

#[inline(never)]
fn have_notifiers(count: usize) -> Result {
    let there = &mut NOTIFIERS_THERE.get().registered;
    if there.capacity() == 0 {
        there.reserve(NOTIFIERS_MAX, GFP_KERNEL)?;
    }
    while there.len() < count {
        let notifier = KBox::new(
            UnsafeCell::new(Notifier {
                notifier: pin_init::zeroed(),
                starts: 0,
                ends: 0,
            }),
            GFP_KERNEL,
        )?;
        let raw = notifier.get();
        // SAFETY: The notifier was just allocated, and only this task uses it.
        unsafe { (*raw).notifier.ops = NOTIFIER_OPS.get() };
        // SAFETY: The notifier has its operations, and is in a box that is not freed before it is
        // unregistered. The caller is a process with a valid `mm`.
        kernel::error::to_result(unsafe { bindings::mmu_notifier_register(raw.cast(), mm()) })?;
        there.push(notifier, GFP_KERNEL)?;
    }
    while there.len() > count {
        let Some(notifier) = there.pop() else { break };
        // SAFETY: The notifier is registered on this `mm`, and is unregistered once.
        unsafe { bindings::mmu_notifier_unregister(notifier.get().cast(), mm()) };
    }
    Ok(())
}

fn interval() -> Result<KBox<UnsafeCell<Interval>>> {
    let it = KBox::new(
        UnsafeCell::new(Interval {
            notifier: pin_init::zeroed(),
            lock: Default::default(),
            shadow: 0,
        }),
        GFP_KERNEL,
    )?;
    // SAFETY: The mutex is valid for writes and does not move; the name and the class are static.
    unsafe {
        bindings::__mutex_init(
            &raw mut (*it.get()).lock,
            c"bench".as_char_ptr(),
            kernel::static_lock_class!().as_ptr(),
        )
    };
    Ok(it)
}

fn insert(it: *mut Interval) -> Result {
    // SAFETY: All callers keep the interval in a box until the notifier is removed, and have
    // initialised its mutex. The caller is a process with a valid `mm`.
    kernel::error::to_result(unsafe {
        bindings::mmu_interval_notifier_insert(
            &raw mut (*it).notifier,
            mm(),
            0,
            1 << 46,
            INTERVAL_OPS.get(),
        )
    })
}

#[inline(never)]
fn have_intervals(count: usize) -> Result {
    let there = &mut NOTIFIERS_THERE.get().intervals;
    while there.len() < count {
        let it = interval()?;
        insert(it.get())?;
        there.push(it, GFP_KERNEL)?;
    }
    while there.len() > count {
        let Some(it) = there.pop() else { break };
        // SAFETY: The notifier is inserted, and is removed once.
        unsafe { bindings::mmu_interval_notifier_remove(it.get().cast()) };
    }
    Ok(())
}

#[inline(never)]
fn interval_read(mut count: usize) -> Result {
    let it = NOTIFIERS_THERE.get().intervals.first().ok_or(EINVAL)?.get();
    while count != 0 {
        count -= 1;
        // SAFETY: The notifier is inserted.
        let sequence = unsafe { bindings::mmu_interval_read_begin(it.cast()) };
        // SAFETY: The mutex was initialised in `interval()`, and this task does not hold it.
        unsafe { bindings::mutex_lock(&raw mut (*it).lock) };
        // `mmu_interval_read_retry()`.
        //
        // SAFETY: The interval is valid, and this task holds the mutex that protects both fields.
        unsafe {
            if (*it).notifier.invalidate_seq == sequence {
                (*it).shadow += count;
            }
        }
        // SAFETY: This task holds the mutex.
        unsafe { bindings::mutex_unlock(&raw mut (*it).lock) };
    }
    Ok(())
}

#[inline(never)]
fn interval_insert_remove(count: usize) -> Result {
    let it = interval()?;
    for _ in 0..count {
        insert(it.get())?;
        // SAFETY: The notifier was inserted above, and is removed once.
        unsafe { bindings::mmu_interval_notifier_remove(it.get().cast()) };
    }
    Ok(())
}
