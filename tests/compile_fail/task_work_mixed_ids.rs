// SPDX-License-Identifier: GPL-2.0

//! The ID of `HasTaskWork` must be the ID of the field, so that an item is linked by the field that
//! its callback belongs to.

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
struct Twice {
    #[pin]
    first: TaskWork<Twice, 1>,
    #[pin]
    second: TaskWork<Twice, 2>,
}

impl_has_task_work! {
    impl HasTaskWork<Self, 1> for Twice { self.first }
    impl HasTaskWork<Self, 2> for Twice { self.second }
}
impl_has_task_work! { impl HasTaskWork<Self, 3> for Twice { self.second } } // misuse: E0308

impl TaskWorkItem<1> for Twice {
    type Pointer = Arc<Twice>;

    fn run(_this: Arc<Twice>, _context: &Context<'_>) {}
}

impl TaskWorkItem<2> for Twice {
    type Pointer = Arc<Twice>;

    fn run(_this: Arc<Twice>, _context: &Context<'_>) {}
}

/// Adds the item by its first field.
pub fn add() -> Result {
    let init = pin_init!(Twice { first <- TaskWork::new(), second <- TaskWork::new() });
    let item = Arc::pin_init(init, GFP_KERNEL)?;
    task_work::add::<_, 1>(current!(), item, NotifyMode::Resume)?;
    Ok(())
}
