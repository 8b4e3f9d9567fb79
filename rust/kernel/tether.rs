// SPDX-License-Identifier: GPL-2.0

//! Ownership of the code that the kernel calls back into.
//!
//! A callback is a function pointer and an object. A driver hands both to the kernel, which calls
//! the function at a later time. The types of [`task_work`], [`kthread`] and [`mmu_notifier`] keep
//! the object alive; this file keeps the *code* mapped. Safe code may leak a handle, so nothing
//! here depends on a destructor having run.
//!
//! # Vocabulary
//!
//! * The *owner* of a callback is the module that contains the function. An [`Owner`] is the record
//!   of that module. It is looked up by the address of the function when the object is created. A
//!   type or a constant that the driver names would not do, as it may name another module.
//! * A callback that cannot be waited for (a task work in the list of another task, a detached
//!   thread) *pins* its owner ([`Owner::pin`]): the module cannot be removed until the callback has
//!   run. The kernel calls a trampoline in permanent text, which calls the owner and drops the pin
//!   afterwards.
//! * A callback that can be waited for (a registered notifier, an attached thread) is *attached*
//!   to its owner ([`Attachment`]). It does not pin the owner: the module ends it in its exit. An
//!   attachment that remains after the exit was leaked, and is ended before the module's text is
//!   freed.
//! * An owner is *open* until the removal of its module begins, and *closed* from then on: no
//!   further callback into the module can be created, and the existing ones are ended.
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
//! 3. attachments are asked to end, and then ended one by one: threads are stopped and joined,
//!    notifiers unregistered;
//! 4. callbacks that are running, and creations that are half done, are waited for.
//!
//! A thread that ignores the request to stop makes the removal of its module wait, and is named in
//! the log every ten seconds.
//!
//! Drivers use only [`Refused`] of this file. Leaked objects are reported in the log, and
//! outstanding callbacks are listed in `tether/outstanding` in debugfs.
//!
//! C headers: [`include/linux/module.h`](srctree/include/linux/module.h).
//!
//! [`task_work`]: crate::task_work
//! [`kthread`]: crate::kthread
//! [`mmu_notifier`]: crate::mm::mmu_notifier

use crate::{
    bindings,
    debugfs,
    fmt,
    kthread,
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
#[path = "tether/attached.rs"]
mod attached;
#[path = "tether/lock_class.rs"]
pub(crate) mod lock_class;
#[path = "tether/ordering.rs"]
mod ordering;
#[path = "tether/pins.rs"]
mod pins;
#[path = "tether/raw_lock.rs"]
pub(crate) mod raw_lock;

use attached::Attached;
pub(crate) use attached::{
    Attachment,
    Entered,
    What, //
};
use ordering::{
    inc_unless_negative,
    smp_rmb, //
};
pub(crate) use ordering::{
    load_acquire,
    read_once,
    store_release,
    write_once, //
};
pub(crate) use pins::Pins;

/// The error of a call that takes ownership of an item: the item, and the reason of the refusal.
///
/// The `?` operator turns it into the [`Error`] alone, and drops the item.
pub struct Refused<T> {
    /// The item that was passed to the call.
    pub item: T,
    /// The reason of the refusal.
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

/// Whether the current context may sleep, as far as the kernel can tell: not in an interrupt, nor
/// with interrupts disabled, as under a spinlock that interrupts take as well.
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

/// Returns the flags of a task (`PF_*`), which may change at any time unless the task is the current
/// one.
pub(crate) fn task_flags(task: &Task) -> u32 {
    // SAFETY: `task` is a valid task; C reads its flags in the same way.
    unsafe { ptr::read_volatile(&raw const (*task.as_ptr()).flags) }
}

/// Whether a task is a kernel thread (`PF_KTHREAD`), which cannot be killed.
pub(crate) fn is_kernel_thread(task: &Task) -> bool {
    task_flags(task) & bindings::PF_KTHREAD != 0
}

/// Whether the current task is in its exit, or on its way there, and gets no signals any more.
pub(crate) fn is_exiting() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_is_exiting() }
}

/// The task that is in `open` of a misc device. There is at most one, as the kernel holds
/// `misc_mtx`.
pub(crate) static OPENING: Atomic<*mut bindings::task_struct> = Atomic::new(ptr::null_mut());

/// Whether the current task is in `open` of a misc device. The opens of all misc devices of the
/// machine wait for it.
pub(crate) fn is_opening() -> bool {
    // Only the task itself stores its address.
    ptr::eq(OPENING.load(Relaxed), Task::current_raw())
}

/// Whether the current task is a worker of a workqueue.
pub(crate) fn is_workqueue_worker() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::tether_is_workqueue_worker() }
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

/// What shows `tether/outstanding`, for as long as the machine runs.
static OUTSTANDING: SetOnce<Pin<KBox<debugfs::File<Outstanding>>>> = SetOnce::new();

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
    fn attached(&self) -> &Attached {
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

    /// Ends what is left of a module. Sleeps.
    fn end(&'static self) {
        self.close();
        for pass in 1u64.. {
            // A thread may wait for a younger one, or for one that a callback creates only now; and
            // the destructor of an item that is disarmed below may wait for a thread. So every
            // thread is asked to stop before the first wait.
            self.attached.request_all();
            let disarmed = task_work::disarm(self);
            if disarmed != 0 {
                pr_warn!(
                    "{}: init failed with {} task works queued: they will not run\n",
                    self.name(),
                    disarmed
                );
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
            // A callback that is running in another task may be in an interruptible sleep.
            if pass % 1000 == 1 {
                task_work::interrupt(self);
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

/// The file `tether/outstanding` in debugfs, which lists attachments and pins.
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
        kthread::init()?;
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
