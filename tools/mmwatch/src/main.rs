// SPDX-License-Identifier: GPL-2.0

//! Shows how a program's address space changes: from its exec on, with all that it starts and executes.

mod device;
mod picture;
mod report;
mod trace;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use report::Report;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use trace::Message;
use trace::Tracer;

/// Shows how a program's memory changes: what is unmapped, moved, protected, when, by whom.
///
/// What the program forks and executes is followed, each address space by itself. Events are printed as
/// they come if the output is a terminal, else a summary at the end. They go to standard error, so that
/// the program's own output stays what it is. The exit code is the program's; 125 if mmwatch itself has
/// failed, 126 and 127 if the program could not be run.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Action>,

    #[command(flatten)]
    watch: Watch,
}

#[derive(Subcommand)]
enum Action {
    /// Make a report of what --record has written.
    Report {
        /// What was recorded.
        file: PathBuf,

        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
struct Watch {
    /// Print events as they come (the default on a terminal).
    #[arg(long, conflicts_with_all = ["summary", "json"])]
    live: bool,

    /// Write all that is seen to this file, for "mmwatch report".
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Watch a process that runs, until it ends or mmwatch is interrupted.
    #[arg(short, long, value_name = "PID", conflicts_with = "program")]
    pid: Option<i32>,

    /// Watch only what is in this range of addresses (hexadecimal); may be given many times.
    #[arg(long, value_name = "START-END", value_parser = parse_range)]
    range: Vec<std::ops::Range<u64>>,

    /// Watch only mappings that have this in their names, as /proc/PID/maps has them; likewise.
    #[arg(long, value_name = "PATTERN")]
    map: Vec<String>,

    /// Run the program unwatched before, and say how much slower it was watched.
    #[arg(long, conflicts_with = "pid")]
    compare: bool,

    #[command(flatten)]
    output: Output,

    /// The program and its arguments.
    #[arg(
        required_unless_present = "pid",
        trailing_var_arg = true,
        value_name = "PROGRAM"
    )]
    program: Vec<String>,
}

#[derive(Args)]
struct Output {
    /// Print a table at the end (the default unless standard error is a terminal).
    #[arg(long)]
    summary: bool,

    /// Print the summary as JSON.
    #[arg(long, conflicts_with = "summary")]
    json: bool,

    /// Draw addresses against time.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write to this file instead of standard error (standard output for a report).
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
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

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn create(path: &Path) -> io::Result<BufWriter<File>> {
    File::create(path)
        .map(BufWriter::new)
        .map_err(|error| named(path, error))
}

impl Output {
    /// Where it goes, and whether that is a terminal.
    fn open(
        &self,
        otherwise: fn() -> (Box<dyn Write + Send>, bool),
    ) -> io::Result<(Box<dyn Write + Send>, bool)> {
        match &self.output {
            Some(path) => Ok((Box::new(create(path)?), false)),
            None => Ok(otherwise()),
        }
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        report.events = self.svg.as_ref().map(|_| Vec::new());
        report
    }

