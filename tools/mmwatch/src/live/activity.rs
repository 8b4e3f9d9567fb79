// SPDX-License-Identifier: GPL-2.0

//! Recent activity: the rate of each kind of event, and the active ranges.

use crate::event::Event;
use libmmwatch::KIND_DROPPED;
use libmmwatch::KIND_EXEC;
use libmmwatch::KIND_NOT_FOLLOWED;
use libmmwatch::KIND_RELEASE;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

/// Number of periods over which rates are computed.
const PERIODS: usize = 4;
/// Factor by which heat decreases in each period: half of the heat remains after a second.
const COOLING: f64 = 0.84;
/// Maximum number of ranges that are remembered; the hottest ones are kept.
const PLACES: usize = 4096;
/// Events of this size or more concern the whole address space, and are not counted for a range.
const WHOLE: u64 = 1 << 46;

/// A range in which events occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub space: usize,
    pub start: u64,
    pub end: u64,
}

/// The activity of a range: recent heat, number of events, and kind of the last event.
#[derive(Clone, Copy, Debug)]
pub struct Heat {
    pub now: f64,
    pub count: u64,
    pub kind: u32,
}

#[derive(Default)]
pub struct Activity {
    /// The end of each past period, and the number of events of each kind.
    periods: VecDeque<(Duration, BTreeMap<u32, u64>)>,
    current: BTreeMap<u32, u64>,
    places: HashMap<Place, Heat>,
    dropped: u64,
    elapsed: Duration,
}

impl Activity {
    pub fn add(&mut self, space: usize, event: &Event) {
        match event.kind {
            KIND_DROPPED => self.dropped += event.start,
            KIND_RELEASE | KIND_EXEC | KIND_NOT_FOLLOWED => {}
            kind => {
                *self.current.entry(kind).or_default() += 1;
                if event.end.saturating_sub(event.start) < WHOLE {
                    let place = Place {
                        space,
                        start: event.start,
                        end: event.end,
                    };
                    let heat = self.places.entry(place).or_insert(Heat {
                        now: 0.0,
                        count: 0,
                        kind,
                    });
                    heat.now += 1.0;
                    heat.count += 1;
                    heat.kind = kind;
                }
            }
        }
    }

    /// Ends a period, at `elapsed` after the beginning.
    pub fn tick(&mut self, elapsed: Duration) {
        if self.periods.len() > PERIODS {
            self.periods.pop_front();
        }
        self.periods
            .push_back((elapsed, std::mem::take(&mut self.current)));
        self.elapsed = elapsed;
        for heat in self.places.values_mut() {
            heat.now *= COOLING;
        }
        if self.places.len() > PLACES {
            let mut hottest: Vec<_> = self.places.drain().collect();
            hottest.select_nth_unstable_by(PLACES - 1, |(_, a), (_, b)| {
                b.now.total_cmp(&a.now).then(b.count.cmp(&a.count))
            });
            self.places.extend(hottest.into_iter().take(PLACES));
        }
    }

    /// Returns the number of events of a kind per second, or of all kinds.
    pub fn rate(&self, kind: Option<u32>) -> f64 {
        // The first period in the list, if it is not counted, gives the start of the next one.
        let whole = self.periods.len() <= PERIODS;
        let begun = match self.periods.front() {
            Some((end, _)) if !whole => *end,
            _ => Duration::ZERO,
        };
        let counted = self.periods.iter().skip(usize::from(!whole));
        let count: u64 = counted
            .map(|(_, kinds)| match kind {
                Some(kind) => kinds.get(&kind).copied().unwrap_or_default(),
                None => kinds.values().sum(),
            })
            .sum();
        let seconds = self.elapsed.saturating_sub(begun).as_secs_f64();
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    pub fn places(&self) -> impl Iterator<Item = (&Place, &Heat)> {
        self.places.iter()
    }

    /// Returns the ranges with the most recent activity, then those with the most events.
    pub fn hottest(&self, count: usize) -> Vec<(Place, Heat)> {
        let mut places: Vec<_> = self.places.iter().map(|(it, heat)| (*it, *heat)).collect();
        places.sort_by(|(place, heat), (other, other_heat)| {
            // All ranges without recent activity are equal.
            let warmth = |heat: &Heat| if heat.now < 0.1 { 0.0 } else { heat.now };
            warmth(other_heat)
                .total_cmp(&warmth(heat))
                .then(other_heat.count.cmp(&heat.count))
                .then(place.cmp(other))
        });
        places.truncate(count);
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    fn quarters(count: u64) -> Duration {
        Duration::from_millis(250 * count)
    }

    #[test]
    fn rates_are_of_the_last_second() {
        let mut activity = Activity::default();
        assert_eq!(activity.rate(None), 0.0);
        for _ in 0..10 {
            activity.add(0, &event(0, 0x1000, 0x2000));
        }
        activity.tick(quarters(1));
        assert_eq!(activity.rate(Some(0)), 40.0);
        for period in 2..=4 {
            activity.add(0, &event(1, 0x1000, 0x2000));
            activity.tick(quarters(period));
        }
        assert_eq!(activity.rate(Some(0)), 10.0);
        assert_eq!(activity.rate(Some(1)), 3.0);
        assert_eq!(activity.rate(None), 13.0);
        activity.tick(quarters(5));
        assert_eq!(activity.rate(Some(0)), 0.0);
        assert_eq!(activity.rate(Some(1)), 3.0);
    }

    #[test]
    fn what_is_no_invalidation() {
        let mut activity = Activity::default();
        for kind in [KIND_RELEASE, KIND_EXEC, KIND_NOT_FOLLOWED] {
            activity.add(0, &event(kind, 0, u64::MAX));
        }
        activity.add(0, &event(KIND_DROPPED, 12, 0));
        // An event of the whole address space counts, but has no place.
        activity.add(0, &event(1, 0, u64::MAX));
        activity.tick(quarters(4));
        assert_eq!(activity.rate(None), 1.0);
        assert_eq!(activity.dropped(), 12);
        assert!(activity.hottest(1).is_empty());
    }

    #[test]
    fn the_hottest_is_where_it_happens_now() {
        let mut activity = Activity::default();
        for _ in 0..100 {
            activity.add(0, &event(0, 0x1000, 0x2000));
        }
        activity.add(0, &event(0, 0x5000, 0x6000));
        for period in 0..100 {
            activity.tick(quarters(period));
        }
        assert_eq!(activity.hottest(2)[0].0.start, 0x1000);
        activity.add(1, &event(2, 0x9000, 0xa000));
        let (place, heat) = activity.hottest(1)[0];
        assert_eq!((place.space, place.start), (1, 0x9000));
        assert_eq!((heat.kind, heat.count), (2, 1));
    }

    #[test]
    fn places_are_bounded() {
        let mut activity = Activity::default();
        for page in 0..PLACES as u64 * 2 {
            activity.add(0, &event(0, page << 12, (page + 1) << 12));
        }
        activity.add(0, &event(0, 0, 0x1000));
        activity.tick(quarters(1));
        assert_eq!(activity.places().count(), PLACES);
        assert_eq!(activity.hottest(1)[0].0.start, 0);
    }
}
