// SPDX-License-Identifier: GPL-2.0

//! Starts a program or attaches to a running process, and follows the processes that it forks,
//! vforks and clones and the programs that it executes. Each address space has a watch of its own.
//!
//! ptrace stops a new process or program before its first instruction, so that no event is missed.
//! If mmwatch is killed, the traced processes continue to run.

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

/// The argument with which mmwatch starts itself, in the process that becomes the program.
pub const START: &str = "--start-stopped";

/// Runs in the process that becomes the program: stops until the tracer has attached.
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

/// The system call that has created a child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Born {
    Fork,
    /// The child uses the memory of its parent until it executes a program.
    Vfork,
    Clone,
}

/// Tracing options.
#[derive(Clone, Copy, Default)]
pub struct How {
    /// Record the user stack of each event.
    pub stacks: bool,
    /// Do not trace the program: the device follows programs that the process executes, and
    /// processes that it forks are not watched.
    pub untraced: bool,
}

impl How {
    fn options(self) -> Options {
        if self.untraced {
            return Options::PTRACE_O_TRACEEXEC;
        }
        // The mappings at the exit of the process are needed to interpret the addresses in stacks.
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
    /// The process that was started; its exit code is returned.
    root: Option<Pid>,
    code: u8,
    known: HashSet<Pid>,
    /// Children that were reported by their parents and have not stopped yet; `stopped` has
    /// children for which the reverse holds.
    expected: HashMap<Pid, Born>,
    stopped: HashSet<Pid>,
    /// Number of address spaces so far.
    spaces: Arc<AtomicUsize>,
    /// Address spaces for which the mappings are read once more at the exit of the process.
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
        // If the receiver is gone, it has reported the error.
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

    /// Starts a program, which stays stopped until [`Tracer::follow`] is called.
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
        // The child is not traced yet, so this is an ordinary job-control stop.
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

    /// Attaches to a running process and its threads.
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
                // The thread has exited.
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

    /// Watches the address space of a stopped process.
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
        // The process is stopped, so its current mappings are all found.
        reader.look();
        if self.how.stacks && !self.how.untraced {
            let looked_at = (reader.space.clone(), reader.told.clone());
            self.looked_at.insert(pid, looked_at);
        }
        self.readers.push(thread::spawn(move || reader.run()));
        Ok(())
    }

    /// Resumes a process after `watch()`, successful or not. Detaches from the process if untraced.
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

    /// Watches the address space of a stopped process. Reports a failure, unless no address space
    /// is watched at all, which is an error.
    fn try_watch(&mut self, pid: Pid, by: &str) -> io::Result<()> {
        if let Err(error) = self.watch(pid, by) {
            // No address space is watched.
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

    /// Starts to follow a stopped child, after its parent has reported how the child was created.
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

    /// Traces until all tasks have ended. Returns the exit code of the program that was started.
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

/// Resumes a tracee. Succeeds if the tracee was killed meanwhile.
fn resume(pid: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::cont(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
