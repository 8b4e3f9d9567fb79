// SPDX-License-Identifier: GPL-2.0

//! The bindings of the kernel crate, further bindings that it lacks, and the layout guard.
//!
//! Only the external build uses this file. In a kernel tree, all bindings are in the kernel crate.

pub(crate) use kernel::bindings::*;

mod generated {
    #![allow(
        clippy::all,
        dead_code,
        missing_docs,
        non_camel_case_types,
        non_upper_case_globals,
        improper_ctypes,
        unreachable_pub,
        unsafe_op_in_unsafe_fn
    )]
    use kernel::{
        bindings::*,
        ffi, //
    };

    include!(concat!(env!("TETHER_BINDINGS"), "/helpers_generated.rs"));
    include!(concat!(env!("TETHER_BINDINGS"), "/missing_generated.rs"));
    #[cfg(CONFIG_UML)]
    include!(concat!(
        env!("TETHER_BINDINGS"),
        "/mmu_notifier_generated.rs"
    ));
}
pub(crate) use generated::*;
// On user-mode Linux, the kernel crate's bindings declare this type without its fields.
#[cfg(CONFIG_UML)]
pub(crate) use generated::mmu_notifier_range;

mod layout {
    //! Fails to compile if a layout in the bindings differs from its layout in C; see `layout.h`.
    #![allow(
        clippy::all,
        dead_code,
        non_camel_case_types,
        non_upper_case_globals,
        unreachable_pub
    )]
    use crate::bindings;
    use kernel::ffi;

    include!(concat!(env!("TETHER_BINDINGS"), "/layout_generated.rs"));

    macro_rules! guard {
        ($($kind:ident $type:ident $($field:ident)?;)*) => {$(
            guard!(@$kind $type $($field)?);
        )*};
        (@size $type:ident) => {
            const _: () = assert!(
                core::mem::size_of::<bindings::$type>()
                    == kernel::macros::paste!([<TETHER_SIZE_ $type>]) as usize,
                concat!(
                    "layout guard: the bindings of this kernel have another size for struct ",
                    stringify!($type),
                    " than C: build it with CONFIG_SCHEDSTATS=y, and with the bindgen that is used now"
                )
            );
        };
        (@offset $type:ident $field:ident) => {
            const _: () = assert!(
                core::mem::offset_of!(bindings::$type, $field)
                    == kernel::macros::paste!(
                        [<TETHER_OFFSET_ $type _ $field>]
                    ) as usize,
                concat!(
                    "layout guard: the bindings of this kernel have ",
                    stringify!($type.$field),
                    " somewhere else than C: build it with CONFIG_SCHEDSTATS=y, and with the \
                     bindgen that is used now"
                )
            );
        };
    }

    guard! {
        size task_struct;
        offset task_struct files;
        offset task_struct flags;
        offset task_struct mm;
        offset task_struct pagefault_disabled;
        offset task_struct pi_lock;
        offset task_struct pid;
        offset task_struct start_boottime;
        offset task_struct tgid;
        offset task_struct group_leader;
        offset task_struct task_works;
        size callback_head;
        size completion;
        size list_head;
        size kthread_worker;
        offset kthread_worker flags;
        offset kthread_worker lock;
        offset kthread_worker work_list;
        offset kthread_worker delayed_work_list;
        offset kthread_worker task;
        offset kthread_worker current_work;
        size kthread_work;
        offset kthread_work node;
        offset kthread_work func;
        offset kthread_work worker;
        offset kthread_work canceling;
        size kthread_delayed_work;
        offset kthread_delayed_work work;
        offset kthread_delayed_work timer;
        size timer_list;
        offset timer_list expires;
        size mmu_notifier;
        offset mmu_notifier ops;
        offset mmu_notifier mm;
        size mmu_notifier_ops;
        offset mmu_notifier_ops release;
        offset mmu_notifier_ops invalidate_range_start;
        offset mmu_notifier_ops invalidate_range_end;
        offset mmu_notifier_ops clear_flush_young;
        offset mmu_notifier_ops clear_young;
        offset mmu_notifier_ops test_young;
        offset mmu_notifier_ops arch_invalidate_secondary_tlbs;
        size mmu_notifier_range;
        offset mmu_notifier_range mm;
        offset mmu_notifier_range start;
        offset mmu_notifier_range end;
        offset mmu_notifier_range flags;
        offset mmu_notifier_range event;
        offset mmu_notifier_range owner;
        size mmu_interval_notifier;
        offset mmu_interval_notifier invalidate_seq;
        size mmu_interval_notifier_ops;
        offset mmu_interval_notifier_ops invalidate;
        size miscdevice;
        offset miscdevice fops;
        offset miscdevice minor;
        offset miscdevice name;
        offset miscdevice this_device;
        size file_operations;
        offset file_operations poll;
        offset kiocb ki_filp;
        offset file f_flags;
    }
}
