// SPDX-License-Identifier: GPL-2.0
/*
 * Exports ifask_ask() of ifask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int ifask_ask;
EXPORT_SYMBOL_GPL(ifask_ask);
