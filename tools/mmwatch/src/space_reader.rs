// SPDX-License-Identifier: GPL-2.0

//! Brings what is seen of one watch to who listens: its events, and the mappings of the process.

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

/// What of an address space is watched, if it is not all.
#[derive(Clone, Default)]
pub struct Parts {
    pub ranges: Vec<Range<u64>>,
    /// What the names of mappings have in them.
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

/// The mappings of an address space that were told of.
#[derive(Clone, Default)]
pub struct Told {
    mappings: Arc<Mutex<HashSet<Mapping>>>,
}

impl Told {
    /// Tells of those that are new. Returns them.
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

/// How often mappings are looked at, at the most; seldomer, where there are no new ones.
const MAPPINGS: Duration = Duration::from_millis(50);
/// The same, if there is code of which it is not known whose it is.
const MAPPINGS_OF_CODE: Duration = Duration::from_millis(2);
/// Both, where the device follows what is executed: it cannot, if that happens just while somebody
/// looks.
const MAPPINGS_SELDOM: Duration = Duration::from_secs(1);
const MAPPINGS_OF_CODE_SELDOM: Duration = Duration::from_millis(50);

pub struct SpaceReader {
    pub device: Device,
    pub space: Space,
    pub told: Told,
    pub parts: Parts,
    /// The device goes on with what the process executes, as a new address space.
    pub follows: bool,
    /// How many address spaces there are.
    pub spaces: Arc<AtomicUsize>,
    pub out: Sender<Message>,
    /// What was read, and not told yet.
    pub events: Vec<Event>,
}

impl SpaceReader {
    /// Tells of what was read. What is told next comes after it.
    fn flush(&mut self) {
        if !self.events.is_empty() {
            let _ = self.out.send(Message::Events {
                space: self.space.index,
                events: std::mem::take(&mut self.events),
            });
        }
    }

    /// Reads until the end.
    pub fn run(mut self) {
        if let Err(error) = self.read() {
            let _ = self.out.send(Message::NotFollowed(format!(
                "process {}: {error}",
                self.space.pid
            )));
        }
    }

    fn read(&mut self) -> io::Result<()> {
        // Those that the device tells are nanoseconds since this.
        let begun = self.space.time;
        let mut names: HashMap<i32, Option<String>> = HashMap::new();
        // What was counted of the programs before, and what is told of this one.
        let (mut before, mut now) = (Totals::default(), Totals::default());
        // Once before this, when it was stopped.
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
                // Looking takes the longer the more there are. Where mappings are wanted, none is
                // to wait.
                often = match new || !self.parts.mappings.is_empty() {
                    true => first,
                    false => (2 * often).min(MAPPINGS_SELDOM).max(first),
                };
            }
            // Mappings that come are looked for, also if nothing happens.
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

    /// What comes next is of another program.
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

    /// Tells of mappings that are new, and watches those that are wanted. Returns whether there
    /// were any.
    pub fn look(&self) -> bool {
        let new = self.told.look(&self.space, &self.out);
        for mapping in &new {
            if self.parts.has(mapping) {
                self.add(mapping);
            }
        }
        !new.is_empty()
    }

    /// Watches a mapping; tells if it cannot be.
    fn add(&self, mapping: &Mapping) {
        if let Err(error) = self.device.add_range(mapping.start..mapping.end, 0) {
            let _ = self.out.send(Message::NotFollowed(format!(
                "{} of process {}: {error}",
                mapping.name, self.space.pid
            )));
        }
    }
}
