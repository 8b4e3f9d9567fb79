// SPDX-License-Identifier: GPL-2.0

//! A stand-in for `kernel::sync::atomic`, based on the atomics of `loom`.

use loom::sync::atomic::{
    fence,
    AtomicUsize,
    Ordering, //
};
use std::marker::PhantomData;

/// A value that an [`Atomic`] can hold.
pub trait Value: Copy {
    /// Converts the value to a word.
    fn to_word(self) -> usize;
    /// Converts a word to the value.
    fn from_word(word: usize) -> Self;
}

impl Value for u32 {
    fn to_word(self) -> usize {
        self as usize
    }
    fn from_word(word: usize) -> Self {
        word as u32
    }
}

impl Value for usize {
    fn to_word(self) -> usize {
        self
    }
    fn from_word(word: usize) -> Self {
        word
    }
}

impl Value for u64 {
    fn to_word(self) -> usize {
        self as usize
    }
    fn from_word(word: usize) -> Self {
        word as u64
    }
}

impl Value for i32 {
    fn to_word(self) -> usize {
        self as usize
    }
    fn from_word(word: usize) -> Self {
        word as i32
    }
}

impl Value for isize {
    fn to_word(self) -> usize {
        self as usize
    }
    fn from_word(word: usize) -> Self {
        word as isize
    }
}

impl<T> Value for *mut T {
    fn to_word(self) -> usize {
        self as usize
    }
    fn from_word(word: usize) -> Self {
        word as *mut T
    }
}

impl<T> Value for *const T {
    fn to_word(self) -> usize {
        self as usize
    }
    fn from_word(word: usize) -> Self {
        word as *const T
    }
}

impl Value for bool {
    fn to_word(self) -> usize {
        self.into()
    }
    fn from_word(word: usize) -> Self {
        word != 0
    }
}

/// A memory ordering.
pub trait Order {
    /// The ordering of a load.
    const LOAD: Ordering;
    /// The ordering of a store.
    const STORE: Ordering;
    /// The ordering of a read-modify-write operation.
    const BOTH: Ordering;
    /// Whether the operation has a fence before and after it.
    const FENCED: bool = false;
}

macro_rules! orders {
    ($($(#[$doc:meta])* $name:ident $load:ident $store:ident $both:ident $fenced:literal;)*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Order for $name {
            const LOAD: Ordering = Ordering::$load;
            const STORE: Ordering = Ordering::$store;
            const BOTH: Ordering = Ordering::$both;
            const FENCED: bool = $fenced;
        }
    )*};
}

orders! {
    /// As in the kernel crate.
    Relaxed Relaxed Relaxed Relaxed false;
    /// As in the kernel crate.
    Acquire Acquire Relaxed Acquire false;
    /// As in the kernel crate.
    Release Relaxed Release Release false;
    /// As in the kernel crate.
    Full Acquire Release AcqRel true;
}

/// As in the kernel crate.
///
/// To find alternative orders, `loom` considers only the last access to an object, and a load is no
/// reason for it to try another order: after a load and a `cmpxchg` by one thread, `loom` does not
/// explore an earlier load by another thread. Hence each access is preceded by a store to a second
/// object, which is never read.
pub struct Atomic<T>(AtomicUsize, AtomicUsize, PhantomData<T>);

impl<T: Value> Atomic<T> {
    /// As in the kernel crate.
    pub fn new(value: T) -> Self {
        Self(
            AtomicUsize::new(value.to_word()),
            AtomicUsize::new(0),
            PhantomData,
        )
    }

    fn announce(&self) {
        self.1.store(0, Ordering::Relaxed);
    }

    fn fenced<O: Order, R>(&self, operation: impl FnOnce(&AtomicUsize) -> R) -> R {
        self.announce();
        if O::FENCED {
            fence(Ordering::SeqCst);
        }
        let result = operation(&self.0);
        if O::FENCED {
            fence(Ordering::SeqCst);
        }
        result
    }

    /// As in the kernel crate.
    pub fn load<O: Order>(&self, _: O) -> T {
        self.announce();
        T::from_word(self.0.load(O::LOAD))
    }

    /// As in the kernel crate.
    pub fn store<O: Order>(&self, value: T, _: O) {
        self.announce();
        self.0.store(value.to_word(), O::STORE);
    }

    /// As in the kernel crate.
    pub fn xchg<O: Order>(&self, value: T, _: O) -> T {
        self.fenced::<O, _>(|word| T::from_word(word.swap(value.to_word(), O::BOTH)))
    }

    /// As in the kernel crate.
    pub fn fetch_add<O: Order>(&self, value: T, _: O) -> T {
        self.fenced::<O, _>(|word| T::from_word(word.fetch_add(value.to_word(), O::BOTH)))
    }

    /// As in the kernel crate.
    pub fn fetch_sub<O: Order>(&self, value: T, _: O) -> T {
        self.fenced::<O, _>(|word| T::from_word(word.fetch_sub(value.to_word(), O::BOTH)))
    }

    /// As in the kernel crate. Only functions of the model dereference the pointer.
    pub fn as_ptr(&self) -> *mut Self {
        core::ptr::from_ref(self).cast_mut()
    }

    /// As in the kernel crate: a failed operation has no ordering.
    pub fn cmpxchg<O: Order>(&self, old: T, new: T, _: O) -> Result<T, T> {
        self.announce();
        if O::FENCED {
            fence(Ordering::SeqCst);
        }
        let result =
            self.0
                .compare_exchange(old.to_word(), new.to_word(), O::BOTH, Ordering::Relaxed);
        if O::FENCED && result.is_ok() {
            fence(Ordering::SeqCst);
        }
        result.map(T::from_word).map_err(T::from_word)
    }
}
