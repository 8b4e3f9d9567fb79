// SPDX-License-Identifier: GPL-2.0

//! Counts the objects of each kind that test modules create, drop, and leak:
//! `tether_ledger/counts` in debugfs. This module stays loaded when the test modules are unloaded,
//! so that their counts stay readable.

use kernel::{
    debugfs,
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

module! {
    type: Ledger,
    name: "ledger",
    authors: ["The Tether developers"],
    description: "Test: counts the objects that other modules create and drop",
    license: "GPL",
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// The kind of an object; see `kinds.rs`.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds, each at the index of its number.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];
            const NAMES: &'static [&'static str] = &[$(stringify!($kind)),*];
        }
    };
}

kinds! {
    /// An item in a box that was added to a task.
    BoxWork,
    /// An item in an `Arc` that was added to a task; the test holds a second `Arc`.
    ArcWork,
    /// A closure that was added to a task, and its `Pending`.
    Closure,
    /// A closure that returns a result, and its `Call`.
    Call,
    /// A queue of a task.
    Queue,
    /// The item that a refused add returns.
    Refusal,
    /// The closure that a cancellation returns.
    Cancellation,
    /// A file that was taken out of the descriptor table.
    TakenFile,
    /// A thread that cannot be parked.
    Thread,
    /// A parkable thread.
    Parkable,
    /// A parkable thread that leaks its `ParkRequest`.
    ParkRequest,
    /// A thread that was created and not started.
    Unstarted,
    /// The builder of a thread.
    Builder,
    /// A `Waker` of a thread.
    Waker,
    /// The result of a thread.
    Exit,
    /// A worker with works of all types.
    Worker,
    /// A worker and a work.
    Work,
    /// A worker and a delayed work.
    DelayedWork,
    /// A notifier with the callbacks for ranges and for the age of pages.
    Notifier,
    /// A notifier that may refuse ranges.
    TryNotifier,
    /// An interval notifier.
    Interval,
    /// An interval notifier that invalidates in two passes.
    TwoPasses,
    /// A shared notifier.
    Shared,
    /// A mirror: the page tables of a device.
    Mirror,
    /// A thread that holds its own handle in its body.
    ThreadCircle,
    /// A worker with a pending work that holds the handle of the worker.
    WorkerCircle,
    /// A device that can be polled. Only one exists at a time.
    PollDevice,
    /// Counters that user space may map.
    Counters,
    /// A stopped tracee of the task that creates this.
    Tracee,
    /// The permission to inspect the tracee of the task that creates this.
    Permission,
    /// The pid namespace in which tasks are numbered for the task that creates this.
    Numbering,
    /// An unstarted thread. Its body holds the handle of a running thread, which drops the first.
    ThreadRing,
    /// A worker. Its pending work holds the handle of a running thread, which drops the worker.
    WorkerRing,
    /// A thread that joins a younger thread.
    Supervisor,
    /// A worker with a running work that joins a younger thread.
    WorkSupervisor,
    /// A worker that a thread flushes, while the flushed work drops the handle of the thread.
    FlushRing,
}

struct Count {
    made: Atomic<i64>,
    dropped: Atomic<i64>,
    forgotten: Atomic<i64>,
}

static COUNTS: [Count; Kind::ALL.len()] = [const {
    Count {
        made: Atomic::new(0),
        dropped: Atomic::new(0),
        forgotten: Atomic::new(0),
    }
}; Kind::ALL.len()];

/// Counts a created object. `ledger_exports.c` exports this and the next two functions.
#[no_mangle]
pub extern "C" fn ledger_made(kind: Kind) {
    COUNTS[kind as usize].made.fetch_add(1, Full);
}

/// Counts a dropped object.
#[no_mangle]
pub extern "C" fn ledger_dropped(kind: Kind) {
    COUNTS[kind as usize].dropped.fetch_add(1, Full);
}

/// Counts a leaked object: its destructor never runs.
#[no_mangle]
pub extern "C" fn ledger_forgotten(kind: Kind) {
    COUNTS[kind as usize].forgotten.fetch_add(1, Full);
}

struct Counts;

impl Counts {
    fn show(_: &Counts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# kind made dropped forgotten")?;
        for (name, count) in Kind::NAMES.iter().zip(&COUNTS) {
            writeln!(
                f,
                "{name} {} {} {}",
                count.made.load(Relaxed),
                count.dropped.load(Relaxed),
                count.forgotten.load(Relaxed),
            )?;
        }
        Ok(())
    }
}

struct Ledger {
    _file: Pin<KBox<debugfs::File<Counts>>>,
}

impl kernel::Module for Ledger {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let directory = debugfs::Dir::new(c"tether_ledger");
        let file = KBox::pin_init(
            directory.read_callback_file(c"counts", Counts, &Counts::show),
            GFP_KERNEL,
        )?;
        Ok(Self { _file: file })
    }
}
