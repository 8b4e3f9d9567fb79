// SPDX-License-Identifier: GPL-2.0
/*
 * Exports cukeep_keep() and cukeep_finish() of cukeep_code.rs. EXPORT_SYMBOL_GPL() uses only
 * the address of a symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int cukeep_keep;
EXPORT_SYMBOL_GPL(cukeep_keep);
extern int cukeep_finish;
EXPORT_SYMBOL_GPL(cukeep_finish);
