// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int cuask_ask;
EXPORT_SYMBOL_GPL(cuask_ask);
