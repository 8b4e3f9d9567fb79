// SPDX-License-Identifier: GPL-2.0

//! Rust interval notifier sample: a shadow of a range of user memory.
//!
//! A process writes two native `u64` to `/dev/rust-interval-notifier`: the address and the length
//! of a range of whole pages. From then on, the file has an entry of two `u64` for each page:
//!
//! * the physical address of the page, with bit 0 set, and with bit 1 set if the page is writable;
//!   0 if no page is mapped;
//! * the number of times that the page was invalidated.
//!
//! A read returns the entries of the shadow. A page that is missing in the shadow is looked up, and
//! not faulted in. A driver fills the page tables of its device in this way. The driver holds no
//! reference to the pages, because the notifier is called before a page is unmapped.
//!
//! A second write replaces the range. A forked child must write a range of its own before it can
//! read.
//!
//! ```python
//! import mmap, os, struct
//! memory = mmap.mmap(-1, 65536, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
//! memory[0] = 1
//! start = ...  # address of the memory
//! device = os.open("/dev/rust-interval-notifier", os.O_RDWR)
//! os.write(device, struct.pack("QQ", start, 65536))
//! print("page %x, changed %d times" % struct.unpack("QQ", os.pread(device, 16, 0)))
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
    MmWithUser, //
};

module! {
    type: IntervalNotifierModule,
    name: "rust_interval_notifier",
    authors: ["The Tether developers"],
    description: "Rust interval notifier sample",
    license: "GPL",
}

/// The maximum number of pages of a range: 1 GiB.
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

/// The shadow's entry of a page.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// `None` if the page must be looked up.
    pfn: Option<Pfn>,
    changes: u64,
}

/// The notifier of a range that starts at `start`.
struct Shadowed {
    start: usize,
}

impl MmuIntervalNotifier for Shadowed {
    type Shadow = KVVec<Entry>;
    type Passes = OnePass;

    fn try_invalidate(
        &self,
        range: &MmuNotifierRange<'_>,
        shadow: &mut KVVec<Entry>,
    ) -> Result<(), WouldSleep> {
        // There is no device to wait for, so this does not sleep.
        self.invalidate(range, shadow);
        Ok(())
    }
}

impl Invalidate for Shadowed {
    fn invalidate(&self, range: &MmuNotifierRange<'_>, shadow: &mut KVVec<Entry>) {
        // `range` may exceed the range of this notifier.
        let index = |address: usize| address.saturating_sub(self.start) / PAGE_SIZE;
        let last = index(range.end() - 1);
        for entry in shadow.iter_mut().take(last + 1).skip(index(range.start())) {
            entry.pfn = None;
            entry.changes += 1;
        }
    }
}

type Shadow = Registration<Shadowed>;

/// Returns the entry of a page. Looks the page up if the shadow does not have it.
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
        // Do not record a missing page: the notifier is not called when a page is mapped.
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
        KBox::pin_init(
            pin_init!(Self { shadow <- new_mutex!(None) }),
            GFP_KERNEL_ACCOUNT,
        )
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
        let entries = KVVec::from_elem(Entry::default(), size / PAGE_SIZE, GFP_KERNEL_ACCOUNT)?;
        let shadow = Arc::pin_init(
            new_mmu_interval_notifier!(mm, start, size, Shadowed { start }, entries),
            GFP_KERNEL_ACCOUNT,
        )?;
        let old = kiocb.file().get_ref().shadow.lock().replace(shadow);
        // Drop the old range outside of the lock. Its notifier is removed later, by a work item.
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
