/* SPDX-License-Identifier: GPL-2.0 */
/* Headers for bindgen: declarations that the bindings of the kernel crate lack. */

#include <linux/hmm.h>
#include <linux/hmm-dma.h>
#include <linux/rmap.h>
