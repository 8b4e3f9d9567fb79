// SPDX-License-Identifier: GPL-2.0

//! The destination of a report.

use crate::arguments::Output;
use crate::picture;
use crate::report::Report;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;

/// Adds the path of the file to an error.
pub fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub fn create(path: &Path) -> io::Result<BufWriter<File>> {
    File::create(path)
        .map(BufWriter::new)
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
            None => Ok((Box::new(io::stderr()), io::stderr().is_terminal())),
        }
    }

    pub fn report(&self) -> Report {
        let mut report = Report::default();
        report.events = self.svg.as_ref().map(|_| Vec::new());
        report
    }

    /// Prints the end of a report. If all events were printed (`printed`), the summary is omitted.
    pub fn finish(&self, report: &Report, out: &mut dyn Write, printed: bool) -> io::Result<()> {
        let mut out = out;
        if report.spaces.is_empty() {
            // The program was not executed. `become_program()` has printed the reason.
            return Ok(());
        }
        if self.json {
            report.json(&mut out)?;
        } else if printed {
            report.print_end(&mut out)?;
        } else {
            report.print(&mut out)?;
        }
        if let Some(path) = &self.svg {
            picture::draw(report, path).map_err(|error| named(path, error))?;
        }
        out.flush()
    }
}
