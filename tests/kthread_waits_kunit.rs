// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of kernel threads: wake-ups by other tasks, waits with a time-out, and cycles of
//! waits.

mod kunit_values;

use kernel::prelude::*;

module! {
    type: KthreadWaitsKunit,
    name: "kthread_waits_kunit",
    authors: ["The Tether developers"],
    description: "KUnit suite of kernel threads that wait for each other",
    license: "GPL",
}

struct KthreadWaitsKunit;

impl kernel::Module for KthreadWaitsKunit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[kunit_tests(tether_kthread_waits)]
mod tests {
    use crate::kunit_values::{
        counter,
        gate,
        Counted, //
    };
    use kernel::{
        module::this_module,
        new_mutex,
        prelude::*,
        sync::{
            atomic::{
                Atomic,
                Full,
                Relaxed, //
            },
            Arc,
            Completion,
            Mutex, //
        },
        time::{
            delay::fsleep,
            hrtimer::{
                HrTimer,
                HrTimerCallback,
                HrTimerCallbackContext,
                HrTimerPointer,
                HrTimerRestart,
                RelativeMode, //
            },
            Delta,
            Monotonic, //
        }, //
    };
    use tether::kthread::{
        self,
        worker::{
            impl_has_kthread_work,
            KthreadWork,
            KthreadWorkItem,
            KthreadWorker,
            WorkContext, //
        },
        Builder,
        Exit,
        Parkable,
        Policy,
        Thread,
        Unstarted,
        Wake, //
    };

    fn worker() -> KthreadWorker {
        Builder::new(c"tether-waits")
            .worker(this_module::<super::KthreadWaitsKunit>())
            .unwrap()
    }

    fn short() -> Delta {
        Delta::from_millis(20)
    }

    /// A handle that another thread takes out.
    #[pin_data]
    struct Slot<T> {
        #[pin]
        value: Mutex<Option<T>>,
    }

    fn slot<T>() -> Arc<Slot<T>> {
        Arc::pin_init(pin_init!(Slot { value <- new_mutex!(None) }), GFP_KERNEL).unwrap()
    }

    fn park_until_stopped(context: &kthread::Context<'_, Parkable>) {
        loop {
            match context.sleep() {
                Wake::Stopped => break,
                Wake::Park(request) => request.park(),
                _ => {}
            }
        }
    }

    #[test]
    fn a_foreign_wake_up_does_not_start_a_thread() {
        let (alive, ran) = (counter(), counter());
        for round in 0..20 {
            let (capture, ran) = (Counted::new(&alive), ran.clone());
            let unstarted = Builder::new(c"tether-woken")
                .create(move |_| {
                    let _capture = capture;
                    ran.fetch_add(1, Full);
                })
                .unwrap();
            for _ in 0..3 {
                unstarted.task().wake_up();
                fsleep(Delta::from_millis(1));
            }
            assert_eq!(alive.load(Relaxed), 1);
            if round % 2 == 0 {
                drop(unstarted);
            } else {
                unstarted.start().join().unwrap();
            }
            assert_eq!(alive.load(Relaxed), 0);
        }
        assert_eq!(ran.load(Relaxed), 10);
    }

    #[test]
    fn a_condition_that_holds_hides_neither_stop_nor_park() {
        let stopped = kthread::spawn(c"tether-true", |context| {
            while !context.wait_until(|| true).is_stopped() {
                fsleep(Delta::from_micros(100));
            }
        })
        .unwrap();
        assert!(stopped.stop().is_ok());
        let parked = Builder::new(c"tether-true")
            .parkable()
            .spawn(|context| loop {
                match context.wait_until_timeout(short(), || true) {
                    Wake::Stopped => break,
                    Wake::Park(request) => request.park(),
                    _ => fsleep(Delta::from_micros(100)),
                }
            })
            .unwrap();
        assert_eq!(parked.park(), Ok(()));
        assert!(parked.is_parked());
        parked.unpark();
        assert!(parked.stop().is_ok());
    }

