// SPDX-License-Identifier: GPL-2.0

//! An item cannot be added by an ID for which it has no callback.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use tether::task_work::{
    self,
    impl_has_task_work,
    Context,
    NotifyMode,
    TaskWork,
    TaskWorkItem, //
};

#[pin_data]
struct Once {
    #[pin]
    first: TaskWork<Once, 1>,
}

impl_has_task_work! {
    impl HasTaskWork<Self, 1> for Once { self.first }
}

impl TaskWorkItem<1> for Once {
    type Pointer = Arc<Once>;

    fn run(_this: Arc<Once>, _context: &Context<'_>) {}
}

/// Adds the item by ID 1, and tries to add it by ID 2.
pub fn add(item: Arc<Once>) -> Result {
    task_work::add::<_, 1>(current!(), item.clone(), NotifyMode::Resume)?;
    task_work::add::<_, 2>(current!(), item.clone(), NotifyMode::Resume)?; // misuse: E0277
    Ok(())
}
