// SPDX-License-Identifier: GPL-2.0

//! Enqueues a delayed work in its init. Nothing is leaked, and there is no `unsafe`: the workqueue
//! owns the reference until the work has run, but does not keep the module loaded.

use kernel::{
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies,
    workqueue::{
        self,
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    }, //
};

module! {
    type: Module,
    name: "delayed_work",
    authors: ["The Tether developers"],
    description: "A delayed work that runs after its module was unloaded",
    license: "GPL",
}

#[pin_data]
struct Later {
    #[pin]
    work: DelayedWork<Later>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Later { self.work }
}

impl WorkItem for Later {
    type Pointer = Arc<Later>;

    fn run(_this: Arc<Later>) {
        pr_info!("the work has run\n");
    }
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let later = Arc::pin_init(
            pin_init!(Later {
                work <- new_delayed_work!("Later::work"),
            }),
            GFP_KERNEL,
        )?;
        let _ = workqueue::system().enqueue_delayed(later, msecs_to_jiffies(1000));
        Ok(Self)
    }
}
