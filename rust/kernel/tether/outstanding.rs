// SPDX-License-Identifier: GPL-2.0

//! The file `tether/outstanding` in debugfs, which lists the outstanding callbacks of all modules.

use super::{
    facility,
    Owner, //
};
use crate::{
    debugfs,
    fmt,
    prelude::*,
    sync::SetOnce, //
};

/// The handle of `tether/outstanding`, which is never dropped.
static OUTSTANDING: SetOnce<Pin<KBox<debugfs::File<Outstanding>>>> = SetOnce::new();

/// The file `tether/outstanding` in debugfs, which lists attachments and pins.
struct Outstanding;

impl Outstanding {
    fn show(_: &Outstanding, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# module kind target-pid age-ms type")?;
        for owner in Owner::records() {
            // The guard keeps the module, and with it the names of its types, mapped.
            let Ok(_entered) = owner.enter() else {
                continue;
            };
            let failed = owner.find_attached(|ops| {
                let name = (ops.name)();
                f.write_fmt(fmt!("{} {} - - {name}\n", owner.name(), ops.kind))
                    .err()
            });
            if let Some(error) = failed {
                return Err(error);
            }
        }
        facility::all().try_for_each(|facility| (facility.show)(f))
    }
}

/// Creates the file `tether/outstanding`.
pub(super) fn init() -> Result {
    let directory = debugfs::Dir::new(c"tether");
    OUTSTANDING.populate(KBox::pin_init(
        directory.read_callback_file(c"outstanding", Outstanding, &Outstanding::show),
        GFP_KERNEL,
    )?);
    Ok(())
}
