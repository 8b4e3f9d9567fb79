// SPDX-License-Identifier: GPL-2.0
/*
 * Exports rlkeep_keep(), rlkeep_take() and rlkeep_target() of rlkeep_code.rs.
 * EXPORT_SYMBOL_GPL() uses only the address of a symbol, so that its declared type does not
 * matter.
 */
#include <linux/export.h>
extern int rlkeep_keep, rlkeep_take, rlkeep_target;
EXPORT_SYMBOL_GPL(rlkeep_keep);
EXPORT_SYMBOL_GPL(rlkeep_take);
EXPORT_SYMBOL_GPL(rlkeep_target);
