// SPDX-License-Identifier: GPL-2.0

//! A registration cache, as used by programs that let a device read their memory (RDMA, for
//! instance): a registered buffer is used again without a new registration, unless its memory has
//! changed.
//!
//! Here, registering a buffer means looking up the page frame numbers behind the buffer. Needs
//! /dev/mmwatch, and root privileges, because all page frame numbers are read as 0 otherwise. The
//! program checks its own results: the exit code is 0 if all of them are as expected.

use libmmwatch::Range;
use libmmwatch::Ranges;
use nix::sys::mman::madvise;
use nix::sys::mman::mmap_anonymous;
use nix::sys::mman::mremap;
use nix::sys::mman::munmap;
use nix::sys::mman::MRemapFlags;
use nix::sys::mman::MapFlags;
use nix::sys::mman::MmapAdvise;
use nix::sys::mman::ProtFlags;
use nix::sys::wait::waitpid;
use nix::sys::wait::WaitStatus;
use nix::unistd::fork;
use nix::unistd::ForkResult;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::ptr::NonNull;

struct Registration {
    range: Range,
    pages: Vec<u64>,
}

struct Cache {
    ranges: Ranges,
    registrations: HashMap<(usize, usize), Registration>,
}

impl Cache {
    /// Returns the pages of a buffer, and whether they were cached.
    fn pages(&mut self, address: usize, length: usize) -> io::Result<(&[u64], bool)> {
        match self.registrations.entry((address, length)) {
            Entry::Occupied(known) if known.get().range.is_valid() => {
                Ok((&known.into_mut().pages, true))
            }
            entry => {
                // Add the range before looking up the pages, so that a change in between is
                // detected.
                let range = self.ranges.add(address, length, 0)?;
                let pages = pages_of(address, length)?;
                let registration = entry.insert_entry(Registration { range, pages });
                Ok((&registration.into_mut().pages, false))
            }
        }
    }
}

/// Reads the page frame numbers behind a buffer.
fn pages_of(address: usize, length: usize) -> io::Result<Vec<u64>> {
    let mut entries = vec![0; length / PAGE * 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, (address / PAGE * 8) as u64)?;
    let entries = entries.chunks_exact(8);
    let number = |entry: &[u8]| u64::from_ne_bytes(entry.try_into().unwrap()) & ((1 << 55) - 1);
    Ok(entries.map(number).collect())
}

const PAGE: usize = 4096;
const LENGTH: NonZeroUsize = NonZeroUsize::new(64 * PAGE).unwrap();

/// Maps memory and populates it, at an unused address or anywhere.
fn map(at: Option<NonNull<c_void>>) -> io::Result<NonNull<c_void>> {
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let mut flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
    if at.is_some() {
        flags |= MapFlags::MAP_FIXED_NOREPLACE;
    }
    let at = at.map(|at| at.addr());
    // SAFETY: Without MAP_FIXED, mmap() replaces no existing mapping. The result is not yet
    // referenced.
    Ok(unsafe { mmap_anonymous(at, LENGTH, protection, flags) }?)
}

/// Looks up a buffer, and checks that the result is correct and cached as expected.
fn step(cache: &mut Cache, buffer: NonNull<c_void>, what: &str, known: bool) -> io::Result<()> {
    let address = buffer.addr().get();
    let (pages, hit) = cache.pages(address, LENGTH.get())?;
    let right = hit == known && pages == pages_of(address, LENGTH.get())?;
    let word = if hit { "known" } else { "registered" };
    println!("{what}: {word}{}", if right { "" } else { ", WRONG" });
    right
        .then_some(())
        .ok_or_else(|| io::Error::other("unexpected result"))
}

fn run() -> io::Result<()> {
    let mut cache = Cache {
        ranges: Ranges::new(512)?,
        registrations: HashMap::new(),
    };
    let buffer = map(None)?;
    step(&mut cache, buffer, "first use", false)?;
    step(&mut cache, buffer, "again", true)?;

    // SAFETY: `buffer` is a mapping of `LENGTH` bytes, made by `map()`. The program has no Rust
    // reference into the mapping, so its contents may change or become unmapped.
    unsafe { munmap(buffer, LENGTH.get()) }?;
    map(Some(buffer))?;
    step(
        &mut cache,
        buffer,
        "munmap, mmap at the same address",
        false,
    )?;
    step(&mut cache, buffer, "again", true)?;

    // SAFETY: `buffer` was mapped again with `LENGTH` bytes. The program has no Rust reference into
    // the mapping, so its contents may be discarded.
    unsafe { madvise(buffer, LENGTH.get(), MmapAdvise::MADV_DONTNEED) }?;
    step(&mut cache, buffer, "madvise(MADV_DONTNEED)", false)?;
    step(&mut cache, buffer, "again", true)?;

    let (length, flags) = (
        LENGTH.get(),
        MRemapFlags::MREMAP_MAYMOVE | MRemapFlags::MREMAP_FIXED,
    );
    let elsewhere = map(None)?;
    // SAFETY: `buffer` and `elsewhere` are mappings of `LENGTH` bytes, made by `map()`. The program
    // has no Rust reference into either, so the one may be moved and the other replaced.
    unsafe { mremap(buffer, length, length, flags, Some(elsewhere)) }?;
    map(Some(buffer))?;
    step(&mut cache, buffer, "mremap, mmap at the old address", false)?;
    step(&mut cache, elsewhere, "at its new address", false)?;
    step(&mut cache, elsewhere, "again", true)?;

    // SAFETY: The process has only one thread, so the child can call any function.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let changed = cache.registrations.values().all(|it| it.range.changed());
            std::process::exit(if changed { 0 } else { 1 });
        }
        ForkResult::Parent { child } => {
            if waitpid(child, None)? != WaitStatus::Exited(child, 0) {
                return Err(io::Error::other("a range is valid in a forked child"));
            }
            println!("in a forked child: no range is valid");
        }
    }
    // After a fork, the pages are shared with the child until they are written to.
    step(&mut cache, buffer, "after the fork", false)?;
    step(&mut cache, buffer, "again", true)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("registration_cache: {error}");
            ExitCode::FAILURE
        }
    }
}
