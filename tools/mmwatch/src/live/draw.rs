// SPDX-License-Identifier: GPL-2.0

//! The contents of the view.

use super::activity::Activity;
use super::activity::Heat;
use super::activity::Place;
use super::bar::columns;
use super::bar::Cell;
use crate::report::Report;
use libmmwatch::page_size;
use libmmwatch::KINDS;
use ratatui::style::Color;
use ratatui::style::Modifier;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::text::Span;
use ratatui::widgets::Paragraph;
use ratatui::Frame;
use std::collections::HashMap;

/// The time after all events: the mappings that exist.
const NOW: u64 = u64::MAX - 1;
/// Maximum number of address spaces with a bar.
const BARS: usize = 3;
/// Width of the label of a bar.
const LABEL: usize = 20;
/// Levels of activity, from low to high.
const LEVELS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// The lowest activity that is drawn at the highest level, so that a single event is not.
const MUCH: f64 = 4.0;

fn kind_colour(kind: u32) -> Color {
    match kind {
        0 => Color::Red,
        1 => Color::Yellow,
        2 => Color::LightBlue,
        3 => Color::Green,
        6 => Color::Magenta,
        7 => Color::LightMagenta,
        _ => Color::Gray,
    }
}

struct Painter<'a> {
    report: &'a Report,
    activity: &'a Activity,
    width: usize,
    colour: bool,
}

/// Draws the view: the unfinished line of the program's output, a title, and as many of the other
/// parts as fit.
pub fn draw(
    frame: &mut Frame,
    report: &Report,
    activity: &Activity,
    unfinished: &str,
    colour: bool,
) {
    let area = frame.area();
    let painter = Painter {
        report,
        activity,
        width: usize::from(area.width),
        colour,
    };
    let height = usize::from(area.height);
    let mut lines = vec![painter.edge(unfinished), painter.title()];
    for part in [painter.kinds(), painter.bars()] {
        let room = height.saturating_sub(lines.len());
        lines.extend(part.into_iter().take(room));
    }
    let room = height.saturating_sub(lines.len());
    lines.extend(painter.ranges(room));
    frame.render_widget(Paragraph::new(lines), area);
}

