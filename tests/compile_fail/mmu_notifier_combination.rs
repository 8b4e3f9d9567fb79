// SPDX-License-Identifier: GPL-2.0

//! A notifier for secondary TLBs has no range callbacks: `__mmu_notifier_register()` warns if a
//! notifier has both.

use kernel::prelude::*;
use tether::mm::{
    mmu_notifier::{
        Callbacks,
        InvalidateRanges,
        InvalidateSecondaryTlbs,
        MmuNotifier,
        MmuNotifierRange,
        Ranges,
        SecondaryTlbs, //
    },
    Mm, //
};

/// Implements the callbacks of both kinds.
pub struct Notifier;

impl MmuNotifier for Notifier {
    type Callbacks = Ranges;
}

impl InvalidateSecondaryTlbs for Notifier {
    fn invalidate_secondary_tlbs(&self, _mm: &Mm, _start: usize, _end: usize) {}
}

/// Stands in for the type that `module!` defines, which `#[vtable]` refers to.
pub struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"compile_fail";
    // SAFETY: A null pointer is the `THIS_MODULE` of built-in code, which `from_ptr()` accepts.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
}

#[vtable]
impl InvalidateRanges for Notifier {
    fn invalidate_range_start(&self, _range: &MmuNotifierRange<'_>) {}
}

fn hears<C: Callbacks<Notifier>>() {}

/// Selects each kind of callbacks, and then both at once.
pub fn combinations() {
    hears::<Ranges>();
    hears::<SecondaryTlbs>();
    hears::<(Ranges, SecondaryTlbs)>(); // misuse: E0277
}
