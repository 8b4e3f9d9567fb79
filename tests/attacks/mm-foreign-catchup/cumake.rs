// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Registers an interval notifier of a type of `cukeep.ko` and passes the registration to that
//! module.
//!
//! `cukeep_code.rs` describes the misuse and the expected answer.
use kernel::prelude::*;
use tether::mm::mmu_interval_notifier::new_mmu_interval_notifier;
module! { type: Make, name: "cumake", authors: ["h"], description: "attack", license: "GPL", }
struct Make;
impl kernel::Module for Make {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        cukeep::cukeep_keep(KBox::pin_init(
            new_mmu_interval_notifier!(mm, cukeep::ADDRESS, 4096, cukeep::Watch(7), 5),
            GFP_KERNEL,
        )?);
        Ok(Make)
    }
}
