// SPDX-License-Identifier: GPL-2.0

//! What is made of what was seen.

use crate::event::Event;
use crate::mapping::Mappings;
use crate::message::Message;
use crate::message::Space;
use crate::stack::frames;
use crate::stack::line;
use crate::stack::Frame;
use crate::symbols::Symbols;
use libmmwatch::KIND_DROPPED;
use libmmwatch::KIND_EXEC;
use libmmwatch::KIND_NOT_FOLLOWED;
use libmmwatch::KIND_RELEASE;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::io::Write;

#[derive(Clone, Copy, Default, Serialize)]
pub struct Count {
    pub events: u64,
    pub pages: u64,
    /// Nanoseconds in the watch's callback, and the longest one.
    pub latency: u64,
    pub latency_max: u64,
}

impl Count {
    fn add(&mut self, event: &Event) {
        self.events += 1;
        self.pages += event.pages();
        self.latency += u64::from(event.latency);
        self.latency_max = self.latency_max.max(event.latency.into());
    }

    fn add_count(&mut self, other: &Self) {
        self.events += other.events;
        self.pages += other.pages;
        self.latency += other.latency;
        self.latency_max = self.latency_max.max(other.latency_max);
    }
}

/// What happened to one address space.
#[derive(Serialize)]
pub struct SpaceReport {
    pub space: Space,
    /// What the kernel has counted, also of events that were dropped; as long as it goes on, what was seen.
    pub count: u64,
    pub pages: u64,
    pub dropped: u64,
    /// When it ended, in nanoseconds since the program was started; if it has.
    pub end: Option<u64>,
}

/// Where something happened: the same addresses mean something else in another address space.
#[derive(PartialEq, Eq, Hash)]
struct StackKey {
    space: usize,
    kind: &'static str,
    in_system_call: bool,
    stack: Vec<u64>,
}

/// The same, as functions.
#[derive(Serialize)]
pub struct StackReport {
    pub kind: &'static str,
    pub count: Count,
    pub frames: Vec<Frame>,
}

/// All of it.
#[derive(Default, Serialize)]
pub struct Report {
    program: Vec<String>,
    /// What it forks is not followed.
    pub untraced: bool,
    pub spaces: Vec<SpaceReport>,
    pub kinds: BTreeMap<&'static str, Count>,
    pub reasons: BTreeMap<String, Count>,
    #[serde(skip)]
    pub ranges: HashMap<(usize, u64, u64), Count>,
    #[serde(skip)]
    stacks: HashMap<StackKey, Count>,
    cpus: BTreeMap<u32, u64>,
    pub not_followed: Vec<String>,
    pub others: u64,
    /// When the last thing happened.
    pub last: u64,
    /// How long the program took, in nanoseconds.
    pub unwatched: Option<u64>,
    pub watched: Option<u64>,
    /// Only if a picture is wanted.
    #[serde(skip)]
    pub events: Option<Vec<(usize, Event)>>,
    #[serde(skip)]
    pub mappings: Mappings,
}

/// How many events are kept for a picture, at the most.
const EVENTS: usize = 4_000_000;

impl Report {
    pub fn add(&mut self, message: Message) {
        match message {
            Message::Program {
                words, untraced, ..
            } => {
                self.program = words;
                self.untraced = untraced;
            }
            Message::Space(space) => self.spaces.push(SpaceReport {
                space,
                count: 0,
                pages: 0,
                dropped: 0,
                end: None,
            }),
            Message::Event { space, event } => self.add_event(space, event),
            Message::Mapping { space, mapping } => self.mappings.add(space, mapping),
            Message::Ended { space, status } => {
                if let Some(report) = self.spaces.get_mut(space) {
                    report.count = status.count;
                    report.pages = status.pages;
                    report.dropped = status.dropped;
                }
            }
            Message::Unwatched(time) => self.unwatched = Some(time),
            Message::Watched(time) => self.watched = Some(time),
            Message::NotFollowed(what) => self.not_followed.push(what),
        }
    }

    fn add_event(&mut self, space: usize, event: Event) {
        if event.kind == KIND_DROPPED {
            return;
        }
        self.last = self.last.max(event.time);
        // They are no invalidations.
        if [KIND_RELEASE, KIND_EXEC, KIND_NOT_FOLLOWED].contains(&event.kind) {
            if let Some(report) = self.spaces.get_mut(space) {
                report.end = Some(event.time);
            }
            return;
        }
        if let Some(report) = self.spaces.get_mut(space) {
            report.count += 1;
            report.pages += event.pages();
        }
        self.kinds.entry(event.kind_name()).or_default().add(&event);
        self.reasons.entry(event.reason()).or_default().add(&event);
        self.ranges
            .entry((space, event.start, event.end))
            .or_default()
            .add(&event);
        if !event.stack.is_empty() {
            let key = StackKey {
                space,
                kind: event.kind_name(),
                in_system_call: event.syscall >= 0,
                stack: event.stack.clone(),
            };
            self.stacks.entry(key).or_default().add(&event);
        }
        *self.cpus.entry(event.cpu).or_default() += 1;
        self.others += u64::from(event.task.is_some());
        if let Some(events) = self.events.as_mut().filter(|it| it.len() < EVENTS) {
            events.push((space, event));
        }
    }

    /// The program and its arguments as they fit on a line.
    pub fn title(&self) -> String {
        let line = self.program.join(" ");
        let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() > 60 {
            line = line.chars().take(57).collect::<String>() + "...";
        }
        line
    }

    /// Where most of it happened; none if that was not asked for.
    pub fn stacks(&self) -> Vec<StackReport> {
        let mut symbols = Symbols::default();
        let mut stacks: HashMap<(&str, String), StackReport> = HashMap::new();
        for (key, count) in &self.stacks {
            let mappings = self.mappings.of(key.space);
            let frames = frames(&key.stack, key.in_system_call, mappings, &mut symbols);
            if frames.is_empty() {
                continue;
            }
            // The same in another process may be elsewhere.
            stacks
                .entry((key.kind, line(&frames)))
                .or_insert_with(|| StackReport {
                    kind: key.kind,
                    count: Count::default(),
                    frames,
                })
                .count
                .add_count(count);
        }
        let mut stacks: Vec<_> = stacks.into_iter().collect();
        stacks.sort_by(|(a, one), (b, other)| {
            (other.count.events, other.count.pages, a).cmp(&(one.count.events, one.count.pages, b))
        });
        stacks.into_iter().map(|(_, stack)| stack).collect()
    }

    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let with_stacks = WithStacks {
            report: self,
            stacks: self.stacks(),
        };
        serde_json::to_writer_pretty(&mut *out, &with_stacks)?;
        writeln!(out)
    }
}

#[derive(Serialize)]
struct WithStacks<'a> {
    #[serde(flatten)]
    report: &'a Report,
    stacks: Vec<StackReport>,
}