    #[test]
    fn a_wait_with_a_limit_gives_the_handle_back() {
        let go = gate();
        let go_ = go.clone();
        let thread = Builder::new(c"tether-limit")
            .parkable()
            .spawn(move |context| {
                go_.wait_for_completion();
                park_until_stopped(context);
                7
            })
            .unwrap();
        assert_eq!(thread.park_timeout(short()), Err(ETIMEDOUT));
        assert!(!thread.is_parked());
        let refused = thread.join_timeout(short()).unwrap_err();
        assert_eq!(refused.error, ETIMEDOUT);
        let thread = refused.item;
        go.complete_all();
        // When the wait timed out, its request was withdrawn.
        assert_eq!(thread.park(), Ok(()));
        assert_eq!(thread.park_timeout(short()), Err(EBUSY));
        thread.unpark();
        let exit = thread.stop_timeout(Delta::from_secs(60));
        assert_eq!(exit.unwrap(), Exit::Returned(7));

        let go = gate();
        let go_ = go.clone();
        let thread = kthread::spawn(c"tether-limit", move |_| go_.wait_for_completion()).unwrap();
        let refused = thread.stop_timeout(short()).unwrap_err();
        assert_eq!(refused.error, ETIMEDOUT);
        go.complete_all();
        assert!(refused.item.join_killable().is_ok());
    }

    #[test]
    fn a_request_to_park_that_times_out_races_with_the_answer() {
        let thread = Builder::new(c"tether-race")
            .parkable()
            .spawn(park_until_stopped)
            .unwrap();
        let (mut parked, mut late) = (0, 0);
        for round in 0..300 {
            match thread.park_timeout(Delta::from_millis(round % 2)) {
                Ok(()) => {
                    assert!(thread.is_parked());
                    parked += 1;
                    thread.unpark();
                }
                Err(error) => {
                    assert_eq!(error, ETIMEDOUT);
                    assert!(!thread.is_parked());
                    late += 1;
                }
            }
        }
        assert_eq!(parked + late, 300);
        assert!(parked > 0);
        assert_eq!(thread.park(), Ok(()));
        assert!(thread.stop().is_ok());
    }

    #[test]
    fn a_thread_that_is_unparked_and_parked_again_at_once_parks() {
        let thread = Builder::new(c"tether-again")
            .parkable()
            .spawn(park_until_stopped)
            .unwrap();
        for _ in 0..300 {
            assert_eq!(thread.park(), Ok(()));
            assert!(thread.is_parked());
            thread.unpark();
        }
        assert!(thread.stop().is_ok());
    }

    #[test]
    fn parking_that_returns_at_once_is_not_waiting() {
        let stopped = counter();
        for _ in 0..30 {
            // B requests C to park, and is refused each time. Meanwhile C stops B.
            let own = slot::<Thread<()>>();
            let (captured, go) = (own.clone(), gate());
            let (go_b, go_c, stopped) = (go.clone(), go.clone(), stopped.clone());
            let c = Builder::new(c"tether-c")
                .parkable()
                .spawn(move |_| {
                    go_c.wait_for_completion();
                    let b = captured.value.lock().take().unwrap();
                    stopped.fetch_add(i32::from(b.stop().is_ok()), Full);
                })
                .unwrap();
            c.request_stop();
            let c = Arc::new(c, GFP_KERNEL).unwrap();
            let parks = c.clone();
            let b = kthread::spawn(c"tether-b", move |context| {
                go_b.wait_for_completion();
                while !context.should_stop() {
                    let _ = parks.park();
                }
            })
            .unwrap();
            *own.value.lock() = Some(b);
            go.complete_all();
            while !c.is_finished() {
                fsleep(Delta::from_millis(1));
            }
        }
        assert_eq!(stopped.load(Relaxed), 30);
    }

    #[test]
    fn results_of_abandoned_threads_are_dropped_once() {
        let alive = counter();
        for round in 0..200 {
            // B joins A and then parks C for a moment. C drops the handle of B.
            let (own, go) = (slot::<Thread<Counted>>(), gate());
            let (captured, go_c) = (own.clone(), go.clone());
            let c = Builder::new(c"tether-c")
                .parkable()
                .spawn(move |context| {
                    go_c.wait_for_completion();
                    if round % 2 == 0 {
                        if let Wake::Park(request) = context.sleep_for(Delta::from_millis(1)) {
                            request.park();
                        }
                    }
                    drop(captured.value.lock().take());
                })
                .unwrap();
            let c = Arc::new(c, GFP_KERNEL).unwrap();
            let (parks, go_b, result) = (c.clone(), go.clone(), Counted::new(&alive));
            let b = kthread::spawn(c"tether-b", move |_| {
                go_b.wait_for_completion();
                let _ = parks.park_killable();
                parks.unpark();
                result
            })
            .unwrap();
            *own.value.lock() = Some(b);
            go.complete_all();
            while !c.is_finished() {
                fsleep(Delta::from_micros(200));
            }
            drop(c);
        }
        while alive.load(Relaxed) != 0 {
            fsleep(Delta::from_millis(1));
        }
    }

