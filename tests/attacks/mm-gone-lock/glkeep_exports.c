// SPDX-License-Identifier: GPL-2.0
/*
 * Exports glkeep_keep() of glkeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int glkeep_keep;
EXPORT_SYMBOL_GPL(glkeep_keep);
