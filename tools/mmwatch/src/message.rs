// SPDX-License-Identifier: GPL-2.0

//! Messages from the readers of events to the collector. `--record` writes them to a file.

use crate::event::Event;
use crate::mapping::Mapping;
use serde::Deserialize;
use serde::Serialize;

/// Version of the format. Version 1 has neither [`Message::Complete`] nor the times of mappings.
pub const VERSION: u32 = 2;

/// The beginning of an address space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Space {
    pub index: usize,
    pub pid: i32,
    /// Origin: "exec", "fork", or "attach" if the process was running.
    pub by: String,
    pub name: String,
    /// Nanoseconds since the program was started.
    pub time: u64,
}

/// The kernel's counts for an address space, which include dropped events.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    pub count: u64,
    pub pages: u64,
    pub dropped: u64,
}

/// A message. Messages are sent in the order of the events.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The program that is watched.
    Program {
        version: u32,
        words: Vec<String>,
        /// Processes that the program forks are not watched.
        #[serde(default)]
        untraced: bool,
    },
    Space(Space),
    Event {
        space: usize,
        event: Event,
    },
    /// Several events. A message for each event would take longer than processing the event.
    #[serde(skip)]
    Events {
        space: usize,
        events: Vec<Event>,
    },
    /// A mapping that was first seen at this time, in nanoseconds since the program was started.
    Mapping {
        space: usize,
        mapping: Mapping,
        #[serde(default)]
        time: u64,
    },
    /// A mapping was no longer found at this time.
    Unmapped {
        space: usize,
        mapping: Mapping,
        time: u64,
    },
    Ended {
        space: usize,
        status: Totals,
    },
    /// Run time of the program in nanoseconds, unwatched and watched.
    Unwatched(u64),
    Watched(u64),
    NotFollowed(String),
    /// An effect of the watch on the program.
    Note(String),
    /// The end of a recording that is complete.
    Complete,
}
