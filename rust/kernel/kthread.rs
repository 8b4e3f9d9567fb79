// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! [`spawn`] runs a closure in a thread of its own. The [`Thread`] that it returns asks the thread
//! to stop, waits for its end and takes its result; dropping it stops the thread.
//!
//! # Vocabulary
//!
//! * The *body* is the closure; it gets a [`Context`], which cannot leave the thread.
//! * To *request* a stop is to tell the body to return ([`Context::should_stop`]), to *join* is to
//!   wait until the thread is out of the module's text, to *stop* is to do both.
//! * A thread is *attached* as long as it is not *detached* ([`Thread::detach`]).
//!
//! # What holds
//!
//! * The body is called once or, if the thread is stopped before it has begun, dropped without
//!   having been called: [`Exit`] tells these apart.
//! * An attached thread does not keep its module loaded. If its handle was leaked it is stopped
//!   when the module goes, before its text is freed. A body that ignores the request makes that
//!   wait, and is named in the log.
//! * A detached thread keeps its module loaded until it is out of its text.
//! * A thread cannot stop or join itself: [`EDEADLK`]. If the last handle of a thread is dropped
//!   inside it, the thread goes on, and its module stops it as if its handle were leaked.
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
//! }
//!
//! // A thread that comes to its end by itself.
//! let thread = kthread::spawn(c"answer", |_| 42)?;
//! assert_eq!(thread.join()?, 42);
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        UniqueArc, //
    },
    task::Task,
    tether::{
        as_jiffies,
        Attachment,
        Owner,
        Refused,
        What, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    any::type_name,
    cell::UnsafeCell,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// How a thread that was stopped has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit<R> {
    /// The body has returned this.
    Returned(R),
    /// The thread was stopped before it had called the body, which was dropped.
    NeverRan,
}

impl<R> Exit<R> {
    /// The result, if the body ran.
    pub fn returned(self) -> Option<R> {
        match self {
            Exit::Returned(result) => Some(result),
            Exit::NeverRan => None,
        }
    }
}

/// Why a sleep has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The thread is asked to stop.
    Stopped,
    /// It was woken by [`Thread::wake`] or [`Waker::wake`], or its condition holds.
    Woken,
    /// The time is over.
    TimedOut,
}

/// What a thread's body is given: what it may ask and do as a kernel thread.
///
/// It cannot leave the thread.
pub struct Context<'a> {
    core: &'a Core,
    _not_send: NotThreadSafe,
}

impl Context<'_> {
    /// Whether the thread is asked to stop: the body should return then.
    #[doc(alias = "kthread_should_stop")]
    #[inline]
    pub fn should_stop(&self) -> bool {
        self.core.signal.should_stop.load(Relaxed)
    }

    /// Sleeps until the thread is woken or asked to stop. A wake-up that came since the last sleep
    /// ends it at once: none is lost.
    pub fn sleep(&self) -> Wake {
        self.sleep_jiffies(Jiffies::MAX)
    }

    /// Sleeps until the thread is woken, asked to stop, or `time` is over; that is rounded up to
    /// whole ticks.
    pub fn sleep_for(&self, time: Delta) -> Wake {
        self.sleep_jiffies(as_jiffies(time))
    }

    /// Sleeps until `condition` holds or the thread is asked to stop.
    ///
    /// It is tested first, and then after each wake-up: who makes it true calls [`Thread::wake`]
    /// or [`Waker::wake`] afterwards. It may sleep.
    #[doc(alias = "wait_event")]
    pub fn wait_until(&self, mut condition: impl FnMut() -> bool) -> Wake {
        loop {
            if condition() {
                return Wake::Woken;
            }
            if self.sleep() == Wake::Stopped {
                return Wake::Stopped;
            }
        }
    }

    fn sleep_jiffies(&self, mut left: Jiffies) -> Wake {
        // A kernel thread takes no signals, and being asked to stop ends every interruptible sleep
        // at once from then on: so this one is not interruptible, and looks for itself.
        let wake = loop {
            // Before the flags are read: who sets one afterwards finds the state that we are in,
            // and wakes us out of it.
            //
            // SAFETY: The state is undone below, before anything that may sleep.
            unsafe { bindings::set_current_state(bindings::TASK_IDLE) };
            if self.should_stop() {
                break Wake::Stopped;
            }
            if self.core.signal.woken.xchg(false, Acquire) {
                break Wake::Woken;
            }
            if left == 0 {
                break Wake::TimedOut;
            }
            left = if left == Jiffies::MAX {
                // SAFETY: We are in a thread of our own, and hold nothing.
                unsafe { bindings::schedule() };
                left
            } else {
                // SAFETY: As above. Less than `MAX_SCHEDULE_TIMEOUT`, as it is from a `u32`.
                unsafe { bindings::schedule_timeout(left as c_long) as Jiffies }
            };
        };
        // SAFETY: A running task may always say that it runs.
        unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
        wake
    }
}

