// SPDX-License-Identifier: GPL-2.0

//! Collects events and counts them for the report.

use crate::event::kind_name;
use crate::event::reason;
use crate::event::Event;
use crate::mappings::Mappings;
use crate::message::Message;
use crate::message::Space;
use crate::range_counts::RangeCounts;
use crate::stack::frames;
use crate::stack::line;
use crate::stack::Frame;
use crate::symbols::Symbols;
use crate::text::make_printable;
use crate::text::printable;
use libmmwatch::KIND_DROPPED;
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::io::Write;

#[derive(Clone, Copy, Default, Serialize)]
pub struct Count {
    pub events: u64,
    pub pages: u64,
    /// Time in the callback of the watch in nanoseconds: in total, and the longest.
    pub latency: u64,
    pub latency_max: u64,
}

impl Count {
    pub fn add(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.pages = self.pages.saturating_add(other.pages);
        self.latency = self.latency.saturating_add(other.latency);
        self.latency_max = self.latency_max.max(other.latency_max);
    }
}

/// The events of one address space.
#[derive(Serialize)]
pub struct SpaceReport {
    pub space: Space,
    /// The kernel's counts, which include dropped events. Until the address space has ended, the
    /// counts of the events seen so far.
    pub count: u64,
    pub pages: u64,
    pub dropped: u64,
    /// The end of the address space, if it has ended, in nanoseconds since the program was started.
    pub end: Option<u64>,
}

/// The kind and the cause of an event.
#[derive(PartialEq, Eq, Hash)]
struct Cause {
    kind: u32,
    syscall: i32,
    blockable: bool,
    /// Index of the task's name in [`Report::tasks`].
    task: Option<usize>,
}

/// The stack of an event. The address space is included, because addresses differ in meaning.
#[derive(PartialEq, Eq, Hash)]
struct StackKey {
    space: usize,
    kind: &'static str,
    in_system_call: bool,
    stack: Vec<u64>,
}

/// A stack with function names.
#[derive(Serialize)]
pub struct StackReport {
    pub kind: &'static str,
    pub count: Count,
    pub frames: Vec<Frame>,
}

/// The report.
#[derive(Default, Serialize)]
pub struct Report {
    program: Vec<String>,
    /// Processes that the program forks are not watched.
    pub untraced: bool,
    pub spaces: Vec<SpaceReport>,
    #[serde(skip)]
    causes: FxHashMap<Cause, Count>,
    /// The names of tasks outside of the watched process.
    #[serde(skip)]
    tasks: Vec<String>,
    #[serde(skip)]
    pub ranges: RangeCounts,
    #[serde(skip)]
    stacks: HashMap<StackKey, Count>,
    /// Number of events on each CPU.
    cpus: Vec<u64>,
    pub not_followed: Vec<String>,
    /// Effects of the watch on the program.
    pub notes: Vec<String>,
    /// The reason for which the report is incomplete.
    pub incomplete: Option<String>,
    pub others: u64,
    /// Time of the last event.
    pub last: u64,
    /// Run time of the program in nanoseconds.
    pub unwatched: Option<u64>,
    pub watched: Option<u64>,
    /// The events, if a diagram is drawn.
    #[serde(skip)]
    pub events: Option<Vec<(usize, Event)>>,
    #[serde(skip)]
    pub mappings: Mappings,
}

