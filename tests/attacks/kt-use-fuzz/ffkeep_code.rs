// SPDX-License-Identifier: GPL-2.0
//! Uses handles of another module's threads, workers and closures at random.
//!
//! Three threads of this module call all functions of the handles while `ffmake.ko`, which has
//! created the objects, is removed or its init fails.
//!
//! A sound library does not hang or crash, and drops each payload exactly once.
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc, Mutex, SetOnce,
    },
    time::{delay::fsleep, Delta},
};
use tether::{
    kthread::{self, worker::KthreadWorker, Parkable, Policy, Thread, Unstarted},
    task_work::{Context, Pending},
};
module! { type: Keep, name: "ffkeep", authors: ["h"], description: "attack", license: "GPL", }
#[no_mangle]
#[allow(missing_docs)]
pub static FFKEEP_LIVE: Atomic<i32> = Atomic::new(0);
/// A payload that counts its live instances.
pub struct Canary(KBox<u64>);
#[allow(missing_docs)]
impl Canary {
    #[inline]
    pub fn new() -> Result<Self> {
        let it = Canary(KBox::new(0x5a5a, GFP_KERNEL)?);
        FFKEEP_LIVE.fetch_add(1, Full);
        Ok(it)
    }
}
impl Drop for Canary {
    #[inline]
    fn drop(&mut self) {
        if *self.0 != 0x5a5a || FFKEEP_LIVE.fetch_sub(1, Full) <= 0 {
            pr_err!("ffkeep: BAD: dropped twice\n");
        }
        *self.0 = 0xdead;
    }
}
#[allow(missing_docs)]
pub type Closure = fn(&Context<'_>);
#[allow(missing_docs)]
pub enum Handle {
    Thread(Thread<Canary, Parkable>),
    Unstarted(Unstarted<Canary, Parkable>),
    Worker(KthreadWorker),
    Shared(Arc<Thread<Canary, Parkable>>),
    Pending(Pending<Closure>),
}
#[pin_data]
struct Slot {
    #[pin]
    kept: Mutex<KVec<Handle>>,
}
static SLOT: SetOnce<Pin<KBox<Slot>>> = SetOnce::new();
static USED: Atomic<i32> = Atomic::new(0);
#[no_mangle]
#[allow(missing_docs)]
pub fn ffkeep_keep(handle: Handle) {
    if let Some(slot) = SLOT.as_ref() {
        let _ = slot.kept.lock().push(handle, GFP_KERNEL);
    }
}
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed >> 8
}
fn back(handle: Handle) {
    ffkeep_keep(handle);
}
fn some_use(thread: &Thread<Canary, Parkable>, n: u64) {
    match n % 8 {
        0 => drop(thread.park_timeout(Delta::from_millis(30))),
        1 => drop(thread.park_killable()),
        2 => drop(thread.park()),
        3 => thread.request_stop(),
        4 => drop(thread.set_policy(Policy::Normal { nice: 1 })),
        5 => thread.waker().wake(),
        6 => drop(thread.task()),
        _ => (),
    }
    if n & 0x10000 == 0 {
        thread.unpark();
    }
    let _ = (thread.is_parked(), thread.is_finished());
}
fn fuzz(seed: &mut u64) {
    let n = random(seed);
    let handle = {
        let Some(slot) = SLOT.as_ref() else { return };
        let mut kept = slot.kept.lock();
        if kept.is_empty() {
            return;
        }
        let index = n as usize % kept.len();
        match kept.remove(index) {
            Ok(handle) => handle,
            Err(_) => return,
        }
    };
    USED.fetch_add(1, Relaxed);
    let n = random(seed);
    match handle {
        Handle::Thread(thread) => match n % 7 {
            0 => drop(thread),
            1 => match thread.detach() {
                Ok(()) => (),
                Err(refused) => back(Handle::Thread(refused.item)),
            },
            2 => match thread.stop() {
                Ok(_) => (),
                Err(refused) => back(Handle::Thread(refused.item)),
            },
            3 => match thread.stop_timeout(Delta::from_millis(5)) {
                Ok(_) => (),
                Err(refused) => back(Handle::Thread(refused.item)),
            },
            4 => match thread.try_join() {
                Ok(_) => (),
                Err(refused) => back(Handle::Thread(refused.item)),
            },
            _ => {
                some_use(&thread, n / 7);
                back(Handle::Thread(thread));
            }
        },
        Handle::Unstarted(unstarted) => match n % 3 {
            0 => drop(unstarted),
            _ => back(Handle::Thread(unstarted.start())),
        },
        Handle::Worker(worker) => match n % 6 {
            0 => drop(worker),
            1 => drop(worker.flush()),
            2 => {
                let _ = worker.flush_timeout(Delta::from_millis(5));
                back(Handle::Worker(worker));
            }
            3 => {
                // The worker refuses this closure, which belongs to another module.
                let _ = worker.try_spawn(GFP_KERNEL, |_| ());
                back(Handle::Worker(worker));
            }
            _ => {
                let _ = worker.flush_killable();
                back(Handle::Worker(worker));
            }
        },
        Handle::Shared(thread) => {
            let other = thread.clone();
            back(Handle::Shared(thread));
            some_use(&other, n);
            if n % 16 == 0 {
                fsleep(Delta::from_millis(10));
            }
        }
        Handle::Pending(pending) => match n % 4 {
            0 => drop(pending.cancel()),
            1 => drop(pending),
            2 => drop(pending.wait_timeout(Delta::from_millis(3))),
            _ => {
                let _ = pending.is_done();
                back(Handle::Pending(pending));
            }
        },
    }
}
struct Keep {
    _threads: [Thread<()>; 3],
}
impl kernel::Module for Keep {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        SLOT.populate(KBox::pin_init(
            pin_init!(Slot { kept <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )?);
        let spawn = |mut seed: u64| {
            kthread::spawn(c"ffkeep", move |context| {
                while !context.should_stop() {
                    fuzz(&mut seed);
                    fsleep(Delta::from_micros((random(&mut seed) % 4000) as i64));
                }
            })
        };
        Ok(Keep {
            _threads: [
                spawn(88172645463325252)?,
                spawn(4101842887655102017)?,
                spawn(77777777)?,
            ],
        })
    }
}
impl Drop for Keep {
    fn drop(&mut self) {
        for thread in &self._threads {
            thread.request_stop();
        }
        fsleep(Delta::from_millis(500));
        let left = SLOT
            .as_ref()
            .map(|slot| core::mem::take(&mut *slot.kept.lock()));
        drop(left);
        fsleep(Delta::from_millis(500));
        pr_info!(
            "ffkeep: used {}, live {}\n",
            USED.load(Relaxed),
            FFKEEP_LIVE.load(Relaxed)
        );
    }
}