/// How far a thread has come, for [`Core::stage`].
const ATTACHED: u32 = 0;
/// Its handle was given up; the module is pinned for it.
const DETACHED: u32 = 1;
/// Its body has returned: it is too late to detach it.
const RETURNED: u32 = 2;

/// How a thread is spoken to. On its own, so that a [`Waker`] does not keep a result alive.
///
/// # Invariants
///
/// `task` is null until the thread is created, and then a task that a reference is held to until
/// this is dropped. Nobody but [`spawn`] has this before.
struct Signal {
    task: Atomic<*mut bindings::task_struct>,
    should_stop: Atomic<bool>,
    woken: Atomic<bool>,
}

impl Signal {
    fn task(&self) -> &Task {
        // SAFETY: By the type's invariants this is a task that we hold a reference to. `Task` is
        // transparent.
        unsafe { &*self.task.load(Acquire).cast() }
    }

    fn wake(&self) {
        self.woken.store(true, Release);
        self.task().wake_up();
    }

    fn request_stop(&self) {
        self.should_stop.store(true, Relaxed);
        // SAFETY: The task is valid. Waking it is a full barrier if it sleeps, so that it sees the
        // flag.
        unsafe { bindings::tether_kthread_interrupt(self.task().as_ptr()) };
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let task = self.task.load(Relaxed);
        if !task.is_null() {
            // SAFETY: The reference is ours by the type's invariants.
            unsafe { bindings::put_task_struct(task) };
        }
    }
}

/// Wakes a thread from where its [`Thread`] is not at hand. It keeps the thread's task structure,
/// but not the thread.
#[derive(Clone)]
pub struct Waker {
    signal: Arc<Signal>,
}

impl Waker {
    /// As [`Thread::wake`]. Does nothing when the thread has ended.
    pub fn wake(&self) {
        self.signal.wake();
    }
}

/// The part of a thread that does not depend on the types of its body.
///
/// # Invariants
///
/// `run`, `put` and the functions in `attachment` are those of the [`Inner`] that this is in.
#[pin_data]
#[repr(C)]
struct Core {
    #[pin]
    attachment: Attachment,
    signal: Arc<Signal>,
    /// The kernel has called us, so that the thread's reference is the thread's to drop.
    began: Atomic<bool>,
    stage: Atomic<u32>,
    /// The handle was dropped inside the thread.
    orphaned: Atomic<bool>,
    /// Completed when the body has returned and its result is there.
    #[pin]
    returned: Opaque<bindings::completion>,
    run: unsafe fn(NonNull<Core>),
    put: unsafe fn(*const Core),
}

impl Core {
    fn is_current(&self) -> bool {
        ptr::eq(Task::current_raw(), self.signal.task().as_ptr())
    }

