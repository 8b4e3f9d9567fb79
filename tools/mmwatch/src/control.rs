// SPDX-License-Identifier: GPL-2.0

//! State that the threads of mmwatch share: the end of the watch, and the amount of work that waits
//! for the collector.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Maximum number of events that wait for the collector. Readers then read no further events. The
/// kernel drops events that do not fit into its queue, and counts them.
const EVENTS: usize = 1 << 20;

#[derive(Default)]
struct State {
    ends: AtomicBool,
    readers: AtomicUsize,
    events: AtomicUsize,
}

#[derive(Clone, Default)]
pub struct Control {
    state: Arc<State>,
}

/// A running reader of events.
pub struct Reading(Control);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.state.readers.fetch_sub(1, Ordering::Release);
    }
}

impl Control {
    /// Asks all readers to read the events up to now, and to end.
    pub fn end(&self) {
        self.state.ends.store(true, Ordering::Relaxed);
    }

    pub fn ends(&self) -> bool {
        self.state.ends.load(Ordering::Relaxed)
    }

    /// Registers a reader, until the returned value is dropped.
    pub fn reading(&self) -> Reading {
        self.state.readers.fetch_add(1, Ordering::Relaxed);
        Reading(self.clone())
    }

    /// Waits until no reader is running, but not longer than the given time.
    pub fn wait_for_readers(&self, patience: Duration) {
        let begun = Instant::now();
        while self.state.readers.load(Ordering::Acquire) != 0 && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Adds events that wait for the collector. Waits while there are too many.
    pub fn add_events(&self, count: usize) {
        while self.state.events.load(Ordering::Relaxed) > EVENTS && !self.ends() {
            thread::sleep(Duration::from_millis(5));
        }
        self.state.events.fetch_add(count, Ordering::Relaxed);
    }

    /// The collector has processed events.
    pub fn remove_events(&self, count: usize) {
        self.state.events.fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_waited_for() {
        let control = Control::default();
        control.wait_for_readers(Duration::from_secs(60));
        let reading = control.reading();
        let begun = Instant::now();
        control.wait_for_readers(Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        let ends = control.clone();
        let reader = thread::spawn(move || {
            while !ends.ends() {
                thread::sleep(Duration::from_millis(1));
            }
            drop(reading);
        });
        control.end();
        control.wait_for_readers(Duration::from_secs(60));
        reader.join().unwrap();
    }

    #[test]
    fn readers_wait_for_the_collector() {
        let control = Control::default();
        control.add_events(EVENTS + 1);
        let adds = control.clone();
        let reader = thread::spawn(move || {
            adds.add_events(1);
            adds.state.events.load(Ordering::Relaxed)
        });
        thread::sleep(Duration::from_millis(30));
        assert!(!reader.is_finished());
        control.remove_events(EVENTS);
        assert_eq!(reader.join().unwrap(), 2);
    }
}
