// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int rlkeep_keep, rlkeep_take, rlkeep_target;
EXPORT_SYMBOL_GPL(rlkeep_keep);
EXPORT_SYMBOL_GPL(rlkeep_take);
EXPORT_SYMBOL_GPL(rlkeep_target);
