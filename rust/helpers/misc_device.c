// SPDX-License-Identifier: GPL-2.0

#include <linux/kernel.h>
#include <linux/uio.h>
#include <linux/wait_bit.h>

/*
 * Waits, killably, while *@word is @value, for @timeout ticks at most. Whoever changes it calls
 * wake_up_var() on it. Returns the remaining time, or 1; 0 if the time is over; -ERESTARTSYS.
 */
__rust_helper long rust_helper_tether_wait_while(const unsigned int *word, unsigned int value,
						 long timeout)
{
	might_sleep();
	return ___wait_var_event((void *)word,
				 ___wait_cond_timeout(READ_ONCE(*word) != value),
				 TASK_KILLABLE, 0, timeout,
				 __ret = schedule_timeout(__ret));
}

__rust_helper size_t rust_helper_tether_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}
