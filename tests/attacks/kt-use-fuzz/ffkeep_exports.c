// SPDX-License-Identifier: GPL-2.0
/*
 * Exports ffkeep_keep() and FFKEEP_LIVE of ffkeep_code.rs. EXPORT_SYMBOL_GPL() uses only the
 * address of a symbol, so that its declared type does not matter.
 */
#include <linux/export.h>
extern int ffkeep_keep, FFKEEP_LIVE;
EXPORT_SYMBOL_GPL(ffkeep_keep);
EXPORT_SYMBOL_GPL(FFKEEP_LIVE);
