// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of task works: the parts that need no process. KUnit runs in a kernel thread, which
//! is refused as a target; the other tests are in `task_work_test.c`.

use kernel::prelude::*;

module! {
    type: TaskWorkKunit,
    name: "task_work_kunit",
    authors: ["The Tether developers"],
    description: "KUnit suite of task works",
    license: "GPL",
}

struct TaskWorkKunit;

impl kernel::Module for TaskWorkKunit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[kunit_tests(tether_task_work)]
mod tests {
    use kernel::{
        prelude::*,
        sync::{
            atomic::{
                Atomic,
                Full,
                Relaxed, //
            },
            Arc, //
        }, //
    };
    use tether::task_work::{
        self,
        impl_has_task_work,
        Context,
        NotifyMode,
        TaskWork,
        TaskWorkItem, //
    };

    #[pin_data(PinnedDrop)]
    struct Item<const SHARED: bool> {
        value: u64,
        dropped: Arc<Atomic<i32>>,
        #[pin]
        work: TaskWork<Item<SHARED>>,
    }

    impl_has_task_work! {
        impl{const SHARED: bool} HasTaskWork<Self> for Item<SHARED> { self.work }
    }

    impl TaskWorkItem for Item<false> {
        type Pointer = Pin<KBox<Self>>;

        fn run(_this: Self::Pointer, _context: &Context<'_>) {}
    }

    impl TaskWorkItem for Item<true> {
        type Pointer = Arc<Self>;

        fn run(_this: Self::Pointer, _context: &Context<'_>) {}
    }

    #[pinned_drop]
    impl<const SHARED: bool> PinnedDrop for Item<SHARED> {
        fn drop(self: Pin<&mut Self>) {
            self.dropped.fetch_add(1, Full);
        }
    }

    fn item<const SHARED: bool>(dropped: &Arc<Atomic<i32>>) -> impl PinInit<Item<SHARED>>
    where
        Item<SHARED>: TaskWorkItem,
    {
        let dropped = dropped.clone();
        pin_init!(Item {
            value: 0x7e7e,
            dropped,
            work <- TaskWork::new(),
        })
    }

    const MODES: [NotifyMode; 4] = [
        NotifyMode::None,
        NotifyMode::Resume,
        NotifyMode::Signal,
        NotifyMode::SignalNoIpi,
    ];

    fn counter() -> Arc<Atomic<i32>> {
        Arc::new(Atomic::new(0), GFP_KERNEL).unwrap()
    }

    #[test]
    fn a_kernel_thread_is_refused_and_a_box_comes_back() {
        let dropped = counter();
        let mut work = KBox::pin_init(item::<false>(&dropped), GFP_KERNEL).unwrap();
        for mode in MODES {
            let refused = task_work::add(current!(), work, mode).unwrap_err();
            assert_eq!(refused.error, EINVAL);
            work = refused.item;
        }
        assert_eq!(work.value, 0x7e7e);
        assert_eq!(dropped.load(Relaxed), 0);
        drop(work);
        assert_eq!(dropped.load(Relaxed), 1);
    }

    #[test]
    fn a_kernel_thread_is_refused_and_an_arc_comes_back() {
        let dropped = counter();
        let work = Arc::pin_init(item::<true>(&dropped), GFP_KERNEL).unwrap();
        for mode in MODES {
            // The refused item is not left pending: it could be added again.
            let refused = task_work::add(current!(), work.clone(), mode).unwrap_err();
            assert_eq!(refused.error, EINVAL);
            assert!(Arc::ptr_eq(&refused.item, &work));
        }
        assert!(Arc::into_unique_or_drop(work).is_some());
        assert_eq!(dropped.load(Relaxed), 1);
    }

    #[test]
    fn a_kernel_thread_is_refused_and_a_closure_comes_back() {
        let mut value = KVec::from_elem(1u8, 4, GFP_KERNEL).unwrap();
        for mode in MODES {
            let refused = task_work::add_fn(
                current!(),
                move |_: &Context<'_>| drop(value),
                mode,
                GFP_KERNEL,
            )
            .unwrap_err();
            assert_eq!(refused.error, EINVAL);
            drop(refused.item);
            value = KVec::from_elem(1u8, 4, GFP_KERNEL).unwrap();
        }
        drop(value);
    }

    #[test]
    fn a_refusal_is_an_error_for_question_mark() {
        fn attempt() -> Result {
            task_work::add_fn(current!(), |_| (), NotifyMode::Resume, GFP_KERNEL)?;
            Ok(())
        }
        assert_eq!(attempt(), Err(EINVAL));
    }
}
