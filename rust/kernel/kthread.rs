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
    alloc::{
        allocator::Kmalloc,
        flags::__GFP_NOWARN,
        Allocator,
        NumaNode, //
    },
    bindings,
    cpu::CpuId,
    cpumask::Cpumask,
    error::{
        from_err_ptr,
        to_result, //
    },
    fmt,
    mm::MmWithUser,
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        barrier::smp_mb,
        Refcount, //
    },
    task::Task,
    tether::{
        as_jiffies,
        jiffies,
        may_sleep,
        read_once,
        task_flags,
        write_once,
        Attachment,
        Entered,
        Owner,
        Refused,
        What, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
    types::NotThreadSafe, //
};
use core::{
    alloc::Layout,
    any::type_name,
    cell::{
        Cell,
        UnsafeCell, //
    },
    convert::Infallible,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::{
        Deref,
        RangeInclusive, //
    },
    ptr::{
        self,
        NonNull, //
    }, //
};

// The paths are for the external build, whose root names this file by one.
#[path = "kthread/completion.rs"]
mod completion;
#[path = "kthread/park.rs"]
mod park;
#[path = "kthread/start.rs"]
mod start;
#[path = "kthread/waits.rs"]
mod waits;
#[path = "kthread/worker.rs"]
pub mod worker;
use completion::{
    Completion,
    Limit, //
};
pub use park::{
    Mode,
    ParkRequest,
    Parkable,
    Plain, //
};

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

/// The context of a thread's body: the functions that only the thread itself may call.
///
/// It cannot leave the thread.
///
/// # Invariants
///
/// It is only reachable in the thread of `core`, while the body runs.
pub struct Context<'a, M: Mode = Plain> {
    core: &'a Core,
    /// In which state it sleeps.
    sleep_state: Cell<c_uint>,
    _mode: PhantomData<M>,
    _not_send: NotThreadSafe,
}

impl<M: Mode> Context<'_, M> {
    /// Whether the thread is asked to stop: the body should return then.
    ///
    /// # Context
    ///
    /// Any context inside the body.
    #[doc(alias = "kthread_should_stop")]
    #[inline]
    pub fn should_stop(&self) -> bool {
        self.core.should_stop()
    }

    /// Freezes the thread if that is asked for, and then says whether it is asked to stop.
    ///
    /// Sleeping by this context is a place to freeze already: this is for a body that works for
    /// long without it. Does not freeze a thread that is not [freezable](Builder::freezable).
    ///
    /// # Context
    ///
    /// Process context; may sleep. No lock may be held, because it might be needed to suspend.
    #[doc(alias = "kthread_freezable_should_stop")]
    #[doc(alias = "try_to_freeze")]
    pub fn freezable_should_stop(&self) -> bool {
        freeze();
        self.should_stop()
    }

    /// Lets a signal through to this thread: a sleep ends with [`Wake::Signal`] then. A kernel
    /// thread ignores all signals otherwise.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if there is no signal of that number.
    pub fn allow_signal(&self, signal: u32) -> Result {
        // `_NSIG` is 64 but on MIPS, where it is more.
        if !(1..=64).contains(&signal) {
            return Err(EINVAL);
        }
        // SAFETY: This is a kernel thread, and the signal is one.
        unsafe { bindings::allow_signal(signal as c_int) };
        let freezable = self.sleep_state.get() & bindings::TASK_FREEZABLE;
        self.sleep_state
            .set(bindings::TASK_INTERRUPTIBLE | freezable);
        Ok(())
    }

    /// Sleeps until the thread is woken, or asked to stop or to park. A wake-up that came since the
    /// last sleep ends it at once: none is lost.
    ///
    /// As every sleep here, this is a place to freeze if the thread is
    /// [freezable](Builder::freezable).
    ///
    /// # Context
    ///
    /// Process context; sleeps. No lock may be held.
    pub fn sleep(&self) -> Wake<M::Request<'_>> {
        self.sleep_jiffies(&mut { Jiffies::MAX })
    }

    /// Like [`Context::sleep`], but no longer than `time`, which is rounded up to whole jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps. No lock may be held.
    #[doc(alias = "schedule_timeout")]
    pub fn sleep_for(&self, time: Delta) -> Wake<M::Request<'_>> {
        self.sleep_jiffies(&mut as_jiffies(time))
    }

    /// Sleeps until `condition` holds, or the thread is asked to stop or to park.
    ///
    /// The condition is tested first, and then after each wake-up: the task that makes it true
    /// calls [`Thread::wake`] or [`Waker::wake`] afterwards. The condition may sleep. A request to
    /// stop or to park is reported first, also if the condition holds.
    ///
    /// # Context
    ///
    /// Process context; sleeps. No lock may be held.
    #[doc(alias = "wait_event")]
    pub fn wait_until(&self, condition: impl FnMut() -> bool) -> Wake<M::Request<'_>> {
        self.wait_jiffies(Jiffies::MAX, condition)
    }

    /// Like [`Context::wait_until`], but no longer than `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// The condition is tested a last time when the time is over.
    ///
    /// # Context
    ///
    /// Process context; sleeps. No lock may be held.
    #[doc(alias = "wait_event_timeout")]
    pub fn wait_until_timeout(
        &self,
        time: Delta,
        condition: impl FnMut() -> bool,
    ) -> Wake<M::Request<'_>> {
        self.wait_jiffies(as_jiffies(time), condition)
    }

    fn wait_jiffies(
        &self,
        time: Jiffies,
        mut condition: impl FnMut() -> bool,
    ) -> Wake<M::Request<'_>> {
        let begun = jiffies();
        loop {
            // A condition that always holds must not hide that the thread is asked to stop, to park
            // or to freeze.
            if let Some(wake) = self.core.requested(M::PARKABLE) {
                return self.answer(wake);
            }
            if condition() {
                return Wake::Woken;
            }
            // The condition takes time as well, and a thread that is woken again and again never
            // sleeps.
            let mut left = match time {
                Jiffies::MAX => Jiffies::MAX,
                time => time.saturating_sub(jiffies().wrapping_sub(begun)),
            };
            match self.sleep_jiffies(&mut left) {
                Wake::Woken if left != 0 => {}
                Wake::Woken | Wake::TimedOut if condition() => return Wake::Woken,
                Wake::Woken => return Wake::TimedOut,
                wake => return wake,
            }
        }
    }

    /// Sleeps for at most `*left` jiffies, and stores the remainder in `*left`.
    #[inline]
    fn sleep_jiffies(&self, left: &mut Jiffies) -> Wake<M::Request<'_>> {
        self.answer(self.core.sleep(self.sleep_state.get(), M::PARKABLE, left))
    }

    /// Adds the request to park to the reason for which a sleep has ended.
    #[inline]
    fn answer(&self, wake: Wake<()>) -> Wake<M::Request<'_>> {
        match wake {
            Wake::Stopped => Wake::Stopped,
            // SAFETY: The thread was found to be asked. Only a parkable thread is, so that there is
            // a request.
            Wake::Park(()) => unsafe { M::request(self) }.map_or(Wake::Woken, Wake::Park),
            Wake::Woken => Wake::Woken,
            Wake::Signal(signal) => Wake::Signal(signal),
            Wake::TimedOut => Wake::TimedOut,
        }
    }

    /// Calls `f` in the address space `mm`: what it does with user memory
    /// ([`UserSlice`](crate::uaccess::UserSlice)) it does with that one's.
    ///
    /// `f` and what it returns are `Send`, so that nothing of the current task, whose address space
    /// is another one inside, gets in or out; this context, too, stays outside, and with it another
    /// `with_mm`.
    ///
    /// `mm` is not ended while this runs: pages of it that are touched are faulted in.
    ///
    /// # Context
    ///
    /// Process context; may sleep, as `f` may.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     kthread::Context,
    ///     mm::MmWithUser,
    ///     prelude::*,
    ///     uaccess::{
    ///         UserPtr,
    ///         UserSlice, //
    ///     }, //
    /// };
    ///
    /// fn peek(context: &Context<'_>, mm: &MmWithUser, address: usize) -> Result<u32> {
    ///     context.with_mm(mm, || {
    ///         UserSlice::new(UserPtr::from_addr(address), 4).reader().read::<u32>()
    ///     })
    /// }
    /// ```
    #[doc(alias = "kthread_use_mm")]
    pub fn with_mm<T: Send>(&self, mm: &MmWithUser, f: impl FnOnce() -> T + Send) -> T {
        // SAFETY: We are in a kernel thread, and in no other scope of this: the context has not got
        // into one. The thread is interrupted after `should_stop` was set.
        unsafe { with_mm(mm, || self.should_stop(), f) }
    }
}