    #[pin_data]
    struct Item {
        go: Arc<Completion>,
        #[pin]
        work: KthreadWork<Item>,
    }

    impl_has_kthread_work! {
        impl HasKthreadWork<Self> for Item { self.work }
    }

    impl KthreadWorkItem for Item {
        type Pointer = Arc<Self>;

        fn run(this: Arc<Self>, _context: &WorkContext<'_>) {
            this.go.wait_for_completion();
        }
    }

    #[test]
    fn a_flush_with_a_limit_leaves_the_works_alone() {
        let worker = worker();
        let (go, ran) = (gate(), counter());
        let (go_, ran_) = (go.clone(), ran.clone());
        let spawned = worker.try_spawn(GFP_KERNEL, move |_| {
            go_.wait_for_completion();
            ran_.fetch_add(1, Full);
        });
        assert!(spawned.is_ok());
        for _ in 0..3 {
            assert_eq!(worker.flush_timeout(short()), Err(ETIMEDOUT));
        }
        assert_eq!(ran.load(Relaxed), 0);
        go.complete_all();
        assert_eq!(worker.flush_killable(), Ok(()));
        assert_eq!(ran.load(Relaxed), 1);
        assert_eq!(worker.flush_timeout(Delta::from_secs(60)), Ok(()));
        // A worker can be dropped while flushes that have timed out are still in its queue.
        let go = gate();
        let go_ = go.clone();
        let spawned = worker.try_spawn(GFP_KERNEL, move |_| go_.wait_for_completion());
        assert!(spawned.is_ok());
        assert_eq!(worker.flush_timeout(short()), Err(ETIMEDOUT));
        go.complete_all();
        drop(worker);
    }