    /// Waits for the thread to be gone from the module's text and from ours.
    ///
    /// # Safety
    ///
    /// The caller must have taken the thread off its owner's list, and call this once: the
    /// kernel's own completion is used up by it.
    unsafe fn reap(&self) {
        self.signal.should_stop.store(true, Relaxed);
        // SAFETY: The task is a kernel thread that we hold a reference to, and nobody else stops
        // it, by the function's contract.
        unsafe { bindings::kthread_stop(self.signal.task().as_ptr()) };
        if !self.began.load(Relaxed) {
            // It was stopped before the kernel had called it: its reference is left to us.
            //
            // SAFETY: It was given to the thread by `start`, and the thread is gone.
            unsafe { (self.put)(self) };
        }
    }
}

/// What the body leaves when it is called.
enum Payload<F, R> {
    Body(F),
    Result(R),
    Empty,
}

/// A thread: shared by its handle, the thread itself, and its owner's list.
///
/// # Invariants
///
/// `payload` belongs to the thread from its first wake-up until its body has returned, which
/// `returned` tells, or until it is known that it will never begin; before that to `spawn`,
/// afterwards to who has the handle.
#[pin_data]
#[repr(C)]
struct Inner<F, R> {
    #[pin]
    core: Core,
    payload: UnsafeCell<Payload<F, R>>,
}

// SAFETY: What is inside is `Send`, and by the type's invariants is used by one at a time.
unsafe impl<F: Send, R: Send> Send for Inner<F, R> {}
// SAFETY: As above; `core` is `Sync`.
unsafe impl<F: Send, R: Send> Sync for Inner<F, R> {}

impl<F, R> Inner<F, R>
where
    F: FnOnce(&Context<'_>) -> R + Send + 'static,
    R: Send + 'static,
{
    /// Calls the body.
    ///
    /// # Safety
    ///
    /// Called once, in the thread, with the `core` of an `Inner<F, R>`.
    unsafe fn run(core: NonNull<Core>) {
        // SAFETY: By the function's contract; `core` is at the beginning.
        let this = unsafe { core.cast::<Self>().as_ref() };
        // SAFETY: By the type's invariants the payload is the thread's.
        let payload = unsafe { &mut *this.payload.get() };
        if let Payload::Body(body) = core::mem::replace(payload, Payload::Empty) {
            let context = Context {
                core: &this.core,
                _not_send: NotThreadSafe,
            };
            *payload = Payload::Result(body(&context));
        }
    }

    /// Drops a reference.
    ///
    /// # Safety
    ///
    /// The caller must own one, to the `Inner<F, R>` that `core` is in.
    unsafe fn put(core: *const Core) {
        // SAFETY: By the function's contract; `core` is at the beginning.
        drop(unsafe { Arc::from_raw(core.cast::<Self>()) });
    }

    /// The owner's end has found the thread.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, which is valid until `release`.
        let core = unsafe { &*attachment.cast::<Core>() };
        core.signal.request_stop();
        loop {
            // SAFETY: The completion is initialised and valid.
            let left = unsafe {
                bindings::wait_for_completion_timeout(core.returned.get(), msecs_to_jiffies(10_000))
            };
            if left != 0 {
                break;
            }
            pr_warn!(
                "thread {} ({}) ignores the request to stop: its module cannot go\n",
                core.signal.task().pid(),
                type_name::<F>()
            );
        }
        // SAFETY: The owner's end has taken it off the list.
        unsafe { core.reap() };
    }

    /// # Safety
    ///
    /// As [`What::release`] says.
    unsafe fn release(attachment: *const Attachment) {
        // SAFETY: The attachment is at the beginning of a `Core`, and the list had a reference.
        unsafe { Self::put(attachment.cast()) };
    }
}

/// A thread that will return `R`, whatever its body is.
trait Returns<R>: Send + Sync {
    fn core(&self) -> &Core;

