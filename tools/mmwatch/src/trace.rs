// SPDX-License-Identifier: GPL-2.0

//! Starts a program or attaches to a running process, and follows the processes that it forks,
//! vforks and clones and the programs that it executes. Each address space has a watch of its own.
//!
//! ptrace stops a new process or program before its first instruction, so that no event is missed.
//! If mmwatch is killed, the traced processes continue to run. If a request for one of them fails,
//! mmwatch detaches from that process, and reports the failure.

use crate::control::Control;
use crate::message::Message;
use crate::message::Space;
use crate::message::VERSION;
use crate::parts::Parts;
use crate::parts::Pieces;
use crate::privileges;
use crate::process::comm;
use crate::process::is_thread;
use crate::process::parent_of;
use crate::process::process_of;
use crate::root::Root;
use crate::space_reader::SpaceReader;
use crate::space_reader::Told;
use crate::starter;
use crate::text;
use libmmwatch::Device;
use libmmwatch::Options as WatchOptions;
use libtracee::event;
use libtracee::wait;
use libtracee::Change;
use libtracee::Stop;
use libtracee::Wait;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::ptrace::Options;
use nix::sys::signal::kill;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::Child;
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

/// Stack size of a reader of events.
const STACK: usize = 256 << 10;

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
    control: Control,
    /// The process that was started; its exit code is returned.
    root: Arc<Root>,
    begun: Instant,
    /// The time of the first exec.
    executed: Option<Instant>,
    known: HashSet<Pid>,
    /// Children that were reported by their parents and have not stopped yet; `stopped` has
    /// children for which the reverse holds.
    expected: HashMap<Pid, Born>,
    stopped: HashMap<Pid, Stop>,
    /// Number of address spaces so far.
    spaces: Arc<AtomicUsize>,
    /// Address spaces for which the mappings are read once more at the exit of the process.
    looked_at: HashMap<Pid, (Space, Told)>,
}

impl Tracer {
    pub fn new(
        out: Sender<Message>,
        parts: Parts,
        how: How,
        control: Control,
        root: Arc<Root>,
    ) -> Self {
        Self {
            out,
            parts,
            how,
            control,
            root,
            begun: Instant::now(),
            executed: None,
            known: HashSet::new(),
            expected: HashMap::new(),
            stopped: HashMap::new(),
            spaces: Arc::default(),
            looked_at: HashMap::new(),
        }
    }

    fn send(&self, message: Message) {
        // If the receiver is gone, it has reported the error.
        let _ = self.out.send(message);
    }

    fn send_program(&self, words: Vec<String>) {
        self.send(Message::Program {
            version: VERSION,
            words,
            untraced: self.how.untraced,
        });
    }

    /// Sends the run time of the program without a watch.
    pub fn send_unwatched(&self, nanoseconds: u64) {
        self.send(Message::Unwatched(nanoseconds));
    }

    /// Starts a program, which stays stopped until [`starter::release`] is called.
    pub fn start(&mut self, program: &[OsString], out: Stdio, error: Stdio) -> io::Result<Child> {
        self.begun = Instant::now();
        let child = starter::start(program, Stdio::inherit(), out, error, self.how.options())?;
        let pid = Pid::from_raw(child.id() as i32);
        self.known.insert(pid);
        self.root.begin(pid);
        let words = program
            .iter()
            .map(|word| text::with_controls(word.as_bytes()));
        self.send_program(words.collect());
        Ok(child)
    }

    /// Attaches to a running process and its threads.
    pub fn attach(&mut self, pid: i32) -> io::Result<()> {
        let explain =
            |error: io::Error| io::Error::new(error.kind(), format!("process {pid}: {error}"));
        match process_of(pid) {
            Some(process) if process != pid => {
                return Err(io::Error::other(format!(
                    "{pid} is a thread of process {process}: use --pid {process}"
                )))
            }
            Some(_) => {}
            None => return Err(explain(Errno::ESRCH.into())),
        }
        self.send_program(vec![
            comm(pid).unwrap_or_default(),
            format!("(process {pid})"),
        ]);
        self.seize_threads(pid).map_err(explain)?;
        let pid = Pid::from_raw(pid);
        ptrace::interrupt(pid).map_err(|errno| explain(errno.into()))?;
        // This may be another stop than the one requested, for instance for a signal. Each of them
        // allows to watch the process, and is then handled as usual.
        match wait(Wait::One(pid))? {
            (_, Change::Stopped(stop)) => {
                self.watch(pid, "attach")?;
                if self.how.untraced {
                    return self.detach(pid, stop);
                }
                self.step(pid, Change::Stopped(stop));
                Ok(())
            }
            _ => Err(explain(Errno::ESRCH.into())),
        }
    }

