// SPDX-License-Identifier: GPL-2.0

//! A thread is bound to a CPU before it starts: `kthread_bind()` warns if the thread already runs.

use kernel::{
    cpu::CpuId,
    prelude::*, //
};
use tether::kthread::Builder;

/// Binds a thread with its builder, and tries to bind the running thread again.
pub fn spawn(cpu: CpuId) -> Result {
    let thread = Builder::new(c"thread").bind(cpu).spawn(|_| ())?;
    thread.bind(cpu); // misuse: E0599
    Ok(thread.join()?)
}
