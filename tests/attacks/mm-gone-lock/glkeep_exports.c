// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int glkeep_keep;
EXPORT_SYMBOL_GPL(glkeep_keep);
