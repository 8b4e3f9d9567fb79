// SPDX-License-Identifier: GPL-2.0

//! A driver cannot implement `TaskWorkPointer` with the functions of another pointer type in safe
//! code.

include!("common/item.rs");

use tether::task_work::TaskWorkPointer;

/// Tries to use the functions of `Pin<KBox<Item>>`.
pub struct Forged(Pin<KBox<Item>>);

#[rustfmt::skip]
impl TaskWorkPointer<0> for Forged { const VTABLE: &'static task_work::Vtable = <Pin<KBox<Item>> as TaskWorkPointer<0>>::VTABLE; unsafe fn into_node(self, _: &kernel::task::Task) -> Result<core::ptr::NonNull<task_work::Node>, Self> { Err(self) } unsafe fn from_node(_: core::ptr::NonNull<task_work::Node>) -> Self { loop {} } } // misuse: E0200

/// Adds the box in the wrapper.
pub fn add(item: Forged) -> Result {
    task_work::add(current!(), item.0, NotifyMode::None)?;
    Ok(())
}
