// SPDX-License-Identifier: GPL-2.0

//! Threads that wait for each other's end.

use super::{
    waits::{
        self,
        Waits, //
    },
    Limit, //
};
use crate::prelude::*;
use loom::sync::{
    Condvar,
    Mutex, //
};
use std::cell::Cell;

loom::thread_local! {
    static CURRENT: Cell<Option<&'static Node>> = Cell::new(None);
}

/// Returns the node of the current thread, as in `rust/kernel/kthread.rs`.
pub(super) fn current_waits() -> Option<*const Waits> {
    CURRENT.with(|current| current.get().map(|node| &raw const node.waits))
}

/// A thread that other threads can join. It is leaked.
pub struct Node {
    waits: Waits,
    ended: Mutex<bool>,
    changed: Condvar,
}

/// Creates the graph, once in each execution.
pub fn init() {
    waits::init().unwrap();
}

impl Node {
    /// Creates a thread.
    #[allow(clippy::new_without_default)]
    pub fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            waits: Waits::new(),
            ended: Mutex::new(false),
            changed: Condvar::new(),
        }))
    }

    /// Makes the calling thread this node, calls `body`, and ends the node.
    pub fn run<R>(&'static self, body: impl FnOnce() -> R) -> R {
        CURRENT.with(|current| current.set(Some(self)));
        let result = body();
        *self.ended.lock().unwrap() = true;
        self.changed.notify_all();
        result
    }

    /// `Thread::join()`: waits for the end of `self`, and then calls the destructor `payload`, as
    /// `stop()` does.
    pub fn join_and(&self, payload: impl FnOnce()) -> Result {
        let _waiting = self.waits.wait_for(Limit::None)?;
        let mut ended = self.ended.lock().unwrap();
        while !*ended {
            ended = self.changed.wait(ended).unwrap();
        }
        drop(ended);
        payload();
        Ok(())
    }

    /// `Thread::join()`.
    pub fn join(&self) -> Result {
        self.join_and(|| ())
    }
}