impl Context<'_, Parkable> {
    /// The request to park, if there is one: for a body that works for long without sleeping.
    ///
    /// # Context
    ///
    /// Process context.
    #[doc(alias = "kthread_should_park")]
    pub fn park_request(&self) -> Option<ParkRequest<'_>> {
        self.core.parking.is_asked().then(|| ParkRequest::new(self))
    }
}

/// Freezes this kernel thread, if that is asked for.
fn freeze() {
    // SAFETY: This is a kernel thread, where it may sleep; nothing is asked of it besides.
    unsafe { bindings::kthread_freezable_should_stop(ptr::null_mut()) };
}

/// Calls `f` in the address space `mm`.
///
/// If the thread is interrupted, waits for pages of `mm` end, and accesses fail with [`EFAULT`].
/// Another process may decide that a page never comes, with `userfaultfd()` for instance.
///
/// # Safety
///
/// Must be called in a kernel thread, and not inside of itself. The thread must be interrupted, by
/// `tether_kthread_interrupt()`, after `asked` returns true.
unsafe fn with_mm<T: Send>(
    mm: &MmWithUser,
    asked: impl Fn() -> bool,
    f: impl FnOnce() -> T + Send,
) -> T {
    // If `f` panics, the thread exits with this address space, and `exit_mm()` drops a reference to
    // the users. It is this one, which is not dropped here then.
    let users = ARef::from(mm);
    // SAFETY: This is a kernel thread.
    unsafe { bindings::tether_allow_kill() };
    // SAFETY: We are in a kernel thread, which has no address space, and that of `mm` has users for
    // as long as it is borrowed.
    unsafe { bindings::kthread_use_mm(mm.as_raw()) };
    // The thread is asked first, and then its address space is looked at.
    smp_mb(Full);
    if asked() {
        // SAFETY: The current task is valid, and a kernel thread.
        unsafe { bindings::tether_kthread_interrupt(Task::current_raw()) };
    }
    let result = f();
    // SAFETY: It was taken above.
    unsafe { bindings::kthread_unuse_mm(mm.as_raw()) };
    // SAFETY: This is a kernel thread.
    unsafe { bindings::tether_clear_kill() };
    // Not the last reference: the caller has another.
    drop(users);
    result
}

// Which task drops the result of a thread, for [`Core::stage`].

/// The body has not returned, and there is a handle.
const ATTACHED: u32 = 0;
/// The handle was detached, and the module is pinned: the thread drops its result.
const DETACHED: u32 = 1;
/// The handle was dropped by a thread that cannot wait for this one, which drops its result itself.
const ORPHANED: u32 = 2;
/// The body has returned while there was a handle, which takes the result. In the other cases the
/// thread drops it.
const RETURNED: u32 = 3;

/// Wakes a thread from where its [`Thread`] is not at hand. It keeps the thread's memory, but
/// neither the thread nor its result.
#[derive(Clone)]
pub struct Waker {
    core: CoreRef,
}

impl Waker {
    /// Wakes the thread as [`Thread::wake`] does. Does nothing when the thread has ended.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn wake(&self) {
        self.core.wake();
    }
}

/// Nothing, in [`Core::payload`].
const EMPTY: u32 = 0;
/// The body, which was not called yet.
const BODY: u32 = 1;
/// The result of the body.
const RESULT: u32 = 2;

/// The part of a thread that does not depend on the types of its body.
///
/// It is at the beginning of an [`Inner`], in an allocation by `kmalloc`, which is freed with the
/// last [`CoreRef`]: by Tether, without a call into the body's module, which may be gone. So what
/// is in there besides is dropped before, by those who know that the module is there.
///
/// # Invariants
///
/// * `this` points at this core, and may be used for the whole allocation.
/// * `task` is null until the thread is created, and then a task that a reference is held to. Only
///   [`Builder::create`] has the core before.
/// * `run` and `discard` are those of the [`Inner`] that this is in.
/// * `payload` says whether there is a body or a result in the [`Inner`]. The task that makes it
///   [`EMPTY`] owns what was there. Only the thread makes it [`RESULT`], once it has taken the
///   body.
#[pin_data]
#[repr(C)]
struct Core {
    #[pin]
    attachment: Attachment,
    this: NonNull<Core>,
    refs: Refcount,
    payload: Atomic<u32>,
    task: Atomic<*mut bindings::task_struct>,
    should_stop: Atomic<bool>,
    woken: Atomic<bool>,
    freezable: bool,
    start: start::Start,
    stage: Atomic<u32>,
    #[pin]
    parking: park::Parking,
    waits: waits::Waits,
    /// Completed when the body has returned and its result is there, or when it never will.
    #[pin]
    returned: Completion,
    run: unsafe fn(NonNull<Core>),
    discard: unsafe fn(NonNull<Core>),
}

// SAFETY: `this`, `run` and `discard` do not change; everything else is atomic, has a lock of its
// own or is itself `Send`.
unsafe impl Send for Core {}
// SAFETY: `this`, `run` and `discard` do not change; everything else is atomic, has a lock of its
// own or is itself `Sync`.
unsafe impl Sync for Core {}

/// A reference to a [`Core`].
///
/// # Invariants
///
/// It is counted in `refs`.
struct CoreRef(NonNull<Core>);

// SAFETY: It is used through shared references, and freed with the last reference.
unsafe impl Send for CoreRef {}
// SAFETY: As above.
unsafe impl Sync for CoreRef {}

impl Deref for CoreRef {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        // SAFETY: It is valid while it is counted.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CoreRef {
    fn clone(&self) -> Self {
        self.refs.inc();
        Self(self.0)
    }
}

impl Drop for CoreRef {
    fn drop(&mut self) {
        // SAFETY: It is ours.
        unsafe { Core::put(self.0) };
    }
}

