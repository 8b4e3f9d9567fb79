// SPDX-License-Identifier: GPL-2.0
/*
 * Exports fikeep_keep() of fikeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int fikeep_keep;
EXPORT_SYMBOL_GPL(fikeep_keep);
