// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/kthread/completion.rs`. [`Killer::kill`] ends a wait with a limit.

use crate::prelude::*;
use loom::sync::{
    Arc,
    Condvar,
    Mutex, //
};

/// Ends waits, as a fatal signal does.
#[derive(Default)]
pub struct Killer {
    killed: Mutex<bool>,
    waiting: Mutex<Option<Arc<Inner>>>,
}

/// As in `rust/kernel/kthread/completion.rs`. The model has only one kind of limit.
#[derive(Clone, Copy)]
pub enum Limit {
    /// The wait has no limit.
    None,
    /// The wait ends if this `Killer` ends it. The `Killer` must outlive the limit.
    Killed(*const Killer),
}

#[derive(Default)]
struct State {
    done: u32,
    killed: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

impl Killer {
    /// Ends the current wait and the next one.
    pub fn kill(&self) {
        *self.killed.lock().unwrap() = true;
        if let Some(inner) = &*self.waiting.lock().unwrap() {
            inner.state.lock().unwrap().killed = true;
            inner.changed.notify_all();
        }
    }
}

/// As in `rust/kernel/kthread/completion.rs`.
pub struct Completion(Arc<Inner>);

impl Completion {
    pub fn new() -> impl PinInit<Self> {
        Init(|slot: *mut Self| {
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { slot.write(Self(Arc::new(Inner::default()))) };
        })
    }

    pub fn complete(&self) {
        self.0.state.lock().unwrap().done += 1;
        self.0.changed.notify_all();
    }

    pub fn wait(&self, limit: Limit) -> Result {
        let killable = matches!(limit, Limit::Killed(_));
        if let Limit::Killed(killer) = limit {
            // SAFETY: The `Killer` outlives the limit, so the pointer is valid.
            let killer = unsafe { &*killer };
            *killer.waiting.lock().unwrap() = Some(self.0.clone());
            if *killer.killed.lock().unwrap() {
                self.0.state.lock().unwrap().killed = true;
            }
        }
        let mut state = self.0.state.lock().unwrap();
        loop {
            if state.done > 0 {
                state.done -= 1;
                return Ok(());
            }
            if killable && state.killed {
                return Err(EINTR);
            }
            state = self.0.changed.wait(state).unwrap();
        }
    }
}

impl Limit {
    /// Returns false: no wait of a model has a time-out.
    pub fn is_timed(self) -> bool {
        false
    }
}

/// An empty stand-in: the graph of waits has a model of its own in `graph.rs`.
pub struct Waits;

impl Waits {
    pub fn wait_for(&self, _limit: Limit) -> Result<()> {
        Ok(())
    }
}
