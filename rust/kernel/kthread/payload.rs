// SPDX-License-Identifier: GPL-2.0

//! The body and the result of a thread.

use super::{
    thread_core::{
        Core,
        BODY,
        EMPTY,
        RESULT, //
    },
    Context,
    Exit,
    Mode, //
};
use crate::{
    sync::atomic::{
        Full,
        Release, //
    },
    tether::{
        write_once,
        What, //
    }, //
};
use core::{
    any::type_name,
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// What a handle knows of a thread.
#[repr(C)]
struct WithResult<R> {
    core: Core,
    result: UnsafeCell<MaybeUninit<R>>,
}

/// A thread: shared by its handle, the thread itself, and its owner's list.
#[repr(C)]
pub(super) struct Inner<F, R, M> {
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
    pub(super) const WHAT: &'static What = &What {
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
    pub(super) unsafe fn put_body(core: NonNull<Core>, body: F) {
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
    pub(super) unsafe fn take_body(core: NonNull<Core>) -> Option<F> {
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
    pub(super) unsafe fn run(core: NonNull<Core>) {
        // SAFETY: By the function's contract `core` is that of an `Inner<F, R, M>`.
        let Some(body) = (unsafe { Self::take_body(core) }) else {
            return;
        };
        // SAFETY: By the function's contract; `core` is at the beginning.
        let this = unsafe { core.cast::<WithResult<R>>().as_ref() };
        // SAFETY: This is the thread of the core. The body borrows the context, which is not
        // `Send`.
        let context = unsafe { Context::new(&this.core) };
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
    pub(super) unsafe fn discard(core: NonNull<Core>) {
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
pub(super) unsafe fn take_result<R>(core: NonNull<Core>) -> Exit<R> {
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