    /// Takes the result, or drops the body if there is none.
    ///
    /// # Safety
    ///
    /// The payload must be the caller's, by the invariants of [`Inner`].
    unsafe fn take(&self) -> Exit<R>;
}

impl<F: Send, R: Send> Returns<R> for Inner<F, R> {
    fn core(&self) -> &Core {
        &self.core
    }

    unsafe fn take(&self) -> Exit<R> {
        // SAFETY: It is ours by the function's contract.
        let payload = unsafe { &mut *self.payload.get() };
        match core::mem::replace(payload, Payload::Empty) {
            Payload::Result(result) => Exit::Returned(result),
            Payload::Body(_) | Payload::Empty => Exit::NeverRan,
        }
    }
}

/// A kernel thread that returns `R`.
///
/// Dropping it stops the thread and waits for it: that may sleep. Inside the thread itself it only
/// lets go of it.
///
/// # Invariants
///
/// The thread was started, and nobody has taken its payload.
pub struct Thread<R: Send + 'static> {
    /// None only while it is being given up.
    inner: Option<Arc<dyn Returns<R>>>,
}

/// Starts a thread that runs `body`.
///
/// `name` is shown by `ps`: the first 15 bytes of it in the thread's `comm`, all of it where the
/// kernel shows more. It is taken as it is, also if there is a `%` in it.
///
/// May sleep.
///
/// # Errors
///
/// The body comes back with
///
/// * [`ENOMEM`] if there is not enough memory;
/// * [`EINTR`] if the calling task was killed meanwhile;
/// * [`ENODEV`] if the module of the body is going, [`EINVAL`] if it is not known to Tether.
///
/// C: `kthread_run()` in [`include/linux/kthread.h`](srctree/include/linux/kthread.h).
#[doc(alias = "kthread_run")]
#[doc(alias = "kthread_create")]
pub fn spawn<F, R>(name: &CStr, body: F) -> Result<Thread<R>, Refused<F>>
where
    F: FnOnce(&Context<'_>) -> R + Send + 'static,
    R: Send + 'static,
{
    let owner = match Owner::of(Inner::<F, R>::run as *const ()) {
        Ok(owner) => owner,
        Err(error) => return Err(Refused::new(body, error)),
    };
    let signal = Signal {
        task: Atomic::new(ptr::null_mut()),
        should_stop: Atomic::new(false),
        woken: Atomic::new(false),
    };
    let (Ok(signal), Ok(memory)) = (
        Arc::new(signal, GFP_KERNEL),
        UniqueArc::<Inner<F, R>>::new_uninit(GFP_KERNEL),
    ) else {
        return Err(Refused::new(body, ENOMEM));
    };
    let what = What {
        kind: "thread",
        name: type_name::<F>(),
        end: Inner::<F, R>::end,
        release: Some(Inner::<F, R>::release),
    };
    let init = pin_init!(Inner {
        core <- pin_init!(Core {
            attachment <- Attachment::new(owner, what),
            signal,
            began: Atomic::new(false),
            stage: Atomic::new(ATTACHED),
            orphaned: Atomic::new(false),
            returned <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe { bindings::init_completion(slot) };
            }),
            run: Inner::<F, R>::run,
            put: Inner::<F, R>::put,
        }),
        payload: UnsafeCell::new(Payload::Body(body)),
    });
    let inner: Arc<Inner<F, R>> = match memory.write_pin_init(init) {
        Ok(inner) => inner.into(),
        Err(never) => match never {},
    };

    // SAFETY: The core stays valid, because a reference is given to the thread and another one to
    // its owner's list.
    let started = unsafe {
        start(&inner.core, name, || {
            let _ = Arc::into_raw(inner.clone());
        })
    };
    match started {
        Ok(()) => Ok(Thread { inner: Some(inner) }),
        Err(error) => {
            // SAFETY: The thread was not started, so the payload is still ours.
            let payload = unsafe { &mut *inner.payload.get() };
            match core::mem::replace(payload, Payload::Empty) {
                Payload::Body(body) => Err(Refused::new(body, error)),
                // Only the thread takes the body.
                _ => unreachable!(),
            }
        }
    }
}

