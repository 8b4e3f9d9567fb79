// SPDX-License-Identifier: GPL-2.0

//! Rust mirror driver sample: two devices, `/dev/hmm_dmirror0` and `1`, that read and write the
//! memory of the process that has opened them.
//!
//! They implement the ABI of the kernel's test driver (`lib/test_hmm_uapi.h`), so the kernel's test
//! program `tools/testing/selftests/mm/hmm-tests.c` tests them. They have no device memory:
//! commands that migrate pages fail with `ENOTTY`.
//!
//! The device is a loop that copies memory. A real device has translations, which the driver
//! invalidates in [`MirrorDevice::invalidate`].

use kernel::{
    fs::File,
    ioctl::_IOWR,
    mm::virt::VmaNew,
    page::{
        Page,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    time::Delta,
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
    hmm::{
        Pfn,
        Request, //
    },
    mirror::{
        new_mirror,
        Mirror,
        MirrorDevice, //
    },
    mmu_notifier::{
        MmuNotifierRange,
        WouldSleep, //
    },
    MmWithUser, //
};

module! {
    type: HmmMirrorModule,
    name: "rust_hmm_mirror",
    authors: ["The Tether developers"],
    description: "Rust mirror driver sample",
    license: "GPL",
}

#[pin_data]
struct HmmMirrorModule {
    #[pin]
    _first: MiscDeviceRegistration<Device>,
    #[pin]
    _second: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for HmmMirrorModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _first <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"hmm_dmirror0",
            }),
            _second <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"hmm_dmirror1",
            }),
        })
    }
}

/// `struct hmm_dmirror_cmd`
#[derive(Clone, Copy, FromBytes, IntoBytes)]
#[repr(C)]
struct Command {
    /// The address in the process at which the device reads or writes.
    addr: u64,
    /// The buffer to write from, or to copy the data read to.
    ptr: u64,
    npages: u64,
    /// Number of pages copied.
    cpages: u64,
    /// Number of page look-ups.
    faults: u64,
}

const READ: u32 = _IOWR::<Command>('H' as u32, 0);
const WRITE: u32 = _IOWR::<Command>('H' as u32, 1);
const SNAPSHOT: u32 = _IOWR::<Command>('H' as u32, 4);
const EXCLUSIVE: u32 = _IOWR::<Command>('H' as u32, 5);
const CHECK_EXCLUSIVE: u32 = _IOWR::<Command>('H' as u32, 6);
const READ_UNLOCKED: u32 = _IOWR::<Command>('H' as u32, 9);

// The permissions of a page, as a snapshot reports them.
const PROT_ERROR: u8 = 0xff;
const PROT_NONE: u8 = 0x00;
const PROT_READ: u8 = 0x01;
const PROT_WRITE: u8 = 0x02;
const PROT_PMD: u8 = 0x04;
const PROT_PUD: u8 = 0x08;
const PROT_ZERO: u8 = 0x10;

// Orders of the mappings at PMD and PUD level.
const PMD_ORDER: u32 = 9;
const PUD_ORDER: u32 = 18;

/// A device without translations.
struct Copier;

