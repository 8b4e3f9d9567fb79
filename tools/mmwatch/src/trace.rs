// SPDX-License-Identifier: GPL-2.0

//! Starts a program, or finds one that runs, and follows it: what it forks, vforks, clones and
//! executes. Each address space is watched by itself.
//!
//! A new process or program is stopped by ptrace before its first instruction, so that nothing is
//! missed. If mmwatch is killed, then what it follows runs on.

use crate::message::Message;
use crate::message::Space;
use crate::process::comm;
use crate::process::is_thread;
use crate::space_reader::Parts;
use crate::space_reader::SpaceReader;
use crate::space_reader::Told;
use libmmwatch::Device;
use libmmwatch::Options as WatchOptions;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::ptrace::Options;
use nix::sys::signal::kill;
use nix::sys::signal::raise;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::sys::wait::WaitPidFlag;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

const OPTIONS: Options = Options::PTRACE_O_TRACEEXEC
    .union(Options::PTRACE_O_TRACEFORK)
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACECLONE);

/// The argument by which mmwatch starts itself, to become the program.
pub const START: &str = "--start-stopped";

/// In the process that becomes the program: waits to be traced.
pub fn become_program(program: &[String]) -> ! {
    let error = match raise(Signal::SIGSTOP) {
        Ok(()) => Command::new(&program[0]).args(&program[1..]).exec(),
        Err(errno) => errno.into(),
    };
    eprintln!("mmwatch: {}: {error}", program[0]);
    std::process::exit(if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}

/// Why a child is new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Born {
    Fork,
    /// It has its parent's memory, until it executes a program.
    Vfork,
    Clone,
}

/// How it is followed.
#[derive(Clone, Copy, Default)]
pub struct How {
    /// Events tell where the thread was.
    pub stacks: bool,
    /// Not by tracing: the device itself follows what is executed, and what is forked is not
    /// followed.
    pub untraced: bool,
}

impl How {
    fn options(self) -> Options {
        if self.untraced {
            return Options::PTRACE_O_TRACEEXEC;
        }
        // What was mapped at the end tells what the addresses of a stack mean.
        let exits = if self.stacks {
            Options::PTRACE_O_TRACEEXIT
        } else {
            Options::empty()
        };
        OPTIONS | exits
    }
}

pub struct Tracer {
    out: Sender<Message>,
    parts: Parts,
    how: How,
    begun: Instant,
    /// What was started, and its exit code.
    root: Option<Pid>,
    code: u8,
    known: HashSet<Pid>,
    /// Children of which their parents have told, and which were not seen yet; and the other way
    /// round.
    expected: HashMap<Pid, Born>,
    stopped: HashSet<Pid>,
    /// How many address spaces there are.
    spaces: Arc<AtomicUsize>,
    /// Those that are looked at once more when their processes exit.
    looked_at: HashMap<Pid, (Space, Told)>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Tracer {
    pub fn new(out: Sender<Message>, parts: Parts, how: How) -> Self {
        Self {
            out,
            parts,
            how,
            begun: Instant::now(),
            root: None,
            code: 0,
            known: HashSet::new(),
            expected: HashMap::new(),
            stopped: HashSet::new(),
            spaces: Arc::default(),
            looked_at: HashMap::new(),
            readers: Vec::new(),
        }
    }

    fn send(&self, message: Message) {
        // Who does not listen any more has said why.
        let _ = self.out.send(message);
    }

    fn send_program(&self, words: Vec<String>) {
        self.send(Message::Program {
            version: 1,
            words,
            untraced: self.how.untraced,
        });
    }

    /// Runs a program to its end, for comparison.
    pub fn run_unwatched(&mut self, program: &[String]) -> io::Result<()> {
        let begun = Instant::now();
        Command::new(&program[0]).args(&program[1..]).status()?;
        self.send(Message::Unwatched(begun.elapsed().as_nanos() as u64));
        Ok(())
    }

    /// Starts a program, which is stopped until [`Tracer::follow`].
    pub fn start(&mut self, program: &[String], out: Stdio, error: Stdio) -> io::Result<Child> {
        self.begun = Instant::now();
        let started = Command::new("/proc/self/exe")
            .arg0("mmwatch")
            .arg(START)
            .arg("--")
            .args(program)
            .stdout(out)
            .stderr(error)
            .spawn()?;
        let child = Pid::from_raw(started.id() as i32);
        // Not traced yet: a stop of the ordinary kind.
        match waitpid(child, Some(WaitPidFlag::WUNTRACED))? {
            WaitStatus::Stopped(..) => {}
            status => {
                return Err(io::Error::other(format!(
                    "the program was not started: {status:?}"
                )))
            }
        }
        ptrace::seize(child, self.how.options())?;
        self.known.insert(child);
        self.root = Some(child);
        self.send_program(program.to_vec());
        kill(child, Signal::SIGCONT)?;
        Ok(started)
    }

    /// Takes a process that runs, with its threads.
    pub fn attach(&mut self, pid: i32) -> io::Result<()> {
        let explain =
            |error: io::Error| io::Error::new(error.kind(), format!("process {pid}: {error}"));
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| {
            explain(match error.kind() {
                io::ErrorKind::NotFound => Errno::ESRCH.into(),
                _ => error,
            })
        })?;
        self.send_program(vec![
            comm(pid).unwrap_or_default(),
            format!("(process {pid})"),
        ]);
        for task in tasks {
            let name = task?.file_name();
            let Some(task) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if self.how.untraced && task != pid {
                continue;
            }
            match ptrace::seize(Pid::from_raw(task), self.how.options()) {
                Ok(()) => {
                    self.known.insert(Pid::from_raw(task));
                }
                // A thread that has ended meanwhile.
                Err(Errno::ESRCH) if task != pid => {}
                Err(errno) => return Err(explain(errno.into())),
            }
        }
        let pid = Pid::from_raw(pid);
        ptrace::interrupt(pid).map_err(|errno| explain(errno.into()))?;
        waitpid(pid, Some(WaitPidFlag::__WALL))?;
        self.watch(pid, "attach")?;
        self.watched(pid)
    }

