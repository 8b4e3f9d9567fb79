// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/task_work.rs`: items with the modelled state, and the steps of that
//! file.
//!
//! The model counts the pin and the reference that a node holds while it is linked. Each of them
//! must be dropped exactly once.

use crate::{
    prelude::*,
    sync::atomic::{
        self,
        Atomic, //
    },
    task::Task,
    time::Jiffies, //
};
use loom::{
    cell::UnsafeCell,
    sync::Mutex, //
};
use std::sync::{
    atomic::{
        AtomicIsize,
        Ordering::Relaxed, //
    },
    Arc, //
};

#[path = "../../../rust/kernel/task_work/state.rs"]
mod state;
pub mod wait;

use state::{
    Cancelled,
    State,
    WaitLimit, //
};

/// A task that runs works.
pub struct Target {
    task: loom::sync::Arc<Task>,
    /// `task->task_works` and `pi_lock`. `None` once the list was sealed (`work_exited`).
    works: Mutex<Option<Vec<Arc<Item>>>>,
}

impl Target {
    /// Creates a task without works.
    pub fn new() -> Self {
        Self {
            task: loom::sync::Arc::new(Task::default()),
            works: Mutex::new(Some(Vec::new())),
        }
    }

    /// Makes this task the current task of the calling thread.
    pub fn enter(&self) {
        Task::become_current(&self.task);
    }

    fn address(&self) -> usize {
        self.task.as_ptr() as usize
    }

    /// `task_work_add()`.
    fn link(&self, item: &Arc<Item>) -> bool {
        match &mut *self.works.lock().unwrap() {
            Some(works) => {
                assert!(
                    !works.iter().any(|linked| Arc::ptr_eq(linked, item)),
                    "the node is linked twice"
                );
                works.push(item.clone());
                true
            }
            None => false,
        }
    }

    /// `task_work_cancel()`.
    fn unlink(&self, item: &Arc<Item>) -> bool {
        match &mut *self.works.lock().unwrap() {
            Some(works) => {
                let before = works.len();
                works.retain(|linked| !Arc::ptr_eq(linked, item));
                works.len() != before
            }
            None => false,
        }
    }

    /// `task_work_run()`: takes the list and runs its works, until the list is empty.
    pub fn run(&self) {
        loop {
            let works = match &mut *self.works.lock().unwrap() {
                Some(works) => core::mem::take(works),
                None => return,
            };
            if works.is_empty() {
                return;
            }
            for item in works {
                item.run_work(self);
            }
        }
    }

    /// `exit_task_work()`.
    pub fn exit(&self) {
        loop {
            let works = {
                let mut works = self.works.lock().unwrap();
                match &mut *works {
                    Some(list) if !list.is_empty() => core::mem::take(list),
                    _ => {
                        *works = None;
                        return;
                    }
                }
            };
            for item in works {
                item.run_work(self);
            }
        }
    }

    /// `disarm()`, for all works of the list.
    pub fn disarm(&self) {
        let mut disarmed = Vec::new();
        if let Some(works) = &*self.works.lock().unwrap() {
            for item in works {
                if item.state.is_pinned() && item.state.disarm(state::SPENT).is_some() {
                    item.unpin();
                    item.leaked.fetch_add(1, Relaxed);
                    disarmed.push(item.clone());
                }
            }
        }
        for item in disarmed {
            item.state.wake();
        }
    }
}

/// An item: an `Arc` with a node.
pub struct Item {
    state: State,
    pins: AtomicIsize,
    given: AtomicIsize,
    leaked: AtomicIsize,
    runs: AtomicIsize,
    running: Atomic<bool>,
    /// The request that the callback has to process.
    pub asked: Atomic<bool>,
    seen: AtomicIsize,
    /// Memory that the callback writes. An access that is not ordered is a data race.
    result: UnsafeCell<()>,
}

// SAFETY: `result` is not accessed concurrently, which `loom` checks.
unsafe impl Send for Item {}
// SAFETY: `result` is not accessed concurrently, which `loom` checks.
unsafe impl Sync for Item {}

