// SPDX-License-Identifier: GPL-2.0

//! Creating a thread.

use super::{
    completion::Completion,
    entry::main,
    park,
    payload::Inner,
    start,
    thread_core::{
        Core,
        CoreRef,
        ATTACHED,
        EMPTY, //
    },
    waits,
    Context,
    Mode,
    Parkable,
    Plain,
    Thread,
    Unstarted, //
};
use crate::{
    alloc::{
        allocator::Kmalloc,
        flags::__GFP_NOWARN,
        Allocator,
        NumaNode, //
    },
    bindings,
    cpu::CpuId,
    cpumask::Cpumask,
    error::{
        from_err_ptr,
        to_result, //
    },
    fmt,
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    sync::{
        atomic::{
            Atomic,
            Release, //
        },
        Refcount, //
    },
    task::Task,
    tether::{
        may_sleep,
        Attachment,
        Owner,
        Refused,
        What, //
    }, //
};
use core::{
    alloc::Layout,
    marker::PhantomData,
    ops::RangeInclusive,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// How the scheduler treats a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Fairly, with this niceness: from -20, which gets the most, to 19 (`sched_set_normal()`).
    Normal {
        /// The niceness.
        nice: i32,
    },
    /// In real time, before all that is [`Policy::Normal`], and after all else that is in real time
    /// (`sched_set_fifo_low()`).
    FifoLow,
    /// In real time, in the middle of the priorities that there are (`sched_set_fifo()`).
    Fifo,
}

impl Policy {
    pub(super) fn check(self) -> Result {
        const NICE: RangeInclusive<i32> = bindings::MIN_NICE..=bindings::MAX_NICE as i32;
        match self {
            Policy::Normal { nice } if !NICE.contains(&nice) => Err(EINVAL),
            _ => Ok(()),
        }
    }

    pub(super) fn apply(self, task: &Task) {
        let task = task.as_ptr();
        match self {
            // SAFETY: The task is valid.
            Policy::Normal { nice } => unsafe { bindings::sched_set_normal(task, nice) },
            // SAFETY: As above.
            Policy::FifoLow => unsafe { bindings::sched_set_fifo_low(task) },
            // SAFETY: As above.
            Policy::Fifo => unsafe { bindings::sched_set_fifo(task) },
        }
    }
}

enum Name<'a> {
    Borrowed(&'a CStr),
    Owned(CString),
}

/// Where a thread may run.
#[derive(Clone, Copy)]
enum Affinity<'a> {
    Any,
    Bound(CpuId),
    Preferred(&'a Cpumask),
}

/// The properties of a thread that is to be created.
///
/// # Examples
///
/// A thread that is started later:
///
/// ```
/// use kernel::{
///     cpu::CpuId,
///     kthread::{
///         Builder,
///         Policy, //
///     },
///     prelude::*, //
/// };
///
/// let cpu = CpuId::from_u32(0).ok_or(EINVAL)?;
/// let unstarted = Builder::new(c"first")
///     .bind(cpu)
///     .policy(Policy::Normal { nice: 10 })
///     .create(|_| 7)?;
/// pr_info!("it will be {}\n", unstarted.task().pid());
/// assert_eq!(unstarted.start().join()?, 7);
/// # Ok::<(), Error>(())
/// ```
pub struct Builder<'a, M = Plain> {
    pub(super) settings: Settings<'a>,
    _mode: PhantomData<M>,
}

/// The non-generic part of [`Builder`], so that it is not monomorphised for each body.
pub(super) struct Settings<'a> {
    name: Name<'a>,
    node: Option<u32>,
    affinity: Affinity<'a>,
    policy: Option<Policy>,
    pub(super) freezable: bool,
}

impl<'a> Builder<'a> {
    /// A thread of this name.
    ///
    /// `ps` shows the first 15 bytes, in the thread's `comm`; where the kernel shows more, the
    /// first 255. A `%` in the name has no meaning.
    pub fn new(name: &'a CStr) -> Self {
        Self::named(Name::Borrowed(name))
    }

    /// A thread with a name that is made up now, by [`fmt!`], of any length.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] if there is a NUL in it.
    pub fn formatted(name: fmt::Arguments<'_>) -> Result<Self> {
        Ok(Self::named(Name::Owned(CString::try_from_fmt(name)?)))
    }

    fn named(name: Name<'a>) -> Self {
        Self {
            settings: Settings {
                name,
                node: None,
                affinity: Affinity::Any,
                policy: None,
                freezable: false,
            },
            _mode: PhantomData,
        }
    }

