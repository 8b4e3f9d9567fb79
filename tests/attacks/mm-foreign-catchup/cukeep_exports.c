// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int cukeep_keep;
EXPORT_SYMBOL_GPL(cukeep_keep);
extern int cukeep_finish;
EXPORT_SYMBOL_GPL(cukeep_finish);
