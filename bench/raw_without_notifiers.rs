// SPDX-License-Identifier: GPL-2.0

// Replaces raw_notifiers.rs in bench_raw.rs if the bindings contain no notifiers.

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