    /// The thread can be parked: its body gets a [`Context`] that tells of [`ParkRequest`]s, its
    /// handle has [`Thread::park`].
    pub fn parkable(self) -> Builder<'a, Parkable> {
        Builder {
            settings: self.settings,
            _mode: PhantomData,
        }
    }
}

impl<'a, M: Mode> Builder<'a, M> {
    /// Takes the thread's stack and task structure from this NUMA node. The thread prefers the CPUs
    /// of it, if no CPUs are named.
    #[doc(alias = "kthread_create_on_node")]
    pub fn on_node(mut self, node: u32) -> Self {
        self.settings.node = Some(node);
        self
    }

    /// Binds the thread to a CPU. User space cannot change this. If the CPU goes offline the thread
    /// runs somewhere else.
    #[doc(alias = "kthread_bind")]
    pub fn bind(mut self, cpu: CpuId) -> Self {
        self.settings.affinity = Affinity::Bound(cpu);
        self
    }

    /// Lets the thread run on these CPUs, as long as there is one of them that is online and is not
    /// isolated, and else on others.
    #[doc(alias = "kthread_affine_preferred")]
    pub fn prefer(mut self, cpus: &'a Cpumask) -> Self {
        self.settings.affinity = Affinity::Preferred(cpus);
        self
    }

