// SPDX-License-Identifier: GPL-2.0

//! A diagram of the events: addresses over time, with a colour for each kind.
//!
//! Most of an address space is empty. The diagram shows only the parts in which events occurred.
//! Each part is a band with the names of the mappings there, and its height grows with the
//! logarithm of its size.

use crate::event::kind_name;
use crate::report::Report;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::Path;
use svg::node::element::Group;
use svg::node::element::Line;
use svg::node::element::Path as SvgPath;
use svg::node::element::Rectangle;
use svg::node::element::Text;
use svg::node::element::Title;
use svg::Document;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 70.0;
/// Ranges with a smaller distance belong to the same band.
const GAP: u64 = 4 << 20;
/// Maximum number of bands; the ones with the most events are drawn.
const BANDS: usize = 24;

/// A part of an address space.
struct Band {
    space: usize,
    start: u64,
    end: u64,
    events: u64,
    top: f64,
    height: f64,
}

fn colour(kind: u32) -> &'static str {
    match kind {
        0 => "#d62728",
        1 => "#ff9f1c",
        2 => "#1f77b4",
        3 => "#2ca02c",
        6 => "#9467bd",
        7 => "#e377c2",
        _ => "#7f7f7f",
    }
}

fn text(x: f64, y: f64, size: u32, words: impl Into<String>) -> Text {
    Text::new(words)
        .set("x", format!("{x:.1}"))
        .set("y", format!("{y:.1}"))
        .set("font-size", size)
}

/// Returns the bands, sorted by process and address.
fn bands(report: &Report) -> Vec<Band> {
    let mut ranges: Vec<_> = report
        .events
        .iter()
        .flatten()
        // Events of the whole address space do not belong to a band.
        .filter(|(_, event)| event.end - event.start < 1 << 46)
        .map(|(space, event)| (*space, event.start, event.end))
        .collect();
    ranges.sort_unstable();
    let mut bands: Vec<Band> = Vec::new();
    for (space, start, end) in ranges {
        match bands.last_mut() {
            Some(band) if band.space == space && start < band.end.saturating_add(GAP) => {
                band.end = band.end.max(end);
                band.events += 1;
            }
            _ => bands.push(Band {
                space,
                start,
                end,
                events: 1,
                top: 0.0,
                height: 0.0,
            }),
        }
    }
    if bands.len() > BANDS {
        bands.sort_by_key(|band| std::cmp::Reverse(band.events));
        bands.truncate(BANDS);
        bands.sort_by_key(|band| (band.space, band.start));
    }
    let mut top = TOP;
    let mut space = None;
    for band in &mut bands {
        // The name of the process is above the first band of the process.
        top += if space == Some(band.space) { 6.0 } else { 26.0 };
        space = Some(band.space);
        let pages = ((band.end - band.start) >> 12).max(1) as f64;
        band.height = 14.0 + 7.0 * pages.log2();
        band.top = top;
        top += band.height;
    }
    bands
}

/// Formats a number of bytes.
fn size(bytes: u64) -> String {
    match bytes {
        0..=0xfffff => format!("{} KiB", bytes >> 10),
        0x100000..=0x3fffffff => format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64),
        _ => format!("{:.1} GiB", bytes as f64 / (1 << 30) as f64),
    }
}

