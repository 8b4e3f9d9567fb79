// SPDX-License-Identifier: GPL-2.0

//! Bringing in one page of a process, without waiting longer than a limit.

use crate::{
    bindings,
    container_of,
    mm::{
        space::ReadLocked,
        virt::flags as vma_flags, //
    },
    prelude::*,
    task::Task,
    time::msecs_to_jiffies,
    types::Opaque, //
};
use core::ptr;

/// The outcome of [`bring_in`].
pub(super) enum Fault {
    Done,
    /// It would have been waited for.
    Again,
    /// It was waited for, and the `mmap_lock` was released for that.
    Unlocked,
}

/// Brings a page in.
///
/// # Errors
///
/// Those of [`Registration::fault`](super::Registration::fault).
pub(super) fn bring_in(locked: &ReadLocked<'_>, address: usize, write: bool) -> Result<Fault> {
    let vma = locked
        .find(address)
        .filter(|vma| vma.start() <= address)
        .ok_or(EFAULT)?;
    let flags = vma.flags();
    if flags & vma_flags::READ == 0 || flags & (vma_flags::IO | vma_flags::PFNMAP) != 0 {
        return Err(EFAULT);
    }
    if write && flags & vma_flags::WRITE == 0 {
        return Err(EPERM);
    }
    // SAFETY: The VMA is valid.
    let armed = unsafe { bindings::userfaultfd_armed(vma.as_ptr()) };
    let mut fault_flags =
        bindings::fault_flag_FAULT_FLAG_REMOTE | bindings::fault_flag_FAULT_FLAG_ALLOW_RETRY;
    if write {
        fault_flags |= bindings::fault_flag_FAULT_FLAG_WRITE;
    }
    fault_flags |= if armed {
        bindings::fault_flag_FAULT_FLAG_KILLABLE
    } else {
        bindings::fault_flag_FAULT_FLAG_RETRY_NOWAIT
    };
    let waker = if armed { Some(Waker::new()?) } else { None };
    // SAFETY: The VMA has the address, may be accessed so, and its `mmap_lock` is held.
    let ret =
        unsafe { bindings::handle_mm_fault(vma.as_ptr(), address, fault_flags, ptr::null_mut()) };
    drop(waker);
    let has = |reasons: bindings::vm_fault_reason| ret & reasons != 0;
    if has(bindings::vm_fault_reason_VM_FAULT_COMPLETED | bindings::vm_fault_reason_VM_FAULT_RETRY)
    {
        return Ok(if armed { Fault::Unlocked } else { Fault::Again });
    }
    // As `vm_fault_to_errno()`.
    if has(bindings::vm_fault_reason_VM_FAULT_OOM) {
        return Err(ENOMEM);
    }
    if has(bindings::vm_fault_reason_VM_FAULT_HWPOISON
        | bindings::vm_fault_reason_VM_FAULT_HWPOISON_LARGE)
    {
        return Err(EHWPOISON);
    }
    if has(bindings::vm_fault_reason_VM_FAULT_SIGBUS | bindings::vm_fault_reason_VM_FAULT_SIGSEGV) {
        return Err(EFAULT);
    }
    Ok(Fault::Done)
}

/// Wakes the current task again and again, so that it does not wait longer than a limit.
///
/// # Invariants
///
/// `timer` is armed, and wakes `task`, which is the one that has this.
#[pin_data(PinnedDrop)]
struct Waker {
    #[pin]
    timer: Opaque<bindings::timer_list>,
    task: *mut bindings::task_struct,
}

impl Waker {
    const PERIOD_MS: u32 = 100;

    fn new() -> Result<Pin<KBox<Self>>> {
        let waker = KBox::pin_init(
            pin_init!(Self {
                timer <- Opaque::ffi_init(|slot: *mut bindings::timer_list| {
                    // SAFETY: `slot` is valid for writes, and pinned.
                    unsafe { bindings::tether_timer_setup(slot, Some(Self::wake)) };
                }),
                task: Task::current_raw(),
            }),
            GFP_KERNEL,
        )?;
        waker.arm();
        Ok(waker)
    }

    fn arm(&self) {
        // SAFETY: The timer is set up. The ticks are read as other code of the kernel does.
        unsafe {
            let now = ptr::read_volatile(&raw const bindings::jiffies);
            let then = now.wrapping_add(msecs_to_jiffies(Self::PERIOD_MS) as c_ulong);
            bindings::mod_timer(self.timer.get(), then)
        };
    }

    /// # Safety
    ///
    /// `timer` must be that of a `Waker`.
    unsafe extern "C" fn wake(timer: *mut bindings::timer_list) {
        let field = Opaque::cast_from(timer).cast_mut();
        // SAFETY: By the function's contract; the drop waits for this.
        let this = unsafe { &*container_of!(field, Self, timer) };
        // SAFETY: The task is valid, as it waits in its own call. A wake-up too many is allowed.
        unsafe { bindings::wake_up_process(this.task) };
        this.arm();
    }
}

#[pinned_drop]
impl PinnedDrop for Waker {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The timer is set up. It is not armed any more afterwards, not even by its
        // function, which does not run.
        unsafe { bindings::timer_shutdown_sync(self.timer.get()) };
    }
}