impl Core {
    /// Drops a reference.
    ///
    /// # Safety
    ///
    /// The caller must own one.
    unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The reference keeps it valid.
        let core = unsafe { this.as_ref() };
        let task = read_once(&core.task);
        if !core.refs.dec_and_test() {
            return;
        }
        if !task.is_null() {
            // SAFETY: The reference is ours by the type's invariants.
            unsafe { bindings::put_task_struct(task) };
        }
        // SAFETY: It was allocated by `kmalloc`, and nobody has it any more. What is in it needs
        // not be dropped.
        unsafe { bindings::kfree(this.as_ptr().cast()) };
    }

    fn task(&self) -> &Task {
        // SAFETY: By the type's invariants this is a task that we hold a reference to. `Task` is
        // transparent.
        unsafe { &*read_once(&self.task).cast() }
    }

    fn wake(&self) {
        self.woken.store(true, Release);
        self.task().wake_up();
    }

    #[inline]
    fn should_stop(&self) -> bool {
        read_once(&self.should_stop)
    }

    /// Freezes the thread if that is asked for, and returns whether it is asked to stop or to park.
    ///
    /// Must be called by the thread.
    fn requested(&self, parkable: bool) -> Option<Wake<()>> {
        if self.freezable {
            freeze();
        }
        if self.should_stop() {
            Some(Wake::Stopped)
        } else if parkable && self.parking.is_asked() {
            Some(Wake::Park(()))
        } else {
            None
        }
    }

    /// Sleeps in `state` for at most `*left` jiffies, stores the remainder in `*left`, and freezes
    /// if that is asked for.
    ///
    /// Must be called by the thread. Not generic, so that it is compiled once.
    fn sleep(&self, state: c_uint, parkable: bool, left: &mut Jiffies) -> Wake<()> {
        let wake = loop {
            // Before each look, and not only after the sleep: a thread that is woken before each
            // sleep never sleeps.
            if self.freezable {
                freeze();
            }
            // Before the flags are read: who sets one afterwards finds the state that we are in,
            // and wakes us out of it.
            //
            // SAFETY: The state is undone below, before anything else that may sleep.
            unsafe { bindings::set_current_state(state) };
            if self.should_stop() {
                break Wake::Stopped;
            }
            if parkable && self.parking.is_asked() {
                break Wake::Park(());
            }
            if read_once(&self.woken) && self.woken.xchg(false, Acquire) {
                break Wake::Woken;
            }
            // A thread takes no signals but those that it has allowed. That it is asked to stop
            // looks like one to whoever sleeps interruptibly, but we have returned then.
            if state & bindings::TASK_INTERRUPTIBLE != 0 {
                // SAFETY: This is a kernel thread.
                let signal = unsafe { bindings::tether_dequeue_signal() };
                if signal > 0 {
                    break Wake::Signal(signal as u32);
                }
            }
            if *left == 0 {
                break Wake::TimedOut;
            }
            if *left == Jiffies::MAX {
                // SAFETY: We are in a thread of our own, and hold nothing.
                unsafe { bindings::schedule() };
            } else {
                // SAFETY: We are in a thread of our own, and hold no lock. `as_jiffies()` has
                // limited the time to less than `MAX_SCHEDULE_TIMEOUT`.
                *left = unsafe { bindings::schedule_timeout(*left as c_long) as Jiffies };
            }
        };
        // SAFETY: A running task may always say that it runs.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
        wake
    }

    /// Lets the thread call its body, unless its module's end has given it up.
    fn start(&self) {
        if self.start.start() {
            self.task().wake_up();
        }
    }

    /// Asks the thread to stop, and does not wait.
    fn request_stop(&self) {
        self.should_stop.xchg(true, Full);
        self.unpark();
        // SAFETY: The task is valid. Waking it is a full barrier if it sleeps, so that it sees the
        // flag.
        unsafe { bindings::tether_kthread_interrupt(self.task().as_ptr()) };
    }

    /// Asks a thread to end: it will not begin if it has not been started.
    ///
    /// # Safety
    ///
    /// As [`What::request`] says.
    unsafe fn request_end(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid for this call.
        let core = unsafe { &*attachment.cast::<Core>() };
        let asked = core.should_stop.xchg(true, Full);
        if core.start.never() {
            // A thread that joins this one may have to return before this one is ended.
            core.returned.complete_all();
        } else if !asked {
            core.request_stop();
        }
    }

    /// Waits until the thread is out of the module's text and of Tether's. If it has not begun, its
    /// body is left where it is, and true is returned.
    ///
    /// # Safety
    ///
    /// The caller must have taken the thread off its owner's list, whose text must stay, and call
    /// this once: the kernel's completion is used up by it. The caller or its owner's list has a
    /// reference.
    unsafe fn reap(&self) -> bool {
        // SAFETY: The task is a kernel thread that we hold a reference to, and by the function's
        // contract no other task stops it.
        unsafe { bindings::kthread_stop(self.task().as_ptr()) };
        if self.start.has_begun() {
            return false;
        }
        self.returned.complete_all();
        // SAFETY: The thread has ended without dropping its reference, and the caller has another.
        unsafe { Self::put(self.this) };
        true
    }

    /// Drops the body or the result, if there is one.
    ///
    /// # Safety
    ///
    /// The module of the body must be there. The thread must have ended, or this is the thread,
    /// after its body has returned.
    unsafe fn discard_payload(&self) {
        // SAFETY: By the type's invariants the function expects `this`; the rest is the function's
        // contract.
        unsafe { (self.discard)(self.this) };
    }

    /// The owner's end has found the thread.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: By the function's contract; the attachment may be asked to end more than once.
        unsafe { Self::request_end(attachment) };
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid until `release`.
        let core = unsafe { &*attachment.cast::<Core>() };
        if !core.start.never() {
            // It was started, and so calls its body: `kthread_stop()` comes only afterwards.
            while core
                .returned
                .wait(Limit::After(msecs_to_jiffies(10_000)))
                .is_err()
            {
                core.interrupt_again();
                // SAFETY: The owner's end has just found it: the module is still there.
                let name = unsafe { core.attachment.name() };
                pr_warn!(
                    "thread {} ({name}) ignores the request to stop: its module cannot go\n",
                    core.task().pid()
                );
            }
        }
        // SAFETY: The owner's end has taken it off the list, and has the list's reference.
        unsafe { core.reap() };
    }

    /// The owner's end has published that the thread has ended.
    ///
    /// # Safety
    ///
    /// As [`What::discard`] says.
    unsafe fn discard_ended(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid until `release`.
        let core = unsafe { &*attachment.cast::<Core>() };
        // SAFETY: The thread has ended, and the owner's end keeps the module.
        unsafe { core.discard_payload() };
    }

    /// # Safety
    ///
    /// As [`What::release`] says.
    unsafe fn release(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, and the list had a reference.
        unsafe { Core::put((*attachment.cast::<Core>()).this) };
    }

    /// Ends the thread, and drops a body that was not called. The text of the module, in which the
    /// result is dropped, stays until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if its owner's end has ended it, and has dropped the body or the result.
    ///
    /// # Safety
    ///
    /// The handle must be the caller's alone. It must not be the thread itself.
    unsafe fn finish(&self) -> Result<Entered> {
        let entered = self.attachment.detach().ok_or(ENODEV)?;
        self.should_stop.xchg(true, Full);
        self.start.never();
        self.unpark();
        // SAFETY: We have just taken it off its owner's list; the handle has a reference.
        if unsafe { self.reap() } {
            // SAFETY: The thread has ended, and `entered` keeps the module.
            unsafe { self.discard_payload() };
        }
        // SAFETY: The list's reference is ours now, and the handle has its own.
        unsafe { Self::put(self.this) };
        Ok(entered)
    }

    /// Whether the body has returned, or will never be called.
    fn is_over(&self) -> bool {
        self.stage.load(Acquire) == RETURNED || self.returned.is_done()
    }

    /// Enters that the current thread waits for this one; not if its body has returned, as the rest
    /// of it waits for nothing.
    fn wait_for(&self, limit: Limit) -> Result<Option<waits::Waiting<'_>>> {
        if self.stage.load(Acquire) == RETURNED && may_sleep() {
            return Ok(None);
        }
        self.waits.wait_for(limit).map(Some)
    }

    /// Waits until the body has returned, or has panicked.
    ///
    /// # Errors
    ///
    /// [`EINTR`] and [`ETIMEDOUT`] as `limit` says.
    fn wait_until_returned(&self, limit: Limit) -> Result {
        if limit.cannot_be_killed() {
            return self.returned.wait(limit);
        }
        let second = msecs_to_jiffies(1000);
        let (killable, mut left) = match limit {
            Limit::None => (false, None),
            Limit::Killed => (true, None),
            Limit::After(time) => (false, Some(time)),
            Limit::KilledOrAfter(time) => (true, Some(time)),
        };
        loop {
            let step = left.map_or(second, |left| left.min(second));
            let waited = self.returned.wait(if killable {
                Limit::KilledOrAfter(step)
            } else {
                Limit::After(step)
            });
            match waited {
                Err(error) if error == ETIMEDOUT => {}
                waited => return waited,
            }
            if self.is_exiting() {
                // The body has panicked.
                return Ok(());
            }
            self.interrupt_again();
            self.attachment.owner().request_all_in_exit();
            if let Some(left) = &mut left {
                *left -= step;
                if *left == 0 {
                    return Err(ETIMEDOUT);
                }
            }
        }
    }

    /// Whether the thread is in its exit.
    fn is_exiting(&self) -> bool {
        task_flags(self.task()) & bindings::PF_EXITING != 0
    }

    /// Interrupts the thread once more if it is asked to stop: where the first request was made, a
    /// signal may not have been possible.
    fn interrupt_again(&self) {
        if self.should_stop() {
            // SAFETY: The task is valid, and a kernel thread.
            unsafe { bindings::tether_kthread_interrupt(self.task().as_ptr()) };
        }
    }

    /// Stops the thread, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// * [`EDEADLK`] if the thread waits for the current one, or is it, and in an interrupt;
    /// * [`ENODEV`] as [`Core::finish`];
    /// * [`EINTR`] and [`ETIMEDOUT`] as `limit` says. The thread is asked to stop then.
    ///
    /// # Safety
    ///
    /// The handle must be the caller's alone.
    unsafe fn stop(&self, limit: Limit) -> Result<Entered> {
        let _waiting = self.wait_for(limit)?;
        self.request_stop();
        // In the exit of the module the thread may wait for a worker that is dropped later.
        // Otherwise `kthread_stop()` is enough. A thread that was not started has no body that returns.
        let plain = matches!(limit, Limit::None) && !self.attachment.owner().is_in_exit();
        if !plain && !self.start.never() {
            self.wait_until_returned(limit)?;
        }
        // SAFETY: By the function's contract; it is not the thread itself, which is refused above.
        unsafe { self.finish() }
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// As [`Core::stop`], but the thread is not asked to stop.
    ///
    /// # Safety
    ///
    /// As [`Core::stop`].
    unsafe fn join(&self, limit: Limit) -> Result<Entered> {
        let _waiting = self.wait_for(limit)?;
        // No other task could unpark it, as the handle is the caller's alone.
        self.unpark();
        self.wait_until_returned(limit)?;
        // SAFETY: By the function's contract; it is not the thread itself, which is refused above.
        unsafe { self.finish() }
    }

    /// The handle is dropped. If the result, if there is one, is the caller's to drop, a value is
    /// returned that keeps the text of the module until then.
    ///
    /// # Safety
    ///
    /// As [`Core::stop`].
    unsafe fn abandon(&self) -> Option<Entered> {
        // SAFETY: By the function's contract the handle is the caller's alone.
        match unsafe { self.stop(Limit::None) } {
            Err(error) if error == EDEADLK => {}
            // If the end of the module has ended the thread, it drops the result as well.
            ended => return ended.ok(),
        }
        let is_current = ptr::eq(Task::current_raw(), self.task().as_ptr());
        if !is_current {
            self.request_stop();
        }
        if self.stage.cmpxchg(ATTACHED, ORPHANED, Full).is_ok() || !may_sleep() {
            // In an interrupt, the end of the module drops the result of a thread whose body has
            // returned.
            return None;
        }
        // The body has returned since, so that the thread waits for nothing any more.
        //
        // SAFETY: By the function's contract. It is not the thread itself, whose body has returned.
        unsafe { self.finish() }.ok()
    }
}

