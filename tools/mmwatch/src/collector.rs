// SPDX-License-Identifier: GPL-2.0

//! Receives all events until the end or an interruption, and writes the report.

use crate::arguments::Output;
use crate::arguments::Watch;
use crate::event::Event;
use crate::lines;
use crate::live::Live;
use crate::live::PERIOD;
use crate::message::Message;
use crate::output::create;
use crate::output::is_without_colour;
use crate::report::Report;
use crate::stack::frames;
use crate::symbols::Symbols;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::io::Write;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

/// Input of a collector.
pub enum Input {
    Message(Message),
    /// Output of the program, to its standard output (1) or standard error (2).
    Output(usize, Vec<u8>),
    End,
}

/// Output while the program runs.
enum Meanwhile {
    Nothing,
    Events,
    /// A live view, started as soon as the program runs.
    Live(Option<Box<Live>>),
}

pub struct Collector {
    output: Output,
    out: Box<dyn Write + Send>,
    colour: bool,
    meanwhile: Meanwhile,
    record: Option<BufWriter<File>>,
    report: Report,
    symbols: Symbols,
}

impl Collector {
    pub fn new(watch: Watch) -> io::Result<Self> {
        let (out, terminal) = watch.output.open()?;
        let record = watch.record.as_deref().map(create).transpose()?;
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
            out,
            colour: terminal && !is_without_colour(),
            record,
            symbols: Symbols::default(),
        })
    }

    /// Returns whether there is a live view, which output of the program would destroy.
    pub fn is_live(&self) -> bool {
        matches!(self.meanwhile, Meanwhile::Live(_))
    }

    fn print(&mut self, index: usize, event: &Event) -> io::Result<()> {
        let several = self.report.spaces.len() > 1;
        let space = self.report.spaces.get(index).filter(|_| several);
        let in_system_call = event.syscall >= 0;
        let mappings = self.report.mappings.of(index);
        lines::print(
            &mut self.out,
            space.map(|it| &it.space),
            event,
            &frames(&event.stack, in_system_call, mappings, &mut self.symbols),
            self.colour,
        )
    }

    /// Returns whether events are processed one by one.
    fn tells_each(&self) -> bool {
        self.record.is_some()
            || matches!(self.meanwhile, Meanwhile::Events | Meanwhile::Live(Some(_)))
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Events { space, events } if self.tells_each() => {
                for event in events {
                    self.take_one(Message::Event { space, event })?;
                }
                Ok(())
            }
            message => self.take_one(message),
        }
    }

    fn take_one(&mut self, message: Message) -> io::Result<()> {
        if let Some(record) = &mut self.record {
            serde_json::to_writer(&mut *record, &message)?;
            record.write_all(b"\n")?;
        }
        if let Message::Event { space, event } = &message {
            match &mut self.meanwhile {
                Meanwhile::Nothing | Meanwhile::Live(None) => {}
                Meanwhile::Events => self.print(*space, event)?,
                Meanwhile::Live(Some(live)) => live.add(*space, event),
            }
        }
        self.report.add(message);
        if let Meanwhile::Live(live @ None) = &mut self.meanwhile {
            *live = Some(Box::new(Live::begin(!is_without_colour())?));
        }
        Ok(())
    }

    pub fn collect(mut self, inputs: Receiver<Input>) -> io::Result<()> {
        let result = self.take_all(inputs);
        if let Meanwhile::Live(Some(live)) = &mut self.meanwhile {
            // Restore the terminal even if there was an error.
            live.end()?;
        }
        result?;
        if let Some(record) = &mut self.record {
            record.flush()?;
        }
        let printed = matches!(self.meanwhile, Meanwhile::Events);
        self.output.finish(&self.report, &mut self.out, printed)
    }

    fn take_all(&mut self, inputs: Receiver<Input>) -> io::Result<()> {
        let mut next = Instant::now() + PERIOD;
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            match inputs.recv_timeout(wait) {
                Ok(Input::Message(message)) => self.take(message)?,
                Ok(Input::Output(stream, bytes)) => {
                    if let Meanwhile::Live(Some(live)) = &mut self.meanwhile {
                        live.write(stream, &bytes)?;
                    }
                }
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next {
                if let Meanwhile::Live(Some(live)) = &mut self.meanwhile {
                    live.show(&self.report)?;
                }
                next = Instant::now() + PERIOD;
            }
        }
    }
}
