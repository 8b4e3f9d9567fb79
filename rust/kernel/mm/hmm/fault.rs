// SPDX-License-Identifier: GPL-2.0

//! Faulting in one page of a process, with limited waits.

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
    /// The fault would have to wait.
    Again,
    /// The fault has waited, and has released the `mmap_lock` for that.
    Unlocked,
}

/// Faults a page in.
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
    // SAFETY: The VMA is valid, as `locked` holds the `mmap_lock`.
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
    // SAFETY: The VMA contains `address`, its flags permit the access, and `locked` holds the
    // `mmap_lock`, as `handle_mm_fault()` requires.
    let ret =
        unsafe { bindings::handle_mm_fault(vma.as_ptr(), address, fault_flags, ptr::null_mut()) };
    drop(waker);
    let has = |reasons: bindings::vm_fault_reason| ret & reasons != 0;
    if has(bindings::vm_fault_reason_VM_FAULT_COMPLETED | bindings::vm_fault_reason_VM_FAULT_RETRY)
    {
        return Ok(if armed { Fault::Unlocked } else { Fault::Again });
    }
    // These are the error codes of `vm_fault_to_errno()`, which is inline.
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

/// A timer that wakes the current task periodically, so that a wait of the task ends.
///
/// # Invariants
///
/// `timer` is armed, and wakes `task`, which is the task that owns this value.
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
                    // SAFETY: `ffi_init()` guarantees that `slot` is valid for writes, and the
                    // timer is pinned.
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
        // SAFETY: `new()` has set the timer up. `jiffies` changes at any time, so it is read by a
        // volatile access.
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
        // SAFETY: The caller guarantees that the timer is a field of a `Waker`. It is valid, as its
        // drop waits for this function.
        let this = unsafe { &*container_of!(field, Self, timer) };
        // SAFETY: By the type's invariants, `task` owns the `Waker`, and its drop waits for this
        // function; so the task has not ended. Spurious wake-ups are allowed.
        unsafe { bindings::wake_up_process(this.task) };
        this.arm();
    }
}

#[pinned_drop]
impl PinnedDrop for Waker {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `new()` has set the timer up. `timer_shutdown_sync()` waits for the function of
        // the timer, and the timer cannot be armed afterwards.
        unsafe { bindings::timer_shutdown_sync(self.timer.get()) };
    }
}
