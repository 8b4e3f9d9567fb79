// SPDX-License-Identifier: GPL-2.0

//! Converts names of files and tasks, which are arbitrary bytes, to text and back.
//!
//! A byte that is not part of a character, and each byte of a control character, is written as a
//! backslash and three octal digits, as the kernel does in `/proc/PID/maps`. The text is safe to
//! print: a terminal executes none of it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

fn is_printable(character: char) -> bool {
    // Characters that change the direction of the text that follows are also left out.
    let is_direction = matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !character.is_control() && !is_direction && !matches!(character, '\u{fffe}' | '\u{ffff}')
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str(&format!("\\{byte:03o}"));
    }
}

/// Converts bytes to text.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&printable(chunk.valid()));
        escape(chunk.invalid(), &mut text);
    }
    text
}

/// Converts bytes to text, with all its control characters.
pub fn with_controls(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        escape(chunk.invalid(), &mut text);
    }
    text
}

/// Returns text that is safe to print. Text from [`from_bytes`] is not changed.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return text.into();
    }
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            result.push(character);
        } else {
            escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut result);
        }
    }
    result.into()
}

/// Makes a text safe to print, in place.
pub fn make_printable(text: &mut String) {
    if let Cow::Owned(result) = printable(text) {
        *text = result;
    }
}

/// Converts text to the bytes from which it was made.
pub fn to_path(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 8).ok()
            });
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn there_and_back() {
        for (bytes, text) in [
            (&b"/usr/lib/a b"[..], "/usr/lib/a b"),
            ("日本".as_bytes(), "日本"),
            (b"\xff\xfe/x", "\\377\\376/x"),
            // A name that is cut inside a character.
            (&"naïve".as_bytes()[..3], "na\\303"),
            (b"\x1b]0;title\x07", "\\033]0;title\\007"),
            ("a\u{202e}b\u{85}".as_bytes(), "a\\342\\200\\256b\\302\\205"),
            (b"", ""),
            (b"\\9", "\\9"),
            (b"a\\", "a\\"),
        ] {
            assert_eq!(from_bytes(bytes), text);
            assert_eq!(printable(text), text);
            assert_eq!(to_path(text).as_bytes(), bytes);
            assert_eq!(printable(&with_controls(bytes)), text);
        }
    }

    #[test]
    fn text_that_a_terminal_would_execute() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\\033[2Jb\\012");
        let mut text = "tab\t".to_string();
        make_printable(&mut text);
        assert_eq!(text, "tab\\011");
    }
}
