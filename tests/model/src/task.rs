// SPDX-License-Identifier: GPL-2.0

//! Tasks that sleep and are woken, and the parts of `kernel/kthread.c` that the models call.
//!
//! The comment on each step names the kernel function that the step models.

use crate::sync::atomic::{
    Atomic,
    Relaxed, //
};
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

/// The completions of `struct kthread`.
#[derive(Default)]
struct Done {
    parked: u32,
    exited: bool,
}

/// `struct task_struct` with its `struct kthread`, and with the alignment of a task.
#[repr(align(64))]
pub struct TaskStruct {
    /// This field and the next are only accessed by the task itself.
    pub pagefault_disabled: i32,
    pub flags: u32,
    /// `__state`.
    state: Atomic<u32>,
    /// Taken by wakers, and for special states.
    pi_lock: Mutex<()>,
    /// The lock of the run queue: taken by `schedule()`, and by a waker that wakes the task.
    rq: Mutex<()>,
    woken: Condvar,
    /// `KTHREAD_SHOULD_STOP`.
    should_stop: Atomic<bool>,
    /// `KTHREAD_SHOULD_PARK`.
    should_park: Atomic<bool>,
    done: Mutex<Done>,
    completed: Condvar,
}

impl Default for TaskStruct {
    fn default() -> Self {
        Self {
            pagefault_disabled: 0,
            flags: 0,
            state: Atomic::new(RUNNING),
            pi_lock: Mutex::new(()),
            rq: Mutex::new(()),
            woken: Condvar::new(),
            should_stop: Atomic::new(false),
            should_park: Atomic::new(false),
            done: Mutex::default(),
            completed: Condvar::new(),
        }
    }
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

    /// Marks the task as exited.
    pub fn exit(&self) {
        self.0.done.lock().unwrap().exited = true;
        self.0.completed.notify_all();
    }
}

impl TaskStruct {
    /// `try_to_wake_up()`: a full barrier, then a read of the state under `pi_lock`. The task
    /// itself changes its state without a lock.
    fn wake_up(&self, from: u32) {
        // `loom` does not run other threads between an operation and a fence, unless there is an
        // access in between that depends on theirs.
        let _ = self.state.load(Relaxed);
        fence(Ordering::SeqCst);
        let _pi_lock = self.pi_lock.lock().unwrap();
        if self.state.load(Relaxed) != from {
            return;
        }
        let rq = self.rq.lock().unwrap();
        self.state.store(RUNNING, Relaxed);
        drop(rq);
        self.woken.notify_all();
    }

    /// `wait_for_completion()`.
    fn wait(&self, done: impl Fn(&mut Done) -> bool) {
        let mut guard = self.done.lock().unwrap();
        while !done(&mut guard) {
            guard = self.completed.wait(guard).unwrap();
        }
    }

    /// `kthread_unpark()`: the bits have no ordering.
    pub fn unpark(&self) {
        if !self.should_park.load(Relaxed) {
            return;
        }
        self.should_park.store(false, Relaxed);
        self.wake_up(PARKED);
    }

    /// `kthread_park()`, including its warnings.
    pub fn park(&self) {
        let exited = self.done.lock().unwrap().exited;
        assert!(!exited, "WARN_ON(k->flags & PF_EXITING)");
        assert!(
            !self.should_park.load(Relaxed),
            "WARN_ON_ONCE(test_bit(KTHREAD_SHOULD_PARK, ...))"
        );
        self.should_park.store(true, Relaxed);
        self.wake_up(IDLE);
        self.wait(|done| {
            let parked = done.parked > 0;
            done.parked -= u32::from(parked);
            parked
        });
    }

    /// `kthread_stop()`.
    pub fn stop(&self) {
        self.should_stop.store(true, Relaxed);
        self.unpark();
        self.wake_up(IDLE);
        self.wait(|done| done.exited);
    }
}

/// `set_current_state()`.
pub fn set_current_state(state: u32) {
    Task::current().0.state.store(state, Relaxed);
    fence(Ordering::SeqCst);
}

/// `schedule()`.
pub fn schedule() {
    let task = Task::current();
    let mut rq = task.0.rq.lock().unwrap();
    while task.0.state.load(Relaxed) != RUNNING {
        rq = task.0.woken.wait(rq).unwrap();
    }
}

/// `kthread_should_stop()`.
pub fn should_stop() -> bool {
    Task::current().0.should_stop.load(Relaxed)
}

/// `kthread_should_park()`.
pub fn should_park() -> bool {
    Task::current().0.should_park.load(Relaxed)
}

/// `kthread_parkme()`.
pub fn parkme() {
    let task = Task::current();
    loop {
        // set_special_state(TASK_PARKED)
        let pi_lock = task.0.pi_lock.lock().unwrap();
        task.0.state.store(PARKED, Relaxed);
        drop(pi_lock);
        if !task.0.should_park.load(Relaxed) {
            break;
        }
        // complete(&self->parked)
        task.0.done.lock().unwrap().parked += 1;
        task.0.completed.notify_all();
        schedule();
    }
    // __set_current_state(TASK_RUNNING)
    task.0.state.store(RUNNING, Relaxed);
}
