// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `rust/kernel/kthread/completion.rs`. A wait with a limit may be given up by
//! [`Killer::kill`].

use crate::prelude::*;
use loom::sync::{
    Arc,
    Condvar,
    Mutex, //
};

/// Ends waits.
#[derive(Default)]
pub struct Killer {
    killed: Mutex<bool>,
    waiting: Mutex<Option<Arc<Inner>>>,
}

/// As in `rust/kernel/kthread/completion.rs`; all limits are one here.
#[derive(Clone, Copy)]
pub enum Limit {
    /// Nothing ends the wait.
    None,
    /// This ends the wait. It outlives the limit.
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
    /// Ends the wait that is going on, and the next one.
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
            // SAFETY: The slot is valid for writes.
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
            // SAFETY: The killer outlives the limit.
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
    /// As in `rust/kernel/kthread/completion.rs`: no wait of a model ends by itself.
    pub fn is_timed(self) -> bool {
        false
    }
}

/// The graph of waits is modelled on its own, in `graph.rs`.
pub struct Waits;

impl Waits {
    pub fn wait_for(&self, _limit: Limit) -> Result<()> {
        Ok(())
    }
}
