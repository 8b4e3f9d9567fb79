// SPDX-License-Identifier: GPL-2.0
/*
 * Exports ilask_ask() of ilask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int ilask_ask;
EXPORT_SYMBOL_GPL(ilask_ask);
