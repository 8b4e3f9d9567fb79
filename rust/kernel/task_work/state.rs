// SPDX-License-Identifier: GPL-2.0

//! The state of a task work's node.
//!
//! A node is shared by the tasks that add the item, the task that runs it, the tasks that cancel it
//! or wait for it, and the teardown of its module. They synchronise through a single word, which
//! holds a state, the task that the node was added to last, and whether the callback is running.
//! Hence no reader sees a state that belongs to another target.
//!
//! # States
//!
//! | state | the node is linked | the node holds | used by |
//! |---|---|---|---|
//! | [`IDLE`] | no | nothing | `Arc`, closure |
//! | [`QUEUED`] | yes, or is about to be | the item and a pin | `Arc`, closure |
//! | [`CANCELLED`] | yes | a reference to the item and a pin | `Arc` |
//! | [`ORPHAN`] | yes | a reference to its own memory | closure |
//! | [`PENDING`] | if added and not run yet (A) | the item and a pin, if linked | box, `Ordered` |
//! | [`DISARMED`] | yes | the item, until it was dropped | box |
//! | [`FREEABLE`] | yes | its memory | box |
//! | [`SPENT`] | not relevant | nothing | all |
//!
//! (A) The word does not record this.
//!
//! # Transitions of `Arc`s and closures
//!
//! ```text
//!           try_queue()               claim()                 finish()
//!   IDLE ----------------> QUEUED ----------------> RUNNING -------------> IDLE
//!    ^                      |  | ^                     |
//!    |      withdraw()      |  | |     try_queue()     |
//!    +----------------------+  | +---------------------+  (RUNNING is kept)
//!    ^                         |
//!    |      release()          | cancel()      closure: orphan()
//!    +------------------ CANCELLED                     ORPHAN
//! ```
//!
//! `RUNNING` is a flag beside the state, because an item may be queued again while its callback
//! runs. It is only queued again to the same target, which runs callbacks one after the other.
//!
//! # All transitions
//!
//! | function | transition | called by |
//! |---|---|---|
//! | `try_queue` | `IDLE` to `QUEUED` | the adding task or interrupt, for an `Arc`: `item.rs` |
//! | `withdraw` | `QUEUED` or `CANCELLED` to `IDLE` | the same, if linking fails: `item.rs` |
//! | `claim` | `QUEUED` to `IDLE`, sets `RUNNING` | the target, in `task_work_run()`: `run.rs` |
//! | `finish` | clears `RUNNING` | the target: `item.rs`, `closure.rs` |
//! | `cancel` | `QUEUED` to `CANCELLED` | any context but NMI, for an `Arc`: `cancel.rs` |
//! | `reclaim` | `QUEUED` to `IDLE` | the task that has unlinked the node: `cancel.rs` (B) |
//! | `orphan` | `QUEUED` to `ORPHAN` | any context but NMI, for a closure: `closure.rs` |
//! | `release` | `CANCELLED` to `IDLE` | the task that has unlinked the node: `run.rs` |
//! | `disarm` | see below | module teardown: `teardown.rs` |
//! | `hand_over` | `DISARMED` to `FREEABLE` | module teardown: `teardown.rs` |
//! | `hand_over` | `DISARMED` to `SPENT` | the target: `run.rs` |
//!
//! (B) In a kernel tree only, because the kernel does not export `task_work_cancel()` to modules.
//!
//! A closure is created in the state `QUEUED`; a box and an `Ordered` are created in the state
//! `PENDING`, and run without a transition. Teardown calls [`State::disarm`] while the target can
//! neither run nor release the node: with the target's `pi_lock`, the record of the running
//! callback in front of the node, or the lock of the `Ordered` queue held. The transition is
//! `PENDING` to `DISARMED` for a box, `QUEUED` or `CANCELLED` to `SPENT` for an `Arc`, and `QUEUED`
//! to `ORPHAN` for a closure.

use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        barrier::smp_mb, //
    },
    task::Task,
    tether::{
        current_is_kernel_thread,
        is_exiting,
        is_foreign_kernel_thread,
        is_short,
        load_acquire,
        may_sleep,
        read_once,
        write_once, //
    },
    time::Jiffies, //
};

