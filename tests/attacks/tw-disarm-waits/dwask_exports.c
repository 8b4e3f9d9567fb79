// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int dwask_ask;
EXPORT_SYMBOL_GPL(dwask_ask);
