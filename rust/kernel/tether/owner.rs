// SPDX-License-Identifier: GPL-2.0

//! The records of modules, and the end of a module.
//!
//! The record of a module exists before the first instruction of the module runs, and until after
//! its last. [`Owner::of`] finds it by the address of a function.

use super::{
    attached::Attached,
    facility,
    read_once,
    smp_rmb,
    Entered,
    Pins,
    What, //
};
use crate::{
    bindings,
    new_mutex,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Mutex,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use core::{
    cell::Cell,
    ptr, //
};

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
    #[pin]
    pins: Pins,
    #[pin]
    attached: Attached,
}

// SAFETY: `next` is written before the record is shared and only read after that; all other fields
// are atomic or protected by a lock.
unsafe impl Send for Owner {}
// SAFETY: For the same reason a shared reference may be used by several threads.
unsafe impl Sync for Owner {}

/// The newest record; the others are behind its `next`.
static RECORDS: Atomic<*const Owner> = Atomic::new(ptr::null());

/// The record of text that never goes away: this module's own, or in tree the kernel's.
static PERMANENT: SetOnce<&'static Owner> = SetOnce::new();

/// The record for text of unknown lifetime. It is always closed.
static UNKNOWN: SetOnce<&'static Owner> = SetOnce::new();

/// Serialises the search for a free record and the creation of one.
static COMING: SetOnce<Pin<KBox<Mutex<()>>>> = SetOnce::new();

/// A slot of the cache of [`Owner::of`]: a function and its owner.
///
/// # Invariants
///
/// If `function` is not zero, it is in the text of `owner`. `function` is zero before `owner` is
/// set, and before `owner` is cleared. A slot is cleared after the end of its module, when no code
/// of the module runs any more.
struct Found {
    function: Atomic<usize>,
    owner: Atomic<*const Owner>,
}

/// Direct-mapped cache: the first function that hashes to a slot keeps the slot.
static FOUND: [Found; 128] = [const {
    Found {
        function: Atomic::new(0),
        owner: Atomic::new(ptr::null()),
    }
}; 128];

impl Owner {
    /// Creates a record, which is never freed.
    fn new() -> Result<&'static Self> {
        let owner = KBox::pin_init(
            pin_init!(Self {
                next: Cell::new(ptr::null()),
                sequence: Atomic::new(0),
                module: Atomic::new(ptr::null_mut()),
                start: Atomic::new(0),
                size: Atomic::new(0),
                pins <- Pins::new(),
                attached <- Attached::new(),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The record is never moved again, nor freed: it is leaked, as the type says.
        Ok(KBox::leak(unsafe { Pin::into_inner_unchecked(owner) }))
    }

    /// The records of modules, newest first.
    #[inline(always)]
    pub(super) fn records() -> impl Iterator<Item = &'static Owner> {
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
        self.attached.open();
        self.pins.open(module);
    }

    /// Closes it: from here on nothing is made that calls into the module.
    fn close(&self) {
        self.pins.close();
        self.attached.close();
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

    /// Returns the owner of `function`: the module that contains it.
    ///
    /// # Context
    ///
    /// Any context.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if no module that was loaded after Tether contains the function: the lifetime of
    /// its text is not known.
    #[inline]
    pub(crate) fn of(function: *const ()) -> Result<&'static Owner> {
        let address = function as usize;
        if let Some(owner) = Self::of_cached(function) {
            return Ok(owner);
        }
        let found = &FOUND[address / 16 % FOUND.len()];
        Self::find_and_keep(address, found).ok_or(EINVAL)
    }

    /// Returns the owner of `function` if the cache has it. Otherwise the caller calls
    /// [`Owner::of`].
    #[inline(always)]
    pub(crate) fn of_cached(function: *const ()) -> Option<&'static Owner> {
        let address = function as usize;
        // Functions begin at multiples of 16.
        let found = &FOUND[address / 16 % FOUND.len()];
        // Fast path: walking the records on each creation is measurably slower.
        if read_once(&found.function) != address {
            return None;
        }
        smp_rmb();
        // SAFETY: The invariants of the slot: `function` was read first, and the slot is not
        // cleared as long as the caller, which is in the module of the function, runs. Records are
        // never freed.
        Some(unsafe { &*read_once(&found.owner) })
    }

