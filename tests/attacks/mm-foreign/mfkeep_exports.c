// SPDX-License-Identifier: GPL-2.0
/*
 * Exports mfkeep_keep() of mfkeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int mfkeep_keep;
EXPORT_SYMBOL_GPL(mfkeep_keep);
