// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the kernel's bindings. The functions are unsafe as those are.

#![allow(clippy::missing_safety_doc)]

use crate::{
    sync::atomic::Atomic,
    task::{
        self,
        TaskStruct, //
    },
    task_work::wait, //
};

use core::ffi::c_void;

pub unsafe fn wake_up_var(_address: *mut c_void) {
    wait::wake_up_var();
}

pub unsafe fn tether_wait_word(
    word: *const c_void,
    busy: usize,
    flags: usize,
    _timeout: isize,
) -> isize {
    // SAFETY: The caller passes a word of the model, which it borrows.
    wait::wait_word(unsafe { &*word.cast::<Atomic<usize>>() }, busy, flags)
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
    // SAFETY: The caller passes a task of the model.
    unsafe { &*task }.park();
    0
}

pub unsafe fn kthread_unpark(task: *mut TaskStruct) {
    // SAFETY: The caller passes a task of the model.
    unsafe { &*task }.unpark();
}

pub unsafe fn kthread_stop(task: *mut TaskStruct) {
    // SAFETY: The caller passes a task of the model.
    unsafe { &*task }.stop();
}

pub unsafe fn tether_set_freezable() {}

pub unsafe fn tether_set_nofreeze() {}
