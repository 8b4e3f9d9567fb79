// SPDX-License-Identifier: GPL-2.0

//! Only a parkable thread can be parked: any other body does not respond to the request.

use kernel::prelude::*;
use tether::kthread::Builder;

/// Parks a parkable thread, and tries to park a plain thread.
pub fn park() -> Result {
    let parkable = Builder::new(c"thread").parkable().spawn(|_| ())?;
    let plain = Builder::new(c"thread").spawn(|_| ())?;
    parkable.park()?;
    plain.park()?; // misuse: E0599
    plain.join()?;
    Ok(parkable.join()?)
}
