// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of kernel threads.

use kernel::prelude::*;

module! {
    type: KthreadKunit,
    name: "kthread_kunit",
    authors: ["The Tether developers"],
    description: "KUnit suite of kernel threads",
    license: "GPL",
}

struct KthreadKunit;

impl kernel::Module for KthreadKunit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

#[kunit_tests(tether_kthread)]
mod tests {
    use kernel::{
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
            Delta,
            Instant,
            Monotonic, //
        }, //
    };
    use tether::kthread::{
        self,
        Exit,
        Thread,
        Wake, //
    };

    /// Counts how many of it were made and dropped.
    struct Counted(Arc<Atomic<i32>>);

    impl Counted {
        fn new(alive: &Arc<Atomic<i32>>) -> Self {
            alive.fetch_add(1, Full);
            Self(alive.clone())
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Full);
        }
    }

    fn counter() -> Arc<Atomic<i32>> {
        Arc::new(Atomic::new(0), GFP_KERNEL).unwrap()
    }

    fn gate() -> Arc<Completion> {
        Arc::pin_init(Completion::new(), GFP_KERNEL).unwrap()
    }

    fn until_stopped(context: &kthread::Context<'_>) {
        while context.sleep() != Wake::Stopped {}
    }

    #[test]
    fn join_returns_the_result() {
        let thread = kthread::spawn(c"tether-join", |_| KVec::from_elem(7u8, 3, GFP_KERNEL));
        let result = thread.unwrap().join().unwrap().unwrap();
        assert_eq!(&*result, &[7, 7, 7]);
    }

    #[test]
    fn stop_returns_the_result() {
        let begun = gate();
        let told = begun.clone();
        let thread = kthread::spawn(c"tether-stop", move |context| {
            told.complete_all();
            until_stopped(context);
            assert!(context.should_stop());
            42
        })
        .unwrap();
        begun.wait_for_completion();
        assert!(!thread.is_finished());
        assert_eq!(thread.stop().unwrap(), Exit::Returned(42));
    }

    #[test]
    fn request_stop_does_not_wait_and_the_body_runs() {
        let thread = kthread::spawn(c"tether-request", |context| {
            until_stopped(context);
            1
        })
        .unwrap();
        thread.request_stop();
        // A second time is no harm.
        thread.request_stop();
        assert_eq!(thread.join().unwrap(), 1);
    }

    #[test]
    fn captures_and_results_are_dropped_once_however_it_ends() {
        let alive = counter();
        let mut never_ran = 0;
        for round in 0..600 {
            let capture = Counted::new(&alive);
            let result = Counted::new(&alive);
            let thread = kthread::spawn(c"tether-balance", move |context| {
                let _capture = capture;
                if round % 2 == 0 {
                    until_stopped(context);
                }
                result
            })
            .unwrap();
            if round % 7 == 0 {
                fsleep(Delta::from_micros(round));
            }
            match round % 3 {
                0 => never_ran += i32::from(thread.stop().unwrap().returned().is_none()),
                1 => drop(thread),
                _ => {
                    thread.request_stop();
                    drop(thread.join().unwrap());
                }
            }
            assert_eq!(alive.load(Relaxed), 0);
        }
        pr_info!("{never_ran} of 200 were stopped before they began\n");
    }

    #[test]
    fn a_wake_up_before_the_sleep_is_not_lost() {
        let (asleep, awake) = (gate(), gate());
        let (asleep_, awake_) = (asleep.clone(), awake.clone());
        let thread = kthread::spawn(c"tether-wake", move |context| {
            asleep_.complete_all();
            awake_.wait_for_completion();
            context.sleep()
        })
        .unwrap();
        asleep.wait_for_completion();
        thread.waker().wake();
        awake.complete_all();
        assert_eq!(thread.join().unwrap(), Wake::Woken);
    }

    #[test]
    fn sleep_tells_time_out_from_stop() {
        let thread = kthread::spawn(c"tether-sleep", |context| {
            let begun = Instant::<Monotonic>::now();
            let first = context.sleep_for(Delta::from_millis(20));
            let slept = begun.elapsed().as_millis();
            (first, slept, context.sleep_for(Delta::from_secs(3600)))
        })
        .unwrap();
        fsleep(Delta::from_millis(100));
        let Exit::Returned((first, slept, second)) = thread.stop().unwrap() else {
            unreachable!()
        };
        assert_eq!(first, Wake::TimedOut);
        assert!(slept >= 19);
        assert_eq!(second, Wake::Stopped);
    }

    #[test]
    fn wait_until_sees_the_condition_and_the_stop() {
        let value = counter();
        let seen = value.clone();
        let thread = kthread::spawn(c"tether-wait", move |context| {
            let first = context.wait_until(|| seen.load(Relaxed) == 3);
            let second = context.wait_until(|| false);
            (first, second)
        })
        .unwrap();
        for _ in 0..3 {
            value.fetch_add(1, Full);
            thread.wake();
            fsleep(Delta::from_millis(1));
        }
        fsleep(Delta::from_millis(20));
        let exit = thread.stop().unwrap();
        assert_eq!(exit, Exit::Returned((Wake::Woken, Wake::Stopped)));
    }

    #[pin_data]
    struct Own {
        #[pin]
        thread: Mutex<Option<Thread<i32>>>,
    }

    #[test]
    fn stopping_and_joining_oneself_is_an_error_and_dropping_oneself_no_hang() {
        let own = Arc::pin_init(pin_init!(Own { thread <- new_mutex!(None) }), GFP_KERNEL).unwrap();
        let (ready, done) = (gate(), gate());
        let (own_, ready_, done_) = (own.clone(), ready.clone(), done.clone());
        let alive = counter();
        let capture = Counted::new(&alive);
        let errors = counter();
        let errors_ = errors.clone();
        let thread = kthread::spawn(c"tether-self", move |_| {
            let _capture = capture;
            ready_.wait_for_completion();
            let me = own_.thread.lock().take().unwrap();
            let refused = me.stop().unwrap_err();
            errors_.fetch_add(i32::from(refused.error == EDEADLK), Full);
            let refused = refused.item.join().unwrap_err();
            errors_.fetch_add(i32::from(refused.error == EDEADLK), Full);
            drop(refused.item);
            done_.complete_all();
            5
        })
        .unwrap();
        let task = thread.task();
        *own.thread.lock() = Some(thread);
        ready.complete_all();
        done.wait_for_completion();
        assert_eq!(errors.load(Relaxed), 2);
        // The thread goes on, and what it has is dropped at its end.
        while alive.load(Relaxed) != 0 || Arc::into_unique_or_drop(own.clone()).is_some() {
            fsleep(Delta::from_millis(1));
        }
        drop(task);
    }

    #[test]
    fn a_detached_thread_ends_by_itself() {
        let alive = counter();
        let capture = Counted::new(&alive);
        let result = Counted::new(&alive);
        let (go, begun) = (gate(), gate());
        let (go_, begun_) = (go.clone(), begun.clone());
        let thread = kthread::spawn(c"tether-detach", move |_| {
            let _capture = capture;
            begun_.complete_all();
            go_.wait_for_completion();
            result
        })
        .unwrap();
        begun.wait_for_completion();
        assert!(thread.detach().is_ok());
        assert_eq!(alive.load(Relaxed), 2);
        go.complete_all();
        while alive.load(Relaxed) != 0 {
            fsleep(Delta::from_millis(1));
        }
        // One that is over already.
        let thread = kthread::spawn(c"tether-detach", |_| ()).unwrap();
        while !thread.is_finished() {
            fsleep(Delta::from_millis(1));
        }
        assert!(thread.detach().is_ok());
    }

    #[test]
    fn a_name_is_not_a_format() {
        let thread = kthread::spawn(c"%s%n%d%p", until_stopped).unwrap();
        assert!(thread.stop().is_ok());
    }

    #[test]
    fn a_thread_stops_another_one_while_it_is_itself_stopped() {
        let inner = kthread::spawn(c"tether-inner", until_stopped).unwrap();
        let outer = kthread::spawn(c"tether-outer", move |context| {
            until_stopped(context);
            inner.stop().is_ok()
        })
        .unwrap();
        fsleep(Delta::from_millis(10));
        assert_eq!(outer.stop().unwrap(), Exit::Returned(true));
    }

    #[test]
    fn an_end_by_itself_then_stop_returns_the_result() {
        let thread = kthread::spawn(c"tether-early", |_| 9).unwrap();
        while !thread.is_finished() {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(thread.stop().unwrap(), Exit::Returned(9));
    }
}
