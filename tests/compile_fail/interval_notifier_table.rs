// SPDX-License-Identifier: GPL-2.0

//! The trait with the `mmu_interval_notifier_ops` cannot be named outside the crate.

pub use tether::mm::mmu_interval_notifier::private::Sealed; // misuse: E0603
