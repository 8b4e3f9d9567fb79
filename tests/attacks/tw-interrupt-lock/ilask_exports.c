// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int ilask_ask;
EXPORT_SYMBOL_GPL(ilask_ask);