impl Painter<'_> {
    fn style(&self, kind: u32) -> Style {
        if self.colour {
            Style::new().fg(kind_colour(kind))
        } else {
            Style::new()
        }
    }

    fn mark(&self, kind: u32) -> Span<'static> {
        Span::styled("■ ", self.style(kind))
    }

    /// Draws the line between the program's output and the view.
    fn edge(&self, unfinished: &str) -> Line<'static> {
        if unfinished.is_empty() {
            let dim = Style::new().add_modifier(Modifier::DIM);
            return Line::styled("─".repeat(self.width), dim);
        }
        // Show the end of a long line, where a prompt waits.
        let more = unfinished.chars().count().saturating_sub(self.width);
        Line::raw(unfinished.chars().skip(more).collect::<String>())
    }

    fn title(&self) -> Line<'static> {
        let spaces = self.report.spaces.len();
        let words = format!(
            "  {:.1} s  {spaces} address space{}  {} dropped",
            self.activity.elapsed().as_secs_f64(),
            if spaces == 1 { "" } else { "s" },
            self.activity.dropped()
        );
        let room = self.width.saturating_sub(words.chars().count());
        let name = format!("mmwatch: {}", self.report.title());
        let name: String = name.chars().take(room).collect();
        let bold = Style::new().add_modifier(Modifier::BOLD);
        Line::from(vec![
            Span::styled(format!("{name:<room$}"), bold),
            Span::raw(words),
        ])
    }

    fn heading(words: String) -> Line<'static> {
        Line::styled(words, Style::new().add_modifier(Modifier::UNDERLINED))
    }

    fn kinds(&self) -> Vec<Line<'static>> {
        let mut lines = vec![Self::heading(format!(
            "{:<14}{:>12}{:>12}{:>14}",
            "event", "per second", "count", "pages"
        ))];
        let row = |name: &str, rate: f64, count: u64, pages: u64| {
            format!("{name:<12}{rate:>12.1}{count:>12}{pages:>14}")
        };
        let (mut count, mut pages) = (0, 0);
        let kinds = self.report.kinds();
        for (kind, name) in (0..).zip(KINDS) {
            if let Some(of_kind) = kinds.get(name) {
                let rate = self.activity.rate(Some(kind));
                lines.push(Line::from(vec![
                    self.mark(kind),
                    Span::raw(row(name, rate, of_kind.events, of_kind.pages)),
                ]));
                count += of_kind.events;
                pages += of_kind.pages;
            }
        }
        let rate = self.activity.rate(None);
        lines.push(Line::raw(format!("  {}", row("all", rate, count, pages))));
        lines
    }

    /// Draws bars for the address spaces with the most activity.
    fn bars(&self) -> Vec<Line<'static>> {
        let mut heats: HashMap<usize, (f64, u64)> = HashMap::new();
        for (place, heat) in self.activity.places() {
            let (now, count) = heats.entry(place.space).or_default();
            *now += heat.now;
            *count += heat.count;
        }
        let mut spaces: Vec<_> = heats.into_iter().collect();
        spaces.sort_by(|(a, (now, count)), (b, (other_now, other_count))| {
            other_now
                .total_cmp(now)
                .then(other_count.cmp(count))
                .then(a.cmp(b))
        });
        spaces.truncate(BARS);
        // Keep the bars in a fixed order.
        spaces.sort_unstable_by_key(|(space, _)| *space);
        spaces
            .into_iter()
            .map(|(space, _)| self.bar(space))
            .collect()
    }

    fn bar(&self, space: usize) -> Line<'static> {
        let label = match self.report.spaces.get(space) {
            Some(it) => format!("{} {}", it.space.pid, it.space.name),
            None => String::new(),
        };
        let label: String = label.chars().take(LABEL - 1).collect();
        let mut spans = vec![Span::raw(format!("{label:<LABEL$}"))];
        let columns = columns(self.activity, space, self.width.saturating_sub(LABEL));
        let most = columns
            .iter()
            .flatten()
            .map(|cell| cell.heat)
            .fold(MUCH, f64::max);
        for column in columns {
            spans.push(match column {
                Some(cell) => self.cell(cell, most),
                None => Span::raw(" "),
            });
        }
        Line::from(spans)
    }

    fn cell(&self, cell: Cell, most: f64) -> Span<'static> {
        let Some(kind) = cell.kind else {
            return Span::styled("·", Style::new().add_modifier(Modifier::DIM));
        };
        // Use a logarithmic scale, so that a single event is visible beside a thousand.
        let level = (1.0 + cell.heat).ln() / (1.0 + most).ln();
        let level = (level * LEVELS.len() as f64) as usize;
        let modifier = match level {
            0 => Modifier::DIM,
            _ => Modifier::BOLD,
        };
        Span::styled(
            LEVELS[level.min(LEVELS.len() - 1)],
            self.style(kind).add_modifier(modifier),
        )
    }

    fn ranges(&self, room: usize) -> Vec<Line<'static>> {
        let ranges = self.activity.hottest(room.saturating_sub(1));
        if ranges.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![Self::heading(format!(
            "{:<26}{:>9}{:>11}  {}",
            "hottest ranges", "count", "pages", "addresses"
        ))];
        lines.extend(ranges.iter().map(|(place, heat)| self.range(place, heat)));
        lines
    }

    fn range(&self, place: &Place, heat: &Heat) -> Line<'static> {
        let name = self
            .report
            .mappings
            .name(place.space, place.start, place.end, NOW)
            .unwrap_or("anonymous");
        let name: String = name.chars().take(23).collect();
        let pages = (place.end - place.start) / page_size();
        Line::from(vec![
            self.mark(heat.kind),
            Span::raw(format!(
                "{name:<24}{:>9}{:>11}  {:#x}-{:#x}",
                heat.count,
                pages * heat.count,
                place.start,
                place.end
            )),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use crate::mapping::Mapping;
    use crate::message::Message;
    use crate::message::Space;
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;
    use std::time::Duration;

    fn feed() -> (Report, Activity) {
        let (mut report, mut activity) = (Report::default(), Activity::default());
        report.add(Message::Program {
            version: 1,
            words: vec!["sort".into(), "-n".into(), "numbers".into()],
            untraced: false,
        });
        for (index, name) in ["sort", "child"].into_iter().enumerate() {
            report.add(Message::Space(Space {
                index,
                pid: 100 + index as i32,
                by: "exec".into(),
                name: name.into(),
                time: 0,
            }));
        }
        report.add(Message::Mapping {
            space: 0,
            mapping: Mapping {
                start: 0x55d000000000,
                end: 0x55d000100000,
                name: "[heap]".into(),
                offset: 0,
                inode: 0,
                executable: false,
            },
            time: 0,
        });
        let events = [
            (0, 0, 0x7f0000000000, 0x7f0000010000, 40),
            (0, 1, 0x55d000000000, 0x55d000100000, 4),
            (1, 2, 0x400000, 0x401000, 2),
        ];
        for (space, kind, start, end, count) in events {
            for _ in 0..count {
                let event = event(kind, start, end);
                activity.add(space, &event);
                report.add(Message::Event { space, event });
            }
        }
        activity.add(0, &event(libmmwatch::KIND_DROPPED, 5, 0));
        activity.tick(Duration::from_millis(2000));
        (report, activity)
    }

    fn drawn(width: u16, height: u16, unfinished: &str, colour: bool) -> Terminal<TestBackend> {
        let (report, activity) = feed();
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| draw(frame, &report, &activity, unfinished, colour))
            .unwrap();
        terminal
    }

    fn text(terminal: &Terminal<TestBackend>) -> Vec<String> {
        let buffer = terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        buffer
            .content
            .chunks(width)
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
            .map(|row| row.trim_end().to_string())
            .collect()
    }

    #[test]
    fn eighty_columns() {
        let rows = text(&drawn(80, 16, "", true));
        let end = "2.0 s  2 address spaces  5 dropped";
        assert_eq!(rows[0], "─".repeat(80));
        assert!(rows[1].starts_with("mmwatch: sort -n numbers   ") && rows[1].ends_with(end));
        assert_eq!(
            rows[2],
            "event           per second       count         pages"
        );
        assert_eq!(
            rows[3],
            "■ unmap               20.0          40           640"
        );
        assert_eq!(
            rows[4],
            "■ clear                2.0           4          1024"
        );
        assert_eq!(
            rows[5],
            "■ protect              1.0           2             2"
        );
        assert_eq!(
            rows[6],
            "  all                 23.0          46          1666"
        );
        assert!(rows[7].starts_with("100 sort            ▄▄"), "{}", rows[7]);
        assert!(
            rows[7].ends_with("███") && rows[7].contains("▄ █"),
            "{}",
            rows[7]
        );
        assert!(rows[8].starts_with("101 child           ▅▅"), "{}", rows[8]);
        assert!(rows[9].starts_with("hottest ranges "));
        assert_eq!(
            rows[10],
            "■ anonymous                      40        640  0x7f0000000000-0x7f0000010000"
        );
        assert!(rows[11].starts_with("■ [heap] ") && rows[12].starts_with("■ anonymous "));
    }

    #[test]
    fn what_the_program_has_begun_to_write() {
        assert_eq!(text(&drawn(80, 16, "continue? ", true))[0], "continue?");
        // Only the end of a long line is shown.
        assert_eq!(text(&drawn(10, 16, "0123456789abc", true))[0], "3456789abc");
    }

    #[test]
    fn colours() {
        let colours = |terminal: Terminal<TestBackend>| -> Vec<Color> {
            let content = terminal.backend().buffer().content.iter();
            content.map(|cell| cell.fg).collect()
        };
        let coloured = colours(drawn(80, 16, "", true));
        assert_eq!(coloured[3 * 80], Color::Red);
        assert_eq!(coloured[4 * 80], Color::Yellow);
        assert_eq!(coloured[7 * 80 + LABEL], Color::Yellow);
        assert_eq!(coloured[7 * 80 + 79], Color::Red);
        let without = colours(drawn(80, 16, "", false));
        assert!(without.iter().all(|it| *it == Color::Reset));
    }

    #[test]
    fn any_size() {
        for width in 1..100 {
            for height in 1..20 {
                drawn(width, height, "unfinished", true);
            }
        }
    }

    #[test]
    fn before_anything_has_happened() {
        let (report, activity) = (Report::default(), Activity::default());
        let mut terminal = Terminal::new(TestBackend::new(80, 16)).unwrap();
        terminal
            .draw(|frame| draw(frame, &report, &activity, "", true))
            .unwrap();
        assert!(text(&terminal)[1].ends_with("0.0 s  0 address spaces  0 dropped"));
    }
}
