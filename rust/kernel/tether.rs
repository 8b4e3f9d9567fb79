// SPDX-License-Identifier: GPL-2.0

//! Who owns the code that the kernel calls back into.
//!
//! A callback is a function pointer and an object, handed to the kernel now and called at a time
//! that somebody else chooses. The object is kept alive by the types of [`task_work`], [`kthread`]
//! and [`mmu_notifier`]; the *code* is kept alive here. In Rust a handle may be leaked in safe
//! code, so nothing here depends on a destructor having run.
//!
//! # Vocabulary
//!
//! * The *owner* of a callback is the module whose text holds the function. An [`Owner`] is the
//!   record of that module. It is found by the function's address, once, where the object is made:
//!   not by a type or by a constant that the object's author names, which may name another module.
//! * A callback that nobody can wait for (task work that another task will run, a thread that was
//!   detached) *pins* its owner ([`Owner::pin`]): the module cannot be removed until it has run.
//!   What the kernel calls is a trampoline in text that never goes away, which calls the owner and
//!   drops the pin afterwards.
//! * A callback that can be waited for (a registered notifier, an attached thread) is *attached*
//!   to its owner ([`Attachment`]). It does not pin: the module ends it in its exit. What is still
//!   attached after the exit was leaked, and is ended before the module's text goes.
//! * An owner is *open* until its module goes, and *closed* from then on: nothing more can be made
//!   that calls into it, and what is there is brought to its end.
//!
//! # A module's end
//!
//! `MODULE_STATE_GOING` is announced after the module's exit, or after its init has failed, and
//! before its text is freed. The kernel looks at pins before it calls the exit, but not when an
//! init fails. So this is what happens then, until a pass finds nothing left:
//!
//! 1. the owner is closed;
//! 2. task works of its that wait on some task are disarmed: their trampoline will touch nothing
//!    (only after a failed init; else there are none);
//! 3. attachments are ended one by one: threads are stopped and joined, notifiers unregistered;
//! 4. callbacks that are running, and creations that are half done, are waited for.
//!
//! A thread that ignores the request to stop makes the removal of its module wait, and is named in
//! the log every ten seconds.
//!
//! All of this is for the abstractions; a driver sees [`Refused`] of it, and what it leaves behind in
//! the log and in `tether/outstanding`.
//!
//! C headers: [`include/linux/module.h`](srctree/include/linux/module.h).
//!
//! [`task_work`]: crate::task_work
//! [`kthread`]: crate::kthread
//! [`mmu_notifier`]: crate::mm::mmu_notifier

use crate::{
    bindings,
    container_of,
    debugfs,
    fmt,
    new_condvar,
    new_mutex,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        CondVar,
        Mutex,
        SetOnce,
        SpinLock, //
    },
    task::Task,
    task_work,
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
    types::Opaque, //
};
use core::{
    cell::Cell,
    ptr, //
};

// The external build needs the path: its root includes this file by a path.
#[path = "tether/ordering.rs"]
mod ordering;

use ordering::smp_rmb;
pub(crate) use ordering::{
    load_acquire,
    read_once,
    store_release,
    write_once, //
};

/// What was refused comes back, with the reason.
///
/// A call that takes ownership of something and fails returns it in here. `?` turns it into the
/// [`Error`] alone, and drops the item.
pub struct Refused<T> {
    /// What was handed in.
    pub item: T,
    /// Why it was refused.
    pub error: Error,
}

impl<T> Refused<T> {
    /// Creates a refusal of `item`.
    pub fn new(item: T, error: Error) -> Self {
        Self { item, error }
    }

    /// Changes the item, keeps the reason.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Refused<U> {
        Refused {
            item: f(self.item),
            error: self.error,
        }
    }
}

impl<T> From<Refused<T>> for Error {
    fn from(refused: Refused<T>) -> Self {
        refused.error
    }
}

impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Whether the current context is that of a task, and not that of an interrupt.
pub(crate) fn in_task() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_in_task() }
}

/// Whether the current context may sleep, as far as the kernel can tell: not in an interrupt, nor with
/// interrupts disabled, as under a spinlock that interrupts take as well.
pub(crate) fn may_sleep() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_may_sleep() }
}

/// Initialises a list, or an entry that is in none.
pub(crate) fn list_head() -> impl PinInit<Opaque<bindings::list_head>> {
    Opaque::ffi_init(|slot: *mut bindings::list_head| {
        // SAFETY: `slot` is valid for writes, and pinned.
        unsafe { bindings::INIT_LIST_HEAD(slot) };
    })
}

