// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int jfkeep_make, jfkeep_work;
EXPORT_SYMBOL_GPL(jfkeep_make);
EXPORT_SYMBOL_GPL(jfkeep_work);
