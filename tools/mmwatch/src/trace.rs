// SPDX-License-Identifier: GPL-2.0

//! Starts a program, or finds one that runs, and follows it: what it forks, vforks, clones and executes.
//! Each address space is watched by itself.
//!
//! A new process or program is stopped by ptrace before its first instruction, so that nothing is missed.
//! If mmwatch is killed, then what it follows runs on.

use crate::device::Device;
use crate::device::Event;
use crate::device::Status;
use crate::device::KIND_DROPPED;
use crate::device::KIND_RELEASE;
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
use serde::Deserialize;
use serde::Serialize;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// What an address space begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Space {
    pub index: usize,
    pub pid: i32,
    /// How it came: by "exec", by "fork", or that it was there ("attach").
    pub by: String,
    pub name: String,
    /// Nanoseconds since the program was started.
    pub time: u64,
}

/// A mapping of a file, or one that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub name: String,
}

/// What is seen, in the order in which it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// What is watched.
    Program {
        version: u32,
        words: Vec<String>,
    },
    Space(Space),
    Event {
        space: usize,
        event: Event,
    },
    Mapping {
        space: usize,
        mapping: Mapping,
    },
    Ended {
        space: usize,
        status: Status,
    },
    /// How long the program took, in nanoseconds, unwatched, and watched.
    Unwatched(u64),
    Watched(u64),
    NotFollowed(String),
}

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

fn comm(pid: i32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().into())
}

/// Whether it is a thread of another one's process.
fn is_thread(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("Tgid:"))?;
            line["Tgid:".len()..].trim().parse::<i32>().ok()
        })
        .is_some_and(|tgid| tgid != pid.as_raw())
}

/// What of an address space is watched, if it is not all.
#[derive(Clone, Default)]
pub struct Parts {
    pub ranges: Vec<Range<u64>>,
    /// What the names of mappings have in them.
    pub mappings: Vec<String>,
}

impl Parts {
    fn is_all(&self) -> bool {
        self.ranges.is_empty() && self.mappings.is_empty()
    }

    fn has(&self, mapping: &Mapping) -> bool {
        self.mappings.iter().any(|name| mapping.name.contains(name))
    }
}

/// Why a child is new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Born {
    Fork,
    /// It has its parent's memory, until it executes a program.
    Vfork,
    Clone,
}

