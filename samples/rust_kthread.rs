// SPDX-License-Identifier: GPL-2.0

//! Rust kernel thread sample.
//!
//! A thread counts, ten times a second, until the module goes:
//!
//! ```sh
//! insmod rust_kthread.ko; sleep 1; rmmod rust_kthread
//! dmesg | tail -n 1        # rust_kthread: it counted to 10
//! ```

use kernel::{
    prelude::*,
    time::Delta, //
};
use tether::kthread::{
    self,
    Exit,
    Thread,
    Wake, //
};

module! {
    type: KthreadModule,
    name: "rust_kthread",
    authors: ["The Tether developers"],
    description: "Rust kernel thread sample",
    license: "GPL",
}

struct KthreadModule {
    thread: Option<Thread<u32>>,
}

impl kernel::Module for KthreadModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let thread = kthread::spawn(c"rust_kthread", |context| {
            let mut count = 0;
            while context.sleep_for(Delta::from_millis(100)) != Wake::Stopped {
                count += 1;
            }
            count
        })?;
        Ok(Self {
            thread: Some(thread),
        })
    }
}

impl Drop for KthreadModule {
    fn drop(&mut self) {
        // Dropping the thread would stop it as well; this is how to get its result.
        match self.thread.take().map(Thread::stop) {
            Some(Ok(Exit::Returned(count))) => pr_info!("it counted to {count}\n"),
            Some(Ok(Exit::NeverRan)) => pr_info!("it was stopped before it began\n"),
            Some(Err(refused)) => pr_err!("it could not be stopped: {:?}\n", refused.error),
            None => {}
        }
    }
}
