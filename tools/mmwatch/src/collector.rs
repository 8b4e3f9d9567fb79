// SPDX-License-Identifier: GPL-2.0

//! Receives all events until the end or an interruption, and writes the report.
//!
//! A destination that fails, for instance a full disk or a closed pipe, is not used any more. The
//! other ones are complete.

use crate::arguments::Output;
use crate::arguments::Watch;
use crate::control::Control;
use crate::event::Event;
use crate::lines;
use crate::live::Live;
use crate::live::PERIOD;
use crate::message::Message;
use crate::output::create;
use crate::output::is_without_colour;
use crate::output::named;
use crate::output::Buffered;
use crate::report::Report;
use crate::stack::frames;
use crate::symbols::Symbols;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

/// Input of a collector.
pub enum Input {
    Message(Message),
    /// Output of the program to its terminal.
    Output(Vec<u8>),
    End,
}

/// Output while the program runs.
enum Meanwhile {
    Nothing,
    Events,
    /// A live view, started as soon as the program runs.
    Live(Option<Box<Live>>),
}

/// A recording that is being written.
struct Recording {
    file: Buffered,
    path: PathBuf,
}

pub struct Collector {
    output: Output,
    /// `None` after a failure.
    out: Option<Box<dyn Write + Send>>,
    colour: bool,
    meanwhile: Meanwhile,
    record: Option<Recording>,
    report: Report,
    symbols: Symbols,
    control: Control,
    failures: Vec<io::Error>,
}

impl Collector {
    pub fn new(watch: Watch, control: Control) -> io::Result<Self> {
        let (out, terminal) = watch.output.open()?;
        let record = match watch.record {
            Some(path) => Some(Recording {
                file: create(&path)?,
                path,
            }),
            None => None,
        };
        if let Some(path) = &watch.output.svg {
            // Report an error now and not after the program has run.
            create(path)?;
        }
        if watch.live && !io::stderr().is_terminal() {
            return Err(io::Error::other(
                "--live needs a terminal as standard error",
            ));
        }
        let can_move = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let asked = watch.output.summary || watch.output.json;
        let meanwhile = if watch.events {
            Meanwhile::Events
        } else if watch.live || (terminal && can_move && !asked) {
            Meanwhile::Live(None)
        } else {
            Meanwhile::Nothing
        };
        Ok(Self {
            meanwhile,
            report: watch.output.report(),
            output: watch.output,
            out: Some(out),
            colour: terminal && !is_without_colour(),
            record,
            symbols: Symbols::default(),
            control,
            failures: Vec::new(),
        })
    }

    /// Returns whether there is a live view, which output of the program would destroy.
    pub fn is_live(&self) -> bool {
        matches!(self.meanwhile, Meanwhile::Live(_))
    }

    fn print(&mut self, index: usize, event: &Event) {
        let several = self.report.spaces.len() > 1;
        let space = self.report.spaces.get(index).filter(|_| several);
        let in_system_call = event.syscall >= 0;
        let mappings = self.report.mappings.of(index);
        let Some(out) = &mut self.out else {
            return;
        };
        let printed = lines::print(
            out,
            space.map(|it| &it.space),
            event,
            &frames(&event.stack, in_system_call, mappings, &mut self.symbols),
            self.colour,
        );
        self.check_out(printed);
    }

    /// Stops the use of the report's destination after a failure.
    fn check_out(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.out = None;
            self.failures.push(self.output.named(error));
        }
    }

    /// Calls `f` with the live view, if there is one. Ends the live view if `f` fails.
    fn with_live(&mut self, f: impl FnOnce(&mut Live, &Report) -> io::Result<()>) {
        if let Meanwhile::Live(Some(live)) = &mut self.meanwhile {
            if let Err(error) = f(live, &self.report) {
                self.meanwhile = Meanwhile::Nothing;
                self.failures.push(io::Error::new(
                    error.kind(),
                    format!("the live view has failed: {error}"),
                ));
            }
        }
    }

    fn record(&mut self, write: impl FnOnce(&mut Buffered) -> io::Result<()>) {
        let Some(record) = &mut self.record else {
            return;
        };
        if let Err(error) = write(&mut record.file) {
            let error = named(&record.path, error);
            self.failures.push(io::Error::new(
                error.kind(),
                format!("{error}: the recording is incomplete"),
            ));
            if let Some(record) = self.record.take() {
                // Without another attempt to write what is in the buffer.
                drop(record.file.into_parts());
            }
        }
    }

    fn record_message(&mut self, message: &Message) {
        self.record(|file| {
            serde_json::to_writer(&mut *file, message)?;
            file.write_all(b"\n")
        });
    }

    /// Returns whether events are processed one by one.
    fn tells_each(&self) -> bool {
        self.record.is_some()
            || matches!(self.meanwhile, Meanwhile::Events | Meanwhile::Live(Some(_)))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Events { space, events } => {
                self.control.remove_events(events.len());
                if self.tells_each() {
                    for event in events {
                        self.take_one(Message::Event { space, event });
                    }
                } else {
                    self.report.add(Message::Events { space, events });
                }
            }
            message => self.take_one(message),
        }
    }

    fn take_one(&mut self, message: Message) {
        self.record_message(&message);
        if let Message::Event { space, event } = &message {
            match &mut self.meanwhile {
                Meanwhile::Nothing | Meanwhile::Live(None) => {}
                Meanwhile::Events => self.print(*space, event),
                Meanwhile::Live(Some(live)) => live.add(*space, event),
            }
        }
        self.report.add(message);
        if let Meanwhile::Live(live @ None) = &mut self.meanwhile {
            match Live::begin(!is_without_colour()) {
                Ok(view) => *live = Some(Box::new(view)),
                Err(error) => {
                    self.meanwhile = Meanwhile::Nothing;
                    self.failures.push(error);
                }
            }
        }
    }

    /// Takes all inputs, and writes the report. Returns the failures.
    pub fn collect(mut self, inputs: Receiver<Input>) -> Vec<io::Error> {
        self.take_all(inputs);
        // Restore the terminal.
        self.with_live(|live, _| live.end());
        self.record_message(&Message::Complete);
        self.record(|file| file.flush());
        let printed = matches!(self.meanwhile, Meanwhile::Events);
        // Otherwise the program was not executed, and the reason was printed.
        if !self.report.spaces.is_empty() {
            if let Some(out) = &mut self.out {
                let finished = self.output.finish(&self.report, out, printed);
                self.check_out(finished);
            }
            self.failures.extend(self.output.draw(&self.report).err());
        }
        self.failures
    }

    fn take_all(&mut self, inputs: Receiver<Input>) {
        let mut next = Instant::now() + PERIOD;
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            match inputs.recv_timeout(wait) {
                Ok(Input::Message(message)) => self.take(message),
                Ok(Input::Output(bytes)) => {
                    self.with_live(|live, _| live.write(&bytes));
                }
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next {
                self.with_live(|live, report| live.show(report));
                // If mmwatch is killed, the events up to now can be reported.
                self.record(|file| file.flush());
                next = Instant::now() + PERIOD;
            }
        }
    }
}