/// The kernel's count of ticks.
#[inline(always)]
pub(crate) fn jiffies() -> Jiffies {
    // SAFETY: The kernel's count of ticks may be read at any time.
    unsafe { ptr::read_volatile(&raw const bindings::jiffies) }
}

/// Rounds a time up to whole jiffies.
///
/// `msecs_to_jiffies()` alone takes 2^31 ms, which are 25 days, and more for a time without an end.
pub(crate) fn as_jiffies(time: Delta) -> Jiffies {
    let ms = time.as_millis_ceil().max(0);
    let seconds = Jiffies::try_from(ms / 1000).unwrap_or(Jiffies::MAX);
    seconds
        .saturating_mul(msecs_to_jiffies(1000))
        .saturating_add(msecs_to_jiffies((ms % 1000) as u32))
        // `MAX_JIFFY_OFFSET`
        .min((c_long::MAX as Jiffies >> 1) - 1)
}

/// Whether a wait of `time` jiffies may be taken for one that ends by itself.
pub(crate) fn is_short(time: Jiffies) -> bool {
    time <= msecs_to_jiffies(60_000)
}

/// Whether the current task is in its exit, in which it gets no signals.
pub(crate) fn is_exiting() -> bool {
    // SAFETY: The current task is valid, and only it changes its flags.
    unsafe { (*Task::current_raw()).flags & bindings::PF_EXITING != 0 }
}

/// The record of a module that callbacks may belong to.
///
/// Records are never freed: when a module goes, its record waits for the next one that comes. So
/// a `&'static Owner` is always valid memory, and there are as many as there ever were modules at
/// one time.
///
/// # Invariants
///
/// * While a module is loaded, from before its first instruction until after its last, exactly one
///   record has its address in `module`, its text in `start` and `size`, and is not to be reused.
/// * `pins` is a `struct tether_owner` of `rust/helpers/tether.c`, and `attached` the
///   `struct tether_attached` in it, for good.
/// * The list in `attached` is one of the `links` of [`Attachment`]s, each valid and pinned for as long
///   as it is in the list, and only touched under the lock that is in there too.
/// * What has entered is counted in there, from before it looks whether the module goes until after it
///   has touched the module for the last time; likewise what pins the module.
#[pin_data]
pub(crate) struct Owner {
    /// The record made before this one. Set before the record is published, never changed.
    next: Cell<*const Owner>,
    /// Odd while the three below change.
    sequence: Atomic<usize>,
    /// The module; null while the record is free, and in the record of text that stays.
    module: Atomic<*mut bindings::module>,
    start: Atomic<usize>,
    size: Atomic<usize>,
    pins: *mut c_void,
    attached: *mut c_void,
    /// Told when an attachment that was being ended by [`Owner::end`] is at its end.
    #[pin]
    ended: CondVar,
}

// SAFETY: `next` is written before the record is shared and only read after that; everything else
// is atomic or under a lock.
unsafe impl Send for Owner {}
// SAFETY: As above.
unsafe impl Sync for Owner {}

/// The newest record; the others are behind its `next`.
static RECORDS: Atomic<*const Owner> = Atomic::new(ptr::null());

/// The record of text that never goes away: this module's own, or in tree the kernel's.
static PERMANENT: SetOnce<&'static Owner> = SetOnce::new();

/// The record of text of which it is not known how long it stays. It is closed for ever.
static UNKNOWN: SetOnce<&'static Owner> = SetOnce::new();

/// Serialises those who take a free record or make one.
static COMING: SetOnce<Pin<KBox<Mutex<()>>>> = SetOnce::new();

/// What shows `tether/outstanding`, for as long as the machine runs.
static OUTSTANDING: SetOnce<Pin<KBox<debugfs::File<Outstanding>>>> = SetOnce::new();

/// A function that [`Owner::of`] has found the owner of.
///
/// # Invariants
///
/// If `function` is not zero then its text is that of `owner`. It is zero before `owner` is set, and
/// again before that is taken away, which is done when nobody of the function's module runs any more.
struct Found {
    function: Atomic<usize>,
    owner: Atomic<*const Owner>,
}

/// They are kept by their address, the first one that comes.
static FOUND: [Found; 128] = [const {
    Found {
        function: Atomic::new(0),
        owner: Atomic::new(ptr::null()),
    }
}; 128];

