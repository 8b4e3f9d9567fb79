// SPDX-License-Identifier: GPL-2.0

//! The part of a registration that does not depend on its type: its references and its removal.

use super::{
    removal::Removal,
    Space,
    SpaceRef, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    tether::{
        may_sleep,
        read_once,
        Attachment,
        Entered,
        Owner,
        What, //
    },
    types::Opaque, //
};
use core::{
    cell::UnsafeCell,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// How a registration is removed from the kernel and freed; a constant of its type.
pub(in crate::mm) struct Kind {
    /// Removes it, and sets [`Head::set_ended`]: the kernel does not call it any more when this has
    /// returned. Waits for running callbacks. Called once.
    pub(in crate::mm) remove: unsafe fn(NonNull<Head>),
    /// Drops the notifier, and frees the memory. Called once, after `remove`.
    pub(in crate::mm) free: unsafe fn(NonNull<Head>),
}

/// The part of a registration that does not depend on its type.
///
/// # Invariants
///
/// * It is at the beginning of what `kind` is for, in memory of its own that `kind.free` frees.
/// * `refs` counts the handle, and the list of its owner while the registration is attached. The
///   task that drops the last reference, or takes the attachment off the list of its owner, frees
///   the head.
/// * `next`, `deferred`, `entered` and `removal` are written by the task that drops the handle,
///   before the head is on the list of its space, and read by the work item of that space.
/// * If `deferred` is set, the handle's reference is not dropped yet, and belongs to the work item.
/// * `space` is set until the memory is freed.
#[pin_data]
#[repr(C)]
pub(in crate::mm) struct Head {
    #[pin]
    attachment: Attachment,
    /// A constant of the module that has made the registration or, if it has ended, of the module
    /// that has dropped the last handle.
    kind: UnsafeCell<&'static Kind>,
    space: UnsafeCell<Option<SpaceRef>>,
    refs: Atomic<u32>,
    ended: Atomic<bool>,
    next: UnsafeCell<*const Head>,
    /// The kind as the dropping module has it, if the handle was dropped where the lock of the
    /// owner's list could not be taken.
    deferred: UnsafeCell<Option<&'static Kind>>,
    entered: UnsafeCell<Option<Entered>>,
    removal: UnsafeCell<Option<Arc<Removal>>>,
}

impl Head {
    /// The `release` and `end` of [`What`], for all registrations.
    pub(in crate::mm) const fn what(kind: &'static str, name: fn() -> &'static str) -> What {
        What {
            kind,
            name,
            request: None,
            end: Self::end,
            discard: None,
            release: Some(Self::release),
        }
    }

    /// Creates the head of a registration that is not registered.
    #[inline]
    pub(in crate::mm) fn new(
        owner: &'static Owner,
        what: &'static What,
        kind: &'static Kind,
        space: SpaceRef,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            attachment <- Attachment::new(owner, what),
            kind: UnsafeCell::new(kind),
            space: UnsafeCell::new(Some(space)),
            refs: Atomic::new(2),
            ended: Atomic::new(false),
            next: UnsafeCell::new(ptr::null()),
            deferred: UnsafeCell::new(None),
            entered: UnsafeCell::new(None),
            removal: UnsafeCell::new(None),
        })
    }

    pub(in crate::mm) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// The address space that it is registered on.
    #[inline]
    pub(in crate::mm) fn space(&self) -> &SpaceRef {
        // SAFETY: By the type's invariants it is set, and does not change, until it is freed.
        match unsafe { &*self.space.get() } {
            Some(space) => space,
            None => unreachable!(),
        }
    }

    /// Whether it was removed, or is being removed.
    #[inline]
    pub(in crate::mm) fn is_ended(&self) -> bool {
        read_once(&self.ended)
    }

    /// Notes that it is being removed.
    pub(in crate::mm) fn set_ended(&self) {
        self.ended.store(true, Release);
    }

    /// Drops the handle: the registration is removed and freed later.
    ///
    /// # Context
    ///
    /// Any; does not sleep.
    ///
    /// # Safety
    ///
    /// The registration must have been attached. The caller owns the handle's reference, and must
    /// not use the head again.
    #[inline]
    pub(in crate::mm) unsafe fn drop_handle(&self, kind: &'static Kind) {
        // SAFETY: The requirements are those of this function.
        unsafe { self.drop_handle_with(kind, None) };
    }

    /// Drops the handle, and waits until the registration was removed and freed.
    ///
    /// # Errors
    ///
    /// * [`ENODEV`] if the end of its module has removed it;
    /// * [`EINTR`] if the task is being killed, or asked to stop; [`EBUSY`] after ten seconds;
    ///   [`ENOMEM`]. The registration is then removed and freed later;
    /// * [`EDEADLK`] where the caller may not sleep. The registration is then removed and freed
    ///   later.
    ///
    /// # Safety
    ///
    /// As for [`Head::drop_handle`].
    pub(in crate::mm) unsafe fn unregister(&self, kind: &'static Kind) -> Result {
        if !may_sleep() {
            // SAFETY: The requirements are those of this function.
            unsafe { self.drop_handle(kind) };
            return Err(EDEADLK);
        }
        let removal = match Removal::new() {
            Ok(removal) => removal,
            Err(error) => {
                // SAFETY: The requirements are those of this function.
                unsafe { self.drop_handle(kind) };
                return Err(error);
            }
        };
        // SAFETY: The requirements are those of this function.
        if unsafe { self.drop_handle_with(kind, Some(removal.clone())) } {
            removal.wait()
        } else {
            Err(ENODEV)
        }
    }

    /// Returns whether it is removed by this, and not by the end of its module.
    ///
    /// # Safety
    ///
    /// As for [`Head::drop_handle`].
    #[inline(never)]
    unsafe fn drop_handle_with(&self, kind: &'static Kind, removal: Option<Arc<Removal>>) -> bool {
        if !may_sleep() {
            // The interrupted task may hold the lock of the owner's list: the work item takes it.
            //
            // SAFETY: The handle is dropped, and the head is not on the list of its space yet, so
            // that only this task touches the field. The handle's reference is given to the work
            // item. The code that drops the handle is the module's of `kind`, and the end of that
            // module waits for this code.
            unsafe {
                *self.deferred.get() = Some(kind);
                self.bury(Self::enter_for(kind), removal);
            }
            return false;
        }
        let detached = self.attachment.try_detach();
        let ours = detached.is_some();
        let entered = match detached {
            Some(entered) => entered,
            None => {
                if self.refs.fetch_sub(1u32, Full) != 1 {
                    // The end of the module has the other reference, and frees it.
                    return false;
                }
                // The module that has made it may be gone. The caller's module has the same
                // functions, in its own text.
                //
                // SAFETY: There is no other reference, so that only this task uses the field.
                unsafe { *self.kind.get() = kind };
                // SAFETY: The code that drops the handle is that module's, and its end waits for
                // this code.
                unsafe { Self::enter_for(kind) }
            }
        };
        // SAFETY: The handle is dropped, and its reference is the work item's from here on.
        unsafe { self.bury(entered, removal) };
        ours
    }

    /// Keeps the text of the module that `kind` belongs to.
    ///
    /// # Safety
    ///
    /// The end of that module must wait for the caller.
    unsafe fn enter_for(kind: &'static Kind) -> Entered {
        let owner = Owner::of(kind.free as *const ()).unwrap_or_else(|_| Owner::unknown());
        // SAFETY: By the function's contract the end of the module waits for the caller.
        unsafe { owner.enter_again() }
    }

    /// Puts the head on the list of its space, for the work item.
    ///
    /// # Safety
    ///
    /// Called once, by the task that drops the handle. The head must not be used by it again.
    unsafe fn bury(&self, entered: Entered, removal: Option<Arc<Removal>>) {
        // SAFETY: The handle is dropped, and the head is not on the list yet: by the type's
        // invariants only this task touches these.
        unsafe {
            *self.entered.get() = Some(entered);
            *self.removal.get() = removal;
        }
        let space = self.space().0;
        // SAFETY: The head holds a reference to its space, and is not freed before the work item
        // has run, which is not queued for it before the exchange below.
        let (dead, buried) = unsafe { (&(*space.as_ptr()).dead, &(*space.as_ptr()).buried) };
        buried.fetch_add(1u32, Relaxed);
        let mut first = dead.load(Relaxed);
        loop {
            // SAFETY: The head is not on the list yet.
            unsafe { *self.next.get() = first };
            match dead.cmpxchg(first, self, Full) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        if first.is_null() {
            // SAFETY: The list was empty, so that the work item does not take this head off, and
            // with it the reference to the space, before it is queued here. It is initialised.
            unsafe { bindings::tether_queue_unbound_work((*space.as_ptr()).work.get()) };
        }
    }

    /// Finishes a head whose handle was dropped.
    ///
    /// # Safety
    ///
    /// Called by the work item of its space, which must have taken it off the list, and not use it
    /// again.
    unsafe fn finish_dropped(this: NonNull<Self>) {
        let mut detached = None;
        {
            // SAFETY: The head is valid: the handle's reference, or by the function's contract all
            // of it, is the work item's.
            let head = unsafe { this.as_ref() };
            // SAFETY: By the type's invariants the work item has these since it was on the list.
            let (deferred, entered) =
                unsafe { (&mut *head.deferred.get(), &mut *head.entered.get()) };
            if let Some(kind) = deferred.take() {
                let kept = entered.take();
                detached = head.attachment.try_detach();
                if detached.is_none() {
                    if head.refs.fetch_sub(1u32, Full) != 1 {
                        // The end of the module has the other reference, and frees it. The dropping
                        // module may go when `kept` is dropped.
                        return;
                    }
                    // As in `drop_handle_with()`.
                    //
                    // SAFETY: There is no other reference, so that only this task uses the field.
                    unsafe { *head.kind.get() = kind };
                }
                *entered = kept;
            }
        }
        // SAFETY: The head was detached by a task whose part this is, or there is no other
        // reference.
        unsafe { Self::finish(this) };
        // The module of the registration may go from here on.
        drop(detached);
    }

    /// Removes it, if that was not done, and frees it.
    ///
    /// # Safety
    ///
    /// There must be no reference to it but the caller's, which must not be used again.
    unsafe fn finish(this: NonNull<Self>) {
        let (kind, space, entered, removal) = {
            // SAFETY: By the function's contract the head is valid.
            let head = unsafe { this.as_ref() };
            if !head.ended.load(Acquire) {
                // SAFETY: It was registered, and not removed.
                unsafe { ((*head.kind.get()).remove)(this) };
            }
            // SAFETY: By the function's contract nothing else uses the head.
            unsafe {
                (
                    *head.kind.get(),
                    (*head.space.get()).take(),
                    (*head.entered.get()).take(),
                    (*head.removal.get()).take(),
                )
            }
        };
        // SAFETY: It was removed, and nothing else uses it. `kind` is in the module's memory, which
        // stays: its end waits for `entered`, or has called this.
        unsafe { (kind.free)(this) };
        if let Some(removal) = removal {
            removal.complete();
        }
        // The module may go from here on.
        drop(entered);
        // This may free the space, and the work item that runs.
        drop(space);
    }

    /// The end of its module has found the registration: its handle was leaked, or is still in use.
    ///
    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        let head = Self::of(attachment);
        // SAFETY: The attachment is valid until `release`, as the list holds a reference. It was
        // registered, and its handle does not remove it, as it was taken off the list.
        unsafe { ((*head.as_ref().kind.get()).remove)(head) };
    }

    /// Drops the reference of the owner's list.
    ///
    /// # Safety
    ///
    /// As [`What::release`] says.
    unsafe fn release(attachment: *const Attachment) {
        let head = Self::of(attachment);
        // SAFETY: The reference of the list keeps the head valid.
        if unsafe { head.as_ref() }.refs.fetch_sub(1u32, Full) == 1 {
            // SAFETY: That was the last reference.
            unsafe { Self::finish(head) };
        }
    }

    fn of(attachment: *const Attachment) -> NonNull<Self> {
        // SAFETY: The attachment is at the beginning of a `Head`, as `repr(C)` says, and not null.
        unsafe { NonNull::new_unchecked(attachment.cast::<Self>().cast_mut()) }
    }
}

