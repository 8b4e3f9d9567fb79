// SPDX-License-Identifier: GPL-2.0

//! A stand-in for the kernel's bindings. The functions are unsafe as those are.

#![allow(clippy::missing_safety_doc)]

use crate::task::{
    self,
    TaskStruct, //
};

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
