// SPDX-License-Identifier: GPL-2.0

//! The result of a thread: either the thread or the task that has the handle drops it, once.

use loom::{
    sync::Arc,
    thread, //
};
use model::{
    explore,
    kthread::Core, //
};

/// A thread returns while a task with its handle calls `f`.
fn return_against(f: impl Fn(&Core) + Send + Sync + Copy + 'static) {
    explore(None, move || {
        let core = Arc::new(Core::new());
        let body = {
            let core = core.clone();
            thread::spawn(move || {
                core.enter();
                core.return_result();
            })
        };
        f(&core);
        body.join().unwrap();
        assert_eq!(core.drops(), 1);
    });
}

/// The handle is dropped by a task that must not wait for the thread.
#[test]
fn return_against_drop() {
    return_against(Core::orphan);
}

/// The handle is detached. The thread drops the pin of the module that was taken before.
#[test]
fn return_against_detach() {
    return_against(Core::detach);
}

/// A task looks whether the thread has returned: if so, the result is stored.
#[test]
fn return_against_look() {
    return_against(Core::drop_if_returned);
}
