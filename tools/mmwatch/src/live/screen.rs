// SPDX-License-Identifier: GPL-2.0

//! The bottom part of the terminal on standard error.

use crate::output::Timed;
use ratatui::backend::Backend;
use ratatui::backend::ClearType;
use ratatui::backend::CrosstermBackend;
use ratatui::backend::WindowSize;
use ratatui::buffer::Cell;
use ratatui::layout::Position;
use ratatui::layout::Size;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use ratatui::widgets::Widget;
use ratatui::Frame;
use ratatui::Terminal;
use ratatui::TerminalOptions;
use ratatui::Viewport;
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use std::io;
use std::io::BufWriter;
use std::io::Stderr;
use std::ops::Range;
use terminal_size::terminal_size_of;
use unicode_width::UnicodeWidthChar;

/// Height of the view, if the terminal is large enough.
const HEIGHT: u16 = 16;
/// Number of lines left for the output of the program, if the terminal is small.
const ABOVE: u16 = 6;
/// Size to assume for a terminal that does not report one.
const SIZE: Size = Size {
    width: 80,
    height: 24,
};

/// A terminal backend that sends no queries to the terminal. A reply would arrive as terminal
/// input, which belongs to the program.
struct Bottom {
    inner: CrosstermBackend<BufWriter<Timed<Stderr>>>,
}

impl Backend for Bottom {
    fn size(&self) -> io::Result<Size> {
        Ok(match terminal_size_of(io::stderr()) {
            Some((width, height)) if width.0 > 0 && height.0 > 0 => Size {
                width: width.0,
                height: height.0,
            },
            _ => SIZE,
        })
    }

    /// Assumes that the cursor is in the last line. After the line feeds that make room for the
    /// view, the cursor is there, or some empty lines remain above the view.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        let last = self.size()?.height.saturating_sub(1);
        Ok(Position { x: 0, y: last })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::default(),
        })
    }

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        self.inner.draw(content)
    }

    fn append_lines(&mut self, count: u16) -> io::Result<()> {
        self.inner.append_lines(count)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.inner.hide_cursor()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.inner.show_cursor()
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.inner.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.inner.clear()
    }

    fn clear_region(&mut self, what: ClearType) -> io::Result<()> {
        self.inner.clear_region(what)
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.inner)
    }

    fn scroll_region_up(&mut self, region: Range<u16>, count: u16) -> io::Result<()> {
        self.inner.scroll_region_up(region, count)
    }

    fn scroll_region_down(&mut self, region: Range<u16>, count: u16) -> io::Result<()> {
        self.inner.scroll_region_down(region, count)
    }
}

pub struct Screen {
    terminal: Terminal<Bottom>,
    is_in_background: bool,
}

impl Screen {
    pub fn begin() -> io::Result<Self> {
        let bottom = Bottom {
            inner: CrosstermBackend::new(BufWriter::new(Timed(io::stderr()))),
        };
        let height = bottom.size()?.height;
        let viewport = Viewport::Inline(HEIGHT.min(height.saturating_sub(ABOVE)).max(1));
        let terminal = Terminal::with_options(bottom, TerminalOptions { viewport })?;
        Ok(Self {
            terminal,
            is_in_background: false,
        })
    }

    /// Draws the view, unless the terminal belongs to other processes, as after ^Z.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        let is_in_background = tcgetpgrp(io::stderr()).is_ok_and(|group| group != getpgrp());
        let was_in_background = std::mem::replace(&mut self.is_in_background, is_in_background);
        if is_in_background {
            if !was_in_background {
                self.end()?;
            }
            return Ok(());
        }
        if was_in_background {
            *self = Self::begin()?;
        }
        self.terminal.draw(draw)?;
        Ok(())
    }

    /// Prints lines above the view.
    pub fn print(&mut self, lines: &[String]) -> io::Result<()> {
        let width = self.terminal.backend().size()?.width;
        let rows: Vec<Line> = lines.iter().flat_map(|line| rows(line, width)).collect();
        for rows in rows.chunks(1000) {
            let rows = rows.to_vec();
            self.terminal.insert_before(rows.len() as u16, |buffer| {
                Paragraph::new(rows).render(buffer.area, buffer)
            })?;
        }
        Ok(())
    }

    /// Removes the view: later output begins in its place.
    pub fn end(&mut self) -> io::Result<()> {
        self.terminal.clear()?;
        self.terminal.show_cursor()?;
        Backend::flush(self.terminal.backend_mut())
    }
}

/// Splits a line into terminal rows.
fn rows(line: &str, width: u16) -> Vec<Line<'static>> {
    let (mut rows, mut row, mut used) = (Vec::new(), String::new(), 0);
    for character in line.chars() {
        let wide = character.width().unwrap_or_default();
        if used + wide > usize::from(width) && !row.is_empty() {
            rows.push(Line::from(std::mem::take(&mut row)));
            used = 0;
        }
        row.push(character);
        used += wide;
    }
    rows.push(Line::from(row));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_take_several_rows() {
        let text = |line, width| -> Vec<String> {
            let rows = rows(line, width);
            rows.iter().map(|row| row.to_string()).collect()
        };
        assert_eq!(text("", 4), [""]);
        assert_eq!(text("abcd", 4), ["abcd"]);
        assert_eq!(text("abcdefghi", 4), ["abcd", "efgh", "i"]);
        // These characters are two columns wide.
        assert_eq!(text("日本語", 4), ["日本", "語"]);
        assert_eq!(text("日", 1), ["日"]);
        assert_eq!(text("ab", 0), ["a", "b"]);
    }
}
