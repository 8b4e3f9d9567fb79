// SPDX-License-Identifier: GPL-2.0

//! The live view, at the bottom of the terminal. Output of the program is shown above the view.

mod activity;
mod bar;
mod draw;
mod program_text;
mod screen;

use crate::event::Event;
use crate::report::Report;
use activity::Activity;
use draw::draw;
use program_text::ProgramText;
use screen::Screen;
use std::io;
use std::time::Duration;
use std::time::Instant;

/// Time between two updates.
pub const PERIOD: Duration = Duration::from_millis(250);

pub struct Live {
    screen: Screen,
    begun: Instant,
    activity: Activity,
    text: ProgramText,
    colour: bool,
}

impl Live {
    pub fn begin(colour: bool) -> io::Result<Self> {
        Ok(Self {
            screen: Screen::begin()?,
            begun: Instant::now(),
            activity: Activity::default(),
            text: ProgramText::default(),
            colour,
        })
    }

    pub fn add(&mut self, space: usize, event: &Event) {
        self.activity.add(space, event);
    }

    /// Shows output of the program above the view, line by line. The unfinished last line is shown
    /// at the edge of the view.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let lines = self.text.add(bytes);
        self.screen.print(&lines)
    }

    /// Updates the view.
    pub fn show(&mut self, report: &Report) -> io::Result<()> {
        self.activity.tick(self.begun.elapsed());
        let (activity, text) = (&self.activity, self.text.unfinished());
        let colour = self.colour;
        self.screen
            .draw(|frame| draw(frame, report, activity, text, colour))
    }

    /// Removes the view. Prints an unfinished last line of the program's output.
    pub fn end(&mut self) -> io::Result<()> {
        let line = self.text.finish();
        self.screen.print(line.as_slice())?;
        self.screen.end()
    }
}
