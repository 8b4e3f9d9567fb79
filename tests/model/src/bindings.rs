// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the kernel's bindings. The functions are unsafe, like the functions of C.

#![allow(clippy::missing_safety_doc)]

use crate::{
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    task::{
        self,
        TaskStruct, //
    },
    task_work::wait,
    tether::Text, //
};

use core::ffi::c_void;

pub unsafe fn wake_up_var(_address: *mut c_void) {
    wait::wake_up_var();
}

pub unsafe fn tether_wait_word(
    word: *const c_void,
    busy: usize,
    flags: usize,
    _state: u32,
    _timeout: isize,
) -> isize {
    // SAFETY: The caller passes a valid word of the model, and borrows it for the duration of the
    // call.
    wait::wait_word(unsafe { &*word.cast::<Atomic<usize>>() }, busy, flags)
}

#[allow(non_camel_case_types)]
pub type task_struct = TaskStruct;

/// The states of a sleep. They do not matter, because a model has no signals.
pub const TASK_INTERRUPTIBLE: u32 = 1;
pub const TASK_UNINTERRUPTIBLE: u32 = 2;
pub const TASK_KILLABLE: u32 = 0x102;

/// `PF_MEMALLOC`.
pub const PF_MEMALLOC: u32 = 0x800;

/// `struct mmu_interval_notifier_finish`. Only its address is used.
#[allow(non_camel_case_types)]
pub struct mmu_interval_notifier_finish;

/// `struct mutex`.
#[allow(non_camel_case_types)]
#[derive(Default)]
pub struct mutex {
    locked: loom::sync::Mutex<bool>,
    unlocked: loom::sync::Condvar,
}

pub unsafe fn mutex_lock(mutex: *mut mutex) {
    // SAFETY: The caller passes a pointer to a valid mutex of the model.
    let mutex = unsafe { &*mutex };
    let mut locked = mutex.locked.lock().unwrap();
    while *locked {
        locked = mutex.unlocked.wait(locked).unwrap();
    }
    *locked = true;
}

pub unsafe fn mutex_trylock(mutex: *mut mutex) -> i32 {
    // SAFETY: The caller passes a pointer to a valid mutex of the model.
    let mutex = unsafe { &*mutex };
    let mut locked = mutex.locked.lock().unwrap();
    (!core::mem::replace(&mut *locked, true)).into()
}

pub unsafe fn mutex_unlock(mutex: *mut mutex) {
    // SAFETY: The caller passes a pointer to a valid mutex of the model.
    let mutex = unsafe { &*mutex };
    assert!(core::mem::take(&mut *mutex.locked.lock().unwrap()));
    mutex.unlocked.notify_one();
}

/// `TASK_IDLE`.
pub const TASK_IDLE: u32 = task::IDLE;
/// `TASK_RUNNING`.
pub const TASK_RUNNING: u32 = task::RUNNING;

pub unsafe fn set_current_state(state: u32) {
    task::set_current_state(state);
}

pub unsafe fn schedule() {
    task::schedule();
}

pub unsafe fn kthread_should_stop() -> bool {
    task::should_stop()
}

pub unsafe fn kthread_should_park() -> bool {
    task::should_park()
}

pub unsafe fn kthread_parkme() {
    task::parkme();
}

pub unsafe fn kthread_park(task: *mut TaskStruct) -> i32 {
    // SAFETY: The caller passes a pointer to a valid task of the model.
    unsafe { &*task }.park();
    0
}

pub unsafe fn kthread_unpark(task: *mut TaskStruct) {
    // SAFETY: The caller passes a pointer to a valid task of the model.
    unsafe { &*task }.unpark();
}

pub unsafe fn kthread_stop(task: *mut TaskStruct) {
    // SAFETY: The caller passes a pointer to a valid task of the model.
    unsafe { &*task }.stop();
}

pub unsafe fn tether_set_freezable() {}

pub unsafe fn tether_set_nofreeze() {}

#[allow(non_camel_case_types)]
pub struct raw_spinlock_t;

pub unsafe extern "C" fn tether_pins_lock_init(_lock: *mut raw_spinlock_t) {}

pub unsafe extern "C" fn tether_kthreads_lock_init(_lock: *mut raw_spinlock_t) {}

/// `struct list_head`.
#[allow(non_camel_case_types)]
pub struct list_head {
    pub next: *mut list_head,
    pub prev: *mut list_head,
}

#[allow(non_snake_case)]
pub unsafe fn INIT_LIST_HEAD(list: *mut list_head) {
    // SAFETY: The caller passes a list head that is valid for writes.
    unsafe {
        list.write(list_head {
            next: list,
            prev: list,
        })
    };
}

pub unsafe fn list_add_tail(new: *mut list_head, head: *mut list_head) {
    // SAFETY: The caller passes valid list heads and holds the lock of the list, so that no other
    // thread accesses the entries.
    unsafe {
        let prev = (*head).prev;
        new.write(list_head { next: head, prev });
        (*prev).next = new;
        (*head).prev = new;
    }
}

pub unsafe fn tether_list_del_init(entry: *mut list_head) {
    // SAFETY: The caller passes a valid entry and holds the lock of its list, so that no other
    // thread accesses the neighbours.
    unsafe {
        let (next, prev) = ((*entry).next, (*entry).prev);
        (*prev).next = next;
        (*next).prev = prev;
        INIT_LIST_HEAD(entry);
    }
}

/// `struct module`, with its reference count.
#[allow(non_camel_case_types)]
pub struct module {
    /// `refcnt`, including the module's own reference (`MODULE_REF_BASE`). It is 0 if the module is
    /// being removed.
    references: Atomic<usize>,
    /// The memory of the module, which is freed together with its text.
    memory: Text,
}

impl module {
    /// Creates a loaded module that is freed together with `memory`.
    pub fn new(memory: Text) -> Self {
        Self {
            references: Atomic::new(1),
            memory,
        }
    }

    /// `try_release_module_ref()`: returns whether the module can be removed.
    pub fn stop(&self) -> bool {
        if self.references.fetch_sub(1usize, Full) == 1 {
            return true;
        }
        // atomic_add_unless(&mod->refcnt, MODULE_REF_BASE, 0): if the last reference was dropped
        // meanwhile, the module can be removed.
        !self.add_unless_zero()
    }

    /// `atomic_add_unless(.., 1, 0)`.
    fn add_unless_zero(&self) -> bool {
        loop {
            let references = self.references.load(Relaxed);
            if references == 0 {
                return false;
            }
            let more = references + 1;
            if self.references.cmpxchg(references, more, Full).is_ok() {
                return true;
            }
        }
    }

    /// Returns whether the module is being removed (`MODULE_STATE_GOING`).
    pub fn is_going(&self) -> bool {
        self.references.load(Relaxed) == 0
    }

    /// Returns the number of references besides the module's own.
    pub fn references(&self) -> usize {
        self.references.load(Relaxed).saturating_sub(1)
    }
}

pub unsafe fn tether_module_get(module: *mut module) -> bool {
    // SAFETY: The caller passes a pointer to a valid module of the model.
    let module = unsafe { &*module };
    module.memory.run();
    module.add_unless_zero()
}

pub unsafe fn tether_module_put(module: *mut module) {
    // SAFETY: The caller passes a pointer to a valid module of the model.
    let module = unsafe { &*module };
    module.memory.run();
    let before = module.references.fetch_sub(1usize, Full);
    assert!(before > 0, "module_put() without a reference");
}