/// What a handle knows of a thread.
#[repr(C)]
struct WithResult<R> {
    core: Core,
    result: UnsafeCell<MaybeUninit<R>>,
}

/// A thread: shared by its handle, the thread itself, and its owner's list.
#[repr(C)]
struct Inner<F, R, M> {
    known: WithResult<R>,
    body: UnsafeCell<MaybeUninit<F>>,
    _mode: PhantomData<M>,
}

impl<F, R, M> Inner<F, R, M>
where
    F: FnOnce(&Context<'_, M>) -> R + Send + 'static,
    R: Send + 'static,
    M: Mode,
{
    const WHAT: &'static What = &What {
        kind: "thread",
        name: type_name::<F>,
        request: Some(Core::request_end),
        end: Core::end,
        discard: Some(Core::discard_ended),
        release: Some(Core::release),
    };

    /// Puts the body into memory that [`Settings::new_core`] has allocated.
    ///
    /// # Safety
    ///
    /// `core` must be that of an `Inner<F, R, M>` to be, and nobody else have it.
    unsafe fn put_body(core: NonNull<Core>, body: F) {
        let this = core.as_ptr().cast::<Self>();
        // SAFETY: By the function's contract.
        unsafe { (&raw mut (*this).body).cast::<F>().write(body) };
        // SAFETY: As above; the core is initialised.
        write_once(unsafe { &core.as_ref().payload }, BODY);
    }

    /// Takes the body, if there is one.
    ///
    /// # Safety
    ///
    /// `core` must be that of an `Inner<F, R, M>`.
    unsafe fn take_body(core: NonNull<Core>) -> Option<F> {
        // SAFETY: By the function's contract; `core` is at the beginning.
        let this = unsafe { core.cast::<Self>().as_ref() };
        this.known.core.payload.cmpxchg(BODY, EMPTY, Full).ok()?;
        // SAFETY: By the invariants of `Core` there was a body, which is ours now.
        Some(unsafe { (*this.body.get()).assume_init_read() })
    }

    /// Calls the body.
    ///
    /// # Safety
    ///
    /// Called once, in the thread, with the `core` of an `Inner<F, R, M>`.
    unsafe fn run(core: NonNull<Core>) {
        // SAFETY: By the function's contract `core` is that of an `Inner<F, R, M>`.
        let Some(body) = (unsafe { Self::take_body(core) }) else {
            return;
        };
        // SAFETY: By the function's contract; `core` is at the beginning.
        let this = unsafe { core.cast::<WithResult<R>>().as_ref() };
        let freezable = if this.core.freezable {
            bindings::TASK_FREEZABLE
        } else {
            0
        };
        // INVARIANT: A context is not `Send`, and borrowed by the body.
        let context = Context {
            core: &this.core,
            // Being asked to stop ends every interruptible sleep at once from then on, and signals
            // are of no interest until one is allowed.
            sleep_state: Cell::new(bindings::TASK_IDLE | freezable),
            _mode: PhantomData,
            _not_send: NotThreadSafe,
        };
        let result = body(&context);
        // SAFETY: The payload is empty, so that no other task uses the memory of the result.
        unsafe { (*this.result.get()).write(result) };
        // INVARIANT: The result is there, and this is the thread.
        this.core.payload.store(RESULT, Release);
    }

    /// Drops the body or the result, if there is one.
    ///
    /// # Safety
    ///
    /// `core` must be that of an `Inner<F, R, M>`. The thread must have ended, or this is the
    /// thread, after its body has returned.
    unsafe fn discard(core: NonNull<Core>) {
        // SAFETY: By the function's contract `core` is that of an `Inner<F, R, M>`.
        drop(unsafe { Self::take_body(core) });
        // SAFETY: By the function's contract; `Inner` begins with a `WithResult<R>`.
        drop(unsafe { take_result::<R>(core) });
    }
}

