// SPDX-License-Identifier: GPL-2.0

//! Reads the events of one watch and the mappings of its process, and sends them to the collector.

use crate::event::Event;
use crate::mapping::mappings_of;
use crate::mapping::Mapping;
use crate::message::Message;
use crate::message::Space;
use crate::message::Totals;
use crate::process::comm;
use libmmwatch::Device;
use libmmwatch::KIND_DROPPED;
use libmmwatch::KIND_EXEC;
use libmmwatch::KIND_NOT_FOLLOWED;
use libmmwatch::KIND_RELEASE;
use nix::errno::Errno;
use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The parts of an address space that are watched, unless all of it is.
#[derive(Clone, Default)]
pub struct Parts {
    pub ranges: Vec<Range<u64>>,
    /// Text that the names of mappings contain.
    pub mappings: Vec<String>,
}

impl Parts {
    pub fn is_all(&self) -> bool {
        self.ranges.is_empty() && self.mappings.is_empty()
    }

    fn has(&self, mapping: &Mapping) -> bool {
        self.mappings.iter().any(|name| mapping.name.contains(name))
    }
}

/// The mappings of an address space that were sent already.
#[derive(Clone, Default)]
pub struct Told {
    mappings: Arc<Mutex<HashSet<Mapping>>>,
}

impl Told {
    /// Sends the new mappings, and returns them.
    pub fn look(&self, space: &Space, out: &Sender<Message>) -> Vec<Mapping> {
        let mut told = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = mappings_of(space.pid);
        new.retain(|mapping| told.insert(mapping.clone()));
        for mapping in &new {
            let _ = out.send(Message::Mapping {
                space: space.index,
                mapping: mapping.clone(),
            });
        }
        new
    }

    fn have_code(&self, address: u64) -> bool {
        let told = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().any(|it| it.executable && it.has(address))
    }
}

/// Minimum interval between two reads of the mappings. The interval grows while there are no new
/// ones.
const MAPPINGS: Duration = Duration::from_millis(50);
/// Minimum interval if an event comes from code outside of all known mappings.
const MAPPINGS_OF_CODE: Duration = Duration::from_millis(2);
/// Longer intervals for both cases if the device follows an exec: this fails if the exec happens
/// while another process reads the mappings.
const MAPPINGS_SELDOM: Duration = Duration::from_secs(1);
const MAPPINGS_OF_CODE_SELDOM: Duration = Duration::from_millis(50);

pub struct SpaceReader {
    pub device: Device,
    pub space: Space,
    pub told: Told,
    pub parts: Parts,
    /// The device follows the process through an exec, as a new address space.
    pub follows: bool,
    /// Number of address spaces so far.
    pub spaces: Arc<AtomicUsize>,
    pub out: Sender<Message>,
    /// Events that were read, but not sent yet.
    pub events: Vec<Event>,
}

impl SpaceReader {
    /// Sends the events that were read. Must precede any other message.
    fn flush(&mut self) {
        if !self.events.is_empty() {
            let _ = self.out.send(Message::Events {
                space: self.space.index,
                events: std::mem::take(&mut self.events),
            });
        }
    }

    /// Reads until the end of the watch.
    pub fn run(mut self) {
        if let Err(error) = self.read() {
            let _ = self.out.send(Message::NotFollowed(format!(
                "process {}: {error}",
                self.space.pid
            )));
        }
    }