/// Not queued.
pub(super) const IDLE: usize = 0;
/// An `Arc` that was cancelled and is still linked.
pub(super) const CANCELLED: usize = 1;
/// A closure that was cancelled, or dropped by the teardown of its module, and is still linked.
pub(super) const ORPHAN: usize = 2;
/// Disarmed by the teardown of its module; no reference, no pin and no memory depends on the node.
pub(super) const SPENT: usize = 3;
/// Queued; the thread that changes this state owns the item.
pub(super) const QUEUED: usize = 4;
/// The state of every `Ordered`, and of a box until teardown disarms it. Neither can be cancelled.
pub(super) const PENDING: usize = 5;
/// A box that was disarmed; the teardown of its module is about to drop the item.
pub(super) const DISARMED: usize = 6;
/// A disarmed box with its item dropped; the target frees the memory.
pub(super) const FREEABLE: usize = 7;

const STATE: usize = 7;
/// The callback is running in the target.
const RUNNING: usize = 8;
/// The bits of a word that are not the target.
const FLAGS: usize = STATE | RUNNING;
/// Bits of which at least one is set while an `Arc` or a closure is pending or running. States of
/// boxes set them too, but there is no wait for a box.
const BUSY: usize = QUEUED | RUNNING;

/// A snapshot of a node's state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(usize);

impl Word {
    pub(super) fn state(self) -> usize {
        self.0 & STATE
    }

    /// Returns the address of the task that the node was added to last. The address is compared and
    /// not dereferenced.
    ///
    /// For a box, returns the value that was passed to [`State::new`].
    pub(super) fn target(self) -> usize {
        self.0 & !FLAGS
    }

    pub(super) fn is_running(self) -> bool {
        self.0 & RUNNING != 0
    }

    pub(super) fn is_busy(self) -> bool {
        self.0 & BUSY != 0
    }

    /// Returns the word without the last add. The target of a running callback is kept.
    fn without_add(self) -> Self {
        if self.is_running() {
            self.with_state(IDLE)
        } else {
            Self(IDLE)
        }
    }

    fn with_state(self, state: usize) -> Self {
        Self(self.0 & !STATE | state)
    }
}

/// The result of [`State::cancel`].
pub(super) enum Cancelled {
    /// The item was pending on that task.
    Now,
    /// The item was added to that task last, and is running or has run.
    TooLate,
    /// The item is not pending on that task.
    NotQueued,
}

/// The state of a node.
///
/// # Invariants
///
/// `word` only changes by the transitions in this file.
pub(super) struct State {
    word: Atomic<usize>,
    /// The number of tasks that wait until the item is neither pending nor running.
    waiters: Atomic<u32>,
    /// The time at which the node was queued last, in ticks; for `tether/outstanding`.
    added: Atomic<u32>,
}

impl State {
    /// Creates the state of a new node. `target` is a multiple of [`State::UNIT`].
    #[inline]
    pub(super) fn new(state: usize, target: usize) -> Self {
        // INVARIANT: There have been no transitions yet.
        Self {
            word: Atomic::new(state | target),
            waiters: Atomic::new(0),
            added: Atomic::new(0),
        }
    }

    /// Records the time at which the node was queued. The caller must own the node.
    #[inline(always)]
    pub(super) fn stamp(&self, time: u32) {
        write_once(&self.added, time);
    }

    pub(super) fn added(&self) -> u32 {
        self.added.load(Relaxed)
    }

    /// The alignment of every target; `rust/helpers/task_work.c` asserts that tasks have it.
    pub(super) const UNIT: usize = FLAGS + 1;

    /// Reads the word, with acquire semantics.
    #[inline(always)]
    pub(super) fn load(&self) -> Word {
        Word(load_acquire(&self.word))
    }

    /// Replaces the word by `f` of it, and repeats this if the word changes meanwhile. `f` returns
    /// [`None`] if the word allows no transition. Returns the previous word.
    #[inline(always)]
    fn change(&self, f: impl Fn(Word) -> Option<Word>) -> Result<Word, Word> {
        let mut old = self.load();
        loop {
            let Some(new) = f(old) else {
                return Err(old);
            };
            match self.word.cmpxchg(old.0, new.0, Full) {
                Ok(_) => return Ok(old),
                Err(now) => old = Word(now),
            }
        }
    }

