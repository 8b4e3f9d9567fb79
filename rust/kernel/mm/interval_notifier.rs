// SPDX-License-Identifier: GPL-2.0

//! Page tables of one's own for a range of an address space.
//!
//! A driver that works on a process's memory through page tables of its own (a GPU, an RDMA
//! adapter) looks pages up, which takes time and may sleep, and then uses them. Meanwhile they may
//! go away. A [`Registration`] on a range makes that safe, as a lock with retries: it holds the
//! *shadow*, what the driver has noted about the range, under a lock.
//!
//! * *Invalidating*: the kernel tells that pages in the range go away. The shadow is locked and
//!   [`IntervalNotifier::invalidate`] takes them out of it. When it has returned they are not used
//!   any more.
//! * *Reading*: [`Registration::read`] waits for invalidations to be over, calls a function that
//!   looks pages up, locks the shadow, and if nothing was invalidated meanwhile, calls another one
//!   that notes them in it. Else it begins again.
//!
//! The steps cannot be done out of order, because they are the callee's:
//!
//! ```text
//!       Registration::read                     the kernel
//!   +-> begin, wait for the range to be quiet
//!   |   look up (may sleep)                     invalidate: lock, note it, take pages out, unlock
//!   |   lock
//!   +-- invalidated meanwhile? unlock, again
//!       commit
//!       unlock
//! ```
//!
//! # What holds
//!
//! * Nothing is called after the registration was dropped; dropping it waits for what is running.
//!   It must not be dropped inside its callback: that would wait for itself.
//! * Where the kernel cannot wait (the OOM killer), the shadow's lock is only tried; if it is held,
//!   the kernel is told that this range cannot be invalidated now.
//! * After the address space has ended there may be one more call, for all of it
//!   ([`Event::Release`]).
//! * A registration does not keep its module loaded. If it was leaked it is ended when the module
//!   goes, before its text is freed.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     mm::{
//!         interval_notifier::{
//!             new_interval_notifier,
//!             IntervalNotifier,
//!             Registration, //
//!         },
//!         mmu_notifier::Range,
//!         MmWithUser, //
//!     },
//!     page::PAGE_SHIFT,
//!     prelude::*, //
//! };
//!
//! struct Mirror;
//!
//! impl IntervalNotifier for Mirror {
//!     /// What the device's page table has, for each page of the range.
//!     type Shadow = KVec<Option<u64>>;
//!
//!     fn invalidate(&self, _range: &Range<'_>, table: &mut Self::Shadow) {
//!         // All of it, to be short. A driver would tell its device here, and wait for that.
//!         table.fill(None);
//!     }
//! }
//!
//! /// Mirrors a range of an address space.
//! fn mirror(
//!     mm: &MmWithUser,
//!     start: usize,
//!     pages: usize,
//! ) -> Result<Pin<KBox<Registration<Mirror>>>> {
//!     let table = KVec::from_elem(None, pages, GFP_KERNEL)?;
//!     let length = pages << PAGE_SHIFT;
//!     KBox::pin_init(
//!         new_interval_notifier!(mm, start, length, Mirror, table),
//!         GFP_KERNEL,
//!     )
//! }
//!
//! /// The device has no entry for a page: finds it, and enters it if it is still there.
//! fn fault(mirror: &Registration<Mirror>, index: usize, find: impl Fn() -> Result<u64>) -> Result {
//!     mirror.read(find, |frame, table| table[index] = Some(frame))
//! }
//! # let _ = (mirror, |it: &Registration<Mirror>| fault(it, 0, || Err(EFAULT)));
//! ```
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)
//!
//! [`Event::Release`]: super::mmu_notifier::Event::Release

use super::{
    mmu_notifier::{
        without_blocking,
        Range, //
    },
    MmWithUser, //
};
use crate::{
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    sync::{
        LockClassKey,
        Mutex, //
    },
    tether::{
        Attachment,
        Owner,
        What, //
    },
    types::Opaque, //
};
use core::{
    any::type_name,
    ptr, //
};

