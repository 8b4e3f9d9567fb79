// SPDX-License-Identifier: GPL-2.0
/*
 * Exports crkeep_keep() of crkeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int crkeep_keep;
EXPORT_SYMBOL_GPL(crkeep_keep);
