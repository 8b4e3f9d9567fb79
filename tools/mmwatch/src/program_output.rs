// SPDX-License-Identifier: GPL-2.0

//! Reads the output of a program, if a live view uses the terminal, so that the output can be shown
//! above the view. For the program, its output is a terminal of the same size.

use crate::collector::Input;
use rustix::pty::grantpt;
use rustix::pty::ioctl_tiocgptpeer;
use rustix::pty::openpt;
use rustix::pty::unlockpt;
use rustix::pty::OpenptFlags;
use rustix::termios::tcgetattr;
use rustix::termios::tcgetwinsize;
use rustix::termios::tcsetattr;
use rustix::termios::tcsetwinsize;
use rustix::termios::OptionalActions;
use std::fs::File;
use std::io;
use std::io::IsTerminal;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::sync::mpsc::SyncSender;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Time to wait for output by processes that outlive the program.
const PATIENCE: Duration = Duration::from_millis(200);
/// Time between two comparisons of the terminals' sizes.
const SIZE_PERIOD: Duration = Duration::from_millis(200);

/// Returns whether standard output is the same terminal as standard error.
fn is_standard_output_too() -> bool {
    let device = |file: std::os::fd::BorrowedFd<'_>| {
        let file = File::from(file.try_clone_to_owned()?);
        file.metadata().map(|it| it.rdev())
    };
    io::stdout().is_terminal()
        && matches!(
            (device(io::stdout().as_fd()), device(io::stderr().as_fd())),
            (Ok(one), Ok(other)) if one == other
        )
}

/// The standard output and standard error of a program.
pub struct Outputs {
    pub out: Stdio,
    pub error: Stdio,
    /// The other side of the program's terminal, if there is a live view.
    pub terminal: Option<OwnedFd>,
}

impl Outputs {
    /// The outputs of mmwatch itself.
    fn own() -> Self {
        Self {
            out: Stdio::inherit(),
            error: Stdio::inherit(),
            terminal: None,
        }
    }

    /// Chooses the outputs: those of mmwatch, or another terminal if there is a live view.
    pub fn choose(live: bool) -> io::Result<Self> {
        if !live {
            return Ok(Self::own());
        }
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let of_program = ioctl_tiocgptpeer(&terminal, flags)?;
        // These fail if the terminal was hung up; the program then gets the defaults.
        if let Ok(attributes) = tcgetattr(io::stderr()) {
            let _ = tcsetattr(&of_program, OptionalActions::Now, &attributes);
        }
        if let Ok(size) = tcgetwinsize(io::stderr()) {
            let _ = tcsetwinsize(&terminal, size);
        }
        let out = match is_standard_output_too() {
            true => of_program.try_clone()?.into(),
            false => Stdio::inherit(),
        };
        Ok(Self {
            out,
            error: of_program.into(),
            terminal: Some(terminal),
        })
    }
}

/// Gives the terminal of the program the size of the real one, whenever it changes.
fn follow_size(terminal: &OwnedFd) {
    loop {
        thread::sleep(SIZE_PERIOD);
        let (Ok(real), Ok(size)) = (tcgetwinsize(io::stderr()), tcgetwinsize(terminal)) else {
            return;
        };
        if (real.ws_row, real.ws_col) != (size.ws_row, size.ws_col) {
            let _ = tcsetwinsize(terminal, real);
        }
    }
}

/// The output that is being read.
#[derive(Default)]
pub struct ProgramOutput {
    ended: Option<Receiver<()>>,
    /// Number of readers that wait for the collector to accept output.
    busy: Arc<AtomicUsize>,
}

impl ProgramOutput {
    /// Starts to read from the terminal of a program.
    pub fn read(terminal: Option<OwnedFd>, inputs: &SyncSender<Input>) -> io::Result<Self> {
        let Some(terminal) = terminal else {
            return Ok(Self::default());
        };
        let sized = terminal.try_clone()?;
        thread::Builder::new().spawn(move || follow_size(&sized))?;
        let (ends, ended) = mpsc::channel();
        let busy = Arc::<AtomicUsize>::default();
        read(File::from(terminal), inputs.clone(), ends, busy.clone())?;
        Ok(Self {
            ended: Some(ended),
            busy,
        })
    }

    /// Waits until all output was read, or no more output arrives for a while.
    pub fn wait(self) {
        let Some(ended) = self.ended else {
            return;
        };
        loop {
            match ended.recv_timeout(PATIENCE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) if self.busy.load(Ordering::Relaxed) != 0 => {}
                Err(_) => return,
            }
        }
    }
}

fn read(
    mut terminal: File,
    inputs: SyncSender<Input>,
    progress: Sender<()>,
    busy: Arc<AtomicUsize>,
) -> io::Result<()> {
    let read = move || {
        let mut buffer = vec![0; 1 << 14];
        loop {
            match terminal.read(&mut buffer) {
                Ok(0) => break,
                Ok(size) => {
                    busy.fetch_add(1, Ordering::Relaxed);
                    let sent = inputs.send(Input::Output(buffer[..size].to_vec()));
                    busy.fetch_sub(1, Ordering::Relaxed);
                    if sent.is_err() || progress.send(()).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // EIO: no process has the terminal open.
                Err(_) => break,
            }
        }
    };
    thread::Builder::new().spawn(read).map(drop)
}
