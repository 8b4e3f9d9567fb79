// SPDX-License-Identifier: GPL-2.0

//! The shadow of an interval notifier: a value and its lock.
//!
//! A page may be used while the lock is held if the sequence of the notifier's subscription has not
//! changed since before the page was looked up. Invalidation changes the sequence and the value
//! with the lock held. If the task that holds the lock invalidates the range itself, the value is
//! changed when the lock is released.
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
        in_task,
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

/// The driver's record of a range, under a lock.
///
/// # Invariants
///
/// * Only the task that has `mutex` locked accesses `value` and `missed`.
/// * `locked_by` is that task while it has a `Guard`, otherwise null.
#[pin_data]
pub struct Shadow<S> {
    #[pin]
    mutex: Mutex<()>,
    locked_by: Atomic<*mut bindings::task_struct>,
    missed: UnsafeCell<Option<Missed>>,
    /// Invalidates a missed range, and unlocks. This function is in the text of `owner`.
    catch_up: unsafe fn(*const c_void, Missed, Scope),
    /// The module of the notifier. Another module may have the shadow locked.
    owner: &'static Owner,
    value: UnsafeCell<S>,
}

// SAFETY: The lock gives one thread at a time access to the value, which is `Send`.
unsafe impl<S: Send> Sync for Shadow<S> {}

/// The scope in which the current task has a shadow locked.
///
/// Page faults are disabled (`pagefault_disable()`), and allocations do not reclaim
/// (`memalloc_noreclaim_save()`), because both may invalidate the range, and wait for the lock.
///
/// # Invariants
///
/// `task` is the current task. `flags` is `PF_MEMALLOC` if the flag was not set before the scope,
/// otherwise zero.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    task: *mut bindings::task_struct,
    flags: u32,
}

impl Scope {
    #[inline(always)]
    fn enter(task: *mut bindings::task_struct) -> Self {
        // The C functions are inline; these are the same operations.
        //
        // SAFETY: `task` is the current task, and only the task itself writes these fields.
        unsafe {
            (*task).pagefault_disabled += 1;
            let flags = !(*task).flags & bindings::PF_MEMALLOC;
            (*task).flags |= flags;
            // INVARIANT: The caller has passed the current task, and `flags` are those set above.
            Self { task, flags }
        }
    }

    #[inline(always)]
    fn leave(self) {
        // SAFETY: By the type's invariants, `task` is the current task, and only the task itself
        // writes these fields.
        unsafe {
            (*self.task).flags &= !self.flags;
            (*self.task).pagefault_disabled -= 1;
        }
    }
}

/// Calls `function`, which is in the text of `owner`, and keeps that text mapped until `function`
/// has returned.
///
/// This function must not be copied into another module, because the text of `owner` may be
/// unmapped before it returns.
///
/// # Safety
///
/// The caller must hold the lock of the shadow, and the teardown of `owner` must wait for that
/// lock. The requirements of `function` must be met.
#[cold]
#[inline(never)]
unsafe fn catch_up(
    owner: &'static Owner,
    function: unsafe fn(*const c_void, Missed, Scope),
    shadow: *const c_void,
    missed: Missed,
    scope: Scope,
) {
    // SAFETY: The caller guarantees that it holds the lock of the shadow, and that the teardown of
    // the module waits for that lock.
    let entered = unsafe { owner.enter_again() };
    // SAFETY: The caller guarantees that the requirements of `function` are met.
    unsafe { function(shadow, missed, scope) };
    // The module may be unloaded from here on.
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
    /// [the module](super#guarantees).
    ///
    /// # Context
    ///
    /// Process context; sleeps until the lock is free. Must not be called in a callback or a
    /// closure that has the same shadow locked, or in an interrupt: such a call is a bug of the
    /// driver, and panics. In a closure, the shadow then stays locked.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        if !in_task() {
            self.in_interrupt();
        }
        match self.lock() {
            Some(mut guard) => f(&mut guard),
            None => self.locked_twice(),
        }
    }

    #[cold]
    #[inline(never)]
    fn in_interrupt(&self) -> ! {
        panic!("the shadow of an interval notifier is locked in an interrupt");
    }

    #[cold]
    #[inline(never)]
    fn locked_twice(&self) -> ! {
        // The shadow stays locked, as after every panic in a closure: the value may be
        // inconsistent, and may have pages that the closure has invalidated.
        panic!("the shadow of an interval notifier is locked by this task already");
    }

    /// Returns the kernel's mutex.
    ///
    /// It is locked directly, because the guard of the kernel crate calls a function at each use to
    /// assert that the lock is held.
    #[inline]
    fn mutex(&self) -> *mut bindings::mutex {
        // A `Mutex<()>` has the layout of the `struct mutex` in it, as `Lock::from_raw()` requires.
        ptr::from_ref(&self.mutex).cast_mut().cast()
    }

    /// Returns whether the current task has the shadow locked.
    #[cfg(CONFIG_HMM_MIRROR)]
    pub(in crate::mm) fn is_locked_by_current(&self) -> bool {
        self.is_locked_by(Task::current_raw())
    }

    /// Returns whether `task`, which is the current task, has the shadow locked.
    #[inline(always)]
    pub(super) fn is_locked_by(&self, task: *mut bindings::task_struct) -> bool {
        // Only the current task stores its own address, so the result cannot change meanwhile.
        read_once(&self.locked_by) == task
    }

    /// Locks the shadow, unless the current task has it locked.
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
        // SAFETY: `new()` has initialised the mutex, and the current task does not hold the mutex,
        // as was checked above.
        unsafe { bindings::mutex_lock(self.mutex()) };
        Some(self.locked(task))
    }

    #[inline]
    pub(super) fn try_lock(&self) -> Option<Guard<'_, S>> {
        // SAFETY: `new()` has initialised the mutex.
        let locked = unsafe { bindings::mutex_trylock(self.mutex()) } != 0;
        locked.then(|| self.locked(Task::current_raw()))
    }

    /// Returns a guard, after the current task, which is `task`, has locked the mutex.
    #[inline(always)]
    fn locked(&self, task: *mut bindings::task_struct) -> Guard<'_, S> {
        write_once(&self.locked_by, task);
        // INVARIANT: The caller has locked the mutex, `locked_by` was set above, and the scope is
        // entered here.
        Guard {
            shadow: self,
            scope: Scope::enter(task),
        }
    }

    /// Records a range to be invalidated in the shadow when the lock is released.
    ///
    /// # Safety
    ///
    /// The current task must have the shadow locked.
    #[cold]
    pub(super) unsafe fn miss(&self, start: usize, end: usize) {
        // SAFETY: The caller guarantees that the current task has the shadow locked, and by the
        // type's invariants only that task accesses `missed`.
        let missed = unsafe { &mut *self.missed.get() };
        *missed = Some(missed.map_or(Missed { start, end }, |it| Missed {
            start: it.start.min(start),
            end: it.end.max(end),
        }));
    }

    /// Undoes [`Shadow::locked`], and unlocks the shadow.
    ///
    /// # Safety
    ///
    /// The current task must have locked the shadow, with `scope`, and must not use the value any
    /// more.
    #[inline(always)]
    unsafe fn unlock(&self, scope: Scope) {
        scope.leave();
        write_once(&self.locked_by, ptr::null_mut());
        // SAFETY: The caller guarantees that the current task has locked the mutex.
        unsafe { bindings::mutex_unlock(self.mutex()) };
    }
}