/// Takes the result of a thread, if there is one.
///
/// # Safety
///
/// `core` must be that of a [`WithResult<R>`].
unsafe fn take_result<R>(core: NonNull<Core>) -> Exit<R> {
    // SAFETY: By the function's contract; `core` is at the beginning.
    let this = unsafe { core.cast::<WithResult<R>>().as_ref() };
    if this.core.payload.cmpxchg(RESULT, EMPTY, Full).is_err() {
        return if this.core.start.has_begun() {
            Exit::Died
        } else {
            Exit::NeverRan
        };
    }
    // SAFETY: By the invariants of `Core` there was a result, which is ours now.
    Exit::Returned(unsafe { (*this.result.get()).assume_init_read() })
}

/// How the scheduler treats a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Fairly, with this niceness: from -20, which gets the most, to 19 (`sched_set_normal()`).
    Normal {
        /// The niceness.
        nice: i32,
    },
    /// In real time, before all that is [`Policy::Normal`], and after all else that is in real time
    /// (`sched_set_fifo_low()`).
    FifoLow,
    /// In real time, in the middle of the priorities that there are (`sched_set_fifo()`).
    Fifo,
}

impl Policy {
    fn check(self) -> Result {
        const NICE: RangeInclusive<i32> = bindings::MIN_NICE..=bindings::MAX_NICE as i32;
        match self {
            Policy::Normal { nice } if !NICE.contains(&nice) => Err(EINVAL),
            _ => Ok(()),
        }
    }

    fn apply(self, task: &Task) {
        let task = task.as_ptr();
        match self {
            // SAFETY: The task is valid.
            Policy::Normal { nice } => unsafe { bindings::sched_set_normal(task, nice) },
            // SAFETY: As above.
            Policy::FifoLow => unsafe { bindings::sched_set_fifo_low(task) },
            // SAFETY: As above.
            Policy::Fifo => unsafe { bindings::sched_set_fifo(task) },
        }
    }
}

enum Name<'a> {
    Borrowed(&'a CStr),
    Owned(CString),
}

/// Where a thread may run.
#[derive(Clone, Copy)]
enum Affinity<'a> {
    Any,
    Bound(CpuId),
    Preferred(&'a Cpumask),
}

/// The properties of a thread that is to be created.
///
/// # Examples
///
/// A thread that is started later:
///
/// ```
/// use kernel::{
///     cpu::CpuId,
///     kthread::{
///         Builder,
///         Policy, //
///     },
///     prelude::*, //
/// };
///
/// let cpu = CpuId::from_u32(0).ok_or(EINVAL)?;
/// let unstarted = Builder::new(c"first")
///     .bind(cpu)
///     .policy(Policy::Normal { nice: 10 })
///     .create(|_| 7)?;
/// pr_info!("it will be {}\n", unstarted.task().pid());
/// assert_eq!(unstarted.start().join()?, 7);
/// # Ok::<(), Error>(())
/// ```
pub struct Builder<'a, M = Plain> {
    settings: Settings<'a>,
    _mode: PhantomData<M>,
}

/// The non-generic part of [`Builder`], so that it is not monomorphised for each body.
struct Settings<'a> {
    name: Name<'a>,
    node: Option<u32>,
    affinity: Affinity<'a>,
    policy: Option<Policy>,
    freezable: bool,
}

impl<'a> Builder<'a> {
    /// A thread of this name.
    ///
    /// `ps` shows the first 15 bytes, in the thread's `comm`; where the kernel shows more, the
    /// first 255. A `%` in the name has no meaning.
    pub fn new(name: &'a CStr) -> Self {
        Self::named(Name::Borrowed(name))
    }

    /// A thread with a name that is made up now, by [`fmt!`], of any length.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] if there is a NUL in it.
    pub fn formatted(name: fmt::Arguments<'_>) -> Result<Self> {
        Ok(Self::named(Name::Owned(CString::try_from_fmt(name)?)))
    }

    fn named(name: Name<'a>) -> Self {
        Self {
            settings: Settings {
                name,
                node: None,
                affinity: Affinity::Any,
                policy: None,
                freezable: false,
            },
            _mode: PhantomData,
        }
    }

    /// The thread can be parked: its body gets a [`Context`] that tells of [`ParkRequest`]s, its
    /// handle has [`Thread::park`].
    pub fn parkable(self) -> Builder<'a, Parkable> {
        Builder {
            settings: self.settings,
            _mode: PhantomData,
        }
    }
}

impl<'a, M: Mode> Builder<'a, M> {
    /// Takes the thread's stack and task structure from this NUMA node. The thread prefers the CPUs
    /// of it, if no CPUs are named.
    #[doc(alias = "kthread_create_on_node")]
    pub fn on_node(mut self, node: u32) -> Self {
        self.settings.node = Some(node);
        self
    }

    /// Binds the thread to a CPU. User space cannot change this. If the CPU goes offline the thread
    /// runs somewhere else.
    #[doc(alias = "kthread_bind")]
    pub fn bind(mut self, cpu: CpuId) -> Self {
        self.settings.affinity = Affinity::Bound(cpu);
        self
    }

    /// Lets the thread run on these CPUs, as long as there is one of them that is online and is not
    /// isolated, and else on others.
    #[doc(alias = "kthread_affine_preferred")]
    pub fn prefer(mut self, cpus: &'a Cpumask) -> Self {
        self.settings.affinity = Affinity::Preferred(cpus);
        self
    }

