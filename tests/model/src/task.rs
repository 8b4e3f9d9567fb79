// SPDX-License-Identifier: GPL-2.0

//! Tasks that sleep and are woken, and the parts of `kernel/kthread.c` that the models call.
//!
//! The comment on each step names the kernel function that the step models.

use loom::sync::{
    atomic::{
        fence,
        Ordering, //
    },
    Arc,
    Condvar,
    Mutex, //
};
use std::cell::RefCell;

/// `TASK_RUNNING`.
pub const RUNNING: u32 = 0;
/// A sleep that any wake-up ends (`TASK_IDLE`, `TASK_UNINTERRUPTIBLE`).
pub const IDLE: u32 = 1;
/// `TASK_PARKED`.
pub const PARKED: u32 = 2;

#[derive(Default)]
struct Inner {
    state: u32,
    should_stop: bool,
    should_park: bool,
    parked: u32,
    exited: bool,
}

/// `struct task_struct` with its `struct kthread`, and with the alignment of a task.
#[derive(Default)]
#[repr(align(64))]
pub struct TaskStruct {
    /// This field and the next are only accessed by the task itself.
    pub pagefault_disabled: i32,
    pub flags: u32,
    inner: Mutex<Inner>,
    changed: Condvar,
}

loom::thread_local! {
    static CURRENT: RefCell<Option<Arc<Task>>> = RefCell::new(None);
}

/// `kernel::task::Task`.
#[derive(Default)]
pub struct Task(TaskStruct);

impl Task {
    /// Makes `task` the current task of the calling thread.
    pub fn become_current(task: &Arc<Task>) {
        CURRENT.with(|current| *current.borrow_mut() = Some(task.clone()));
    }

    fn current() -> Arc<Task> {
        CURRENT.with(|current| current.borrow().clone().expect("a task"))
    }

    /// As in the kernel crate.
    pub fn current_raw() -> *mut TaskStruct {
        Self::current().as_ptr()
    }

    /// As in the kernel crate.
    pub fn as_ptr(&self) -> *mut TaskStruct {
        (&raw const self.0).cast_mut()
    }

    /// `wake_up_process()`: wakes the task if it sleeps in `IDLE`.
    pub fn wake_up(&self) {
        self.0.wake_up(IDLE);
    }

    /// Marks the task as exiting.
    pub fn exit(&self) {
        let mut inner = self.0.inner.lock().unwrap();
        inner.exited = true;
        drop(inner);
        self.0.changed.notify_all();
    }
}

impl TaskStruct {
    /// `try_to_wake_up()`: a full barrier, then a read of the state. The state changes under
    /// `pi_lock`.
    fn wake_up(&self, from: u32) {
        fence(Ordering::SeqCst);
        let mut inner = self.inner.lock().unwrap();
        if inner.state == from {
            inner.state = RUNNING;
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// `kthread_unpark()`.
    pub fn unpark(&self) {
        let mut inner = self.inner.lock().unwrap();
        if !inner.should_park {
            return;
        }
        inner.should_park = false;
        drop(inner);
        self.wake_up(PARKED);
    }

    /// `kthread_park()`, including its warnings.
    pub fn park(&self) {
        let mut inner = self.inner.lock().unwrap();
        assert!(!inner.exited, "WARN_ON(k->flags & PF_EXITING)");
        assert!(
            !inner.should_park,
            "WARN_ON_ONCE(test_bit(KTHREAD_SHOULD_PARK, ...))"
        );
        inner.should_park = true;
        drop(inner);
        self.wake_up(IDLE);
        // wait_for_completion(&kthread->parked)
        let mut inner = self.inner.lock().unwrap();
        while inner.parked == 0 {
            inner = self.changed.wait(inner).unwrap();
        }
        inner.parked -= 1;
    }

    /// `kthread_stop()`.
    pub fn stop(&self) {
        self.inner.lock().unwrap().should_stop = true;
        self.unpark();
        self.wake_up(IDLE);
        let mut inner = self.inner.lock().unwrap();
        while !inner.exited {
            inner = self.changed.wait(inner).unwrap();
        }
    }
}

/// `set_current_state()`.
pub fn set_current_state(state: u32) {
    Task::current().0.inner.lock().unwrap().state = state;
    fence(Ordering::SeqCst);
}

/// `schedule()`.
pub fn schedule() {
    let task = Task::current();
    let mut inner = task.0.inner.lock().unwrap();
    while inner.state != RUNNING {
        inner = task.0.changed.wait(inner).unwrap();
    }
}

/// `kthread_should_stop()`.
pub fn should_stop() -> bool {
    Task::current().0.inner.lock().unwrap().should_stop
}

/// `kthread_should_park()`.
pub fn should_park() -> bool {
    Task::current().0.inner.lock().unwrap().should_park
}

/// `kthread_parkme()`.
pub fn parkme() {
    let task = Task::current();
    loop {
        let mut inner = task.0.inner.lock().unwrap();
        // set_special_state(TASK_PARKED)
        inner.state = PARKED;
        if !inner.should_park {
            inner.state = RUNNING;
            return;
        }
        // complete(&self->parked)
        inner.parked += 1;
        drop(inner);
        task.0.changed.notify_all();
        schedule();
    }
}
