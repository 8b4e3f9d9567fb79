// SPDX-License-Identifier: GPL-2.0

//! A work without a timer cannot be enqueued with a delay.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use tether::kthread::worker::{
    impl_has_kthread_work,
    KthreadWork,
    KthreadWorkItem,
    Queue,
    WorkContext, //
};

#[pin_data]
struct Plain {
    #[pin]
    work: KthreadWork<Plain>,
}

impl_has_kthread_work! {
    impl HasKthreadWork<Self> for Plain { self.work }
}

impl KthreadWorkItem for Plain {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>, _context: &WorkContext<'_>) {}
}

/// Enqueues the work without a delay, and then with a delay.
pub fn enqueue(queue: &Queue) -> Result {
    let plain = Arc::pin_init(pin_init!(Plain { work <- KthreadWork::new() }), GFP_KERNEL)?;
    queue.enqueue(plain.clone())?;
    queue.enqueue_delayed(plain.clone(), 1)?; // misuse: E0271
    Ok(drop(plain))
}
