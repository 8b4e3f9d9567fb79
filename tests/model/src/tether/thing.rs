// SPDX-License-Identifier: GPL-2.0

//! Things that are attached to a module.

use super::{
    Attachment,
    Owner,
    Text,
    What, //
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

/// A thing that is attached, such as a thread: it ends when it was asked to.
pub struct Thing {
    attachment: Attachment,
    text: Text,
    asked: Mutex<bool>,
    changed: Condvar,
    ends: Atomic<usize>,
    waits_for: Option<&'static Thing>,
    /// The payload: a thread that waits for this thing, and that its destructor waits for.
    joined: Mutex<Option<thread::JoinHandle<()>>>,
    released: AtomicUsize,
}

/// The thing that an attachment is in.
///
/// # Safety
///
/// It must be that of a [`Thing`].
unsafe fn thing(attachment: *const Attachment) -> &'static Thing {
    // SAFETY: By the function's contract; things are leaked.
    unsafe { &*container_of!(attachment, Thing, attachment) }
}

fn ask(attachment: *const Attachment) {
    // SAFETY: The attachment is that of a thing.
    let thing = unsafe { thing(attachment) };
    *thing.asked.lock().unwrap() = true;
    thing.changed.notify_all();
}

/// Asks it to end, and waits until it was asked, as for a thread. A supervisor waits for its thread
/// first.
fn end(attachment: *const Attachment) {
    // SAFETY: The attachment is that of a thing.
    let thing = unsafe { thing(attachment) };
    if let Some(other) = thing.waits_for {
        other.wait_until_asked();
    }
    ask(attachment);
    thing.wait_until_asked();
    thing.finish();
}

/// Ends a registration: the caller does that itself.
fn unregister(attachment: *const Attachment) {
    // SAFETY: The attachment is that of a thing.
    unsafe { thing(attachment) }.finish();
}

fn discard(attachment: *const Attachment) {
    // SAFETY: The attachment is that of a thing.
    let thing = unsafe { thing(attachment) };
    let joined = thing.joined.lock().unwrap().take();
    if let Some(joined) = joined {
        joined.join().unwrap();
    }
}

fn release(attachment: *const Attachment) {
    // SAFETY: The attachment is that of a thing.
    unsafe { thing(attachment) }.released.fetch_add(1, Relaxed);
}

static REGISTRATION: What = What {
    kind: "registration",
    name: || "Thing",
    request: None,
    end: unregister,
    discard: None,
    release: None,
};

static THREAD: What = What {
    kind: "thread",
    name: || "Thing",
    request: Some(ask),
    end,
    discard: Some(discard),
    release: Some(release),
};

impl Thing {
    /// Creates a thing that is ended by the task that detaches it, such as a registration.
    pub fn registration(owner: &'static Owner) -> &'static Self {
        Self::new(owner, &REGISTRATION, None)
    }

    /// Creates a thing that ends when it was asked to, such as a thread.
    pub fn thread(owner: &'static Owner) -> &'static Self {
        Self::new(owner, &THREAD, None)
    }

    /// A thread that waits for another one, which ends when it was asked to.
    pub fn supervisor(owner: &'static Owner, of: &'static Thing) -> &'static Self {
        Self::new(owner, &THREAD, Some(of))
    }

    fn new(
        owner: &'static Owner,
        what: &'static What,
        waits_for: Option<&'static Thing>,
    ) -> &'static Self {
        let text = owner.text();
        let init = pin_init!(Self {
            attachment <- Attachment::new(owner, what),
            text,
            asked: Mutex::new(false),
            changed: Condvar::new(),
            ends: Atomic::new(0),
            waits_for,
            joined: Mutex::new(None),
            released: AtomicUsize::new(0),
        });
        let Ok(thing) = KBox::pin_init(init, GFP_KERNEL) else {
            unreachable!()
        };
        // SAFETY: It is not moved out of.
        Box::leak(unsafe { Pin::into_inner_unchecked(thing) })
    }

    /// Makes it, and attaches it.
    pub fn attach(&'static self) -> Result {
        // SAFETY: Things are leaked.
        unsafe { self.attachment.attach(|| Ok(self.text.run())) }
    }

    /// As [`Thing::attach`], if it can be asked to end.
    pub fn attach_and_ask(&'static self) -> Result {
        // SAFETY: Things are leaked.
        unsafe { self.attachment.attach_and_ask(|| Ok(self.text.run())) }
    }

    /// Asks it to end.
    pub fn ask(&self) {
        ask(&self.attachment);
    }

    fn wait_until_asked(&self) {
        let mut asked = self.asked.lock().unwrap();
        while !*asked {
            asked = self.changed.wait(asked).unwrap();
        }
    }

    /// Does the work of its end, once.
    pub fn finish(&self) {
        self.text.run();
        self.ends.fetch_add(1usize, atomic::Relaxed);
    }

    /// How often it was ended.
    pub fn ends(&self) -> usize {
        self.ends.load(atomic::Relaxed)
    }

    /// It cannot be made, with [`EBUSY`].
    pub fn fail_to_attach(&'static self) -> Result {
        // SAFETY: Things are leaked.
        unsafe { self.attachment.attach(|| Err(EBUSY)) }
    }

    /// Ends it, or lets the module's end do so.
    pub fn drop_unless_ended(&self) {
        if let Some(_entered) = self.attachment.detach() {
            self.finish();
        }
    }

    /// Lets it end by itself, when it is asked to; unless the module's end has ended it.
    pub fn detach_and_end(&self) {
        if self.attachment.make_independent() {
            self.wait_until_asked();
            self.finish();
            // SAFETY: It was made independent.
            unsafe { self.attachment.remove() };
        }
    }

    /// The payload is dropped by waiting for this thread.
    pub fn set_payload(&self, payload: thread::JoinHandle<()>) {
        *self.joined.lock().unwrap() = Some(payload);
    }

    /// The payload, if it was not dropped.
    pub fn take_payload(&self) -> Option<thread::JoinHandle<()>> {
        self.joined.lock().unwrap().take()
    }

    /// How often the list's reference was dropped.
    pub fn released(&self) -> usize {
        self.released.load(Relaxed)
    }

    /// What a destructor does: ends it, or waits until the module's end has ended it.
    pub fn drop_it(&self) {
        match self.attachment.detach() {
            Some(_entered) => self.finish(),
            None => assert_eq!(self.ends(), 1, "it is not at its end"),
        }
    }
}
