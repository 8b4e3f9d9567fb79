// SPDX-License-Identifier: GPL-2.0
/*
 * Exports imask_ask() of imask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int imask_ask;
EXPORT_SYMBOL_GPL(imask_ask);
