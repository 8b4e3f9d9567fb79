// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int rsask_ask;
EXPORT_SYMBOL_GPL(rsask_ask);
