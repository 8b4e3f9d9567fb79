// SPDX-License-Identifier: GPL-2.0

// An item in a box, shared by several tests of misuses.

use kernel::prelude::*;
use tether::task_work::{
    self,
    impl_has_task_work,
    Context,
    NotifyMode,
    TaskWork,
    TaskWorkItem, //
};

#[pin_data]
struct Item {
    value: u32,
    #[pin]
    work: TaskWork<Item>,
}

impl_has_task_work! {
    impl HasTaskWork<Self> for Item { self.work }
}

impl TaskWorkItem for Item {
    type Pointer = Pin<KBox<Item>>;

    fn run(_this: Pin<KBox<Item>>, _context: &Context<'_>) {}
}

/// Creates an item.
pub fn item() -> Result<Pin<KBox<Item>>> {
    KBox::pin_init(
        pin_init!(Item { value: 1, work <- TaskWork::new() }),
        GFP_KERNEL,
    )
}
