// SPDX-License-Identifier: GPL-2.0

//! Tests on real processes.

use super::*;
use nix::sys::ptrace;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::process::Stdio;

/// Starts a shell script, and traces it from its start: the shell has stopped itself.
// Each test waits for the end of the process by `wait()`.
#[allow(clippy::zombie_processes)]
fn traced(script: &str) -> Pid {
    let child = Command::new("sh")
        .args(["-c", &format!("kill -STOP $$; {script}")])
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let (who, change) = wait(Wait::Untraced(pid)).unwrap();
    assert_eq!(who, pid);
    assert_eq!(stopped(change).signal, libc::SIGSTOP);
    ptrace::seize(pid, ptrace::Options::empty()).unwrap();
    let group = stopped(next(pid));
    assert!(group.is_of_group(), "{group:?}");
    listen(pid).unwrap();
    kill(pid, libc::SIGCONT).unwrap();
    pid
}

fn next(pid: Pid) -> Change {
    wait(Wait::One(pid)).unwrap().1
}

fn stopped(change: Change) -> Stop {
    match change {
        Change::Stopped(stop) => stop,
        _ => panic!("{change:?}"),
    }
}

/// Resumes a tracee until its end, with all signals and group stops. Returns the signals seen, and
/// the end.
fn to_the_end(pid: Pid) -> (Vec<i32>, Change) {
    let mut signals = Vec::new();
    loop {
        match next(pid) {
            Change::Stopped(stop) if stop.is_of_group() => {
                listen(pid).unwrap();
                kill(pid, libc::SIGCONT).unwrap();
            }
            Change::Stopped(stop) => {
                signals.extend(Some(stop.pending_signal()).filter(|it| *it != 0));
                resume(pid, stop.pending_signal()).unwrap();
            }
            end => return (signals, end),
        }
    }
}

#[test]
fn real_time_signals_are_seen_and_delivered() {
    for signal in [34, 40, 64] {
        let pid = traced("while :; do :; done");
        kill(pid, signal).unwrap();
        let (signals, end) = to_the_end(pid);
        assert!(signals.contains(&signal), "{signals:?}");
        assert_eq!(end, Change::Killed(signal));
        assert_eq!(end.exit_code(), Some(128 + signal as u8));
    }
}

#[test]
fn exit_codes() {
    assert_eq!(to_the_end(traced("exit 7")).1, Change::Exited(7));
    assert_eq!(
        to_the_end(traced("kill -9 $$")).1,
        Change::Killed(libc::SIGKILL)
    );
}

#[test]
fn a_group_stop_lasts_until_it_is_continued() {
    let (signals, end) = to_the_end(traced("kill -STOP $$; exit 3"));
    assert!(signals.contains(&libc::SIGSTOP), "{signals:?}");
    assert_eq!(end, Change::Exited(3));
}

#[test]
fn a_stopped_process_stays_stopped_after_detaching() {
    let pid = traced("kill -STOP $$; exit 5");
    loop {
        let stop = stopped(next(pid));
        if stop.is_of_group() {
            break;
        }
        resume(pid, stop.pending_signal()).unwrap();
    }
    detach(pid, 0).unwrap();
    let change = wait(Wait::Untraced(pid)).unwrap().1;
    assert_eq!(stopped(change).signal, libc::SIGSTOP);
    kill(pid, libc::SIGCONT).unwrap();
    assert_eq!(next(pid), Change::Exited(5));
}

/// Runs in a process of its own, see [`the_end_by_each_signal`].
#[test]
fn child() {
    if let Some(signal) = std::env::var("DIE_OF").ok().and_then(|it| it.parse().ok()) {
        die_of(signal);
    }
}

#[test]
fn the_end_by_each_signal() {
    // glibc refuses to reset its internal signals 32 and 33, which are ignored in the child.
    for signal in [libc::SIGINT, libc::SIGKILL, libc::SIGSEGV, 32, 33, 34, 64] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["tests::child", "--exact"])
            .env("DIE_OF", signal.to_string())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(signal));
    }
}

#[test]
fn no_such_tracee() {
    let own = Pid::this();
    assert_eq!(resume(own, 0), Err(Errno::ESRCH));
    assert_eq!(listen(own), Err(Errno::ESRCH));
    assert_eq!(wait(Wait::One(own)), Err(Errno::ECHILD));
}