/// Creates, attaches and wakes the thread of `core`; calls `give` for each reference that it gives
/// away.
///
/// # Safety
///
/// `give` must give up a reference that keeps `core` valid, which its `put` drops.
unsafe fn start(core: &Core, name: &CStr, give: impl Fn()) -> Result {
    let create = || {
        // SAFETY: `main` expects a core; it is called only after the thread is woken below. The
        // name is an argument of the format, not the format.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(main),
                ptr::from_ref(core).cast_mut().cast(),
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        // INVARIANT: A thread that ends by itself frees its task: this is a reference of our own,
        // taken before it has run.
        //
        // SAFETY: The task is valid: it has not run yet.
        unsafe { bindings::get_task_struct(task) };
        core.signal.task.store(task, Release);
        // The thread's.
        give();
        // The list's.
        give();
        Ok(())
    };
    // SAFETY: The core is valid until it is released, as a reference is given for.
    unsafe { core.attachment.attach(create) }?;
    core.signal.task().wake_up();
    Ok(())
}

/// What the kernel calls. It is in text that never goes away, and must never be copied into a
/// consumer's: the module of a detached thread may be gone when this returns.
///
/// # Safety
///
/// Called once for a thread, in it, with the [`Core`] that `start` has created it with.
#[inline(never)]
unsafe extern "C" fn main(data: *mut c_void) -> c_int {
    // SAFETY: The data is what `start` has passed, and there is a reference for us.
    let core = unsafe { NonNull::new_unchecked(data.cast::<Core>()) };
    // SAFETY: As above.
    let this = unsafe { core.as_ref() };
    let (owner, put) = (this.attachment.owner(), this.put);
    this.began.store(true, Relaxed);
    // SAFETY: Called once, in the thread. The owner's text is there: it waits for an attached
    // thread to end, and is pinned for a detached one.
    unsafe { (this.run)(core) };
    let detached = this.stage.xchg(RETURNED, Full) == DETACHED;
    // SAFETY: The completion is initialised and valid.
    unsafe { bindings::complete_all(this.returned.get()) };
    // Nobody will take an orphan off its owner's list, so it does so itself; from then on it is
    // this guard that makes the owner's end wait. If the owner's end is at it already, then that
    // waits for the thread.
    let _entered = this.orphaned.load(Relaxed).then(|| {
        let entered = owner.hold();
        if this.attachment.try_detach() {
            // SAFETY: The list's reference is ours now, and the thread has its own.
            unsafe { put(core.as_ptr()) };
        }
        entered
    });
    // SAFETY: The thread's reference is ours, and is not used again.
    unsafe { put(core.as_ptr()) };
    if detached {
        // SAFETY: The pin is that of `Thread::detach`, and this text is permanent.
        unsafe { owner.unpin() };
    }
    0
}

