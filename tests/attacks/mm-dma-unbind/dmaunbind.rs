// SPDX-License-Identifier: GPL-2.0
//! Unregisters the driver of a device inside a closure that uses the device's DMA addresses.
//!
//! When the device is unbound, the library waits for closures of with_addresses() before it unmaps
//! the pages. If it waited for the closure that unbinds the device, the thread would wait for
//! itself.
//!
//! A sound library does not wait in this case: the drop of the driver returns, and the closure
//! finds no addresses afterwards.
use kernel::{
    device::Core,
    dma::{Device as _, DmaMask},
    driver, new_mutex,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::{Arc, Mutex, SetOnce},
    time::Delta,
};
use tether::{
    kthread::{self, Thread},
    mm::{
        dma_mirror::{new_dma_mirror, DmaMirror},
        mirror::MirrorDevice,
        mmu_notifier::{MmuNotifierRange, WouldSleep},
    },
};
module! { type: M, name: "dmaunbind", authors: ["h"], description: "attack", license: "GPL", }
struct Nothing;
impl MirrorDevice for Nothing {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>) {}
    fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}
type Bound = Pin<KBox<driver::Registration<pci::Adapter<Driver>>>>;
#[pin_data]
struct Kept {
    #[pin]
    mirror: Mutex<Option<Pin<KBox<DmaMirror<Nothing>>>>>,
    #[pin]
    driver: Mutex<Option<Bound>>,
}
static KEPT: SetOnce<Arc<Kept>> = SetOnce::new();
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
            // This function of the kernel crate is the only unsafe call; each driver that does DMA
            // calls it.
            //
            // SAFETY: `dma_set_mask_and_coherent()` must not run concurrently with DMA allocations
            // or mappings of the device. `probe()` is the only user of the device, and maps no
            // memory before this call.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
            let task = current!();
            let mm = task.mm().ok_or(EINVAL)?;
            let mirror = KBox::pin_init(
                new_dma_mirror!(mm, 0x10000, 16 * PAGE_SIZE, pdev.as_ref(), Nothing),
                GFP_KERNEL,
            )?;
            if let Some(kept) = KEPT.as_ref() {
                *kept.mirror.lock() = Some(mirror);
            }
            pr_info!("dmaunbind: bound\n");
            Ok(try_pin_init!(Data { _n: 0 }? Error))
        })
    }
}
struct M {
    _thread: Thread<()>,
}
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let kept = Arc::pin_init(
            pin_init!(Kept { mirror <- new_mutex!(None), driver <- new_mutex!(None) }),
            GFP_KERNEL,
        )?;
        KEPT.populate(kept.clone());
        let driver: Bound = KBox::pin_init(
            driver::Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
            GFP_KERNEL,
        )?;
        *kept.driver.lock() = Some(driver);
        let thread = kthread::spawn(c"dmaunbind", move |context| {
            context.sleep_for(Delta::from_secs(1));
            let mirror = kept.mirror.lock().take();
            let driver = kept.driver.lock().take();
            let (Some(mirror), Some(driver)) = (mirror, driver) else {
                return;
            };
            let found = mirror.with_addresses(|addresses| {
                pr_info!("dmaunbind: unbinding\n");
                drop(driver);
                addresses.get(0x10000).is_some()
            });
            pr_info!("dmaunbind: unbound, {found}\n");
        })?;
        Ok(M { _thread: thread })
    }
}