    /// Watches the address space of a process that is stopped.
    fn watch(&mut self, pid: Pid, by: &str) -> io::Result<()> {
        let options = WatchOptions {
            ranges: !self.parts.is_all(),
            stacks: self.how.stacks,
            follow: self.how.untraced,
        };
        let device = Device::watch(pid.as_raw(), options)?;
        for range in &self.parts.ranges {
            device.add_range(range.clone(), 0)?;
        }
        let space = Space {
            index: self.spaces.fetch_add(1, Ordering::Relaxed),
            pid: pid.as_raw(),
            by: by.into(),
            name: comm(pid.as_raw()).unwrap_or_default(),
            time: self.begun.elapsed().as_nanos() as u64,
        };
        self.send(Message::Space(space.clone()));
        let reader = SpaceReader {
            device,
            space,
            told: Told::default(),
            parts: self.parts.clone(),
            follows: self.how.untraced,
            spaces: self.spaces.clone(),
            out: self.out.clone(),
            events: Vec::new(),
        };
        // As long as it is stopped, nothing of what there is now is missed.
        reader.look();
        if self.how.stacks && !self.how.untraced {
            let looked_at = (reader.space.clone(), reader.told.clone());
            self.looked_at.insert(pid, looked_at);
        }
        self.readers.push(thread::spawn(move || reader.run()));
        Ok(())
    }

    /// Lets a process go on that is watched now, or was to be.
    fn watched(&mut self, pid: Pid) -> io::Result<()> {
        if !self.how.untraced {
            return resume(pid, None);
        }
        self.known.remove(&pid);
        match ptrace::detach(pid, None) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Watches it; what cannot be watched is told.
    fn try_watch(&mut self, pid: Pid, by: &str) -> io::Result<()> {
        if let Err(error) = self.watch(pid, by) {
            // Nothing at all could be.
            if self.spaces.load(Ordering::Relaxed) == 0 {
                let _ = kill(pid, Signal::SIGKILL);
                return Err(error);
            }
            let name = comm(pid.as_raw()).unwrap_or_default();
            self.send(Message::NotFollowed(format!(
                "process {pid}, {name}: {error}"
            )));
        }
        Ok(())
    }

    /// A child that is stopped, and of which it is known why it is new.
    fn begin_child(&mut self, child: Pid, born: Born) -> io::Result<()> {
        self.known.insert(child);
        let own = match born {
            Born::Fork => true,
            Born::Vfork => false,
            Born::Clone => !is_thread(child),
        };
        if own {
            self.try_watch(child, "fork")?;
        }
        resume(child, None)
    }

    /// Follows until all have ended. Returns the exit code of what was started.
    pub fn follow(mut self) -> io::Result<u8> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => break,
                Err(errno) => return Err(errno.into()),
            };
            self.step(status)?;
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Ok(self.code)
    }

    fn step(&mut self, status: WaitStatus) -> io::Result<()> {
        match status {
            WaitStatus::PtraceEvent(pid, _, event) => self.event(pid, event),
            WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal)),
            WaitStatus::Exited(pid, code) => {
                self.ended(pid, code as u8);
                Ok(())
            }
            WaitStatus::Signaled(pid, signal, _) => {
                self.ended(pid, 128 + signal as u8);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn ended(&mut self, pid: Pid, code: u8) {
        self.known.remove(&pid);
        self.expected.remove(&pid);
        self.stopped.remove(&pid);
        if Some(pid) == self.root {
            self.code = code;
            self.send(Message::Watched(self.begun.elapsed().as_nanos() as u64));
        }
    }

    fn event(&mut self, pid: Pid, event: i32) -> io::Result<()> {
        let born = match event {
            libc_event::FORK => Born::Fork,
            libc_event::VFORK => Born::Vfork,
            libc_event::CLONE => Born::Clone,
            libc_event::EXEC => {
                self.try_watch(pid, "exec")?;
                return self.watched(pid);
            }
            libc_event::EXIT => {
                if let Some((space, told)) = self.looked_at.remove(&pid) {
                    told.look(&space, &self.out);
                }
                return resume(pid, None);
            }
            libc_event::STOP if !self.known.contains(&pid) => {
                return match self.expected.remove(&pid) {
                    Some(born) => self.begin_child(pid, born),
                    None => {
                        self.stopped.insert(pid);
                        Ok(())
                    }
                };
            }
            _ => return resume(pid, None),
        };
        if let Ok(child) = ptrace::getevent(pid) {
            let child = Pid::from_raw(child as i32);
            if self.stopped.remove(&child) {
                self.begin_child(child, born)?;
            } else {
                self.expected.insert(child, born);
            }
        }
        resume(pid, None)
    }
}

/// The events of `ptrace(2)`.
mod libc_event {
    pub const FORK: i32 = 1;
    pub const VFORK: i32 = 2;
    pub const CLONE: i32 = 3;
    pub const EXEC: i32 = 4;
    pub const EXIT: i32 = 6;
    pub const STOP: i32 = 128;
}

/// Lets a tracee go on. It may have been killed meanwhile.
fn resume(pid: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::cont(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