    #[test]
    fn waiting_for_a_work_with_a_limit_leaves_it_alone() {
        let worker = worker();
        let (go, begun) = (gate(), gate());
        let (go_item, go_first, begun_first) = (go.clone(), go.clone(), begun.clone());
        let item = Arc::pin_init(
            pin_init!(Item { go: go_item, work <- KthreadWork::new() }),
            GFP_KERNEL,
        )
        .unwrap();
        let spawned = worker.try_spawn(GFP_KERNEL, move |_| {
            begun_first.complete_all();
            go_first.wait_for_completion();
        });
        assert!(spawned.is_ok());
        begun.wait_for_completion();
        assert!(worker.enqueue(item.clone()).is_ok());
        assert_eq!(worker.flush_work_timeout(&item, short()), Err(ETIMEDOUT));
        // The item is pending, and is returned.
        assert!(worker
            .cancel_timeout(&item, short())
            .is_ok_and(|it| it.is_some()));
        assert!(worker.enqueue(item.clone()).is_ok());
        go.complete_all();
        assert_eq!(worker.flush_work_killable(&item), Ok(()));
        assert!(worker.cancel_killable(&item).is_ok_and(|it| it.is_none()));

        // Cancel the item while it runs.
        let gate = gate();
        let go_item = gate.clone();
        let item = Arc::pin_init(
            pin_init!(Item { go: go_item, work <- KthreadWork::new() }),
            GFP_KERNEL,
        )
        .unwrap();
        assert!(worker.enqueue(item.clone()).is_ok());
        // Take the item back while it is pending, until the worker's thread starts it.
        loop {
            match worker.cancel_timeout(&item, short()) {
                Ok(Some(item)) => assert!(worker.enqueue(item).is_ok()),
                result => {
                    assert_eq!(result.err(), Some(ETIMEDOUT));
                    break;
                }
            }
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(worker.flush_work_timeout(&item, short()), Err(ETIMEDOUT));
        gate.complete_all();
        assert_eq!(
            worker.flush_work_timeout(&item, Delta::from_secs(20)),
            Ok(())
        );
    }

    #[test]
    fn a_work_and_a_thread_that_wait_for_each_other_are_told() {
        let (own, go, told) = (slot::<Thread<()>>(), gate(), counter());
        let (captured, go_, told_) = (own.clone(), go.clone(), told.clone());
        let worker = Arc::new(worker(), GFP_KERNEL).unwrap();
        let spawned = worker.try_spawn(GFP_KERNEL, move |_| {
            go_.wait_for_completion();
            let thread = captured.value.lock().take().unwrap();
            if let Err(refused) = thread.stop() {
                told_.fetch_add(i32::from(refused.error == EDEADLK), Full);
                // Dropping the handle does not wait either.
                drop(refused.item);
            }
        });
        assert!(spawned.is_ok());
        let (flushes, flushed) = (worker.clone(), counter());
        let (flushed_, told_) = (flushed.clone(), told.clone());
        let thread = kthread::spawn(c"tether-flush", move |_| {
            flushed_.fetch_add(1, Full);
            let refused = flushes.flush() == Err(EDEADLK);
            told_.fetch_add(i32::from(refused), Full);
        })
        .unwrap();
        *own.value.lock() = Some(thread);
        while flushed.load(Relaxed) == 0 {
            fsleep(Delta::from_millis(1));
        }
        // The thread waits for the work first. The work waits second, and gets `EDEADLK`.
        fsleep(short());
        go.complete_all();
        assert_eq!(worker.flush(), Ok(()));
        while told.load(Relaxed) == 0 {
            fsleep(Delta::from_millis(1));
        }
        // The handle of the refused thread was dropped; wait until the thread itself has ended.
        while Arc::into_unique_or_drop(own.clone()).is_some() {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(told.load(Relaxed), 1);
    }

    #[test]
    fn a_work_that_does_not_run_is_not_waited_for() {
        // The running work waits for the thread. The thread may still cancel and flush other works.
        let (own, go) = (slot::<Thread<i32>>(), gate());
        let (captured, go_) = (own.clone(), go.clone());
        let worker = Arc::new(worker(), GFP_KERNEL).unwrap();
        let joined = counter();
        let joined_ = joined.clone();
        let spawned = worker.try_spawn(GFP_KERNEL, move |_| {
            go_.wait_for_completion();
            let thread = captured.value.lock().take().unwrap();
            joined_.fetch_add(thread.join().unwrap_or(-1), Full);
        });
        assert!(spawned.is_ok());
        let (queue, go_, go_item) = (worker.clone(), go.clone(), go.clone());
        let item = Arc::pin_init(
            pin_init!(Item { go: go_item, work <- KthreadWork::new() }),
            GFP_KERNEL,
        )
        .unwrap();
        let thread = kthread::spawn(c"tether-cancel", move |_| {
            go_.wait_for_completion();
            // Give the work above time to wait for this thread.
            fsleep(short());
            let mut done = 0;
            for _ in 0..10 {
                done += i32::from(queue.flush_work(&item) == Ok(()));
                done += i32::from(queue.enqueue(item.clone()).is_ok());
                done += i32::from(queue.cancel(&item).is_ok_and(|item| item.is_some()));
                done += i32::from(queue.cancel(&item).is_ok_and(|item| item.is_none()));
            }
            done
        })
        .unwrap();
        *own.value.lock() = Some(thread);
        go.complete_all();
        assert_eq!(worker.flush(), Ok(()));
        assert_eq!(joined.load(Relaxed), 40);
    }

    #[test]
    fn a_thread_that_is_over_refuses_a_policy() {
        let thread = kthread::spawn(c"tether-over", |_| ()).unwrap();
        while !thread.is_finished() {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(thread.set_policy(Policy::Fifo), Err(ESRCH));
        assert!(thread.join().is_ok());
    }

    type Running = Thread<i32, Parkable>;

    /// A timer that calls every function of threads and workers in its interrupt.
    #[pin_data]
    struct Interrupt {
        thread: Option<Running>,
        unstarted: Option<Unstarted<i32>>,
        worker: Option<KthreadWorker>,
        item: Arc<Item>,
        right: Arc<Atomic<i32>>,
        done: Arc<Completion>,
        #[pin]
        timer: HrTimer<Self>,
    }

    kernel::impl_has_hr_timer! {
        impl HasHrTimer<Self> for Interrupt { mode: RelativeMode<Monotonic>, field: self.timer }
    }

    /// Calls the functions that do not wait, and then those that would: each returns the handle.
    fn thread_in_interrupt(thread: Running, right: &Atomic<i32>) {
        let expect = |held: bool| _ = right.fetch_add(i32::from(held), Full);
        thread.wake();
        thread.waker().wake();
        thread.unpark();
        expect(!thread.is_parked() && !thread.is_finished());
        expect(thread.task().pid() > 0);
        expect(thread.set_policy(Policy::Fifo) == Err(EDEADLK));
        expect(thread.park() == Err(EDEADLK));
        expect(thread.park_killable() == Err(EDEADLK));
        expect(thread.park_timeout(short()) == Err(EDEADLK));
        let refusals: [fn(Running) -> Result<Error, Running>; 8] = [
            |it| it.stop().map_or_else(back, |_| Ok(EUCLEAN)),
            |it| it.stop_killable().map_or_else(back, |_| Ok(EUCLEAN)),
            |it| it.stop_timeout(short()).map_or_else(back, |_| Ok(EUCLEAN)),
            |it| it.join().map_or_else(back, |_| Ok(EUCLEAN)),
            |it| it.join_killable().map_or_else(back, |_| Ok(EUCLEAN)),
            |it| it.join_timeout(short()).map_or_else(back, |_| Ok(EUCLEAN)),
            |it| it.detach().map_or_else(back, |()| Ok(EUCLEAN)),
            |it| {
                it.try_join().map_or_else(
                    |it| {
                        if it.error == EAGAIN {
                            Err(it.item)
                        } else {
                            Ok(it.error)
                        }
                    },
                    |_| Ok(EUCLEAN),
                )
            },
        ];
        let mut thread = Some(thread);
        for refusal in refusals {
            if let Some(own) = thread.take() {
                thread = refusal(own).err();
                expect(thread.is_some());
            }
        }
        // Dropping the handle requests the thread to stop, and does not wait.
        drop(thread);
    }

    /// Returns the handle in `Err` if it came back with `EDEADLK`, and else the error in `Ok`.
    fn back(refused: tether::tether::Refused<Running>) -> Result<Error, Running> {
        if refused.error == EDEADLK {
            Err(refused.item)
        } else {
            Ok(refused.error)
        }
    }

    fn worker_in_interrupt(worker: KthreadWorker, item: &Arc<Item>, right: &Atomic<i32>) {
        let expect = |held: bool| _ = right.fetch_add(i32::from(held), Full);
        expect(worker.try_spawn(GFP_ATOMIC, |_| ()).is_ok());
        expect(worker.enqueue(item.clone()).is_ok());
        expect(worker.cancel(item).is_ok_and(|it| it.is_some()));
        expect(worker.enqueue(item.clone()).is_ok());
        expect(worker.flush() == Err(EDEADLK));
        expect(worker.flush_killable() == Err(EDEADLK));
        expect(worker.flush_timeout(short()) == Err(EDEADLK));
        expect(worker.flush_work(item) == Err(EDEADLK));
        expect(worker.task().pid() > 0);
        // A workqueue tears the worker down.
        drop(worker);
    }

    impl HrTimerCallback for Interrupt {
        type Pointer<'a> = Pin<KBox<Self>>;

        fn run(this: Pin<&mut Self>, _context: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
            let this = this.project();
            if let Some(thread) = this.thread.take() {
                thread_in_interrupt(thread, this.right);
            }
            if let Some(worker) = this.worker.take() {
                worker_in_interrupt(worker, this.item, this.right);
            }
            // This thread starts in the interrupt. Dropping its handle does not wait for it.
            drop(this.unstarted.take().map(Unstarted::start));
            let refused = kthread::spawn(c"tether-interrupt", |_| ()).err();
            let held = refused.is_some_and(|it| it.error == EDEADLK);
            this.right.fetch_add(i32::from(held), Full);
            this.done.complete_all();
            HrTimerRestart::NoRestart
        }
    }

    #[test]
    fn calls_in_an_interrupt_return_at_once() {
        let (right, done, go) = (counter(), gate(), gate());
        let alive = counter();
        let (capture, started) = (Counted::new(&alive), Counted::new(&alive));
        let thread = Builder::new(c"tether-interrupt")
            .parkable()
            .spawn(move |context| {
                let _capture = capture;
                park_until_stopped(context);
                1
            })
            .unwrap();
        let unstarted = Builder::new(c"tether-interrupt")
            .create(move |context| {
                let _started = started;
                i32::from(context.should_stop())
            })
            .unwrap();
        let worker = worker();
        let go_worker = go.clone();
        // The works behind this one stay pending, even if the worker's thread runs early.
        let blocked = worker.try_spawn(GFP_KERNEL, move |_| go_worker.wait_for_completion());
        assert!(blocked.is_ok());
        let go_item = go.clone();
        let item = Arc::pin_init(
            pin_init!(Item { go: go_item, work <- KthreadWork::new() }),
            GFP_KERNEL,
        )
        .unwrap();
        let (right_, done_) = (right.clone(), done.clone());
        let timer = KBox::pin_init(
            pin_init!(Interrupt {
                thread: Some(thread),
                unstarted: Some(unstarted),
                worker: Some(worker),
                item,
                right: right_,
                done: done_,
                timer <- HrTimer::new(),
            }),
            GFP_KERNEL,
        )
        .unwrap();
        let handle = timer.start(Delta::from_millis(5));
        done.wait_for_completion();
        drop(handle);
        go.complete_all();
        while alive.load(Relaxed) != 0 {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(right.load(Relaxed), 6 + 8 + 9 + 1);
    }
}