    /// How it is scheduled; else fairly, with niceness 0.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.policy = Some(policy);
        self
    }

    /// The thread freezes when the system is suspended or hibernated, at the places that
    /// [`Context::sleep`] and [`Context::freezable_should_stop`] say; else it goes on running.
    ///
    /// A body that comes to no such place makes a suspend fail after 20 seconds.
    #[doc(alias = "set_freezable")]
    pub fn freezable(mut self) -> Self {
        self.settings.freezable = true;
        self
    }

    /// Starts a thread that runs `body`; see [`spawn`].
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Builder::create`].
    #[doc(alias = "kthread_run")]
    pub fn spawn<F, R>(self, body: F) -> Result<Thread<R, M>, Refused<F>>
    where
        F: FnOnce(&Context<'_, M>) -> R + Send + 'static,
        R: Send + 'static,
    {
        Ok(self.create(body)?.start())
    }

    /// Creates a thread that will run `body` when it is started.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// The body comes back with
    ///
    /// * [`ENOMEM`] or [`EAGAIN`] if there is not enough memory, or there are too many threads;
    /// * [`EINTR`] if the calling task was killed meanwhile;
    /// * [`EINVAL`] if there is no such CPU, node or niceness, or no CPU is preferred;
    /// * [`EDEADLK`] in an interrupt;
    /// * [`ENODEV`] if the module of the body is going, [`EINVAL`] if it is not known to Tether.
    #[doc(alias = "kthread_create")]
    pub fn create<F, R>(self, body: F) -> Result<Unstarted<R, M>, Refused<F>>
    where
        F: FnOnce(&Context<'_, M>) -> R + Send + 'static,
        R: Send + 'static,
    {
        // INVARIANT: The functions are those of an `Inner`, which the core is at the beginning of.
        let core = match self.settings.new_core(
            Layout::new::<Inner<F, R, M>>(),
            Inner::<F, R, M>::WHAT,
            Inner::<F, R, M>::run,
            Inner::<F, R, M>::discard,
        ) {
            Ok(core) => core,
            Err(error) => return Err(Refused::new(body, error)),
        };
        // SAFETY: The memory was allocated for it just now, and is not shared yet.
        unsafe { Inner::<F, R, M>::put_body(core, body) };
        // SAFETY: It is valid; if this succeeds, the list and the thread have a reference each.
        match unsafe { self.settings.create_core(core.as_ref()) } {
            Ok(()) => Ok(Unstarted(Thread {
                // INVARIANT: This one is the handle's.
                core: Some(CoreRef(core)),
                _types: PhantomData,
            })),
            Err(error) => {
                // SAFETY: `core` is that of this `Inner`.
                let body = unsafe { Inner::<F, R, M>::take_body(core) };
                // SAFETY: The memory was allocated by `kmalloc`. No other task has it: a thread
                // that was created was not started, and has ended.
                unsafe { bindings::kfree(core.as_ptr().cast()) };
                match body {
                    Some(body) => Err(Refused::new(body, error)),
                    // Only a thread that was started, or the end of its module, takes the body.
                    None => unreachable!(),
                }
            }
        }
    }
}

impl Settings<'_> {
    /// Allocates memory of this layout, with a core at its beginning, for whom `run` is called. It
    /// has references for the handle, the thread and the list, and a payload that is yet to be put
    /// there.
    fn new_core(
        &self,
        layout: Layout,
        what: &'static What,
        run: unsafe fn(NonNull<Core>),
        discard: unsafe fn(NonNull<Core>),
    ) -> Result<NonNull<Core>> {
        self.check()?;
        // Its address is in the text of the body's module.
        let owner = Owner::of(run as *const ())?;
        // A result may be larger than any allocation: that is an error, and no fault of the
        // kernel's.
        let memory = Kmalloc::alloc(layout, GFP_KERNEL | __GFP_NOWARN, NumaNode::NO_NODE)?;
        let core = memory.cast::<Core>();
        // INVARIANT: `core` is the address of the core, and comes from the allocation.
        let init = pin_init!(Core {
            attachment <- Attachment::new(owner, what),
            this: core,
            refs: Refcount::new(3),
            payload: Atomic::new(EMPTY),
            task: Atomic::new(ptr::null_mut()),
            should_stop: Atomic::new(false),
            woken: Atomic::new(false),
            freezable: self.freezable,
            start: start::Start::new(),
            stage: Atomic::new(ATTACHED),
            parking <- park::Parking::new(),
            waits: waits::Waits::new(),
            returned <- Completion::new(),
            run,
            discard,
        });
        // SAFETY: The memory is large enough, and does not move.
        unsafe { pin_init::raw_init(core.as_ptr(), init) };
        Ok(core)
    }

    /// Creates and attaches the thread of `core`.
    ///
    /// # Safety
    ///
    /// If this succeeds, `core` must stay valid until the references of the thread and of the
    /// owner's list are dropped.
    unsafe fn create_core(&self, core: &Core) -> Result {
        let create = || {
            // SAFETY: `main` expects a core, which stays valid until the thread has ended: the
            // thread has a reference, and if this fails it has ended already.
            let task = unsafe { self.create_task(main, core.this.as_ptr().cast()) }?;
            // INVARIANT: The reference is ours.
            core.task.store(task.as_ptr(), Release);
            Ok(())
        };
        // SAFETY: The core is valid until it is released, by the function's contract.
        unsafe { core.attachment.attach_and_ask(create) }
    }

    fn check(&self) -> Result {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        if let Some(node) = self.node {
            // SAFETY: The function has no requirements.
            if !unsafe { bindings::tether_node_online(node) } {
                return Err(EINVAL);
            }
        }
        let possible = match self.affinity {
            Affinity::Any => true,
            // SAFETY: The function has no requirements.
            Affinity::Bound(cpu) => unsafe { bindings::tether_cpu_possible(cpu.as_u32()) },
            Affinity::Preferred(cpus) => !cpus.empty(),
        };
        if !possible {
            return Err(EINVAL);
        }
        self.policy.map_or(Ok(()), Policy::check)
    }

    /// Creates a task that will call `main` with `data` when it is first woken, and returns it with
    /// a reference. What this builder says was checked.
    ///
    /// # Safety
    ///
    /// `main` must expect `data`.
    unsafe fn create_task(
        &self,
        main: unsafe extern "C" fn(*mut c_void) -> c_int,
        data: *mut c_void,
    ) -> Result<NonNull<bindings::task_struct>> {
        let name = match &self.name {
            Name::Borrowed(name) => name,
            Name::Owned(name) => &**name,
        };
        // SAFETY: By the function's contract. The name is an argument of the format, not the
        // format.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(main),
                data,
                self.node
                    .map_or(bindings::NUMA_NO_NODE, |node| node as c_int),
                // The kernel keeps a copy of a name that is longer than `comm`, and warns of one
                // that is too long to be allocated.
                c"%.255s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        // A thread that ends by itself frees its task: this is a reference of our own, taken before
        // it has run.
        //
        // SAFETY: The task is valid: it has not run yet.
        unsafe { bindings::get_task_struct(task) };
        let affine = match self.affinity {
            Affinity::Any => Ok(()),
            Affinity::Bound(cpu) => {
                // SAFETY: The task has not run yet, and the CPU is possible.
                unsafe { bindings::kthread_bind(task, cpu.as_u32()) };
                Ok(())
            }
            Affinity::Preferred(cpus) => {
                // SAFETY: The task has not run yet, and this is done once.
                to_result(unsafe { bindings::kthread_affine_preferred(task, cpus.as_raw()) })
            }
        };
        if let Err(error) = affine {
            // SAFETY: The task has never run and never will, and the reference is ours.
            unsafe { bindings::kthread_stop_put(task) };
            return Err(error);
        }
        if let Some(policy) = self.policy {
            // SAFETY: The task is valid, and `Task` is transparent.
            policy.apply(unsafe { &*task.cast() });
        }
        // SAFETY: A task is not null.
        Ok(unsafe { NonNull::new_unchecked(task) })
    }
}

/// What the kernel calls. It is in text that never goes away, and must never be copied into a
/// consumer's: the module of a detached thread may be gone when this returns.
///
/// # Safety
///
/// Called once for a thread, in it, with the [`Core`] that it was created with.
#[inline(never)]
unsafe extern "C" fn main(data: *mut c_void) -> c_int {
    // SAFETY: The data is what `create_core` has passed, and there is a reference for us.
    let core = unsafe { NonNull::new_unchecked(data.cast::<Core>()) };
    // SAFETY: The core is valid until the thread has dropped its reference or has ended.
    let this = unsafe { core.as_ref() };
    // SAFETY: This is called once, by the thread of `this`, which is valid until `kthread_stop()`
    // has returned, or until the thread has dropped its reference.
    if !unsafe { this.start.wait() } {
        // The thread was stopped before it has begun. The task that stops it drops the body and the
        // reference of the thread.
        return EINTR.to_errno();
    }
    let owner = this.attachment.owner();
    if this.freezable {
        // SAFETY: This is a kernel thread, where it may sleep.
        unsafe { bindings::tether_set_freezable() };
    }
    // SAFETY: Called once, in the thread. The owner's text is there: it waits for an attached
    // thread to end, and is pinned for a detached one.
    unsafe { (this.run)(core) };
    // SAFETY: This is the thread.
    unsafe { this.parking.end() };
    let stage = this.stage.xchg(RETURNED, Full);
    this.returned.complete_all();
    // No task takes an orphan off its owner's list, so that the thread does it. From then on the
    // owner's end waits until the returned value is dropped. If the owner's end has found the
    // thread already, it waits until the thread has ended.
    let _entered = (stage == ORPHANED)
        .then(|| {
            this.attachment.try_detach().inspect(|_| {
                // SAFETY: The list's reference is ours now, and the thread has its own.
                unsafe { Core::put(core) };
            })
        })
        .flatten();
    if stage == DETACHED || stage == ORPHANED {
        // SAFETY: This is the thread, and its body has returned. The owner's text is there: it is
        // pinned for a detached thread, and the owner's end waits for an orphan.
        unsafe { this.discard_payload() };
    }
    if stage == DETACHED {
        // SAFETY: `Thread::detach` has made the attachment independent, and leaves this to the
        // thread.
        unsafe { this.attachment.remove() };
        // SAFETY: The list's reference is ours now, and the thread has its own.
        unsafe { Core::put(core) };
    }
    // SAFETY: The thread's reference is ours, and is not used again.
    unsafe { Core::put(core) };
    if stage == DETACHED {
        // SAFETY: The pin is that of `Thread::detach`, and this text is permanent.
        unsafe { owner.unpin() };
    }
    0
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

/// A thread that was made, and does not run yet.
///
/// Dropping it ends the thread, which sleeps: the body is dropped without having been called. In an
/// interrupt that is left to the end of the module.
#[must_use = "a thread that is not started does nothing, and is ended when this is dropped"]
pub struct Unstarted<R: Send + 'static, M = Plain>(Thread<R, M>);

impl<R: Send + 'static, M: Mode> Unstarted<R, M> {
    /// Lets the thread call its body.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[doc(alias = "wake_up_process")]
    pub fn start(self) -> Thread<R, M> {
        self.0.core().start();
        self.0
    }

    /// The thread's task. Waking it does not start the thread.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn task(&self) -> ARef<Task> {
        self.0.core().task().into()
    }
}

/// Makes a type invariant in `T`, which has no part of its own in there.
type Invariant<T> = PhantomData<fn(T) -> T>;

/// A kernel thread that returns `R`.
///
/// Dropping it stops the thread and waits for it, which sleeps. Inside the thread itself, inside a
/// thread that it waits for, and in an interrupt, the thread is asked to stop and not waited for.
///
/// # Invariants
///
/// `core` is that of a [`WithResult<R>`]. It is `None` only while it is being given up.
pub struct Thread<R: Send + 'static, M = Plain> {
    core: Option<CoreRef>,
    // Invariant: `R` has chosen the function that drops the result.
    _types: Invariant<(R, M)>,
}

impl<R: Send + 'static> Thread<R, Parkable> {
    /// Asks the thread to park, and waits until it is parked: until it has come to the next place
    /// where its body sleeps by its [`Context`] or asks whether it is to park.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// * [`EBUSY`] if the thread is parked already, or another task is about to park or unpark it;
    /// * [`ESRCH`] if its body has returned, meanwhile or before, or if it is asked to stop;
    /// * [`EDEADLK`] if this is called inside the thread, inside one that it waits for, or in an
    ///   interrupt.
    #[doc(alias = "kthread_park")]
    pub fn park(&self) -> Result {
        self.core().park(Limit::None)
    }

    /// Like [`Thread::park`], but a fatal signal ends the wait: for a task that acts on behalf of a
    /// user.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::park`], and [`EINTR`] if the current task was killed, is in its exit, or is a
    /// thread that is asked to stop. The request is withdrawn
    /// then.
    pub fn park_killable(&self) -> Result {
        self.core().park(Limit::Killed)
    }

    /// Like [`Thread::park_killable`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::park_killable`], and [`ETIMEDOUT`] if the thread has not parked within `time`.
    /// The request is withdrawn then.
    pub fn park_timeout(&self, time: Delta) -> Result {
        self.core().park(Limit::killed_or_after(time))
    }

    /// Lets the thread go on, if it is parked. If another task is about to park it, the thread is
    /// unparked as soon as it is parked.
    ///
    /// # Context
    ///
    /// Any context but NMI; does not wait.
    #[doc(alias = "kthread_unpark")]
    pub fn unpark(&self) {
        self.core().unpark();
    }

    /// Whether the thread is parked.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_parked(&self) -> bool {
        self.core().parking.is_parked()
    }
}