impl Owner {
    /// Makes a record, for good.
    fn new() -> Result<&'static Self> {
        // SAFETY: The function has no requirements.
        let pins = unsafe { bindings::tether_owner_new() };
        if pins.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: It was just made.
        let attached = unsafe { bindings::tether_owner_attached(pins) };
        let owner = KBox::pin_init(
            pin_init!(Self {
                next: Cell::new(ptr::null()),
                sequence: Atomic::new(0),
                module: Atomic::new(ptr::null_mut()),
                start: Atomic::new(0),
                size: Atomic::new(0),
                pins,
                attached,
                ended <- new_condvar!("tether::Owner::ended"),
            }),
            GFP_KERNEL,
        )
        .inspect_err(|_| {
            // SAFETY: It was just allocated by `kmalloc`, and is used by nobody.
            unsafe { bindings::kfree(pins) }
        })?;
        // SAFETY: The record is never moved again, nor freed: it is leaked, as the type says.
        Ok(KBox::leak(unsafe { Pin::into_inner_unchecked(owner) }))
    }

    /// The records of modules, newest first.
    #[inline(always)]
    fn records() -> impl Iterator<Item = &'static Owner> {
        let mut next = read_once(&RECORDS);
        core::iter::from_fn(move || {
            // SAFETY: The pointer is null or that of a record, which is never freed; it was
            // published by a release store, which this depends on by its address.
            let owner = unsafe { next.as_ref() }?;
            next = owner.next.get();
            Some(owner)
        })
    }

    /// Opens it, for a module that comes.
    fn open(&self, module: *mut bindings::module) {
        // SAFETY: By the type's invariants; nothing pins it.
        unsafe { bindings::tether_owner_open(self.pins, module) };
    }

    /// Closes it: from here on nothing is made that calls into the module.
    fn close(&self) {
        // SAFETY: By the type's invariants; it is open.
        unsafe { bindings::tether_owner_close(self.pins) };
    }

    /// Makes the record that of `module`, or of none.
    fn set(&self, module: *mut bindings::module, start: usize, size: usize) {
        self.sequence.fetch_add(1usize, Full);
        self.module.store(module, Relaxed);
        self.start.store(start, Relaxed);
        self.size.store(size, Relaxed);
        self.sequence.fetch_add(1usize, Full);
    }

    /// Whether the address is in what the record has for its module's text.
    #[inline(always)]
    fn holds(&self, address: usize) -> bool {
        address.wrapping_sub(read_once(&self.start)) < read_once(&self.size)
    }

    /// Finds the module whose text holds `function`.
    ///
    /// May be called in any context.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the function is in no module that came after Tether: it is not known then how
    /// long its text stays.
    #[inline]
    pub(crate) fn of(function: *const ()) -> Result<&'static Owner> {
        let address = function as usize;
        if let Some(owner) = Self::of_cached(function) {
            return Ok(owner);
        }
        let found = &FOUND[address / 16 % FOUND.len()];
        Self::find_and_keep(address, found).ok_or(EINVAL)
    }

    /// Finds the module whose text holds `function`, if it was found before. The caller calls
    /// [`Owner::of`] otherwise.
    #[inline(always)]
    pub(crate) fn of_cached(function: *const ()) -> Option<&'static Owner> {
        let address = function as usize;
        // Functions begin at multiples of 16.
        let found = &FOUND[address / 16 % FOUND.len()];
        // Anything else each time that something is made would show.
        if read_once(&found.function) != address {
            return None;
        }
        smp_rmb();
        // SAFETY: By the type's invariants: the caller, of whose text it is, runs. Records are
        // never freed.
        Some(unsafe { &*read_once(&found.owner) })
    }

    /// Looks the owner of a function up, and keeps it, if there is room.
    #[cold]
    fn find_and_keep(address: usize, found: &Found) -> Option<&'static Owner> {
        let owner = Self::find(address)?;
        if found.owner.cmpxchg(ptr::null(), owner, Relaxed).is_ok() {
            // INVARIANT: The owner is set. Nobody else sets this, nor takes it away while the caller
            // runs.
            found.function.store(address, Release);
        }
        Some(owner)
    }

    /// Forgets whose text functions are that it was found for.
    fn forget(&self) {
        for found in &FOUND {
            if ptr::eq(found.owner.load(Relaxed), self) {
                // INVARIANT: In this order.
                found.function.store(0, Relaxed);
                found.owner.store(ptr::null(), Release);
            }
        }
    }

    /// Looks the owner of a function up in the records.
    fn find(address: usize) -> Option<&'static Owner> {
        for owner in Self::records() {
            // The record of the caller's module, which is loaded, does not change. Others may:
            // what looks like it is looked at again.
            if owner.holds(address) {
                let sequence = read_once(&owner.sequence);
                smp_rmb();
                let holds = owner.holds(address);
                smp_rmb();
                if holds && sequence & 1 == 0 && read_once(&owner.sequence) == sequence {
                    return Some(owner);
                }
            }
        }
        Self::find_permanent(address)
    }

    #[cold]
    fn find_permanent(address: usize) -> Option<&'static Owner> {
        // SAFETY: The function has no requirements.
        if unsafe { bindings::tether_permanent_text(address) } {
            PERMANENT.copy()
        } else {
            None
        }
    }

    /// The record of a module. Who names another one than its own gets that one's end.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if it came before Tether.
    pub(crate) fn of_module(module: &'static ThisModule) -> Result<&'static Owner> {
        let module = module.as_ptr();
        if module.is_null() {
            return PERMANENT.copy().ok_or(ENODEV);
        }
        Self::records()
            .find(|owner| ptr::eq(owner.module.load(Relaxed), module))
            .ok_or(EINVAL)
    }

    /// In place of what [`Owner::of`] has not found: nothing can be made on behalf of it.
    pub(crate) fn unknown() -> &'static Owner {
        match UNKNOWN.as_ref() {
            Some(owner) => owner,
            // It is there before anybody can call into this crate.
            None => unreachable!(),
        }
    }

    /// The module's name, for messages.
    ///
    /// Only called while the module cannot go: from its own end, or by who has an [`Entered`] or
    /// knows of a pin.
    pub(crate) fn name(&self) -> &CStr {
        let module = self.module.load(Relaxed);
        if module.is_null() {
            return c"(permanent)";
        }
        // SAFETY: The module is still there, as the caller has seen to, and its name is a string
        // in its own structure.
        unsafe { CStr::from_char_ptr(bindings::tether_module_name(module)) }
    }

    /// Whether the init of the module has succeeded, and its removal has not begun.
    ///
    /// Only called while the module cannot go: with an [`Entered`], or with a pin.
    pub(crate) fn is_live(&self) -> bool {
        let module = self.module.load(Relaxed);
        // SAFETY: The caller guarantees that the module is still there.
        module.is_null() || unsafe { bindings::tether_module_is_live(module) }
    }

    /// Announces that something is being made that will call into this module.
    ///
    /// The module's text stays until the guard is dropped. It does not keep the module from going:
    /// it makes its end wait.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the module is going.
    #[inline]
    pub(crate) fn enter(&'static self) -> Result<Entered> {
        // SAFETY: By the type's invariants.
        if unsafe { bindings::tether_enter(self.attached) } {
            Ok(Entered(self))
        } else {
            Err(ENODEV)
        }
    }

    /// Whether the module's end has begun: everything that would call into it is refused.
    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: By the type's invariants `attached` is a `struct tether_attached`.
        unsafe { bindings::tether_owner_closed(self.attached) }
    }

    /// Whether this is the record of text that stays for as long as the machine runs.
    pub(crate) fn is_permanent(&'static self) -> bool {
        PERMANENT.copy().is_some_and(|owner| ptr::eq(owner, self))
    }

    /// As [`Owner::enter`], but also if the module is going.
    ///
    /// # Safety
    ///
    /// The end of the module must wait for the caller, which it does for code of the module.
    #[cfg(CONFIG_MMU_NOTIFIER)]
    #[cold]
    pub(crate) unsafe fn enter_again(&'static self) -> Entered {
        // SAFETY: By the type's invariants `attached` is a `struct tether_attached`.
        unsafe { bindings::tether_enter_again(self.attached) };
        Entered(self)
    }

    /// Holds the module, so that it cannot be removed: `rmmod` fails with `EAGAIN`.
    ///
    /// Each success must be followed by one [`Owner::unpin`]. May be called in any context.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the module is going.
    pub(crate) fn pin(&'static self) -> Result {
        // SAFETY: By the type's invariants.
        if unsafe { bindings::tether_pin(self.pins) } {
            Ok(())
        } else {
            Err(ENODEV)
        }
    }

    /// What C pins it by.
    #[inline]
    pub(crate) fn pins(&'static self) -> *mut c_void {
        self.pins
    }

    /// Drops a pin.
    ///
    /// # Safety
    ///
    /// The caller must own a success of [`Owner::pin`]. If it is in the module's own text, then
    /// something else must keep that there for as long as it is.
    #[inline]
    pub(crate) unsafe fn unpin(&'static self) {
        // SAFETY: By the type's invariants; one of the pins is the caller's.
        unsafe { bindings::tether_unpin(self.pins) };
    }

    /// Gives back a pin whose callback was disarmed, at the end of a module whose init has failed.
    ///
    /// # Safety
    ///
    /// The caller must own a success of [`Owner::pin`] on this record, which is closed.
    pub(crate) unsafe fn unpin_disarmed(&'static self) {
        // SAFETY: By the type's invariants; one of the pins is the caller's.
        unsafe { bindings::tether_unpin_disarmed(self.pins) };
    }

    /// The lock of what is attached.
    fn lock(&self) -> &SpinLock<()> {
        // SAFETY: By the type's invariants; it is at the beginning, and stays.
        unsafe { SpinLock::from_raw(self.attached.cast()) }
    }

    /// The list of what is attached.
    fn list(&self) -> *mut bindings::list_head {
        // SAFETY: By the type's invariants.
        unsafe { bindings::tether_attached_list(self.attached) }
    }

    /// Looks through what is attached, oldest first, until `f` returns something. `f` is called under a
    /// spinlock.
    pub(crate) fn find_attached<R>(
        &'static self,
        mut f: impl FnMut(&What) -> Option<R>,
    ) -> Option<R> {
        let _guard = self.lock().lock();
        let head = self.list();
        // SAFETY: The head is initialised, and the lock is held.
        let mut links = unsafe { (*head).next };
        while !ptr::eq(links, head) {
            // SAFETY: By the type's invariants this is the `links` of a valid attachment.
            let attachment = unsafe { Attachment::from_links(links) };
            // SAFETY: As above.
            if let Some(found) = f(unsafe { &*(*attachment).what }) {
                return Some(found);
            }
            // SAFETY: As above.
            links = unsafe { (*links).next };
        }
        None
    }

    /// Ends what is left of a module. Sleeps.
    fn end(&'static self) {
        self.close();
        for pass in 1u32.. {
            let disarmed = task_work::disarm(self);
            if disarmed != 0 {
                pr_warn!(
                    "{}: init failed with {} task works queued: they will not run\n",
                    self.name(),
                    disarmed
                );
            }
            // A thread may wait for a younger one, or for one that a callback creates only now. So
            // every thread is asked to stop before the first one is waited for.
            self.request_all();
            let ended = self.end_attached();
            // SAFETY: By the type's invariants.
            let pinned = unsafe { bindings::tether_pinned(self.pins) };
            // SAFETY: By the type's invariants.
            let entered = unsafe { bindings::tether_entered(self.attached) };
            if !ended && pinned == 0 && !entered {
                return;
            }
            fsleep(Delta::from_millis(1));
            if pass % 10_000 == 0 {
                self.complain(pinned);
            }
        }
    }

    /// Names the callbacks that the end of a module waits for. `pinned` is the number of pins.
    #[cold]
    fn complain(&'static self, pinned: c_long) {
        pr_warn!(
            "{}: still waiting for {} callbacks to return\n",
            self.name(),
            pinned
        );
        let _ = self.find_attached(|what| -> Option<()> {
            pr_warn!(
                "{}: {} ({}) has not ended\n",
                self.name(),
                what.kind,
                (what.name)()
            );
            None
        });
    }

    /// Asks every attachment to end that can be asked, without waiting for any.
    ///
    /// The owner must be closed: an attachment that is published later asks itself, see
    /// [`Attachment::attach`].
    fn request_all(&'static self) {
        let _guard = self.lock().lock();
        let head = self.list();
        // SAFETY: The head is initialised, and the lock is held.
        let mut links = unsafe { (*head).next };
        while !ptr::eq(links, head) {
            // SAFETY: By the type's invariants this is the `links` of an attachment, which is valid
            // while the lock is held.
            let attachment = unsafe { &*Attachment::from_links(links) };
            if matches!(attachment.state.load(Acquire), ATTACHED | INDEPENDENT) {
                attachment.request();
            }
            // SAFETY: The entry is in the list, which does not change while the lock is held.
            links = unsafe { (*links).next };
        }
    }

    /// The first thing that is attached, not counting what is still being made; and whether there is
    /// anything at all. The lock must be held.
    fn first_attached(&self) -> (Option<&Attachment>, bool) {
        let list = self.list();
        // SAFETY: The head is initialised, and the lock is held.
        let mut links = unsafe { (*list).next };
        let empty = ptr::eq(links, list);
        while !ptr::eq(links, list) {
            // SAFETY: By the type's invariants this is the `links` of a valid attachment.
            let attachment = unsafe { &*Attachment::from_links(links) };
            if attachment.state.load(Acquire) == ATTACHED {
                return (Some(attachment), !empty);
            }
            // SAFETY: As above.
            links = unsafe { (*links).next };
        }
        (None, !empty)
    }

    /// Ends what is attached, oldest first. Returns whether there was anything.
    fn end_attached(&'static self) -> bool {
        let mut ended = false;
        loop {
            let guard = self.lock().lock();
            let (first, any) = self.first_attached();
            let Some(first) = first else {
                return ended || any;
            };
            ended = true;
            // SAFETY: It is in the list, and the lock is held.
            unsafe { bindings::tether_list_del_init(first.links.get()) };
            first.state.store(ENDING, Relaxed);
            // SAFETY: It was in the list until now, and this module is still there.
            let what = unsafe { &*first.what };
            let attachment = ptr::from_ref(first);
            drop(guard);

            pr_warn!(
                "{}: leaked {} ({}): ended now\n",
                self.name(),
                what.kind,
                (what.name)()
            );
            // SAFETY: The state says that the attachment is ours to end.
            unsafe { (what.end)(attachment) };

            let guard = self.lock().lock();
            // SAFETY: It is not freed before its state says that it was ended: whoever would do so
            // waits for that in `detach`.
            unsafe { &*attachment }.state.store(ENDED, Relaxed);
            self.ended.notify_all();
            drop(guard);
            if let Some(discard) = what.discard {
                // SAFETY: The attachment has ended, and the list's reference, which is handed back
                // below, keeps it valid.
                unsafe { discard(attachment) };
            }
            if let Some(release) = what.release {
                // SAFETY: The list's reference is handed back, once.
                unsafe { release(attachment) };
            }
        }
    }
}

