// SPDX-License-Identifier: GPL-2.0

//! The mappings of an address space.

use serde::Deserialize;
use serde::Serialize;
use std::collections::HashMap;
use std::fs;

/// A mapping that has a name or is executable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub name: String,
    /// Offset of the mapping in the file.
    #[serde(default)]
    pub offset: u64,
    #[serde(default)]
    pub executable: bool,
}

impl Mapping {
    pub fn has(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    pub fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start < end && self.end > start
    }

    pub fn is_of_file(&self) -> bool {
        self.name.starts_with('/')
    }

    /// Returns the file name without directories, or the name of a mapping that is not of a file.
    pub fn short_name(&self) -> &str {
        if self.is_of_file() {
            self.name.rsplit('/').next().unwrap_or(&self.name)
        } else {
            &self.name
        }
    }

    /// Parses a line of `/proc/PID/maps`.
    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let executable = words.next()?.contains('x');
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        // The remaining fields are the device, the inode and, after blanks, the name.
        let name = words.nth(1)?.split_once(' ').map_or("", |(_, name)| name);
        let mapping = Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            name: name.trim_start().trim_end_matches(" (deleted)").into(),
            offset,
            executable,
        };
        (!mapping.name.is_empty() || executable).then_some(mapping)
    }
}

/// Returns the current mappings of a process.
pub fn mappings_of(pid: i32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().filter_map(Mapping::from_line).collect()
}

/// The mappings of several address spaces, in the order in which they were first seen.
#[derive(Default)]
pub struct Mappings {
    spaces: HashMap<usize, Vec<Mapping>>,
}

impl Mappings {
    pub fn add(&mut self, space: usize, mapping: Mapping) {
        self.spaces.entry(space).or_default().push(mapping);
    }

    pub fn of(&self, space: usize) -> &[Mapping] {
        self.spaces.get(&space).map_or(&[], Vec::as_slice)
    }

    /// Returns the named mappings that overlap a range.
    pub fn named(&self, space: usize, start: u64, end: u64) -> impl Iterator<Item = &Mapping> {
        self.of(space)
            .iter()
            .filter(move |it| !it.name.is_empty() && it.overlaps(start, end))
    }

    /// Returns the name of a mapping that overlaps a range.
    pub fn name(&self, space: usize, start: u64, end: u64) -> Option<&str> {
        self.named(space, start, end)
            .next()
            .map(Mapping::short_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        let line = "7f5c1e428000-7f5c1e57e000 r-xp 00028000 fe:01 131234                     /usr/lib/x86_64-linux-gnu/libc.so.6";
        let mapping = Mapping::from_line(line).unwrap();
        assert_eq!(mapping.start, 0x7f5c1e428000);
        assert_eq!(mapping.end, 0x7f5c1e57e000);
        assert_eq!(mapping.offset, 0x28000);
        assert!(mapping.executable && mapping.is_of_file());
        assert_eq!(mapping.name, "/usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(mapping.short_name(), "libc.so.6");
    }

    #[test]
    fn a_name_with_blanks_of_a_file_that_is_gone() {
        let line = "400000-401000 rw-s 00000000 00:01 77    /tmp/a  b/c (deleted)";
        let mapping = Mapping::from_line(line).unwrap();
        assert_eq!(mapping.name, "/tmp/a  b/c");
        assert_eq!(mapping.short_name(), "c");
        assert!(!mapping.executable);
    }

    #[test]
    fn not_of_a_file() {
        let line = "55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0          [heap]";
        let mapping = Mapping::from_line(line).unwrap();
        assert_eq!(mapping.short_name(), "[heap]");
        assert!(!mapping.is_of_file());
        let line = "7f0000000000-7f0000001000 rw-p 00000000 00:00 0          [anon:a/b]";
        assert_eq!(Mapping::from_line(line).unwrap().short_name(), "[anon:a/b]");
    }

    #[test]
    fn without_a_name_only_what_may_be_executed() {
        let line =
            |permissions| format!("7f0000000000-7f0000001000 {permissions} 00000000 00:00 0 ");
        assert_eq!(Mapping::from_line(&line("rw-p")), None);
        let mapping = Mapping::from_line(&line("rwxp")).unwrap();
        assert!(mapping.executable && mapping.name.is_empty());
    }

    #[test]
    fn what_is_no_mapping() {
        for line in ["", "400000", "x-y r-xp 0 0 0 /a", "400000-401000 r-xp"] {
            assert_eq!(Mapping::from_line(line), None);
        }
    }

    #[test]
    fn of_this_process() {
        let mappings = mappings_of(std::process::id() as i32);
        let here = of_this_process as *const () as u64;
        let mapping = mappings.iter().find(|it| it.has(here)).unwrap();
        assert!(mapping.executable && mapping.is_of_file());
    }

    #[test]
    fn names_of_ranges() {
        let mut mappings = Mappings::default();
        for (space, start, name) in [
            (0, 0x1000, ""),
            (0, 0x1000, "/lib/a.so"),
            (1, 0x1000, "[heap]"),
        ] {
            mappings.add(
                space,
                Mapping {
                    start,
                    end: start + 0x1000,
                    name: name.into(),
                    offset: 0,
                    executable: true,
                },
            );
        }
        assert_eq!(mappings.name(0, 0x1fff, 0x5000), Some("a.so"));
        assert_eq!(mappings.name(1, 0, 0x1001), Some("[heap]"));
        assert_eq!(mappings.name(0, 0x2000, 0x5000), None);
        assert_eq!(mappings.name(2, 0x1000, 0x2000), None);
    }
}
