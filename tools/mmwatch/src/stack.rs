// SPDX-License-Identifier: GPL-2.0

//! Converts the user stack of an event to functions.

use crate::mapping::Mapping;
use crate::symbols::Symbols;
use serde::Serialize;

/// A place in a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    pub address: u64,
    pub place: String,
}

/// Converts addresses to frames. If several mappings contain an address, the last one is used.
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
                // No frame was found yet, or the word on top of the stack is not a return address.
                0 | 1 => continue,
                // The frame pointer was invalid, so all further addresses are invalid too.
                _ => break,
            }
        };
        // Use the word on top of the stack only if it is known to follow a call.
        if position == 1 && after_call.is_none() {
            continue;
        }
        // A return address may be the first address of the next function, and so may the address
        // after a system call instruction.
        let just_before = position > 0 || in_system_call;
        frames.push(Frame {
            address,
            place: symbols.name(mapping, address, just_before && address > mapping.start),
        });
    }
    frames
}

/// Joins the frames to one line, innermost function first.
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
            inode: 0,
            executable,
        }
    }

    /// An x86-64 program header, with a call instruction that ends at 0x105.
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
        // Return addresses found through frame pointers are used up to the first invalid one.
        let stack = [0x400200, 0, 0x400105, 0x400105, 0x400106, 0x400105];
        assert_eq!(places(&stack, &mappings), [at(0x200), at(0x105), at(0x105)]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn code_without_a_file() {
        let mappings = [mapping(0x1000, "", true), mapping(0x5000, "[heap]", false)];
        // Without a file, a return address found through a frame pointer cannot be disproved, and
        // the word on top of the stack cannot be proved to be a return address.
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