/// Creates a [`Registration`] initialiser, with a lock class of its own.
#[macro_export]
macro_rules! new_interval_notifier {
    ($mm:expr, $start:expr, $length:expr, $notifier:expr, $shadow:expr $(,)?) => {
        $crate::mm::interval_notifier::Registration::new(
            $mm,
            $start,
            $length,
            $notifier,
            $shadow,
            $crate::optional_name!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use crate::new_interval_notifier;

/// What hears of invalidations in a range.
pub trait IntervalNotifier: Sized + Send + Sync + 'static {
    /// What is noted about the range.
    type Shadow: Send + Unpin;

    /// Pages in `range` go away: stop using those, and take them out of `shadow`, before
    /// returning.
    ///
    /// `range` may be larger than the range that is registered. Called with the shadow's lock
    /// held. May sleep only if `range` is blockable, and must not wait for memory.
    fn invalidate(&self, range: &Range<'_>, shadow: &mut Self::Shadow);
}

/// An [`IntervalNotifier`] that is registered on a range of an address space.
///
/// Dropping it waits for invalidations that are running: that may sleep. It must be dropped outside
/// of its callback, and outside of the locks that this takes.
///
/// # Invariants
///
/// * `subscription` is inserted from the end of the initialisation until `attachment` is taken off
///   its owner's list.
/// * Its sequence is only written under the lock of `shadow`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: IntervalNotifier> {
    notifier: T,
    #[pin]
    shadow: Mutex<T::Shadow>,
    #[pin]
    subscription: Opaque<bindings::mmu_interval_notifier>,
    #[pin]
    attachment: Attachment,
}

// SAFETY: A registration may be dropped on another thread than where it was made.
unsafe impl<T: IntervalNotifier> Send for Registration<T> {}
// SAFETY: A shared reference gives the notifier, which is `Sync`, and what is under the lock, which
// is `Send`.
unsafe impl<T: IntervalNotifier> Sync for Registration<T> {}

impl<T: IntervalNotifier> Registration<T> {
    const OPS: bindings::mmu_interval_notifier_ops = bindings::mmu_interval_notifier_ops {
        invalidate: Some(Self::invalidate_callback),
        ..pin_init::zeroed()
    };

    /// Registers `notifier` on `length` bytes from `start`; use [`new_interval_notifier!`].
    ///
    /// Sleeps; may take the `mmap_lock` of `mm` for writing.
    ///
    /// # Errors
    ///
    /// * [`EOVERFLOW`] if the range is empty, or goes beyond the last address;
    /// * [`ENOMEM`] if there is not enough memory;
    /// * [`EINTR`] if a signal is pending;
    /// * [`ENODEV`] if the module of the notifier is going, [`EINVAL`] if it is not known to
    ///   Tether.
    ///
    /// C: `mmu_interval_notifier_insert()` in [`mm/mmu_notifier.c`](srctree/mm/mmu_notifier.c).
    #[doc(alias = "mmu_interval_notifier_insert")]
    pub fn new<'a>(
        mm: &'a MmWithUser,
        start: usize,
        length: usize,
        notifier: T,
        shadow: T::Shadow,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> + 'a {
        let what = What {
            kind: "interval_notifier",
            name: type_name::<T>(),
            end: Self::end,
            release: None,
        };
        pin_init::pin_init_scope(move || {
            let owner = Owner::of(Self::end as *const ())?;
            Ok::<_, Error>(
                try_pin_init!(Self {
                    notifier,
                    shadow <- Mutex::new(shadow, name, key),
                    subscription: Opaque::zeroed(),
                    attachment <- Attachment::new(owner, what),
                }? Error)
                .pin_chain(move |this| {
                    let insert = || {
                        // SAFETY: The subscription is pinned in `this`, and the functions are
                        // constant. The address space has users, for as long as the borrow.
                        to_result(unsafe {
                            bindings::mmu_interval_notifier_insert(
                                this.subscription.get(),
                                mm.as_raw(),
                                start,
                                length,
                                &Self::OPS,
                            )
                        })
                    };
                    // SAFETY: Its drop detaches it first, and it is pinned.
                    unsafe { this.attachment.attach(insert) }
                }),
            )
        })
    }

    /// The notifier.
    pub fn notifier(&self) -> &T {
        &self.notifier
    }

    /// Looks something up in the address space, and notes it in the shadow, if it still holds.
    ///
    /// `look_up` is called without a lock, and may sleep. If something in the range was
    /// invalidated meanwhile its result is dropped, and it is called again. Else `commit` gets it,
    /// with the shadow, which is locked: nothing in the range is invalidated until it returns.
    ///
    /// An error of `look_up` ends this. Must not be called inside a callback.
    ///
    /// C: `mmu_interval_read_begin()` and `mmu_interval_read_retry()`.
    #[doc(alias = "mmu_interval_read_begin")]
    #[doc(alias = "mmu_interval_read_retry")]
    pub fn read<V, R>(
        &self,
        mut look_up: impl FnMut() -> Result<V>,
        commit: impl FnOnce(V, &mut T::Shadow) -> R,
    ) -> Result<R> {
        let subscription = self.subscription.get();
        loop {
            // SAFETY: The subscription is inserted, by the type's invariants.
            let sequence = unsafe { bindings::mmu_interval_read_begin(subscription) };
            let value = look_up()?;
            let mut shadow = self.shadow.lock();
            // What `mmu_interval_read_retry()` does, which is inline.
            //
            // SAFETY: As above; the lock is held under which it is written.
            if unsafe { (*subscription).invalidate_seq } == sequence {
                return Ok(commit(value, &mut shadow));
            }
        }
    }

    /// Looks at the shadow, or changes it. What it says of pages holds until `f` returns.
    pub fn with_shadow<R>(&self, f: impl FnOnce(&mut T::Shadow) -> R) -> R {
        f(&mut self.shadow.lock())
    }

    /// # Safety
    ///
    /// `subscription` must be that of a `Registration<T>`, inserted, and `range` valid.
    unsafe extern "C" fn invalidate_callback(
        subscription: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        sequence: usize,
    ) -> bool {
        // SAFETY: The kernel calls this for a subscription that is inserted, so the registration
        // is valid, and with a valid range.
        let (this, range) = unsafe {
            let field = Opaque::cast_from(subscription).cast_mut();
            (
                &*container_of!(field, Self, subscription),
                Range::from_raw(range),
            )
        };
        let set_sequence = || {
            // What `mmu_interval_set_seq()` does, which is inline: others look at it without the lock.
            //
            // SAFETY: The subscription is inserted, and the lock is held where this is called.
            unsafe { ptr::write_volatile(&raw mut (*subscription).invalidate_seq, sequence) };
        };
        if range.is_blockable() {
            let mut shadow = this.shadow.lock();
            set_sequence();
            this.notifier.invalidate(&range, &mut shadow);
            return true;
        }
        // The lock may be held by who sleeps: then the kernel is told that this cannot be done now.
        let Some(mut shadow) = this.shadow.try_lock() else {
            return false;
        };
        set_sequence();
        // The core checks this for notifiers of a whole address space only.
        without_blocking(|| this.notifier.invalidate(&range, &mut shadow));
        true
    }

    /// # Safety
    ///
    /// As [`What::end`] says.
    unsafe fn end(attachment: *const Attachment) {
        // SAFETY: The attachment is in a registration, which is valid until it was ended.
        let this = unsafe { &*container_of!(attachment.cast_mut(), Self, attachment) };
        // SAFETY: It is inserted, by the type's invariants: the owner's end has taken the
        // attachment off its list just now.
        unsafe { bindings::mmu_interval_notifier_remove(this.subscription.get()) };
    }
}

#[pinned_drop]
impl<T: IntervalNotifier> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // It is not attached if inserting has failed.
        if let Some(_entered) = self.attachment.detach() {
            // SAFETY: It is inserted, by the type's invariants: we have taken the attachment off
            // its owner's list just now.
            unsafe { bindings::mmu_interval_notifier_remove(self.subscription.get()) };
        }
    }
}