impl MirrorDevice for Copier {
    fn invalidate(&self, _range: &MmuNotifierRange<'_>) {}

    fn try_invalidate(&self, _range: &MmuNotifierRange<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}

/// An open file: a mirror of its opener's address space.
#[pin_data]
struct Device {
    #[pin]
    mirror: Mirror<Copier>,
}

/// The maximum number of pages of a command or a mapping: 256 MiB. The memory is charged to the
/// caller.
const PAGES: usize = 1 << (28 - PAGE_SHIFT);

/// Returns the address of the first page of a command, and the number of pages.
fn range(command: &Command) -> Result<(usize, usize)> {
    let start = usize::try_from(command.addr).map_err(|_| EINVAL)?;
    let count = usize::try_from(command.npages).map_err(|_| EINVAL)?;
    let length = count.checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
    if start % PAGE_SIZE != 0 || count == 0 || start.checked_add(length).is_none() {
        return Err(EINVAL);
    }
    if count > PAGES {
        return Err(E2BIG);
    }
    Ok((start, count))
}

/// Returns the buffer of a command.
fn user(command: &Command, length: usize) -> Result<UserSlice> {
    let address = usize::try_from(command.ptr).map_err(|_| EINVAL)?;
    Ok(UserSlice::new(UserPtr::from_addr(address), length))
}

impl Device {
    /// Reads the memory of the process.
    fn read(&self, mm: &MmWithUser, command: &mut Command, timeout: Option<Delta>) -> Result {
        let (start, count) = range(command)?;
        let mut bounce = KVVec::with_capacity(count << PAGE_SHIFT, GFP_KERNEL_ACCOUNT)?;
        loop {
            self.copy_from(start, count, &mut bounce)?;
            let done = bounce.len() >> PAGE_SHIFT;
            if done == count {
                break;
            }
            let (next, left) = (start + bounce.len(), count - done);
            self.mirror.fault(mm, next, left, Request::Read, timeout)?;
            command.faults += 1;
        }
        command.cpages = count as u64;
        user(command, bounce.len())?.writer().write_slice(&bounce)
    }

    /// Copies the pages that are in the table, up to the first missing page.
    fn copy_from(&self, start: usize, count: usize, bounce: &mut KVVec<u8>) -> Result {
        self.mirror.with_pages(|pages| {
            while bounce.len() < count << PAGE_SHIFT {
                let Some(frame) = pages.get(start + bounce.len()) else {
                    break;
                };
                frame.append_to(bounce)?;
            }
            Ok(())
        })
    }

    /// Writes the memory of the process.
    fn write(&self, mm: &MmWithUser, command: &mut Command) -> Result {
        let (start, count) = range(command)?;
        let mut bounce = KVVec::new();
        user(command, count << PAGE_SHIFT)?.read_all(&mut bounce, GFP_KERNEL_ACCOUNT)?;
        let mut done = 0;
        loop {
            self.mirror.with_pages(|pages| {
                for from in bounce.chunks_exact(PAGE_SIZE).skip(done) {
                    let frame = pages.get(start + (done << PAGE_SHIFT));
                    let Some(frame) = frame.filter(|frame| frame.is_writable()) else {
                        break;
                    };
                    frame.write(0, from)?;
                    done += 1;
                }
                Ok::<_, Error>(())
            })?;
            if done == count {
                break;
            }
            let (next, left) = (start + (done << PAGE_SHIFT), count - done);
            self.mirror
                .fault(mm, next, left, Request::Write, Some(TIMEOUT))?;
            command.faults += 1;
        }
        command.cpages = count as u64;
        Ok(())
    }

    /// Reports the permissions of the pages, without faulting pages in.
    fn snapshot(&self, mm: &MmWithUser, command: &mut Command) -> Result {
        let (start, count) = range(command)?;
        let mut writer = user(command, count)?.writer();
        let mut pfns = [Pfn::default(); 32];
        while command.cpages < count as u64 {
            let done = command.cpages as usize;
            let length = pfns.len().min(count - done);
            let batch = &mut pfns[..length];
            self.mirror
                .snapshot(mm, start + (done << PAGE_SHIFT), batch)?;
            for pfn in batch {
                writer.write(&permissions(*pfn))?;
            }
            command.cpages += length as u64;
        }
        Ok(())
    }

    /// Makes pages exclusive to the device, and reads them.
    fn make_exclusive(&self, mm: &MmWithUser, command: &mut Command) -> Result {
        let (start, count) = range(command)?;
        for index in 0..count {
            self.mirror
                .make_exclusive(mm, start + (index << PAGE_SHIFT))?;
        }
        let mut bounce = KVVec::with_capacity(count << PAGE_SHIFT, GFP_KERNEL_ACCOUNT)?;
        self.copy_from(start, count, &mut bounce)?;
        command.cpages = (bounce.len() >> PAGE_SHIFT) as u64;
        if command.cpages < command.npages {
            // The process has accessed a page, which has ended the exclusive access.
            return Err(ENOENT);
        }
        user(command, bounce.len())?.writer().write_slice(&bounce)
    }

    /// Fails if the device has exclusive access to any of the pages.
    fn check_exclusive(&self, command: &Command) -> Result {
        let (start, count) = range(command)?;
        let exclusive = self.mirror.with_pages(|pages| {
            (0..count).any(|index| {
                pages
                    .get(start + (index << PAGE_SHIFT))
                    .is_some_and(|frame| frame.is_exclusive())
            })
        });
        if exclusive {
            return Err(EPERM);
        }
        Ok(())
    }
}

/// The timeout of the kernel's test driver.
const TIMEOUT: Delta = Delta::from_millis(1000);

/// Returns the permissions of a page, as a snapshot reports them.
fn permissions(pfn: Pfn) -> u8 {
    if pfn.is_error() {
        return PROT_ERROR;
    }
    if !pfn.is_valid() {
        return PROT_NONE;
    }
    let size = match pfn.order() {
        PMD_ORDER => PROT_PMD,
        PUD_ORDER => PROT_PUD,
        _ => 0,
    };
    let zero = if pfn.is_zero() { PROT_ZERO } else { 0 };
    let access = if pfn.is_writable() {
        PROT_WRITE
    } else {
        PROT_READ
    };
    size | zero | access
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let task = current!();
        let mm = task.mm().ok_or(EINVAL)?;
        // All pages but the last one: it is never mapped, and the length of the whole address space
        // does not fit in a `usize`.
        let all = usize::MAX - (PAGE_SIZE - 1);
        KBox::pin_init(
            try_pin_init!(Self { mirror <- new_mirror!(mm, 0, all, Copier) }? Error),
            GFP_KERNEL,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, number: u32, argument: usize) -> Result<isize> {
        let pointer = UserPtr::from_addr(argument);
        let (mut reader, mut writer) =
            UserSlice::new(pointer, size_of::<Command>()).reader_writer();
        let mut bytes = [0; size_of::<Command>()];
        reader.read_slice(&mut bytes)?;
        let mut command = Command::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
        command.cpages = 0;
        command.faults = 0;
        range(&command)?;
        let task = current!();
        // A child inherits the file, but has another address space.
        let mm = task.mm().ok_or(EINVAL)?;
        if !me.mirror.is_on(mm) {
            return Err(EPERM);
        }
        match number {
            READ => me.read(mm, &mut command, Some(TIMEOUT))?,
            READ_UNLOCKED => me.read(mm, &mut command, None)?,
            WRITE => me.write(mm, &mut command)?,
            SNAPSHOT => me.snapshot(mm, &mut command)?,
            EXCLUSIVE => me.make_exclusive(mm, &mut command)?,
            CHECK_EXCLUSIVE => me.check_exclusive(&command)?,
            _ => return Err(ENOTTY),
        }
        writer.write_slice(command.as_mut_bytes())?;
        Ok(0)
    }

    fn mmap(_me: Pin<&Self>, _file: &File, vma: &VmaNew) -> Result {
        if (vma.end() - vma.start()) >> PAGE_SHIFT > PAGES {
            return Err(ENOMEM);
        }
        let mixed = vma.set_mixedmap();
        for address in (vma.start()..vma.end()).step_by(PAGE_SIZE) {
            let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
            mixed.vm_insert_page(address, &page)?;
        }
        Ok(())
    }
}
