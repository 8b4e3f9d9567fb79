// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int imask_ask;
EXPORT_SYMBOL_GPL(imask_ask);
