// SPDX-License-Identifier: GPL-2.0

//! What is printed: events as they come, or a summary at the end.

use crate::device::Event;
use crate::device::Status;
use crate::device::KINDS;
use crate::device::KIND_DROPPED;
use crate::device::KIND_RELEASE;
use std::collections::HashMap;
use std::io;
use std::io::Write;

/// Prints an event on one line.
pub fn live(out: &mut impl Write, event: &Event, colour: bool) -> io::Result<()> {
    let time = event.time as f64 / 1e9;
    if event.kind == KIND_DROPPED {
        return writeln!(out, "           -- {} events were dropped --", event.start);
    }
    if event.kind == KIND_RELEASE {
        return writeln!(out, "{time:10.6} the address space is gone");
    }
    let (on, off) = match (colour, event.kind) {
        (false, _) => ("", ""),
        (true, 0) => ("\x1b[31m", "\x1b[0m"),
        (true, 1) => ("\x1b[33m", "\x1b[0m"),
        (true, _) => ("\x1b[36m", "\x1b[0m"),
    };
    writeln!(
        out,
        "{time:10.6} {on}{:<12}{off} {:#014x}-{:#014x} {:>9} pages  pid {}{}",
        event.kind_name(),
        event.start,
        event.end,
        event.pages(),
        event.pid,
        if event.blockable {
            ""
        } else {
            " (may not block)"
        },
    )
}

#[derive(Clone, Copy, Default)]
struct Count {
    events: u64,
    pages: u64,
}

impl Count {
    fn add(&mut self, event: &Event) {
        self.events += 1;
        self.pages += event.pages();
    }
}

/// What happened, by kind and by range.
#[derive(Default)]
pub struct Summary {
    kinds: [Count; KINDS.len()],
    ranges: HashMap<(u64, u64), Count>,
    others: u64,
    dropped: u64,
    last: u64,
}

impl Summary {
    pub fn add(&mut self, event: &Event, pid: i32) {
        if event.kind == KIND_DROPPED {
            self.dropped += event.start;
            return;
        }
        self.last = self.last.max(event.time);
        if event.kind == KIND_RELEASE {
            return;
        }
        if let Some(count) = self.kinds.get_mut(event.kind as usize) {
            count.add(event);
        }
        self.ranges
            .entry((event.start, event.end))
            .or_default()
            .add(event);
        if event.tgid != pid {
            self.others += 1;
        }
    }

    pub fn print(&self, out: &mut impl Write, program: &str, status: Status) -> io::Result<()> {
        let seconds = self.last as f64 / 1e9;
        let rate = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        writeln!(
            out,
            "mmwatch: {program}, {seconds:.3} s from its exec to its end\n"
        )?;
        writeln!(
            out,
            "  {:<14}{:>10}{:>14}{:>12}",
            "event", "count", "pages", "per second"
        )?;
        for (name, count) in KINDS.iter().zip(&self.kinds) {
            if count.events != 0 {
                writeln!(
                    out,
                    "  {name:<14}{:>10}{:>14}{:>12.1}",
                    count.events,
                    count.pages,
                    rate(count.events)
                )?;
            }
        }
        writeln!(
            out,
            "  {:<14}{:>10}{:>14}{:>12.1}\n",
            "all",
            status.count,
            status.pages,
            rate(status.count)
        )?;
        let mut ranges: Vec<_> = self.ranges.iter().collect();
        ranges.sort_by_key(|(range, count)| {
            (std::cmp::Reverse((count.events, count.pages)), **range)
        });
        writeln!(out, "  {:<36}{:>7}{:>14}", "top ranges", "count", "pages")?;
        for ((start, end), count) in ranges.iter().take(10) {
            writeln!(
                out,
                "  {:<36}{:>7}{:>14}",
                format!("{start:#014x}-{end:#014x}"),
                count.events,
                count.pages
            )?;
        }
        if self.dropped != 0 || status.dropped != 0 {
            writeln!(
                out,
                "\n  {} events were dropped: counted above under \"all\", but not by kind or range",
                status.dropped.max(self.dropped)
            )?;
        }
        if self.others != 0 {
            writeln!(
                out,
                "\n  Of these, caused by other processes: {}",
                self.others
            )?;
        }
        Ok(())
    }
}
