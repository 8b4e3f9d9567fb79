/// The kernel crate as it is in a tree that has Tether: the examples are written for that.
#[allow(unused_imports)]
mod kernel {
    pub use ::kernel::*;
    pub use tether::{
        impl_has_task_work,
        kthread,
        misc_device,
        mm,
        new_interval_notifier,
        pid,
        ptrace,
        task_work,
        user_stack, //
    };
}
