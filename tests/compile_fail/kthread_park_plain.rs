// SPDX-License-Identifier: GPL-2.0

//! A body that does not know of parking would never be parked.

use kernel::prelude::*;
use tether::kthread::Builder;

/// Parks two.
pub fn park() -> Result {
    let parkable = Builder::new(c"thread").parkable().spawn(|_| ())?;
    let plain = Builder::new(c"thread").spawn(|_| ())?;
    parkable.park()?;
    plain.park()?; // misuse: E0599
    plain.join()?;
    Ok(parkable.join()?)
}
