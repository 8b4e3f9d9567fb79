// SPDX-License-Identifier: GPL-2.0

//! Parking: every request is answered.

use loom::{
    sync::Arc,
    thread, //
};
use model::{
    explore,
    kthread::{
        Core,
        Killer,
        Limit, //
    },
    prelude::*, //
};

fn thread_of(core: &Arc<Core>) -> thread::JoinHandle<()> {
    let core = core.clone();
    thread::spawn(move || {
        core.enter();
        core.run();
    })
}

/// A task parks, unparks and stops a thread.
#[test]
fn park_unpark_stop() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = thread_of(&core);
        assert_eq!(core.park_thread(Limit::None), Ok(()));
        assert!(core.is_parked());
        core.unpark_thread();
        core.request_stop();
        body.join().unwrap();
    });
}

/// A task unparks a thread and parks it again before the thread has run.
#[test]
fn park_again() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = thread_of(&core);
        assert_eq!(core.park_thread(Limit::None), Ok(()));
        core.unpark_thread();
        assert_eq!(core.park_thread(Limit::None), Ok(()));
        assert!(core.is_parked());
        core.request_stop();
        body.join().unwrap();
    });
}

/// A task parks a thread while another task requests the thread to stop.
#[test]
fn park_against_stop() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = thread_of(&core);
        let parker = {
            let core = core.clone();
            thread::spawn(move || core.park_thread(Limit::None))
        };
        core.request_stop();
        let parked = parker.join().unwrap();
        assert!(matches!(parked, Ok(()) | Err(ESRCH)));
        body.join().unwrap();
    });
}

/// A task parks a thread while another task unparks it.
#[test]
fn park_against_unpark() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = thread_of(&core);
        let parker = {
            let core = core.clone();
            thread::spawn(move || core.park_thread(Limit::None))
        };
        core.unpark_thread();
        assert_eq!(parker.join().unwrap(), Ok(()));
        core.request_stop();
        body.join().unwrap();
    });
}

/// Two tasks park a thread: either a task is refused, or the other task has parked the thread.
#[test]
fn park_against_park() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = thread_of(&core);
        let parker = {
            let core = core.clone();
            thread::spawn(move || core.park_thread(Limit::None))
        };
        let mine = core.park_thread(Limit::None);
        let other = parker.join().unwrap();
        assert!(mine == Ok(()) || other == Ok(()));
        assert!(core.is_parked());
        core.request_stop();
        body.join().unwrap();
    });
}

/// The body of a thread returns while a task parks the thread.
#[test]
fn park_against_return() {
    explore(None, || {
        let core = Arc::new(Core::new());
        let body = {
            let core = core.clone();
            thread::spawn(move || {
                core.enter();
                core.finish();
            })
        };
        assert_eq!(core.park_thread(Limit::None), Err(ESRCH));
        body.join().unwrap();
    });
}

/// The task that parks a thread is killed.
#[test]
fn park_against_kill() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = thread_of(&core);
        let killer = Arc::new(Killer::default());
        let limit = Limit::Killed(&raw const *killer);
        let kills = {
            let killer = killer.clone();
            thread::spawn(move || killer.kill())
        };
        let parked = core.park_thread(limit);
        assert!(matches!(parked, Ok(()) | Err(EINTR)));
        assert_eq!(core.is_parked(), parked.is_ok());
        core.request_stop();
        kills.join().unwrap();
        body.join().unwrap();
    });
}

/// The thread reads what was written before the requests to park and to continue; the tasks that
/// have parked it, or find it parked, read what it has written before it parked.
#[test]
fn memory_of_the_requests() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = {
            let core = core.clone();
            thread::spawn(move || {
                core.enter();
                let work = || {
                    core.read_given();
                    core.write_result();
                };
                core.run_with(work, || core.read_given());
            })
        };
        let observer = {
            let core = core.clone();
            thread::spawn(move || {
                if core.is_parked() {
                    core.read_result();
                }
            })
        };
        core.give();
        assert_eq!(core.park_thread(Limit::None), Ok(()));
        core.read_result();
        observer.join().unwrap();
        core.give();
        core.unpark_thread();
        core.request_stop();
        body.join().unwrap();
    });
}

/// A task unparks the thread while another one parks it: the thread reads what was written before.
#[test]
fn memory_of_an_early_unpark() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let body = {
            let core = core.clone();
            let unparked = core.clone();
            thread::spawn(move || {
                core.enter();
                core.run_with(|| (), || unparked.read_given());
            })
        };
        let unparker = {
            let core = core.clone();
            thread::spawn(move || {
                core.give();
                core.unpark_thread();
            })
        };
        assert_eq!(core.park_thread(Limit::None), Ok(()));
        unparker.join().unwrap();
        core.unpark_thread();
        core.request_stop();
        body.join().unwrap();
    });
}

/// A thread that was asked to stop waits for the task that parks it before it returns.
#[test]
fn stopping_thread_waits_for_the_parker() {
    explore(Some(2), || {
        let core = Arc::new(Core::new());
        let parker = {
            let core = core.clone();
            thread::spawn(move || {
                let _ = core.park_thread(Limit::None);
            })
        };
        let body = {
            let core = core.clone();
            thread::spawn(move || {
                core.enter();
                core.run_until_stopped();
                parker.join().unwrap();
                core.finish();
            })
        };
        core.request_stop();
        body.join().unwrap();
    });
}
