// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Calls a closure with a result type that is larger than any allocation (form 0), or larger than
//! the stack (form 1), although no value of this type is ever built.
//!
//! A sound library fails with `ENOMEM`, without a warning of the kernel, or makes the call.
use core::mem::MaybeUninit;
use kernel::prelude::*;
use tether::{
    pid,
    task_work::{self, NotifyMode},
};
module! {
    type: Huge, name: "callhuge", authors: ["h"], description: "attack", license: "GPL",
    params: {
        form: i32 { default: 0, description: "see the first comment", },
        target: i32 { default: 0, description: "the pid of a stopped task", },
    },
}
struct Huge;
#[allow(dead_code)]
struct Big(MaybeUninit<[u8; 16 << 20]>);
#[allow(dead_code)]
struct Middle(MaybeUninit<[u8; 64 << 10]>);
#[inline(never)]
fn big() -> Result {
    let call = task_work::call(
        kernel::current!(),
        |_| -> Big { Big(MaybeUninit::uninit()) },
        NotifyMode::Resume,
        GFP_KERNEL,
    )?;
    pr_info!("callhuge: {:?}\n", call.cancel());
    Ok(())
}
#[inline(never)]
fn middle() -> Result {
    let target = pid::find_task(module_parameters::target.value()).ok_or(ESRCH)?;
    let call = task_work::call(
        &target,
        |_| -> Result<Middle> { Err(EIO) },
        NotifyMode::Resume,
        GFP_KERNEL,
    )?;
    pr_info!("callhuge: {:?}\n", call.cancel());
    Ok(())
}
impl kernel::Module for Huge {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let result = match module_parameters::form.value() {
            0 => big(),
            _ => middle(),
        };
        pr_info!("callhuge: {result:?}\n");
        Ok(Huge)
    }
}
