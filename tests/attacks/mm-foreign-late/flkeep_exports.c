// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int flkeep_keep;
EXPORT_SYMBOL_GPL(flkeep_keep);
