// SPDX-License-Identifier: GPL-2.0

//! Where a thread runs is said before it does: the kernel warns of who says it later.

use kernel::{
    cpu::CpuId,
    prelude::*, //
};
use tether::kthread::Builder;

/// Spawns one.
pub fn spawn(cpu: CpuId) -> Result {
    let thread = Builder::new(c"thread").bind(cpu).spawn(|_| ())?;
    thread.bind(cpu); // misuse: E0599
    Ok(thread.join()?)
}
