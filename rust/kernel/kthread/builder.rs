// SPDX-License-Identifier: GPL-2.0

//! Creating a thread.

use super::{
    completion::Completion,
    entry::main,
    park,
    payload::Inner,
    policy::{
        Policy,
        PolicyLock, //
    },
    stage::Stage,
    start,
    thread_core::{
        Core,
        CoreRef,
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
    tether::{
        may_sleep,
        Attachment,
        AttachmentOps, //
        Owner,
        Refused,
    },
};
use core::{
    alloc::Layout,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

enum Name<'a> {
    Borrowed(&'a CStr),
    Owned(CString),
}

/// The CPUs on which a thread may run.
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
    /// Creates a builder for a thread with this name.
    ///
    /// `ps` shows the first 15 bytes, which are the thread's `comm`. Where the kernel shows longer
    /// names, it shows the first 255 bytes. A `%` in the name is not special.
    pub fn new(name: &'a CStr) -> Self {
        Self::named(Name::Borrowed(name))
    }

    /// Creates a builder for a thread with a formatted name of any length; see [`fmt!`].
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] if there is not enough memory; [`EINVAL`] if the name contains a NUL.
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

    /// Makes the thread parkable: its body gets a [`Context`] that reports
    /// [`ParkRequest`](super::ParkRequest)s, and its handle has [`Thread::park`].
    pub fn parkable(self) -> Builder<'a, Parkable> {
        Builder {
            settings: self.settings,
            _mode: PhantomData,
        }
    }
}

impl<'a, M: Mode> Builder<'a, M> {
    /// Allocates the thread's stack and task structure on this NUMA node. If no CPUs are set, the
    /// thread prefers the CPUs of this node.
    #[doc(alias = "kthread_create_on_node")]
    pub fn on_node(mut self, node: u32) -> Self {
        self.settings.node = Some(node);
        self
    }

    /// Binds the thread to a CPU. User space cannot change this. If the CPU goes offline, the
    /// thread runs on another CPU.
    #[doc(alias = "kthread_bind")]
    pub fn bind(mut self, cpu: CpuId) -> Self {
        self.settings.affinity = Affinity::Bound(cpu);
        self
    }

    /// Prefers these CPUs. If none of them is online and not isolated, the thread runs on other
    /// CPUs.
    #[doc(alias = "kthread_affine_preferred")]
    pub fn prefer(mut self, cpus: &'a Cpumask) -> Self {
        self.settings.affinity = Affinity::Preferred(cpus);
        self
    }

