// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! [`spawn`] runs a closure in a thread of its own. The [`Thread`] that it returns asks the thread
//! to stop, waits for its end and takes its result; dropping it stops the thread. A [`Builder`]
//! says more of the thread before it is made. A thread that runs works from a queue is a
//! [`worker::KthreadWorker`].
//!
//! # Vocabulary
//!
//! * The *body* is the closure; it gets a [`Context`], which cannot leave the thread.
//! * To *request* a stop is to ask the body to return ([`Context::should_stop`]), to *join* is to
//!   wait until the thread is out of the module's text, to *stop* is to do both.
//! * To *park* a thread is to keep it from running until it is *unparked*. The body decides where
//!   it may be parked ([`ParkRequest`]).
//! * A thread is *attached* as long as it is not *detached* ([`Thread::detach`]).
//!
//! # Guarantees
//!
//! * The body is called once or, if the thread is stopped before it has begun, dropped without
//!   having been called: [`Exit`] tells these apart. A wake-up by another task does not start it.
//! * An attached thread does not keep its module loaded. If its handle was leaked, the thread is
//!   stopped when the module is removed, before its text is freed. A body that ignores the request
//!   makes that wait, and is named in the log. The handle of such a thread returns [`ENODEV`].
//! * A detached thread keeps its module loaded until it is out of the module's text.
//! * A thread cannot stop, join or park itself, nor a thread that waits for it: [`EDEADLK`]. If a
//!   handle is dropped there, the thread is asked to stop, unless it is the current one, and is not
//!   waited for: the end of its module does that.
//! * A request to park is answered in any case: the thread parks, or it ends ([`ESRCH`]).
//! * A task that acts on behalf of a user can be killed while it waits: [`Thread::join_killable`],
//!   [`Thread::stop_killable`], `Thread::park_killable`, and forms with a limit.
//! * Properties set through [`Builder`] cannot be changed after the thread has started, but for its
//!   [`Policy`].
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

// The paths are for the external build, whose root includes this file by a path.
#[path = "kthread/builder.rs"]
mod builder;
#[path = "kthread/completion.rs"]
mod completion;
#[path = "kthread/context.rs"]
mod context;
#[path = "kthread/entry.rs"]
mod entry;
#[path = "kthread/park.rs"]
mod park;
#[path = "kthread/payload.rs"]
mod payload;
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

pub use builder::{
    Builder,
    Policy, //
};
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
pub use thread::{
    Thread,
    Unstarted,
    Waker, //
};
use thread_core::Core;

/// How a thread that was stopped has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit<R> {
    /// The body has returned this.
    Returned(R),
    /// The thread was stopped before it had called the body, which was dropped.
    NeverRan,
    /// The body has panicked. It was not dropped, and there is no result.
    Died,
}

impl<R> Exit<R> {
    /// The result, if the body has returned.
    pub fn returned(self) -> Option<R> {
        match self {
            Exit::Returned(result) => Some(result),
            Exit::NeverRan | Exit::Died => None,
        }
    }
}

/// Why a sleep has ended.
///
/// If several apply, the first in this order is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake<P = Infallible> {
    /// The thread is asked to stop.
    Stopped,
    /// The thread is asked to park; only of a thread that is [`Parkable`].
    Park(P),
    /// It was woken by [`Thread::wake`] or [`Waker::wake`], or its condition holds.
    Woken,
    /// This signal came, which the body has allowed ([`Context::allow_signal`]). It was taken off
    /// the thread.
    Signal(u32),
    /// The time is over.
    TimedOut,
}

impl<P> Wake<P> {
    /// Whether the thread is asked to stop.
    pub fn is_stopped(&self) -> bool {
        matches!(self, Wake::Stopped)
    }
}

/// Starts a thread that runs `body`. `name` is as [`Builder::new`] says.
///
/// # Context
///
/// Process context; sleeps.
///
/// # Errors
///
/// The body comes back, as [`Builder::create`] says.
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

/// Creates the graph of waits, once, before a module can create a thread.
#[no_mangle]
extern "C" fn tether_kthread_init() -> c_int {
    waits::init().map_or_else(|error| error.to_errno(), |()| 0)
}
