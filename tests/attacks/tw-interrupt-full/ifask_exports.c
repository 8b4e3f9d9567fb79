// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int ifask_ask;
EXPORT_SYMBOL_GPL(ifask_ask);
