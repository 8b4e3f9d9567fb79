// SPDX-License-Identifier: GPL-2.0

//! What is made of what was seen: lines as it comes; a summary at the end, as text or as JSON.

use crate::device::Event;
use crate::device::KINDS;
use crate::device::KIND_DROPPED;
use crate::device::KIND_RELEASE;
use crate::trace::Mapping;
use crate::trace::Message;
use crate::trace::Space;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::io::Write;

/// Prints an event on one line; after its process, if there are several.
pub fn live(
    out: &mut impl Write,
    space: Option<&Space>,
    event: &Event,
    colour: bool,
) -> io::Result<()> {
    let time = event.time as f64 / 1e9;
    let whose = space.map_or(String::new(), |space| {
        format!("{}[{}] ", space.name, space.pid)
    });
    if event.kind == KIND_DROPPED {
        return writeln!(
            out,
            "           {whose}-- {} events were dropped --",
            event.start
        );
    }
    if event.kind == KIND_RELEASE {
        return writeln!(out, "{time:10.6} {whose}the address space is gone");
    }
    let (on, off) = match (colour, event.kind) {
        (false, _) => ("", ""),
        (true, 0) => ("\x1b[31m", "\x1b[0m"),
        (true, 1) => ("\x1b[33m", "\x1b[0m"),
        (true, _) => ("\x1b[36m", "\x1b[0m"),
    };
    writeln!(
        out,
        "{time:10.6} {whose}{on}{:<12}{off} {:#014x}-{:#014x} {:>9} pages  pid {} {}{}",
        event.kind_name(),
        event.start,
        event.end,
        event.pages(),
        event.pid,
        event.reason(),
        if event.blockable {
            ""
        } else {
            " (may not block)"
        },
    )
}

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

/// All of it.
#[derive(Default, Serialize)]
pub struct Report {
    program: Vec<String>,
    spaces: Vec<SpaceReport>,
    kinds: BTreeMap<&'static str, Count>,
    reasons: BTreeMap<String, Count>,
    #[serde(skip)]
    ranges: HashMap<(usize, u64, u64), Count>,
    cpus: BTreeMap<u32, u64>,
    not_followed: Vec<String>,
    others: u64,
    last: u64,
    /// How long the program took, in nanoseconds.
    unwatched: Option<u64>,
    watched: Option<u64>,
    /// Only if a picture is wanted.
    #[serde(skip)]
    pub events: Option<Vec<(usize, Event)>>,
    #[serde(skip)]
    pub mappings: Vec<(usize, Mapping)>,
}

/// How many events are kept for a picture, at the most.
const EVENTS: usize = 4_000_000;

impl Report {
    pub fn spaces(&self) -> &[SpaceReport] {
        &self.spaces
    }

