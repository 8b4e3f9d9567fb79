// SPDX-License-Identifier: GPL-2.0
/*
 * Exports wrask_ask() of wrask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int wrask_ask;
EXPORT_SYMBOL_GPL(wrask_ask);