    /// How it is scheduled; else fairly, with niceness 0.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.policy = Some(policy);
        self
    }

    /// The thread freezes when the system is suspended or hibernated, at the places that
    /// [`Context::sleep`] and [`Context::freezable_should_stop`] say; else it goes on running.
    ///
    /// A body that comes to no such place makes a suspend fail after 20 seconds.
    #[doc(alias = "set_freezable")]
    pub fn freezable(mut self) -> Self {
        self.settings.freezable = true;
        self
    }

    /// Starts a thread that runs `body`; see [`spawn`].
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As [`Builder::create`].
    #[doc(alias = "kthread_run")]
    pub fn spawn<F, R>(self, body: F) -> Result<Thread<R, M>, Refused<F>>
    where
        F: FnOnce(&Context<'_, M>) -> R + Send + 'static,
        R: Send + 'static,
    {
        Ok(self.create(body)?.start())
    }

    /// Creates a thread that will run `body` when it is started.
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// The body comes back with
    ///
    /// * [`ENOMEM`] or [`EAGAIN`] if there is not enough memory, or there are too many threads;
    /// * [`EINTR`] if the calling task was killed meanwhile;
    /// * [`EINVAL`] if there is no such CPU, node or niceness, or no CPU is preferred;
    /// * [`EDEADLK`] in an interrupt;
    /// * [`ENODEV`] if the module of the body is going, [`EINVAL`] if it is not known to Tether.
    #[doc(alias = "kthread_create")]
    pub fn create<F, R>(self, body: F) -> Result<Unstarted<R, M>, Refused<F>>
    where
        F: FnOnce(&Context<'_, M>) -> R + Send + 'static,
        R: Send + 'static,
    {
        // INVARIANT: The functions are those of an `Inner`, which the core is at the beginning of.
        let core = match self.settings.new_core(
            Layout::new::<Inner<F, R, M>>(),
            Inner::<F, R, M>::WHAT,
            Inner::<F, R, M>::run,
            Inner::<F, R, M>::discard,
        ) {
            Ok(core) => core,
            Err(error) => return Err(Refused::new(body, error)),
        };
        // SAFETY: The memory was allocated for it just now, and is not shared yet.
        unsafe { Inner::<F, R, M>::put_body(core, body) };
        // SAFETY: It is valid; if this succeeds, the list and the thread have a reference each.
        match unsafe { self.settings.create_core(core.as_ref()) } {
            Ok(()) => Ok(Unstarted(Thread {
                // INVARIANT: This one is the handle's.
                core: Some(CoreRef(core)),
                _types: PhantomData,
            })),
            Err(error) => {
                // SAFETY: `core` is that of this `Inner`.
                let body = unsafe { Inner::<F, R, M>::take_body(core) };
                // SAFETY: The memory was allocated by `kmalloc`. No other task has it: a thread
                // that was created was not started, and has ended.
                unsafe { bindings::kfree(core.as_ptr().cast()) };
                match body {
                    Some(body) => Err(Refused::new(body, error)),
                    // Only a thread that was started, or the end of its module, takes the body.
                    None => unreachable!(),
                }
            }
        }
    }
}

impl Settings<'_> {
    /// Allocates memory of this layout, with a core at its beginning, for whom `run` is called. It
    /// has references for the handle, the thread and the list, and a payload that is yet to be put
    /// there.
    fn new_core(
        &self,
        layout: Layout,
        what: &'static What,
        run: unsafe fn(NonNull<Core>),
        discard: unsafe fn(NonNull<Core>),
    ) -> Result<NonNull<Core>> {
        self.check()?;
        // Its address is in the text of the body's module.
        let owner = Owner::of(run as *const ())?;
        // A result may be larger than any allocation: that is an error, and no fault of the
        // kernel's.
        let memory = Kmalloc::alloc(layout, GFP_KERNEL | __GFP_NOWARN, NumaNode::NO_NODE)?;
        let core = memory.cast::<Core>();
        // INVARIANT: `core` is the address of the core, and comes from the allocation.
        let init = pin_init!(Core {
            attachment <- Attachment::new(owner, what),
            this: core,
            refs: Refcount::new(3),
            payload: Atomic::new(EMPTY),
            task: Atomic::new(ptr::null_mut()),
            should_stop: Atomic::new(false),
            woken: Atomic::new(false),
            freezable: self.freezable,
            start: start::Start::new(),
            stage: Atomic::new(ATTACHED),
            parking <- park::Parking::new(),
            waits: waits::Waits::new(),
            returned <- Completion::new(),
            run,
            discard,
        });
        // SAFETY: The memory is large enough, and does not move.
        unsafe { pin_init::raw_init(core.as_ptr(), init) };
        Ok(core)
    }

    /// Creates and attaches the thread of `core`.
    ///
    /// # Safety
    ///
    /// If this succeeds, `core` must stay valid until the references of the thread and of the
    /// owner's list are dropped.
    unsafe fn create_core(&self, core: &Core) -> Result {
        let create = || {
            // SAFETY: `main` expects a core, which stays valid until the thread has ended: the
            // thread has a reference, and if this fails it has ended already.
            let task = unsafe { self.create_task(main, core.this.as_ptr().cast()) }?;
            // INVARIANT: The reference is ours.
            core.task.store(task.as_ptr(), Release);
            Ok(())
        };
        // SAFETY: The core is valid until it is released, by the function's contract.
        unsafe { core.attachment.attach_and_ask(create) }
    }

    pub(super) fn check(&self) -> Result {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        if let Some(node) = self.node {
            // SAFETY: The function has no requirements.
            if !unsafe { bindings::tether_node_online(node) } {
                return Err(EINVAL);
            }
        }
        let possible = match self.affinity {
            Affinity::Any => true,
            // SAFETY: The function has no requirements.
            Affinity::Bound(cpu) => unsafe { bindings::tether_cpu_possible(cpu.as_u32()) },
            Affinity::Preferred(cpus) => !cpus.empty(),
        };
        if !possible {
            return Err(EINVAL);
        }
        self.policy.map_or(Ok(()), Policy::check)
    }

    /// Creates a task that will call `main` with `data` when it is first woken, and returns it with
    /// a reference. What this builder says was checked.
    ///
    /// # Safety
    ///
    /// `main` must expect `data`.
    pub(super) unsafe fn create_task(
        &self,
        main: unsafe extern "C" fn(*mut c_void) -> c_int,
        data: *mut c_void,
    ) -> Result<NonNull<bindings::task_struct>> {
        let name = match &self.name {
            Name::Borrowed(name) => name,
            Name::Owned(name) => &**name,
        };
        // SAFETY: By the function's contract. The name is an argument of the format, not the
        // format.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(main),
                data,
                self.node
                    .map_or(bindings::NUMA_NO_NODE, |node| node as c_int),
                // The kernel keeps a copy of a name that is longer than `comm`, and warns of one
                // that is too long to be allocated.
                c"%.255s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        // A thread that ends by itself frees its task: this is a reference of our own, taken before
        // it has run.
        //
        // SAFETY: The task is valid: it has not run yet.
        unsafe { bindings::get_task_struct(task) };
        let affine = match self.affinity {
            Affinity::Any => Ok(()),
            Affinity::Bound(cpu) => {
                // SAFETY: The task has not run yet, and the CPU is possible.
                unsafe { bindings::kthread_bind(task, cpu.as_u32()) };
                Ok(())
            }
            Affinity::Preferred(cpus) => {
                // SAFETY: The task has not run yet, and this is done once.
                to_result(unsafe { bindings::kthread_affine_preferred(task, cpus.as_raw()) })
            }
        };
        if let Err(error) = affine {
            // SAFETY: The task has never run and never will, and the reference is ours.
            unsafe { bindings::kthread_stop_put(task) };
            return Err(error);
        }
        if let Some(policy) = self.policy {
            // SAFETY: The task is valid, and `Task` is transparent.
            policy.apply(unsafe { &*task.cast() });
        }
        // SAFETY: A task is not null.
        Ok(unsafe { NonNull::new_unchecked(task) })
    }
}
