// SPDX-License-Identifier: GPL-2.0
/*
 * Exports cekeep_join() and cekeep_work() of cekeep_code.rs. EXPORT_SYMBOL_GPL() uses only the
 * address of a symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int cekeep_join, cekeep_work;
EXPORT_SYMBOL_GPL(cekeep_join);
EXPORT_SYMBOL_GPL(cekeep_work);
