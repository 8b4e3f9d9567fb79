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
        AttachmentOps, //
        Owner,
        OwnerGuard,
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
    /// Calls [`Head::set_ended`], removes the registration, and waits for running callbacks.
    ///
    /// The kernel does not call the notifier any more when this function has returned. It is called
    /// once, for the head of a registration of this kind, which must be registered. It must not be
    /// called in a callback of a notifier.
    pub(in crate::mm) remove: unsafe fn(NonNull<Head>),
    /// Drops the notifier, and frees the memory.
    ///
    /// It is called once, after `remove`, when nothing else uses the registration.
    pub(in crate::mm) free: unsafe fn(NonNull<Head>),
}

/// The part of a registration that does not depend on its type.
///
/// # Invariants
///
/// * The head is at the beginning of the registration that `kind` is for, in an allocation that
///   `kind.free` frees.
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
    /// A constant of the module that has created the registration or, if that module was torn down,
    /// of the module that has dropped the handle.
    kind: UnsafeCell<&'static Kind>,
    space: UnsafeCell<Option<SpaceRef>>,
    refs: Atomic<u32>,
    ended: Atomic<bool>,
    next: UnsafeCell<*const Head>,
    /// The constant of the module that has dropped the handle, if the lock of the owner's list
    /// could not be taken in the context of the drop.
    deferred: UnsafeCell<Option<&'static Kind>>,
    entered: UnsafeCell<Option<OwnerGuard>>,
    removal: UnsafeCell<Option<Arc<Removal>>>,
}

impl Head {
    /// Returns the [`AttachmentOps`] of a kind of registrations. `release` and `end` are the same
    /// for all.
    pub(in crate::mm) const fn attachment_ops(
        kind: &'static str,
        name: fn() -> &'static str,
    ) -> AttachmentOps {
        AttachmentOps {
            kind,
            name,
            request: None,
            end: Self::end,
            discard: None,
            release: Some(Self::release),
        }
    }

