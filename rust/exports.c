// SPDX-License-Identifier: GPL-2.0
/*
 * Exports what the crate defines, as the kernel does for its own crates. The list is made from the
 * object: Rust mangles names, and functions of the helpers are called by generic code
 * that is compiled into consumers.
 */

#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"
