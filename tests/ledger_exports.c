// SPDX-License-Identifier: GPL-2.0
/* Exports the functions of the ledger to other test modules. */

#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

EXPORT_SYMBOL_RUST_GPL(ledger_made);
EXPORT_SYMBOL_RUST_GPL(ledger_dropped);
EXPORT_SYMBOL_RUST_GPL(ledger_forgotten);
