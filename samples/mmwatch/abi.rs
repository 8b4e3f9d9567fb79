// SPDX-License-Identifier: GPL-2.0

//! The interface to user space: the structures, flags and commands of `mmwatch.h`.

use kernel::{
    ioctl::{
        _IO,
        _IOR,
        _IOW,
        _IOWR, //
    },
    prelude::*, //
};

pub(super) const KIND_RELEASE: u32 = 5;
pub(super) const KIND_OTHER: u32 = 8;
pub(super) const KIND_DROPPED: u32 = 9;
pub(super) const KIND_EXEC: u32 = 10;
pub(super) const KIND_NOT_FOLLOWED: u32 = 11;
pub(super) const FLAG_BLOCKABLE: u32 = 1 << 0;
pub(super) const FLAG_EXECUTED: u32 = 1 << 1;
pub(super) const COMPAT_CALL: u32 = 1 << 29;
/// Flags in `struct mmwatch_watch`.
pub(super) const FLAG_RANGES: u32 = 1 << 0;
pub(super) const FLAG_STACKS: u32 = 1 << 1;
pub(super) const FLAG_FOLLOW: u32 = 1 << 2;

pub(super) const WATCH: u32 = _IOW::<WatchArgument>(0xB8, 1);
pub(super) const ADD_RANGE: u32 = _IOWR::<RangeArgument>(0xB8, 4);
pub(super) const REMOVE_RANGE: u32 = _IO(0xB8, 5);
pub(super) const STATUS: u32 = _IOR::<StatusArgument>(0xB8, 2);
pub(super) const UNWATCH: u32 = _IO(0xB8, 3);
pub(super) const VERSION: u32 = _IOR::<u32>(0xB8, 6);

/// `MMWATCH_INTERFACE`: the version that `VERSION` returns.
pub(super) const INTERFACE: u32 = 1;

/// `struct mmwatch_event`.
#[derive(Clone, Copy, Default, IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
pub(super) struct Event {
    pub(super) time: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) count: u64,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) pid: i32,
    pub(super) tgid: i32,
    pub(super) syscall: i32,
    pub(super) cpu: u32,
    pub(super) latency: u32,
    pub(super) reserved: u32,
    pub(super) cookie: u64,
}

/// The addresses that follow an event, with `MMWATCH_STACKS`.
pub(super) type Stack = [u64; 16];

/// `struct mmwatch_range`.
#[derive(FromBytes, IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
pub(super) struct RangeArgument {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) cookie: u64,
    pub(super) value: u64,
    pub(super) index: u32,
    pub(super) reserved: u32,
}

/// `struct mmwatch_watch`.
#[derive(FromBytes)]
#[repr(C)]
pub(super) struct WatchArgument {
    pub(super) pid: i32,
    pub(super) flags: u32,
    pub(super) count_address: u64,
}

/// `struct mmwatch_status`.
#[derive(IntoBytes, zerocopy_derive::Immutable)]
#[repr(C)]
pub(super) struct StatusArgument {
    pub(super) count: u64,
    pub(super) published: u64,
    pub(super) pages: u64,
    pub(super) dropped: u64,
    pub(super) ended: u32,
    pub(super) reserved: u32,
}
