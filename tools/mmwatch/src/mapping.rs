// SPDX-License-Identifier: GPL-2.0

//! The mappings of an address space.

use crate::text;
use serde::Deserialize;
use serde::Serialize;
use std::fs;

/// A mapping that has a name or is executable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// See [`text`].
    pub name: String,
    /// Offset of the mapping in the file.
    #[serde(default)]
    pub offset: u64,
    /// Inode of the file, or 0.
    #[serde(default)]
    pub inode: u64,
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
    fn from_line(line: &[u8]) -> Option<Self> {
        // The name is the last field, after blanks, and may contain any bytes.
        let mut words = line.splitn(6, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let (start, end) = word()?.split_once('-')?;
        let executable = word()?.contains('x');
        let offset = u64::from_str_radix(word()?, 16).ok()?;
        let _device = word()?;
        let inode = word()?.parse().ok()?;
        let name = words.next().unwrap_or_default().trim_ascii_start();
        let mapping = Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            name: text::from_bytes(name.strip_suffix(b" (deleted)").unwrap_or(name)),
            offset,
            inode,
            executable,
        };
        (!mapping.name.is_empty() || executable).then_some(mapping)
    }
}

/// Returns the current mappings of a process.
pub fn mappings_of(pid: i32) -> Vec<Mapping> {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.split(|byte| *byte == b'\n')
        .filter_map(Mapping::from_line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        let line = b"7f5c1e428000-7f5c1e57e000 r-xp 00028000 fe:01 131234                     /usr/lib/x86_64-linux-gnu/libc.so.6";
        let mapping = Mapping::from_line(line).unwrap();
        assert_eq!(mapping.start, 0x7f5c1e428000);
        assert_eq!(mapping.end, 0x7f5c1e57e000);
        assert_eq!(mapping.offset, 0x28000);
        assert_eq!(mapping.inode, 131234);
        assert!(mapping.executable && mapping.is_of_file());
        assert_eq!(mapping.name, "/usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(mapping.short_name(), "libc.so.6");
    }

    #[test]
    fn a_name_with_blanks_of_a_file_that_is_gone() {
        let line = b"400000-401000 rw-s 00000000 00:01 77    /tmp/a  b/c (deleted)";
        let mapping = Mapping::from_line(line).unwrap();
        assert_eq!(mapping.name, "/tmp/a  b/c");
        assert_eq!(mapping.short_name(), "c");
        assert!(!mapping.executable);
    }

    #[test]
    fn not_of_a_file() {
        let line = b"55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0          [heap]";
        let mapping = Mapping::from_line(line).unwrap();
        assert_eq!(mapping.short_name(), "[heap]");
        assert!(!mapping.is_of_file());
        let line = b"7f0000000000-7f0000001000 rw-p 00000000 00:00 0          [anon:a/b]";
        assert_eq!(Mapping::from_line(line).unwrap().short_name(), "[anon:a/b]");
    }

    #[test]
    fn without_a_name_only_what_may_be_executed() {
        let line =
            |permissions| format!("7f0000000000-7f0000001000 {permissions} 00000000 00:00 0 ");
        assert_eq!(Mapping::from_line(line("rw-p").as_bytes()), None);
        let mapping = Mapping::from_line(line("rwxp").as_bytes()).unwrap();
        assert!(mapping.executable && mapping.name.is_empty());
    }

    #[test]
    fn what_is_no_mapping() {
        for line in ["", "400000", "x-y r-xp 0 0 0 /a", "400000-401000 r-xp"] {
            assert_eq!(Mapping::from_line(line.as_bytes()), None);
        }
    }

    #[test]
    fn a_name_that_is_not_utf_8() {
        let line = b"400000-401000 rw-s 00000000 00:01 77    /tmp/\xff\x1b[31m";
        let mapping = Mapping::from_line(line).unwrap();
        assert_eq!(mapping.name, "/tmp/\\377\\033[31m");
    }

    #[test]
    fn of_this_process() {
        let mappings = mappings_of(std::process::id() as i32);
        let here = of_this_process as *const () as u64;
        let mapping = mappings.iter().find(|it| it.has(here)).unwrap();
        assert!(mapping.executable && mapping.is_of_file());
    }
}