impl<R: Send + 'static> Thread<R> {
    fn inner(&self) -> &dyn Returns<R> {
        match &self.inner {
            Some(inner) => &**inner,
            // It is only taken by those who consume the handle.
            None => unreachable!(),
        }
    }

    fn core(&self) -> &Core {
        self.inner().core()
    }

    /// The thread's task.
    pub fn task(&self) -> ARef<Task> {
        self.core().signal.task().into()
    }

    /// Wakes the thread, if it sleeps by its [`Context`], and else ends its next sleep there.
    ///
    /// May be called in any context but NMI.
    #[doc(alias = "wake_up_process")]
    pub fn wake(&self) {
        self.core().signal.wake();
    }

    /// Returns something that wakes the thread, to be kept where the handle is not.
    pub fn waker(&self) -> Waker {
        Waker {
            signal: self.core().signal.clone(),
        }
    }

    /// Asks the thread to stop, and does not wait.
    ///
    /// Unlike after [`Thread::stop`] the body is called in any case, with
    /// [`Context::should_stop`] true.
    pub fn request_stop(&self) {
        self.core().signal.request_stop();
    }

    /// Whether the body has returned.
    pub fn is_finished(&self) -> bool {
        self.core().stage.load(Acquire) == RETURNED
    }

    /// Ends what is left of the thread, of which we are not a part.
    fn end(&self) {
        // If it is not ours to end then its owner's end has done so.
        if self.core().attachment.detach() {
            // SAFETY: We have just taken it off its owner's list.
            unsafe { self.core().reap() };
            // SAFETY: The list's reference is ours now, and the handle has its own.
            unsafe { (self.core().put)(self.core()) };
        }
    }

    /// Asks the thread to stop, waits until it has ended, and returns its result.
    ///
    /// May sleep, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The handle comes back with [`EDEADLK`] if this is called inside the thread.
    #[doc(alias = "kthread_stop")]
    pub fn stop(mut self) -> Result<Exit<R>, Refused<Self>> {
        if self.core().is_current() {
            return Err(Refused::new(self, EDEADLK));
        }
        self.end();
        // SAFETY: The thread has ended, and the handle is given up.
        let exit = unsafe { self.inner().take() };
        self.inner = None;
        Ok(exit)
    }

    /// Waits for the thread to end by itself, and returns its result.
    ///
    /// May sleep, for as long as the body takes.
    ///
    /// # Errors
    ///
    /// The handle comes back with [`EDEADLK`] if this is called inside the thread.
    pub fn join(self) -> Result<R, Refused<Self>> {
        if self.core().is_current() {
            return Err(Refused::new(self, EDEADLK));
        }
        // SAFETY: The completion is initialised, and we keep it valid.
        unsafe { bindings::wait_for_completion(self.core().returned.get()) };
        match self.stop()? {
            Exit::Returned(result) => Ok(result),
            // The body has returned, and nobody else takes its result.
            Exit::NeverRan => unreachable!(),
        }
    }

    /// Lets the thread go on by itself. It keeps its module loaded, until it is out of its text.
    ///
    /// Its result is dropped in the thread. Sleeps if the body has just returned, until the thread
    /// has ended.
    ///
    /// # Errors
    ///
    /// The handle comes back with [`ENODEV`] if the module is going.
    pub fn detach(mut self) -> Result<(), Refused<Self>> {
        let owner = self.core().attachment.owner();
        if let Err(error) = owner.pin() {
            return Err(Refused::new(self, error));
        }
        if !self.core().attachment.try_detach() {
            // SAFETY: The pin is ours, and nobody was told of it.
            unsafe { owner.unpin() };
            return Err(Refused::new(self, ENODEV));
        }
        let stage = &self.core().stage;
        if stage.cmpxchg(ATTACHED, DETACHED, Full).is_err() {
            // It has returned, and is on its way out: wait for that instead.
            //
            // SAFETY: We have just taken it off its owner's list.
            unsafe { self.core().reap() };
            // SAFETY: The pin is ours, and nobody was told of it.
            unsafe { owner.unpin() };
        }
        // SAFETY: The list's reference is ours now, and the handle has its own.
        unsafe { (self.core().put)(self.core()) };
        self.inner = None;
        Ok(())
    }
}

impl<R: Send + 'static> Drop for Thread<R> {
    fn drop(&mut self) {
        if self.inner.is_none() {
            return;
        }
        if self.core().is_current() {
            // Waiting for ourselves would be for ever.
            self.core().orphaned.store(true, Relaxed);
            return;
        }
        self.end();
        // SAFETY: The thread has ended, and the handle is given up. A body that never ran is
        // dropped here, also if something in it keeps `inner` alive.
        drop(unsafe { self.inner().take() });
    }
}
