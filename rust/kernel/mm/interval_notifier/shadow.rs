// SPDX-License-Identifier: GPL-2.0

//! The lock of an interval notifier, and the value under it.
//!
//! A page may be used while the lock is held if the sequence of the notifier's subscription has not
//! changed since before the page was looked up. Invalidation changes the sequence and the value
//! under the lock. If the task that has the lock invalidates the range itself, the value is changed
//! when the lock is released.
//!
//! The models of this file are in `tests/model/tests/interval.rs`.

use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::Atomic,
        LockClassKey,
        Mutex, //
    },
    task::Task,
    tether::{
        read_once,
        write_once,
        Owner, //
    }, //
};
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr, //
};

/// A range that was invalidated by the task that has the shadow locked.
#[derive(Clone, Copy)]
pub(super) struct Missed {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What is noted about a range, under a lock.
///
/// # Invariants
///
/// * `value` and `missed` are only touched by the task that has `mutex` locked.
/// * `locked_by` is that task while it has a [`Guard`], else null.
#[pin_data]
pub struct Shadow<S> {
    #[pin]
    mutex: Mutex<()>,
    locked_by: Atomic<*mut bindings::task_struct>,
    missed: UnsafeCell<Option<Missed>>,
    /// Invalidates what was missed, and unlocks. In the text of `owner`.
    catch_up: unsafe fn(*const c_void, Missed, Scope),
    /// The module of the notifier, which may be another one than that of the task which has it
    /// locked.
    owner: &'static Owner,
    value: UnsafeCell<S>,
}

// SAFETY: What is under the lock may be used from any thread, one at a time.
unsafe impl<S: Send> Sync for Shadow<S> {}

/// The scope in which the current task has a shadow locked: page faults are disabled
/// (`pagefault_disable()`), and allocations do not reclaim (`memalloc_noreclaim_save()`), as both
/// may invalidate the range, and wait for the lock.
///
/// # Invariants
///
/// `task` is the current task. `flags` is `PF_MEMALLOC` if that was not set before, else zero.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    task: *mut bindings::task_struct,
    flags: u32,
}

impl Scope {
    #[inline(always)]
    fn enter(task: *mut bindings::task_struct) -> Self {
        // SAFETY: The task is the current one. These are only written by the task itself, and both
        // are what the C functions do, which are inline.
        unsafe {
            (*task).pagefault_disabled += 1;
            let flags = !(*task).flags & bindings::PF_MEMALLOC;
            (*task).flags |= flags;
            // INVARIANT: The caller has passed the current task; the flags are those set above.
            Self { task, flags }
        }
    }

    #[inline(always)]
    fn leave(self) {
        // SAFETY: By the type's invariants the task is the current one, and only it writes these.
        unsafe {
            (*self.task).flags &= !self.flags;
            (*self.task).pagefault_disabled -= 1;
        }
    }
}

/// Calls `function`, which is in the text of `owner`, and keeps that text until it has returned. So
/// this must be in text that stays.
///
/// # Safety
///
/// The end of `owner` must wait for the lock of the shadow, and the caller have it. The rest is as
/// `function` says.
#[cold]
#[inline(never)]
unsafe fn catch_up(
    owner: &'static Owner,
    function: unsafe fn(*const c_void, Missed, Scope),
    shadow: *const c_void,
    missed: Missed,
    scope: Scope,
) {
    // SAFETY: By the function's contract the end of the module waits for the caller.
    let entered = unsafe { owner.enter_again() };
    // SAFETY: The requirements are those of this function.
    unsafe { function(shadow, missed, scope) };
    // The module may go from here on.
    drop(entered);
}

