// SPDX-License-Identifier: GPL-2.0

//! The callbacks that are running, and the works behind them.
//!
//! `task_work_run()` takes the whole list of a task before it calls the first work. From then on
//! the rest of this *batch* is reachable only through the work that is running. Each running
//! callback is therefore recorded here, with the next work of its batch. The records have two uses:
//! `tether/outstanding` and module teardown find the batch, and an item is not added again from
//! inside its own callback.
//!
//! A record is found by its task, in a table with open addressing. Recording a callback takes one
//! `cmpxchg` and removing the record another one, unless several callbacks share a slot. Records
//! are static, because a callback that panics never returns and its stack is freed.

use super::{
    tasks::pid_of,
    Node,
    Vtable, //
};
use crate::{
    bindings,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    task::Task,
    tether::{
        in_task,
        read_once,
        store_release,
        write_once, //
    }, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// A reader keeps the record, and with it the works behind the callback, from changing.
const HELD: usize = 1;
/// The unit of the number of records that are in other slots because this slot was taken.
const DISPLACED: usize = 2;
const DISPLACED_MASK: usize = 0x3e;
/// The address of the task; tasks are aligned to cache lines, of at least 64 bytes.
const TASK: usize = !(HELD | DISPLACED_MASK);

/// A place for the record of a callback.
///
/// # Invariants
///
/// * While the task in `word` is not zero, only that task changes the other fields, and it does not
///   return from the callback while [`HELD`] is set.
/// * If `node` is not null, `vtable` is that of the node, the node's owner is pinned, and `next` is
///   the rest of the batch that the node was in.
#[repr(align(64))]
struct Slot {
    word: Atomic<usize>,
    /// The node of the running callback, which may have freed it.
    node: Atomic<*mut Node>,
    next: Atomic<*mut bindings::callback_head>,
    vtable: Atomic<*const Vtable>,
    /// Marks the nodes that were initialised by this callback; 0 if there is no such node yet.
    serial: Atomic<usize>,
    /// The time at which the task was started (`start_boottime`). The record of a callback that has
    /// panicked stays, and the memory of its task may later belong to another task.
    started: Atomic<u64>,
}

const COUNT: usize = 1024;

static SLOTS: [Slot; COUNT] = [const {
    Slot {
        word: Atomic::new(0),
        node: Atomic::new(ptr::null_mut()),
        next: Atomic::new(ptr::null_mut()),
        vtable: Atomic::new(ptr::null()),
        serial: Atomic::new(0),
        started: Atomic::new(0),
    }
}; COUNT];

static NEXT_SERIAL: Atomic<usize> = Atomic::new(1);

/// Returns the index of the slot that is tried first for `task`.
#[inline(always)]
fn home(task: usize) -> usize {
    // A task takes more than a kilobyte.
    (task >> 10) % COUNT
}

fn current() -> usize {
    Task::current_raw() as usize
}

/// Returns the time at which the current task was started.
#[inline(always)]
fn current_started() -> u64 {
    // SAFETY: The current task is valid, and `start_boottime` does not change after the task was
    // created.
    unsafe { (*Task::current_raw()).start_boottime }
}

/// A callback that was recorded, by [`begin`].
pub(super) struct Record {
    slot: Option<&'static Slot>,
    /// The task, if the record is in the task's first slot; otherwise 0.
    task: usize,
}

/// Records that the callback of `node` is about to run in the current task.
///
/// `next` must be the rest of the batch, and `vtable` that of the node. The owner of the node must
/// be pinned until [`end`].
#[inline(always)]
pub(super) fn begin(
    node: NonNull<Node>,
    next: *mut bindings::callback_head,
    vtable: &'static Vtable,
) -> Record {
    let task = current();
    let slot = &SLOTS[home(task)];
    let record = if slot.word.cmpxchg(0, task, Full).is_ok() {
        Record {
            slot: Some(slot),
            task,
        }
    } else {
        Record {
            slot: displaced(task),
            task: 0,
        }
    };
    if let Some(slot) = record.slot {
        // INVARIANT: The slot belongs to the current task. `node` is set after the other fields,
        // which are those of the node; the caller keeps its owner pinned.
        write_once(&slot.next, next);
        write_once(&slot.vtable, vtable);
        write_once(&slot.serial, 0);
        write_once(&slot.started, current_started());
        store_release(&slot.node, node.as_ptr());
    }
    record
}

/// Finds another slot for a task if its first slot is taken.
///
/// If there is no free slot, the callback is not recorded. This happens if as many callbacks run as
/// there are slots, or if more than 31 of them are displaced from the same slot.
#[cold]
fn displaced(task: usize) -> Option<&'static Slot> {
    let first = home(task);
    let home = &SLOTS[first];
    let mut old = home.word.load(Relaxed);
    loop {
        // If no task is in the slot, it is free: only its counter was not zero.
        let new = if old & TASK == 0 {
            old | task
        } else if old & DISPLACED_MASK != DISPLACED_MASK {
            old + DISPLACED
        } else {
            return None;
        };
        match home.word.cmpxchg(old, new, Full) {
            Ok(_) if old & TASK == 0 => return Some(home),
            Ok(_) => break,
            Err(now) => old = now,
        }
    }
    for offset in 1..COUNT {
        let slot = &SLOTS[(first + offset) % COUNT];
        let mut old = slot.word.load(Relaxed);
        while old & TASK == 0 {
            match slot.word.cmpxchg(old, old | task, Full) {
                Ok(_) => return Some(slot),
                Err(now) => old = now,
            }
        }
    }
    home.word.fetch_sub(DISPLACED, Full);
    None
}

