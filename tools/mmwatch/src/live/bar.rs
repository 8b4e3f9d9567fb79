// SPDX-License-Identifier: GPL-2.0

//! A bar for an address space: the parts in which events occurred, side by side, with their
//! activity.

use super::activity::Activity;
use super::activity::Heat;
use super::activity::Place;

/// Ranges with a smaller distance belong to the same part.
const GAP: u64 = 4 << 20;

/// A column of the bar. `None` separates two parts.
pub type Column = Option<Cell>;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// The activity of this column.
    pub heat: f64,
    /// The kind of event with the most activity; `None` if no event has occurred here.
    pub kind: Option<u32>,
}

struct Part {
    start: u64,
    end: u64,
    heat: f64,
}

impl Part {
    /// Returns the relative width of a part: it grows with the logarithm of the size.
    fn weight(&self) -> f64 {
        1.0 + (((self.end - self.start) >> 12).max(1) as f64).log2()
    }
}

/// Draws an address space, lowest address first, with at most `width` columns.
pub fn columns(activity: &Activity, space: usize, width: usize) -> Vec<Column> {
    let mut places: Vec<(&Place, &Heat)> = activity
        .places()
        .filter(|(place, _)| place.space == space && place.start < place.end)
        .collect();
    places.sort_unstable_by_key(|(place, _)| (place.start, place.end));
    let mut parts: Vec<Part> = Vec::new();
    for (place, heat) in &places {
        match parts.last_mut() {
            Some(part) if place.start < part.end.saturating_add(GAP) => {
                part.end = part.end.max(place.end);
                part.heat += heat.now;
            }
            _ => parts.push(Part {
                start: place.start,
                end: place.end,
                heat: heat.now,
            }),
        }
    }
    // Each part has at least two columns, and one column separates two parts.
    let most = (width + 1) / 3;
    if parts.len() > most {
        parts.sort_by(|a, b| b.heat.total_cmp(&a.heat));
        parts.truncate(most);
        parts.sort_by_key(|part| part.start);
    }
    let mut columns = Vec::new();
    let mut weight: f64 = parts.iter().map(Part::weight).sum();
    for (index, part) in parts.iter().enumerate() {
        let after = parts.len() - index - 1;
        if index > 0 {
            columns.push(None);
        }
        let room = width - columns.len() - 3 * after;
        let wide = (width - columns.len() - after) as f64 * part.weight() / weight;
        weight -= part.weight();
        columns.extend(
            cells(part, &places, (wide as usize).clamp(2, room.max(2)))
                .into_iter()
                .map(Some),
        );
    }
    columns
}

/// Returns the columns of a part.
fn cells(part: &Part, places: &[(&Place, &Heat)], wide: usize) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); wide];
    let mut hottest = vec![-1.0; wide];
    let size = u128::from(part.end - part.start);
    let column = |address: u64| (u128::from(address - part.start) * wide as u128 / size) as usize;
    for (place, heat) in places {
        if place.start < part.start || place.end > part.end {
            continue;
        }
        for at in column(place.start)..=column(place.end - 1) {
            cells[at].heat += heat.now;
            if heat.now > hottest[at] {
                hottest[at] = heat.now;
                cells[at].kind = Some(heat.kind);
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    #[test]
    fn nothing() {
        assert!(columns(&Activity::default(), 0, 40).is_empty());
    }

    #[test]
    fn two_parts() {
        let mut activity = Activity::default();
        activity.add(0, &event(0, 0x400000, 0x401000));
        activity.add(0, &event(1, 0x7f0000000000, 0x7f0000100000));
        activity.add(1, &event(2, 0x10000000, 0x20000000));
        let bar = columns(&activity, 0, 40);
        assert!(bar.len() <= 40);
        let gap = bar.iter().position(Option::is_none).unwrap();
        assert_eq!(bar.iter().filter(|it| it.is_none()).count(), 1);
        assert!(bar[..gap].iter().all(|it| it.unwrap().kind == Some(0)));
        assert!(bar[gap + 1..].iter().all(|it| it.unwrap().kind == Some(1)));
        // The larger part is wider.
        assert!(bar.len() - gap - 1 > gap);
    }

    #[test]
    fn the_hottest_kind_has_the_column() {
        let mut activity = Activity::default();
        activity.add(0, &event(0, 0, 0x10000));
        for _ in 0..5 {
            activity.add(0, &event(2, 0x8000, 0x10000));
        }
        let bar = columns(&activity, 0, 10);
        assert_eq!(bar.len(), 10);
        assert_eq!(
            bar[0],
            Some(Cell {
                heat: 1.0,
                kind: Some(0)
            })
        );
        assert_eq!(
            bar[9],
            Some(Cell {
                heat: 6.0,
                kind: Some(2)
            })
        );
    }

    #[test]
    fn where_nothing_happened() {
        let mut activity = Activity::default();
        activity.add(0, &event(0, 0, 0x1000));
        activity.add(0, &event(0, 0x100000, 0x101000));
        let bar = columns(&activity, 0, 20);
        assert_eq!(bar[10], Some(Cell::default()));
    }

    #[test]
    fn fits_whatever_there_is() {
        let mut activity = Activity::default();
        for part in 0..100u64 {
            activity.add(0, &event(0, part << 30, (part << 30) + (part << 14) + 1));
        }
        for width in 0..200 {
            assert!(columns(&activity, 0, width).len() <= width, "{width}");
        }
    }
}
