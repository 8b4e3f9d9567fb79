// SPDX-License-Identifier: GPL-2.0

//! Stand-ins for the locks and the condition variable of `kernel::sync`, based on those of `loom`.

use crate::{
    bindings,
    prelude::*, //
};
use loom::sync::{
    Condvar,
    Mutex as LoomMutex,
    MutexGuard, //
};
use std::{
    cell::RefCell,
    collections::HashMap,
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

/// As in the kernel crate.
pub struct SpinLock<T>(LoomMutex<T>);

/// The guard of a [`SpinLock`].
pub struct Guard<'a, T>(Option<MutexGuard<'a, T>>);

impl<T> SpinLock<T> {
    /// Creates a lock that protects `value`.
    pub fn new(value: T) -> impl PinInit<Self> {
        Init(move |slot: *mut Self| {
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { slot.write(Self(LoomMutex::new(value))) };
        })
    }

    /// As in the kernel crate.
    pub fn lock(&self) -> Guard<'_, T> {
        Guard(Some(self.0.lock().unwrap()))
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("the lock is held")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("the lock is held")
    }
}

/// As in the kernel crate.
#[macro_export]
macro_rules! new_spinlock {
    ($value:expr, $name:literal) => {
        $crate::sync::SpinLock::new($value)
    };
}

/// As in the kernel crate: has the layout of the C mutex, which Tether locks directly.
#[repr(transparent)]
pub struct Mutex<T>(bindings::mutex, PhantomData<T>);

/// As in the kernel crate, but without lockdep.
pub struct LockClassKey;

impl LockClassKey {
    /// Returns a key.
    pub fn pinned() -> Pin<&'static Self> {
        Pin::static_ref(&LockClassKey)
    }
}

impl Mutex<()> {
    /// As in the kernel crate.
    pub fn new(
        _value: (),
        _name: &'static core::ffi::CStr,
        _key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        Init(|slot: *mut Self| {
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { slot.write(Self(bindings::mutex::default(), PhantomData)) };
        })
    }
}

/// As in the kernel crate.
pub struct CondVar(Condvar);

impl CondVar {
    /// Creates a condition variable without waiters.
    pub fn new() -> impl PinInit<Self> {
        Init(|slot: *mut Self| {
            // SAFETY: The caller of `init()` guarantees that the slot is valid for writes.
            unsafe { slot.write(Self(Condvar::new())) };
        })
    }

    /// As in the kernel crate.
    pub fn wait<T>(&self, guard: &mut Guard<'_, T>) {
        let held = guard.0.take().expect("the lock is held");
        guard.0 = Some(self.0.wait(held).unwrap());
    }

    /// As in the kernel crate.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As in the kernel crate.
#[macro_export]
macro_rules! new_condvar {
    ($name:literal) => {
        $crate::sync::CondVar::new()
    };
}

thread_local! {
    /// The value of each [`SetOnce`], by address. `loom` runs all threads of a model in one thread.
    static VALUES: RefCell<HashMap<usize, *const ()>> = RefCell::default();
}

/// As in the kernel crate, but set once per execution of a model.
pub struct SetOnce<T>(PhantomData<fn() -> T>, u8);

impl<T> SetOnce<T> {
    /// As in the kernel crate.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(PhantomData, 0)
    }

    fn address(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// As in the kernel crate. The value of the previous execution is leaked, because objects of
    /// `loom` are not valid in the next execution.
    pub fn populate(&self, value: T) -> bool {
        let value: *const T = Box::into_raw(Box::new(value));
        VALUES.with(|values| values.borrow_mut().insert(self.address(), value.cast()));
        true
    }

    /// As in the kernel crate.
    pub fn as_ref(&self) -> Option<&T> {
        let value = VALUES.with(|values| values.borrow().get(&self.address()).copied());
        // SAFETY: `populate()` leaks each value, so the pointer stays valid.
        value.map(|value| unsafe { &*value.cast::<T>() })
    }
}
