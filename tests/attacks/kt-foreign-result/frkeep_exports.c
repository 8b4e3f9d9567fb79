// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int frkeep_keep;
EXPORT_SYMBOL_GPL(frkeep_keep);