/// Returns the distance of ticks on the time axis: a round number of seconds.
fn tick(seconds: f64) -> f64 {
    let rough = seconds / 8.0;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

pub fn draw(report: &Report, path: &Path) -> std::io::Result<()> {
    let bands = bands(report);
    let bottom = bands
        .last()
        .map_or(TOP + 40.0, |band| band.top + band.height);
    let height = bottom + 60.0;
    let seconds = (report.last as f64 / 1e9).max(1e-6);
    let across = WIDTH - LEFT - RIGHT;
    let x_of = |time: u64| LEFT + across * (time as f64 / 1e9) / seconds;

    let mut document = Document::new()
        .set("viewBox", (0, 0, WIDTH, height.ceil()))
        .set("width", WIDTH)
        .set("height", height.ceil())
        .set("font-family", "sans-serif")
        .add(
            Rectangle::new()
                .set("width", "100%")
                .set("height", "100%")
                .set("fill", "white"),
        )
        .add(text(LEFT, 28.0, 17, report.title()));

    // Legend: the colour of each kind, with the number of events.
    let mut x = LEFT;
    let kinds: BTreeSet<u32> = report
        .events
        .iter()
        .flatten()
        .map(|(_, event)| event.kind)
        .collect();
    for kind in kinds {
        let name = kind_name(kind);
        let count = report
            .events
            .iter()
            .flatten()
            .filter(|(_, event)| event.kind == kind)
            .count();
        let words = format!("{name} ({count})");
        document = document
            .add(
                Rectangle::new()
                    .set("x", x)
                    .set("y", 40)
                    .set("width", 12)
                    .set("height", 12)
                    .set("fill", colour(kind)),
            )
            .add(text(x + 17.0, 51.0, 13, words.clone()));
        x += 40.0 + 7.5 * words.len() as f64;
    }

    // Time axis.
    let step = tick(seconds);
    let mut at = 0.0;
    while at <= seconds {
        let x = LEFT + across * at / seconds;
        document = document
            .add(
                Line::new()
                    .set("x1", x)
                    .set("x2", x)
                    .set("y1", TOP)
                    .set("y2", bottom + 6.0)
                    .set("stroke", "#e4e4e4"),
            )
            .add(
                text(
                    x,
                    bottom + 22.0,
                    12,
                    format!("{}", (at * 1e6).round() / 1e6),
                )
                .set("text-anchor", "middle"),
            );
        at += step;
    }
    document = document
        .add(text(LEFT + across / 2.0, bottom + 42.0, 12, "seconds").set("text-anchor", "middle"));

    let mut space = None;
    for band in &bands {
        if space != Some(band.space) {
            space = Some(band.space);
            if let Some(report) = report.spaces.get(band.space) {
                let words = format!(
                    "{} {}, {} events",
                    report.space.pid, report.space.name, report.count
                );
                document =
                    document.add(text(12.0, band.top - 8.0, 13, words).set("font-weight", "bold"));
            }
        }
        document = document.add(draw_band(report, band, x_of, across));
    }
    svg::save(path, &document)
}

/// Draws a band and its events.
fn draw_band(report: &Report, band: &Band, x_of: impl Fn(u64) -> f64, across: f64) -> Group {
    let mut group = Group::new().add(
        Rectangle::new()
            .set("x", LEFT)
            .set("y", format!("{:.1}", band.top))
            .set("width", across)
            .set("height", format!("{:.1}", band.height))
            .set("fill", "#f4f4f8"),
    );
    let mut sizes: HashMap<&str, u64> = HashMap::new();
    for mapping in report.mappings.named(band.space, band.start, band.end) {
        *sizes.entry(mapping.short_name()).or_default() += mapping.end - mapping.start;
    }
    let mut names: Vec<&str> = sizes.keys().copied().collect();
    // Largest mapping first.
    names.sort_by_key(|name| (std::cmp::Reverse(sizes[name]), *name));
    let label = match names[..] {
        [] => "anonymous".to_string(),
        [name] => name.to_string(),
        [name, ..] => format!("{name} and {} more", names.len() - 1),
    };
    let label: String = label.chars().take(34).collect();
    group = group
        .add(text(LEFT - 8.0, band.top + 11.0, 12, label).set("text-anchor", "end"))
        .add(Title::new(format!(
            "{:#x}-{:#x}, {} events",
            band.start, band.end, band.events
        )));
    if band.height > 26.0 {
        group = group.add(
            text(LEFT - 8.0, band.top + 24.0, 10, size(band.end - band.start))
                .set("text-anchor", "end")
                .set("fill", "#777"),
        );
    }

    // Events at the same place in the diagram are drawn once. Each kind is one path of rectangles.
    let scale = band.height / (band.end - band.start) as f64;
    let mut places: HashMap<u32, BTreeSet<(i64, i64, i64)>> = HashMap::new();
    for (_, event) in report.events.iter().flatten().filter(|(space, event)| {
        *space == band.space && event.start < band.end && event.end > band.start
    }) {
        let from = event.start.max(band.start) - band.start;
        let to = event.end.min(band.end) - band.start;
        let top = (from as f64 * scale).floor() as i64;
        let bottom = ((to as f64 * scale).ceil() as i64).max(top + 2);
        // Resolution of half a point.
        let x = (x_of(event.time) * 2.0).floor() as i64;
        places
            .entry(event.kind)
            .or_default()
            .insert((x, top, bottom));
    }
    let mut kinds: Vec<_> = places.into_iter().collect();
    // Draw the most frequent kind first, below the others.
    kinds.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    for (kind, places) in kinds {
        let mut data = String::new();
        for (x, top, bottom) in places {
            let y = band.top + top as f64;
            data += &format!("M{:.1} {y:.1}h1.5v{}h-1.5z", x as f64 / 2.0, bottom - top);
        }
        group = group.add(
            SvgPath::new()
                .set("d", data)
                .set("fill", colour(kind))
                .set("fill-opacity", 0.8),
        );
    }
    group
}
