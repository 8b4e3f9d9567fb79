// SPDX-License-Identifier: GPL-2.0

//! Reports the changes of the address space of a program, from its exec on, and of the processes
//! that it forks and the programs that it executes.

#![forbid(unsafe_code)]

mod arguments;
mod call;
mod collector;
mod control;
mod event;
mod front;
mod interrupt;
mod lines;
mod live;
mod mapping;
mod mappings;
mod message;
mod output;
mod parts;
mod picture;
mod privileges;
mod process;
mod program_output;
mod range_counts;
mod recording;
mod report;
mod root;
mod space_reader;
mod stack;
mod starter;
mod summary;
mod symbols;
mod text;
mod trace;

use arguments::Action;
use arguments::Arguments;
use arguments::Output;
use arguments::Watch;
use clap::Parser;
use collector::Collector;
use control::Control;
use front::Front;
use interrupt::Interrupts;
use libtracee::Change;
use output::complain;
use output::create;
use output::named;
use parts::Parts;
use program_output::Outputs;
use program_output::ProgramOutput;
use root::Root;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use trace::How;
use trace::Tracer;

/// Exit code if mmwatch itself has failed.
const FAILED: u8 = 125;

/// Maximum number of inputs that wait for the collector. A program that writes faster than its
/// output can be shown is blocked.
const INPUTS: usize = 4096;

/// Runs the program twice without a watch, the first time to fill the caches. Returns the time of
/// the second run, or the exit code if the program could not be executed.
fn run_unwatched(program: &[OsString]) -> io::Result<Result<Duration, u8>> {
    let input = starter::input_of_first_run()?;
    if let Err(code) = starter::run_unwatched(program, input)? {
        return Ok(Err(code));
    }
    starter::run_unwatched(program, starter::input_of_first_run()?)
}

/// Starts a thread that ends with mmwatch.
fn spawn(body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().spawn(body).map(drop)
}

/// Watches a program or a process. Returns an exit code if the program was not executed.
fn watch(watch: Watch, front: Front, signals: File) -> io::Result<u8> {
    let (pid, program) = (watch.pid, watch.program.clone());
    let parts = Parts {
        ranges: watch.range.clone(),
        mappings: watch
            .map
            .iter()
            .map(|pattern| text::from_bytes(pattern.as_bytes()))
            .collect(),
    };
    let how = How {
        stacks: watch.stacks,
        untraced: watch.untraced,
    };
    let mut unwatched = None;
    if watch.compare {
        match run_unwatched(&program)? {
            Ok(time) => unwatched = Some(time),
            Err(code) => return Ok(code),
        }
    }
    let (control, root) = (Control::default(), Arc::new(Root::new(Some(front))));
    let tracer_failed = Arc::new(AtomicBool::new(false));
    let collector = Collector::new(watch, control.clone())?;
    let (out, messages) = mpsc::channel();
    let (inputs, collected) = mpsc::sync_channel(INPUTS);
    let mut tracer = Tracer::new(out, parts, how, control.clone(), root.clone());
    let (mut started, mut terminal) = (None, None);
    if pid.is_none() {
        let outputs = Outputs::choose(collector.is_live())?;
        terminal = outputs.terminal;
        started = Some(tracer.start(&program, outputs.out, outputs.error)?);
    }
    // Block signals after the program has started, which would inherit the mask, and before the
    // start of other threads, which must inherit it.
    front::block_stops()?;
    interrupt::block()?;
    let interrupts = Interrupts {
        signals,
        root: root.clone(),
        control: control.clone(),
        inputs: inputs.clone(),
    };
    spawn(move || {
        if let Err(error) = interrupts.run() {
            complain(&format!("signals can no longer be received: {error}"));
        }
    })?;
    match pid {
        Some(pid) => tracer.attach(pid)?,
        None => {
            if let Some(time) = unwatched {
                tracer.send_unwatched(time.as_nanos() as u64);
            }
        }
    }
    let mut program_output = ProgramOutput::default();
    if let Some(child) = started {
        starter::release(&child)?;
        program_output = ProgramOutput::read(terminal, &inputs)?;
    }
    // The collector ends when all traced tasks are gone, or after an interruption.
    spawn(move || {
        for message in messages {
            if inputs.send(collector::Input::Message(message)).is_err() {
                return;
            }
        }
        program_output.wait();
        let _ = inputs.send(collector::Input::End);
    })?;
    let (ended, failed) = (root.clone(), tracer_failed.clone());
    // The collector ends mmwatch, also before the end of the tracer, which may be waiting for a
    // tracee. The kernel detaches mmwatch from all tracees and resumes them.
    spawn(move || {
        let failures = collector.collect(collected);
        for failure in &failures {
            complain(&failure.to_string());
        }
        let has_failed = failed.load(Ordering::Relaxed) || !failures.is_empty();
        end(&ended, has_failed)
    })?;
    if let Err(error) = tracer.follow() {
        complain(&error.to_string());
        tracer_failed.store(true, Ordering::Relaxed);
        control.end();
    }
    // The collector ends mmwatch when the last sender of messages is gone. An error is known by
    // then.
    drop(tracer);
    loop {
        thread::park();
    }
}

/// Ends mmwatch in the way in which the program has ended, if it was started and has ended.
fn end(root: &Root, has_failed: bool) -> ! {
    root.wake_front();
    match root.ended() {
        Some(Change::Killed(signal)) => libtracee::die_of(signal),
        Some(_) => exit(root.code()),
        None => exit(if has_failed { FAILED } else { 0 }),
    }
}

fn exit(code: u8) -> ! {
    std::process::exit(code.into())
}

fn report(file: &Path, output: &Output) -> io::Result<()> {
    let mut report = output.report();
    let name = |error| named(file, error);
    recording::read(BufReader::new(File::open(file).map_err(name)?), &mut report).map_err(name)?;
    let mut out: Box<dyn Write> = match &output.output {
        Some(path) => Box::new(create(path)?),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let finished = output.finish(&report, &mut out, false);
    let drawn = output.draw(&report);
    finished.map_err(|error| output.named(error)).and(drawn)
}

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.len() > 3 && words[1] == starter::START {
        starter::become_program(&words[2..]);
    }
    let behind: Vec<OsString> = match words.get(1) {
        Some(word) if words.len() > 4 && word == front::BEHIND => {
            words.drain(1..5).skip(1).collect()
        }
        _ => Vec::new(),
    };
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    let result = match &arguments.command {
        Some(Action::Report { file, output }) => report(file, output),
        None if behind.is_empty() => {
            front::run(&words[1..], arguments.watch.pid.is_none()).map(|code| exit(code))
        }
        None => Front::connect(&behind)
            .and_then(|(front, signals)| watch(arguments.watch, front, signals))
            .map(|code| exit(code)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(FAILED)
        }
    }
}
