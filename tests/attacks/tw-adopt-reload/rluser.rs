// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Adds an item that was created by an earlier load of this module at the same addresses.
//!
//! The first load creates the item and passes it to `rlkeep.ko`. A later load at the same
//! addresses has the same vtable address, but another owner record, and the old record belongs
//! to `rlsecond.ko` by then. If the library took an equal vtable address for the same module,
//! the pending item would pin `rlsecond.ko`, and this module could be removed.
//!
//! A sound library pins the module that adds the item: `rmmod` fails while the item is pending.
use kernel::prelude::*;
use tether::{
    pid,
    task_work::{self, NotifyMode},
};
module! { type: User, name: "rluser", authors: ["h"], description: "attack", license: "GPL", }
static MARK: [u64; 2] = [1, 2];
struct User;
#[inline(never)]
fn place() {}
impl kernel::Module for User {
    fn init(_: &'static ThisModule) -> Result<Self> {
        let (text, data) = (place as fn() as usize, &raw const MARK as usize);
        match rlkeep::rlkeep_take(text, data)? {
            None => rlkeep::rlkeep_keep(rlkeep::make(7)?, text, data),
            Some(item) => {
                let task = pid::find_task(rlkeep::rlkeep_target()).ok_or(ESRCH)?;
                let error =
                    task_work::add(&task, item, NotifyMode::None).map_err(|refused| refused.error);
                pr_info!("rluser: added: {error:?}\n");
            }
        }
        Ok(User)
    }
}
