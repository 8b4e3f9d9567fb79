// SPDX-License-Identifier: GPL-2.0

//! Reads the output of a program through pipes, if a live view uses the terminal, so that the
//! output can be shown above the view.

use crate::collector::Input;
use std::fs::File;
use std::io;
use std::io::IsTerminal;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Child;
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

/// Chooses the standard output and standard error of the program: pipes if there is a live view.
pub fn choose(live: bool) -> (Stdio, Stdio) {
    let pipe = |needed| {
        if needed {
            Stdio::piped()
        } else {
            Stdio::inherit()
        }
    };
    (pipe(live && is_standard_output_too()), pipe(live))
}

/// The pipes that are being read.
#[derive(Default)]
pub struct ProgramOutput {
    ended: Option<Receiver<()>>,
    /// Number of pipes with a reader that waits for the collector to accept output.
    busy: Arc<AtomicUsize>,
}

impl ProgramOutput {
    /// Starts to read the pipes of a program.
    pub fn read(child: Child, inputs: &SyncSender<Input>) -> io::Result<Self> {
        let (ends, ended) = mpsc::channel();
        let busy = Arc::<AtomicUsize>::default();
        if let Some(pipe) = child.stdout {
            read(1, pipe, inputs.clone(), ends.clone(), busy.clone())?;
        }
        if let Some(pipe) = child.stderr {
            read(2, pipe, inputs.clone(), ends, busy.clone())?;
        }
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
    stream: usize,
    mut pipe: impl Read + Send + 'static,
    inputs: SyncSender<Input>,
    progress: Sender<()>,
    busy: Arc<AtomicUsize>,
) -> io::Result<()> {
    let read = move || {
        let mut buffer = vec![0; 1 << 14];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(size) => {
                    busy.fetch_add(1, Ordering::Relaxed);
                    let sent = inputs.send(Input::Output(stream, buffer[..size].to_vec()));
                    busy.fetch_sub(1, Ordering::Relaxed);
                    if sent.is_err() || progress.send(()).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    };
    thread::Builder::new().spawn(read).map(drop)
}
