// SPDX-License-Identifier: GPL-2.0

//! KUnit suite of kernel threads.

mod kunit_values;

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
    use crate::kunit_values::{
        counter,
        gate,
        Counted, //
    };
    use kernel::{
        cpu::CpuId,
        cpumask::CpumaskVar,
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
            msecs_to_jiffies,
            Delta,
            Instant,
            Monotonic, //
        }, //
    };
    use tether::kthread::{
        self,
        worker::{
            impl_has_kthread_delayed_work,
            impl_has_kthread_work,
            KthreadDelayedWork,
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
        Wake, //
    };

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
            if context.should_stop() {
                42
            } else {
                0
            }
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
        // A second request has no effect.
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
            let first = context.sleep_for(Delta::from_millis(200));
            let slept = begun.elapsed().as_millis();
            (first, slept, context.sleep_for(Delta::from_secs(3600)))
        })
        .unwrap();
        fsleep(Delta::from_millis(600));
        let Exit::Returned((first, slept, second)) = thread.stop().unwrap() else {
            unreachable!()
        };
        assert_eq!(first, Wake::TimedOut);
        // The time is counted in jiffies, which are behind if the virtual machine was interrupted.
        assert!(slept >= 100);
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
        // The thread continues. Its captures and its own handle are dropped when it ends.
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
        // Detach a thread that has already ended.
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
    fn who_waits_for_a_thread_does_not_hold_up_others() {
        let (go, begun) = (gate(), gate());
        let (go_, begun_) = (go.clone(), begun.clone());
        let slow = kthread::spawn(c"tether-slow", move |_| {
            begun_.complete_all();
            go_.wait_for_completion();
        })
        .unwrap();
        begun.wait_for_completion();
        let stopper = kthread::spawn(c"tether-stopper", move |_| slow.stop().is_ok()).unwrap();
        for _ in 0..10 {
            let fast = kthread::spawn(c"tether-fast", until_stopped).unwrap();
            assert!(fast.stop().is_ok());
        }
        assert!(!stopper.is_finished());
        go.complete_all();
        assert!(stopper.join().unwrap());
    }

    #[test]
    fn of_two_that_wait_for_each_other_one_is_told() {
        let own = || pin_init!(Own { thread <- new_mutex!(None) });
        let (alive, told) = (counter(), counter());
        for round in 0..30 {
            let (ready, have) = (gate(), counter());
            let member = |slot: Arc<Own>| {
                let (ready, have, told) = (ready.clone(), have.clone(), told.clone());
                let capture = Counted::new(&alive);
                kthread::spawn(c"tether-circle", move |_| {
                    let _capture = capture;
                    ready.wait_for_completion();
                    let other = slot.thread.lock().take().unwrap();
                    have.fetch_add(1, Full);
                    while have.load(Relaxed) != 2 {
                        fsleep(Delta::from_micros(100));
                    }
                    let refused = match round % 3 {
                        0 => other.stop().map(|_| ()),
                        1 => other.join().map(|_| ()),
                        _ => {
                            drop(other);
                            Ok(())
                        }
                    };
                    if let Err(refused) = refused {
                        told.fetch_add(i32::from(refused.error == EDEADLK), Full);
                    }
                    0
                })
                .unwrap()
            };
            let first = Arc::pin_init(own(), GFP_KERNEL).unwrap();
            let second = Arc::pin_init(own(), GFP_KERNEL).unwrap();
            let (one, other) = (member(first.clone()), member(second.clone()));
            *first.thread.lock() = Some(other);
            *second.thread.lock() = Some(one);
            ready.complete_all();
            while alive.load(Relaxed) != 0 {
                fsleep(Delta::from_millis(1));
            }
        }
        // One of the two threads is refused, unless it has ended before the other one waits.
        let told = told.load(Relaxed);
        assert!((1..=20).contains(&told));
    }

    #[test]
    fn an_end_by_itself_then_stop_returns_the_result() {
        let thread = kthread::spawn(c"tether-early", |_| 9).unwrap();
        while !thread.is_finished() {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(thread.stop().unwrap(), Exit::Returned(9));
    }
    #[test]
    fn what_is_not_started_never_runs_and_is_dropped_once() {
        let alive = counter();
        let ran = counter();
        for round in 0..20 {
            let (capture, ran) = (Counted::new(&alive), ran.clone());
            let unstarted = Builder::new(c"tether-unstarted")
                .create(move |_| {
                    let _capture = capture;
                    ran.fetch_add(1, Full);
                })
                .unwrap();
            if round % 2 == 0 {
                fsleep(Delta::from_millis(1));
            }
            assert_eq!(alive.load(Relaxed), 1);
            drop(unstarted);
            assert_eq!(alive.load(Relaxed), 0);
        }
        assert_eq!(ran.load(Relaxed), 0);
        // If a thread is stopped right after it was started, `stop()` tells whether its body ran.
        let unstarted = Builder::new(c"tether-started").create(|_| 3).unwrap();
        match unstarted.start().stop().unwrap() {
            Exit::Returned(result) => assert_eq!(result, 3),
            Exit::NeverRan => {}
            Exit::Died => panic!("a body that only returns"),
        }
    }

    #[test]
    fn bad_options_give_the_body_back() {
        let alive = counter();
        let bad: [fn(Builder<'static>) -> Builder<'static>; 4] = [
            |builder| builder.on_node(1000),
            |builder| builder.on_node(u32::MAX),
            |builder| builder.policy(Policy::Normal { nice: -21 }),
            |builder| builder.policy(Policy::Normal { nice: 20 }),
        ];
        for option in bad {
            let capture = Counted::new(&alive);
            let builder = option(Builder::new(c"tether-bad"));
            let refused = builder
                .create(move |_| drop(capture))
                .map(|_| ())
                .unwrap_err();
            assert_eq!(refused.error, EINVAL);
            assert_eq!(alive.load(Relaxed), 1);
            drop(refused.item);
            assert_eq!(alive.load(Relaxed), 0);
        }
        let nobody = CpumaskVar::new_zero(GFP_KERNEL).unwrap();
        let refused = Builder::new(c"tether-bad").prefer(&nobody).create(|_| ());
        assert_eq!(refused.map(|_| ()).unwrap_err().error, EINVAL);
        assert!(matches!(
            Builder::formatted(fmt!("tether\0bad")).map(|_| ()),
            Err(EINVAL)
        ));
    }

    #[test]
    fn a_thread_runs_where_it_is_bound() {
        for cpu in 0..2 {
            let Some(cpu) = CpuId::from_u32(cpu) else {
                continue;
            };
            let thread = Builder::new(c"tether-bound")
                .bind(cpu)
                .policy(Policy::FifoLow)
                .spawn(|context| {
                    let first = CpuId::current().as_u32();
                    context.sleep_for(Delta::from_millis(5));
                    (first, CpuId::current().as_u32())
                })
                .unwrap();
            assert_eq!(thread.join().unwrap(), (cpu.as_u32(), cpu.as_u32()));
        }
    }

    #[test]
    fn the_policy_can_be_changed_and_is_checked() {
        let thread = kthread::spawn(c"tether-policy", until_stopped).unwrap();
        for policy in [
            Policy::Fifo,
            Policy::FifoLow,
            Policy::Normal { nice: 19 },
            Policy::Normal { nice: -20 },
        ] {
            assert!(thread.set_policy(policy).is_ok());
        }
        assert_eq!(thread.set_policy(Policy::Normal { nice: 100 }), Err(EINVAL));
    }

    #[test]
    fn a_thread_selects_the_deadline_policy_itself() {
        let deadline = Policy::Deadline {
            runtime: Delta::from_millis(1),
            deadline: Delta::from_millis(20),
            period: Delta::from_millis(20),
        };
        // More often than there is time for, if it were not released.
        for _ in 0..60 {
            let thread = kthread::spawn(c"tether-deadline", move |context| {
                let changed = context.set_policy(deadline);
                (changed, context.set_policy(Policy::Normal { nice: 0 }))
            })
            .unwrap();
            assert_eq!(thread.join().unwrap(), (Ok(()), Ok(())));
            let thread = kthread::spawn(c"tether-deadline", move |context| {
                let changed = context.set_policy(deadline);
                let _ = context.sleep();
                changed
            })
            .unwrap();
            assert_eq!(thread.set_policy(deadline), Err(EINVAL));
            assert!(thread
                .stop()
                .unwrap()
                .returned()
                .is_none_or(|changed| changed.is_ok()));
        }
    }

    #[test]
    fn try_join_does_not_wait() {
        let go = gate();
        let go_ = go.clone();
        let thread = kthread::spawn(c"tether-try", move |_| {
            go_.wait_for_completion();
            8
        })
        .unwrap();
        let refused = thread.try_join().unwrap_err();
        assert_eq!(refused.error, EAGAIN);
        let thread = refused.item;
        go.complete_all();
        while !thread.is_finished() {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(thread.try_join().unwrap(), 8);
    }

    #[test]
    fn a_time_out_of_a_condition_is_told() {
        let thread = kthread::spawn(c"tether-timeout", |context| {
            let mut tests = 0;
            let wake = context.wait_until_timeout(Delta::from_millis(20), || {
                tests += 1;
                false
            });
            // If the time is over, the condition is still tested once.
            let last = context.wait_until_timeout(Delta::from_millis(0), || true);
            (
                wake,
                tests,
                last,
                context.allow_signal(0),
                context.allow_signal(65),
                context.allow_signal(9),
            )
        })
        .unwrap();
        let (wake, tests, last, zero, many, kill) = thread.join().unwrap();
        assert_eq!((wake, last), (Wake::TimedOut, Wake::Woken));
        assert!(tests >= 2);
        assert_eq!((zero, many, kill), (Err(EINVAL), Err(EINVAL), Err(EINVAL)));
    }

    /// Two threads wake each other. If a wake-up is lost, a wait times out after 20 seconds and the
    /// test fails.
    #[test]
    fn no_wake_up_is_lost() {
        const ROUNDS: i32 = 5000;
        let ball = counter();
        let play = |turn: i32,
                    ball: Arc<Atomic<i32>>,
                    other: Arc<Mutex<Option<kthread::Waker>>>| {
            move |context: &kthread::Context<'_>| {
                for round in 0..ROUNDS {
                    let mine = 2 * round + turn;
                    let wake = context
                        .wait_until_timeout(Delta::from_secs(20), || ball.load(Relaxed) == mine);
                    if wake != Wake::Woken {
                        return false;
                    }
                    ball.store(mine + 1, Relaxed);
                    let waker = other.lock().clone();
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                true
            }
        };
        let nobody = || Arc::pin_init(new_mutex!(None), GFP_KERNEL).unwrap();
        let (first, second) = (nobody(), nobody());
        let ping = kthread::spawn(c"tether-ping", play(0, ball.clone(), second.clone())).unwrap();
        *first.lock() = Some(ping.waker());
        let pong = kthread::spawn(c"tether-pong", play(1, ball.clone(), first.clone())).unwrap();
        *second.lock() = Some(pong.waker());
        ping.wake();
        pong.wake();
        assert!(ping.join().unwrap());
        assert!(pong.join().unwrap());
        assert_eq!(ball.load(Relaxed), 2 * ROUNDS);
    }

    /// Spawns a parkable thread that counts.
    fn ticker(ticks: &Arc<Atomic<i32>>) -> Thread<(), Parkable> {
        let ticks = ticks.clone();
        Builder::new(c"tether-park")
            .parkable()
            .spawn(move |context| {
                while !context.sleep_for(Delta::from_millis(0)).is_stopped() {
                    ticks.fetch_add(1, Full);
                }
            })
            .unwrap()
    }

    #[test]
    fn a_parked_thread_does_not_run_until_it_is_unparked() {
        let ticks = counter();
        let thread = ticker(&ticks);
        for _ in 0..50 {
            assert_eq!(thread.park(), Ok(()));
            let before = ticks.load(Relaxed);
            thread.wake();
            fsleep(Delta::from_millis(2));
            assert_eq!(ticks.load(Relaxed), before);
            assert_eq!(thread.park(), Err(EBUSY));
            thread.unpark();
            // A second call has no effect.
            thread.unpark();
            while ticks.load(Relaxed) == before {
                fsleep(Delta::from_micros(100));
            }
        }
        // Park each thread right after it was started, before its body has begun.
        for _ in 0..50 {
            let thread = ticker(&ticks);
            assert_eq!(thread.park(), Ok(()));
            assert_eq!(thread.stop().map_err(|refused| refused.error), {
                Ok(Exit::Returned(()))
            });
        }
    }

    #[test]
    fn a_body_puts_away_what_it_has_before_it_parks() {
        let (away, begun) = (counter(), gate());
        let (away_, begun_) = (away.clone(), begun.clone());
        let thread = Builder::new(c"tether-away")
            .parkable()
            .spawn(move |context| {
                begun_.complete_all();
                loop {
                    match context.sleep() {
                        Wake::Stopped => break,
                        Wake::Park(request) => {
                            away_.store(1, Relaxed);
                            request.park();
                            away_.store(0, Relaxed);
                        }
                        _ => {}
                    }
                }
            })
            .unwrap();
        // A thread that is parked before its body begins has not set `away`. Wait for the body.
        begun.wait_for_completion();
        for _ in 0..20 {
            assert_eq!(thread.park(), Ok(()));
            assert_eq!(away.load(Relaxed), 1);
            thread.unpark();
            while away.load(Relaxed) == 1 {
                fsleep(Delta::from_micros(100));
            }
        }
    }

    #[test]
    fn who_parks_a_body_that_returns_is_told() {
        // Park the thread before, while and after its body returns.
        for round in 0..60u32 {
            let thread = Builder::new(c"tether-short")
                .parkable()
                .spawn(move |_| fsleep(Delta::from_micros(i64::from(round) * 20)))
                .unwrap();
            fsleep(Delta::from_micros(i64::from(60 - round) * 20));
            match thread.park() {
                // The body had not begun.
                Ok(()) => thread.unpark(),
                Err(error) => assert_eq!(error, ESRCH),
            }
            assert!(thread.join().is_ok());
        }
    }

    #[test]
    fn who_parks_a_thread_that_is_asked_to_stop_is_told() {
        for round in 0..60i64 {
            let ticks = counter();
            let thread = Arc::new(ticker(&ticks), GFP_KERNEL).unwrap();
            let other = thread.clone();
            let asker = kthread::spawn(c"tether-asker", move |_| {
                fsleep(Delta::from_micros(round * 10));
                other.request_stop();
            })
            .unwrap();
            // Each call parks the thread or is refused, and the loop ends in any case.
            let mut parked = 0;
            let error = loop {
                match thread.park() {
                    Ok(()) => parked += 1,
                    // The asker is about to unpark the thread.
                    Err(EBUSY) => continue,
                    Err(error) => break error,
                }
                if parked % 3 != 0 {
                    thread.unpark();
                }
                if parked % 3 == 0 {
                    // Leave the thread parked: the asker unparks it with the request to stop.
                    asker.request_stop();
                    while !thread.is_finished() {
                        fsleep(Delta::from_micros(100));
                    }
                }
            };
            assert!(error == ESRCH);
            assert!(asker.join().is_ok());
        }
    }

    /// `request_stop()` unparks the thread before the joining task waits for its end. If the thread
    /// were parked after that, it would stay parked.
    #[test]
    fn who_was_asked_to_stop_is_not_parked_afterwards() {
        let (begun, go) = (gate(), counter());
        let (begun_, go_) = (begun.clone(), go.clone());
        // The body finishes its work first. It parks on request, but does not check whether it is
        // requested to stop.
        let thread = Builder::new(c"tether-busy")
            .parkable()
            .spawn(move |context| {
                begun_.complete_all();
                let mut parked = 0;
                while go_.load(Relaxed) == 0 {
                    if let Some(request) = context.park_request() {
                        request.park();
                        parked += 1;
                    }
                    fsleep(Delta::from_micros(100));
                }
                parked
            })
            .unwrap();
        begun.wait_for_completion();
        thread.request_stop();
        let told = thread.park();
        // Make sure that the thread ends, even if it was parked.
        thread.unpark();
        go.store(1, Relaxed);
        assert_eq!(told, Err(ESRCH));
        assert_eq!(thread.join().unwrap(), 0);
    }

    /// A request to stop answers a request to park, so that the body of the thread may wait for the
    /// task that parks it.
    #[test]
    fn stopping_answers_a_pending_request_to_park() {
        let (told, ended) = (counter(), counter());
        let (told_, ended_) = (told.clone(), ended.clone());
        let thread = Builder::new(c"tether-waiting")
            .parkable()
            .spawn(move |context| {
                // Does not park.
                while !context.should_stop() {
                    fsleep(Delta::from_micros(100));
                }
                for _ in 0..5000 {
                    if told_.load(Relaxed) != 0 {
                        ended_.store(1, Relaxed);
                        return;
                    }
                    fsleep(Delta::from_millis(1));
                }
                ended_.store(2, Relaxed);
            })
            .unwrap();
        let thread = Arc::new(thread, GFP_KERNEL).unwrap();
        let other = thread.clone();
        let parker = kthread::spawn(c"tether-parker", move |_| {
            let parked = other.park();
            told.store(1, Relaxed);
            parked
        })
        .unwrap();
        // The request to park should be pending; if it comes later, it is refused at once.
        fsleep(Delta::from_millis(20));
        thread.request_stop();
        assert_eq!(parker.join().unwrap(), Err(ESRCH));
        // Waits for the end.
        drop(thread);
        assert_eq!(ended.load(Relaxed), 1);
    }

    #[test]
    fn a_parked_thread_can_be_dropped_joined_and_detached() {
        let ticks = counter();
        let thread = ticker(&ticks);
        assert_eq!(thread.park(), Ok(()));
        drop(thread);

        let short = || {
            Builder::new(c"tether-once")
                .parkable()
                .spawn(|context| {
                    context.sleep_for(Delta::from_millis(10));
                    6
                })
                .unwrap()
        };
        let thread = short();
        assert_eq!(thread.park(), Ok(()));
        assert_eq!(thread.join().unwrap(), 6);

        let thread = short();
        assert_eq!(thread.park(), Ok(()));
        assert!(thread.detach().is_ok());
    }

    #[pin_data]
    struct OwnParkable {
        #[pin]
        thread: Mutex<Option<Arc<Thread<(), Parkable>>>>,
    }

    #[test]
    fn parking_oneself_is_an_error() {
        let own = Arc::pin_init(
            pin_init!(OwnParkable { thread <- new_mutex!(None) }),
            GFP_KERNEL,
        )
        .unwrap();
        let ready = gate();
        let (own_, ready_) = (own.clone(), ready.clone());
        let (error, error_) = (counter(), counter());
        let told = error.clone();
        let thread = Builder::new(c"tether-self")
            .parkable()
            .spawn(move |_| {
                ready_.wait_for_completion();
                let me = own_.thread.lock().take().unwrap();
                told.store(me.park().unwrap_err().to_errno(), Relaxed);
                drop(error_);
            })
            .unwrap();
        let thread = Arc::new(thread, GFP_KERNEL).unwrap();
        *own.thread.lock() = Some(thread.clone());
        ready.complete_all();
        while !thread.is_finished() {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(error.load(Relaxed), EDEADLK.to_errno());
    }

    #[pin_data]
    struct Item {
        ran: Arc<Atomic<i32>>,
        again: Atomic<i32>,
        gate: Option<Arc<Completion>>,
        cancelled: Atomic<i32>,
        #[pin]
        work: KthreadWork<Item>,
        _alive: Counted,
    }

    impl_has_kthread_work! {
        impl HasKthreadWork<Self> for Item { self.work }
    }

    impl KthreadWorkItem for Item {
        type Pointer = Arc<Item>;

        fn run(this: Arc<Item>, context: &WorkContext<'_>) {
            if let Some(gate) = &this.gate {
                gate.wait_for_completion();
            }
            let queue = context.queue();
            // These calls would wait for the running work itself.
            let refused = i32::from(queue.flush() == Err(EDEADLK))
                + i32::from(queue.flush_work(&this) == Err(EDEADLK))
                + i32::from(queue.cancel(&this).map(|_| ()) == Err(EDEADLK));
            this.cancelled.store(refused, Relaxed);
            this.ran.fetch_add(1, Full);
            if this.again.fetch_sub(1, Full) > 0 {
                let _ = queue.enqueue(this);
            }
        }
    }

    fn item(
        alive: &Arc<Atomic<i32>>,
        ran: &Arc<Atomic<i32>>,
        gate: Option<&Arc<Completion>>,
    ) -> Arc<Item> {
        Arc::pin_init(
            pin_init!(Item {
                ran: ran.clone(),
                again: Atomic::new(0),
                gate: gate.cloned(),
                cancelled: Atomic::new(0),
                work <- KthreadWork::new(),
                _alive: Counted::new(alive),
            }),
            GFP_KERNEL,
        )
        .unwrap()
    }

    fn worker() -> KthreadWorker {
        Builder::new(c"tether-worker")
            .worker(this_module::<super::KthreadKunit>())
            .unwrap()
    }

    #[test]
    fn works_run_once_and_in_order() {
        let worker = worker();
        let (alive, ran) = (counter(), counter());
        let order = Arc::pin_init(new_mutex!(KVec::<i32>::new()), GFP_KERNEL).unwrap();
        for number in 0..100 {
            assert!(worker.enqueue(item(&alive, &ran, None)).is_ok());
            let order = order.clone();
            let pushed = worker.try_spawn(GFP_KERNEL, move |_| {
                let _ = order.lock().push(number, GFP_KERNEL);
            });
            assert!(pushed.is_ok());
        }
        assert_eq!(worker.flush(), Ok(()));
        assert_eq!(ran.load(Relaxed), 100);
        assert_eq!(alive.load(Relaxed), 0);
        assert!(order.lock().iter().copied().eq(0..100));
    }

    #[test]
    fn a_pending_work_comes_back_and_a_work_may_enqueue_itself() {
        let worker = worker();
        let (alive, ran, go) = (counter(), counter(), gate());
        let first = item(&alive, &ran, Some(&go));
        let second = item(&alive, &ran, None);
        assert!(worker.enqueue(first.clone()).is_ok());
        assert!(worker.enqueue(second.clone()).is_ok());
        let refused = worker.enqueue(second.clone()).unwrap_err();
        assert_eq!(refused.error, EBUSY);
        assert!(Arc::ptr_eq(&refused.item, &second));
        drop(refused);
        first.again.store(3, Relaxed);
        go.complete_all();
        while ran.load(Relaxed) < 5 {
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(worker.flush_work(&first), Ok(()));
        assert_eq!(first.cancelled.load(Relaxed), 3);
        assert_eq!(ran.load(Relaxed), 5);
        drop((first, second));
        assert_eq!(alive.load(Relaxed), 0);
    }

    #[test]
    fn a_cancelled_work_comes_back_and_a_running_one_is_waited_for() {
        let worker = worker();
        let (alive, ran, go) = (counter(), counter(), gate());
        let first = item(&alive, &ran, Some(&go));
        let second = item(&alive, &ran, None);
        // The second item was never enqueued.
        assert!(worker.cancel(&second).unwrap().is_none());
        assert_eq!(worker.flush_work(&second), Ok(()));
        assert!(worker.enqueue(first.clone()).is_ok());
        assert!(worker.enqueue(second.clone()).is_ok());
        let cancelled = worker.cancel(&second).unwrap().unwrap();
        assert!(Arc::ptr_eq(&cancelled, &second));
        assert!(worker.cancel(&second).unwrap().is_none());
        go.complete_all();
        let _ = worker.cancel(&first).unwrap();
        let after = ran.load(Relaxed);
        fsleep(Delta::from_millis(5));
        assert_eq!(ran.load(Relaxed), after);
        assert!(worker.enqueue(cancelled).is_ok());
        assert_eq!(worker.flush_work(&second), Ok(()));
        assert_eq!(ran.load(Relaxed), after + 1);
    }

    #[test]
    fn a_work_belongs_to_one_worker_until_that_is_gone() {
        let (alive, ran) = (counter(), counter());
        let (first, second) = (worker(), worker());
        let item = item(&alive, &ran, None);
        assert!(first.enqueue(item.clone()).is_ok());
        assert_eq!(first.flush(), Ok(()));
        let refused = second.enqueue(item.clone()).unwrap_err();
        assert_eq!(refused.error, EXDEV);
        assert!(Arc::ptr_eq(&refused.item, &item));
        // The item is not on this worker: there is no work to cancel or to wait for.
        assert!(second.cancel(&item).unwrap().is_none());
        assert_eq!(second.flush_work(&item), Ok(()));
        drop(first);
        assert!(second.enqueue(refused.item).is_ok());
        assert_eq!(second.flush(), Ok(()));
        assert_eq!(ran.load(Relaxed), 2);
        drop(second);
        drop(item);
        assert_eq!(alive.load(Relaxed), 0);
    }

    /// Two threads enqueue the same new item, each on its own worker: one of them is refused.
    #[test]
    fn of_two_workers_one_gets_a_work() {
        let (alive, ran) = (counter(), counter());
        for _ in 0..200 {
            let item = item(&alive, &ran, None);
            let enqueued = counter();
            let racer = || {
                let (worker, item, enqueued) = (worker(), item.clone(), enqueued.clone());
                kthread::spawn(c"tether-racer", move |_| {
                    let error = match worker.enqueue(item) {
                        Ok(()) => enqueued.fetch_add(1, Full),
                        Err(refused) if refused.error == EXDEV => 0,
                        Err(_) => 100,
                    };
                    // A failed assertion in this thread would not fail the test: return the result.
                    let fine = error == 0 && worker.flush() == Ok(());
                    (worker, fine)
                })
                .unwrap()
            };
            let (first, second) = (racer(), racer());
            let workers = (first.join().unwrap(), second.join().unwrap());
            assert_eq!(enqueued.load(Relaxed), 1);
            assert!(workers.0 .1 && workers.1 .1);
            drop(workers);
        }
        assert_eq!(ran.load(Relaxed), 200);
        assert_eq!(alive.load(Relaxed), 0);
    }

    #[test]
    fn what_is_left_when_a_worker_goes_is_dropped() {
        let (alive, ran, go) = (counter(), counter(), gate());
        for round in 0..20 {
            let worker = worker();
            assert!(worker.enqueue(item(&alive, &ran, Some(&go))).is_ok());
            for _ in 0..10 {
                assert!(worker.enqueue(item(&alive, &ran, None)).is_ok());
                let delayed = delayed(&alive, &ran);
                let delay = msecs_to_jiffies(if round % 2 == 0 { 4 } else { 100_000 });
                assert!(worker.enqueue_delayed(delayed, delay).is_ok());
            }
            if round % 4 < 2 {
                fsleep(Delta::from_millis(4));
            }
            go.complete_all();
            drop(worker);
            assert_eq!(alive.load(Relaxed), 0);
        }
    }

    #[pin_data]
    struct Delayed {
        ran: Arc<Atomic<i32>>,
        #[pin]
        work: KthreadDelayedWork<Delayed>,
        _alive: Counted,
    }

    impl_has_kthread_delayed_work! {
        impl HasKthreadDelayedWork<Self> for Delayed { self.work }
    }

    impl KthreadWorkItem for Delayed {
        type Pointer = Arc<Delayed>;

        fn run(this: Arc<Delayed>, _context: &WorkContext<'_>) {
            this.ran.fetch_add(1, Full);
        }
    }

    fn delayed(alive: &Arc<Atomic<i32>>, ran: &Arc<Atomic<i32>>) -> Arc<Delayed> {
        Arc::pin_init(
            pin_init!(Delayed {
                ran: ran.clone(),
                work <- KthreadDelayedWork::new(),
                _alive: Counted::new(alive),
            }),
            GFP_KERNEL,
        )
        .unwrap()
    }

    const LONG: usize = 1_000_000;

    #[test]
    fn a_delay_is_kept_changed_flushed_and_cancelled() {
        let worker = worker();
        let (alive, ran) = (counter(), counter());
        let item = delayed(&alive, &ran);
        let begun = Instant::<Monotonic>::now();
        assert!(worker
            .enqueue_delayed(item.clone(), msecs_to_jiffies(40))
            .is_ok());
        let refused = worker.enqueue_delayed(item.clone(), 0).unwrap_err();
        assert_eq!(refused.error, EBUSY);
        while ran.load(Relaxed) == 0 {
            fsleep(Delta::from_millis(1));
        }
        assert!(begun.elapsed().as_millis() >= 36);

        // Change a very long delay to none. The pointer is not consumed, and is returned.
        assert!(worker.enqueue_delayed(item.clone(), LONG).is_ok());
        assert!(worker.modify_delayed(item.clone(), 0).unwrap().is_some());
        assert_eq!(worker.flush(), Ok(()));
        assert_eq!(ran.load(Relaxed), 2);

        // Modifying the delay of an item that is not pending enqueues the item.
        assert!(worker.modify_delayed(item.clone(), LONG).unwrap().is_none());
        assert!(worker
            .modify_delayed(item.clone(), usize::MAX)
            .unwrap()
            .is_some());
        // A flush does not wait for the delay; kthread_flush_work() would.
        assert_eq!(worker.flush_work(&item), Ok(()));
        assert_eq!(ran.load(Relaxed), 3);

        assert!(worker.enqueue_delayed(item.clone(), LONG).is_ok());
        assert!(worker.cancel(&item).unwrap().is_some());
        assert!(worker.cancel(&item).unwrap().is_none());
        assert_eq!(ran.load(Relaxed), 3);
        drop((worker, refused, item));
        assert_eq!(alive.load(Relaxed), 0);
    }

    /// Two threads modify and cancel the item, until the worker is dropped while it is pending.
    #[test]
    fn a_delayed_work_under_fire() {
        let (alive, ran) = (counter(), counter());
        let worker = Arc::new(worker(), GFP_KERNEL).unwrap();
        let item = delayed(&alive, &ran);
        let storm = |modify: bool| {
            let (worker, item) = (worker.clone(), item.clone());
            kthread::spawn(c"tether-storm", move |context| {
                let mut round = 0;
                while !context.should_stop() {
                    round += 1;
                    if modify {
                        drop(worker.modify_delayed(item.clone(), round % 3));
                    } else {
                        drop(worker.cancel(&item));
                    }
                    if round % 64 == 0 {
                        context.sleep_for(Delta::from_millis(1));
                    }
                }
                round
            })
            .unwrap()
        };
        let threads = [storm(true), storm(false), storm(true), storm(false)];
        fsleep(Delta::from_millis(300));
        for thread in threads {
            assert!(thread.stop().unwrap().returned().unwrap_or(1) > 0);
        }
        drop(worker.modify_delayed(item.clone(), LONG));
        drop(worker);
        assert_eq!(Arc::into_unique_or_drop(item).map(drop), Some(()));
        assert_eq!(alive.load(Relaxed), 0);
    }

    #[pin_data]
    struct OwnWorker {
        #[pin]
        worker: Mutex<Option<KthreadWorker>>,
    }

    #[test]
    fn a_worker_that_is_dropped_by_its_own_work_ends() {
        let own = Arc::pin_init(
            pin_init!(OwnWorker { worker <- new_mutex!(None) }),
            GFP_KERNEL,
        );
        let own = own.unwrap();
        let (alive, ran, go) = (counter(), counter(), gate());
        let worker = worker();
        let (own_, go_) = (own.clone(), go.clone());
        let capture = Counted::new(&alive);
        let spawned = worker.try_spawn(GFP_KERNEL, move |_| {
            let _capture = capture;
            go_.wait_for_completion();
            drop(own_.worker.lock().take());
        });
        assert!(spawned.is_ok());
        assert!(worker.enqueue_delayed(delayed(&alive, &ran), LONG).is_ok());
        *own.worker.lock() = Some(worker);
        go.complete_all();
        while alive.load(Relaxed) != 0 {
            fsleep(Delta::from_millis(1));
        }
    }

    #[test]
    fn a_bound_worker_runs_on_its_cpu() {
        let cpu = CpuId::from_u32(0).unwrap();
        let worker = Builder::new(c"tether-cpu")
            .bind(cpu)
            .freezable()
            .policy(Policy::Normal { nice: -5 })
            .worker(this_module::<super::KthreadKunit>())
            .unwrap();
        let seen = counter();
        let seen_ = seen.clone();
        let spawned = worker.try_spawn(GFP_KERNEL, move |_| {
            seen_.store(1 + CpuId::current().as_u32() as i32, Relaxed);
        });
        assert!(spawned.is_ok());
        assert_eq!(worker.flush(), Ok(()));
        assert_eq!(seen.load(Relaxed), 1);
        let bad = Builder::new(c"tether-cpu")
            .on_node(1000)
            .worker(this_module::<super::KthreadKunit>());
        assert_eq!(bad.map(|_| ()), Err(EINVAL));
    }
}
