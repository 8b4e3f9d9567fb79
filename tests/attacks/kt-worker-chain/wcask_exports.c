// SPDX-License-Identifier: GPL-2.0
/*
 * Exports wcask_ask() of wcask_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int wcask_ask;
EXPORT_SYMBOL_GPL(wcask_ask);
