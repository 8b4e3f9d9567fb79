// SPDX-License-Identifier: GPL-2.0

//! Rust interval notifier sample: a shadow of a range of a process's memory.
//!
//! A process writes two native `u64` to `/dev/rust-interval-notifier`, the address and the length
//! of a range of whole pages. From then on the file has an entry of two `u64` for each page:
//!
//! * where the page is in physical memory, with bit 0 set, and bit 1 if it may be written; or 0, if
//!   there is none;
//! * how often it has gone away, or was changed.
//!
//! What is read is what the shadow has; a page that it does not have is looked up, and not brought
//! in. A driver would fill page tables of its device so. It holds no reference to the pages: it
//! hears when they go. A second write begins again; a child of the process has to begin with its
//! own memory.
//!
//! ```python
//! import mmap, struct
//! memory = mmap.mmap(-1, 65536, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
//! memory[0] = 1
//! start = ...  # where it is
//! device = open("/dev/rust-interval-notifier", "r+b", buffering=0)
//! device.write(struct.pack("QQ", start, 65536))
//! device.seek(0)
//! print("page %x, changed %d times" % struct.unpack("QQ", device.read(16)))
//! ```

use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    new_mutex,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use tether::misc_device::{
    Kiocb,
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};
use tether::mm::{
    hmm::{
        HmmRange,
        Pfn, //
    },
    interval_notifier::{
        new_interval_notifier,
        IntervalNotifier,
        Invalidate,
        OnePass,
        Registration, //
    },
    mmu_notifier::{
        Range,
        WouldSleep, //
    },
    MmWithUser, //
};

module! {
    type: IntervalNotifierModule,
    name: "rust_interval_notifier",
    authors: ["The Tether developers"],
    description: "Rust interval notifier sample",
    license: "GPL",
}

/// How many pages a range has at the most: 1 GiB.
const PAGES: usize = 1 << (30 - PAGE_SHIFT);

#[pin_data]
struct IntervalNotifierModule {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for IntervalNotifierModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"rust-interval-notifier",
            }),
        })
    }
}

/// What is known of a page.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Nothing, if it is to be looked up.
    pfn: Option<Pfn>,
    changes: u64,
}

/// What begins where.
struct Shadowed {
    start: usize,
}

impl IntervalNotifier for Shadowed {
    type Shadow = KVVec<Entry>;
    type Passes = OnePass;

    fn try_invalidate(
        &self,
        range: &Range<'_>,
        shadow: &mut KVVec<Entry>,
    ) -> Result<(), WouldSleep> {
        // There is no device to wait for.
        self.invalidate(range, shadow);
        Ok(())
    }
}

impl Invalidate for Shadowed {
    fn invalidate(&self, range: &Range<'_>, shadow: &mut KVVec<Entry>) {
        // It may be larger than ours.
        let index = |address: usize| address.saturating_sub(self.start) / PAGE_SIZE;
        let last = index(range.end() - 1);
        for entry in shadow.iter_mut().take(last + 1).skip(index(range.start())) {
            entry.pfn = None;
            entry.changes += 1;
        }
    }
}

type Shadow = Registration<Shadowed>;

/// The entry of a page; looks it up if that is needed.
fn entry(shadow: &Shadow, mm: &MmWithUser, index: usize) -> Result<(Pfn, u64)> {
    let known = shadow
        .shadow()
        .with(|entries| entries[index].pfn.map(|pfn| (pfn, entries[index].changes)));
    if let Some(known) = known {
        return Ok(known);
    }
    let mut pfns = [Pfn::default()];
    let start = shadow.notifier().start + index * PAGE_SIZE;
    shadow.fault(mm, HmmRange::new(start, &mut pfns), |pfns, entries| {
        // One that comes is not told of.
        entries[index].pfn = pfns[0].is_valid().then_some(pfns[0]);
        (pfns[0], entries[index].changes)
    })
}

#[pin_data]
struct Device {
    #[pin]
    shadow: Mutex<Option<Arc<Shadow>>>,
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(pin_init!(Self { shadow <- new_mutex!(None) }), GFP_KERNEL)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        if iov.len() != size_of::<[usize; 2]>() {
            return Err(EINVAL);
        }
        let mut range = KVVec::new();
        let length = iov.copy_from_iter_vec(&mut range, GFP_KERNEL)?;
        let [start, size] = <[usize; 2]>::read_from_bytes(&range).map_err(|_| EINVAL)?;
        if start % PAGE_SIZE != 0 || size % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        if size / PAGE_SIZE > PAGES {
            return Err(E2BIG);
        }
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let entries = KVVec::from_elem(Entry::default(), size / PAGE_SIZE, GFP_KERNEL)?;
        let shadow = Arc::pin_init(
            new_interval_notifier!(mm, start, size, Shadowed { start }, entries),
            GFP_KERNEL,
        )?;
        let old = kiocb.file().get_ref().shadow.lock().replace(shadow);
        // Outside of the lock. It is removed later.
        drop(old);
        Ok(length)
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        const SIZE: usize = size_of::<[u64; 2]>();
        let position = usize::try_from(kiocb.ki_pos()).map_err(|_| EINVAL)?;
        if position % SIZE != 0 || iov.len() % SIZE != 0 {
            return Err(EINVAL);
        }
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        let shadow = kiocb.file().get_ref().shadow.lock().clone();
        let shadow = shadow.ok_or(EINVAL)?;
        if !shadow.is_on(mm) {
            return Err(EPERM);
        }
        let pages = shadow.shadow().with(|entries| entries.len());
        let mut read = 0;
        for index in (position / SIZE..pages).take(iov.len() / SIZE) {
            let (pfn, changes) = entry(&shadow, mm, index)?;
            let page = pfn.number().map_or(0, |number| {
                (number << PAGE_SHIFT) | usize::from(pfn.is_writable()) << 1 | 1
            });
            let bytes = [page as u64, changes];
            if iov.copy_to_iter(bytes.as_bytes()) != SIZE {
                return Err(EFAULT);
            }
            read += SIZE;
        }
        *kiocb.ki_pos_mut() += read as i64;
        Ok(read)
    }
}
