// SPDX-License-Identifier: GPL-2.0
/*
 * Exports rsask_ask() of rsask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int rsask_ask;
EXPORT_SYMBOL_GPL(rsask_ask);
