// SPDX-License-Identifier: GPL-2.0
/* Helpers for lists, which the kernel's file of this name lacks. */

#include <linux/list.h>

/**
 * rust_helper_list_add() - Adds an entry at the beginning of a list.
 * @entry: entry that is in no list
 * @head: list
 *
 * Wraps list_add(), which is inline.
 */
__rust_helper void rust_helper_list_add(struct list_head *entry, struct list_head *head)
{
	list_add(entry, head);
}

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

/**
 * rust_helper_list_splice_tail_init() - Moves all entries of a list to the end of another list.
 * @list: list, which is empty afterwards
 * @head: list to which the entries are added
 *
 * Wraps list_splice_tail_init(), which is inline.
 */
__rust_helper void rust_helper_list_splice_tail_init(struct list_head *list,
						     struct list_head *head)
{
	list_splice_tail_init(list, head);
}
