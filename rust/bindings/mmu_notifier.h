/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel's own bindings do not have on user-mode Linux. */

#include <linux/mmu_notifier.h>
