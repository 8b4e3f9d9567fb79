// SPDX-License-Identifier: GPL-2.0
/*
 * Exports adoptlib_add() of adoptlib_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int adoptlib_add;
EXPORT_SYMBOL_GPL(adoptlib_add);
