// SPDX-License-Identifier: GPL-2.0
#![forbid(unsafe_code)]
//! Creates a thread and a worker with a name of 5 MiB.
//!
//! The kernel copies the name by `kvasprintf(GFP_KERNEL)`, and the page allocator would warn
//! about an order that it does not have.
//!
//! A sound library refuses the name or cuts it (Tether: after 255 bytes), without a warning.
use kernel::prelude::*;
use tether::kthread::Builder;
module! { type: M, name: "namehuge", authors: ["h"], description: "attack", license: "GPL", }
static NAME: [u8; 5 << 20] = name();
const fn name() -> [u8; 5 << 20] {
    let mut bytes = [b'x'; 5 << 20];
    bytes[(5 << 20) - 1] = 0;
    bytes
}
struct M;
impl kernel::Module for M {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let name = CStr::from_bytes_with_nul(&NAME).map_err(|_| EINVAL)?;
        let thread = Builder::new(name).spawn(|_| 7);
        pr_info!(
            "namehuge: thread {:?}\n",
            thread.map(|_| ()).map_err(Error::from)
        );
        let worker = Builder::new(name).worker(module);
        pr_info!("namehuge: worker {:?}\n", worker.map(|_| ()));
        Ok(M)
    }
}
