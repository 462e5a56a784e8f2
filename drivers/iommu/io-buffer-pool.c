// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pools of I/O buffers that stay mapped in an IOMMU domain. The terms are
 * explained in io-buffer-pool.h.
 */

#include <linux/bitmap.h>
#include <linux/dma-map-ops.h>
#include <linux/find.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "io-buffer-pool.h"

/**
 * io_buffer_pool_create - make a pool that has no memory yet
 * @domain: IOMMU domain its chunks are to be mapped into
 * @prot: IOMMU_READ, IOMMU_WRITE, IOMMU_CACHE: how they are mapped
 * @nid: memory node to prefer
 * @slot_shift: log2 of the bytes in a slot, at least @granule_shift
 * @granule_shift: log2 of the bytes in the domain's smallest page
 * @max_chunks: how many chunks the pool may ever have
 *
 * Context: may sleep; does no I/O.
 * Return: the pool, or NULL when memory is short.
 */
struct io_buffer_pool *
io_buffer_pool_create(struct iommu_domain *domain, int prot, int nid,
		      unsigned int slot_shift, unsigned int granule_shift,
		      unsigned int max_chunks)
{
	struct io_buffer_pool *pool;

	pool = kzalloc_node(struct_size(pool, chunks, max_chunks), GFP_NOIO,
			    nid);
	if (!pool)
		return NULL;

	pool->full = bitmap_zalloc_node(max_chunks, GFP_NOIO, nid);
	if (!pool->full) {
		kfree(pool);
		return NULL;
	}

	pool->domain = domain;
	pool->prot = prot;
	pool->nid = nid;
	pool->slot_shift = slot_shift;
	pool->granule_shift = granule_shift;
	pool->max_chunks = max_chunks;
	return pool;
}

/**
 * io_buffer_pool_destroy - free a pool and all its chunks
 * @pool: the pool, or NULL; no slot of it may be used by a device any more
 *
 * Context: may sleep. Must not race with any other use of the pool.
 */
void io_buffer_pool_destroy(struct io_buffer_pool *pool)
{
	unsigned int i;

	if (!pool)
		return;

	for (i = 0; i < pool->nr_chunks; i++)
		io_buffer_chunk_destroy(pool->chunks[i]);
	bitmap_free(pool->full);
	kfree(pool);
}

static void chunk_free(struct io_buffer_chunk *chunk)
{
	sbitmap_free(&chunk->used);
	kvfree(chunk->granules);
	kvfree(chunk);
}

static struct io_buffer_chunk *chunk_alloc(struct io_buffer_pool *pool,
					   size_t size, gfp_t gfp)
{
	unsigned int nr_slots = size >> pool->slot_shift;
	struct io_buffer_chunk *chunk;

	chunk = kvzalloc_node(struct_size(chunk, slots, nr_slots), gfp,
			      pool->nid);
	if (!chunk)
		return NULL;

	chunk->pool = pool;
	chunk->size = size;
	chunk->slot_shift = pool->slot_shift;
	chunk->granule_shift = pool->granule_shift;

	if (pool->slot_shift > pool->granule_shift) {
		chunk->granules = kvcalloc_node(size >> pool->granule_shift,
						sizeof(*chunk->granules), gfp,
						pool->nid);
		if (!chunk->granules)
			goto err_free;
	}

	if (sbitmap_init_node(&chunk->used, nr_slots, -1, gfp, pool->nid,
			      false, true))
		goto err_free_granules;
	return chunk;

err_free_granules:
	kvfree(chunk->granules);
err_free:
	kvfree(chunk);
	return NULL;
}

/**
 * io_buffer_chunk_create - allocate memory for a pool and map it
 * @pool: the pool it is for
 * @iova: where to map it, aligned to @size
 * @size: bytes: a power of two, at least a page, a granule and a slot
 * @gfp: how to allocate; the memory is always zeroed
 *
 * A device may read whatever is in a slot, so the memory starts zeroed. No
 * slot is handed out before io_buffer_chunk_publish().
 *
 * Context: as @gfp says.
 * Return: the chunk, or NULL when memory is short or the IOMMU refused.
 */
struct io_buffer_chunk *io_buffer_chunk_create(struct io_buffer_pool *pool,
					       dma_addr_t iova, size_t size,
					       gfp_t gfp)
{
	struct io_buffer_chunk *chunk;
	struct page *page;

	chunk = chunk_alloc(pool, size, gfp);
	if (!chunk)
		return NULL;

	page = alloc_pages_node(pool->nid, gfp | __GFP_ZERO, get_order(size));
	if (!page)
		goto err_free;

	chunk->vaddr = page_address(page);
	chunk->phys = page_to_phys(page);
	chunk->iova = iova;
	if (!(pool->prot & IOMMU_CACHE)) {
		/* A device that does not snoop must find the zeroes, too. */
		arch_sync_dma_for_device(chunk->phys, size, DMA_TO_DEVICE);
		arch_sync_dma_flush();
	}
	if (iommu_map(pool->domain, iova, chunk->phys, size, pool->prot, gfp))
		goto err_free_pages;
	return chunk;

err_free_pages:
	__free_pages(page, get_order(size));
err_free:
	chunk_free(chunk);
	return NULL;
}

