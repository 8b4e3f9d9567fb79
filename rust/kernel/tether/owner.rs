// SPDX-License-Identifier: GPL-2.0

//! The records of modules, and module teardown.
//!
//! The record of a module exists from before the first instruction of the module runs until after
//! its last instruction. [`Owner::of`] finds the record by the address of a function.

use super::{
    attached::Attached,
    facility,
    read_once,
    smp_rmb,
    AttachmentOps, //
    OwnerGuard,
    Pins,
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
/// Records are never freed: when a module is removed, its record is reused for a module that is
/// loaded later. Hence a `&'static Owner` is always valid memory, and there are as many records as
/// the largest number of modules that were loaded at the same time.
///
/// # Invariants
///
/// * While a module is loaded, from before its first instruction until after its last, exactly one
///   record has the module's address in `module` and its text in `start` and `size`. This record is
///   not reused meanwhile.
#[pin_data]
pub(crate) struct Owner {
    /// The record created before this one. Set before the record is published, and not changed
    /// afterwards.
    next: Cell<*const Owner>,
    /// Odd while `module`, `start` and `size` change.
    sequence: Atomic<usize>,
    /// The module; null while the record is free, and in the record of permanent text.
    module: Atomic<*mut bindings::module>,
    start: Atomic<usize>,
    size: Atomic<usize>,
    #[pin]
    pins: Pins,
    #[pin]
    attached: Attached,
}

// SAFETY: `next` is written before the record is shared, and only read afterwards. All other fields
// are atomic or protected by a lock.
unsafe impl Send for Owner {}
// SAFETY: `next` is written before the record is shared, and only read afterwards. All other fields
// are atomic or protected by a lock.
unsafe impl Sync for Owner {}

/// The newest record; older records are linked through `next`.
static RECORDS: Atomic<*const Owner> = Atomic::new(ptr::null());

/// The record of text that is never unmapped: the text of Tether's module or, in a kernel tree, of
/// the kernel image.
static PERMANENT: SetOnce<&'static Owner> = SetOnce::new();

/// The record for text of unknown lifetime. It is always closed.
static UNKNOWN: SetOnce<&'static Owner> = SetOnce::new();

/// Serialises the search for a free record and the creation of one.
static COMING: SetOnce<Pin<KBox<Mutex<()>>>> = SetOnce::new();

/// A slot of the cache of [`Owner::of`]: a function and its owner.
///
/// # Invariants
///
/// If `function` is not zero, it is in the text of `owner`. `function` is zero when `owner` is set,
/// and when `owner` is cleared. A slot is cleared after teardown of its module, when no code of the
/// module runs any more.
struct CacheSlot {
    function: Atomic<usize>,
    owner: Atomic<*const Owner>,
}

/// Direct-mapped cache: the first function that hashes to a slot keeps the slot.
static CACHE: [CacheSlot; 128] = [const {
    CacheSlot {
        function: Atomic::new(0),
        owner: Atomic::new(ptr::null()),
    }
}; 128];

impl Owner {
    /// Creates a record, which is never freed.
    fn new() -> Result<&'static Self> {
        // INVARIANT: The record has no module; `set()` assigns one before the module's first
        // instruction.
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
        // SAFETY: `into_inner_unchecked()` requires that the record is not moved afterwards. It is
        // leaked below, and only shared references to it are handed out.
        Ok(KBox::leak(unsafe { Pin::into_inner_unchecked(owner) }))
    }

    /// Returns the records of modules, newest first.
    #[inline(always)]
    pub(super) fn records() -> impl Iterator<Item = &'static Owner> {
        let mut next = read_once(&RECORDS);
        core::iter::from_fn(move || {
            // SAFETY: `next` is null or points to a record that is never freed. The record was
            // initialised before it was published by a release store, and the load of `next` and
            // the accesses to the record are ordered by an address dependency.
            let owner = unsafe { next.as_ref() }?;
            next = owner.next.get();
            Some(owner)
        })
    }

    /// Opens the record for a module that is being loaded.
    fn open(&self, module: *mut bindings::module) {
        self.attached.open();
        self.pins.open(module);
    }

    /// Closes the record: no callback into the module can be created afterwards.
    fn close(&self) {
        self.pins.close();
        self.attached.close();
    }

    /// Assigns the record to `module`, or to no module if `module` is null.
    fn set(&self, module: *mut bindings::module, start: usize, size: usize) {
        self.sequence.fetch_add(1usize, Full);
        self.module.store(module, Relaxed);
        self.start.store(start, Relaxed);
        self.size.store(size, Relaxed);
        self.sequence.fetch_add(1usize, Full);
    }

    /// Returns whether `address` is in the text of the record's module.
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
    /// [`EINVAL`] if neither a module that was loaded after Tether nor permanent text contains the
    /// function, so that the lifetime of its text is not known.
    #[inline]
    pub(crate) fn of(function: *const ()) -> Result<&'static Owner> {
        let address = function as usize;
        if let Some(owner) = Self::of_cached(function) {
            return Ok(owner);
        }
        let found = &CACHE[address / 16 % CACHE.len()];
        Self::find_and_keep(address, found).ok_or(EINVAL)
    }

    /// Returns the owner of `function` if the cache has it. Otherwise the caller calls
    /// [`Owner::of`].
    #[inline(always)]
    pub(crate) fn of_cached(function: *const ()) -> Option<&'static Owner> {
        let address = function as usize;
        // Functions are aligned to 16 bytes.
        let found = &CACHE[address / 16 % CACHE.len()];
        // Fast path: walking the records on each creation is measurably slower.
        if read_once(&found.function) != address {
            return None;
        }
        smp_rmb();
        // SAFETY: `owner` must be a valid record. `function` was read first and is not zero, so
        // `owner` was set, by the invariants of the slot. The slot is not cleared while the caller,
        // which is in the module of the function, runs. Records are never freed.
        Some(unsafe { &*read_once(&found.owner) })
    }

    /// Looks up the owner of a function, and caches it if the slot is free.
    #[cold]
    fn find_and_keep(address: usize, found: &CacheSlot) -> Option<&'static Owner> {
        let owner = Self::find(address)?;
        if found.owner.cmpxchg(ptr::null(), owner, Relaxed).is_ok() {
            // INVARIANT: `owner` contains `function`, and is set before `function`. The slot is not
            // cleared while the caller, which is in the module of the function, runs.
            found.function.store(address, Release);
        }
        Some(owner)
    }

    /// Removes all cache entries that refer to this owner.
    fn forget(&self) {
        for found in &CACHE {
            if ptr::eq(found.owner.load(Relaxed), self) {
                // INVARIANT: `function` is cleared before `owner`, so that no reader pairs the
                // address of a function with a null owner.
                found.function.store(0, Relaxed);
                found.owner.store(ptr::null(), Release);
            }
        }
    }

    /// Looks up the owner of a function in the records.
    fn find(address: usize) -> Option<&'static Owner> {
        for owner in Self::records() {
            // The record of the caller's module does not change, because that module is loaded.
            // Other records may change concurrently; a match is checked again under `sequence`.
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
        // SAFETY: `tether_permanent_text()` requires no more than an address; it does not
        // dereference the address.
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
    /// [`EINVAL`] if the module was loaded before Tether; [`ENODEV`] if `module` is null (built-in
    /// code) and Tether is not initialised yet.
    pub(crate) fn of_module(module: &'static ThisModule) -> Result<&'static Owner> {
        let module = module.as_ptr();
        if module.is_null() {
            return PERMANENT.copy().ok_or(ENODEV);
        }
        Self::records()
            .find(|owner| ptr::eq(owner.module.load(Relaxed), module))
            .ok_or(EINVAL)
    }

    /// Returns the record for functions that [`Owner::of`] does not find. This record is closed, so
    /// that no callback can be created for it.
    pub(crate) fn unknown() -> &'static Owner {
        match UNKNOWN.as_ref() {
            Some(owner) => owner,
            // `tether_init()` sets `UNKNOWN` before any module can call into this crate.
            None => unreachable!(),
        }
    }

    /// Returns the name of the module, for messages.
    ///
    /// The caller must ensure that the module is not freed: by an [`OwnerGuard`], by a pin, or
    /// because the caller is the task that removes the module.
    pub(crate) fn name(&self) -> &CStr {
        let module = self.module.load(Relaxed);
        if module.is_null() {
            return c"(permanent)";
        }
        // SAFETY: `from_char_ptr()` requires a NUL-terminated string that stays valid. The string
        // is in the `struct module`, which the caller keeps from being freed.
        unsafe { CStr::from_char_ptr(bindings::tether_module_name(module)) }
    }

    /// Returns whether the init of the module has succeeded and its removal has not begun.
    ///
    /// The caller must keep the module from being freed, by an [`OwnerGuard`] or by a pin.
    pub(crate) fn is_live(&self) -> bool {
        let module = self.module.load(Relaxed);
        // SAFETY: `tether_module_is_live()` requires a module that is not freed meanwhile, which
        // the caller guarantees.
        module.is_null() || unsafe { bindings::tether_module_is_live(module) }
    }

    /// Requests every attachment to end if the exit of the module is running.
    ///
    /// A wait in the module's exit calls this function. The exit drops the handles one after the
    /// other, and a thread that is waited for may itself wait for a worker: the worker's handle is
    /// dropped later, and its work is in an interruptible sleep.
    #[cold]
    pub(crate) fn request_all_in_exit(&'static self) {
        if self.is_in_exit() {
            self.attached.request_all();
        }
    }

    /// Returns whether the exit of the module is running or is about to be called.
    pub(crate) fn is_in_exit(&'static self) -> bool {
        let Ok(_entered) = self.enter() else {
            return false;
        };
        // SAFETY: `tether_module_is_going()` requires null or a module that is not freed meanwhile.
        // The guard `_entered` keeps the module from being freed.
        unsafe { bindings::tether_module_is_going(self.module.load(Relaxed)) }
    }

    /// Enters the module, to create a callback into the module or to use the module for a short
    /// time.
    ///
    /// The module's text stays mapped until the guard is dropped. The guard does not prevent the
    /// removal of the module: teardown waits for the guard.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the module is being torn down.
    #[inline]
    pub(crate) fn enter(&'static self) -> Result<OwnerGuard> {
        if !self.attached.enter() {
            return Err(ENODEV);
        }
        // SAFETY: `OwnerGuard::new()` requires that the caller has entered the owner.
        // `Attached::enter()` has returned true, and this entry is passed to the guard.
        Ok(unsafe { OwnerGuard::new(self) })
    }

    /// Returns the attachments of the module.
    #[inline]
    pub(super) fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Returns whether this is the record of text that is never unmapped.
    pub(crate) fn is_permanent(&'static self) -> bool {
        PERMANENT.copy().is_some_and(|owner| ptr::eq(owner, self))
    }

    /// Enters the module even if it is being torn down; see [`Owner::enter`].
    ///
    /// # Safety
    ///
    /// Teardown of the module must wait for the caller. It does so for code of the module.
    #[cfg(CONFIG_MMU_NOTIFIER)]
    #[cold]
    pub(crate) unsafe fn enter_again(&'static self) -> OwnerGuard {
        self.attached.enter_again();
        // SAFETY: `OwnerGuard::new()` requires that the caller has entered the owner.
        // `Attached::enter_again()` has done so, and this entry is passed to the guard.
        unsafe { OwnerGuard::new(self) }
    }

    /// Adds a pin, so that the module cannot be removed: `rmmod` fails with `EAGAIN`.
    ///
    /// Each successful call must be followed by one call of [`Owner::unpin`]. May be called in any
    /// context but NMI.
    ///
    /// # Errors
    ///
    /// [`ENODEV`] if the module is being removed.
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
    /// The caller must own a pin of [`Owner::pin`], which is dropped by this call. If the caller is
    /// in the module's own text, that text must be kept mapped by other means.
    #[inline]
    pub(crate) unsafe fn unpin(&'static self) {
        // SAFETY: `Pins::unpin()` requires that the caller owns a pin and that the text it runs in
        // stays mapped. Both are requirements of this function.
        unsafe { self.pins.unpin() };
    }

    /// Drops the pin of a callback that was disarmed after a failed init.
    ///
    /// # Safety
    ///
    /// The caller must own a pin of [`Owner::pin`] on this record, which is dropped by this call.
    /// The record must be closed.
    pub(crate) unsafe fn unpin_disarmed(&'static self) {
        // SAFETY: `Pins::unpin_disarmed()` requires that the caller owns a pin and that the pins
        // are closed. Both are requirements of this function.
        unsafe { self.pins.unpin_disarmed() };
    }

    /// Calls `f` for each attachment of the module, oldest first, until `f` returns `Some`, and
    /// returns that value. `f` is called under a spinlock.
    pub(crate) fn find_attached<R>(
        &'static self,
        mut f: impl FnMut(&AttachmentOps) -> Option<R>,
    ) -> Option<R> {
        // SAFETY: `ops()` requires that the module is loaded. The attachment is in the list, and
        // teardown empties the list before the module is freed.
        self.attached
            .find(|attachment| f(unsafe { attachment.ops() }))
    }

    /// Ends interruptible sleeps of the callbacks of this owner that are running. May sleep.
    pub(crate) fn interrupt(&'static self) {
        facility::all().for_each(|facility| (facility.interrupt)(self));
    }

    /// Tears down all remaining callbacks of a module. Sleeps.
    fn end(&'static self) {
        self.close();
        for pass in 1u64.. {
            // A callback that is running in another task may be in an interruptible sleep, and hold
            // a lock that a thread, or a destructor which is called below, waits for.
            if pass % 1000 == 1 && self.pins.pinned() != 0 {
                self.interrupt();
            }
            // A thread may wait for a younger one, or for one that a callback creates only now; and
            // the destructor of an item that is disarmed below may wait for a thread. So every
            // thread is requested to stop before the first wait.
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
            let ended = self.attached.end_all(|ops| {
                pr_warn!(
                    "{}: leaked {} ({}): torn down now\n",
                    self.name(),
                    ops.kind,
                    (ops.name)()
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

    /// Logs the attachments that teardown of the module waits for. `pinned` is the number of pins.
    #[cold]
    fn complain(&'static self, pinned: isize) {
        pr_warn!(
            "{}: still waiting for {} callbacks to return\n",
            self.name(),
            pinned
        );
        let _ = self.find_attached(|ops| -> Option<()> {
            pr_warn!(
                "{}: {} ({}) has not ended\n",
                self.name(),
                ops.kind,
                (ops.name)()
            );
            None
        });
    }
}

/// Called before the first instruction of a module runs: assigns a record to the module.
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

/// Called after the exit of a module has run, or after its init has failed: tears down the module's
/// callbacks. The module's text is freed after this returns.
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