/// Keeps the end of a module waiting; see [`Owner::enter`].
pub(crate) struct Entered(&'static Owner);

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type's invariants; it was entered.
        unsafe { bindings::tether_leave(self.0.attached) };
    }
}

/// What an attachment is, and how it is ended when it was leaked: a constant of who makes it.
pub(crate) struct What {
    /// A word or two for messages: "thread", "mmu notifier".
    pub(crate) kind: &'static str,
    /// The type that is called back, or another name that its author will know.
    pub(crate) name: fn() -> &'static str,
    /// Asks the attachment to end, without waiting. Called in atomic context for every attachment of
    /// the module before the first [`What::end`], and possibly again.
    pub(crate) request: Option<unsafe fn(*const Attachment)>,
    /// Ends it: called once, in process context, where it may sleep. After it has returned the
    /// kernel does not call the module through this attachment.
    ///
    /// Must not run destructors of the module: others may wait until the attachment has ended, and a
    /// destructor may wait for them.
    pub(crate) end: unsafe fn(*const Attachment),
    /// Drops the payload of an attachment that has ended and whose end was published. Called once,
    /// after `end`, in process context. Requires `release`: without the list's reference the object
    /// may be freed as soon as its end is published.
    pub(crate) discard: Option<unsafe fn(*const Attachment)>,
    /// Drops the reference that the list held to where the attachment is, if it held one. Called
    /// once, after `end`; the attachment may be gone afterwards.
    pub(crate) release: Option<unsafe fn(*const Attachment)>,
}

