// SPDX-License-Identifier: GPL-2.0
/*
 * Exports jfkeep_make() and jfkeep_work() of jfkeep_code.rs. EXPORT_SYMBOL_GPL() uses only
 * the address of a symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int jfkeep_make, jfkeep_work;
EXPORT_SYMBOL_GPL(jfkeep_make);
EXPORT_SYMBOL_GPL(jfkeep_work);