/**
 * io_buffer_chunk_publish - let the slots of a chunk be handed out
 * @chunk: a chunk just created; its pool must have room for one more
 *
 * Context: any; serialised against itself by the caller.
 */
void io_buffer_chunk_publish(struct io_buffer_chunk *chunk)
{
	struct io_buffer_pool *pool = chunk->pool;

	chunk->index = pool->nr_chunks;
	pool->chunks[chunk->index] = chunk;
	/* Pairs with io_buffer_pool_get(): a chunk that is counted is whole. */
	smp_store_release(&pool->nr_chunks, chunk->index + 1);
}

/**
 * io_buffer_chunk_destroy - unmap a chunk and free its memory
 * @chunk: a chunk no slot of which is in use by a device
 *
 * Cannot fail: where the IOMMU driver would not unmap all of it, the memory is
 * not given back, because a device might still reach it.
 *
 * Context: may sleep.
 */
void io_buffer_chunk_destroy(struct io_buffer_chunk *chunk)
{
	size_t unmapped;

	/* iommu_unmap() returns after the IOTLB sync. */
	unmapped = iommu_unmap(chunk->pool->domain, chunk->iova, chunk->size);
	if (!WARN_ON(unmapped != chunk->size))
		free_pages((unsigned long)chunk->vaddr,
			   get_order(chunk->size));
	chunk_free(chunk);
}

static int chunk_get(struct io_buffer_pool *pool, struct io_buffer_chunk *chunk)
{
	int nr = sbitmap_get(&chunk->used);

	if (likely(nr >= 0))
		return nr;

	/*
	 * Full: say so, then look once more. Either this look sees a slot put
	 * back meanwhile, or io_buffer_pool_put() sees the bit and clears it;
	 * without the pair of barriers a free slot could stay hidden.
	 */
	set_bit(chunk->index, pool->full);
	smp_mb__after_atomic(); /* pairs with the one in io_buffer_pool_put() */
	nr = sbitmap_get(&chunk->used);
	if (nr >= 0)
		clear_bit(chunk->index, pool->full);
	return nr;
}

/**
 * io_buffer_pool_get - take a free slot
 * @pool: the pool
 * @buf: filled in with the slot
 *
 * The oldest chunk with a free slot serves, so that load gathers in few chunks.
 *
 * Context: any but NMI. Takes no lock unless a chunk has just become full.
 * Return: true, or false when no slot is free; that costs a few nanoseconds.
 */
bool io_buffer_pool_get(struct io_buffer_pool *pool, struct io_buffer *buf)
{
	/* Pairs with io_buffer_chunk_publish(). */
	unsigned int i, nr_chunks = smp_load_acquire(&pool->nr_chunks);

	for_each_clear_bit(i, pool->full, nr_chunks) {
		int nr = chunk_get(pool, pool->chunks[i]);

		if (likely(nr >= 0)) {
			buf->chunk = pool->chunks[i];
			buf->nr = nr;
			return true;
		}
	}
	return false;
}

/**
 * io_buffer_pool_put - give a slot back
 * @buf: the slot; neither the device nor the caller may touch it any more
 *
 * Context: any but NMI.
 */
void io_buffer_pool_put(const struct io_buffer *buf)
{
	struct io_buffer_chunk *chunk = buf->chunk;
	struct io_buffer_pool *pool = chunk->pool;

	/*
	 * What the last owner read and wrote in the slot comes before the next
	 * owner's use of it; pairs with the acquire in sbitmap_get(). The bit
	 * is cleared at once, not deferred: the lowest free slot is the one
	 * most likely still in the cache.
	 */
	smp_mb__before_atomic(); /* see above */
	sbitmap_clear_bit(&chunk->used, buf->nr);
	smp_mb__after_atomic(); /* pairs with the one in chunk_get() */
	if (unlikely(test_bit(chunk->index, pool->full)))
		clear_bit(chunk->index, pool->full);
}

/**
 * io_buffer_pool_used - count the slots in use
 * @pool: the pool
 *
 * Context: any; a snapshot that other CPUs may overtake.
 * Return: the number of slots handed out.
 */
unsigned int io_buffer_pool_used(const struct io_buffer_pool *pool)
{
	/* Pairs with io_buffer_chunk_publish(). */
	unsigned int i, nr_chunks = smp_load_acquire(&pool->nr_chunks);
	unsigned int used = 0;

	for (i = 0; i < nr_chunks; i++)
		used += sbitmap_weight(&pool->chunks[i]->used);
	return used;
}