    /// Sets an idle node to `QUEUED` with `target`, before the node is linked.
    ///
    /// If its callback is running, this succeeds only for the same target: the target runs the
    /// callback once more after it has returned.
    ///
    /// If this fails because the item is pending, the callback sees the stores that the caller made
    /// before this call.
    #[inline]
    pub(super) fn try_queue(&self, target: usize) -> bool {
        let queue = || {
            self.change(|word| {
                let free = word.state() == IDLE && (!word.is_running() || word.target() == target);
                free.then_some(Word(target | QUEUED | word.0 & RUNNING))
            })
            .is_ok()
        };
        queue() || {
            // Order the caller's stores before the load of a word that is still pending. The
            // callback's loads come after `claim()`, which is fully ordered.
            smp_mb(Full);
            queue()
        }
    }

    /// Undoes [`State::try_queue`] for a node that could not be linked. Returns the previous word,
    /// because the item may have been cancelled meanwhile.
    pub(super) fn withdraw(&self) -> Word {
        let old = self.change(|word| Some(word.without_add()));
        self.wake();
        match old {
            Ok(word) | Err(word) => word,
        }
    }

    /// Claims an unlinked node, to run it. If this fails, the node was cancelled or disarmed.
    #[inline]
    pub(super) fn claim(&self) -> bool {
        self.change(|word| {
            (word.state() == QUEUED).then_some(Word(word.with_state(IDLE).0 | RUNNING))
        })
        .is_ok()
    }

    /// Marks the callback of a claimed node as returned.
    #[inline(always)]
    pub(super) fn finish(&self) {
        // Fully ordered: either this function sees the waiter, or the waiter sees the new word.
        self.word.fetch_sub(RUNNING, Full);
        self.wake();
    }

    /// Cancels an item that is pending on `target`; the node stays linked.
    pub(super) fn cancel(&self, target: usize) -> Cancelled {
        let result = self.change(|word| {
            let pending = word.target() == target && word.state() == QUEUED;
            pending.then_some(word.with_state(CANCELLED))
        });
        match result {
            Ok(_) => {
                self.wake();
                Cancelled::Now
            }
            Err(word) if word.target() == target && word.state() == IDLE => Cancelled::TooLate,
            Err(_) => Cancelled::NotQueued,
        }
    }

    /// Cancels a closure that is pending; the node stays linked. Returns whether the closure
    /// belongs to the caller.
    pub(super) fn orphan(&self) -> bool {
        let orphaned = self
            .change(|word| (word.state() == QUEUED).then_some(word.with_state(ORPHAN)))
            .is_ok();
        if orphaned {
            self.wake();
        }
        orphaned
    }

    /// Takes back a node that was unlinked before its target has taken it. If this fails, another
    /// thread has cancelled or disarmed the node.
    pub(super) fn reclaim(&self) -> bool {
        let reclaimed = self
            .change(|word| (word.state() == QUEUED).then_some(word.without_add()))
            .is_ok();
        if reclaimed {
            self.wake();
        }
        reclaimed
    }

    /// Makes a cancelled node idle, after it was unlinked.
    pub(super) fn release(&self) {
        let _ = self.change(|word| (word.state() == CANCELLED).then_some(word.with_state(IDLE)));
        self.wake();
    }

    /// Changes the state of a linked node to `new`, if the node holds a pin and is not running.
    /// Returns the previous word. The caller must call [`State::wake`] afterwards, once it may take
    /// the lock of a wait queue.
    pub(super) fn disarm(&self, new: usize) -> Option<Word> {
        self.change(|word| {
            matches!(word.state(), PENDING | QUEUED | CANCELLED).then_some(word.with_state(new))
        })
        .ok()
    }

    /// Changes the state of a disarmed node from `old` to `new`. Returns false if the target or
    /// teardown has changed the state first.
    pub(super) fn hand_over(&self, old: usize, new: usize) -> bool {
        self.change(|word| (word.state() == old).then_some(word.with_state(new)))
            .is_ok()
    }

