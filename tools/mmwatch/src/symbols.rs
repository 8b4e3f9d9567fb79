// SPDX-License-Identifier: GPL-2.0

//! Finds the function at an address of a program, from the symbols of the mapped file.

use crate::call::ends_with_call;
use crate::call::LONGEST;
use crate::mapping::Mapping;
use crate::text;
use nix::libc::O_PATH;
use object::read::ReadCache;
use object::Architecture;
use object::Object;
use object::ObjectSegment;
use object::ObjectSymbol;
use object::SymbolKind;
use std::collections::HashMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;

struct Symbol {
    address: u64,
    size: u64,
    name: String,
}

/// A file with its symbols.
struct Image {
    file: File,
    is_x86_64: bool,
    /// File offset, size in the file, and virtual address of each segment.
    segments: Vec<(u64, u64, u64)>,
    /// Sorted by address.
    symbols: Vec<Symbol>,
}

impl Image {
    /// Opens the file of a mapping. By now, its name may belong to something else, such as a pipe,
    /// which must not be opened.
    fn open(mapping: &Mapping) -> Option<Self> {
        let place = OpenOptions::new()
            .read(true)
            .custom_flags(O_PATH)
            .open(text::to_path(&mapping.name))
            .ok()?;
        let metadata = place.metadata().ok()?;
        if !metadata.is_file() || (mapping.inode != 0 && metadata.ino() != mapping.inode) {
            return None;
        }
        let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).ok()?;
        let cache = ReadCache::new(file.try_clone().ok()?);
        let object = object::File::parse(&cache).ok()?;
        let segments = object.segments().map(|segment| {
            let (offset, size) = segment.file_range();
            (offset, size, segment.address())
        });
        let mut symbols: Vec<_> = object
            .symbols()
            .chain(object.dynamic_symbols())
            .filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text)
            .filter_map(|symbol| {
                Some(Symbol {
                    address: symbol.address(),
                    size: symbol.size(),
                    name: text::from_bytes(symbol.name_bytes().ok()?),
                })
            })
            .collect();
        // If several symbols have the same address, keep the shortest: "read" rather than
        // "__libc_read".
        symbols.sort_by(|a, b| {
            (a.address, a.name.len(), &a.name).cmp(&(b.address, b.name.len(), &b.name))
        });
        symbols.dedup_by_key(|symbol| symbol.address);
        Some(Self {
            is_x86_64: object.architecture() == Architecture::X86_64,
            segments: segments.collect(),
            symbols,
            file,
        })
    }

    /// Returns the function that contains an offset in the file, and the offset of its beginning.
    fn function(&self, offset: u64) -> Option<(&str, u64)> {
        let (from, _, address) = self
            .segments
            .iter()
            .find(|(from, size, _)| offset.wrapping_sub(*from) < *size)?;
        let wanted = (offset - from).wrapping_add(*address);
        let next = self
            .symbols
            .partition_point(|symbol| symbol.address <= wanted);
        let symbol = &self.symbols[next.checked_sub(1)?];
        // Symbols of assembler code may have no size.
        let is_in = symbol.size == 0 || wanted - symbol.address < symbol.size;
        let begin = symbol.address.wrapping_sub(*address).wrapping_add(*from);
        is_in.then_some((&*symbol.name, begin))
    }
}

/// A cache of opened files.
#[derive(Default)]
pub struct Symbols {
    images: HashMap<(String, u64), Option<Image>>,
}

impl Symbols {
    fn image(&mut self, mapping: &Mapping) -> Option<&Image> {
        if !mapping.is_of_file() {
            return None;
        }
        self.images
            .entry((mapping.name.clone(), mapping.inode))
            .or_insert_with(|| Image::open(mapping))
            .as_ref()
    }

