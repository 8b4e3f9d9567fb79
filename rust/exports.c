// SPDX-License-Identifier: GPL-2.0
/*
 * Exports the symbols of the crate and of the helpers to modules, as the kernel's rust/exports.c
 * does. rust/Kbuild generates the list from the object files, because Rust mangles names. Generic
 * code of the crate is compiled into other modules, and calls the helpers there.
 */

#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"
