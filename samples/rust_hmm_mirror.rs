// SPDX-License-Identifier: GPL-2.0

//! Rust mirror driver sample: two devices that read and write the memory of the process that has
//! opened them, as `/dev/hmm_dmirror0` and `1`.
//!
//! They speak the ABI of the kernel's own test driver (`lib/test_hmm_uapi.h`), so that its program
//! tests them: `tools/testing/selftests/mm/hmm-tests.c`. Memory of their own, which pages would
//! migrate to, they do not have: `ENOTTY`.
//!
//! The device is a loop that copies; a real one would have its own translations, and be told to
//! forget them in [`MirrorDevice::invalidate`].

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
        Range,
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
    /// Where the device reads or writes.
    addr: u64,
    /// What it writes, or where what it reads is put.
    ptr: u64,
    npages: u64,
    /// How many it has copied.
    cpages: u64,
    /// How often it has looked pages up.
    faults: u64,
}

const READ: u32 = _IOWR::<Command>('H' as u32, 0);
const WRITE: u32 = _IOWR::<Command>('H' as u32, 1);
const SNAPSHOT: u32 = _IOWR::<Command>('H' as u32, 4);
const EXCLUSIVE: u32 = _IOWR::<Command>('H' as u32, 5);
const CHECK_EXCLUSIVE: u32 = _IOWR::<Command>('H' as u32, 6);
const READ_UNLOCKED: u32 = _IOWR::<Command>('H' as u32, 9);

// What a snapshot says of a page.
const PROT_ERROR: u8 = 0xff;
const PROT_NONE: u8 = 0x00;
const PROT_READ: u8 = 0x01;
const PROT_WRITE: u8 = 0x02;
const PROT_PMD: u8 = 0x04;
const PROT_PUD: u8 = 0x08;
const PROT_ZERO: u8 = 0x10;

// How many pages these map at once.
const PMD_ORDER: u32 = 9;
const PUD_ORDER: u32 = 18;

/// It has no translations of its own.
struct Copier;

impl MirrorDevice for Copier {
    fn invalidate(&self, _range: &Range<'_>) {}

    fn try_invalidate(&self, _range: &Range<'_>) -> Result<(), WouldSleep> {
        Ok(())
    }
}

/// An open file: a mirror of its opener's address space.
#[pin_data]
struct Device {
    #[pin]
    mirror: Mirror<Copier>,
}

/// How many pages a command, or a mapping, is for at the most: 256 MiB. What it takes is charged to
/// the caller.
const PAGES: usize = 1 << (28 - PAGE_SHIFT);

/// The pages that a command is for: the first one's address, and how many.
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

/// What a command points at.
fn user(command: &Command, length: usize) -> Result<UserSlice> {
    let address = usize::try_from(command.ptr).map_err(|_| EINVAL)?;
    Ok(UserSlice::new(UserPtr::from_addr(address), length))
}

impl Device {
    /// What the device reads.
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

    /// Copies what is in the table, up to the first page that is not.
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

    /// What the device writes.
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

    /// What the process has.
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

    /// Takes pages for the device alone, and reads them.
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
            // The process was quicker.
            return Err(ENOENT);
        }
        user(command, bounce.len())?.writer().write_slice(&bounce)
    }

    /// Refuses if the device has some of the pages for itself.
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

/// As long as the kernel's driver tries.
const TIMEOUT: Delta = Delta::from_millis(1000);

/// What a snapshot says of a page.
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
        // All but the last page: there is none, and the length of all would be one too large.
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
        // A child has the file, and another address space.
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
