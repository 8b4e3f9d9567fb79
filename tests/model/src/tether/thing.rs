// SPDX-License-Identifier: GPL-2.0

//! Objects that are attached to a module: threads and registrations.

use super::{
    Attachment,
    AttachmentOps, //
    Owner,
    Text,
};
use crate::{
    container_of,
    prelude::*,
    sync::atomic::{
        self,
        Atomic, //
    }, //
};
use loom::{
    cell::UnsafeCell,
    sync::{
        Condvar,
        Mutex, //
    },
    thread, //
};
use std::sync::atomic::{
    AtomicUsize,
    Ordering::Relaxed, //
};

/// An attached object. A `Thing` like a thread ends after it was requested to.
pub struct Thing {
    attachment: Attachment,
    text: Text,
    asked: Mutex<bool>,
    changed: Condvar,
    ends: Atomic<usize>,
    waits_for: Option<&'static Thing>,
    /// The payload: a thread that waits for this object, and that the destructor joins.
    joined: Mutex<Option<thread::JoinHandle<()>>>,
    released: AtomicUsize,
    /// Memory that `make` writes, and that requests and ends read.
    made: UnsafeCell<()>,
}

// SAFETY: `made` is written before the object is attached. `loom` checks this.
unsafe impl Sync for Thing {}

/// Returns the object that contains an attachment.
///
/// # Safety
///
/// `attachment` must be the field of a [`Thing`].
unsafe fn thing(attachment: *const Attachment) -> &'static Thing {
    // SAFETY: The caller guarantees that `attachment` is the field of a `Thing`. The reference is
    // valid for `'static`, because a `Thing` is leaked.
    unsafe { &*container_of!(attachment, Thing, attachment) }
}

fn ask(attachment: *const Attachment) {
    // SAFETY: `ask()` is only called for the attachment of a `Thing`.
    let thing = unsafe { thing(attachment) };
    thing.made.with(|_| ());
    *thing.asked.lock().unwrap() = true;
    thing.changed.notify_all();
}

/// Requests the thread to end, and waits for the end. A supervisor waits for its own thread first.
fn end(attachment: *const Attachment) {
    // SAFETY: `end()` is only in the table of a `Thing`, so the attachment is that of a `Thing`.
    let thing = unsafe { thing(attachment) };
    if let Some(other) = thing.waits_for {
        other.wait_until_asked();
    }
    ask(attachment);
    thing.wait_until_asked();
    thing.finish();
}

/// Unregisters: the calling task does all the work of the end.
fn unregister(attachment: *const Attachment) {
    // SAFETY: `unregister()` is only in the table of a `Thing`.
    unsafe { thing(attachment) }.finish();
}

fn discard(attachment: *const Attachment) {
    // SAFETY: `discard()` is only in the tables of a `Thing`.
    let thing = unsafe { thing(attachment) };
    let joined = thing.joined.lock().unwrap().take();
    if let Some(joined) = joined {
        joined.join().unwrap();
    }
}

fn release(attachment: *const Attachment) {
    // SAFETY: `release()` is only in the tables of a `Thing`.
    unsafe { thing(attachment) }.released.fetch_add(1, Relaxed);
}

static REGISTRATION: AttachmentOps = AttachmentOps {
    kind: "registration",
    name: || "Thing",
    request: None,
    end: unregister,
    discard: None,
    release: None,
};

static THREAD: AttachmentOps = AttachmentOps {
    kind: "thread",
    name: || "Thing",
    request: Some(ask),
    end,
    discard: Some(discard),
    release: Some(release),
};

