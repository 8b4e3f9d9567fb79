// SPDX-License-Identifier: GPL-2.0
/*
 * Exports flkeep_keep() of flkeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int flkeep_keep;
EXPORT_SYMBOL_GPL(flkeep_keep);
