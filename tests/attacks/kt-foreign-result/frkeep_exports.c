// SPDX-License-Identifier: GPL-2.0
/*
 * Exports frkeep_keep() of frkeep_code.rs. EXPORT_SYMBOL_GPL() uses only the address of a
 * symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int frkeep_keep;
EXPORT_SYMBOL_GPL(frkeep_keep);
