// SPDX-License-Identifier: GPL-2.0

//! Rust kernel thread sample: a poller.
//!
//! A thread wakes up periodically and does its work: here, it measures how late it has woken up. It
//! freezes with the system, can be parked, and is stopped when the module is removed:
//!
//! ```sh
//! insmod rust_kthread.ko
//! cd /sys/kernel/debug/rust_kthread
//! echo 20 > period_ms       # takes effect at once: the thread is woken
//! cat lateness              # polls 50, mean delay 1.874 ms, maximum 4.002 ms
//! echo 1 > paused           # parked: ps shows it in state P
//! echo 0 > paused
//! rmmod rust_kthread        # rust_kthread: polled 75 times
//! ```

use kernel::{
    debugfs,
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    uaccess::UserSliceReader, //
};
use tether::kthread::{
    Builder,
    Context,
    Parkable,
    Thread,
    Wake, //
};

module! {
    type: KthreadModule,
    name: "rust_kthread",
    authors: ["The Tether developers"],
    description: "Rust kernel thread sample: a poller",
    license: "GPL",
}

/// Delays of the poller, in microseconds.
struct Lateness {
    polls: i64,
    sum: i64,
    most: i64,
}

/// State shared by the poller and the debugfs files.
#[pin_data]
struct Poller {
    #[pin]
    lateness: Mutex<Lateness>,
    period_ms: Atomic<i64>,
}

impl Poller {
    /// The thread's body.
    fn run(&self, context: &Context<'_, Parkable>) {
        loop {
            let period = Delta::from_millis(self.period_ms.load(Relaxed));
            let begun = Instant::<Monotonic>::now();
            match context.sleep_for(period) {
                Wake::TimedOut => self.poll(begun.elapsed() - period),
                Wake::Stopped => break,
                // A driver switches its device off before this, and on again afterwards.
                Wake::Park(request) => request.park(),
                // The period was changed. (Signals do not occur, because none is allowed.)
                Wake::Woken | Wake::Signal(_) => {}
            }
        }
        pr_info!("polled {} times\n", self.lateness.lock().polls);
    }

    /// The work of each period.
    fn poll(&self, late: Delta) {
        let late = late.as_micros_ceil();
        let mut lateness = self.lateness.lock();
        lateness.polls += 1;
        lateness.sum += late;
        lateness.most = lateness.most.max(late);
    }

    fn show_lateness(this: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lateness = this.lateness.lock();
        let mean = lateness.sum / lateness.polls.max(1);
        writeln!(
            f,
            "polls {}, mean delay {}.{:03} ms, maximum {}.{:03} ms",
            lateness.polls,
            mean / 1000,
            mean % 1000,
            lateness.most / 1000,
            lateness.most % 1000,
        )
    }
}

/// The thread and the state that it shares with the debugfs files.
struct Control {
    poller: Arc<Poller>,
    // Stopped when the last of the files is removed, on module removal.
    thread: Thread<(), Parkable>,
}

impl Control {
    fn show_period(this: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", this.poller.period_ms.load(Relaxed))
    }

    fn set_period(this: &Arc<Self>, reader: &mut UserSliceReader) -> Result {
        let period = read_number(reader)?;
        if !(1..=60_000).contains(&period) {
            return Err(EINVAL);
        }
        this.poller.period_ms.store(period, Relaxed);
        this.thread.wake();
        Ok(())
    }

    fn show_paused(this: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", i32::from(this.thread.is_parked()))
    }

    fn set_paused(this: &Arc<Self>, reader: &mut UserSliceReader) -> Result {
        match read_number(reader)? {
            0 => this.thread.unpark(),
            // Fails with EBUSY if the thread is parked already. The writer can be killed while it
            // waits.
            1 => this.thread.park_killable()?,
            _ => return Err(EINVAL),
        }
        Ok(())
    }
}

/// Reads a number as `echo` writes it.
fn read_number(reader: &mut UserSliceReader) -> Result<i64> {
    let mut text = [0; 16];
    let text = text.get_mut(..reader.len()).ok_or(EINVAL)?;
    reader.read_slice(text)?;
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    text.trim().parse().map_err(|_| EINVAL)
}

#[pin_data]
struct KthreadModule {
    #[pin]
    _lateness: debugfs::File<Arc<Poller>>,
    #[pin]
    _period: debugfs::File<Arc<Control>>,
    #[pin]
    _paused: debugfs::File<Arc<Control>>,
}

impl kernel::InPlaceModule for KthreadModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let poller = Arc::pin_init(
                pin_init!(Poller {
                    lateness <- new_mutex!(Lateness { polls: 0, sum: 0, most: 0 }),
                    period_ms: Atomic::new(100),
                }),
                GFP_KERNEL,
            )?;
            let polling = poller.clone();
            let thread = Builder::new(c"rust_kthread")
                .freezable()
                .parkable()
                .spawn(move |context| polling.run(context))?;
            let control = Arc::new(
                Control {
                    poller: poller.clone(),
                    thread,
                },
                GFP_KERNEL,
            )?;
            let directory = debugfs::Dir::new(c"rust_kthread");
            Ok(try_pin_init!(Self {
                _lateness <- directory.read_callback_file(
                    c"lateness",
                    poller,
                    &Poller::show_lateness,
                ),
                _period <- directory.read_write_callback_file(
                    c"period_ms",
                    control.clone(),
                    &Control::show_period,
                    &Control::set_period,
                ),
                _paused <- directory.read_write_callback_file(
                    c"paused",
                    control,
                    &Control::show_paused,
                    &Control::set_paused,
                ),
            }? Error))
        })
    }
}
