// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int mfkeep_keep;
EXPORT_SYMBOL_GPL(mfkeep_keep);
