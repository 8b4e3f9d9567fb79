// SPDX-License-Identifier: GPL-2.0

//! `/dev/test-torture`: creates objects of all kinds, uses them, and ends them in all ways; see
//! `test_torture.h`.

use kernel::{
    fs::File,
    ioctl::_IOW,
    module::this_module,
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        SetOnce, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use ledger::Kind;
use tether::misc_device::{
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration,
    TransientFile, //
};
use tether::syscall::SyscallContext;
use tether::task_work::{
    self,
    Context,
    NotifyMode, //
};

#[path = "kinds.rs"]
mod kinds;

use kinds::{
    Place,
    Thing, //
};

module! {
    type: TestTorture,
    name: "test_torture",
    authors: ["The Tether developers"],
    description: "Test: creates objects of all kinds at random",
    license: "GPL",
}

type Things = Mutex<KVec<KBox<dyn Thing>>>;

/// The objects that the module owns. The module's exit drops them.
static KEPT: SetOnce<Pin<KBox<Things>>> = SetOnce::new();

/// The maximum number of these objects. Beyond it, the oldest object is dropped.
const MOST_KEPT: usize = 32;

fn keep(thing: KBox<dyn Thing>) -> Result {
    let kept = KEPT.as_ref().ok_or(ENODEV)?;
    let mut kept = kept.lock();
    let oldest = (kept.len() >= MOST_KEPT)
        .then(|| kept.remove(0))
        .transpose();
    let result = kept.push(thing, GFP_KERNEL);
    drop(kept);
    drop(oldest);
    Ok(result?)
}

#[pin_data(PinnedDrop)]
struct TestTorture {
    #[pin]
    _device: MiscDeviceRegistration<Device>,
}

impl kernel::InPlaceModule for TestTorture {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            KEPT.populate(KBox::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)?);
            Ok(try_pin_init!(Self {
                _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                    name: c"test-torture",
                }),
            }? Error))
        })
    }
}

#[pinned_drop]
impl PinnedDrop for TestTorture {
    fn drop(self: Pin<&mut Self>) {
        // No file is open and no work is pending, so that no further object is added.
        if let Some(kept) = KEPT.as_ref() {
            let all = core::mem::replace(&mut *kept.lock(), KVec::new());
            drop(all);
        }
    }
}

const SLOTS: usize = 16;

/// The private data of an open file.
#[pin_data]
struct Device {
    #[pin]
    slots: Mutex<[Option<KBox<dyn Thing>>; SLOTS]>,
}

/// Registers a notifier on the address space of the task that runs this work.
fn watch(context: &Context<'_>) {
    if let Some(mm) = context.mm() {
        // Registration fails if the task is being killed.
        if let Ok(thing) = kinds::notifier_on(mm) {
            let _ = keep(thing);
        }
    }
}

impl Device {
    fn take(&self, slot: usize) -> Result<KBox<dyn Thing>> {
        self.slots.lock()[slot].take().ok_or(ENOENT)
    }

    fn put(&self, slot: usize, thing: KBox<dyn Thing>) {
        let old = self.slots.lock()[slot].replace(thing);
        drop(old);
    }
}

const TORTURE: u32 = _IOW::<[u32; 5]>(0xBE, 1);

#[vtable]
impl MiscDevice for Device {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &TransientFile, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(
            pin_init!(Self { slots <- new_mutex!([const { None }; SLOTS]) }),
            GFP_KERNEL,
        )
    }

    fn ioctl_in_syscall(
        me: Pin<&Self>,
        _file: &File,
        command: u32,
        argument: usize,
        context: &SyscallContext<'_>,
    ) -> Result<isize> {
        if command != TORTURE {
            return Err(ENOTTY);
        }
        let mut words = [0; 5];
        let mut reader = UserSlice::new(UserPtr::from_addr(argument), 4 * words.len()).reader();
        for word in &mut words {
            *word = reader.read()?;
        }
        let [action, slot, kind, target, random] = words;
        let slot = slot as usize % SLOTS;
        match action {
            0 => {
                let kind = *Kind::ALL.get(kind as usize).ok_or(EINVAL)?;
                let place = Place {
                    module: this_module::<TestTorture>(),
                    target: kinds::target(target as i32)?,
                    syscall: Some(context),
                };
                me.put(slot, kinds::make(kind, &place, random)?);
            }
            1 => {
                // The slot is empty meanwhile, because `work()` may sleep.
                let thing = me.take(slot)?;
                let result = thing.work(random);
                me.put(slot, thing);
                result?;
            }
            2 => drop(me.take(slot)?),
            3 => me.take(slot)?.finish(random)?,
            4 => me.take(slot)?.forget(),
            5 => keep(me.take(slot)?)?,
            6 => {
                let target = kinds::target(target as i32)?;
                task_work::add_fn(&target, watch, NotifyMode::Signal, GFP_KERNEL)?;
            }
            _ => return Err(EINVAL),
        }
        Ok(0)
    }
}