impl<R: Send + 'static, M> Thread<R, M> {
    fn core(&self) -> &CoreRef {
        match &self.core {
            Some(core) => core,
            // It is only taken by methods that consume the handle.
            None => unreachable!(),
        }
    }

    /// The thread's task.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn task(&self) -> ARef<Task> {
        self.core().task().into()
    }

    /// Changes how the thread is scheduled.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if there is no such niceness;
    /// * [`EDEADLK`] in an interrupt;
    /// * [`ESRCH`] if the body of the thread has returned, or the thread was ended with its module.
    #[doc(alias = "sched_set_normal")]
    #[doc(alias = "sched_set_fifo")]
    pub fn set_policy(&self, policy: Policy) -> Result {
        policy.check()?;
        if !may_sleep() {
            return Err(EDEADLK);
        }
        if self.core().is_over() {
            return Err(ESRCH);
        }
        policy.apply(self.core().task());
        Ok(())
    }

    /// Wakes the thread, if it sleeps by its [`Context`], and ends its next sleep there otherwise.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    #[doc(alias = "wake_up_process")]
    pub fn wake(&self) {
        self.core().wake();
    }

    /// Returns an object that wakes the thread, to be kept where the handle is not.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn waker(&self) -> Waker {
        Waker {
            core: self.core().clone(),
        }
    }

    /// Asks the thread to stop, and does not wait. If it is parked it is unparked.
    ///
    /// The body is called with [`Context::should_stop`] true if it has not begun, unless the handle
    /// is dropped or [`Thread::stop`] is called before it begins.
    ///
    /// # Context
    ///
    /// Any context but NMI.
    pub fn request_stop(&self) {
        self.core().request_stop();
    }

    /// Whether the body has returned, or will never be called.
    ///
    /// # Context
    ///
    /// Any context.
    pub fn is_finished(&self) -> bool {
        self.core().is_over()
    }

    /// Gives the handle up for the result after the thread has ended, or back with the error.
    fn exit(mut self, ended: Result<Entered>) -> Result<Exit<R>, Refused<Self>> {
        let _entered = match ended {
            Ok(entered) => entered,
            Err(error) => return Err(Refused::new(self, error)),
        };
        // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
        let exit = unsafe { take_result(self.core().this) };
        self.core = None;
        Ok(exit)
    }

    /// Asks the thread to stop, waits until it has ended, and returns its result.
    ///
    /// If the body has not begun, it is dropped without having been called.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The handle comes back with
    ///
    /// * [`EDEADLK`] if this is called inside the thread, inside one that it waits for, or in an
    ///   interrupt;
    /// * [`ENODEV`] if the thread was ended together with its module, which has dropped the result.
    #[doc(alias = "kthread_stop")]
    pub fn stop(self) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let ended = unsafe { self.core().stop(Limit::None) };
        self.exit(ended)
    }

    /// Like [`Thread::stop`], but a fatal signal ends the wait: for a task that acts on behalf of a
    /// user. The body is called in any case.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::stop`], and [`EINTR`] if the current task was killed, is in its exit, or is a
    /// thread that is asked to stop. The thread is asked to stop
    /// all the same.
    pub fn stop_killable(self) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let ended = unsafe { self.core().stop(Limit::Killed) };
        self.exit(ended)
    }

    /// Like [`Thread::stop_killable`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::stop_killable`], and [`ETIMEDOUT`] if the body has not returned within `time`.
    pub fn stop_timeout(self, time: Delta) -> Result<Exit<R>, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let ended = unsafe { self.core().stop(Limit::killed_or_after(time)) };
        self.exit(ended)
    }

    fn join_within(self, limit: Limit) -> Result<R, Refused<Self>> {
        // SAFETY: The handle is ours alone.
        let _entered = match unsafe { self.core().join(limit) } {
            Ok(entered) => entered,
            Err(error) => return Err(Refused::new(self, error)),
        };
        // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
        match unsafe { take_result(self.core().this) } {
            Exit::Returned(result) => Ok(result),
            Exit::NeverRan | Exit::Died => Err(Refused::new(self, ENODEV)),
        }
    }

    /// Waits for the thread to end by itself, and returns its result. If it is parked it is
    /// unparked.
    ///
    /// # Context
    ///
    /// Process context; sleeps uninterruptibly, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The handle comes back with
    ///
    /// * [`EDEADLK`] if this is called inside the thread, inside one that it waits for, or in an
    ///   interrupt;
    /// * [`ENODEV`] if the thread was ended together with its module, which has dropped the body or
    ///   the result.
    pub fn join(self) -> Result<R, Refused<Self>> {
        self.join_within(Limit::None)
    }

    /// Like [`Thread::join`], but a fatal signal ends the wait: for a task that acts on behalf of a
    /// user.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::join`], and [`EINTR`] if the current task was killed, is in its exit, or is a
    /// thread that is asked to stop.
    pub fn join_killable(self) -> Result<R, Refused<Self>> {
        self.join_within(Limit::Killed)
    }

    /// Like [`Thread::join_killable`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Thread::join_killable`], and [`ETIMEDOUT`] if the body has not returned within `time`.
    pub fn join_timeout(self, time: Delta) -> Result<R, Refused<Self>> {
        self.join_within(Limit::killed_or_after(time))
    }

    /// Like [`Thread::join`] if the body has returned, so that this does not wait for the body.
    ///
    /// # Context
    ///
    /// Process context; may sleep for a short time.
    ///
    /// # Errors
    ///
    /// As [`Thread::join`], and the handle comes back with [`EAGAIN`] if the body has not returned.
    pub fn try_join(self) -> Result<R, Refused<Self>> {
        if !self.core().is_over() {
            return Err(Refused::new(self, EAGAIN));
        }
        self.join()
    }

    /// Lets the thread go on by itself. It keeps its module loaded until it is out of the text of
    /// the module. If it is parked it is unparked.
    ///
    /// Its result is dropped in the thread. If the init of its module fails, the thread is asked to
    /// stop, and the end of the module waits for it.
    ///
    /// # Context
    ///
    /// Process context; sleeps if the body has just returned, until the thread has ended.
    ///
    /// # Errors
    ///
    /// The handle comes back with [`ENODEV`] if the module is going, and with [`EDEADLK`] in an
    /// interrupt.
    pub fn detach(mut self) -> Result<(), Refused<Self>> {
        if !may_sleep() {
            return Err(Refused::new(self, EDEADLK));
        }
        let owner = self.core().attachment.owner();
        if let Err(error) = owner.pin() {
            return Err(Refused::new(self, error));
        }
        if !self.core().attachment.make_independent() {
            // SAFETY: The pin is ours, and nobody was told of it.
            unsafe { owner.unpin() };
            return Err(Refused::new(self, ENODEV));
        }
        self.core().unpark();
        let stage = &self.core().stage;
        if stage.cmpxchg(ATTACHED, DETACHED, Full).is_err() {
            // The body has returned, and the thread does not know that it was detached.
            //
            // SAFETY: The attachment was made independent, and only the thread of a detached handle
            // would remove it.
            unsafe { self.core().attachment.remove() };
            // SAFETY: We have just taken the attachment off its owner's list, and the pin keeps the
            // owner's text.
            unsafe { self.core().reap() };
            // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
            drop(unsafe { take_result::<R>(self.core().this) });
            // SAFETY: The list's reference is ours now, and the handle has its own.
            unsafe { Core::put(self.core().this) };
            // SAFETY: The pin is ours, and nobody was told of it.
            unsafe { owner.unpin() };
        }
        self.core = None;
        Ok(())
    }
}

