// SPDX-License-Identifier: GPL-2.0

//! The lines of `tether/outstanding` about task works.

use super::{
    running,
    tasks::pid_of,
    walk::for_each_pending,
    Node, //
};
use crate::{
    bindings,
    fmt,
    prelude::*,
    tether::{
        jiffies,
        Owner, //
        OwnerGuard,
    }, //
};
use core::ptr;

/// A line of `tether/outstanding`: works of one type on one task.
struct Line {
    owner: &'static Owner,
    /// Keeps the module, and with it `name`, loaded until the line is written.
    _entered: OwnerGuard,
    name: fn() -> &'static str,
    task: usize,
    running: bool,
    /// The time at which the oldest of the works was added, in ticks.
    added: u32,
    works: usize,
}

/// Collects the lines of `tether/outstanding`.
///
/// Works are read in atomic context, where memory cannot be allocated and formatting takes too
/// long. Hence the memory is allocated first, and works of one type on one task share a line.
struct Lines {
    lines: KVec<Line>,
    /// The address of the task that is being processed, and the index of its first line.
    task: (usize, usize),
    /// The number of works for which there was no space.
    left: usize,
}

impl Lines {
    const CAPACITY: usize = 256;

    fn add(&mut self, line: Line) {
        if self.task.0 != line.task {
            self.task = (line.task, self.lines.len());
        }
        let (_, first) = self.task;
        let same = self.lines.iter_mut().skip(first).find(|other| {
            ptr::eq(other.owner, line.owner)
                && ptr::fn_addr_eq(other.name, line.name)
                && other.running == line.running
        });
        match same {
            Some(other) => {
                other.works += line.works;
                if (other.added.wrapping_sub(line.added) as i32) > 0 {
                    other.added = line.added;
                }
            }
            None => {
                if self.lines.push_within_capacity(line).is_err() {
                    self.left += 1;
                }
            }
        }
    }

    fn add_pending(&mut self, task: usize, node: &Node) {
        // Another thread may cancel the work concurrently, and the module may be removed; the
        // removal waits for the guard. If the work is pinned after the guard was taken, the record
        // belongs to the work's module.
        let Ok(entered) = node.owner.enter() else {
            return;
        };
        if node.state.is_pinned() {
            self.add(Line {
                owner: node.owner,
                _entered: entered,
                // SAFETY: `vtable()` requires that the owner stays loaded. The owner was entered
                // above, and the node was pinned afterwards, so that the record still belongs to
                // the node's module.
                name: unsafe { node.vtable() }.name,
                task,
                running: false,
                added: node.state.added(),
                works: 1,
            });
        }
    }

    fn add_running(&mut self, running: &running::Running) {
        // SAFETY: The vtable is valid while its module is loaded. `running::for_each()` keeps the
        // callback from returning, so that its owner is pinned.
        let vtable = unsafe { running.vtable.as_ref() };
        let Ok(owner) = Owner::of(vtable.run as *const ()) else {
            return;
        };
        // If the module is being removed, its teardown waits for this callback.
        let Ok(entered) = owner.enter() else {
            return;
        };
        self.add(Line {
            owner,
            _entered: entered,
            name: vtable.name,
            task: running.task,
            running: true,
            added: 0,
            works: 1,
        });
    }
}

/// Writes the pending and the running works to `tether/outstanding`.
///
/// If a task is running the callback of another subsystem, the works behind that callback in the
/// same batch are not found.
pub(super) fn show(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut lines = Lines {
        lines: KVec::with_capacity(Lines::CAPACITY, GFP_KERNEL).map_err(|_| fmt::Error)?,
        task: (0, 0),
        left: 0,
    };
    running::for_each(|running| lines.add_running(&running));
    for_each_pending(&mut |task, node| lines.add_pending(task, node));
    for line in &lines.lines {
        let pid = pid_of(line.task, 0).unwrap_or(0);
        f.write_fmt(fmt!("{} task_work {} ", line.owner.name(), pid))?;
        if line.running {
            f.write_fmt(fmt!("- {} running", (line.name)()))?;
        } else {
            let age = (jiffies() as u32).wrapping_sub(line.added);
            // SAFETY: `jiffies64_to_msecs()` has no requirements.
            let age = unsafe { bindings::jiffies64_to_msecs(age.into()) };
            f.write_fmt(fmt!("{} {}", age, (line.name)()))?;
        }
        if line.works > 1 {
            f.write_fmt(fmt!(" x{}", line.works))?;
        }
        f.write_str("\n")?;
    }
    if lines.left != 0 {
        f.write_fmt(fmt!("# and {} task works more\n", lines.left))?;
    }
    Ok(())
}
