// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int fskeep_keep;
EXPORT_SYMBOL_GPL(fskeep_keep);
