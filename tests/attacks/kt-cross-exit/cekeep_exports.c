// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int cekeep_join, cekeep_work;
EXPORT_SYMBOL_GPL(cekeep_join);
EXPORT_SYMBOL_GPL(cekeep_work);
