// SPDX-License-Identifier: GPL-2.0

//! Splits the output of a program into lines that can be shown.

/// Maximum length of an unfinished line.
const LONGEST: usize = 1 << 16;

#[derive(Default)]
pub struct ProgramText {
    /// The unfinished line.
    unfinished: Vec<u8>,
    shown: String,
}

impl ProgramText {
    /// Adds output. Returns the lines that are now complete.
    pub fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        let unfinished = &mut self.unfinished;
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

    /// Returns the unfinished line that was written last, for instance a prompt.
    pub fn unfinished(&self) -> &str {
        &self.shown
    }

    /// Returns the unfinished line, after the last output.
    pub fn finish(&mut self) -> Option<String> {
        let unfinished = std::mem::take(&mut self.unfinished);
        (!unfinished.is_empty()).then(|| printable(&unfinished))
    }
}

/// Converts a line to the text that a terminal would show: removes escape sequences and control
/// characters, expands tabs, and applies carriage returns and backspaces.
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
                // A control sequence ends with a character from '@' to '~'.
                Some('[') => {
                    characters.find(|it| ('@'..='~').contains(it));
                }
                // A title ends with a bell character.
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
        assert!(text.add(b"one").is_empty());
        assert_eq!(text.unfinished(), "one");
        assert_eq!(text.add(b" line\n\nthree\nfo"), ["one line", "", "three"]);
        assert_eq!(text.unfinished(), "fo");
        assert_eq!(text.finish().as_deref(), Some("fo"));
        assert_eq!(text.finish(), None);
    }

    #[test]
    fn what_has_no_end_is_shown_all_the_same() {
        let mut text = ProgramText::default();
        assert!(text.add(&vec![b'a'; LONGEST]).is_empty());
        assert_eq!(text.add(b"b")[0].len(), LONGEST + 1);
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
