// SPDX-License-Identifier: GPL-2.0

//! [`Inner`]: the memory of a thread, which consists of its [`Core`], its body and its result.

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
        AttachmentOps, //
    }, //
};
use core::{
    any::type_name,
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// The part of a thread that its handle can access.
#[repr(C)]
struct WithResult<R> {
    core: Core,
    result: UnsafeCell<MaybeUninit<R>>,
}

/// The memory of a thread, which is shared by its handle, the thread itself and its owner's list.
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
    pub(super) const ATTACHMENT_OPS: &'static AttachmentOps = &AttachmentOps {
        kind: "thread",
        name: type_name::<F>,
        request: Some(Core::request_end),
        end: Core::end,
        discard: Some(Core::discard_ended),
        release: Some(Core::release),
    };

    /// Stores the body in memory that [`Settings::new_core`] has allocated.
    ///
    /// # Safety
    ///
    /// `core` must be the core of memory allocated for an `Inner<F, R, M>`, and must not be shared
    /// yet.
    pub(super) unsafe fn put_body(core: NonNull<Core>, body: F) {
        let this = core.as_ptr().cast::<Self>();
        // SAFETY: By the function's contract the memory is large enough for an `Inner<F, R, M>`,
        // and no other task uses it, so that `body` is valid for writes.
        unsafe { (&raw mut (*this).body).cast::<F>().write(body) };
        // INVARIANT: The body was stored above.
        //
        // SAFETY: By the function's contract `core` is valid; `new_core()` has initialised it.
        write_once(unsafe { &core.as_ref().payload }, BODY);
    }

    /// Takes the body, if there is a body.
    ///
    /// # Safety
    ///
    /// `core` must be that of an `Inner<F, R, M>`.
    pub(super) unsafe fn take_body(core: NonNull<Core>) -> Option<F> {
        // SAFETY: By the function's contract `core` is at the beginning of a valid `Inner<F, R,
        // M>`.
        let this = unsafe { core.cast::<Self>().as_ref() };
        this.known.core.payload.cmpxchg(BODY, EMPTY, Full).ok()?;
        // SAFETY: `assume_init_read()` requires an initialised value that is not read again.
        // `payload` was `BODY`, so there is a body, and it is ours because we have changed
        // `payload` to `EMPTY`.
        Some(unsafe { (*this.body.get()).assume_init_read() })
    }

    /// Calls the body.
    ///
    /// # Safety
    ///
    /// Must be called once, in the thread, with the `core` of an `Inner<F, R, M>`.
    pub(super) unsafe fn run(core: NonNull<Core>) {
        // SAFETY: `take_body()` requires the core of an `Inner<F, R, M>`, which `core` is by the
        // function's contract.
        let Some(body) = (unsafe { Self::take_body(core) }) else {
            return;
        };
        // SAFETY: By the function's contract `core` is at the beginning of a valid `Inner<F, R,
        // M>`, which begins with a `WithResult<R>`.
        let this = unsafe { core.cast::<WithResult<R>>().as_ref() };
        // SAFETY: `Context::new()` requires the thread of the core, and that the context is only
        // lent to the body. This is that thread, and the body borrows the context, which is not
        // `Send`.
        let context = unsafe { Context::new(&this.core) };
        let result = body(&context);
        // SAFETY: `payload` is `EMPTY`, so that no other task accesses `result`.
        unsafe { (*this.result.get()).write(result) };
        // INVARIANT: The result was stored above, and this is the thread, which has taken the body.
        this.core.payload.store(RESULT, Release);
    }

    /// Drops the body or the result, if the payload is not empty.
    ///
    /// # Safety
    ///
    /// `core` must be that of an `Inner<F, R, M>`. The thread must have ended, or this is the
    /// thread, after its body has returned.
    pub(super) unsafe fn discard(core: NonNull<Core>) {
        // SAFETY: `take_body()` requires the core of an `Inner<F, R, M>`, which `core` is by the
        // function's contract.
        drop(unsafe { Self::take_body(core) });
        // SAFETY: `take_result()` requires the core of a `WithResult<R>`. By the function's
        // contract `core` is that of an `Inner<F, R, M>`, which begins with one.
        drop(unsafe { take_result::<R>(core) });
    }
}

/// Takes the result of a thread, if there is a result.
///
/// # Safety
///
/// `core` must be that of a [`WithResult<R>`].
pub(super) unsafe fn take_result<R>(core: NonNull<Core>) -> Exit<R> {
    // SAFETY: By the function's contract `core` is at the beginning of a valid `WithResult<R>`.
    let this = unsafe { core.cast::<WithResult<R>>().as_ref() };
    if this.core.payload.cmpxchg(RESULT, EMPTY, Full).is_err() {
        return if this.core.start.has_begun() {
            Exit::Died
        } else {
            Exit::NeverRan
        };
    }
    // SAFETY: `assume_init_read()` requires an initialised value that is not read again. `payload`
    // was `RESULT`, so there is a result, and it is ours because we have changed `payload` to
    // `EMPTY`.
    Exit::Returned(unsafe { (*this.result.get()).assume_init_read() })
}
