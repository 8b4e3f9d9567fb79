// SPDX-License-Identifier: GPL-2.0

//! A notifier for secondary TLBs hears of no ranges besides: the kernel warns of one that does.

use kernel::prelude::*;
use tether::mm::{
    mmu_notifier::{
        Callbacks,
        InvalidateRanges,
        InvalidateSecondaryTlbs,
        MmuNotifier,
        Range,
        Ranges,
        SecondaryTlbs, //
    },
    Mm, //
};

/// One that could do both.
pub struct Notifier;

impl MmuNotifier for Notifier {
    type Callbacks = Ranges;
}

impl InvalidateSecondaryTlbs for Notifier {
    fn invalidate_secondary_tlbs(&self, _mm: &Mm, _start: usize, _end: usize) {}
}

/// In place of a module.
pub struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"compile_fail";
    // SAFETY: Null is allowed.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
}

#[vtable]
impl InvalidateRanges for Notifier {
    fn invalidate_range_start(&self, _range: &Range<'_>) {}
}

fn hears<C: Callbacks<Notifier>>() {}

/// Hears of the one, of the other, and of both.
pub fn combinations() {
    hears::<Ranges>();
    hears::<SecondaryTlbs>();
    hears::<(Ranges, SecondaryTlbs)>(); // misuse: E0277
}
