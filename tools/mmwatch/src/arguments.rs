// SPDX-License-Identifier: GPL-2.0

//! What can be asked for.

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use std::ops::Range;
use std::path::PathBuf;

/// Shows how a program's memory changes: what is unmapped, moved, protected, when, by whom.
///
/// What the program forks and executes is followed, each address space by itself. On a terminal
/// there is a live view, which ends in a summary; else the summary only. It goes to standard error,
/// so that the program's own output stays what it is. The exit code is the program's; 125 if
/// mmwatch itself has failed, 126 and 127 if the program could not be run.
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
    /// Make a report of what --record has written.
    Report {
        /// What was recorded.
        file: PathBuf,

        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
pub struct Watch {
    /// Show rates, the hottest ranges and where in memory it is, four times a second (the default
    /// on a terminal).
    #[arg(long, conflicts_with_all = ["events", "summary", "json"])]
    pub live: bool,

    /// Print events as they come.
    #[arg(long, conflicts_with_all = ["summary", "json"])]
    pub events: bool,

    /// Tell where in the program it was: the functions, as far as there are symbols and frame
    /// pointers.
    #[arg(long)]
    pub stacks: bool,

    /// Do not trace: job control and debuggers work as ever, but only what the process itself
    /// executes is followed, not what it forks.
    #[arg(long, conflicts_with_all = ["range", "map"])]
    pub untraced: bool,

    /// Write all that is seen to this file, for "mmwatch report".
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Watch a process that runs, until it ends or mmwatch is interrupted.
    #[arg(short, long, value_name = "PID", conflicts_with = "program")]
    pub pid: Option<i32>,

    /// Watch only what is in this range of addresses (hexadecimal); may be given many times.
    #[arg(long, value_name = "START-END", value_parser = parse_range)]
    pub range: Vec<Range<u64>>,

    /// Watch only mappings that have this in their names, as /proc/PID/maps has them; likewise.
    #[arg(long, value_name = "PATTERN")]
    pub map: Vec<String>,

    /// Run the program unwatched before, and say how much slower it was watched.
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
    pub program: Vec<String>,
}

#[derive(Args)]
pub struct Output {
    /// Print a table at the end (the default unless standard error is a terminal).
    #[arg(long)]
    pub summary: bool,

    /// Print the summary as JSON.
    #[arg(long, conflicts_with = "summary")]
    pub json: bool,

    /// Draw addresses against time.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Write to this file instead of standard error (standard output for a report).
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| {
        u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|error| error.to_string())
    };
    let (start, end) = text.split_once('-').ok_or("it is to be START-END")?;
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