/// Removes a record, after the callback has returned.
#[inline(always)]
pub(super) fn end(record: Record) {
    let Some(slot) = record.slot else {
        return;
    };
    write_once(&slot.node, ptr::null_mut());
    if record.task == 0 || slot.word.cmpxchg(record.task, 0, Full).is_err() {
        end_slow(slot);
    }
}

#[cold]
fn end_slow(slot: &'static Slot) {
    let mut old = slot.word.load(Relaxed);
    loop {
        if old & HELD != 0 {
            // The reader runs with interrupts disabled, so that this loop is short.
            core::hint::spin_loop();
            old = slot.word.load(Relaxed);
            continue;
        }
        match slot.word.cmpxchg(old, old & DISPLACED_MASK, Full) {
            Ok(_) => break,
            Err(now) => old = now,
        }
    }
    let home = &SLOTS[home(current())];
    if !ptr::eq(slot, home) {
        home.word.fetch_sub(DISPLACED, Full);
    }
}

/// Returns whether the current task may have a record.
#[inline(always)]
pub(super) fn may_have_record() -> bool {
    read_once(&SLOTS[home(current())].word) != 0
}

/// Returns the records of the current task, which are not removed while this task reads them.
fn own_records() -> impl Iterator<Item = &'static Slot> {
    let (task, started) = (current(), current_started());
    SLOTS.iter().filter(move |slot| {
        slot.word.load(Relaxed) & TASK == task
            && !slot.node.load(Relaxed).is_null()
            && slot.started.load(Relaxed) == started
    })
}

/// Returns whether the current task is in a callback that was recorded.
#[cold]
pub(super) fn is_in_callback() -> bool {
    own_records().next().is_some()
}

/// Returns a mark for a node that is being initialised; 0 outside of callbacks. By this mark
/// [`is_inside`] distinguishes a new object from the object of the running callback, which may have
/// had the same address.
#[inline(always)]
pub(super) fn birth() -> usize {
    if may_have_record() {
        birth_slow()
    } else {
        0
    }
}

#[cold]
fn birth_slow() -> usize {
    if own_records().any(|slot| slot.serial.load(Relaxed) == 0) {
        let serial = NEXT_SERIAL.fetch_add(1usize, Relaxed);
        for slot in own_records() {
            slot.serial.store(serial, Relaxed);
        }
    }
    own_records()
        .next()
        .map_or(0, |slot| slot.serial.load(Relaxed))
}

/// Returns whether the current task is in the callback of a node in the `size` bytes at `object`.
///
/// An object that was initialised in that callback (see `born`) is a different object. An `Arc` at
/// the address of a box (`boxed`) is a different object as well, because an `Arc` is not freed
/// while its callback runs. In an interrupt handler, the result is false.
#[inline(always)]
pub(super) fn is_inside(
    object: usize,
    size: usize,
    boxed: bool,
    born: impl FnOnce() -> usize,
) -> bool {
    may_have_record() && is_inside_slow(object, size, boxed, born())
}

#[cold]
#[inline(never)]
fn is_inside_slow(object: usize, size: usize, boxed: bool, born: usize) -> bool {
    let inside = own_records().any(|slot| {
        let node = slot.node.load(Relaxed) as usize;
        // SAFETY: By the invariants of `Slot` the vtable is that of a running callback of the
        // current task, and its owner is pinned until the callback returns.
        let same_kind = unsafe { (*slot.vtable.load(Relaxed)).is_of_box() } == boxed;
        same_kind
            && node.wrapping_sub(object) < size
            && (born == 0 || born != slot.serial.load(Relaxed))
    });
    inside && in_task()
}

/// A callback that is running.
pub(super) struct Running {
    /// The address of the task that runs the callback.
    pub(super) task: usize,
    /// The vtable of the callback, valid while the callback is kept from returning.
    pub(super) vtable: NonNull<Vtable>,
    /// The works behind the callback, linked by their heads, valid while the callback is kept from
    /// returning.
    pub(super) next: *mut bindings::callback_head,
}

/// Calls `f` for each callback that is running and was recorded, with interrupts disabled.
///
/// The callback is kept from returning to `task_work_run()` meanwhile, so that the works behind it
/// are neither run nor freed.
pub(super) fn for_each(mut f: impl FnMut(Running)) {
    for slot in &SLOTS {
        if slot.word.load(Relaxed) & TASK == 0 {
            continue;
        }
        // SAFETY: `tether_irq_save()` has no requirements. The flags are restored below.
        let flags = unsafe { bindings::tether_irq_save() };
        let mut old = slot.word.load(Relaxed);
        while old & TASK != 0 {
            if old & HELD != 0 {
                core::hint::spin_loop();
                old = slot.word.load(Relaxed);
                continue;
            }
            match slot.word.cmpxchg(old, old | HELD, Full) {
                Ok(_) => {
                    // The record of a callback that has panicked stays. Works behind it may be in
                    // the memory of its task, like those of the scheduler. This memory is freed
                    // after the task was reaped and an RCU grace period has elapsed, which does not
                    // elapse while interrupts are disabled.
                    let lives = |started| pid_of(old & TASK, started).is_some();
                    if !slot.node.load(Acquire).is_null() && lives(slot.started.load(Relaxed)) {
                        let vtable = slot.vtable.load(Relaxed).cast_mut();
                        if let Some(vtable) = NonNull::new(vtable) {
                            f(Running {
                                task: old & TASK,
                                vtable,
                                next: slot.next.load(Relaxed),
                            });
                        }
                    }
                    slot.word.fetch_sub(HELD, Release);
                    break;
                }
                Err(now) => old = now,
            }
        }
        // SAFETY: `tether_irq_restore()` requires the flags of `tether_irq_save()` on the same CPU.
        // Interrupts have been disabled since, so that the CPU is the same.
        unsafe { bindings::tether_irq_restore(flags) };
    }
}
