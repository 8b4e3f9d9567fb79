// SPDX-License-Identifier: GPL-2.0

//! Reports the changes of the address space of a program, from its exec on, and of the processes
//! that it forks and the programs that it executes.

#![forbid(unsafe_code)]

mod arguments;
mod call;
mod collector;
mod event;
mod lines;
mod live;
mod mapping;
mod message;
mod output;
mod picture;
mod process;
mod program_output;
mod report;
mod space_reader;
mod stack;
mod summary;
mod symbols;
mod trace;

use arguments::Action;
use arguments::Arguments;
use arguments::Output;
use arguments::Watch;
use clap::Parser;
use collector::Collector;
use collector::Input;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use output::create;
use output::named;
use program_output::ProgramOutput;
use space_reader::Parts;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use trace::How;
use trace::Tracer;

/// Ends the watch of a running process on SIGINT, SIGQUIT and SIGTERM. If mmwatch has started the
/// program, SIGINT and SIGQUIT are meant for the program instead.
fn end_when_interrupted(inputs: mpsc::SyncSender<Input>) -> io::Result<()> {
    let mut signals = interruptions();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    thread::spawn(move || {
        let _ = signals.wait();
        let _ = inputs.send(Input::End);
    });
    Ok(())
}

fn interruptions() -> SigSet {
    [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect()
}

/// Maximum number of inputs that wait for the collector. A program that writes faster than its
/// output can be shown is blocked.
const INPUTS: usize = 4096;

fn watch(watch: Watch) -> io::Result<u8> {
    let (pid, program, compare) = (watch.pid, watch.program.clone(), watch.compare);
    let parts = Parts {
        ranges: watch.range.clone(),
        mappings: watch.map.clone(),
    };
    let how = How {
        stacks: watch.stacks,
        untraced: watch.untraced,
    };
    let collector = Collector::new(watch)?;
    let (out, messages) = mpsc::channel();
    let (inputs, collected) = mpsc::sync_channel(INPUTS);
    let mut tracer = Tracer::new(out, parts, how);
    let mut program_output = ProgramOutput::default();
    match pid {
        Some(pid) => {
            end_when_interrupted(inputs.clone())?;
            tracer.attach(pid)?;
        }
        None => {
            if compare {
                tracer
                    .run_unwatched(&program)
                    .map_err(|error| named(Path::new(&program[0]), error))?;
            }
            let (output, error) = program_output::choose(collector.is_live());
            let child = tracer.start(&program, output, error)?;
            // Block signals after the program has started, which would inherit the mask, and before
            // the start of other threads, which must inherit it.
            interruptions().thread_block()?;
            program_output = ProgramOutput::read(child, &inputs);
        }
    }
    // The collector ends when all traced tasks are gone, or after an interruption.
    thread::spawn(move || {
        for message in messages {
            if inputs.send(Input::Message(message)).is_err() {
                return;
            }
        }
        program_output.wait();
        let _ = inputs.send(Input::End);
    });
    let collecting = thread::spawn(move || {
        let result = collector.collect(collected);
        if pid.is_some() {
            // The tracer may be waiting for a tracee. The kernel resumes stopped tracees when
            // mmwatch exits.
            exit(result.map(|()| 0));
        }
        result
    });
    let code = tracer.follow();
    match collecting.join() {
        Ok(result) => result?,
        Err(_) => return Err(io::Error::other("the collector thread has panicked")),
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
    let mut out: Box<dyn Write> = match &output.output {
        Some(path) => Box::new(create(path)?),
        None => Box::new(io::stdout()),
    };
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
