// SPDX-License-Identifier: GPL-2.0

//! The report as text.

use crate::report::Report;
use crate::report::SpaceReport;
use crate::stack::line;
use libmmwatch::KINDS;
use std::io;
use std::io::Write;

/// Maximum number of processes that are listed as not followed.
const LISTED: usize = 20;

/// The meaning of the counts, which is not that of a count of system calls.
const MEANING: &str = "  \
  An event is an invalidation of a range of addresses. \"pages\" is the size of the range, whether
  pages are populated there or not. A call causes several events if it changes several mappings, or
  moves pages (mremap), and may cause none if no page is populated.";

impl Report {
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let seconds = self.last as f64 / 1e9;
        let rate = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let total = |of: fn(&SpaceReport) -> u64| {
            let counts = self.spaces.iter().map(of);
            counts.fold(0, u64::saturating_add)
        };
        writeln!(out, "mmwatch: {}, {seconds:.3} s\n", self.title())?;
        writeln!(
            out,
            "  {:<28}{:>10}{:>14}{:>12}",
            "event", "count", "pages", "per second"
        )?;
        // In the order of enum mmu_notifier_event.
        let kinds = self.kinds();
        for name in KINDS {
            if let Some(count) = kinds.get(name) {
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
        self.print_stacks(out)?;
        let dropped = total(|it| it.dropped);
        if dropped != 0 {
            writeln!(
                out,
                "\n  {dropped} events were dropped: counted only under \"all\""
            )?;
        }
        if self.others != 0 {
            writeln!(
                out,
                "\n  Of these, caused by other processes: {}",
                self.others
            )?;
        }
        writeln!(out, "\n{MEANING}")?;
        self.print_end(out)
    }

    /// Prints the part of the report that follows the summary or the events.
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
        if let Some(why) = &self.incomplete {
            writeln!(out, "\n  Incomplete: {why}")?;
        }
        for note in &self.notes {
            writeln!(out, "\n  Note: {note}")?;
        }
        if self.untraced {
            writeln!(out, "\n  Children are not followed (--untraced)")?;
        }
        for (index, what) in self.not_followed.iter().take(LISTED).enumerate() {
            writeln!(
                out,
                "{}  Not followed: {what}",
                if index == 0 { "\n" } else { "" }
            )?;
        }
        if self.not_followed.len() > LISTED {
            let more = self.not_followed.len() - LISTED;
            writeln!(out, "  and {more} more, which --json lists")?;
        }
        Ok(())
    }

    fn print_reasons(&self, out: &mut impl Write) -> io::Result<()> {
        let mut reasons: Vec<_> = self.reasons().into_iter().collect();
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
        let mut ranges = self.ranges.named(&self.mappings);
        ranges.sort_by_key(|range| {
            let (count, place) = (&range.count, range.range);
            (std::cmp::Reverse((count.events, count.pages)), place)
        });
        writeln!(
            out,
            "\n  {:<38}{:>10}{:>14}",
            "top ranges", "count", "pages"
        )?;
        for it in ranges.iter().take(10) {
            let (_, start, end) = it.range;
            let name = it.name.map_or(String::new(), |name| format!("  {name}"));
            writeln!(
                out,
                "  {:<38}{:>10}{:>14}{name}",
                format!("{start:#014x}-{end:#014x}"),
                it.count.events,
                it.count.pages
            )?;
        }
        Ok(())
    }

    fn print_stacks(&self, out: &mut impl Write) -> io::Result<()> {
        let stacks = self.stacks();
        if stacks.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n  {:<28}{:>10}{:>14}",
            "top stacks", "count", "pages"
        )?;
        for stack in stacks.iter().take(10) {
            writeln!(
                out,
                "  {:<28}{:>10}{:>14}\n    {}",
                stack.kind,
                stack.count.events,
                stack.count.pages,
                line(&stack.frames)
            )?;
        }
        Ok(())
    }
}