    /// Sets the scheduling policy. The default is [`Policy::Normal`] with niceness 0.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.policy = Some(policy);
        self
    }

    /// Makes the thread freezable: it freezes when the system is suspended or hibernated, in
    /// [`Context::sleep`] and [`Context::freezable_should_stop`]. Otherwise it continues to run.
    ///
    /// A freezable body that does not call these functions makes a suspend fail after 20 seconds.
    #[doc(alias = "set_freezable")]
    pub fn freezable(mut self) -> Self {
        self.settings.freezable = true;
        self
    }

    /// Starts a thread that runs `body`; see [`spawn`](super::spawn).
    ///
    /// # Context
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// As for [`Builder::create`].
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
    /// The error returns the body, with
    ///
    /// * [`ENOMEM`] or [`EAGAIN`] if there is not enough memory, or there are too many threads;
    /// * [`EINTR`] if the calling task was killed meanwhile;
    /// * [`EINVAL`] if the CPU, node or niceness is out of range, or the mask of preferred CPUs is
    ///   empty; [`EINVAL`] and [`EBUSY`] according to [`Policy::Deadline`];
    /// * [`EDEADLK`] in an interrupt;
    /// * [`ENODEV`] if the module of the body is being removed, [`EINVAL`] if it is not known to
    ///   Tether.
    #[doc(alias = "kthread_create")]
    pub fn create<F, R>(self, body: F) -> Result<Unstarted<R, M>, Refused<F>>
    where
        F: FnOnce(&Context<'_, M>) -> R + Send + 'static,
        R: Send + 'static,
    {
        // INVARIANT: The core is at the beginning of memory for an `Inner<F, R, M>`, and the
        // functions are those of this type.
        let core = match self.settings.new_core(
            Layout::new::<Inner<F, R, M>>(),
            Inner::<F, R, M>::ATTACHMENT_OPS,
            Inner::<F, R, M>::run,
            Inner::<F, R, M>::discard,
        ) {
            Ok(core) => core,
            Err(error) => return Err(Refused::new(body, error)),
        };
        // SAFETY: `put_body()` requires an unshared core of an `Inner<F, R, M>`. `new_core()` has
        // allocated memory with its layout.
        unsafe { Inner::<F, R, M>::put_body(core, body) };
        // SAFETY: `core` is valid. `create_core()` requires that it stays valid until the
        // references of the thread and of the list are dropped: `refs` counts one for each of them.
        match unsafe { self.settings.create_core(core.as_ref()) } {
            Ok(()) => Ok(Unstarted(Thread {
                // INVARIANT: `refs` counts one reference for the handle.
                core: Some(CoreRef(core)),
                _types: PhantomData,
            })),
            Err(error) => {
                // SAFETY: `take_body()` requires the core of an `Inner<F, R, M>`, which `core` is.
                let body = unsafe { Inner::<F, R, M>::take_body(core) };
                // SAFETY: `kfree()` requires memory that was allocated by `kmalloc()` and is not in
                // use. `create_core()` has failed, so that the thread was not created or has ended
                // without being started, and the core is not in the list.
                unsafe { bindings::kfree(core.as_ptr().cast()) };
                match body {
                    Some(body) => Err(Refused::new(body, error)),
                    // The body is only taken by a thread that was started, or by module teardown.
                    None => unreachable!(),
                }
            }
        }
    }
}