/// A guard of a locked [`Shadow`].
///
/// # Invariants
///
/// The task that owns the guard has locked the mutex of the shadow, with `scope`.
pub(in crate::mm) struct Guard<'a, S> {
    shadow: &'a Shadow<S>,
    scope: Scope,
}

impl<'a, S> Guard<'a, S> {
    /// Creates the guard of a shadow that the current task has locked.
    ///
    /// # Safety
    ///
    /// The current task must have locked `shadow` with `scope`, and must leave the unlocking to the
    /// guard.
    pub(super) unsafe fn of(shadow: &'a Shadow<S>, scope: Scope) -> Self {
        // INVARIANT: The caller guarantees that the current task has locked the shadow with
        // `scope`.
        Self { shadow, scope }
    }

    /// Takes the range that the owner of the guard has invalidated, if there is such a range.
    pub(super) fn take_missed(&mut self) -> Option<Missed> {
        // SAFETY: By the type's invariants, this task has the mutex locked, so only this task
        // accesses `missed`.
        unsafe { (*self.shadow.missed.get()).take() }
    }

    /// Records that an invalidation has begun, as the inline `mmu_interval_set_seq()` does.
    ///
    /// `subscription` is the sequence of the shadow's subscription. Other tasks read it without the
    /// lock.
    #[inline(always)]
    pub(super) fn set_sequence(&self, subscription: &Atomic<usize>, sequence: usize) {
        write_once(subscription, sequence);
    }

    /// Returns whether nothing was invalidated since `mmu_interval_read_begin()` has returned
    /// `sequence`, as the negation of the inline `mmu_interval_read_retry()`.
    ///
    /// The result does not change while the lock is held.
    #[inline(always)]
    pub(super) fn is_quiet(&self, subscription: &Atomic<usize>, sequence: usize) -> bool {
        read_once(subscription) == sequence
    }
}

impl<S> Deref for Guard<'_, S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        // SAFETY: By the type's invariants, this task has the mutex locked, so only this task
        // accesses `value`.
        unsafe { &*self.shadow.value.get() }
    }
}

impl<S> DerefMut for Guard<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: By the type's invariants, this task has the mutex locked, so only this task
        // accesses `value`.
        unsafe { &mut *self.shadow.value.get() }
    }
}

impl<S> Drop for Guard<'_, S> {
    #[inline]
    fn drop(&mut self) {
        let shadow = self.shadow;
        let Some(missed) = self.take_missed() else {
            // SAFETY: By the type's invariants, this task has locked the shadow with this scope.
            // The guard is not used any more.
            return unsafe { shadow.unlock(self.scope) };
        };
        // SAFETY: By the type's invariants, this task has locked the shadow with this scope. The
        // guard is not used any more. Only the shadow of an `Inner` misses a range, as `catch_up`
        // requires. The notifier was called after the lock was taken, so it was not removed then.
        // Its removal waits for the lock, and the teardown of the owner waits for its removal.
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
