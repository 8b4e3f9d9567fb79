// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int dfkeep_keep;
EXPORT_SYMBOL_GPL(dfkeep_keep);
