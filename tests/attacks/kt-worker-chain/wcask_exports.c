// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int wcask_ask;
EXPORT_SYMBOL_GPL(wcask_ask);
