// SPDX-License-Identifier: GPL-2.0

//! A module that leaks a thread that ignores the request to stop, and a worker with a long work.

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use tether::kthread::{
    self,
    Builder, //
};

module! {
    type: Stubborn,
    name: "stubborn",
    authors: ["The Tether developers"],
    description: "Test: a module with threads that ignore the request to stop",
    license: "GPL",
}

struct Stubborn;

impl kernel::Module for Stubborn {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // Teardown stops them one after the other, and names each in the log after ten seconds.
        let thread = kthread::spawn(c"stubborn-thread", |_| {
            fsleep(Delta::from_secs(11));
            // Teardown waits for this thread, and refuses new threads meanwhile.
            let late = kthread::spawn(c"stubborn-late", |_| ());
            let error = late.err().map_or(0, |it| it.error.to_errno());
            pr_info!("a thread that is late: {error}\n");
        })?;
        let worker = Builder::new(c"stubborn-worker").worker(module)?;
        worker.try_spawn(GFP_KERNEL, |_| fsleep(Delta::from_secs(22)))?;
        core::mem::forget(thread);
        core::mem::forget(worker);
        Ok(Self)
    }
}