impl Item {
    /// Creates an item that was not added.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: State::new(state::IDLE, 0),
            pins: AtomicIsize::new(0),
            given: AtomicIsize::new(0),
            leaked: AtomicIsize::new(0),
            runs: AtomicIsize::new(0),
            running: Atomic::new(false),
            asked: Atomic::new(false),
            seen: AtomicIsize::new(0),
            result: UnsafeCell::new(()),
        })
    }

    fn unpin(&self) {
        assert!(
            self.pins.fetch_sub(1, Relaxed) > 0,
            "a pin is dropped twice"
        );
    }

    fn take_back(&self) {
        assert!(
            self.given.fetch_sub(1, Relaxed) > 0,
            "a reference is dropped twice"
        );
    }

    /// Returns the number of calls of the callback.
    pub fn runs(&self) -> isize {
        self.runs.load(Relaxed)
    }

    /// Reads what the callback has written.
    pub fn read_result(&self) {
        self.result.with(|_| ());
    }

    /// Returns the number of calls that found a request.
    pub fn seen(&self) -> isize {
        self.seen.load(Relaxed)
    }

    /// Asserts that no work is pending: each pin and each reference was taken back.
    pub fn assert_balance(&self) {
        assert_eq!(self.pins.load(Relaxed), 0, "a pin is left");
        assert_eq!(
            self.given.load(Relaxed),
            self.leaked.load(Relaxed),
            "a reference is left"
        );
        assert!(!self.state.load().is_busy() || self.leaked.load(Relaxed) != 0);
    }

    /// `add()`: `into_node()`, `add_node()`, and `from_node()` if that fails.
    pub fn add(self: &Arc<Self>, target: &Target) -> Result {
        if !self.state.try_queue(target.address()) {
            return Err(EBUSY);
        }
        self.given.fetch_add(1, Relaxed);
        // tether_task_work_add(): take the pin before the node is linked.
        self.pins.fetch_add(1, Relaxed);
        if target.link(self) {
            return Ok(());
        }
        // add_failed()
        self.unpin();
        self.state.withdraw();
        self.take_back();
        Err(ESRCH)
    }

    /// `run_work()` and `ArcWork::run()`.
    fn run_work(self: Arc<Self>, target: &Target) {
        if !self.state.claim() {
            return self.pass_by();
        }
        assert_eq!(
            self.state.load().target(),
            target.address(),
            "run elsewhere"
        );
        assert!(
            !self.running.xchg(true, atomic::Relaxed),
            "two callbacks at once"
        );
        self.runs.fetch_add(1, Relaxed);
        self.result.with_mut(|_| ());
        if self.asked.load(atomic::Relaxed) {
            self.seen.fetch_add(1, Relaxed);
        }
        assert!(
            self.running.xchg(false, atomic::Relaxed),
            "two callbacks at once"
        );
        self.take_back();
        self.state.finish();
        self.unpin();
    }

    /// `pass_by()`.
    fn pass_by(&self) {
        if self.state.load().state() == state::CANCELLED {
            self.state.release();
            self.take_back();
            self.unpin();
        }
    }

    /// `cancel()` in a kernel that does not export `task_work_cancel()`. Returns `Some` if the item
    /// was pending on `target`; the callback is not called for that add.
    pub fn cancel(&self, target: &Target) -> Option<bool> {
        Self::said(self.state.cancel(target.address()))
    }

    /// `cancel_node()` in a kernel tree, which unlinks the node first.
    pub fn cancel_in_tree(self: &Arc<Self>, target: &Target) -> Option<bool> {
        let word = self.state.load();
        if word.target() == target.address() && word.state() == state::QUEUED && target.unlink(self)
        {
            if self.state.reclaim() {
                self.take_back();
                self.unpin();
                return Some(true);
            }
            self.pass_by();
            return None;
        }
        self.cancel(target)
    }

    /// Returns whether the item was cancelled, or `None` if it was not pending on that task.
    fn said(cancelled: Cancelled) -> Option<bool> {
        match cancelled {
            Cancelled::Now => Some(true),
            Cancelled::TooLate => Some(false),
            Cancelled::NotQueued => None,
        }
    }

    /// `wait()`.
    pub fn wait(&self) -> Result {
        self.state.wait(WaitLimit::signal(Jiffies::MAX))
    }
}
