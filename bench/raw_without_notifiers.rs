// SPDX-License-Identifier: GPL-2.0

// What bench_raw.rs includes where there are no bindings for notifiers.

const SIZE_NOTIFIER: usize = 0;
const SIZE_INTERVAL: usize = 0;

fn have_notifiers(_count: usize) -> Result {
    Err(ENOTTY)
}

fn have_intervals(_count: usize) -> Result {
    Err(ENOTTY)
}

fn interval_read(_count: usize) -> Result {
    Err(ENOTTY)
}

fn interval_insert_remove(_count: usize) -> Result {
    Err(ENOTTY)
}
