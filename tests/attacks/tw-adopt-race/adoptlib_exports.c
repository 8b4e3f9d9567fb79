// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>
extern int adoptlib_add;
EXPORT_SYMBOL_GPL(adoptlib_add);
