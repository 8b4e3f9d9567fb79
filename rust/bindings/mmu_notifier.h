/* SPDX-License-Identifier: GPL-2.0 */
/* Header for bindgen: declarations that the kernel crate lacks on user-mode Linux. */

#include <linux/mmu_notifier.h>
