// SPDX-License-Identifier: GPL-2.0
/*
 * Exports dfkeep_keep() of dfkeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int dfkeep_keep;
EXPORT_SYMBOL_GPL(dfkeep_keep);
