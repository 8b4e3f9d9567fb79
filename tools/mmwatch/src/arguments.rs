// SPDX-License-Identifier: GPL-2.0

//! Command line arguments.

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

/// Reports the changes of a program's address space: each unmapping, move or change of protection,
/// its time, and the task that causes it.
///
/// Programs that the program executes and processes that it forks are watched as well, each address
/// space separately. On a terminal, a live view is shown until the program ends, and then a
/// summary; otherwise, only the summary. The report is written to standard error, so that it does
/// not mix with the standard output of the program. The exit code is that of the program, also if
/// the report cannot be written; 125 if mmwatch itself fails before the program runs, or without a
/// program; 126 or 127 if the program cannot be run.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Action>,

    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Subcommand)]
pub enum Action {
    /// Print the report of a file written by --record.
    Report {
        /// The recorded file.
        file: PathBuf,

        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
pub struct Watch {
    /// Show a live view with rates, the most active ranges and their places in the address space,
    /// updated four times a second (the default on a terminal).
    #[arg(long, conflicts_with_all = ["events", "summary", "json"])]
    pub live: bool,

    /// Print each event when it occurs.
    #[arg(long, conflicts_with_all = ["summary", "json"])]
    pub events: bool,

    /// Record the call stack of each event: function names, as far as symbols and frame pointers
    /// are available.
    #[arg(long)]
    pub stacks: bool,

    /// Do not trace the program, so that debuggers work. Programs that the process
    /// executes are watched; processes that it forks are not.
    #[arg(long, conflicts_with_all = ["range", "map"])]
    pub untraced: bool,

    /// Write all events to this file, for "mmwatch report".
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Watch a running process until it ends or mmwatch is interrupted.
    #[arg(short, long, value_name = "PID", conflicts_with = "program")]
    pub pid: Option<i32>,

    /// Watch only this range of addresses (hexadecimal); may be repeated.
    #[arg(long, value_name = "START-END", value_parser = parse_range)]
    pub range: Vec<Range<u64>>,

    /// Watch only mappings with this text in their names in /proc/PID/maps; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub map: Vec<OsString>,

    /// Run the program unwatched before, and report how much slower it is when watched. The program
    /// is run three times: the first run only fills the caches.
    #[arg(long, conflicts_with = "pid")]
    pub compare: bool,

    #[command(flatten)]
    pub output: Output,

    /// The program and its arguments.
    #[arg(
        required_unless_present = "pid",
        trailing_var_arg = true,
        value_name = "PROGRAM"
    )]
    pub program: Vec<OsString>,
}

#[derive(Args)]
pub struct Output {
    /// Print a summary at the end (the default unless standard error is a terminal).
    #[arg(long)]
    pub summary: bool,

    /// Print the summary as JSON.
    #[arg(long, conflicts_with = "summary")]
    pub json: bool,

    /// Draw a diagram of addresses over time.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Write to this file instead of standard error (for a report: instead of standard output).
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|error| error.to_string())
    };
    let (start, end) = text.split_once('-').ok_or("expected START-END")?;
    let (start, end) = (number(start)?, number(end)?);
    if start >= end {
        return Err("it is empty".into());
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("1000-0x2000"), Ok(0x1000..0x2000));
        for wrong in ["2000-1000", "1000-1000", "1000", "-", "x-y"] {
            assert!(parse_range(wrong).is_err());
        }
    }

    #[test]
    fn what_does_not_go_together() {
        let taken = |words: &[&str]| Arguments::try_parse_from([&["mmwatch"], words].concat());
        for right in [
            &["--events", "--stacks", "--untraced", "true"] as &[&str],
            &["--live", "--pid", "1"],
            &["--summary", "--output", "file", "--", "true", "--events"],
            &["report", "--json", "file"],
        ] {
            assert!(taken(right).is_ok(), "{right:?}");
        }
        for wrong in [
            &["--events", "--live", "true"] as &[&str],
            &["--live", "--summary", "true"],
            &["--events", "--json", "true"],
            &["--untraced", "--map", "heap", "true"],
            &["--untraced", "--range", "1000-2000", "true"],
            &["--pid", "1", "--compare"],
            &[],
        ] {
            assert!(taken(wrong).is_err(), "{wrong:?}");
        }
    }
}