    /// Attaches to all threads of a process, or only to its main thread if untraced.
    fn seize_threads(&mut self, pid: i32) -> io::Result<()> {
        if self.how.untraced {
            return self.seize(pid, pid);
        }
        // A thread to which mmwatch has not attached yet may create threads.
        loop {
            let before = self.known.len();
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let name = task?.file_name();
                if let Some(task) = name.to_str().and_then(|name| name.parse().ok()) {
                    self.seize(pid, task)?;
                }
            }
            if self.known.len() == before {
                return Ok(());
            }
        }
    }

    fn seize(&mut self, pid: i32, task: i32) -> io::Result<()> {
        let tid = Pid::from_raw(task);
        if self.known.contains(&tid) {
            return Ok(());
        }
        match ptrace::seize(tid, self.how.options()) {
            Ok(()) => {
                self.known.insert(tid);
                Ok(())
            }
            // The thread has exited, or was created by a traced thread and is traced already.
            Err(Errno::ESRCH | Errno::EPERM) if task != pid => Ok(()),
            Err(errno) => Err(io::Error::other(format!(
                "it cannot be traced (another program may trace it already, and root privileges \
                 are needed for other users' processes): {errno}"
            ))),
        }
    }

    /// Watches the address space of a stopped process.
    fn watch(&mut self, pid: Pid, by: &str) -> io::Result<()> {
        let options = WatchOptions {
            ranges: !self.parts.is_all(),
            stacks: self.how.stacks,
            follow: self.how.untraced,
        };
        let device = Device::watch(pid.as_raw(), options)?;
        let mut pieces = Pieces::default();
        if let Some(error) = pieces.update(&device, &self.parts, &[]).pop() {
            return Err(error);
        }
        let space = Space {
            index: self.spaces.fetch_add(1, Ordering::Relaxed),
            pid: pid.as_raw(),
            by: by.into(),
            name: comm(pid.as_raw()).unwrap_or_default(),
            time: self.begun.elapsed().as_nanos() as u64,
        };
        self.send(Message::Space(space.clone()));
        let mut reader = SpaceReader {
            device,
            watch_begun: space.time,
            space,
            told: Told::default(),
            parts: self.parts.clone(),
            pieces,
            follows: self.how.untraced,
            spaces: self.spaces.clone(),
            out: self.out.clone(),
            control: self.control.clone(),
            begun: self.begun,
            events: Vec::new(),
        };
        // The process is stopped, so its current mappings are all found.
        reader.look();
        if self.how.stacks && !self.how.untraced {
            let looked_at = (reader.space.clone(), reader.told.clone());
            self.looked_at.insert(pid, looked_at);
        }
        let reading = self.control.reading();
        // The thread is not joined: a finished thread would keep its stack until then. The end of
        // all readers is known by the end of their messages.
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                reader.run();
                drop(reading);
            })
            .map(drop)
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

    /// Resumes a stopped tracee: delivers its signal, or leaves it in its group stop. If this
    /// fails, the tracee is no longer traced.
    fn go_on(&mut self, pid: Pid, stop: Stop) {
        let result = if stop.is_of_group() {
            libtracee::listen(pid)
        } else {
            libtracee::resume(pid, stop.pending_signal())
        };
        match result {
            // The tracee was killed. Its end is reported next.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                let _ = libtracee::detach(pid, stop.pending_signal());
                self.known.remove(&pid);
                self.send(Message::NotFollowed(format!(
                    "process {pid}: it cannot be resumed, and is no longer traced: {errno}"
                )));
            }
        }
    }

    /// Ends the tracing of a stopped process, which stays watched.
    fn detach(&mut self, pid: Pid, stop: Stop) -> io::Result<()> {
        self.known.remove(&pid);
        match libtracee::detach(pid, stop.pending_signal()) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Starts to follow a stopped child.
    fn begin_child(&mut self, child: Pid, born: Born, stop: Stop) {
        self.known.insert(child);
        let own = match born {
            Born::Fork => true,
            Born::Vfork => false,
            Born::Clone => !is_thread(child),
        };
        if own {
            // The parent is watched, so this reports a failure.
            let _ = self.try_watch(child, "fork");
        }
        self.go_on(child, stop);
    }

    /// Starts to follow stopped children that their parents did not report, because the parents
    /// were killed.
    fn adopt(&mut self) {
        let known = &self.known;
        let is_orphan = |child: &Pid| parent_of(*child).is_none_or(|it| !known.contains(&it));
        let orphans: Vec<Pid> = self.stopped.keys().copied().filter(is_orphan).collect();
        for child in orphans {
            if let Some(stop) = self.stopped.remove(&child) {
                self.begin_child(child, Born::Fork, stop);
            }
        }
    }

    /// Traces until all tasks have ended.
    ///
    /// # Errors
    ///
    /// No address space could be watched, or the state of the tracees is unknown.
    pub fn follow(&mut self) -> io::Result<()> {
        let which = if self.how.untraced {
            Wait::AllUntraced
        } else {
            Wait::All
        };
        loop {
            match wait(which) {
                Ok((pid, change)) => {
                    if let Some(error) = self.step(pid, change) {
                        return Err(error);
                    }
                }
                Err(Errno::ECHILD) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Handles a change of state. Returns an error if no address space could be watched.
    fn step(&mut self, pid: Pid, change: Change) -> Option<io::Error> {
        match change {
            // A program that is no longer traced was stopped by job control.
            Change::Stopped(_) if self.root.is(pid) && !self.known.contains(&pid) => {
                self.root.stop();
            }
            Change::Stopped(stop) => return self.stop(pid, stop).err(),
            Change::Exited(_) | Change::Killed(_) => self.ended(pid, change),
            Change::Continued => self.root.go_on(),
        }
        None
    }

    fn ended(&mut self, pid: Pid, change: Change) {
        self.known.remove(&pid);
        self.expected.remove(&pid);
        self.stopped.remove(&pid);
        self.looked_at.remove(&pid);
        if self.root.is(pid) {
            self.root.end(change);
            let begun = self.executed.unwrap_or(self.begun);
            self.send(Message::Watched(begun.elapsed().as_nanos() as u64));
        }
        self.adopt();
    }

    fn stop(&mut self, pid: Pid, stop: Stop) -> io::Result<()> {
        let born = match stop.event {
            event::FORK => Born::Fork,
            event::VFORK => Born::Vfork,
            event::CLONE => Born::Clone,
            event::EXEC => return self.exec(pid, stop),
            event::EXIT => {
                if let Some((space, told)) = self.looked_at.remove(&pid) {
                    let time = self.begun.elapsed().as_nanos() as u64;
                    told.look(&space, time, &self.out);
                }
                self.go_on(pid, stop);
                return Ok(());
            }
            event::STOP if !self.known.contains(&pid) => {
                match self.expected.remove(&pid) {
                    Some(born) => self.begin_child(pid, born, stop),
                    // A thread needs no watch of its own, so its creator does not matter.
                    None if is_thread(pid) => self.begin_child(pid, Born::Clone, stop),
                    None => {
                        self.stopped.insert(pid, stop);
                        self.adopt();
                    }
                }
                return Ok(());
            }
            _ => {
                if stop.event == event::SIGNAL {
                    self.root.note_signal(pid, stop.signal);
                } else if self.root.is(pid) && stop.is_of_group() {
                    self.root.stop();
                } else if self.root.is(pid) {
                    self.root.go_on();
                }
                self.go_on(pid, stop);
                return Ok(());
            }
        };
        if let Ok(child) = ptrace::getevent(pid) {
            let child = Pid::from_raw(child as i32);
            if let Some(stop) = self.stopped.remove(&child) {
                self.begin_child(child, born, stop);
            } else if !self.known.contains(&child) {
                self.expected.insert(child, born);
            }
        }
        self.go_on(pid, stop);
        Ok(())
    }

    fn exec(&mut self, pid: Pid, stop: Stop) -> io::Result<()> {
        // A thread that executes a program gets the number of its process.
        if let Ok(thread) = ptrace::getevent(pid) {
            let thread = Pid::from_raw(thread as i32);
            if thread != pid {
                self.known.remove(&thread);
            }
        }
        self.known.insert(pid);
        self.try_watch(pid, "exec")?;
        if let Some(lacking) = privileges::lacking(pid.as_raw()) {
            let name = comm(pid.as_raw()).unwrap_or_default();
            self.send(Message::Note(format!(
                "process {pid}, {name}, runs without the {lacking} of its file, because it is \
                 traced: run mmwatch with CAP_SYS_PTRACE, for instance as root"
            )));
        }
        self.executed.get_or_insert_with(Instant::now);
        if self.how.untraced {
            return self.detach(pid, stop);
        }
        self.go_on(pid, stop);
        Ok(())
    }
}
