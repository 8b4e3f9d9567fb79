// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Takes the CPU of a bound deadline thread off line while the thread is throttled.
//!
//! The kernel refuses `SCHED_DEADLINE` for a thread that cannot run on all CPUs, and warns that
//! "the task will never come back" if it finds one without a CPU. `sched_setattr_nocheck()` does
//! not refuse it.
//!
//! * `form=0`: `bind()` and `policy()` of the builder;
//! * `form=1`: `bind()`, and `set_policy()` later;
//! * `form=2`: a worker.
//!
//! A sound library refuses the policy, or the kernel does not warn.
use kernel::{cpu::CpuId, prelude::*, time::Delta};
use tether::kthread::{worker::*, Builder, Policy, Thread};
module! {
    type: M, name: "dloff", authors: ["h"], description: "attack", license: "GPL",
    params: { form: i32 { default: 0, description: "see the first comment", }, },
}
fn little() -> Policy {
    Policy::Deadline {
        runtime: Delta::from_millis(20),
        deadline: Delta::from_millis(1000),
        period: Delta::from_millis(1000),
    }
}
struct M {
    _thread: Option<Thread<u64>>,
    _worker: Option<KthreadWorker>,
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let cpu = CpuId::from_u32(1).ok_or(EINVAL)?;
        let form = module_parameters::form.value();
        let builder = Builder::new(c"dloff").bind(cpu);
        if form == 2 {
            let worker = builder.policy(little()).worker(module)?;
            worker.try_spawn(GFP_KERNEL, |context| {
                let begun = kernel::time::Instant::<kernel::time::Monotonic>::now();
                while begun.elapsed().as_millis() < 6000 {
                    core::hint::spin_loop();
                }
                let _ = context;
            })?;
            return Ok(M {
                _thread: None,
                _worker: Some(worker),
            });
        }
        let builder = if form == 0 {
            builder.policy(little())
        } else {
            builder
        };
        let thread = builder.spawn(|context| {
            let mut n = 0u64;
            while !context.should_stop() {
                n += 1;
                core::hint::spin_loop();
            }
            n
        })?;
        if form == 1 {
            pr_info!("dloff: set_policy: {:?}\n", thread.set_policy(little()));
        }
        Ok(M {
            _thread: Some(thread),
            _worker: None,
        })
    }
}
