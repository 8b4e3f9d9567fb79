// SPDX-License-Identifier: GPL-2.0

//! How many of each kind were made, dropped, and forgotten for good, by modules that come and go:
//! the file `tether_ledger/counts` in debugfs. It stays when they are gone, so that nobody is asked
//! for his own count.

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
    description: "Test: counts what other modules make and drop",
    license: "GPL",
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// What is made; see `kinds.rs`.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them, each at its own number.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];
            const NAMES: &'static [&'static str] = &[$(stringify!($kind)),*];
        }
    };
}

kinds! {
    /// A box that was added to a task.
    BoxWork,
    /// An `Arc` likewise, of which the maker has another one.
    ArcWork,
    /// A closure likewise, and its `Pending`.
    Closure,
    /// A task's queue.
    Queue,
    /// What a refusal gives back.
    Refusal,
    /// What a cancellation gives back.
    Cancellation,
    /// A file that was taken out of its table.
    TakenFile,
    /// A thread.
    Thread,
    /// One that parks.
    Parkable,
    /// One that forgets that it was asked to.
    ParkRequest,
    /// One that was not started.
    Unstarted,
    /// One that was not made yet.
    Builder,
    /// What wakes a thread.
    Waker,
    /// What a thread has returned.
    Exit,
    /// A worker, with works of all kinds.
    Worker,
    /// A work of its own maker's.
    Work,
    /// Likewise, delayed.
    DelayedWork,
    /// A notifier of ranges, and of what was used.
    Notifier,
    /// One that may refuse.
    TryNotifier,
    /// One of an interval.
    Interval,
    /// Likewise, in two passes.
    TwoPasses,
    /// One that all share.
    Shared,
    /// Page tables of a device.
    Mirror,
    /// A thread whose body has its own handle.
    ThreadCircle,
    /// A worker whose work has it.
    WorkerCircle,
    /// A device that can be polled: there is one at a time.
    PollDevice,
    /// Counters that user space may map.
    Counters,
    /// A process that is stopped by its tracer, who must be the one that makes this.
    Tracee,
    /// What such a one has to keep to; likewise.
    Permission,
    /// How the maker numbers tasks.
    Numbering,
    /// An unstarted thread whose body has the handle of a running one, which drops the first.
    ThreadRing,
    /// A worker whose pending work has the handle of a running thread, which drops the worker.
    WorkerRing,
    /// A thread that joins a younger one.
    Supervisor,
    /// A worker whose running work joins a younger thread.
    WorkSupervisor,
    /// A worker that a thread flushes whose handle is dropped by the work that is flushed.
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

/// One more was made. By their own names these three are exported, in `ledger_exports.c`.
#[no_mangle]
pub extern "C" fn ledger_made(kind: Kind) {
    COUNTS[kind as usize].made.fetch_add(1, Full);
}

/// One of them was dropped.
#[no_mangle]
pub extern "C" fn ledger_dropped(kind: Kind) {
    COUNTS[kind as usize].dropped.fetch_add(1, Full);
}

/// One of them was forgotten together with what it is in: nobody will drop it.
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
