// SPDX-License-Identifier: GPL-2.0

//! The counterpart of `delayed_work.rs` with Tether: the delayed work belongs to a worker of this
//! module. The worker is even leaked; module teardown stops it, and drops the work.

use kernel::{
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies, //
};
use tether::kthread::{
    worker::{
        impl_has_kthread_delayed_work,
        KthreadDelayedWork,
        KthreadWorkItem, //
        WorkContext,
    },
    Builder, //
};

module! {
    type: Module,
    name: "tether_delayed_work",
    authors: ["The Tether developers"],
    description: "A delayed work that is dropped when its module is unloaded",
    license: "GPL",
}

#[pin_data]
struct Later {
    #[pin]
    work: KthreadDelayedWork<Later>,
}

impl_has_kthread_delayed_work! {
    impl HasKthreadDelayedWork<Self> for Later { self.work }
}

impl KthreadWorkItem for Later {
    type Pointer = Arc<Later>;

    fn run(_this: Arc<Later>, _context: &WorkContext<'_>) {
        pr_info!("the work has run\n");
    }
}

struct Module;

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let worker = Builder::new(c"later").worker(module)?;
        let later = Arc::pin_init(
            pin_init!(Later {
                work <- KthreadDelayedWork::new(),
            }),
            GFP_KERNEL,
        )?;
        worker.enqueue_delayed(later, msecs_to_jiffies(1000))?;
        core::mem::forget(worker);
        Ok(Self)
    }
}
