// SPDX-License-Identifier: GPL-2.0
/// The kernel crate with Tether's modules, as in a kernel tree: the examples use these paths.
#[allow(unused_imports)]
mod kernel {
    pub use ::kernel::*;
    pub use tether::{
        impl_has_task_work,
        kthread,
        memalloc,
        misc_device,
        mm,
        new_mmu_interval_notifier,
        pid,
        ptrace,
        task_work,
        user_stack, //
    };
}
