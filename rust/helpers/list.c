// SPDX-License-Identifier: GPL-2.0
/* Helpers for lists: rust/kernel/tether/, rust/kernel/task_work/ and rust/kernel/mm/. */

#include <linux/list.h>

/**
 * rust_helper_tether_list_del_init() - Removes an entry from a list and reinitialises the entry.
 * @entry: entry of a list
 *
 * Wraps list_del_init(), which is inline.
 */
__rust_helper void rust_helper_tether_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}
