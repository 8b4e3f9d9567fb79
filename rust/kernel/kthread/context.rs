// SPDX-License-Identifier: GPL-2.0

//! The context of a body: sleeping, freezing, signals, and the address space of a process.

use super::{
    thread_core::Core,
    Mode,
    ParkRequest,
    Parkable,
    Plain,
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
    task::Task,
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
/// It cannot leave the thread.
///
/// # Invariants
///
/// It is only reachable in the thread of `core`, while the body runs.
pub struct Context<'a, M: Mode = Plain> {
    pub(super) core: &'a Core,
    /// In which state it sleeps.
    sleep_state: Cell<c_uint>,
    _mode: PhantomData<M>,
    _not_send: NotThreadSafe,
}

impl<'a, M: Mode> Context<'a, M> {
    /// Creates the context of a body.
    ///
    /// # Safety
    ///
    /// Must be called in the thread of `core`, and the value must only be lent to the body.
    #[inline]
    pub(super) unsafe fn new(core: &'a Core) -> Self {
        let freezable = if core.freezable {
            bindings::TASK_FREEZABLE
        } else {
            0
        };
        // INVARIANT: The current task is the thread of `core`, which runs the body, by the
        // function's contract.
        Self {
            core,
            // A request to stop ends each interruptible sleep at once from then on. Signals are
            // ignored until the body allows one.
            sleep_state: Cell::new(bindings::TASK_IDLE | freezable),
            _mode: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
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
pub(super) fn freeze() {
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
pub(super) unsafe fn with_mm<T: Send>(
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
