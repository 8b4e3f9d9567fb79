// SPDX-License-Identifier: GPL-2.0

//! Reads the events of one watch and the mappings of its process, and sends them to the collector.

use crate::control::Control;
use crate::event::Event;
use crate::mapping::mappings_of;
use crate::mapping::Mapping;
use crate::message::Message;
use crate::message::Space;
use crate::message::Totals;
use crate::parts::Parts;
use crate::parts::Pieces;
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
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The mappings of an address space that were sent and still exist.
#[derive(Clone, Default)]
pub struct Told {
    mappings: Arc<Mutex<HashSet<Mapping>>>,
}

impl Told {
    /// Reads the mappings, and sends the changes. Returns the mappings, and whether there were
    /// changes.
    pub fn look(&self, space: &Space, time: u64, out: &Sender<Message>) -> (Vec<Mapping>, bool) {
        let mut told = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        let now = mappings_of(space.pid);
        // An exiting process has no mappings. They are still needed to interpret its last events.
        if now.is_empty() {
            return (now, false);
        }
        let current: HashSet<&Mapping> = now.iter().collect();
        let is_gone = |mapping: &&Mapping| !current.contains(mapping);
        let gone: Vec<_> = told.iter().filter(is_gone).cloned().collect();
        told.retain(|mapping| current.contains(mapping));
        let mut changed = !gone.is_empty();
        let space = space.index;
        for mapping in gone {
            let _ = out.send(Message::Unmapped {
                space,
                mapping,
                time,
            });
        }
        for mapping in &now {
            if told.insert(mapping.clone()) {
                changed = true;
                let _ = out.send(Message::Mapping {
                    space,
                    mapping: mapping.clone(),
                    time,
                });
            }
        }
        (now, changed)
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
/// At the end of the watch of a process that continues: time without an event after which all
/// events were read, and the maximum time of reading.
const SILENCE: Duration = Duration::from_millis(40);
const LAST: Duration = Duration::from_secs(1);

pub struct SpaceReader {
    pub device: Device,
    pub space: Space,
    pub told: Told,
    pub parts: Parts,
    pub pieces: Pieces,
    /// Start of the watch, in nanoseconds since the start of the program.
    pub watch_begun: u64,
    /// The device follows the process through an exec, as a new address space.
    pub follows: bool,
    /// Number of address spaces so far.
    pub spaces: Arc<AtomicUsize>,
    pub out: Sender<Message>,
    pub control: Control,
    /// The start of the program.
    pub begun: Instant,
    /// Events that were read, but not sent yet.
    pub events: Vec<Event>,
}

/// The counts of the events of the current program that were read.
#[derive(Default)]
struct Seen {
    events: u64,
    pages: u64,
    dropped: u64,
    /// Events of one invalidation that two ranges have recorded.
    repeated: u64,
    repeated_pages: u64,
}

impl Seen {
    /// Returns the totals of the current program, of the kernel's totals since the last program.
    fn totals(&self, count: u64, pages: u64) -> Totals {
        let count = count.saturating_sub(self.repeated);
        Totals {
            count,
            pages: pages.saturating_sub(self.repeated_pages),
            // Some events may not have been read when the watch was ended.
            dropped: self.dropped.max(count.saturating_sub(self.events)),
        }
    }
}

impl SpaceReader {
    /// Sends the events that were read. Must precede any other message.
    fn flush(&mut self) {
        if !self.events.is_empty() {
            self.control.add_events(self.events.len());
            let _ = self.out.send(Message::Events {
                space: self.space.index,
                events: std::mem::take(&mut self.events),
            });
        }
    }

    /// Reads until the end of the watch.
    pub fn run(mut self) {
        if let Err(error) = self.read() {
            self.flush();
            let _ = self.out.send(Message::NotFollowed(format!(
                "process {}: {error}: further events are missing",
                self.space.pid
            )));
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut names: HashMap<i32, Option<String>> = HashMap::new();
        // The kernel's totals at the end of the previous program.
        let (mut before, mut pages_before) = (0, 0);
        let mut seen = Seen::default();
        let selects = !self.parts.is_all();
        // The mappings were read when the process was stopped.
        let mut looked = Instant::now();
        let (first, often_for_code) = if self.follows {
            (MAPPINGS_SELDOM, MAPPINGS_OF_CODE_SELDOM)
        } else {
            (MAPPINGS, MAPPINGS_OF_CODE)
        };
        let mut often = first;
        let mut over = false;
        let mut ending: Option<Instant> = None;
        while !over {
            if ending.is_none() && self.control.ends() {
                ending = Some(Instant::now());
            }
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
            let ready = self.device.wait(ending.map_or(MAPPINGS, |_| SILENCE))?;
            if ending.is_some_and(|begun| !ready || begun.elapsed() > LAST) {
                break;
            }
            if !ready {
                continue;
            }
            let Some(events) = self.device.read()? else {
                break;
            };
            self.events.reserve(events.len());
            for event in events {
                let count = event.count;
                if selects && self.pieces.is_repeated(&event) {
                    seen.repeated += 1;
                    seen.repeated_pages += Event::from(event).pages();
                    continue;
                }
                let mut event = Event::from(event);
                match event.kind {
                    KIND_DROPPED => seen.dropped += event.start,
                    // The times of events are relative to the start of the watch.
                    _ => event.time += self.watch_begun,
                }
                match event.kind {
                    KIND_DROPPED | KIND_EXEC | KIND_NOT_FOLLOWED => {}
                    KIND_RELEASE => over |= !(self.follows && event.executed),
                    _ => {
                        seen.events += 1;
                        seen.pages += event.pages();
                    }
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
                        let pages = seen.pages;
                        self.end(seen.totals(count.saturating_sub(before), pages));
                        before = count;
                        pages_before += pages;
                        seen = Seen::default();
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
        self.end(seen.totals(
            status.count.saturating_sub(before),
            status.pages.saturating_sub(pages_before),
        ));
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

    /// Sends changes of the mappings, and watches the selected mappings. Returns whether there were
    /// changes.
    pub fn look(&mut self) -> bool {
        let time = self.begun.elapsed().as_nanos() as u64;
        let (mappings, changed) = self.told.look(&self.space, time, &self.out);
        if !self.parts.is_all() && !mappings.is_empty() {
            for error in self.pieces.update(&self.device, &self.parts, &mappings) {
                let _ = self.out.send(Message::NotFollowed(format!(
                    "a range of process {}: {error}",
                    self.space.pid
                )));
            }
        }
        changed
    }
}
