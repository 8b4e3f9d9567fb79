/* SPDX-License-Identifier: GPL-2.0 */
/* kselftest's harness, for machines that are emulated and kernels that check everything. */
#ifndef _TETHER_HARNESS_H
#define _TETHER_HARNESS_H

#include "kselftest_harness.h"

/* In seconds. A hang is found by it, slowness is not one. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 600

#endif
