// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the I/O buffers of a domain lie: how large the window is, how it is cut
 * into regions, and where in the IOVA space there is room for it.
 */

#include <linux/dma-mapping.h>
#include <linux/iova.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "io-buffer-manager.h"

/*
 * The window takes at most this part of the IOVA space that the device can
 * address, so that ordinary mappings keep the rest.
 */
#define WINDOW_SHARE		8
#define WINDOW_MIN		SZ_1M

/*
 * A region that is not full of chunk wastes IOVA space, never memory: the
 * first chunks of a pool are small. Four times the budget leaves room for it.
 */
#define WINDOW_PER_BUDGET	4

/*
 * The window stays as it is: it is not made a small one before there was no room
 * for the full size that many times.
 */
#define WINDOW_TRIES		3

/* Regions get smaller, down to one chunk, to have at least this many. */
#define WINDOW_MIN_REGIONS	128

static dma_addr_t reserve_iova_below(struct iova_domain *iovad, size_t size,
				     u64 limit)
{
	unsigned long shift = iova_shift(iovad);
	struct iova *iova;

	/* Aligned to its size, hence every region and slot is to its own. */
	iova = alloc_iova(iovad, size >> shift, limit >> shift, true);
	return iova ? (dma_addr_t)iova->pfn_lo << shift : 0;
}

static size_t window_size(const struct io_buffer_manager *mgr, u64 limit)
{
	u64 start = (u64)mgr->iovad->start_pfn << iova_shift(mgr->iovad);
	u64 share, want;

	if (limit <= start)
		return 0;

	share = (limit - start) / WINDOW_SHARE + 1;
	want = min_t(u64, (u64)mgr->memory_max * WINDOW_PER_BUDGET,
		     IO_BUFFER_MAX_WINDOW);
	want = min(share, max_t(u64, want, WINDOW_MIN));
	return rounddown_pow_of_two(want);
}

static dma_addr_t try_window(struct io_buffer_manager *mgr, u64 limit,
			     size_t *size)
{
	dma_addr_t base = 0;

	for (*size = window_size(mgr, limit); *size >= WINDOW_MIN; *size /= 2) {
		base = reserve_iova_below(mgr->iovad, *size, limit);
		/* A mandatory bounce cannot wait for a better time. */
		if (base || (!mgr->keep && mgr->window_tries < WINDOW_TRIES))
			break;
	}
	return base;
}

/**
 * io_buffer_reserve_window - take the IOVA space that all slots will lie in
 * @mgr: the manager of the domain, which knows the limits of its device
 *
 * The window stays reserved until the domain's IOVA space is torn down, so
 * there is no counterpart to this.
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 * Return: 0, -ENOSPC where there is no IOVA space, -ENOMEM where memory is short.
 */
int io_buffer_reserve_window(struct io_buffer_manager *mgr)
{
	/* DMA_MAPPING_ERROR, which is the highest address, is never ours. */
	u64 limit = min(mgr->limits.dma_limit,
			(u64)DMA_MAPPING_ERROR - (1UL << mgr->granule_shift));
	dma_addr_t base = 0;
	size_t size;

	/* The reasons are those of iommu_dma_alloc_iova(). */
	if (mgr->limits.prefer_32bit && limit > DMA_BIT_MASK(32))
		base = try_window(mgr, DMA_BIT_MASK(32), &size);
	if (!base)
		base = try_window(mgr, limit, &size);
	if (!base) {
		mgr->window_tries = min(mgr->window_tries + 1, WINDOW_TRIES);
		return -ENOSPC;
	}

	mgr->region_shift = clamp(ilog2(size / WINDOW_MIN_REGIONS),
				  ilog2(max_t(size_t, IO_BUFFER_MIN_CHUNK,
					      PAGE_SIZE)),
				  ilog2(IO_BUFFER_MAX_REGION));
	mgr->nr_regions = size >> mgr->region_shift;
	mgr->regions = kcalloc(mgr->nr_regions, sizeof(*mgr->regions),
			       IO_BUFFER_GROW_GFP);
	if (!mgr->regions) {
		free_iova(mgr->iovad, base >> mgr->granule_shift);
		return -ENOMEM;
	}
	WRITE_ONCE(mgr->base, base);
	WRITE_ONCE(mgr->last, base + (size - 1));
	/* Pairs with the acquire in io_buffer_owns(). */
	smp_store_release(&mgr->size, size);
	return 0;
}
