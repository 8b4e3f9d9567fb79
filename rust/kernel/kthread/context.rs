// SPDX-License-Identifier: GPL-2.0

//! The context of a body: sleeping, freezing, signals, and the address space of a process.

use super::{
    check_signal,
    interrupt::interrupt,
    thread_core::Core,
    Mode,
    ParkRequest,
    Parkable,
    Plain,
    Policy,
    Wake, //
};
use crate::{
    bindings,
    mm::MmWithUser,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Full,
        barrier::smp_mb, //
    },
    tether::{
        as_jiffies,
        jiffies, //
    },
    time::{
        Delta,
        Jiffies, //
    },
    types::NotThreadSafe, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr, //
};

/// The context of a thread's body: the functions that only the thread itself may call.
///
/// A context cannot leave its thread.
///
/// # Invariants
///
/// A context is only reachable in the thread of `core`, while the body runs.
pub struct Context<'a, M: Mode = Plain> {
    pub(super) core: &'a Core,
    /// The task state in which the thread sleeps.
    sleep_state: Cell<c_uint>,
    _mode: PhantomData<M>,
    _not_send: NotThreadSafe,
}

impl<'a, M: Mode> Context<'a, M> {
    /// Creates the context of a body.
    ///
    /// # Safety
    ///
    /// The caller must be the thread of `core`, and must only lend the context to the body.
    #[inline]
    pub(super) unsafe fn new(core: &'a Core) -> Self {
        let freezable = if core.freezable {
            bindings::TASK_FREEZABLE
        } else {
            0
        };
        // INVARIANT: By the function's contract the current task is the thread of `core`, and only
        // the body can reach the context.
        Self {
            core,
            // After a request to stop, each interruptible sleep ends at once. Use `TASK_IDLE` until
            // the body allows a signal, because signals are ignored before.
            sleep_state: Cell::new(bindings::TASK_IDLE | freezable),
            _mode: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}

impl<M: Mode> Context<'_, M> {
    /// Returns whether the thread is requested to stop. The body should return in this case.
    ///
    /// # Context
    ///
    /// Any context inside the body.
    #[doc(alias = "kthread_should_stop")]
    #[inline]
    pub fn should_stop(&self) -> bool {
        self.core.should_stop()
    }

    /// Freezes the thread if the freezer requests it, and returns whether the thread is requested
    /// to stop.
    ///
    /// Sleeping by this context freezes as well; this function is for a body that works for a long
    /// time without sleeping. It does not freeze a thread that is not
    /// [freezable](super::Builder::freezable).
    ///
    /// # Context
    ///
    /// Process context; may sleep. No lock may be held, because suspending may need it.
    #[doc(alias = "kthread_freezable_should_stop")]
    #[doc(alias = "try_to_freeze")]
    pub fn freezable_should_stop(&self) -> bool {
        freeze();
        self.should_stop()
    }

    /// Allows the thread to receive a signal: it ends a sleep with [`Wake::Signal`]. A kernel
    /// thread ignores all other signals.
    ///
    /// # Context
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the number of the signal is out of range, or that of `SIGKILL`, by which
    /// Tether interrupts a thread that uses the memory of a process.
    pub fn allow_signal(&self, signal: u32) -> Result {
        check_signal(signal)?;
        if signal == bindings::SIGKILL {
            return Err(EINVAL);
        }
        // SAFETY: `allow_signal()` requires a kernel thread and a valid signal. The current task is
        // the thread of this context, and the number was tested above.
        unsafe { bindings::allow_signal(signal as c_int) };
        let freezable = self.sleep_state.get() & bindings::TASK_FREEZABLE;
        self.sleep_state
            .set(bindings::TASK_INTERRUPTIBLE | freezable);
        Ok(())
    }

    /// Changes how the thread is scheduled.
    ///
    /// # Context
    ///
    /// Process context; may sleep.
    ///
    /// # Errors
    ///
    /// * [`EINVAL`] if the niceness is out of range;
    /// * those of [`Policy::Deadline`];
    /// * [`EDEADLK`] with interrupts disabled, or with a shadow locked.
    pub fn set_policy(&self, policy: Policy) -> Result {
        // By the type's invariants, the current task is the thread of `core`.
        self.core.policy_lock.change_own(policy)
    }

    /// Sleeps until the thread is woken, or requested to stop or to park. No wake-up is lost: if
    /// the thread was woken since its last sleep, this returns at once.
    ///
    /// Each sleep by this context freezes if the freezer requests it and the thread is
    /// [freezable](super::Builder::freezable).
    ///
    /// # Context
    ///
    /// Process context; sleeps. No lock may be held.
    pub fn sleep(&self) -> Wake<M::Request<'_>> {
        self.sleep_jiffies(&mut { Jiffies::MAX })
    }

