// SPDX-License-Identifier: GPL-2.0

//! `MiscDeviceRegistration<T>` is invariant in `T`, because `T` selects the file operations.

use tether::misc_device::MiscDeviceRegistration;

type Any = MiscDeviceRegistration<for<'a> fn(&'a u8)>;
type Static = MiscDeviceRegistration<fn(&'static u8)>;

/// Returns the same registration.
pub fn same(device: &Any) -> &Any {
    device
}

/// Coerces a registration of `Any` to a registration of its supertype.
pub fn other(device: &Any, same: for<'a> fn(&'a Static) -> &'a Static) {
    let _ = same;
    let _: &Static = device; // misuse: E0308
}
