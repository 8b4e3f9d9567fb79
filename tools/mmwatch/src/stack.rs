// SPDX-License-Identifier: GPL-2.0

//! What the addresses mean that an event has of its thread: the functions that it was in.

use crate::mapping::Mapping;
use crate::symbols::Symbols;
use serde::Serialize;

/// A place in a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    pub address: u64,
    pub place: String,
}

/// Makes frames of what an event has. Of several mappings for an address the last one counts.
pub fn frames(
    stack: &[u64],
    in_system_call: bool,
    mappings: &[Mapping],
    symbols: &mut Symbols,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (position, address) in stack.iter().copied().enumerate() {
        let mapping = mappings
            .iter()
            .rev()
            .find(|it| it.executable && it.has(address));
        let after_call = mapping.and_then(|it| symbols.is_after_call(it, address));
        let Some(mapping) = mapping.filter(|_| position == 0 || after_call != Some(false)) else {
            match position {
                // Nothing was found yet, or what is on top of the stack is something else.
                0 | 1 => continue,
                // So it is not what a frame pointer has led to, nor is all that follows.
                _ => break,
            }
        };
        // What is on top of the stack is believed only if it is proved.
        if position == 1 && after_call.is_none() {
            continue;
        }
        // A return address may be the first one of the next function; so may what follows a system
        // call.
        let just_before = position > 0 || in_system_call;
        frames.push(Frame {
            address,
            place: symbols.name(mapping, address, just_before && address > mapping.start),
        });
    }
    frames
}

/// All on one line, from where it was to who had called that.
pub fn line(frames: &[Frame]) -> String {
    let places: Vec<&str> = frames.iter().map(|frame| &*frame.place).collect();
    places.join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::path::PathBuf;

    fn mapping(start: u64, name: &str, executable: bool) -> Mapping {
        Mapping {
            start,
            end: start + 0x1000,
            name: name.into(),
            offset: 0,
            executable,
        }
    }

    /// A file that has the header of an x86-64 program, and a call before 0x105.
    fn program(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let mut bytes = vec![0x90; 0x1000];
        let header = [
            0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0,
        ];
        bytes[..64].fill(0);
        bytes[..24].copy_from_slice(&header);
        bytes[52] = 64;
        bytes[0x100] = 0xe8;
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        path
    }

    fn places(stack: &[u64], mappings: &[Mapping]) -> Vec<String> {
        frames(stack, true, mappings, &mut Symbols::default())
            .into_iter()
            .map(|frame| frame.place)
            .collect()
    }

    #[test]
    fn the_top_of_the_stack_has_to_follow_a_call() {
        let path = program("stack-top");
        let name = path.file_name().unwrap().to_str().unwrap();
        let mappings = [mapping(0x400000, path.to_str().unwrap(), true)];
        let at = |offset: u64| format!("{offset:#x} ({name})");
        assert_eq!(
            places(&[0x400200, 0x400105], &mappings),
            [at(0x200), at(0x105)]
        );
        assert_eq!(places(&[0x400200, 0x400106], &mappings), [at(0x200)]);
        assert_eq!(places(&[0x400200, 0x1234], &mappings), [at(0x200)]);
        // What frame pointers lead to is told all the same, until it is wrong.
        let stack = [0x400200, 0, 0x400105, 0x400105, 0x400106, 0x400105];
        assert_eq!(places(&stack, &mappings), [at(0x200), at(0x105), at(0x105)]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn code_without_a_file() {
        let mappings = [mapping(0x1000, "", true), mapping(0x5000, "[heap]", false)];
        // A frame pointer's word cannot be disproved, one on top of the stack not be proved.
        assert_eq!(
            places(&[0x1100, 0x1200, 0x1300, 0x5000, 0x1400], &mappings),
            ["0x1100 (no file)", "0x1300 (no file)"]
        );
    }

    #[test]
    fn the_last_mapping_counts() {
        let mappings = [
            mapping(0x1000, "[old]", true),
            mapping(0x1000, "[new]", true),
        ];
        assert_eq!(places(&[0x1100], &mappings), ["0x1100 ([new])"]);
    }

    #[test]
    fn no_stack() {
        assert!(places(&[], &[]).is_empty());
        let frame = |address, place: &str| Frame {
            address,
            place: place.into(),
        };
        assert_eq!(line(&[frame(1, "a"), frame(2, "b")]), "a < b");
    }
}
