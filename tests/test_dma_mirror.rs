// SPDX-License-Identifier: GPL-2.0

//! A driver of QEMU's `edu` device, which copies pages of a process by DMA. The process that loads
//! the module provides the memory: `length` bytes from `start`; see `dma_mirror_test.c`.
//!
//! An ioctl of `/dev/test-dma-mirror` copies a page to another page through the device's buffer;
//! another ioctl returns the DMA address of a page.

use kernel::{
    device::Core,
    dma::{
        Device as _,
        DmaMask, //
    },
    driver,
    fs::File,
    io::Io,
    ioctl::{
        _IO,
        _IOW, //
    },
    page::PAGE_SHIFT,
    pci,
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use tether::misc_device::{
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};
use tether::mm::{
    dma_mirror::{
        new_dma_mirror,
        DmaMirror, //
    },
    hmm::Request,
    mirror::MirrorDevice,
    mmu_notifier::{
        MmuNotifierRange,
        WouldSleep, //
    },
    MmWithUser, //
};

/// The registers of the device; see `docs/specs/edu.rst` of QEMU.
mod edu {
    pub(super) const VENDOR: u16 = 0x1234;
    pub(super) const DEVICE: u16 = 0x11e8;
    pub(super) const CLASS: u32 = 0x00ff00;
    pub(super) const SIZE: usize = 0x100;
    pub(super) const SOURCE: usize = 0x80;
    pub(super) const DESTINATION: usize = 0x88;
    pub(super) const COUNT: usize = 0x90;
    pub(super) const COMMAND: usize = 0x98;
    pub(super) const START: u64 = 1 << 0;
    pub(super) const TO_MEMORY: u64 = 1 << 1;
    /// The DMA address of the device's own buffer.
    pub(super) const BUFFER: u64 = 0x40000;
    /// Half of the buffer of one page: QEMU exits if the whole buffer is copied at once.
    pub(super) const HALF: u64 = kernel::page::PAGE_SIZE as u64 / 2;
}

/// A mirror with nothing to wait for in an invalidation: `copy()` waits for its DMA under the lock
/// of the table, so that no DMA is in flight when an invalidation holds the lock.
struct Waited;

impl MirrorDevice for Waited {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>) {}

    fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}

/// The device, and the mirror of the memory that it copies.
#[pin_data]
struct State {
    bar: pci::DevresBar<{ edu::SIZE }>,
    #[pin]
    mirror: DmaMirror<Waited>,
}

kernel::sync::global_lock! {
    // SAFETY: `init()` of the module initialises this lock before the driver is registered, and all
    // accesses are made by the driver.
    unsafe(uninit) static STATE: Mutex<Option<Arc<State>>> = None;
}

impl State {
    /// Starts the copy of half a page by DMA, and waits for its end.
    fn transfer(&self, source: u64, destination: u64, command: u64) -> Result {
        self.bar
            .try_access_with(|bar| {
                bar.try_write64(source, edu::SOURCE)?;
                bar.try_write64(destination, edu::DESTINATION)?;
                bar.try_write64(edu::HALF, edu::COUNT)?;
                bar.try_write64(edu::START | command, edu::COMMAND)
            })
            .ok_or(ENODEV)??;
        for _ in 0..1000 {
            let busy = self
                .bar
                .try_access_with(|bar| bar.try_read64(edu::COMMAND))
                .ok_or(ENODEV)??;
            if busy & edu::START == 0 {
                return Ok(());
            }
            fsleep(Delta::from_millis(5));
        }
        Err(EIO)
    }

    /// Copies a page to another page.
    fn copy(&self, mm: &MmWithUser, from: usize, to: usize) -> Result {
        loop {
            let copied = self.mirror.with_addresses(|addresses| {
                let source = addresses.get(from)?;
                let destination = addresses.get(to).filter(|it| it.is_writable())?;
                let copy = |offset| {
                    self.transfer(source.address() + offset, edu::BUFFER, 0)?;
                    let to = destination.address() + offset;
                    self.transfer(edu::BUFFER, to, edu::TO_MEMORY)
                };
                Some(copy(0).and_then(|()| copy(edu::HALF)))
            });
            if let Some(result) = copied {
                return result;
            }
            self.mirror.fault(mm, from, 1, Request::Read, None)?;
            self.mirror.fault(mm, to, 1, Request::Write, None)?;
        }
    }
}

struct Driver;

#[pin_data]
struct Data {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

kernel::pci_device_table!(
    PCI_TABLE,
    <Driver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_class(edu::CLASS, 0xffff00), ())]
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
            if pdev.vendor_id().as_raw() != edu::VENDOR || pdev.device_id() != edu::DEVICE {
                return Err(ENODEV);
            }
            pdev.enable_device_mem()?;
            pdev.set_master();
            // SAFETY: No DMA mapping of the device exists yet, so none is used concurrently.
            unsafe { pdev.dma_set_mask_and_coherent(DmaMask::new::<64>())? };
            let bar = pdev
                .iomap_region_sized::<{ edu::SIZE }>(0, c"edu")?
                .into_devres()?;
            let task = current!();
            // The mirrored pages are those of the process that loads the module.
            let mm = task.mm().ok_or(EINVAL)?;
            let (start, length) = (
                module_parameters::start.value() as usize,
                module_parameters::length.value() as usize,
            );
            let state = Arc::pin_init(
                try_pin_init!(State {
                    bar,
                    mirror <- new_dma_mirror!(mm, start, length, pdev.as_ref(), Waited),
                }? Error),
                GFP_KERNEL,
            )?;
            if module_parameters::forget.value() {
                core::mem::forget(state.clone());
            }
            *STATE.lock() = Some(state);
            Ok(try_pin_init!(Data {
                _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                    name: c"test-dma-mirror",
                }),
            }? Error))
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, _this: Pin<&Data>) {
        let state = STATE.lock().take();
        drop(state);
    }
}

struct Device;

const COPY: u32 = _IOW::<[u64; 2]>(0xBD, 1);
const FRAME: u32 = _IO(0xBD, 2);

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn ioctl(_me: &Self, _file: &File, command: u32, argument: usize) -> Result<isize> {
        let state = STATE.lock().clone().ok_or(ENODEV)?;
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        if !state.mirror.is_on(mm) {
            return Err(EPERM);
        }
        match command {
            COPY => {
                let pointer = UserPtr::from_addr(argument);
                let [from, to]: [u64; 2] = UserSlice::new(pointer, 16).reader().read()?;
                state.copy(mm, from as usize, to as usize)?;
                Ok(0)
            }
            // The DMA page number of a page, or 0 if the page is not in the table.
            FRAME => Ok(state.mirror.with_addresses(|addresses| {
                addresses
                    .get(argument)
                    .map_or(0, |it| (it.address() >> PAGE_SHIFT) as isize)
            })),
            _ => Err(ENOTTY),
        }
    }
}

#[pin_data]
struct TestDmaMirror {
    #[pin]
    _driver: driver::Registration<pci::Adapter<Driver>>,
}

impl kernel::InPlaceModule for TestDmaMirror {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: A module's init is called once.
        unsafe { STATE.init() };
        try_pin_init!(Self {
            _driver <- driver::Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}

module! {
    type: TestDmaMirror,
    name: "test_dma_mirror",
    authors: ["The Tether developers"],
    description: "Test: DMA to pages of a process",
    license: "GPL",
    params: {
        start: u64 {
            default: 0,
            description: "The start address of the pages in the loading process",
        },
        length: u64 {
            default: 0,
            description: "The length in bytes",
        },
        forget: bool {
            default: false,
            description: "Whether the mirror is leaked",
        },
    },
}
