// SPDX-License-Identifier: GPL-2.0
/*
 * Exports racekeep_keep() of racekeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int racekeep_keep;
EXPORT_SYMBOL_GPL(racekeep_keep);