    /// Looks the owner of a function up, and keeps it, if there is room.
    #[cold]
    fn find_and_keep(address: usize, found: &Found) -> Option<&'static Owner> {
        let owner = Self::find(address)?;
        if found.owner.cmpxchg(ptr::null(), owner, Relaxed).is_ok() {
            // INVARIANT: The owner is set before the function. The slot is not cleared while the
            // caller, which is in the module of the function, runs.
            found.function.store(address, Release);
        }
        Some(owner)
    }

    /// Removes all cache entries that refer to this owner.
    fn forget(&self) {
        for found in &FOUND {
            if ptr::eq(found.owner.load(Relaxed), self) {
                // INVARIANT: `function` is cleared before `owner`, so that no reader pairs the
                // address of a function with a null owner.
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

    /// Returns the record of a module. If a driver passes another module than its own, the object
    /// is torn down when that module is unloaded.
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

    /// Returns the record for functions that [`Owner::of`] does not find. It is closed, so that no
    /// callback can be created for it.
    pub(crate) fn unknown() -> &'static Owner {
        match UNKNOWN.as_ref() {
            Some(owner) => owner,
            // `tether_init()` sets it before any module can call into this crate.
            None => unreachable!(),
        }
    }

    /// The module's name, for messages.
    ///
    /// The caller must keep the module from being removed: by an [`Entered`], by a pin, or because
    /// it is the task that removes the module.
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
    /// The caller must keep the module from being removed, by an [`Entered`] or by a pin.
    pub(crate) fn is_live(&self) -> bool {
        let module = self.module.load(Relaxed);
        // SAFETY: The caller guarantees that the module is still there.
        module.is_null() || unsafe { bindings::tether_module_is_live(module) }
    }

    /// Asks every attachment to end if the exit of the module is running.
    ///
    /// For a wait in that exit, which drops the handles one by one: a thread may wait for a worker
    /// whose handle is dropped later, and whose work is in an interruptible sleep.
    #[cold]
    pub(crate) fn request_all_in_exit(&'static self) {
        if self.is_in_exit() {
            self.attached.request_all();
        }
    }

    /// Whether the exit of the module is running, or its removal is about to call it.
    pub(crate) fn is_in_exit(&'static self) -> bool {
        let Ok(_entered) = self.enter() else {
            return false;
        };
        // SAFETY: The module is null, or there, as it was entered.
        unsafe { bindings::tether_module_is_going(self.module.load(Relaxed)) }
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
        if !self.attached.enter() {
            return Err(ENODEV);
        }
        // SAFETY: It was just entered.
        Ok(unsafe { Entered::new(self) })
    }

    /// Returns the attachments of the module.
    #[inline]
    pub(super) fn attached(&self) -> &Attached {
        &self.attached
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
        self.attached.enter_again();
        // SAFETY: It was just entered.
        unsafe { Entered::new(self) }
    }

    /// Holds the module, so that it cannot be removed: `rmmod` fails with `EAGAIN`.
    ///
    /// Each success must be followed by one [`Owner::unpin`]. May be called in any context.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the module is going.
    pub(crate) fn pin(&'static self) -> Result {
        if self.pins.pin() {
            Ok(())
        } else {
            Err(ENODEV)
        }
    }

    /// Returns the pins of the module.
    #[inline]
    pub(crate) fn pins(&'static self) -> &'static Pins {
        &self.pins
    }

    /// Drops a pin.
    ///
    /// # Safety
    ///
    /// The caller must own a success of [`Owner::pin`]. If it is in the module's own text, then
    /// something else must keep that there for as long as it is.
    #[inline]
    pub(crate) unsafe fn unpin(&'static self) {
        // SAFETY: The contract is the same.
        unsafe { self.pins.unpin() };
    }

    /// Drops the pin of a callback that was disarmed after a failed init.
    ///
    /// # Safety
    ///
    /// The caller must own a success of [`Owner::pin`] on this record, which is closed.
    pub(crate) unsafe fn unpin_disarmed(&'static self) {
        // SAFETY: The contract is the same.
        unsafe { self.pins.unpin_disarmed() };
    }

    /// Looks through what is attached, oldest first, until `f` returns something. `f` is called
    /// under a spinlock.
    pub(crate) fn find_attached<R>(
        &'static self,
        mut f: impl FnMut(&What) -> Option<R>,
    ) -> Option<R> {
        // SAFETY: The attachment is in the list, so that its module is still loaded.
        self.attached
            .find(|attachment| f(unsafe { attachment.what() }))
    }

    /// Ends interruptible sleeps of the callbacks of this owner that are running. May sleep.
    pub(crate) fn interrupt(&'static self) {
        facility::all().for_each(|facility| (facility.interrupt)(self));
    }

    /// Ends what is left of a module. Sleeps.
    fn end(&'static self) {
        self.close();
        for pass in 1u64.. {
            // A callback that is running in another task may be in an interruptible sleep, and hold a
            // lock that a thread, or a destructor which is called below, waits for.
            if pass % 1000 == 1 {
                self.interrupt();
            }
            // A thread may wait for a younger one, or for one that a callback creates only now; and
            // the destructor of an item that is disarmed below may wait for a thread. So every
            // thread is asked to stop before the first wait.
            self.attached.request_all();
            for facility in facility::all() {
                let disarmed = (facility.disarm)(self);
                if disarmed != 0 {
                    pr_warn!(
                        "{}: init failed with {} {}s queued: they will not run\n",
                        self.name(),
                        disarmed,
                        facility.kind
                    );
                }
            }
            let ended = self.attached.end_all(|what| {
                pr_warn!(
                    "{}: leaked {} ({}): ended now\n",
                    self.name(),
                    what.kind,
                    (what.name)()
                );
            });
            let pinned = self.pins.pinned();
            if !ended && pinned == 0 && !self.attached.is_entered() {
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
    fn complain(&'static self, pinned: isize) {
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

/// Creates the records that belong to no module.
pub(super) fn init() -> Result {
    PERMANENT.populate(Owner::new()?);
    let unknown = Owner::new()?;
    unknown.close();
    UNKNOWN.populate(unknown);
    COMING.populate(KBox::pin_init(
        new_mutex!((), "tether::COMING"),
        GFP_KERNEL,
    )?);
    Ok(())
}