impl<R: Send + 'static, M> Drop for Thread<R, M> {
    fn drop(&mut self) {
        let Some(core) = &self.core else {
            return;
        };
        // SAFETY: The handle is ours alone.
        if let Some(_entered) = unsafe { core.abandon() } {
            // SAFETY: By the type's invariants the core is that of a `WithResult<R>`.
            drop(unsafe { take_result::<R>(core.this) });
        }
    }
}

/// Creates the graph of waits, once, before a module can create a thread.
#[no_mangle]
extern "C" fn tether_kthread_init() -> c_int {
    waits::init().map_or_else(|error| error.to_errno(), |()| 0)
}

/// The node of the current thread in the graph of waits, if the thread is one of Tether's.
fn current_waits() -> Option<*const waits::Waits> {
    let task = Task::current_raw();
    // SAFETY: The current task is valid.
    let function = unsafe { bindings::kthread_func(task) };
    // SAFETY: The current task is valid. `kthread_data()` requires a kernel thread, and is only
    // called if the task has a thread function of ours, which only a kernel thread has.
    let data = || unsafe { bindings::kthread_data(task) };
    if ptr::eq(function, main as *const c_void) {
        // SAFETY: The data of such a thread is its `Core`, which is valid while it runs.
        Some(unsafe { &raw const (*data().cast::<Core>()).waits })
    } else if ptr::eq(function, worker::main as *const c_void) {
        // SAFETY: The data of such a thread is its `Queue`, which is valid while it runs.
        Some(unsafe { worker::Queue::waits_of(data().cast()) })
    } else {
        None
    }
}
