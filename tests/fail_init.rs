// SPDX-License-Identifier: GPL-2.0

//! A module with an init that leaks works and threads, and then fails.
//!
//! When an init has failed, the kernel frees the module's text without looking at its reference
//! count. The loading task returns to user space afterwards, with works in its list; and no handle
//! is left to stop the threads.

use kernel::{
    prelude::*,
    sync::Arc,
    time::Delta, //
};
use tether::{
    kthread::{
        self,
        Wake, //
    },
    task_work::{
        self,
        impl_has_task_work,
        Context,
        NotifyMode,
        Ordered,
        TaskWork,
        TaskWorkItem, //
    }, //
};

module! {
    type: FailInit,
    name: "fail_init",
    authors: ["The Tether developers"],
    description: "Test: an init that leaks works and threads, and fails",
    license: "GPL",
}

struct FailInit;

/// Reports that a work ran after the module's text was freed.
fn gone() {
    pr_err!("BUG: a work ran after its module was unloaded\n");
}

#[pin_data(PinnedDrop)]
struct Item<const SHARED: bool> {
    // A value that the destructor reads.
    value: KVec<u8>,
    #[pin]
    work: TaskWork<Item<SHARED>>,
}

impl_has_task_work! {
    impl{const SHARED: bool} HasTaskWork<Self> for Item<SHARED> { self.work }
}

impl TaskWorkItem for Item<false> {
    type Pointer = Pin<KBox<Self>>;

    fn run(_this: Self::Pointer, _context: &Context<'_>) {
        gone();
    }
}

impl TaskWorkItem for Item<true> {
    type Pointer = Arc<Self>;

    fn run(_this: Self::Pointer, _context: &Context<'_>) {
        gone();
    }
}

#[pinned_drop]
impl<const SHARED: bool> PinnedDrop for Item<SHARED> {
    fn drop(self: Pin<&mut Self>) {
        pr_info!("an item of {} bytes is dropped\n", self.value.len());
    }
}

impl kernel::Module for FailInit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let text = KVec::from_elem(0u8, 100, GFP_KERNEL)?;
        let held = move |_: &Context<'_>| {
            drop(text);
            gone();
        };
        let pending = task_work::add_fn(task, held, NotifyMode::Resume, GFP_KERNEL)?;
        // The handle of the first closure is dropped; the handle of a second one is leaked.
        drop(pending);
        core::mem::forget(task_work::add_fn(
            task,
            |_| gone(),
            NotifyMode::None,
            GFP_KERNEL,
        )?);

        let value = KVec::from_elem(0u8, 10, GFP_KERNEL)?;
        let item = pin_init!(Item::<false> { value, work <- TaskWork::new() });
        task_work::add(task, KBox::pin_init(item, GFP_KERNEL)?, NotifyMode::Resume)?;

        let value = KVec::from_elem(0u8, 20, GFP_KERNEL)?;
        let item = pin_init!(Item::<true> { value, work <- TaskWork::new() });
        let item = Arc::pin_init(item, GFP_KERNEL)?;
        task_work::add(task, item.clone(), NotifyMode::Resume)?;
        let _ = task_work::cancel(task, &item);

        // The items of a queue are not in the task's own list.
        let queue = Ordered::new(task, NotifyMode::Resume)?;
        let value = KVec::from_elem(0u8, 30, GFP_KERNEL)?;
        let item = pin_init!(Item::<false> { value, work <- TaskWork::new() });
        queue.add(KBox::pin_init(item, GFP_KERNEL)?)?;
        queue.add_fn(|_| gone(), GFP_KERNEL)?;

        let thread = kthread::spawn(c"fail_init", |context| {
            while context.sleep_for(Delta::from_millis(1)) != Wake::Stopped {}
        })?;
        core::mem::forget(thread);
        // Detached threads pin the module, but the kernel ignores references after a failed init:
        // teardown requests the threads to stop.
        let thread = kthread::spawn(c"fail_init", |context| {
            context.sleep_for(Delta::from_millis(50));
        })?;
        thread.detach()?;
        let result = KVec::from_elem(0u8, 40, GFP_KERNEL)?;
        let thread = kthread::spawn(c"fail_init", move |context| {
            while !context.sleep().is_stopped() {}
            result
        })?;
        thread.detach()?;
        // A thread that detaches further threads while the init fails.
        let thread = kthread::spawn(c"fail_init", |context| {
            while !context.should_stop() {
                let Ok(other) =
                    kthread::spawn(
                        c"fail_init",
                        |context| {
                            while !context.sleep().is_stopped() {}
                        },
                    )
                else {
                    continue;
                };
                match other.detach() {
                    Ok(()) => context.sleep_for(Delta::from_millis(1)),
                    Err(refused) => {
                        drop(refused.item.stop());
                        break;
                    }
                };
            }
        })?;
        core::mem::forget(thread);
        Err(EUCLEAN)
    }
}
