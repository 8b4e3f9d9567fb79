// SPDX-License-Identifier: GPL-2.0
/*
 * Exports ewask_ask() of ewask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int ewask_ask;
EXPORT_SYMBOL_GPL(ewask_ask);