impl<S> Shadow<S> {
    pub(super) fn new(
        value: S,
        owner: &'static Owner,
        catch_up: unsafe fn(*const c_void, Missed, Scope),
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            mutex <- Mutex::new((), name, key),
            locked_by: Atomic::new(ptr::null_mut()),
            missed: UnsafeCell::new(None),
            catch_up,
            owner,
            value: UnsafeCell::new(value),
        })
    }

    /// Calls `f` with the shadow locked: recorded pages are not invalidated until `f` returns.
    ///
    /// In `f`, page faults are disabled and allocations do not reclaim; see
    /// [the module](super#what-holds).
    ///
    /// # Context
    ///
    /// Process context; sleeps until the lock is free. Must not be called inside a callback or a
    /// closure that has the same shadow locked: this is a bug of the driver, which is reported by a
    /// panic. The lock then stays locked.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        match self.lock() {
            Some(mut guard) => f(&mut guard),
            None => self.locked_twice(),
        }
    }

    #[cold]
    #[inline(never)]
    fn locked_twice(&self) -> ! {
        // The lock stays locked, as after every panic in a closure: the value may be in the middle
        // of a change, and have pages that the closure has invalidated.
        panic!("the shadow of an interval notifier is locked by this task already");
    }

    /// The kernel's mutex: locked directly, as the kernel crate's guard calls a function to assert
    /// that the lock is held each time that it is used.
    #[inline]
    fn mutex(&self) -> *mut bindings::mutex {
        // A `Mutex<()>` is laid out as what it wraps: `Lock::from_raw` is about that.
        ptr::from_ref(&self.mutex).cast_mut().cast()
    }

    /// Whether the current task has it locked.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(in crate::mm) fn is_locked_by_current(&self) -> bool {
        self.is_locked_by(Task::current_raw())
    }

    /// Whether `task`, which is the current task, has it locked.
    #[inline(always)]
    pub(super) fn is_locked_by(&self, task: *mut bindings::task_struct) -> bool {
        // Only this task stores itself.
        read_once(&self.locked_by) == task
    }

    /// Locks it, unless the current task has it locked.
    #[inline]
    pub(super) fn lock(&self) -> Option<Guard<'_, S>> {
        self.lock_by(Task::current_raw())
    }

    /// As [`Shadow::lock`]; `task` is the current task.
    #[inline(always)]
    pub(super) fn lock_by(&self, task: *mut bindings::task_struct) -> Option<Guard<'_, S>> {
        if self.is_locked_by(task) {
            return None;
        }
        // SAFETY: The mutex is initialised.
        unsafe { bindings::mutex_lock(self.mutex()) };
        Some(self.locked(task))
    }

    #[inline]
    pub(super) fn try_lock(&self) -> Option<Guard<'_, S>> {
        // SAFETY: The mutex is initialised.
        let locked = unsafe { bindings::mutex_trylock(self.mutex()) } != 0;
        locked.then(|| self.locked(Task::current_raw()))
    }

    /// The current task, `task`, has just locked the mutex.
    #[inline(always)]
    fn locked(&self, task: *mut bindings::task_struct) -> Guard<'_, S> {
        write_once(&self.locked_by, task);
        // INVARIANT: It was locked just now, and the task noted.
        Guard {
            shadow: self,
            scope: Scope::enter(task),
        }
    }

    /// Notes that a range was invalidated: it is invalidated in the table when the lock is
    /// released.
    ///
    /// # Safety
    ///
    /// The current task must have it locked.
    #[cold]
    pub(super) unsafe fn miss(&self, start: usize, end: usize) {
        // SAFETY: By the type's invariants, as this task has it locked.
        let missed = unsafe { &mut *self.missed.get() };
        *missed = Some(missed.map_or(Missed { start, end }, |it| Missed {
            start: it.start.min(start),
            end: it.end.max(end),
        }));
    }

    /// Undoes [`Shadow::locked`], and unlocks.
    ///
    /// # Safety
    ///
    /// The current task must have locked it, with `scope`, and not use the value any more.
    #[inline(always)]
    unsafe fn unlock(&self, scope: Scope) {
        scope.leave();
        write_once(&self.locked_by, ptr::null_mut());
        // SAFETY: By the function's contract this task has it locked.
        unsafe { bindings::mutex_unlock(self.mutex()) };
    }
}

/// Has a [`Shadow`] locked.
///
/// # Invariants
///
/// The mutex of the shadow is locked, by the task that has this, with `scope`.
pub(in crate::mm) struct Guard<'a, S> {
    shadow: &'a Shadow<S>,
    scope: Scope,
}

impl<'a, S> Guard<'a, S> {
    /// The guard of a shadow that this task has locked.
    ///
    /// # Safety
    ///
    /// The current task must have locked `shadow` with `scope`, and leave the lock to the guard.
    pub(super) unsafe fn of(shadow: &'a Shadow<S>, scope: Scope) -> Self {
        // INVARIANT: By the function's contract.
        Self { shadow, scope }
    }

    /// Takes the range that was invalidated by the task that has the lock, if there is one.
    pub(super) fn take_missed(&mut self) -> Option<Missed> {
        // SAFETY: By the type's invariants the mutex is locked by this task.
        unsafe { (*self.shadow.missed.get()).take() }
    }

    /// Records that an invalidation has begun: `mmu_interval_set_seq()`, which is inline.
    /// `subscription` is the sequence of the subscription that the shadow is of. Others read it
    /// without the lock.
    #[inline(always)]
    pub(super) fn set_sequence(&self, subscription: &Atomic<usize>, sequence: usize) {
        write_once(subscription, sequence);
    }

    /// Whether nothing was invalidated since `mmu_interval_read_begin()` has returned `sequence`:
    /// `mmu_interval_read_retry()`, which is inline. It stays so while the lock is held.
    #[inline(always)]
    pub(super) fn is_quiet(&self, subscription: &Atomic<usize>, sequence: usize) -> bool {
        read_once(subscription) == sequence
    }
}

impl<S> Deref for Guard<'_, S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        // SAFETY: By the type's invariants.
        unsafe { &*self.shadow.value.get() }
    }
}

impl<S> DerefMut for Guard<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: By the type's invariants.
        unsafe { &mut *self.shadow.value.get() }
    }
}

impl<S> Drop for Guard<'_, S> {
    #[inline]
    fn drop(&mut self) {
        let shadow = self.shadow;
        let Some(missed) = self.take_missed() else {
            // SAFETY: By the type's invariants this task has locked it with this scope, and the
            // guard is not used any more.
            return unsafe { shadow.unlock(self.scope) };
        };
        // SAFETY: By the type's invariants this task has locked it with this scope, and the guard
        // is not used any more. Only the shadow of an `Inner` misses a range. The notifier was
        // called since the lock was taken, and its removal waits for the lock afterwards, so that
        // the end of the owner waits for this.
        unsafe {
            catch_up(
                shadow.owner,
                shadow.catch_up,
                ptr::from_ref(shadow).cast(),
                missed,
                self.scope,
            );
        }
    }
}
