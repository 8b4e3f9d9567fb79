// SPDX-License-Identifier: GPL-2.0

//! Rust registration cache sample: ranges of memory, each evicted when it changes.
//!
//! A driver keeps memory that it has prepared for its device until the memory changes. A process
//! writes the address and the length of a range, two `u64`, to `/dev/rust-registration-cache`, or
//! the length 0 to remove it. A read returns the addresses of evicted ranges, and waits for the
//! first one. A mapping of the file has the number of ranges and that of evictions.

use kernel::{
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVarBox,
        Arc,
        SpinLock, //
    }, //
};
use tether::misc_device::{
    Kiocb,
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    PollTable,
    Ready,
    TransientFile, //
};
use tether::mm::{
    mmu_interval_notifier::{
        new_mmu_interval_notifier,
        Invalidate,
        MmuIntervalNotifier,
        OnePass,
        Registration, //
    },
    mmu_notifier::{
        MmuNotifierRange,
        WouldSleep, //
    },
    shared_counters::{
        Counter,
        SharedCounters, //
    }, //
};

module! {
    type: CacheModule,
    name: "rust_registration_cache",
    authors: ["The Tether developers"],
    description: "Rust registration cache sample",
    license: "GPL",
}

#[pin_data]
struct CacheModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for CacheModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let name = c"rust-registration-cache";
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }
}

/// Maximum number of ranges of a file, including ranges that were evicted and not read.
const MAX_RANGES: usize = 4096;

/// The notifier of a range. `changed` is written with the lock of the cache held.
struct Cached {
    cache: Arc<Cache>,
    start: u64,
    changed: Atomic<bool>,
}

impl MmuIntervalNotifier for Cached {
    type Shadow = ();
    type Passes = OnePass;

    fn try_invalidate(&self, _: &MmuNotifierRange<'_>, (): &mut ()) -> Result<(), WouldSleep> {
        self.cache.evict(self);
        Ok(())
    }
}

impl Invalidate for Cached {
    fn invalidate(&self, _: &MmuNotifierRange<'_>, (): &mut ()) {
        self.cache.evict(self);
    }
}

struct State {
    ranges: RBTree<u64, Pin<KBox<Registration<Cached>>>>,
    /// Addresses to be read. The capacity is `MAX_RANGES`, so that an eviction needs no memory.
    evicted: KVVec<u64>,
    /// Number of ranges and of addresses to be read.
    used: usize,
}

#[pin_data]
struct Cache {
    #[pin]
    state: SpinLock<State>,
    readable: PollCondVarBox,
    status: SharedCounters,
}

impl Cache {
    /// Returns the counters: ranges in the cache, and evictions.
    fn counters(&self) -> Result<(&Counter, &Counter)> {
        Ok((
            self.status.get(0).ok_or(EINVAL)?,
            self.status.get(1).ok_or(EINVAL)?,
        ))
    }

    /// Called by the notifier of a range. A registration may be dropped in its own callback.
    fn evict(&self, cached: &Cached) {
        let mut state = self.state.lock();
        cached.changed.store(true, Relaxed);
        let own = |it: &Pin<KBox<Registration<Cached>>>| core::ptr::eq(it.notifier(), cached);
        if !state.ranges.get(&cached.start).is_some_and(own) {
            return;
        }
        let range = state.ranges.remove(&cached.start);
        let _ = state.evicted.push_within_capacity(cached.start);
        drop(state);
        drop(range);
        if let Ok((ranges, evictions)) = self.counters() {
            ranges.sub(1);
            evictions.add(1);
        }
        self.readable.notify_all();
    }

    fn add(self: &Arc<Self>, start: u64, length: usize) -> Result {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let node = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let (cache, changed) = (self.clone(), Atomic::new(false));
        let cached = Cached {
            cache,
            start,
            changed,
        };
        let range = KBox::pin_init(
            new_mmu_interval_notifier!(mm, start as usize, length, cached, ()),
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut state = self.state.lock();
        // An error drops `range` after the lock, which was declared later.
        if range.notifier().changed.load(Relaxed) {
            return Err(EAGAIN);
        }
        if state.ranges.get(&start).is_some() {
            return Err(EEXIST);
        }
        if state.used == MAX_RANGES {
            return Err(ENOSPC);
        }
        state.used += 1;
        state.ranges.insert(node.into_node(start, range));
        self.counters()?.0.add(1);
        Ok(())
    }

    fn remove(&self, start: u64) -> Result {
        let mut state = self.state.lock();
        let range = state.ranges.remove(&start).ok_or(ENOENT)?;
        state.used -= 1;
        drop(state);
        drop(range);
        self.counters()?.0.sub(1);
        Ok(())
    }
}

struct Device(Arc<Cache>);

impl Drop for Device {
    fn drop(&mut self) {
        // The notifiers of the ranges own the cache as well.
        let ranges = core::mem::replace(&mut self.0.state.lock().ranges, RBTree::new());
        drop(ranges);
    }
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let evicted = KVVec::with_capacity(MAX_RANGES, GFP_KERNEL_ACCOUNT)?;
        let name = c"rust-registration-cache";
        let state = State {
            ranges: RBTree::new(),
            evicted,
            used: 0,
        };
        let cache = Arc::pin_init(
            try_pin_init!(Cache {
                state <- new_spinlock!(state),
                readable: PollCondVarBox::new(name, static_lock_class!())?,
                status: SharedCounters::new(2, GFP_KERNEL_ACCOUNT)?,
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(KBox::new(Device(cache), GFP_KERNEL_ACCOUNT)?)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let mut range = [0; 16];
        if iov.len() != range.len() || iov.copy_from_iter(&mut range) != range.len() {
            return Err(EINVAL);
        }
        let [start, length] = <[u64; 2]>::read_from_bytes(&range).map_err(|_| EINVAL)?;
        match length {
            0 => kiocb.file().0.remove(start)?,
            length => kiocb.file().0.add(start, length as usize)?,
        }
        Ok(range.len())
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let cache = &kiocb.file().0;
        let mut state = cache.state.lock();
        if iov.len() < size_of::<u64>() {
            return Err(EINVAL);
        }
        while state.evicted.is_empty() {
            if kiocb.is_nonblocking() {
                return Err(EAGAIN);
            }
            if cache.readable.wait_interruptible(&mut state) {
                return Err(ERESTARTSYS);
            }
        }
        let start = state.evicted.remove(0).map_err(|_| EINVAL)?;
        drop(state);
        let copied = iov.copy_to_iter(start.as_bytes());
        let mut state = cache.state.lock();
        if copied != size_of::<u64>() {
            // `used` still counts the address, so that there is room to read it again.
            let _ = state.evicted.push_within_capacity(start);
            cache.readable.notify_all();
            return Err(EFAULT);
        }
        state.used -= 1;
        Ok(copied)
    }

    fn poll<'a>(me: &'a Self, _file: &File, table: &PollTable<'a>) -> Ready {
        table.register_wait(&me.0.readable);
        // Writing does not wait.
        match me.0.state.lock().evicted.is_empty() {
            true => Ready::WRITE,
            false => Ready::WRITE | Ready::READ,
        }
    }

    fn mmap(me: &Self, _file: &File, area: &VmaNew) -> Result {
        me.0.status.map(area)
    }
}
