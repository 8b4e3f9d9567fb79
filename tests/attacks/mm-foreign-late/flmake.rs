// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Registers an interval notifier of a type of `flkeep.ko` and passes the registration to that
//! module.
//!
//! `flkeep_code.rs` describes the misuse and the expected answer.
use kernel::prelude::*;
use tether::mm::mmu_interval_notifier::new_mmu_interval_notifier;
module! { type: Make, name: "glmake", authors: ["h"], description: "attack", license: "GPL", }
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        flkeep::flkeep_keep(KBox::pin_init(
            new_mmu_interval_notifier!(mm, flkeep::ADDRESS, 4096, flkeep::Watch(7), 5),
            GFP_KERNEL,
        )?);
        Ok(Make)
    }
}
