// SPDX-License-Identifier: GPL-2.0
/* Helpers for pages of a process: rust/kernel/mm/hmm.rs, mirror.rs and dma_mirror.rs. */

#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/hmm-dma.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pci-p2pdma.h>
#include <linux/pgtable.h>

/**
 * rust_helper_is_zero_pfn() - Tests for the page of zeros.
 * @pfn: number of a page frame
 *
 * Wraps is_zero_pfn(), which is inline.
 *
 * Return: true if @pfn is this page.
 */
__rust_helper bool rust_helper_is_zero_pfn(unsigned long pfn)
{
	return is_zero_pfn(pfn);
}

/**
 * rust_helper_page_to_pfn() - Returns the number of a page frame.
 * @page: page
 *
 * Wraps page_to_pfn(), which is a macro.
 *
 * Return: the number of a page frame.
 */
__rust_helper unsigned long rust_helper_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

/**
 * rust_helper_tether_copy_from_pfn() - Copies bytes from a page of a process.
 * @to: destination, @length bytes
 * @pfn: number of the page frame
 * @offset: offset in the page
 * @length: number of bytes; must not exceed the rest of the page
 *
 * Wraps memcpy_from_page(), which is inline. Other tasks may write to the page meanwhile. The
 * page must be valid until this returns.
 */
__rust_helper void rust_helper_tether_copy_from_pfn(void *to, unsigned long pfn, size_t offset,
						    size_t length)
{
	memcpy_from_page(to, pfn_to_page(pfn), offset, length);
}

/**
 * rust_helper_tether_copy_to_pfn() - Copies bytes to a page of a process.
 * @pfn: number of the page frame
 * @offset: offset in the page
 * @from: source, @length bytes
 * @length: number of bytes; must not exceed the rest of the page
 *
 * Wraps memcpy_to_page(), which is inline. The page must be valid until this returns.
 */
__rust_helper void rust_helper_tether_copy_to_pfn(unsigned long pfn, size_t offset,
						  const void *from, size_t length)
{
	memcpy_to_page(pfn_to_page(pfn), offset, from, length);
}

/**
 * rust_helper_tether_pfn_mark_dirty() - Marks the folio of a page frame as dirty.
 * @pfn: number of a page frame
 *
 * Calls folio_mark_dirty(). pfn_to_page() and page_folio() are macros.
 *
 * Context: The page must be mapped by a process, so that it is not truncated meanwhile. The
 * caller holds the lock that an invalidation of the page takes.
 */
__rust_helper void rust_helper_tether_pfn_mark_dirty(unsigned long pfn)
{
	folio_mark_dirty(page_folio(pfn_to_page(pfn)));
}

/**
 * rust_helper_tether_folio_release() - Undoes make_device_exclusive() for a folio.
 * @folio: folio
 *
 * Unlocks the folio, and drops the reference that make_device_exclusive() has taken. folio_put()
 * is inline.
 */
__rust_helper void rust_helper_tether_folio_release(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

#ifdef CONFIG_HMM_MIRROR
/**
 * rust_helper_tether_hmm_dma_map_pfn() - Maps a page of a struct hmm_dma_map for a device.
 * @dev: device
 * @map: list of pages
 * @index: index of the page in @map
 * @address: set to the DMA address
 *
 * Calls hmm_dma_map_pfn() with a new state of peer-to-peer mappings. dma_mapping_error() is
 * inline.
 *
 * Return: false if the page cannot be mapped.
 */
__rust_helper bool rust_helper_tether_hmm_dma_map_pfn(struct device *dev, struct hmm_dma_map *map,
						      size_t index, dma_addr_t *address)
{
	struct pci_p2pdma_map_state state = { };

	*address = hmm_dma_map_pfn(dev, map, index, &state);
	return !dma_mapping_error(dev, *address);
}
#endif
