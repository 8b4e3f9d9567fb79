// SPDX-License-Identifier: GPL-2.0

//! The destination of a report, and messages about mmwatch itself.

use crate::arguments::Output;
use crate::picture;
use crate::report::Report;
use nix::poll::poll;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// The beginning of the write that is in progress.
static WRITE: Mutex<Option<Instant>> = Mutex::new(None);

fn set_write(begun: Option<Instant>) {
    *WRITE.lock().unwrap_or_else(PoisonError::into_inner) = begun;
}

/// Returns the beginning of the write that is in progress. The write is blocked if it takes long.
pub fn write_begun() -> Option<Instant> {
    *WRITE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A writer that records the beginning of each write. Only one thread may use such writers.
pub struct Timed<W>(pub W);

impl<W: Write> Write for Timed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        set_write(Some(Instant::now()));
        let result = self.0.write(bytes);
        set_write(None);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Time to wait until an error message can be printed.
const PATIENCE: u16 = 1000;

/// Prints an error message. Does nothing if standard error is closed or blocked.
pub fn complain(message: &str) {
    let error = io::stderr();
    let mut fds = [PollFd::new(error.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PATIENCE) == Ok(1) {
        let _ = writeln!(&error, "mmwatch: {message}");
    }
}

/// Adds the path of the file to an error.
pub fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub type Buffered = BufWriter<Timed<File>>;

pub fn create(path: &Path) -> io::Result<Buffered> {
    File::create(path)
        .map(|file| BufWriter::new(Timed(file)))
        .map_err(|error| named(path, error))
}

/// Returns whether the user has disabled colours.
pub fn is_without_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

impl Output {
    /// Opens the destination of a watch's report. Returns whether the destination is a terminal.
    pub fn open(&self) -> io::Result<(Box<dyn Write + Send>, bool)> {
        match &self.output {
            Some(path) => Ok((Box::new(create(path)?), false)),
            // The report is written in large pieces, and events line by line.
            None => Ok((
                Box::new(io::LineWriter::new(Timed(io::stderr()))),
                io::stderr().is_terminal(),
            )),
        }
    }

    /// Adds the name of the destination to an error.
    pub fn named(&self, error: io::Error) -> io::Error {
        let error = match &self.output {
            Some(path) => named(path, error),
            None => error,
        };
        io::Error::new(error.kind(), format!("{error}: the report is incomplete"))
    }

    pub fn report(&self) -> Report {
        let mut report = Report::default();
        report.events = self.svg.as_ref().map(|_| Vec::new());
        report
    }

    /// Prints the end of a report. If all events were printed (`printed`), the summary is omitted.
    pub fn finish(&self, report: &Report, out: &mut dyn Write, printed: bool) -> io::Result<()> {
        let mut out = out;
        if self.json {
            report.json(&mut out)?;
        } else if printed {
            report.print_end(&mut out)?;
        } else {
            report.print(&mut out)?;
        }
        out.flush()
    }

    /// Draws the diagram, if one was requested.
    pub fn draw(&self, report: &Report) -> io::Result<()> {
        match &self.svg {
            Some(path) => picture::draw(report, path).map_err(|error| named(path, error)),
            None => Ok(()),
        }
    }
}
