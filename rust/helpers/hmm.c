// SPDX-License-Identifier: GPL-2.0

#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/hmm-dma.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pci-p2pdma.h>
#include <linux/pgtable.h>

__rust_helper bool rust_helper_is_zero_pfn(unsigned long pfn)
{
	return is_zero_pfn(pfn);
}

__rust_helper unsigned long rust_helper_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

/*
 * What is in a page of a process, which others may be writing to. The page must be valid, and stay
 * so meanwhile.
 */
__rust_helper void rust_helper_tether_copy_from_pfn(void *to, unsigned long pfn, size_t offset,
						    size_t length)
{
	memcpy_from_page(to, pfn_to_page(pfn), offset, length);
}

/* Copies to a page of a process, which must be valid, and stay so meanwhile. */
__rust_helper void rust_helper_tether_copy_to_pfn(unsigned long pfn, size_t offset, const void *from,
						  size_t length)
{
	memcpy_to_page(pfn_to_page(pfn), offset, from, length);
}

/*
 * The page must be mapped by a process, so that it is not truncated meanwhile: the caller holds the
 * lock that its invalidation takes.
 */
__rust_helper void rust_helper_tether_pfn_mark_dirty(unsigned long pfn)
{
	folio_mark_dirty(page_folio(pfn_to_page(pfn)));
}

/* What make_device_exclusive() has locked, and taken a reference to. */
__rust_helper void rust_helper_tether_folio_release(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

#ifdef CONFIG_HMM_MIRROR
/* Maps what is in the list at @index. Returns false if that cannot be. */
__rust_helper bool rust_helper_tether_hmm_dma_map_pfn(struct device *dev, struct hmm_dma_map *map,
						      size_t index, dma_addr_t *address)
{
	struct pci_p2pdma_map_state state = { };

	*address = hmm_dma_map_pfn(dev, map, index, &state);
	return !dma_mapping_error(dev, *address);
}
#endif
