// SPDX-License-Identifier: GPL-2.0
/*
 * Exports krask_ask() of krask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int krask_ask;
EXPORT_SYMBOL_GPL(krask_ask);