    /// Describes an address by the function that contains it, or that contains the byte before it.
    pub fn name(&mut self, mapping: &Mapping, address: u64, just_before: bool) -> String {
        let file = match mapping.short_name() {
            "" => "no file".into(),
            name => name.to_string(),
        };
        let offset = (address - mapping.start).wrapping_add(mapping.offset);
        let function = self
            .image(mapping)
            .and_then(|image| image.function(offset.wrapping_sub(u64::from(just_before))));
        match function {
            Some((name, begin)) => format!(
                "{:#}+{:#x} ({file})",
                rustc_demangle::demangle(name),
                offset.wrapping_sub(begin)
            ),
            // The offset in the file, as disassemblers take it.
            None if mapping.is_of_file() => format!("{offset:#x} ({file})"),
            None => format!("{address:#x} ({file})"),
        }
    }

    /// Returns whether the code before an address is a call, or `None` if this is unknown.
    pub fn is_after_call(&mut self, mapping: &Mapping, address: u64) -> Option<bool> {
        let image = self.image(mapping).filter(|image| image.is_x86_64)?;
        let length = (address - mapping.start).min(LONGEST as u64) as usize;
        let mut code = [0; LONGEST];
        let code = &mut code[..length];
        let offset = (address - mapping.start).wrapping_add(mapping.offset);
        image
            .file
            .read_exact_at(code, offset.wrapping_sub(length as u64))
            .ok()?;
        Some(ends_with_call(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::mappings_of;

    /// Returns the mapping and the address of a function of the C library.
    fn of_libc() -> (Mapping, u64) {
        let mappings = mappings_of(std::process::id() as i32);
        let is_libc = |it: &&Mapping| it.executable && it.short_name() == "libc.so.6";
        let mapping = mappings.iter().find(is_libc).unwrap().clone();
        let image = Image::open(&mapping).unwrap();
        let symbol = image.symbols.iter().find(|it| it.name == "qsort").unwrap();
        let (from, _, address) = image
            .segments
            .iter()
            .find(|(from, size, _)| mapping.offset.wrapping_sub(*from) < *size)
            .unwrap();
        let offset = symbol.address - address + from;
        let start = mapping.start - mapping.offset + offset;
        (mapping, start)
    }

    #[test]
    fn a_function() {
        let (mapping, start) = of_libc();
        let mut symbols = Symbols::default();
        assert_eq!(
            symbols.name(&mapping, start, false),
            "qsort+0x0 (libc.so.6)"
        );
        assert_eq!(
            symbols.name(&mapping, start + 4, true),
            "qsort+0x4 (libc.so.6)"
        );
        // A return address at the start of a function belongs to the preceding function.
        assert!(!symbols.name(&mapping, start, true).starts_with("qsort"));
    }

    #[test]
    fn without_a_file() {
        let mapping = Mapping {
            start: 0x1000,
            end: 0x2000,
            name: String::new(),
            offset: 0,
            inode: 0,
            executable: true,
        };
        let mut symbols = Symbols::default();
        assert_eq!(symbols.name(&mapping, 0x1234, true), "0x1234 (no file)");
        assert_eq!(symbols.is_after_call(&mapping, 0x1234), None);
    }

    #[test]
    fn a_file_without_symbols() {
        let mapping = Mapping {
            start: 0x1000,
            end: 0x2000,
            name: "/etc/passwd".into(),
            offset: 0x3000,
            inode: 0,
            executable: true,
        };
        let mut symbols = Symbols::default();
        assert_eq!(symbols.name(&mapping, 0x1234, true), "0x3234 (passwd)");
        assert_eq!(symbols.is_after_call(&mapping, 0x1234), None);
    }

    /// Checks that calls are found in compiled code.
    #[test]
    fn calls_of_a_program() {
        let (mapping, start) = of_libc();
        let mut symbols = Symbols::default();
        let after_calls = (start + 1..mapping.end)
            .take(1 << 16)
            .filter(|address| symbols.is_after_call(&mapping, *address) == Some(true))
            .count();
        assert!((100..1 << 14).contains(&after_calls), "{after_calls}");
    }
}
