// SPDX-License-Identifier: GPL-2.0

//! Events that are read from the device.

/// The names of `enum mmwatch_kind`, in its order.
pub const KINDS: [&str; 12] = [
    "unmap",
    "clear",
    "protect",
    "protect-page",
    "soft-dirty",
    "release",
    "migrate",
    "exclusive",
    "other",
    "dropped",
    "exec",
    "not-followed",
];
/// The address space is gone.
pub const KIND_RELEASE: u32 = 5;
/// Events were dropped; [`Event::start`] is their number.
pub const KIND_DROPPED: u32 = 9;
/// The process has executed another program. The following events are of that program.
pub const KIND_EXEC: u32 = 10;
/// The process has executed a program that is not watched. [`Event::start`] is the errno.
pub const KIND_NOT_FOLLOWED: u32 = 11;

/// Maximum number of addresses in a stack.
pub const STACK_DEPTH: usize = 16;

/// `struct mmwatch_event`, and the addresses that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since the watch began.
    pub time: u64,
    pub start: u64,
    pub end: u64,
    /// Number of invalidations so far, including this one.
    pub count: u64,
    /// An index of [`KINDS`].
    pub kind: u32,
    /// The invalidating task may sleep in the notifier.
    pub blockable: bool,
    /// Of a release: the process continues, because it has executed another program.
    pub executed: bool,
    /// The invalidating thread.
    pub pid: i32,
    /// The process of that thread.
    pub tgid: i32,
    /// The system call of that thread; negative if there is none.
    pub syscall: i32,
    pub cpu: u32,
    /// Nanoseconds spent in the callback of the watch.
    pub latency: u32,
    /// The cookie of the range.
    pub cookie: u64,
    /// With [`crate::Options::stacks`]: the user stack of the thread, without trailing zeros.
    pub stack: Vec<u64>,
}

impl Event {
    /// Size of an event without its stack, in bytes.
    const SIZE: usize = 72;

    /// Size of an event in bytes.
    pub(crate) fn size(stacks: bool) -> usize {
        Self::SIZE + if stacks { 8 * STACK_DEPTH } else { 0 }
    }

    /// Decodes an event from [`Event::size`] bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let (event, stack) = bytes.split_at(Self::SIZE);
        // A slice of known size needs no bounds check for each field.
        let event: &[u8; Self::SIZE] = event.try_into().unwrap();
        let u64_at = |at: usize| u64::from_ne_bytes(event[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_ne_bytes(event[at..at + 4].try_into().unwrap());
        Self {
            time: u64_at(0),
            start: u64_at(8),
            end: u64_at(16),
            count: u64_at(24),
            kind: u32_at(32),
            blockable: u32_at(36) & 1 != 0,
            executed: u32_at(36) & 2 != 0,
            pid: u32_at(40) as i32,
            tgid: u32_at(44) as i32,
            syscall: u32_at(48) as i32,
            cpu: u32_at(52),
            latency: u32_at(56),
            cookie: u64_at(64),
            stack: if stack.is_empty() {
                Vec::new()
            } else {
                Self::stack_from_bytes(stack)
            },
        }
    }

    /// Decodes a stack, and removes trailing zeros.
    fn stack_from_bytes(bytes: &[u8]) -> Vec<u64> {
        let addresses = bytes.chunks_exact(8);
        let mut stack: Vec<u64> = addresses
            .map(|address| u64::from_ne_bytes(address.try_into().unwrap()))
            .collect();
        let depth = stack.iter().rposition(|address| *address != 0);
        stack.truncate(depth.map_or(0, |last| last + 1));
        stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [7u64, 0x1000, 0x3000, 9] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [1u32, 3, 11, 12, -1i32 as u32, 5, 600, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(42u64.to_ne_bytes());
        bytes
    }

    #[test]
    fn fields() {
        let bytes = bytes();
        assert_eq!(bytes.len(), Event::size(false));
        let expected = Event {
            time: 7,
            start: 0x1000,
            end: 0x3000,
            count: 9,
            kind: 1,
            blockable: true,
            executed: true,
            pid: 11,
            tgid: 12,
            syscall: -1,
            cpu: 5,
            latency: 600,
            cookie: 42,
            stack: Vec::new(),
        };
        assert_eq!(Event::from_bytes(&bytes), expected);
    }

    #[test]
    fn a_stack_ends_at_its_last_address() {
        let mut bytes = bytes();
        let mut stack = [0u64; STACK_DEPTH];
        // The word on top of the stack may have any value, including 0.
        stack[..3].copy_from_slice(&[0x400000, 0, 0x400100]);
        for word in stack {
            bytes.extend(word.to_ne_bytes());
        }
        assert_eq!(bytes.len(), Event::size(true));
        assert_eq!(Event::from_bytes(&bytes).stack, [0x400000, 0, 0x400100]);
    }

    #[test]
    fn a_stack_of_another_address_space_is_none() {
        let mut bytes = bytes();
        bytes.resize(Event::size(true), 0);
        assert!(Event::from_bytes(&bytes).stack.is_empty());
    }

    #[test]
    fn a_full_stack() {
        let mut bytes = bytes();
        for word in 1..=STACK_DEPTH as u64 {
            bytes.extend(word.to_ne_bytes());
        }
        assert_eq!(Event::from_bytes(&bytes).stack.len(), STACK_DEPTH);
    }
}
