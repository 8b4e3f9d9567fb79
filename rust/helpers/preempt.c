// SPDX-License-Identifier: GPL-2.0

#include <linux/preempt.h>

__rust_helper bool rust_helper_tether_in_task(void)
{
	return in_task();
}
