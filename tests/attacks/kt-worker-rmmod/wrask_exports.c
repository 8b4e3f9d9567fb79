// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int wrask_ask;
EXPORT_SYMBOL_GPL(wrask_ask);
