// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int ewask_ask;
EXPORT_SYMBOL_GPL(ewask_ask);