    /// When the last thing happened.
    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn add(&mut self, message: Message) {
        match message {
            Message::Program { words, .. } => self.program = words,
            Message::Space(space) => self.spaces.push(SpaceReport {
                space,
                count: 0,
                pages: 0,
                dropped: 0,
                end: None,
            }),
            Message::Event { space, event } => self.add_event(space, event),
            Message::Mapping { space, mapping } => self.mappings.push((space, mapping)),
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
        if event.kind == KIND_RELEASE {
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

    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let seconds = self.last as f64 / 1e9;
        let rate = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let total = |of: fn(&SpaceReport) -> u64| self.spaces.iter().map(of).sum::<u64>();
        writeln!(out, "mmwatch: {}, {seconds:.3} s\n", self.title())?;
        writeln!(
            out,
            "  {:<28}{:>10}{:>14}{:>12}",
            "event", "count", "pages", "per second"
        )?;
        // In the kernel's order.
        for name in KINDS {
            if let Some(count) = self.kinds.get(name) {
                writeln!(
                    out,
                    "  {name:<28}{:>10}{:>14}{:>12.1}",
                    count.events,
                    count.pages,
                    rate(count.events)
                )?;
            }
        }
        let count = total(|it| it.count);
        writeln!(
            out,
            "  {:<28}{count:>10}{:>14}{:>12.1}\n",
            "all",
            total(|it| it.pages),
            rate(count)
        )?;
        self.print_reasons(out)?;
        self.print_spaces(out)?;
        self.print_ranges(out)?;
        let dropped = total(|it| it.dropped);
        if dropped != 0 {
            writeln!(
                out,
                "\n  {dropped} events were dropped: counted under \"all\", but not otherwise"
            )?;
        }
        if self.others != 0 {
            writeln!(
                out,
                "\n  Of these, caused by others than the process itself: {}",
                self.others
            )?;
        }
        self.print_end(out)
    }

    /// What follows a table, and lines.
    pub fn print_end(&self, out: &mut impl Write) -> io::Result<()> {
        if let (Some(unwatched), Some(watched)) = (self.unwatched, self.watched) {
            let seconds = |time: u64| time as f64 / 1e9;
            writeln!(
                out,
                "\n  It took {:.3} s, and {:.3} s unwatched: {:+.1} %",
                seconds(watched),
                seconds(unwatched),
                (seconds(watched) / seconds(unwatched) - 1.0) * 100.0
            )?;
        }
        for (index, what) in self.not_followed.iter().enumerate() {
            writeln!(
                out,
                "{}  Not followed: {what}",
                if index == 0 { "\n" } else { "" }
            )?;
        }
        Ok(())
    }

    fn print_reasons(&self, out: &mut impl Write) -> io::Result<()> {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(count.events));
        writeln!(
            out,
            "  {:<28}{:>10}{:>14}{:>12}",
            "by", "count", "pages", "watch, ns"
        )?;
        for (reason, count) in reasons.iter().take(12) {
            writeln!(
                out,
                "  {reason:<28}{:>10}{:>14}{:>12}",
                count.events,
                count.pages,
                count.latency / count.events.max(1)
            )?;
        }
        if reasons.len() > 12 {
            writeln!(out, "  and {} more", reasons.len() - 12)?;
        }
        Ok(())
    }

    fn print_spaces(&self, out: &mut impl Write) -> io::Result<()> {
        if self.spaces.len() < 2 {
            return Ok(());
        }
        let mut spaces: Vec<_> = self.spaces.iter().collect();
        spaces.sort_by_key(|it| std::cmp::Reverse(it.count));
        writeln!(
            out,
            "\n  {:<28}{:>10}{:>14}",
            format!("{} address spaces", spaces.len()),
            "count",
            "pages"
        )?;
        for it in spaces.iter().take(12) {
            writeln!(
                out,
                "  {:<28}{:>10}{:>14}",
                format!("{} {} ({})", it.space.pid, it.space.name, it.space.by),
                it.count,
                it.pages
            )?;
        }
        if spaces.len() > 12 {
            writeln!(out, "  and {} more", spaces.len() - 12)?;
        }
        Ok(())
    }

    fn print_ranges(&self, out: &mut impl Write) -> io::Result<()> {
        let mut ranges: Vec<_> = self.ranges.iter().collect();
        ranges.sort_by_key(|(range, count)| {
            (std::cmp::Reverse((count.events, count.pages)), **range)
        });
        writeln!(
            out,
            "\n  {:<38}{:>10}{:>14}",
            "top ranges", "count", "pages"
        )?;
        for ((space, start, end), count) in ranges.iter().take(10) {
            let name = self
                .mappings
                .iter()
                .find(|(index, it)| index == space && it.start < *end && it.end > *start)
                .map_or(String::new(), |(_, it)| format!("  {}", short(&it.name)));
            writeln!(
                out,
                "  {:<38}{:>10}{:>14}{name}",
                format!("{start:#014x}-{end:#014x}"),
                count.events,
                count.pages
            )?;
        }
        Ok(())
    }
}

/// The last part of a mapping's name.
pub fn short(name: &str) -> &str {
    if name.starts_with('[') {
        return name;
    }
    name.rsplit('/').next().unwrap_or(name)
}
