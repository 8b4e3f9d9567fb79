// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int fikeep_keep;
EXPORT_SYMBOL_GPL(fikeep_keep);
