// SPDX-License-Identifier: GPL-2.0

//! A notifier is called by several tasks at once.

use core::cell::Cell;
use kernel::prelude::*;
use tether::mm::mmu_notifier::MmuNotifier;

/// One that has what it has.
pub struct Notifier<T>(pub T);

/// Takes any notifier.
pub fn take<T: MmuNotifier>(_: T) {}

/// In place of a module.
pub struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"compile_fail";
    // SAFETY: Null is allowed.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
}

#[vtable]
impl<T: Send + Sync + 'static> MmuNotifier for Notifier<T> {}

/// Takes two.
pub fn take_two() {
    take(Notifier(1));
    take(Notifier(Cell::new(1))); // misuse: E0277
}
