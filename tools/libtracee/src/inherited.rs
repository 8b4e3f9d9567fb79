// SPDX-License-Identifier: GPL-2.0

//! The signals that this process was started with, which a program that it starts must find
//! unchanged.
//!
//! The run-time library of Rust ignores SIGPIPE before `main()`, and resets it in each program that
//! it executes. glibc ignores its two internal signals in each process that it spawns. Both change
//! programs: an ignored signal stays ignored. A tracer must not ignore SIGCHLD, or the kernel does
//! not report the end of its children.

use nix::libc;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// SIGPIPE, SIGCHLD, and the signals for the cancellation of threads and the change of their
/// credentials.
const CHANGED: [i32; 4] = [libc::SIGPIPE, libc::SIGCHLD, 32, 33];

/// `struct sigaction` of the kernel. The functions of glibc refuse its internal signals.
#[repr(C)]
#[derive(Clone, Copy)]
struct Action {
    handler: usize,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
}

/// Gets and sets the action of a signal: SIG_DFL or SIG_IGN.
pub(crate) fn action(signal: i32, new: Option<usize>) -> Option<usize> {
    let action = |handler| Action {
        handler,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let mut old = action(0);
    let new = new.map(action);
    let new: *const Action = new.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: rt_sigaction() reads one `Action`, or none if the pointer is null, and writes one.
    // Both live until it returns. No handler is installed: `new` is SIG_DFL or SIG_IGN.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            new,
            ptr::from_mut(&mut old),
            size_of::<u64>(),
        )
    };
    (result == 0).then_some(old.handler)
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

static INHERITED: AtomicU64 = AtomicU64::new(0);

extern "C" fn note() {
    let is_ignored = |signal: &i32| action(*signal, None) == Some(libc::SIG_IGN);
    let ignored = CHANGED.into_iter().filter(is_ignored).map(bit).sum();
    INHERITED.store(ignored, Ordering::Relaxed);
}

/// Runs before the run-time library of Rust.
#[used]
#[link_section = ".init_array"]
static NOTE: extern "C" fn() = note;

/// Returns those of the signals above that were ignored when this process was started, as a set:
/// signal 1 is the lowest bit.
pub fn inherited_signals() -> u64 {
    // The reference keeps the linker from dropping the initialiser.
    let _ = std::hint::black_box(&NOTE);
    INHERITED.load(Ordering::Relaxed)
}

/// Replaces the result of [`inherited_signals`], in a process that was started by a process with
/// these signals.
pub fn inherit(ignored: u64) {
    INHERITED.store(ignored, Ordering::Relaxed);
}

/// Lets the kernel report the end of the children of this process, although the process may have
/// been started with SIGCHLD ignored.
pub fn report_children() {
    action(libc::SIGCHLD, Some(libc::SIG_DFL));
}

/// Ignores those of the signals above that are in the set, and resets the others.
pub fn restore_signals(ignored: u64) {
    for signal in CHANGED {
        let is_ignored = ignored & bit(signal) != 0;
        action(
            signal,
            Some(if is_ignored {
                libc::SIG_IGN
            } else {
                libc::SIG_DFL
            }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs this test's program once more, in which [`child`] prints its signals.
    fn of_child(ignored: &str) -> String {
        let own = std::env::current_exe().unwrap();
        let out = Command::new("sh")
            .args([
                "-c",
                &format!("trap '' {ignored}; exec \"$0\" child --nocapture"),
            ])
            .arg(own)
            .env("PRINT_INHERITED", "1")
            .output()
            .unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let line = out.lines().find_map(|line| line.split_once("inherited "));
        line.unwrap().1.into()
    }

    #[test]
    fn child() {
        if std::env::var_os("PRINT_INHERITED").is_some() {
            println!("inherited {:x}", inherited_signals() & bit(libc::SIGPIPE));
        }
    }

    #[test]
    fn sigpipe_as_it_was_before_main() {
        assert_eq!(of_child("PIPE"), "1000");
        assert_eq!(of_child("USR1"), "0");
    }

    #[test]
    fn actions() {
        for signal in [libc::SIGUSR2, 33, 40] {
            let before = action(signal, None).unwrap();
            action(signal, Some(libc::SIG_IGN)).unwrap();
            assert_eq!(action(signal, None), Some(libc::SIG_IGN));
            action(signal, Some(before)).unwrap();
        }
        assert_eq!(action(libc::SIGKILL, Some(libc::SIG_IGN)), None);
    }
}
