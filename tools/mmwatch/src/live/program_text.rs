// SPDX-License-Identifier: GPL-2.0

//! What a program writes, in lines that can be shown.

use std::collections::BTreeMap;

/// A line that has no end yet is not longer than this.
const LONGEST: usize = 1 << 16;

#[derive(Default)]
pub struct ProgramText {
    /// By stream: what has no end yet.
    unfinished: BTreeMap<usize, Vec<u8>>,
    shown: String,
}

impl ProgramText {
    /// Takes what was written. Returns the lines that are whole now.
    pub fn add(&mut self, stream: usize, bytes: &[u8]) -> Vec<String> {
        let unfinished = self.unfinished.entry(stream).or_default();
        unfinished.extend_from_slice(bytes);
        let mut lines = Vec::new();
        if let Some(last) = unfinished.iter().rposition(|byte| *byte == b'\n') {
            let rest = unfinished.split_off(last + 1);
            unfinished.pop();
            lines.extend(unfinished.split(|byte| *byte == b'\n').map(printable));
            *unfinished = rest;
        }
        if unfinished.len() > LONGEST {
            lines.push(printable(unfinished));
            unfinished.clear();
        }
        self.shown = printable(unfinished);
        lines
    }

    /// What was written last and has no end yet: a prompt, say.
    pub fn unfinished(&self) -> &str {
        &self.shown
    }

    /// What has no end, when nothing comes any more.
    pub fn finish(&mut self) -> Vec<String> {
        let unfinished = std::mem::take(&mut self.unfinished);
        unfinished
            .values()
            .filter(|bytes| !bytes.is_empty())
            .map(|bytes| printable(bytes))
            .collect()
    }
}

/// As it looks: without what moves the cursor or sets colours, and after the last return to the
/// beginning of the line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    let text = text.rsplit('\r').next().unwrap_or_default();
    let mut line = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\t' => {
                let column = line.chars().count();
                line.extend(std::iter::repeat_n(' ', 8 - column % 8));
            }
            '\x1b' => match characters.next() {
                // Up to its last character, which is a letter mostly.
                Some('[') => {
                    characters.find(|it| ('@'..='~').contains(it));
                }
                // A title, up to a bell.
                Some(']') => {
                    characters.find(|it| *it == '\x07');
                }
                _ => {}
            },
            '\x08' => {
                line.pop();
            }
            _ if character.is_control() => {}
            _ => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_when_they_are_whole() {
        let mut text = ProgramText::default();
        assert!(text.add(1, b"one").is_empty());
        assert_eq!(text.unfinished(), "one");
        // The other stream has lines of its own.
        assert_eq!(text.add(2, b"error\n"), ["error"]);
        assert_eq!(
            text.add(1, b" line\n\nthree\nfo"),
            ["one line", "", "three"]
        );
        assert_eq!(text.unfinished(), "fo");
        assert_eq!(text.finish(), ["fo"]);
        assert!(text.finish().is_empty());
    }

    #[test]
    fn what_has_no_end_is_shown_all_the_same() {
        let mut text = ProgramText::default();
        assert!(text.add(1, &vec![b'a'; LONGEST]).is_empty());
        assert_eq!(text.add(1, b"b")[0].len(), LONGEST + 1);
        assert_eq!(text.unfinished(), "");
    }

    #[test]
    fn as_it_looks() {
        assert_eq!(printable(b"a\tb"), "a       b");
        assert_eq!(printable(b"\x1b[1;31mred\x1b[0m"), "red");
        assert_eq!(printable(b"\x1b]0;title\x07text"), "text");
        assert_eq!(printable(b" 10 %\r 20 %\r"), " 20 %");
        assert_eq!(printable(b"ab\x08c\x00"), "ac");
        assert_eq!(printable(b"\xff\x1b"), "\u{fffd}");
    }
}