pub struct Tracer {
    out: Sender<Message>,
    parts: Parts,
    begun: Instant,
    /// What was started, and its exit code.
    root: Option<Pid>,
    code: u8,
    known: HashSet<Pid>,
    /// Children of which their parents have told, and which were not seen yet; and the other way round.
    expected: HashMap<Pid, Born>,
    stopped: HashSet<Pid>,
    spaces: usize,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Tracer {
    pub fn new(out: Sender<Message>, parts: Parts) -> Self {
        Self {
            out,
            parts,
            begun: Instant::now(),
            root: None,
            code: 0,
            known: HashSet::new(),
            expected: HashMap::new(),
            stopped: HashSet::new(),
            spaces: 0,
            readers: Vec::new(),
        }
    }

    fn send(&self, message: Message) {
        // Who does not listen any more has said why.
        let _ = self.out.send(message);
    }

    /// Runs a program to its end, for comparison.
    pub fn run_unwatched(&mut self, program: &[String]) -> io::Result<()> {
        let begun = Instant::now();
        Command::new(&program[0]).args(&program[1..]).status()?;
        self.send(Message::Unwatched(begun.elapsed().as_nanos() as u64));
        Ok(())
    }

    /// Starts a program, which is stopped until [`Tracer::follow`].
    pub fn start(&mut self, program: &[String]) -> io::Result<()> {
        self.begun = Instant::now();
        let child = Command::new("/proc/self/exe")
            .arg0("mmwatch")
            .arg(START)
            .arg("--")
            .args(program)
            .spawn()?;
        let child = Pid::from_raw(child.id() as i32);
        // Not traced yet: a stop of the ordinary kind.
        match waitpid(child, Some(WaitPidFlag::WUNTRACED))? {
            WaitStatus::Stopped(..) => {}
            status => {
                return Err(io::Error::other(format!(
                    "the program was not started: {status:?}"
                )))
            }
        }
        ptrace::seize(child, OPTIONS)?;
        self.known.insert(child);
        self.root = Some(child);
        self.send(Message::Program {
            version: 1,
            words: program.to_vec(),
        });
        kill(child, Signal::SIGCONT)?;
        Ok(())
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
        let words = vec![comm(pid).unwrap_or_default(), format!("(process {pid})")];
        self.send(Message::Program { version: 1, words });
        for task in tasks {
            let name = task?.file_name();
            let Some(task) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match ptrace::seize(Pid::from_raw(task), OPTIONS) {
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
        ptrace::cont(pid, None)?;
        Ok(())
    }

    /// Watches the address space of a process that is stopped.
    fn watch(&mut self, pid: Pid, by: &str) -> io::Result<()> {
        let mut device = Device::watch(pid.as_raw(), !self.parts.is_all())?;
        for range in &self.parts.ranges {
            device.add_range(range.clone())?;
        }
        let parts = self.parts.clone();
        let space = Space {
            index: self.spaces,
            pid: pid.as_raw(),
            by: by.into(),
            name: comm(pid.as_raw()).unwrap_or_default(),
            time: self.begun.elapsed().as_nanos() as u64,
        };
        self.spaces += 1;
        let out = self.out.clone();
        self.send(Message::Space(space.clone()));
        self.readers.push(thread::spawn(move || {
            if let Err(error) = read(&mut device, &space, &parts, &out) {
                let _ = out.send(Message::NotFollowed(format!(
                    "process {}: {error}",
                    space.pid
                )));
            }
        }));
        Ok(())
    }

    /// Likewise; what cannot be watched is told.
    fn try_watch(&mut self, pid: Pid, by: &str) -> io::Result<()> {
        if let Err(error) = self.watch(pid, by) {
            // Nothing at all could be.
            if self.spaces == 0 {
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
    pub const STOP: i32 = 128;
}

/// Lets a tracee go on. It may have been killed meanwhile.
fn resume(pid: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::cont(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// How often mappings are looked at, at the most.
const MAPPINGS: Duration = Duration::from_millis(50);

/// Brings what is seen of an address space to who listens, until that has ended.
fn read(
    device: &mut Device,
    space: &Space,
    parts: &Parts,
    out: &Sender<Message>,
) -> io::Result<()> {
    let mut mappings = HashSet::new();
    let mut looked: Option<Instant> = None;
    let mut names: HashMap<i32, Option<String>> = HashMap::new();
    let mut over = false;
    while !over {
        if looked.is_none_or(|when| when.elapsed() > MAPPINGS) {
            for mapping in mappings_of(space.pid) {
                if mappings.insert(mapping.clone()) {
                    if parts.has(&mapping) {
                        add(device, space, &mapping, out);
                    }
                    let _ = out.send(Message::Mapping {
                        space: space.index,
                        mapping,
                    });
                }
            }
            looked = Some(Instant::now());
        }
        // Mappings that come are looked for, also if nothing happens.
        if !device.wait(MAPPINGS)? {
            continue;
        }
        let Some(events) = device.read()? else {
            break;
        };
        for mut event in events {
            over |= event.kind == KIND_RELEASE;
            if event.kind != KIND_DROPPED {
                event.time += space.time;
                if event.tgid != space.pid {
                    let name = names
                        .entry(event.tgid)
                        .or_insert_with_key(|tgid| comm(*tgid));
                    event.task = Some(name.clone().unwrap_or(format!("process {}", event.tgid)));
                }
            }
            let space = space.index;
            if out.send(Message::Event { space, event }).is_err() {
                return Ok(());
            }
        }
    }
    let _ = out.send(Message::Ended {
        space: space.index,
        status: device.status()?,
    });
    Ok(())
}

/// Watches a mapping; tells if it cannot be.
fn add(device: &Device, space: &Space, mapping: &Mapping, out: &Sender<Message>) {
    if let Err(error) = device.add_range(mapping.start..mapping.end) {
        let _ = out.send(Message::NotFollowed(format!(
            "{} of process {}: {error}",
            mapping.name, space.pid
        )));
    }
}

/// The mappings of a process, as they are.
fn mappings_of(pid: i32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let name = rest.split_whitespace().nth(4)?;
            Some(Mapping {
                start: u64::from_str_radix(start, 16).ok()?,
                end: u64::from_str_radix(end, 16).ok()?,
                name: name.into(),
            })
        })
        .collect()
}