    fn read(&mut self) -> io::Result<()> {
        // The times of events are relative to the start of the watch.
        let begun = self.space.time;
        let mut names: HashMap<i32, Option<String>> = HashMap::new();
        // Totals of the previous programs, and of the events of the current one.
        let (mut before, mut now) = (Totals::default(), Totals::default());
        // The mappings were read when the process was stopped.
        let mut looked = Instant::now();
        let (first, often_for_code) = if self.follows {
            (MAPPINGS_SELDOM, MAPPINGS_OF_CODE_SELDOM)
        } else {
            (MAPPINGS, MAPPINGS_OF_CODE)
        };
        let mut often = first;
        let mut over = false;
        while !over {
            if looked.elapsed() > often {
                let new = self.look();
                looked = Instant::now();
                // Reading takes longer the more mappings there are. With `--map`, keep the interval
                // short, so that new mappings are watched soon.
                often = match new || !self.parts.mappings.is_empty() {
                    true => first,
                    false => (2 * often).min(MAPPINGS_SELDOM).max(first),
                };
            }
            // Look for new mappings even if there are no events.
            if !self.device.wait(MAPPINGS)? {
                continue;
            }
            let Some(events) = self.device.read()? else {
                break;
            };
            self.events.reserve(events.len());
            for event in events {
                let count = event.count;
                let mut event = Event::from(event);
                match event.kind {
                    KIND_DROPPED => now.dropped += event.start,
                    _ => event.time += begun,
                }
                match event.kind {
                    KIND_DROPPED | KIND_EXEC | KIND_NOT_FOLLOWED => {}
                    KIND_RELEASE => over |= !(self.follows && event.executed),
                    _ => now.pages += event.pages(),
                }
                if event.kind != KIND_DROPPED && event.tgid != self.space.pid {
                    let name = names
                        .entry(event.tgid)
                        .or_insert_with_key(|tgid| comm(*tgid));
                    event.task = Some(name.clone().unwrap_or(format!("process {}", event.tgid)));
                }
                let unknown = event
                    .stack
                    .first()
                    .is_some_and(|it| !self.told.have_code(*it));
                if unknown && looked.elapsed() > often_for_code {
                    self.flush();
                    self.look();
                    looked = Instant::now();
                }
                let (kind, start, time) = (event.kind, event.start, event.time);
                self.events.push(event);
                match kind {
                    KIND_EXEC => {
                        self.flush();
                        now.count = count.saturating_sub(before.count);
                        self.end(now);
                        before.count = count;
                        before.pages += now.pages;
                        before.dropped += now.dropped;
                        now = Totals::default();
                        self.begin_program(time);
                        looked = Instant::now();
                    }
                    KIND_NOT_FOLLOWED => {
                        self.flush();
                        let error = Errno::from_raw(start as i32).desc();
                        let _ = self.out.send(Message::NotFollowed(format!(
                            "what process {} has executed: {error}",
                            self.space.pid
                        )));
                    }
                    _ => {}
                }
            }
            self.flush();
        }
        let status = self.device.status()?;
        self.end(Totals {
            count: status.count.saturating_sub(before.count),
            pages: status.pages.saturating_sub(before.pages),
            dropped: status.dropped.saturating_sub(before.dropped),
        });
        Ok(())
    }

    fn end(&self, status: Totals) {
        let _ = self.out.send(Message::Ended {
            space: self.space.index,
            status,
        });
    }

    /// The following events are of another program.
    fn begin_program(&mut self, time: u64) {
        self.space = Space {
            index: self.spaces.fetch_add(1, Ordering::Relaxed),
            pid: self.space.pid,
            by: "exec".into(),
            name: comm(self.space.pid).unwrap_or_default(),
            time,
        };
        let _ = self.out.send(Message::Space(self.space.clone()));
        self.told = Told::default();
        self.look();
    }

    /// Sends the new mappings, and watches the selected ones. Returns whether there were new
    /// mappings.
    pub fn look(&self) -> bool {
        let new = self.told.look(&self.space, &self.out);
        for mapping in &new {
            if self.parts.has(mapping) {
                self.add(mapping);
            }
        }
        !new.is_empty()
    }

    /// Watches a mapping, and reports a failure.
    fn add(&self, mapping: &Mapping) {
        if let Err(error) = self.device.add_range(mapping.start..mapping.end, 0) {
            let _ = self.out.send(Message::NotFollowed(format!(
                "{} of process {}: {error}",
                mapping.name, self.space.pid
            )));
        }
    }
}
