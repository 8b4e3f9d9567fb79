// SPDX-License-Identifier: GPL-2.0

//! The trait that has the kernel's table of callbacks cannot be named.

pub use tether::mm::mmu_notifier::private::Sealed; // misuse: E0603