// Where an `Attachment` is in its life. The first three are in `rust/helpers/tether.c`, too.

/// Not attached yet, or taken off by who ends it.
const FREE: u32 = 0;
/// Attached, and being made: its owner's end waits, and does not end it.
const MAKING: u32 = 1;
const ATTACHED: u32 = 2;
/// Being ended by [`Owner::end`].
const ENDING: u32 = 3;
/// Ended by it.
const ENDED: u32 = 4;
/// In the list, but ends by itself and pins its owner until then. [`Owner::end`] asks it to end if an
/// init fails, and waits for its pin.
const INDEPENDENT: u32 = 5;

/// Something of a module's that the kernel calls, and that can be waited for.
///
/// # Invariants
///
/// * It begins with what `struct tether_attachment` of `rust/helpers/tether.c` has.
/// * `state` and `links` only change under the lock of `owner`, except that the task that creates the
///   attachment changes `state` from `MAKING` to `ATTACHED`. The attachment is in the list in these
///   two states and in `INDEPENDENT`; `links` are initialised while it is.
/// * `what` is valid while it is in the list. After that the module may be gone, and it with it.
#[pin_data]
#[repr(C)]
pub(crate) struct Attachment {
    #[pin]
    links: Opaque<bindings::list_head>,
    state: Atomic<u32>,
    what: *const What,
    owner: &'static Owner,
}

