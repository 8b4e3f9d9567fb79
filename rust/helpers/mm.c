// SPDX-License-Identifier: GPL-2.0

#include <linux/mm.h>

__rust_helper void *rust_helper_tether_page_address(struct page *page)
{
	return page_address(page);
}
