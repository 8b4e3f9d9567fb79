// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int ffkeep_keep, FFKEEP_LIVE;
EXPORT_SYMBOL_GPL(ffkeep_keep);
EXPORT_SYMBOL_GPL(FFKEEP_LIVE);
