// SPDX-License-Identifier: GPL-2.0

//! The type of a device selects the functions that are called: a registration is not that of
//! another type, be it a supertype.

use tether::misc_device::MiscDeviceRegistration;

type Any = MiscDeviceRegistration<for<'a> fn(&'a u8)>;
type Static = MiscDeviceRegistration<fn(&'static u8)>;

/// Returns the registration.
pub fn same(device: &Any) -> &Any {
    device
}

/// Takes a registration for that of another type.
pub fn other(device: &Any, same: for<'a> fn(&'a Static) -> &'a Static) {
    let _ = same;
    let _: &Static = device; // misuse: E0308
}