    /// What comes at the end.
    fn finish(&self, report: &Report, out: &mut dyn Write, live: bool) -> io::Result<()> {
        let mut out = out;
        if report.spaces().is_empty() {
            // The program was not executed: who was to become it has said why.
            return Ok(());
        }
        if self.json {
            report.json(&mut out)?;
        } else if live {
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

/// Takes what is seen until there is no more, or it is interrupted, and says at the end what it was.
struct Collector {
    output: Output,
    out: Box<dyn Write + Send>,
    terminal: bool,
    live: bool,
    record: Option<BufWriter<File>>,
    report: Report,
}

impl Collector {
    fn new(watch: Watch) -> io::Result<Self> {
        let (out, terminal) = watch
            .output
            .open(|| (Box::new(io::stderr()), io::stderr().is_terminal()))?;
        let record = watch.record.as_deref().map(create).transpose()?;
        if let Some(path) = &watch.output.svg {
            // Rather now than after all of it was done.
            create(path)?;
        }
        Ok(Self {
            live: watch.live || (terminal && !watch.output.summary && !watch.output.json),
            report: watch.output.report(),
            output: watch.output,
            out,
            terminal,
            record,
        })
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        if let Some(record) = &mut self.record {
            serde_json::to_writer(&mut *record, &message)?;
            record.write_all(b"\n")?;
        }
        if let (true, Message::Event { space, event }) = (self.live, &message) {
            let several = self.report.spaces().len() > 1;
            let space = self.report.spaces().get(*space).filter(|_| several);
            report::live(
                &mut self.out,
                space.map(|it| &it.space),
                event,
                self.terminal,
            )?;
        }
        self.report.add(message);
        Ok(())
    }

    fn collect(mut self, messages: mpsc::Receiver<Option<Message>>) -> io::Result<()> {
        while let Ok(Some(message)) = messages.recv() {
            self.take(message)?;
        }
        if let Some(record) = &mut self.record {
            record.flush()?;
        }
        self.output.finish(&self.report, &mut self.out, self.live)
    }
}

/// Interruptions end a watch of a process that ran already; what is typed at a program that was started is
/// for that.
fn end_when_interrupted(messages: mpsc::Sender<Option<Message>>) -> io::Result<()> {
    let mut signals = interruptions();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    thread::spawn(move || {
        let _ = signals.wait();
        let _ = messages.send(None);
    });
    Ok(())
}

fn interruptions() -> SigSet {
    [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect()
}

fn watch(watch: Watch) -> io::Result<u8> {
    let (pid, program, compare) = (watch.pid, watch.program.clone(), watch.compare);
    let parts = trace::Parts {
        ranges: watch.range.clone(),
        mappings: watch.map.clone(),
    };
    let collector = Collector::new(watch)?;
    let (out, messages) = mpsc::channel();
    let (ends, ended) = mpsc::channel();
    let mut tracer = Tracer::new(out, parts);
    match pid {
        Some(pid) => {
            end_when_interrupted(ends.clone())?;
            tracer.attach(pid)?;
        }
        None => {
            if compare {
                tracer
                    .run_unwatched(&program)
                    .map_err(|error| named(Path::new(&program[0]), error))?;
            }
            tracer.start(&program)?;
            interruptions().thread_block()?;
        }
    }
    // Both end what the collector gets: all that was traced is gone, or there was an interruption.
    thread::spawn(move || {
        for message in messages {
            if ends.send(Some(message)).is_err() {
                return;
            }
        }
        let _ = ends.send(None);
    });
    let collecting = thread::spawn(move || {
        let result = collector.collect(ended);
        if pid.is_some() {
            // The tracer may wait for long. What it has stopped goes on when this is gone.
            exit(result.map(|()| 0));
        }
        result
    });
    let code = tracer.follow();
    match collecting.join() {
        Ok(result) => result?,
        Err(_) => return Err(io::Error::other("the report could not be made")),
    }
    code
}

fn report(file: &Path, output: &Output) -> io::Result<u8> {
    let mut report = output.report();
    let lines = BufReader::new(File::open(file).map_err(|error| named(file, error))?).lines();
    for (number, line) in lines.enumerate() {
        let message = serde_json::from_str(&line?).map_err(|error| {
            named(
                file,
                io::Error::other(format!("line {}: {error}", number + 1)),
            )
        })?;
        report.add(message);
    }
    let (mut out, _) = output.open(|| (Box::new(io::stdout()), false))?;
    output.finish(&report, &mut out, false)?;
    Ok(0)
}

fn exit(result: io::Result<u8>) -> ! {
    std::process::exit(match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("mmwatch: {error}");
            125
        }
    })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.len() > 3 && words[1] == trace::START {
        trace::become_program(&words[3..]);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    exit(match &arguments.command {
        Some(Action::Report { file, output }) => report(file, output),
        None => watch(arguments.watch),
    })
}
