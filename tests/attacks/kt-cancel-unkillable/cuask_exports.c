// SPDX-License-Identifier: GPL-2.0
/*
 * Exports cuask_ask() of cuask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int cuask_ask;
EXPORT_SYMBOL_GPL(cuask_ask);
