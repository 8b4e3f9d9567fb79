// SPDX-License-Identifier: GPL-2.0

//! Reads the file written by `--record`: a message in JSON on each line.
//!
//! A file that ends early, because mmwatch was killed or the disk was full, is reported as far as
//! it can be read, and reported as incomplete.

use crate::message::Message;
use crate::message::VERSION;
use crate::report::Report;
use std::io;
use std::io::BufRead;

/// The first version with a message at the end.
const WITH_END: u32 = 2;
/// Maximum number of CPUs of a kernel, on any architecture.
const CPUS: u32 = 8192;

/// Decodes a line. Values that no kernel reports are refused, because they would need unlimited
/// memory, or would be reported as nonsense.
fn decode(line: &[u8]) -> Result<Message, String> {
    let message: Message = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let problem = match &message {
        Message::Event { event, .. } if event.cpu >= CPUS => {
            Some(format!("there is no CPU {}", event.cpu))
        }
        // Of other events, these fields are not addresses.
        Message::Event { event, .. } if !event.is_of_watch() && event.start > event.end => {
            Some("the range of an event ends before it starts".into())
        }
        Message::Mapping { mapping, .. } if mapping.start > mapping.end => {
            Some("a mapping ends before it starts".into())
        }
        _ => None,
    };
    problem.map_or(Ok(message), Err)
}

/// Adds the messages of a recording to a report.
///
/// # Errors
///
/// The file is not a recording, or is of an unknown version.
pub fn read(mut file: impl BufRead, report: &mut Report) -> io::Result<()> {
    let (mut number, mut line) = (0, Vec::new());
    let (mut version, mut is_complete) = (0, false);
    loop {
        number += 1;
        line.clear();
        if file.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        match decode(&line) {
            Ok(Message::Program { version: of, .. }) if of == 0 || of > VERSION => {
                return Err(io::Error::other(format!(
                    "line {number}: version {of} of the format is unknown to this mmwatch, which \
                     reads versions 1 to {VERSION}"
                )))
            }
            Ok(Message::Complete) => is_complete = true,
            Ok(message) => {
                if let Message::Program { version: of, .. } = &message {
                    version = *of;
                }
                report.add(message);
            }
            Err(problem) if number == 1 => {
                return Err(io::Error::other(format!(
                    "line 1: {problem}: this is not a file of mmwatch --record"
                )))
            }
            Err(problem) => {
                report.incomplete = Some(format!(
                    "the recording is damaged or cut off, so everything from line {number} on is \
                     missing ({problem})"
                ));
                return Ok(());
            }
        }
    }
    if number == 1 {
        return Err(io::Error::other("the file is empty"));
    }
    if version >= WITH_END && !is_complete {
        report.incomplete =
            Some("the recording ends early: mmwatch was killed, or the disk was full".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::RECORDED;

    fn report_of(text: &[u8]) -> io::Result<Report> {
        let mut report = Report::default();
        report.events = Some(Vec::new());
        read(text, &mut report)?;
        Ok(report)
    }

    fn version_2() -> String {
        RECORDED.trim().replace("\"version\":1", "\"version\":2")
    }

    #[test]
    fn a_complete_recording() {
        let report = report_of(RECORDED.trim().as_bytes()).unwrap();
        assert_eq!((report.spaces.len(), report.incomplete), (2, None));
        let text = version_2() + "\n\"complete\"\n";
        let report = report_of(text.as_bytes()).unwrap();
        assert_eq!((report.spaces.len(), report.incomplete), (2, None));
    }

    #[test]
    fn a_recording_that_ends_early() {
        let report = report_of(version_2().as_bytes()).unwrap();
        assert_eq!(report.spaces.len(), 2);
        assert!(report.incomplete.unwrap().contains("ends early"));
        // A line is cut.
        let text = version_2();
        let report = report_of(&text.as_bytes()[..text.len() - 9]).unwrap();
        assert_eq!(report.spaces.len(), 2);
        let line = text.lines().count();
        let incomplete = report.incomplete.unwrap();
        assert!(incomplete.contains(&format!("from line {line} on")));
    }

    #[test]
    fn what_is_not_a_recording() {
        for (text, problem) in [
            (&b""[..], "the file is empty"),
            (b"root:x:0:0\n", "line 1"),
            (b"\xff\xfe\n", "line 1"),
            (b"{\"program\":{\"version\":3,\"words\":[]}}\n", "version 3"),
            (b"{\"program\":{\"version\":0,\"words\":[]}}\n", "version 0"),
        ] {
            let error = report_of(text).err().unwrap().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_cpu_that_does_not_exist() {
        let text = RECORDED.replace("\"cpu\":1,", "\"cpu\":4294967295,");
        let report = report_of(text.trim().as_bytes()).unwrap();
        assert_eq!(report.kinds().len(), 0);
        assert!(report.incomplete.unwrap().contains("no CPU 4294967295"));
    }

    /// No damage makes the program panic, neither in reading nor in any form of the report.
    #[test]
    fn damaged_recordings() {
        let whole = version_2().into_bytes();
        let directory = std::env::temp_dir().join(format!("damaged-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % limit as u64) as usize
        };
        let mut readable = 0;
        for round in 0..3000 {
            let mut text = whole.clone();
            for _ in 0..1 + random(3) {
                let at = random(text.len());
                match random(5) {
                    0 => text[at] = random(256) as u8,
                    1 => text.truncate(at.max(1)),
                    2 => {
                        text.remove(at);
                    }
                    // Numbers become large, negative or fractional.
                    3 => text.splice(at..at, *b"9999999999").for_each(drop),
                    _ => text[at] = b"0123456789-.e{}[]\",:\n"[random(21)],
                }
            }
            let Ok(report) = report_of(&text) else {
                continue;
            };
            readable += 1;
            report.print(&mut io::sink()).unwrap();
            report.print_end(&mut io::sink()).unwrap();
            report.json(&mut io::sink()).unwrap();
            if round % 10 == 0 {
                crate::picture::draw(&report, &directory.join("svg")).unwrap();
            }
        }
        assert!(readable > 1000, "{readable}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