/// Maximum number of events in a diagram.
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
            Message::Space(mut space) => {
                make_printable(&mut space.name);
                make_printable(&mut space.by);
                self.spaces.push(SpaceReport {
                    space,
                    count: 0,
                    pages: 0,
                    dropped: 0,
                    end: None,
                });
            }
            Message::Event { space, event } => self.add_events(space, vec![event]),
            Message::Events { space, events } => self.add_events(space, events),
            Message::Mapping {
                space,
                mut mapping,
                time,
            } => {
                make_printable(&mut mapping.name);
                self.mappings.add(space, mapping, time);
            }
            Message::Unmapped {
                space,
                mut mapping,
                time,
            } => {
                make_printable(&mut mapping.name);
                self.mappings.end(space, &mapping, time);
            }
            Message::Ended { space, status } => {
                if let Some(report) = self.spaces.get_mut(space) {
                    report.count = status.count;
                    report.pages = status.pages;
                    report.dropped = status.dropped;
                }
            }
            Message::Unwatched(time) => self.unwatched = Some(time),
            Message::Watched(time) => self.watched = Some(time),
            Message::NotFollowed(mut what) => {
                make_printable(&mut what);
                self.not_followed.push(what);
            }
            Message::Note(mut note) => {
                make_printable(&mut note);
                self.notes.push(note);
            }
            Message::Complete => {}
        }
    }

    fn add_events(&mut self, space: usize, events: Vec<Event>) {
        // Programs often repeat an operation: count equal events in one step.
        for same in events.chunk_by(Event::is_like) {
            self.add_same(space, same);
        }
        if let Some(kept) = &mut self.events {
            let room = EVENTS.saturating_sub(kept.len());
            let invalidations = events.into_iter().filter(|it| !it.is_of_watch());
            kept.extend(invalidations.take(room).map(|event| (space, event)));
        }
    }

    /// Adds events that are equal as defined by [`Event::is_like`].
    fn add_same(&mut self, space: usize, events: &[Event]) {
        let Some(event) = events.first() else {
            return;
        };
        if event.kind == KIND_DROPPED {
            let dropped = events
                .iter()
                .fold(0, |sum: u64, event| sum.saturating_add(event.start));
            if let Some(report) = self.spaces.get_mut(space) {
                report.count = report.count.saturating_add(dropped);
                report.dropped = report.dropped.saturating_add(dropped);
            }
            return;
        }
        let last = events.iter().fold(0, |last, event| last.max(event.time));
        self.last = self.last.max(last);
        if event.is_of_watch() {
            if let Some(report) = self.spaces.get_mut(space) {
                report.end = Some(last);
            }
            return;
        }
        let mut count = Count::default();
        for event in events {
            let latency = event.latency.into();
            count.latency += latency;
            count.latency_max = count.latency_max.max(latency);
        }
        count.events = events.len() as u64;
        count.pages = count.events.saturating_mul(event.pages());
        if let Some(report) = self.spaces.get_mut(space) {
            report.count = report.count.saturating_add(count.events);
            report.pages = report.pages.saturating_add(count.pages);
        }
        let cause = Cause {
            kind: event.kind,
            syscall: event.syscall,
            blockable: event.blockable,
            task: event.task.as_deref().map(|name| self.task(name)),
        };
        self.causes.entry(cause).or_default().add(&count);
        let range = (space, event.start, event.end);
        self.ranges.add(range, event.time, &count, &self.mappings);
        if !event.stack.is_empty() {
            let key = StackKey {
                space,
                kind: event.kind_name(),
                in_system_call: event.syscall >= 0,
                stack: event.stack.clone(),
            };
            self.stacks.entry(key).or_default().add(&count);
        }
        let cpu = event.cpu as usize;
        if cpu >= self.cpus.len() {
            self.cpus.resize(cpu + 1, 0);
        }
        self.cpus[cpu] += count.events;
        if event.task.is_some() {
            self.others += count.events;
        }
    }

    fn task(&mut self, name: &str) -> usize {
        let name = &*printable(name);
        let known = self.tasks.iter().position(|it| it == name);
        known.unwrap_or_else(|| {
            self.tasks.push(name.into());
            self.tasks.len() - 1
        })
    }

    /// Returns the counts of each kind of event, by name.
    pub fn kinds(&self) -> BTreeMap<&'static str, Count> {
        let mut kinds: BTreeMap<_, Count> = BTreeMap::new();
        for (cause, count) in &self.causes {
            kinds.entry(kind_name(cause.kind)).or_default().add(count);
        }
        kinds
    }

    /// Returns the counts of each cause.
    pub fn reasons(&self) -> BTreeMap<String, Count> {
        let mut reasons: BTreeMap<_, Count> = BTreeMap::new();
        for (cause, count) in &self.causes {
            let task = cause.task.map(|index| &*self.tasks[index]);
            let reason = reason(cause.syscall, cause.blockable, task);
            reasons.entry(reason).or_default().add(count);
        }
        reasons
    }

    /// Returns the program and its arguments, shortened to one line.
    pub fn title(&self) -> String {
        let line = self.program.join(" ");
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut line = printable(&line).into_owned();
        if line.chars().count() > 60 {
            line = line.chars().take(57).collect::<String>() + "...";
        }
        line
    }

    /// Returns the stacks, the most frequent first. Empty without `--stacks`.
    pub fn stacks(&self) -> Vec<StackReport> {
        let mut symbols = Symbols::default();
        let mut stacks: HashMap<(&str, String), StackReport> = HashMap::new();
        for (key, count) in &self.stacks {
            let mappings = self.mappings.of(key.space);
            let frames = frames(&key.stack, key.in_system_call, mappings, &mut symbols);
            if frames.is_empty() {
                continue;
            }
            // Functions may have different addresses in different processes, so compare names.
            stacks
                .entry((key.kind, line(&frames)))
                .or_insert_with(|| StackReport {
                    kind: key.kind,
                    count: Count::default(),
                    frames,
                })
                .count
                .add(count);
        }
        let mut stacks: Vec<_> = stacks.into_iter().collect();
        stacks.sort_by(|(a, one), (b, other)| {
            (other.count.events, other.count.pages, a).cmp(&(one.count.events, one.count.pages, b))
        });
        stacks.into_iter().map(|(_, stack)| stack).collect()
    }

    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let whole = Whole {
            report: self,
            kinds: self.kinds(),
            reasons: self.reasons(),
            stacks: self.stacks(),
        };
        serde_json::to_writer_pretty(&mut *out, &whole)?;
        writeln!(out)
    }
}

