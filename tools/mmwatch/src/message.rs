// SPDX-License-Identifier: GPL-2.0

//! What is seen, as it is brought from who sees it to who tells of it; `--record` writes just that.

use crate::event::Event;
use crate::mapping::Mapping;
use serde::Deserialize;
use serde::Serialize;

/// What an address space begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Space {
    pub index: usize,
    pub pid: i32,
    /// How it came: by "exec", by "fork", or that it was there ("attach").
    pub by: String,
    pub name: String,
    /// Nanoseconds since the program was started.
    pub time: u64,
}

/// What the kernel has counted of an address space, also of events that were dropped.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    pub count: u64,
    pub pages: u64,
    pub dropped: u64,
}

/// What is seen, in the order in which it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// What is watched.
    Program {
        version: u32,
        words: Vec<String>,
        /// What it forks is not followed.
        #[serde(default)]
        untraced: bool,
    },
    Space(Space),
    Event {
        space: usize,
        event: Event,
    },
    /// The same, many at once: to bring each by itself would take longer than what is done with it.
    #[serde(skip)]
    Events {
        space: usize,
        events: Vec<Event>,
    },
    Mapping {
        space: usize,
        mapping: Mapping,
    },
    Ended {
        space: usize,
        status: Totals,
    },
    /// How long the program took, in nanoseconds, unwatched, and watched.
    Unwatched(u64),
    Watched(u64),
    NotFollowed(String),
}
