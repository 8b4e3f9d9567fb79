// SPDX-License-Identifier: GPL-2.0
/*
 * Exports fskeep_keep() of fskeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int fskeep_keep;
EXPORT_SYMBOL_GPL(fskeep_keep);