impl Thing {
    /// Creates an object that the detaching task ends, such as a registration.
    pub fn registration(owner: &'static Owner) -> &'static Self {
        Self::new(owner, &REGISTRATION, None)
    }

    /// Creates an object that ends after it was requested to, such as a thread.
    pub fn thread(owner: &'static Owner) -> &'static Self {
        Self::new(owner, &THREAD, None)
    }

    /// Creates a thread that waits for the thread `of` before it ends.
    pub fn supervisor(owner: &'static Owner, of: &'static Thing) -> &'static Self {
        Self::new(owner, &THREAD, Some(of))
    }

    fn new(
        owner: &'static Owner,
        ops: &'static AttachmentOps,
        waits_for: Option<&'static Thing>,
    ) -> &'static Self {
        let text = owner.text();
        let init = pin_init!(Self {
            attachment <- Attachment::new(owner, ops),
            text,
            asked: Mutex::new(false),
            changed: Condvar::new(),
            ends: Atomic::new(0),
            waits_for,
            joined: Mutex::new(None),
            released: AtomicUsize::new(0),
            made: UnsafeCell::new(()),
        });
        let Ok(thing) = KBox::pin_init(init, GFP_KERNEL) else {
            unreachable!()
        };
        // SAFETY: The value is leaked, so it is never moved out of its box.
        Box::leak(unsafe { Pin::into_inner_unchecked(thing) })
    }

    fn make(&self) {
        self.made.with_mut(|_| ());
        self.text.run();
    }

    /// Creates the object and attaches it.
    pub fn attach(&'static self) -> Result {
        // SAFETY: `self` is leaked, so that the attachment stays valid and does not move.
        unsafe { self.attachment.attach(|| Ok(self.make())) }
    }

    /// As [`Thing::attach`], for an object that can be requested to end.
    pub fn attach_and_request(&'static self) -> Result {
        // SAFETY: `self` is leaked, so that the attachment stays valid and does not move.
        unsafe { self.attachment.attach_and_request(|| Ok(self.make())) }
    }

    /// Requests the object to end.
    pub fn ask(&self) {
        ask(&self.attachment);
    }

    fn wait_until_asked(&self) {
        let mut asked = self.asked.lock().unwrap();
        while !*asked {
            asked = self.changed.wait(asked).unwrap();
        }
    }

    /// Ends the object. Must be called once.
    pub fn finish(&self) {
        self.made.with(|_| ());
        self.text.run();
        self.ends.fetch_add(1usize, atomic::Relaxed);
    }

    /// Returns the number of times that the object was ended.
    pub fn ends(&self) -> usize {
        self.ends.load(atomic::Relaxed)
    }

    /// Tries to attach the object; the creation of the object fails with [`EBUSY`].
    pub fn fail_to_attach(&'static self) -> Result {
        // SAFETY: `self` is leaked, so that the attachment stays valid and does not move.
        unsafe { self.attachment.attach(|| Err(EBUSY)) }
    }

    /// Ends the object, unless the teardown of the module ends it.
    pub fn drop_unless_ended(&self) {
        if let Some(_entered) = self.attachment.detach() {
            self.finish();
        }
    }

    /// Detaches a thread that ends after it was requested to, unless teardown has ended it.
    pub fn detach_and_end(&self) {
        if self.attachment.make_independent() {
            self.wait_until_asked();
            self.finish();
            // SAFETY: `make_independent()` has succeeded, and `remove()` is called once.
            unsafe { self.attachment.remove() };
        }
    }

    /// Sets a payload. Its destructor joins `payload`.
    pub fn set_payload(&self, payload: thread::JoinHandle<()>) {
        *self.joined.lock().unwrap() = Some(payload);
    }

    /// Takes the payload, if it was not dropped.
    pub fn take_payload(&self) -> Option<thread::JoinHandle<()>> {
        self.joined.lock().unwrap().take()
    }

    /// Returns the number of times that the list's reference was dropped.
    pub fn released(&self) -> usize {
        self.released.load(Relaxed)
    }

    /// Stands for a destructor: ends the object, or waits until teardown has ended it.
    pub fn drop_it(&self) {
        match self.attachment.detach() {
            Some(_entered) => self.finish(),
            None => assert_eq!(self.ends(), 1, "it is not at its end"),
        }
    }
}
