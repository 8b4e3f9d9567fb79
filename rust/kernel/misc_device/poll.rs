// SPDX-License-Identifier: GPL-2.0

//! The arguments and the result of [`MiscDevice::poll`](super::MiscDevice::poll).

use crate::{
    bindings,
    fs::File,
    sync::poll::{
        self,
        PollCondVar, //
    }, //
};
use core::marker::PhantomData;

/// The events that a file is ready for (`EPOLLIN` and others in
/// [`include/uapi/linux/eventpoll.h`](srctree/include/uapi/linux/eventpoll.h)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready(pub(super) u32);

impl Ready {
    /// No event.
    pub const NOTHING: Self = Self(0);
    /// Data can be read (`EPOLLIN | EPOLLRDNORM`).
    pub const READ: Self = Self(0x1 | 0x40);
    /// Data can be written (`EPOLLOUT | EPOLLWRNORM`).
    pub const WRITE: Self = Self(0x4 | 0x100);
    /// Exceptional data can be read (`EPOLLPRI`).
    pub const PRIORITY: Self = Self(0x2);
    /// Data of a priority band can be read (`EPOLLRDBAND`).
    pub const READ_BAND: Self = Self(0x80);
    /// Data of a priority band can be written (`EPOLLWRBAND`).
    pub const WRITE_BAND: Self = Self(0x200);
    /// The other side has closed its end for writing (`EPOLLRDHUP`).
    pub const READ_HANG_UP: Self = Self(0x2000);
    /// No more data will arrive (`EPOLLHUP`).
    pub const HANG_UP: Self = Self(0x10);
    /// An error condition (`EPOLLERR`).
    pub const ERROR: Self = Self(0x8);
}

impl core::ops::BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The table of a poll: `poll_table`.
///
/// A task that sleeps in `poll()` or `select()` stays queued on the condition variables until the
/// system call ends. It holds a reference to the file, so the condition variable has to live as
/// long as the file: dropping a [`PollCondVar`] earlier removes epoll items, but no such task. The
/// kernel crate's `PollTable` accepts any condition variable; this one accepts those that are
/// borrowed for `'a`, which is the lifetime of the file's private data in
/// [`MiscDevice::poll`](super::MiscDevice::poll).
///
/// The drop of a [`PollCondVar`] waits for a grace period. The data of a file should have a
/// `PollCondVarBox`, which is freed without waiting.
///
/// # Invariants
///
/// `file` is valid during the call of `poll`, and `table` is null or valid. Values of lifetime `'a`
/// are valid until the file is released.
pub struct PollTable<'a> {
    table: *mut bindings::poll_table_struct,
    file: *mut bindings::file,
    // Invariant: with a shorter lifetime, condition variables of that lifetime would be accepted.
    _lifetime: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl<'a> PollTable<'a> {
    /// Creates the table that `poll` gets.
    ///
    /// # Safety
    ///
    /// * `table` must be null or valid, and `file` valid, for as long as the returned value is
    ///   used.
    /// * Values of lifetime `'a` must be valid until the file is released.
    #[inline]
    pub(super) unsafe fn from_raw(
        table: *mut bindings::poll_table_struct,
        file: *mut bindings::file,
    ) -> Self {
        // INVARIANT: The caller guarantees that the file is valid, that the table is null or valid,
        // and that values of lifetime `'a` are valid until the file is released.
        Self {
            table,
            file,
            _lifetime: PhantomData,
        }
    }

    /// Queues the caller of `poll` on `condition`, so that notifying it makes the caller look
    /// again.
    ///
    /// # Context
    ///
    /// Process context, may sleep.
    #[doc(alias = "poll_wait")]
    pub fn register_wait(&self, condition: &'a PollCondVar) {
        // The condition variable is valid until the file is released, by the type's invariants. It
        // outlives all users of the table: tasks that sleep hold a reference to the file, and epoll
        // items are removed before the file is released.
        //
        // SAFETY: The table is null or valid by the type's invariants.
        let table = unsafe { poll::PollTable::from_raw(self.table) };
        // SAFETY: The file is valid by the type's invariants, its caller holds a reference to it,
        // and there is no active `fdget_pos()` region on this thread.
        table.register_wait(unsafe { File::from_raw_file(self.file) }, condition);
    }
}
