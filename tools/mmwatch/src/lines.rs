// SPDX-License-Identifier: GPL-2.0

//! Events as lines, printed when they occur.

use crate::event::Event;
use crate::message::Space;
use crate::stack::line;
use crate::stack::Frame;
use libmmwatch::KIND_DROPPED;
use libmmwatch::KIND_EXEC;
use libmmwatch::KIND_NOT_FOLLOWED;
use libmmwatch::KIND_RELEASE;
use std::io;
use std::io::Write;

/// Prints an event, with its process if there are several, and with its stack if known.
pub fn print(
    out: &mut impl Write,
    space: Option<&Space>,
    event: &Event,
    frames: &[Frame],
    colour: bool,
) -> io::Result<()> {
    let time = event.time as f64 / 1e9;
    let whose = space.map_or(String::new(), |space| {
        format!("{}[{}] ", space.name, space.pid)
    });
    match event.kind {
        KIND_DROPPED => {
            return writeln!(
                out,
                "           {whose}-- {} events were dropped --",
                event.start
            )
        }
        KIND_RELEASE => return writeln!(out, "{time:10.6} {whose}the address space is gone"),
        KIND_EXEC => return writeln!(out, "{time:10.6} {whose}executes another program"),
        KIND_NOT_FOLLOWED => {
            return writeln!(
                out,
                "{time:10.6} {whose}executes a program that is not followed"
            )
        }
        _ => {}
    }
    let (on, off) = match (colour, event.kind) {
        (false, _) => ("", ""),
        (true, 0) => ("\x1b[31m", "\x1b[0m"),
        (true, 1) => ("\x1b[33m", "\x1b[0m"),
        (true, _) => ("\x1b[36m", "\x1b[0m"),
    };
    writeln!(
        out,
        "{time:10.6} {whose}{on}{:<12}{off} {:#014x}-{:#014x} {:>9} pages  pid {} {}{}",
        event.kind_name(),
        event.start,
        event.end,
        event.pages(),
        event.pid,
        event.reason(),
        if event.blockable {
            ""
        } else {
            " (may not block)"
        },
    )?;
    if !frames.is_empty() {
        writeln!(out, "           in {}", line(frames))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    fn printed(event: &Event, frames: &[Frame], colour: bool) -> String {
        let mut out = Vec::new();
        print(&mut out, None, event, frames, colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one() {
        let expected =
            "  1.500000 unmap        0x000000001000-0x000000003000         2 pages  pid 7 munmap\n";
        assert_eq!(printed(&event(0, 0x1000, 0x3000), &[], false), expected);
        assert!(
            printed(&event(0, 0x1000, 0x3000), &[], true).contains("\x1b[31munmap       \x1b[0m")
        );
    }

    #[test]
    fn with_its_stack() {
        let frame = |address, place: &str| Frame {
            address,
            place: place.into(),
        };
        let said = printed(
            &event(0, 0x1000, 0x3000),
            &[frame(1, "munmap+0xb"), frame(2, "main+0x5")],
            false,
        );
        assert!(said.ends_with("munmap\n           in munmap+0xb < main+0x5\n"));
    }

    #[test]
    fn of_other_kinds() {
        for (kind, what) in [
            (KIND_RELEASE, "the address space is gone\n"),
            (KIND_EXEC, "executes another program\n"),
            (
                KIND_NOT_FOLLOWED,
                "executes a program that is not followed\n",
            ),
            (KIND_DROPPED, "-- 4096 events were dropped --\n"),
        ] {
            assert!(printed(&event(kind, 0x1000, 0x3000), &[], true).ends_with(what));
        }
    }
}