impl Settings<'_> {
    /// Allocates memory with this layout, and initialises a core at its beginning. There are
    /// references for the handle, the thread and the list. The caller stores the payload.
    fn new_core(
        &self,
        layout: Layout,
        ops: &'static AttachmentOps,
        run: unsafe fn(NonNull<Core>),
        discard: unsafe fn(NonNull<Core>),
    ) -> Result<NonNull<Core>> {
        self.check()?;
        // The address of `run` is in the text of the body's module.
        let owner = Owner::of(run as *const ())?;
        // A result may be too large for any allocation. This is an error of the caller, so that the
        // kernel must not warn.
        let memory = Kmalloc::alloc(layout, GFP_KERNEL | __GFP_NOWARN, NumaNode::NO_NODE)?;
        let core = memory.cast::<Core>();
        // INVARIANT: `core` is the address of the core, and has the provenance of the whole
        // allocation. There is no task and no payload yet.
        let init = pin_init!(Core {
            attachment <- Attachment::new(owner, ops),
            this: core,
            refs: Refcount::new(3),
            payload: Atomic::new(EMPTY),
            task: Atomic::new(ptr::null_mut()),
            should_stop: Atomic::new(false),
            woken: Atomic::new(false),
            freezable: self.freezable,
            start: start::Start::new(),
            stage: Stage::new(),
            parking <- park::Parking::new(),
            waits: waits::Waits::new(),
            policy_lock <- PolicyLock::new(),
            returned <- Completion::new(),
            run,
            discard,
        });
        // SAFETY: `raw_init()` requires memory that is valid for writes of a `Core` and, because
        // the core is pinned, does not move. `layout` begins with a `Core`, and the memory is not
        // moved until it is freed.
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
            // SAFETY: `create_task()` requires data that `main` expects, which is a core that stays
            // valid until the thread has ended. The thread has a reference; if this fails, no
            // thread exists any more.
            let task = unsafe { self.create_task(main, core.this.as_ptr().cast()) }?;
            // INVARIANT: `create_task()` has returned a task with a reference, which the core owns
            // from here on.
            core.task.store(task.as_ptr(), Release);
            Ok(())
        };
        // SAFETY: `attach_and_request()` requires that the attachment stays valid until it is
        // detached or released, which the core does by the function's contract.
        unsafe { core.attachment.attach_and_request(create) }
    }

    /// Returns the node for the memory of the thread: that of its CPU, unless another one was set.
    fn node(&self) -> c_int {
        match (self.node, self.affinity) {
            (Some(node), _) => node as c_int,
            // SAFETY: `tether_cpu_to_node()` requires a possible CPU, which `check()` has tested.
            (None, Affinity::Bound(cpu)) => unsafe { bindings::tether_cpu_to_node(cpu.as_u32()) },
            (None, _) => bindings::NUMA_NO_NODE,
        }
    }

    pub(super) fn check(&self) -> Result {
        if !may_sleep() {
            return Err(EDEADLK);
        }
        if let Some(node) = self.node {
            // SAFETY: `node_online()` requires a number less than `MAX_NUMNODES`, which is tested
            // before.
            if node >= bindings::MAX_NUMNODES || !unsafe { bindings::node_online(node) } {
                return Err(EINVAL);
            }
        }
        let possible = match self.affinity {
            Affinity::Any => true,
            // SAFETY: `cpu_possible()` requires a number less than `nr_cpu_ids`, which a `CpuId`
            // has by its invariants.
            Affinity::Bound(cpu) => unsafe { bindings::cpu_possible(cpu.as_u32()) },
            Affinity::Preferred(cpus) => !cpus.empty(),
        };
        if !possible {
            return Err(EINVAL);
        }
        let anywhere = matches!(self.affinity, Affinity::Any) && self.node.is_none();
        if !anywhere && matches!(self.policy, Some(Policy::Deadline { .. })) {
            return Err(EINVAL);
        }
        self.policy.map_or(Ok(()), Policy::check)
    }

    /// Creates a task that calls `main` with `data` when it is first woken, and returns the task
    /// with a reference. The settings must have been checked by [`Self::check`].
    ///
    /// # Safety
    ///
    /// `main` must be safe to call with `data`, once, in the new thread.
    pub(super) unsafe fn create_task(
        &self,
        main: unsafe extern "C" fn(*mut c_void) -> c_int,
        data: *mut c_void,
    ) -> Result<NonNull<bindings::task_struct>> {
        let name = match &self.name {
            Name::Borrowed(name) => name,
            Name::Owned(name) => &**name,
        };
        // SAFETY: `kthread_create_on_node()` requires a function and its data, which match by the
        // function's contract, and a format with its arguments: `%.255s` requires a NUL-terminated
        // string.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(main),
                data,
                self.node(),
                // The kernel allocates a copy of a name that is longer than `comm`, and warns if
                // the name is too long to be allocated. Hence the name is limited.
                c"%.255s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        // A thread that ends by itself frees its task. Hence a reference is taken before the thread
        // has run.
        //
        // SAFETY: `get_task_struct()` requires a valid task. The thread has not run yet, so that it
        // has not ended.
        unsafe { bindings::get_task_struct(task) };
        let affine = match self.affinity {
            Affinity::Any => Ok(()),
            Affinity::Bound(cpu) => {
                // SAFETY: `kthread_bind()` requires a thread that has not run yet, and a possible
                // CPU, which `check()` has tested.
                unsafe { bindings::kthread_bind(task, cpu.as_u32()) };
                Ok(())
            }
            Affinity::Preferred(cpus) => {
                // SAFETY: `kthread_affine_preferred()` requires a thread that has not run yet,
                // once, and a valid mask, which `cpus` is.
                to_result(unsafe { bindings::kthread_affine_preferred(task, cpus.as_raw()) })
            }
        };
        let set = affine.and_then(|()| match self.policy {
            // SAFETY: The task is valid, because of the reference taken above. `Task` is a
            // transparent wrapper of `task_struct`.
            Some(policy) => policy.apply(unsafe { &*task.cast() }),
            None => Ok(()),
        });
        if let Err(error) = set {
            // SAFETY: `kthread_stop_put()` requires a kernel thread and a reference that is ours.
            // The reference was taken above; the thread has never run, and is stopped once.
            unsafe { bindings::kthread_stop_put(task) };
            return Err(error);
        }
        // SAFETY: `from_err_ptr()` has succeeded, and `kthread_create_on_node()` does not return
        // null.
        Ok(unsafe { NonNull::new_unchecked(task) })
    }
}