// SAFETY: By the type's invariants what changes is touched under a lock.
unsafe impl Send for Attachment {}
// SAFETY: As above.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// An attachment that is not attached yet. `what` must be a constant of what calls this.
    #[inline]
    pub(crate) fn new(owner: &'static Owner, what: &'static What) -> impl PinInit<Self> {
        pin_init!(Self {
            links: Opaque::uninit(),
            state: Atomic::new(FREE),
            what,
            owner,
        })
    }

    /// The attachment that `links` is in.
    ///
    /// # Safety
    ///
    /// It must be the `links` of an attachment.
    unsafe fn from_links(links: *mut bindings::list_head) -> *const Self {
        let links = Opaque::cast_from(links).cast_mut();
        // SAFETY: By the function's contract both are in one attachment.
        unsafe { container_of!(links, Self, links) }
    }

    /// What its type is called.
    ///
    /// # Safety
    ///
    /// Its module must be there still.
    pub(crate) unsafe fn name(&self) -> &'static str {
        // SAFETY: By the function's contract.
        (unsafe { &*self.what }.name)()
    }

    /// Who owns it.
    pub(crate) fn owner(&self) -> &'static Owner {
        self.owner
    }

    /// Calls `make`, which makes what the kernel calls, and attaches it to its owner, who will end it
    /// if nobody else does. Meanwhile the owner's end waits.
    ///
    /// # Errors
    ///
    /// That of `make`; or [`ENODEV`] if the module is going, and then `make` was not called.
    ///
    /// # Safety
    ///
    /// If this succeeds, the attachment must stay valid, and pinned, until [`Attachment::detach`] or
    /// [`Attachment::try_detach`] has returned something, or `detach` nothing, or until it was released as
    /// [`What::release`] says.
    #[inline]
    pub(crate) unsafe fn attach(&self, make: impl FnOnce() -> Result) -> Result {
        // SAFETY: By the type's invariants. It is in no list.
        if !unsafe { bindings::tether_attach(self.owner.attached, self.as_raw()) } {
            return Err(ENODEV);
        }
        make().inspect_err(|_| self.withdraw())?;
        // From here on it may be ended.
        store_release(&self.state, ATTACHED);
        Ok(())
    }

    /// As [`Attachment::attach`], for an attachment that can be asked to end. If the end of the module has
    /// begun meanwhile, it is asked here.
    ///
    /// # Errors
    ///
    /// Those of [`Attachment::attach`].
    ///
    /// # Safety
    ///
    /// The requirements are those of [`Attachment::attach`].
    pub(crate) unsafe fn attach_and_ask(&self, make: impl FnOnce() -> Result) -> Result {
        // SAFETY: The attachment is in no list, and `attached` is that of a `struct tether_owner`.
        if !unsafe { bindings::tether_attach(self.owner.attached, self.as_raw()) } {
            return Err(ENODEV);
        }
        make().inspect_err(|_| self.withdraw())?;
        debug_assert_eq!(read_once(&self.state), MAKING);
        self.publish_and_ask();
        Ok(())
    }

    /// Publishes an attachment that can be asked to end, and asks it if the module ends.
    ///
    /// [`Owner::request_all`] skips an attachment that is not published yet. Both sides are fully
    /// ordered: either it finds the attachment published, or the owner is seen closed here.
    #[inline(never)]
    fn publish_and_ask(&self) {
        self.state.xchg(ATTACHED, Full);
        if self.owner.is_closed() {
            self.ask_published();
        }
    }

    /// Asks an attachment to end that was published when its owner was closed already.
    #[cold]
    fn ask_published(&self) {
        let _guard = self.owner.lock().lock();
        if self.state.load(Relaxed) == ATTACHED {
            self.request();
        }
    }

    /// Asks it to end, if it can be asked. It must be in the list, and the lock be held.
    fn request(&self) {
        // SAFETY: By the type's invariants `what` is valid while the attachment is in the list.
        if let Some(request) = unsafe { &*self.what }.request {
            // SAFETY: The attachment is in the list, and the lock is held, so that it is valid and
            // has not ended.
            unsafe { request(self) };
        }
    }

    /// Leaves the attachment in the list, but lets it end by itself: [`Owner::end`] asks it to end if
    /// an init fails, and nothing else. Returns whether it was attached.
    ///
    /// The caller must own a pin, which stays until after [`Attachment::remove`].
    pub(crate) fn make_independent(&self) -> bool {
        let _guard = self.owner.lock().lock();
        let attached = self.state.load(Acquire) == ATTACHED;
        if attached {
            self.state.store(INDEPENDENT, Relaxed);
        }
        attached
    }

    /// Removes an attachment from the list that was made independent. The caller then owns the
    /// list's reference.
    ///
    /// # Safety
    ///
    /// [`Attachment::make_independent`] must have returned true, and this is called once.
    pub(crate) unsafe fn remove(&self) {
        let _guard = self.owner.lock().lock();
        // SAFETY: The attachment is in the list, by the type's invariants, and the lock is held.
        unsafe { bindings::tether_list_del_init(self.links.get()) };
        self.state.store(FREE, Relaxed);
    }

    /// It was not made after all.
    #[cold]
    fn withdraw(&self) {
        // SAFETY: By the type's invariants. It is in the list, and nobody else takes it off.
        unsafe { bindings::tether_withdraw(self.owner.attached, self.as_raw()) };
    }

    /// A `struct tether_attachment` of `rust/helpers/tether.c`.
    #[inline]
    fn as_raw(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Takes it off its owner's list, so that the caller ends it; the owner's text stays until he
    /// drops what is returned, also if he is somebody else.
    ///
    /// If it is not the caller's to end, then its owner's end has ended it, and this has waited for
    /// that.
    ///
    /// May sleep. The caller must not be what the owner's end waits for.
    #[inline]
    pub(crate) fn detach(&self) -> Option<Entered> {
        let detached = self.try_detach();
        if detached.is_none() {
            self.wait_until_ended();
        }
        detached
    }

    /// Like [`Attachment::detach`], but never waits.
    #[inline]
    pub(crate) fn try_detach(&self) -> Option<Entered> {
        // SAFETY: By the type's invariants.
        let state = unsafe { bindings::tether_detach(self.owner.attached, self.as_raw()) };
        (state == ATTACHED).then(|| Entered(self.owner))
    }

    /// It was not attached: if its owner's end is at it, then waits for that.
    #[cold]
    #[inline(never)]
    fn wait_until_ended(&self) {
        let mut guard = self.owner.lock().lock();
        while self.state.load(Relaxed) == ENDING {
            self.owner.ended.wait(&mut guard);
        }
    }
}