    /// Sleeps like [`Context::sleep`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// # Context
    ///
    /// Process context; sleeps. No lock may be held.
    #[doc(alias = "schedule_timeout")]
    pub fn sleep_for(&self, time: Delta) -> Wake<M::Request<'_>> {
        self.sleep_jiffies(&mut as_jiffies(time))
    }

    /// Sleeps until `condition` holds, or the thread is requested to stop or to park.
    ///
    /// The condition is tested first, and then after each wake-up. The task that makes it true must
    /// call [`Thread::wake`](super::Thread::wake) or [`Waker::wake`](super::Waker::wake)
    /// afterwards. The condition may sleep. A request to stop or to park is reported even if the
    /// condition holds.
    /// # Context
    ///
    /// Process context; sleeps. No lock may be held.
    #[doc(alias = "wait_event")]
    pub fn wait_until(&self, condition: impl FnMut() -> bool) -> Wake<M::Request<'_>> {
        self.wait_jiffies(Jiffies::MAX, condition)
    }

    /// Sleeps like [`Context::wait_until`], but for at most `time`, which is rounded up to whole
    /// jiffies.
    ///
    /// When the time has passed, the condition is tested a last time.
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
            // Check the requests first: a condition that always holds must not hide a request to
            // stop, to park or to freeze.
            if let Some(wake) = self.core.requested(M::PARKABLE) {
                return self.answer(wake);
            }
            if condition() {
                return Wake::Woken;
            }
            // Compute the remaining time from `begun`: testing the condition takes time, and a
            // thread that is woken repeatedly does not sleep.
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

    /// Converts the reason why a sleep has ended, and adds the request to park.
    #[inline]
    fn answer(&self, wake: Wake<()>) -> Wake<M::Request<'_>> {
        match wake {
            Wake::Stopped => Wake::Stopped,
            // SAFETY: `request()` requires that the thread has been requested to park, which
            // `Wake::Park` reports.
            Wake::Park(()) => unsafe { M::request(self) }.map_or(Wake::Woken, Wake::Park),
            Wake::Woken => Wake::Woken,
            Wake::Signal(signal) => Wake::Signal(signal),
            Wake::TimedOut => Wake::TimedOut,
        }
    }

    /// Calls `f` in the address space `mm`: accesses to user memory
    /// ([`UserSlice`](crate::uaccess::UserSlice)) in `f` access the memory of `mm`.
    ///
    /// `f` and its result are `Send`, so that no value that belongs to the current task, which has
    /// a different address space inside of `f`, can be passed in or out. References to this context
    /// are not `Send` either, so that `with_mm` cannot be nested.
    ///
    /// Outside of `f`, the thread has no address space, and must not access user memory: the kernel
    /// crate's `UserSlice` does not check this, and accesses the memory of the process that has run
    /// on the same CPU before.
    ///
    /// `mm` is not torn down while this runs: pages of it that `f` accesses are faulted in.
    ///
    /// # Context
    ///
    /// Process context; may sleep, because `f` may sleep.
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
        // SAFETY: `with_mm()` requires a kernel thread that is not inside another call, and that is
        // interrupted after `should_stop()` returns true. The current task is the thread of this
        // context, the context cannot be used inside of `f`, and `request_stop()` interrupts the
        // thread after setting the flag.
        unsafe { with_mm(mm, || self.should_stop(), f) }
    }
}

impl Context<'_, Parkable> {
    /// Returns the request to park, if there is one. For a body that works for a long time without
    /// sleeping.
    ///
    /// # Context
    ///
    /// Process context.
    #[doc(alias = "kthread_should_park")]
    pub fn park_request(&self) -> Option<ParkRequest<'_>> {
        self.core.parking.is_asked().then(|| ParkRequest::new(self))
    }
}

/// Freezes the current kernel thread, if the freezer requests it.
pub(super) fn freeze() {
    // SAFETY: `kthread_freezable_should_stop()` requires a kernel thread that may sleep, and a null
    // or valid pointer. The callers are threads of Tether.
    unsafe { bindings::kthread_freezable_should_stop(ptr::null_mut()) };
}

/// Calls `f` in the address space `mm`.
///
/// If the thread is interrupted, its waits for pages of `mm` end, and accesses fail with
/// [`EFAULT`]. Such a wait could otherwise last for an unlimited time, because another process may
/// withhold a page, for example by `userfaultfd()`.
///
/// # Safety
///
/// The caller must be a kernel thread and must not be inside another call of this function. After
/// `asked` returns true, the thread must be interrupted by [`interrupt()`].
pub(super) unsafe fn with_mm<T: Send>(
    mm: &MmWithUser,
    asked: impl Fn() -> bool,
    f: impl FnOnce() -> T + Send,
) -> T {
    // If `f` panics, the thread exits with this address space, and `exit_mm()` drops a reference to
    // its users. This reference is for that case, in which `users` is not dropped.
    let users = ARef::from(mm);
    // SAFETY: `tether_allow_kill()` requires a kernel thread, which the caller is by the function's
    // contract.
    unsafe { bindings::tether_allow_kill() };
    // SAFETY: `kthread_use_mm()` requires a kernel thread that uses no address space, and an
    // address space with users. Both hold: this call is not nested by the function's contract, and
    // `mm` is borrowed.
    unsafe { bindings::kthread_use_mm(mm.as_raw()) };
    // Pairs with the full barrier of the task that makes the request: it sets the flag first, and
    // `interrupt()` reads `task->mm` second.
    smp_mb(Full);
    if asked() {
        interrupt(crate::current!());
    }
    let result = f();
    // SAFETY: `kthread_unuse_mm()` requires that the thread uses this address space, by the call of
    // `kthread_use_mm()` above.
    unsafe { bindings::kthread_unuse_mm(mm.as_raw()) };
    // SAFETY: `tether_clear_kill()` requires a kernel thread, which the caller is by the function's
    // contract.
    unsafe { bindings::tether_clear_kill() };
    // This is not the last reference, because the caller borrows `mm`.
    drop(users);
    result
}