/// The report with the values that are computed at the end.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    report: &'a Report,
    kinds: BTreeMap<&'static str, Count>,
    reasons: BTreeMap<String, Count>,
    stacks: Vec<StackReport>,
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::event::tests::event;

    /// Written by `--record`; the first events are of a version without stacks.
    pub const RECORDED: &str = r#"
{"program":{"version":1,"words":["sh","-c","exec  true"]}}
{"space":{"index":0,"pid":93,"by":"exec","name":"sh","time":1000}}
{"mapping":{"space":0,"mapping":{"start":4194304,"end":4198400,"name":"/bin/sh"}}}
{"event":{"space":0,"event":{"time":2000,"start":4194304,"end":4202496,"kind":0,"blockable":true,"executed":false,"pid":93,"tgid":93,"syscall":11,"cpu":1,"latency":300}}}
{"event":{"space":0,"event":{"time":3000,"start":0,"end":18446744073709551615,"kind":5,"blockable":true,"executed":true,"pid":93,"tgid":93,"syscall":59,"cpu":1,"latency":300}}}
{"ended":{"space":0,"status":{"count":1,"published":0,"pages":2,"dropped":0,"ended":1}}}
{"space":{"index":1,"pid":93,"by":"exec","name":"true","time":3500}}
{"mapping":{"space":1,"mapping":{"start":8192,"end":12288,"name":"","offset":0,"executable":true}}}
{"event":{"space":1,"event":{"time":4000,"start":4096,"end":8192,"kind":1,"blockable":true,"executed":false,"pid":93,"tgid":93,"syscall":-1,"cpu":0,"latency":100,"stack":[8448,0,8704]}}}
{"event":{"space":1,"event":{"time":5000,"start":4096,"end":8192,"kind":1,"blockable":true,"executed":false,"pid":93,"tgid":93,"syscall":-1,"cpu":0,"latency":100,"stack":[8448,0,8704]}}}
{"event":{"space":1,"event":{"time":1000000000,"start":4096,"end":8192,"kind":1,"blockable":true,"executed":false,"pid":50,"tgid":50,"syscall":-1,"cpu":0,"latency":100,"task":"kswapd0"}}}
{"event":{"space":1,"event":{"time":0,"start":7,"end":0,"kind":9,"blockable":false,"executed":false,"pid":0,"tgid":0,"syscall":-1,"cpu":0,"latency":0}}}
{"ended":{"space":1,"status":{"count":10,"pages":12,"dropped":7}}}
{"not_followed":"what process 93 has executed: Operation not permitted"}
"#;

    fn recorded() -> Report {
        let mut report = Report::default();
        for line in RECORDED.trim().lines() {
            report.add(serde_json::from_str(line).unwrap());
        }
        report
    }

    #[test]
    fn summary() {
        let mut said = Vec::new();
        recorded().print(&mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        for line in [
            "mmwatch: sh -c exec true, 1.000 s",
            "  unmap                                1             2         1.0",
            "  clear                                3             3         3.0",
            "  all                                 11            14        11.0",
            "  a page fault                         2             2         100",
            "  kswapd0                              1             1         100",
            "  2 address spaces                 count         pages",
            "  93 true (exec)                      10            12",
            "  0x000000400000-0x000000402000                  1             2  sh",
            "  0x000000001000-0x000000002000                  3             3",
            "  top stacks                       count         pages",
            "  clear                                2             2",
            "    0x2100 (no file) < 0x2200 (no file)",
            "  7 events were dropped: counted only under \"all\"",
            "  Of these, caused by other processes: 1",
            "  pages are populated there or not. A call causes several events if it changes several mappings, or",
            "  Not followed: what process 93 has executed: Operation not permitted",
        ] {
            assert!(
                said.lines().any(|it| it == line),
                "{line}\nis not in\n{said}"
            );
        }
        assert!(!said.contains("Children"));
    }

    #[test]
    fn json() {
        let mut said = Vec::new();
        recorded().json(&mut said).unwrap();
        let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(said["kinds"]["clear"]["events"], 3);
        assert_eq!(said["spaces"][0]["count"], 1);
        assert_eq!(said["untraced"], false);
        let stack = &said["stacks"][0];
        assert_eq!(
            (&stack["kind"], &stack["count"]["events"]),
            (&"clear".into(), &2.into())
        );
        assert_eq!(stack["frames"][1]["address"], 0x2200);
        assert_eq!(stack["frames"][1]["place"], "0x2200 (no file)");
    }

    #[test]
    fn what_is_recorded_can_be_read_again() {
        for line in RECORDED.trim().lines() {
            let message: Message = serde_json::from_str(line).unwrap();
            let again = serde_json::to_string(&message).unwrap();
            let message_again: Message = serde_json::from_str(&again).unwrap();
            assert_eq!(format!("{message:?}"), format!("{message_again:?}"));
        }
    }

    #[test]
    fn many_at_once_are_what_they_are_one_by_one() {
        let mut events = Vec::new();
        for (index, end) in [8192, 8192, 12288, 8192, 8192].into_iter().enumerate() {
            let mut event = event(0, 4096, end);
            event.time += index as u64;
            event.latency += index as u32;
            events.push(event);
        }
        events[4].cpu = 1;
        events.push(event(KIND_DROPPED, 3, 0));
        let space = 0;
        let [mut one_by_one, mut at_once] = [recorded(), recorded()];
        for report in [&mut one_by_one, &mut at_once] {
            report.events = Some(Vec::new());
        }
        for event in events.clone() {
            one_by_one.add(Message::Event { space, event });
        }
        at_once.add(Message::Events { space, events });
        let said = [one_by_one, at_once].map(|report| {
            let mut said = Vec::new();
            report.json(&mut said).unwrap();
            assert_eq!(report.events.unwrap().len(), 5);
            String::from_utf8(said).unwrap()
        });
        assert_eq!(said[0], said[1]);
        let said: serde_json::Value = serde_json::from_str(&said[1]).unwrap();
        assert_eq!(said["kinds"]["unmap"]["events"], 1 + 5);
        assert_eq!(said["kinds"]["unmap"]["latency_max"], 304);
    }

    #[test]
    fn many_that_are_not_followed() {
        let mut report = Report::default();
        for number in 0..1000 {
            report.add(Message::NotFollowed(format!("process {number}")));
        }
        let mut said = Vec::new();
        report.print_end(&mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said.lines().count(), 22);
        assert!(said.ends_with("\n  and 980 more, which --json lists\n"));
    }

    #[test]
    fn children() {
        let mut report = Report::default();
        report.add(Message::Program {
            version: 1,
            words: vec!["true".into()],
            untraced: true,
        });
        let mut said = Vec::new();
        report.print(&mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("\n  Children are not followed (--untraced)\n"));
    }
}
