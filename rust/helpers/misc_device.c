// SPDX-License-Identifier: GPL-2.0
/* Helpers for misc devices: rust/kernel/misc_device.rs. */

#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/uio.h>
#include <linux/wait_bit.h>

/**
 * rust_helper_tether_wait_while() - Waits while a word has a given value.
 * @word: word to read
 * @value: the wait ends when the word has another value
 * @timeout: limit in jiffies
 *
 * ___wait_var_event() is a macro. The sleep is killable. A task that changes @word calls
 * wake_up_var() on it afterwards.
 *
 * Return: the remaining time, at least 1; 0 if the limit has passed; -ERESTARTSYS if the task
 * was killed.
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

/**
 * rust_helper_tether_iov_iter_count() - Returns the number of bytes that are left in an
 * iterator.
 * @iter: iterator
 *
 * Wraps iov_iter_count(), which is inline.
 *
 * Return: the number of bytes that are left in an iterator.
 */
__rust_helper size_t rust_helper_tether_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}

/**
 * rust_helper_tether_kiocb_nowait() - Tests whether a request must not wait.
 * @kiocb: request
 *
 * IOCB_NOWAIT is a macro with a cast, for which there is no binding.
 *
 * Return: true if the request must not wait.
 */
__rust_helper bool rust_helper_tether_kiocb_nowait(const struct kiocb *kiocb)
{
	return kiocb->ki_flags & IOCB_NOWAIT;
}