    /// Creates the head of a registration that is not registered with the kernel.
    #[inline]
    pub(in crate::mm) fn new(
        owner: &'static Owner,
        ops: &'static AttachmentOps,
        kind: &'static Kind,
        space: SpaceRef,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            attachment <- Attachment::new(owner, ops),
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

    /// Returns the space of the address space that the notifier is registered on.
    #[inline]
    pub(in crate::mm) fn space(&self) -> &SpaceRef {
        // SAFETY: By the type's invariants, `space` is set and does not change until the memory is
        // freed.
        match unsafe { &*self.space.get() } {
            Some(space) => space,
            None => unreachable!(),
        }
    }

    /// Returns whether the registration was removed, or is being removed.
    #[inline]
    pub(in crate::mm) fn is_ended(&self) -> bool {
        read_once(&self.ended)
    }

    /// Records that the registration is being removed.
    pub(in crate::mm) fn set_ended(&self) {
        self.ended.store(true, Release);
    }

    /// Drops the handle: the registration is removed and freed later.
    ///
    /// # Context
    ///
    /// Any context. Does not sleep.
    ///
    /// # Safety
    ///
    /// The registration must have been attached. `kind` must be the constant for its type in the
    /// module whose text the caller runs in. The caller must own the reference of the handle, and
    /// must not use the head again.
    #[inline]
    pub(in crate::mm) unsafe fn drop_handle(&self, kind: &'static Kind) {
        // SAFETY: The requirements of `drop_handle_with()` are those of this function, and the head
        // is not used again.
        unsafe { self.drop_handle_with(kind, None) };
    }

    /// Drops the handle, and waits until the registration was removed and freed.
    ///
    /// # Errors
    ///
    /// * [`ENODEV`] if the teardown of the module has removed the registration;
    /// * [`EINTR`] if the task is being killed, or requested to stop;
    /// * [`EBUSY`] if the registration was not freed after ten seconds;
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EDEADLK`] if the caller must not sleep, or is the destructor of another registration on
    ///   the same address space.
    ///
    /// With all errors but [`ENODEV`], the registration is removed and freed later.
    ///
    /// # Safety
    ///
    /// As for [`Head::drop_handle`].
    pub(in crate::mm) unsafe fn unregister(&self, kind: &'static Kind) -> Result {
        if !may_sleep() || self.space().is_removing() {
            // SAFETY: The requirements of `drop_handle()` are those of this function, and the head
            // is not used again.
            unsafe { self.drop_handle(kind) };
            return Err(EDEADLK);
        }
        let removal = match Removal::new() {
            Ok(removal) => removal,
            Err(error) => {
                // SAFETY: The requirements of `drop_handle()` are those of this function, and the
                // head is not used again.
                unsafe { self.drop_handle(kind) };
                return Err(error);
            }
        };
        // SAFETY: The requirements of `drop_handle_with()` are those of this function, and the head
        // is not used again.
        if unsafe { self.drop_handle_with(kind, Some(removal.clone())) } {
            removal.wait()
        } else {
            Err(ENODEV)
        }
    }

    /// Drops the handle, and has `removal` completed when the registration was freed.
    ///
    /// Returns `false` if the teardown of its module removes the registration instead, or if the
    /// caller must not sleep.
    ///
    /// # Safety
    ///
    /// As for [`Head::drop_handle`].
    #[inline(never)]
    unsafe fn drop_handle_with(&self, kind: &'static Kind, removal: Option<Arc<Removal>>) -> bool {
        if !may_sleep() {
            // The interrupted task may hold the lock of the owner's list. Therefore the work item
            // takes that lock.
            //
            // SAFETY: The handle is dropped, and the head is not on the list of its space yet, so
            // only this task touches `deferred`. The reference of the handle passes to the work
            // item. The caller runs in the text of the module that `kind` belongs to, and the
            // teardown of that module waits for the caller. `bury()` is called once.
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
                    // The teardown of the module owns the other reference, and frees the head.
                    return false;
                }
                // The module that has created the registration may be unloaded. The caller's module
                // has instances of the same functions in its own text.
                //
                // SAFETY: There is no other reference, so only this task uses the field.
                unsafe { *self.kind.get() = kind };
                // SAFETY: The caller runs in the text of the module that `kind` belongs to, and the
                // teardown of that module waits for the caller.
                unsafe { Self::enter_for(kind) }
            }
        };
        // SAFETY: This is the only call of `bury()`, by the task that drops the handle. The head is
        // not used afterwards.
        unsafe { self.bury(entered, removal) };
        ours
    }

    /// Returns a guard that keeps the text of the module that `kind` belongs to.
    ///
    /// # Safety
    ///
    /// The teardown of that module must wait for the caller.
    unsafe fn enter_for(kind: &'static Kind) -> OwnerGuard {
        let owner = Owner::of(kind.free as *const ()).unwrap_or_else(|_| Owner::unknown());
        // SAFETY: The caller guarantees that the teardown of the module waits for the caller.
        unsafe { owner.enter_again() }
    }

    /// Puts the head on the list of its space, for the work item.
    ///
    /// # Safety
    ///
    /// Must be called once, by the task that drops the handle, which must not use the head again.
    unsafe fn bury(&self, entered: OwnerGuard, removal: Option<Arc<Removal>>) {
        // SAFETY: By the type's invariants, only the task that drops the handle writes these fields
        // before the head is on the list, and the head is not on the list yet.
        unsafe {
            *self.entered.get() = Some(entered);
            *self.removal.get() = removal;
        }
        let space = self.space().0;
        // SAFETY: The head holds a reference to its space. The work item frees the head, and does
        // not find it on the list before the exchange below.
        let (dead, buried) = unsafe { (&(*space.as_ptr()).dead, &(*space.as_ptr()).buried) };
        buried.fetch_add(1u32, Relaxed);
        let mut first = dead.load(Relaxed);
        loop {
            // SAFETY: The head is not on the list yet, so only this task touches `next`.
            unsafe { *self.next.get() = first };
            match dead.cmpxchg(first, self, Full) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        if first.is_null() {
            // SAFETY: `SpaceRef::create()` has initialised the work item. The list was empty, and
            // each run of the work item empties the list once. Therefore no run takes this head
            // off, and with it the reference to the space, before the work item is queued here.
            unsafe { bindings::tether_queue_unbound_work((*space.as_ptr()).work.get()) };
        }
    }

    /// Removes and frees a registration after its handle was dropped.
    ///
    /// # Safety
    ///
    /// Must be called by the work item of the space, which must have taken the head off the list,
    /// and must not use it again.
    unsafe fn finish_dropped(this: NonNull<Self>) {
        let mut detached = None;
        {
            // SAFETY: The head is valid, as the work item owns the reference of the handle, or the
            // whole head.
            let head = unsafe { this.as_ref() };
            // SAFETY: By the type's invariants, only the work item uses these fields after the head
            // was on the list.
            let (deferred, entered) =
                unsafe { (&mut *head.deferred.get(), &mut *head.entered.get()) };
            if let Some(kind) = deferred.take() {
                let kept = entered.take();
                detached = head.attachment.try_detach();
                if detached.is_none() {
                    if head.refs.fetch_sub(1u32, Full) != 1 {
                        // The teardown of the module owns the other reference, and frees the head.
                        // The module that has dropped the handle may be unloaded once `kept` is
                        // dropped.
                        return;
                    }
                    // The module that has created the registration may be unloaded, as in
                    // `drop_handle_with()`.
                    //
                    // SAFETY: There is no other reference, so only this task uses the field.
                    unsafe { *head.kind.get() = kind };
                }
                *entered = kept;
            }
        }
        // SAFETY: The attachment was taken off its owner's list for the work item, which thus owns
        // the whole head, or there is no other reference.
        unsafe { Self::finish(this) };
        // The module of the registration may be unloaded from here on.
        drop(detached);
    }

    /// Removes the registration, unless that was done, and frees it.
    ///
    /// # Safety
    ///
    /// Nothing but the caller may use the head, and the caller must not use it again.
    unsafe fn finish(this: NonNull<Self>) {
        let (kind, space, entered, removal) = {
            // SAFETY: The head is valid, as the caller guarantees that nothing else uses or frees
            // it.
            let head = unsafe { this.as_ref() };
            if !head.ended.load(Acquire) {
                // SAFETY: The registration was registered, and `ended` shows that it was not
                // removed. A work item or the teardown of a module calls this, not a callback.
                unsafe { ((*head.kind.get()).remove)(this) };
            }
            // SAFETY: The caller guarantees that nothing else uses the head.
            unsafe {
                (
                    *head.kind.get(),
                    (*head.space.get()).take(),
                    (*head.entered.get()).take(),
                    (*head.removal.get()).take(),
                )
            }
        };
        // SAFETY: The registration was removed, and nothing else uses it. The memory of the module
        // that `kind` is in stays mapped: the teardown of the module waits for `entered`, or has
        // called this function.
        unsafe { (kind.free)(this) };
        if let Some(removal) = removal {
            removal.complete();
        }
        // The module may be unloaded from here on.
        drop(entered);
        // This may free the space, with the work item that runs this code.
        drop(space);
    }

    /// Removes a registration for the teardown of its module.
    ///
    /// The handle was leaked, or is still in use.
    ///
    /// # Safety
    ///
    /// As for [`AttachmentOps::end`].
    unsafe fn end(attachment: *const Attachment) {
        let head = Self::of(attachment);
        // SAFETY: The head is valid until `release()`, as the owner's list holds a reference. The
        // registration was registered. The drop of its handle does not remove it, because the
        // teardown has taken the attachment off the list.
        unsafe { ((*head.as_ref().kind.get()).remove)(head) };
    }

    /// Drops the reference of the owner's list.
    ///
    /// # Safety
    ///
    /// As for [`AttachmentOps::release`].
    unsafe fn release(attachment: *const Attachment) {
        let head = Self::of(attachment);
        // SAFETY: The reference of the list keeps the head valid until it is dropped here.
        if unsafe { head.as_ref() }.refs.fetch_sub(1u32, Full) == 1 {
            // SAFETY: That was the last reference, so nothing else uses the head.
            unsafe { Self::finish(head) };
        }
    }

    fn of(attachment: *const Attachment) -> NonNull<Self> {
        // SAFETY: The pointer is that of an attachment, so not null.
        unsafe { NonNull::new_unchecked(attachment.cast::<Self>().cast_mut()) }
    }
}

/// Removes and frees the registrations on a space that were dropped.
///
/// This function must not be copied into another module: freeing a registration may drop the last
/// guard that keeps the text of its module mapped.
///
/// # Safety
///
/// `work` must be that of a [`Space`] whose list has become non-empty since the last call.
#[inline(never)]
pub(super) unsafe extern "C" fn free_dead(work: *mut bindings::work_struct) {
    let field = Opaque::cast_from(work).cast_mut();
    let mut dead = {
        // SAFETY: The caller guarantees that `work` is a field of a `Space`. The space is valid, as
        // the list is not empty, and the heads on the list hold references.
        let space = unsafe { &*container_of!(field, Space, work) };
        space.dead.xchg(ptr::null(), Full)
    };
    // Reverse the list, so that the oldest registration is removed first.
    let mut first: *const Head = ptr::null();
    while !dead.is_null() {
        // SAFETY: The heads that were on the list are valid, and only this task uses them.
        let next = unsafe { (*dead).next.get() };
        // SAFETY: `next` points into a head that was on the list, which only this task uses.
        unsafe {
            let rest = *next;
            *next = first;
            first = dead;
            dead = rest;
        }
    }
    while let Some(head) = NonNull::new(first.cast_mut()) {
        // SAFETY: The heads that were on the list are valid, and only this task uses them.
        first = unsafe { *head.as_ref().next.get() };
        // SAFETY: The head is valid, and holds a reference to its space.
        let buried = unsafe { &head.as_ref().space().space().buried };
        buried.fetch_sub(1u32, Relaxed);
        // SAFETY: This work item has taken the head off the list, and does not use it again. The
        // call may free the space, which is not used any more after the last head.
        unsafe { Head::finish_dropped(head) };
    }
}
