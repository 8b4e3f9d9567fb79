// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/kthread.rs`: a thread with the modelled parts.

use crate::{
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    task::Task, //
};
use loom::{
    cell::UnsafeCell,
    sync::Arc, //
};

use graph::current_waits;

mod completion;
#[path = "../../../rust/kernel/kthread/park.rs"]
mod park;
#[path = "../../../rust/kernel/kthread/stage.rs"]
mod stage;
#[path = "../../../rust/kernel/kthread/start.rs"]
mod start;
#[path = "../../../rust/kernel/kthread/waits.rs"]
mod waits;

pub mod graph;

use completion::Waits;
pub use completion::{
    Killer,
    Limit, //
};
pub use park::{
    Mode,
    ParkRequest,
    Parkable, //
};

/// The context of a body, as in `rust/kernel/kthread.rs`.
pub struct Context<'a, M: Mode> {
    core: &'a Core,
    _mode: core::marker::PhantomData<M>,
}

/// The modelled parts of `Core` in `rust/kernel/kthread.rs`.
pub struct Core {
    start: start::Start,
    stage: stage::Stage,
    /// The number of times that the result was dropped.
    drops: Atomic<u32>,
    parking: park::Parking,
    waits: Waits,
    task: Arc<Task>,
    should_stop: Atomic<bool>,
    freezable: bool,
    /// Memory that a task writes before it makes a request, and that the thread reads when it finds
    /// the request. An access that is not ordered is a data race.
    given: UnsafeCell<()>,
    /// Memory that the thread writes before it parks.
    result: UnsafeCell<()>,
}

// SAFETY: `given` and `result` are not accessed concurrently, which `loom` checks.
unsafe impl Sync for Core {}

impl Core {
    /// Creates a thread that has not started.
    pub fn new() -> Self {
        Self {
            start: start::Start::new(),
            stage: stage::Stage::new(),
            drops: Atomic::new(0),
            parking: crate::prelude::PinInit::make(park::Parking::new()),
            waits: Waits,
            task: Arc::new(Task::default()),
            should_stop: Atomic::new(false),
            freezable: false,
            given: UnsafeCell::new(()),
            result: UnsafeCell::new(()),
        }
    }

    /// Returns the thread's task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Makes the calling `loom` thread this thread.
    pub fn enter(&self) {
        Task::become_current(&self.task);
    }

    fn should_stop(&self) -> bool {
        self.should_stop.load(Relaxed)
    }

    /// `Core::wait_for_answer()`. No step of a wait is over in a model.
    fn wait_for_answer(&self, limit: Limit) -> crate::prelude::Result {
        self.parking.answered.wait(limit)
    }

    /// `Core::request_stop()`.
    pub fn request_stop(&self) {
        self.should_stop.xchg(true, Full);
        self.unpark_to_stop();
        self.task.wake_up();
    }

    /// `Thread::park()`, and its killable and timed forms.
    pub fn park_thread(&self, limit: Limit) -> crate::prelude::Result {
        self.park(limit)
    }

    /// `Thread::unpark()`.
    pub fn unpark_thread(&self) {
        self.unpark();
    }

    /// Writes the result; called by the thread.
    pub fn write_result(&self) {
        self.result.with_mut(|_| ());
    }

    /// Writes the memory that the thread reads when it finds a request.
    pub fn give(&self) {
        self.given.with_mut(|_| ());
    }

    /// Reads what was given.
    pub fn read_given(&self) {
        self.given.with(|_| ());
    }

    /// Reads the memory that the thread has written before it parked.
    pub fn read_result(&self) {
        self.result.with(|_| ());
    }

    /// `Thread::is_parked()`.
    pub fn is_parked(&self) -> bool {
        self.parking.is_parked()
    }

    /// `Core::start()`.
    pub fn start(&self) {
        if self.start.start() {
            self.task.wake_up();
        }
    }

    /// `Start::never()`.
    pub fn never(&self) -> bool {
        self.start.never()
    }

    /// `kthread_stop()`. Returns whether the body was called.
    pub fn stop(&self) -> bool {
        // SAFETY: `self` owns a reference to the task, so the pointer is valid.
        unsafe { crate::bindings::kthread_stop(self.task.as_ptr()) };
        self.start.has_begun()
    }

    /// The function of the thread. Calls `body` if the thread was started.
    pub fn main(&self, body: impl FnOnce()) {
        self.enter();
        // SAFETY: The caller is the thread itself, and calls `main()` once.
        if unsafe { self.start.wait() } {
            body();
        }
        self.task.exit();
    }

    /// A body that parks on each request, and returns on a request to stop. Ends as `main()` does.
    pub fn run(&self) {
        self.run_with(|| (), || ());
    }

    /// As [`Core::run`]: calls `on_request` before it parks, and `on_return` when it was unparked.
    pub fn run_with(&self, on_request: impl Fn(), on_return: impl Fn()) {
        self.sleep(on_request, on_return);
        self.finish();
    }

    /// As [`Core::run`], but does not end the thread.
    pub fn run_until_stopped(&self) {
        self.sleep(|| (), || ());
    }

    /// `Core::sleep()` until the thread is requested to stop.
    fn sleep(&self, on_request: impl Fn(), on_return: impl Fn()) {
        loop {
            crate::task::set_current_state(crate::task::IDLE);
            if self.should_stop() {
                break;
            }
            if self.parking.is_asked() {
                // Before set_current_state(), which is a barrier.
                on_request();
                crate::task::set_current_state(crate::task::RUNNING);
                drop(ParkRequest::new(&Context {
                    core: self,
                    _mode: core::marker::PhantomData,
                }));
                on_return();
                continue;
            }
            crate::task::schedule();
        }
        crate::task::set_current_state(crate::task::RUNNING);
    }

    /// `main()` in `rust/kernel/kthread/entry.rs`, from the return of the body.
    pub fn return_result(&self) {
        self.write_result();
        let handle = self.stage.end();
        if handle == stage::Handle::Detached {
            // Stands for the pin of the module.
            self.read_given();
        }
        if handle != stage::Handle::Attached {
            self.drop_result();
        }
        self.task.exit();
    }

    fn drop_result(&self) {
        self.result.with_mut(|_| ());
        self.drops.fetch_add(1, Relaxed);
    }

    /// Returns the number of times that the result was dropped.
    pub fn drops(&self) -> u32 {
        self.drops.load(Relaxed)
    }

    /// `Core::abandon()` of a handle that must not wait for the thread.
    pub fn orphan(&self) {
        if !self.stage.orphan() {
            self.finish_handle();
        }
    }

    /// `Thread::detach()`.
    pub fn detach(&self) {
        self.give();
        if !self.stage.detach() {
            self.finish_handle();
        }
    }

    /// Reads the result if the body has returned, and drops it. Otherwise leaves it to the thread.
    pub fn drop_if_returned(&self) {
        if self.stage.has_returned() {
            self.read_result();
        }
        self.orphan();
    }

    /// `Core::finish()`: waits for the end of the thread, and takes the result.
    fn finish_handle(&self) {
        self.stop();
        self.drop_result();
    }

    /// A body that returns without checking for requests.
    pub fn finish(&self) {
        // SAFETY: The caller is the thread itself.
        unsafe { self.parking.end() };
        self.task.exit();
    }
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}
