/* SPDX-License-Identifier: GPL-2.0 */
/* Header of bindings that the kernel crate lacks on user-mode Linux. */

#include <linux/mmu_notifier.h>
