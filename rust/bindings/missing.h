/* SPDX-License-Identifier: GPL-2.0 */
/* Headers of bindings that the kernel crate lacks. */

#include <linux/hmm.h>
#include <linux/hmm-dma.h>
#include <linux/rmap.h>
