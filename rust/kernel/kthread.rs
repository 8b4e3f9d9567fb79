// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! [`spawn`] runs a closure in a new thread. The returned [`Thread`] requests the thread to stop,
//! waits until it has ended and takes its result; dropping the handle stops the thread. A
//! [`Builder`] sets further properties before the thread is created. A thread that runs works from
//! a queue is a [`worker::KthreadWorker`].
//!
//! # Vocabulary
//!
//! * The *body* is the closure. It is called with a [`Context`], which cannot leave the thread.
//! * *Requesting* a stop makes [`Context::should_stop`] return true, *joining* waits until the
//!   thread has left the module's text, and *stopping* does both.
//! * *Parking* a thread keeps it from running until it is *unparked*. The body decides where it may
//!   be parked ([`ParkRequest`]).
//! * A thread is *attached* until it is *detached* ([`Thread::detach`]).
//!
//! # Guarantees
//!
//! * The body is called once. If the thread is stopped before it has begun, the body is dropped
//!   instead of being called; [`Exit`] distinguishes the two cases. A wake-up by another task does
//!   not start the body.
//! * An attached thread does not keep its module loaded. If its handle was leaked, the thread is
//!   stopped when the module is removed, before its text is freed. A body that ignores the request
//!   to stop delays the removal, and the log names its thread. The handle of such a thread returns
//!   [`ENODEV`].
//! * A detached thread keeps its module loaded until the thread has left the module's text.
//! * A thread cannot stop, join or park itself, or a thread that waits for it: [`EDEADLK`]. If a
//!   handle is dropped in such a place, the drop requests the stop (except for the current thread)
//!   and does not wait; teardown of the module of the thread waits for it.
//! * Each request to park is answered: either the thread parks, or it ends ([`ESRCH`]).
//! * A task that acts on behalf of a user can be killed while it waits: see
//!   [`Thread::join_killable`], [`Thread::stop_killable`], `Thread::park_killable`, and the
//!   variants with a time limit.
//! * Properties set through [`Builder`] cannot be changed after the thread has started, except for
//!   its [`Policy`].
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     kthread::{
//!         self,
//!         Exit,
//!         Wake, //
//!     },
//!     prelude::*,
//!     time::Delta, //
//! };
//!
//! let thread = kthread::spawn(c"counter", |context| {
//!     let mut ticks = 0;
//!     while context.sleep_for(Delta::from_millis(1)) != Wake::Stopped {
//!         ticks += 1;
//!     }
//!     ticks
//! })?;
//!
//! match thread.stop()? {
//!     Exit::Returned(ticks) => pr_info!("it counted to {ticks}\n"),
//!     Exit::NeverRan => pr_info!("it was stopped before it began\n"),
//!     Exit::Died => pr_err!("it has panicked\n"),
//! }
//!
//! // A thread that comes to its end by itself.
//! let thread = kthread::spawn(c"answer", |_| 42)?;
//! assert_eq!(thread.join()?, 42);
//! # Ok::<(), Error>(())
//! ```
//!
//! A thread that can be parked, and that freezes when the system is suspended:
//!
//! ```
//! use kernel::{
//!     kthread::{
//!         Builder,
//!         Wake, //
//!     },
//!     prelude::*,
//!     time::Delta, //
//! };
//!
//! let number = 3;
//! let thread = Builder::formatted(fmt!("a-thread-with-a-long-name/{number}"))?
//!     .freezable()
//!     .parkable()
//!     .spawn(|context| loop {
//!         match context.sleep_for(Delta::from_millis(1)) {
//!             Wake::Stopped => break,
//!             Wake::Park(request) => {
//!                 // What others may need meanwhile is put away here.
//!                 request.park();
//!             }
//!             _ => { /* Do the work. */ }
//!         }
//!     })?;
//!
//! thread.park()?;
//! // It does not run now.
//! thread.unpark();
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{
    prelude::*,
    str::CStr,
    tether::Refused, //
};
use core::convert::Infallible;

// The files in the order in which to read them:
//
// * `thread_core.rs`, `payload.rs`, `start.rs`, `entry.rs`: a thread's memory and its function;
// * `builder.rs`, `policy.rs`, `thread.rs`: creating a thread, and its handle;
// * `stage.rs`, `stop.rs`, `interrupt.rs`, `completion.rs`: stopping and joining it;
// * `context.rs`, `park.rs`: sleeping and parking in the body;
// * `waits.rs`: cycles of waits;
// * `worker.rs`; in `worker/`: `work.rs`, `pointer.rs`, `queue.rs`, `list.rs`, `flush.rs`,
//   `teardown.rs`;
// * `rust/helpers/kthread.c`: wrappers of inline functions and macros.
//
// The external build includes this file by a path, so that it needs the paths of the modules.
#[path = "kthread/builder.rs"]
mod builder;
#[path = "kthread/completion.rs"]
mod completion;
#[path = "kthread/context.rs"]
mod context;
#[path = "kthread/entry.rs"]
mod entry;
#[path = "kthread/interrupt.rs"]
mod interrupt;
#[path = "kthread/park.rs"]
mod park;
#[path = "kthread/payload.rs"]
mod payload;
#[path = "kthread/policy.rs"]
mod policy;
#[path = "kthread/stage.rs"]
mod stage;
#[path = "kthread/start.rs"]
mod start;
#[path = "kthread/stop.rs"]
mod stop;
#[path = "kthread/thread.rs"]
mod thread;
#[path = "kthread/thread_core.rs"]
mod thread_core;
#[path = "kthread/waits.rs"]
mod waits;
#[path = "kthread/worker.rs"]
pub mod worker;

pub use builder::Builder;
pub use context::Context;
use entry::{
    current_is_asked,
    current_waits, //
};
pub use park::{
    Mode,
    ParkRequest,
    Parkable,
    Plain, //
};
pub use policy::Policy;
pub use thread::{
    Thread,
    Unstarted,
    Waker, //
};
use thread_core::Core;

/// Checks the number of a signal.
///
/// # Errors
///
/// [`EINVAL`] if the number is out of range.
fn check_signal(signal: u32) -> Result {
    // `_NSIG` is 64, except on MIPS, where it is larger.
    if (1..=64).contains(&signal) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// The way in which a stopped thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit<R> {
    /// The body has returned this value.
    Returned(R),
    /// The thread was stopped before the body was called, and the body was dropped.
    NeverRan,
    /// The body has panicked. It was not dropped, and there is no result.
    Died,
}

impl<R> Exit<R> {
    /// Returns the result, if the body has returned.
    pub fn returned(self) -> Option<R> {
        match self {
            Exit::Returned(result) => Some(result),
            Exit::NeverRan | Exit::Died => None,
        }
    }
}

/// The reason why a sleep has ended.
///
/// If several apply, the first in this order is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake<P = Infallible> {
    /// The thread is requested to stop.
    Stopped,
    /// The thread is requested to park. Only for a thread that is [`Parkable`].
    Park(P),
    /// The thread was woken by [`Thread::wake`] or [`Waker::wake`], or its condition holds.
    Woken,
    /// This signal, which the body has allowed ([`Context::allow_signal`]), was received and
    /// dequeued.
    Signal(u32),
    /// The time has passed.
    TimedOut,
}

impl<P> Wake<P> {
    /// Returns whether the thread is requested to stop.
    pub fn is_stopped(&self) -> bool {
        matches!(self, Wake::Stopped)
    }
}

/// Starts a thread that runs `body`. For `name`, see [`Builder::new`].
///
/// # Context
///
/// Process context; sleeps.
///
/// # Errors
///
/// The errors are those of [`Builder::create`]; the error returns the body.
///
/// C: `kthread_run()` in [`include/linux/kthread.h`](srctree/include/linux/kthread.h).
#[doc(alias = "kthread_run")]
pub fn spawn<F, R>(name: &CStr, body: F) -> Result<Thread<R>, Refused<F>>
where
    F: FnOnce(&Context<'_>) -> R + Send + 'static,
    R: Send + 'static,
{
    Builder::new(name).spawn(body)
}

/// Creates the lock of the graph of waits, before any module can create a thread.
#[no_mangle]
extern "C" fn tether_kthread_init() -> c_int {
    waits::init()
        .and_then(|()| entry::init())
        .map_or_else(|error| error.to_errno(), |()| 0)
}
