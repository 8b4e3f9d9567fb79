// SPDX-License-Identifier: GPL-2.0

//! A module that creates an object of a given kind, uses it, and optionally leaks it.

use kernel::prelude::*;
use ledger::Kind;

#[path = "kinds.rs"]
mod kinds;

module! {
    type: Leak,
    name: "leak",
    authors: ["The Tether developers"],
    description: "Test: a module that leaks an object",
    license: "GPL",
    params: {
        kind: i64 {
            default: -1,
            description: "The kind of the object, by its index in the ledger; -1: no object",
        },
        target: i64 {
            default: 0,
            description: "The pid of the target task; 0: the loading task",
        },
        random: i64 {
            default: 0,
            description: "A random number that selects the variant of the object",
        },
        forget: bool {
            default: true,
            description: "Whether the object is leaked; otherwise it is ended",
        },
    },
}

struct Leak;

impl kernel::Module for Leak {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let kind = module_parameters::kind.value();
        if kind < 0 {
            return Ok(Self);
        }
        let kind = *Kind::ALL.get(kind as usize).ok_or(EINVAL)?;
        let target = kinds::target(module_parameters::target.value() as i32)?;
        let place = kinds::Place {
            module,
            target,
            syscall: None,
        };
        let random = module_parameters::random.value() as u32;
        let mut thing = kinds::make(kind, &place, random)?;
        // The use may fail, depending on the kind and on the random number.
        let _ = thing.work(random >> 8);
        if module_parameters::forget.value() {
            thing.forget();
        } else {
            let _ = thing.finish(random);
        }
        Ok(Self)
    }
}