/// What `tether/outstanding` in debugfs shows: what is attached, and what pins a module.
struct Outstanding;

impl Outstanding {
    fn show(_: &Outstanding, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# module kind target-pid age-ms type")?;
        for owner in Owner::records() {
            // The guard keeps the module, and with it the names of its types, where it is.
            let Ok(_entered) = owner.enter() else {
                continue;
            };
            let failed = owner.find_attached(|what| {
                let name = (what.name)();
                f.write_fmt(fmt!("{} {} - - {name}\n", owner.name(), what.kind))
                    .err()
            });
            if let Some(error) = failed {
                return Err(error);
            }
        }
        task_work::show_outstanding(f)
    }
}

/// A module comes: its record is there before its first instruction runs.
#[no_mangle]
extern "C" fn tether_module_coming(
    module: *mut bindings::module,
    start: usize,
    size: usize,
) -> c_int {
    let Some(coming) = COMING.as_ref() else {
        return ENODEV.to_errno();
    };
    let _guard = coming.lock();
    for owner in Owner::records() {
        if owner.module.load(Relaxed).is_null() {
            owner.open(module);
            owner.set(module, start, size);
            return 0;
        }
    }
    match Owner::new() {
        Ok(owner) => {
            owner.open(module);
            owner.set(module, start, size);
            owner.next.set(RECORDS.load(Relaxed));
            RECORDS.store(owner, Release);
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// A module goes: its exit has run, or its init has failed. Its text is freed after this returns.
#[no_mangle]
extern "C" fn tether_module_going(module: *mut bindings::module) {
    for owner in Owner::records() {
        if ptr::eq(owner.module.load(Relaxed), module) {
            owner.end();
            owner.forget();
            owner.set(ptr::null_mut(), 0, 0);
            return;
        }
    }
}

/// Sets the records up, once, before any module that uses them can come.
#[no_mangle]
extern "C" fn tether_init() -> c_int {
    fn init() -> Result {
        PERMANENT.populate(Owner::new()?);
        let unknown = Owner::new()?;
        unknown.close();
        UNKNOWN.populate(unknown);
        COMING.populate(KBox::pin_init(
            new_mutex!((), "tether::COMING"),
            GFP_KERNEL,
        )?);
        task_work::init()?;
        #[cfg(CONFIG_MMU_NOTIFIER)]
        crate::mm::space::init()?;
        #[cfg(CONFIG_MMU_NOTIFIER)]
        crate::mm::shared_notifier::init()?;
        let directory = debugfs::Dir::new(c"tether");
        OUTSTANDING.populate(KBox::pin_init(
            directory.read_callback_file(c"outstanding", Outstanding, &Outstanding::show),
            GFP_KERNEL,
        )?);
        Ok(())
    }
    init().map_or_else(|error| error.to_errno(), |()| 0)
}
