// SPDX-License-Identifier: GPL-2.0
/* Helpers for timers: rust/kernel/mm/hmm/fault.rs. */

#include <linux/timer.h>

/**
 * rust_helper_tether_timer_setup() - Initialises a timer.
 * @timer: timer
 * @func: function of the timer
 *
 * Wraps timer_setup(), which is a macro.
 */
__rust_helper void rust_helper_tether_timer_setup(struct timer_list *timer,
						  void (*func)(struct timer_list *))
{
	timer_setup(timer, func, 0);
}
