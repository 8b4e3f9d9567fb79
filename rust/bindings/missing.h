/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel's own bindings do not have. */

#include <linux/hmm.h>
#include <linux/hmm-dma.h>
#include <linux/rmap.h>
