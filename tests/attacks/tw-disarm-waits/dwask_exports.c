// SPDX-License-Identifier: GPL-2.0
/*
 * Exports dwask_ask() of dwask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int dwask_ask;
EXPORT_SYMBOL_GPL(dwask_ask);