    /// Returns whether a linked node holds a pin. If not, its owner may have been unloaded.
    pub(super) fn is_pinned(&self) -> bool {
        matches!(self.load().state(), PENDING | QUEUED | CANCELLED)
    }

    /// Wakes the tasks that wait for the item.
    #[inline(always)]
    pub(super) fn wake(&self) {
        if read_once(&self.waiters) != 0 {
            // SAFETY: `wake_up_var()` only hashes and compares the address, so that any address is
            // valid.
            unsafe { bindings::wake_up_var(self.word.as_ptr().cast()) };
        }
    }

    /// Waits until the item is neither pending nor running.
    ///
    /// The wait also ends if the item is added to the waiting task, which would otherwise wait for
    /// itself.
    pub(super) fn wait(&self, limit: WaitLimit) -> Result {
        let me = Task::current_raw() as usize;
        let check = |word: Word| match word {
            word if !word.is_busy() => Some(Ok(())),
            word if word.target() == me => Some(Err(EDEADLK)),
            _ => None,
        };
        if let Some(result) = check(self.load()) {
            return result;
        }
        // An interrupt cannot sleep.
        if !may_sleep() {
            return Err(EDEADLK);
        }
        let WaitLimit { mut sleep, time } = limit;
        let killable = sleep == bindings::TASK_KILLABLE;
        // A kernel thread receives no fatal signal. Tether interrupts its own threads when they are
        // requested to stop, which ends an interruptible sleep.
        if killable && current_is_kernel_thread() {
            sleep = bindings::TASK_INTERRUPTIBLE;
        }
        if !is_short(time) {
            // Nothing but the end of the time ends such a wait, even if the item never runs.
            if sleep == bindings::TASK_UNINTERRUPTIBLE {
                return Err(EINVAL);
            }
            // An exiting task, or a kernel thread of another subsystem, receives no signal that
            // would end the wait. Many other tasks may wait for such a thread: a worker of a
            // workqueue, for example, or ksmd.
            if is_exiting() || is_foreign_kernel_thread() {
                return Err(EDEADLK);
            }
        }
        let time = time.min(c_long::MAX as Jiffies) as c_long;
        // The wait orders this before it reads the word: `prepare_to_wait_event()` sets the state
        // of the task by `set_current_state()`, which is a full barrier.
        self.waiters.fetch_add(1u32, Relaxed);
        // SAFETY: `tether_wait_word()` requires a word that stays valid during the wait, and
        // `wake_up_var()` after each change that clears bits of `BUSY`. `self` is borrowed, and all
        // such transitions call `wake()`, or leave this to their caller. The context may sleep, as
        // tested above.
        let left = unsafe {
            bindings::tether_wait_word(self.word.as_ptr().cast(), BUSY, FLAGS, sleep, time)
        };
        self.waiters.fetch_sub(1u32, Relaxed);
        match left {
            0 => Err(ETIMEDOUT),
            left if left < 0 && killable => Err(EINTR),
            left if left < 0 => Err(ERESTARTSYS),
            // If the word is busy again, with another target, the item was idle or cancelled in
            // between.
            _ => check(self.load()).unwrap_or(Ok(())),
        }
    }
}

/// The conditions that end a wait early.
#[derive(Clone, Copy)]
pub(super) struct WaitLimit {
    /// The state in which the task sleeps.
    sleep: u32,
    time: Jiffies,
}

impl WaitLimit {
    /// A signal, or the end of `time`.
    pub(super) fn signal(time: Jiffies) -> Self {
        Self {
            sleep: bindings::TASK_INTERRUPTIBLE,
            time,
        }
    }

    /// A fatal signal, or the end of `time`.
    pub(super) fn kill(time: Jiffies) -> Self {
        Self {
            sleep: bindings::TASK_KILLABLE,
            time,
        }
    }

    /// The end of `time`, which must be short.
    pub(super) fn time(time: Jiffies) -> Self {
        Self {
            sleep: bindings::TASK_UNINTERRUPTIBLE,
            time,
        }
    }
}