/// Removes and frees the registrations on a space that were dropped.
///
/// In text that stays: the last one that is freed may be all that keeps its module.
///
/// # Safety
///
/// `work` must be that of a [`Space`] whose list has become non-empty since the last call.
#[inline(never)]
pub(super) unsafe extern "C" fn free_dead(work: *mut bindings::work_struct) {
    let field = Opaque::cast_from(work).cast_mut();
    let mut dead = {
        // SAFETY: By the function's contract. The heads on the list hold references.
        let space = unsafe { &*container_of!(field, Space, work) };
        space.dead.xchg(ptr::null(), Full)
    };
    // The oldest one first.
    let mut first: *const Head = ptr::null();
    while !dead.is_null() {
        // SAFETY: The heads that were on the list are valid, and this task's.
        let next = unsafe { (*dead).next.get() };
        // SAFETY: `next` points into a head that was on the list, which is this task's.
        unsafe {
            let rest = *next;
            *next = first;
            first = dead;
            dead = rest;
        }
    }
    while let Some(head) = NonNull::new(first.cast_mut()) {
        // SAFETY: The heads that were on the list are valid, and this task's.
        first = unsafe { *head.as_ref().next.get() };
        // SAFETY: The head is valid, and holds a reference to its space.
        let buried = unsafe { &head.as_ref().space().space().buried };
        buried.fetch_sub(1u32, Relaxed);
        // SAFETY: It was on the list, which was taken by this. With the last one the space may be
        // freed, which is not used any more.
        unsafe { Head::finish_dropped(head) };
    }
}
