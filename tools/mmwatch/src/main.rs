// SPDX-License-Identifier: GPL-2.0

//! Shows how a program's address space changes, from its exec on.
//!
//! The program is started as a tracee, so that its new address space can be watched before it runs
//! its first instruction; from then on it is not traced any more.

mod device;
mod report;

use clap::Parser;
use device::Device;
use device::KIND_RELEASE;
use nix::sys::ptrace;
use nix::sys::signal::raise;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::sys::wait::WaitStatus;
use nix::unistd::fork;
use nix::unistd::ForkResult;
use nix::unistd::Pid;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::process::ExitCode;

/// Shows how a program's address space changes: what is unmapped, moved, protected, when, by whom.
///
/// Events are printed as they come if the output is a terminal, else a summary at the end. They go
/// to standard error, so that the program's own output stays what it is. The exit code is the
/// program's; 125 if mmwatch itself has failed, 126 and 127 if the program could not be run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Print a table at the end (the default unless standard error is a terminal).
    #[arg(long)]
    summary: bool,

    /// Print events as they come (the default on a terminal).
    #[arg(long, conflicts_with = "summary")]
    live: bool,

    /// Write to this file instead of standard error.
    #[arg(short, long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,

    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

/// Starts the program, and returns when it is stopped right behind its exec; or its exit code if
/// it never came there.
fn start(program: &[String]) -> io::Result<Result<Pid, u8>> {
    // SAFETY: This process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let failed = |error: io::Error| -> ! {
                eprintln!("mmwatch: {}: {error}", program[0]);
                std::process::exit(if error.kind() == io::ErrorKind::NotFound {
                    127
                } else {
                    126
                })
            };
            if let Err(errno) = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP)) {
                failed(errno.into());
            }
            failed(Command::new(&program[0]).args(&program[1..]).exec())
        }
        ForkResult::Parent { child } => {
            // The stop before the exec.
            waitpid(child, None)?;
            ptrace::setoptions(
                child,
                ptrace::Options::PTRACE_O_TRACEEXEC | ptrace::Options::PTRACE_O_EXITKILL,
            )?;
            let mut pass_on = None;
            loop {
                ptrace::cont(child, pass_on)?;
                match waitpid(child, None)? {
                    WaitStatus::PtraceEvent(..) => return Ok(Ok(child)),
                    WaitStatus::Stopped(_, other) => pass_on = Some(other),
                    WaitStatus::Exited(_, code) => return Ok(Err(code as u8)),
                    WaitStatus::Signaled(_, other, _) => return Ok(Err(128 + other as u8)),
                    _ => {}
                }
            }
        }
    }
}

/// Waits for the program's end, and returns its exit code.
fn finish(child: Pid) -> io::Result<u8> {
    loop {
        match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => return Ok(code as u8),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as u8),
            _ => {}
        }
    }
}

/// The program and its arguments as they fit on a line.
fn one_line(program: &[String]) -> String {
    let line = program.join(" ");
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 60 {
        line = line.chars().take(57).collect::<String>() + "...";
    }
    line
}

fn run(arguments: &Arguments) -> io::Result<u8> {
    let (mut out, terminal): (Box<dyn Write>, bool) = match &arguments.output {
        Some(path) => {
            let file = std::fs::File::create(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            (Box::new(io::BufWriter::new(file)), false)
        }
        None => (Box::new(io::stderr()), io::stderr().is_terminal()),
    };
    let live = arguments.live || (terminal && !arguments.summary);

    let child = match start(&arguments.program)? {
        Ok(child) => child,
        Err(code) => return Ok(code),
    };
    let mut device = match Device::watch(child.as_raw()) {
        Ok(device) => device,
        Err(error) => {
            let _ = ptrace::kill(child);
            let _ = waitpid(child, None);
            return Err(error);
        }
    };
    ptrace::detach(child, None)?;
    // What a person types at the program is for the program; the summary comes all the same.
    [Signal::SIGINT, Signal::SIGQUIT]
        .into_iter()
        .collect::<SigSet>()
        .thread_block()?;

    let mut summary = report::Summary::default();
    let mut executed = false;
    while let Some(events) = device.read()? {
        for event in &events {
            summary.add(event, child.as_raw());
            if live {
                report::live(&mut out, event, terminal)?;
            }
        }
        if let Some(release) = events.iter().find(|event| event.kind == KIND_RELEASE) {
            executed = release.executed;
            break;
        }
    }
    let status = device.status()?;
    let code = finish(child)?;
    if live {
        writeln!(
            out,
            "           {} invalidations of {} pages",
            status.count, status.pages
        )?;
    } else {
        summary.print(&mut out, &one_line(&arguments.program), status)?;
    }
    if executed {
        writeln!(
            out,
            "\n  Not followed: another program that it has executed."
        )?;
    }
    writeln!(out, "\n  Not followed: processes that it started.")?;
    out.flush()?;
    Ok(code)
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("mmwatch: {error}");
            ExitCode::from(125)
        }
    }
}
