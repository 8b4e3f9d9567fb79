// SPDX-License-Identifier: GPL-2.0
/* Helpers for xarrays: rust/kernel/mm/mirror/table.rs. */

#include <linux/xarray.h>

/**
 * rust_helper_tether_xa_init_accounted() - Initialises an xarray with nodes that are charged to
 * the memory cgroup.
 * @xa: array
 *
 * Wraps xa_init_flags(), which is inline, with XA_FLAGS_ACCOUNT, which is a macro with a cast.
 */
__rust_helper void rust_helper_tether_xa_init_accounted(struct xarray *xa)
{
	xa_init_flags(xa, XA_FLAGS_ACCOUNT);
}
