// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pools of I/O buffers that stay mapped in an IOMMU domain. The terms are
 * explained in io-buffer-pool.h.
 */

#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "io-buffer-pool.h"

/*
 * Slots in a word, at least, where the chunk has as many: what they stand for
 * then fills a cache line, so that words do not share one.
 */
#define WORD_MIN_SHIFT		2

/*
 * A search gives up after finding so many chunks full that were not marked: it
 * runs with preemption disabled, and the next one need not look at them.
 */
#define SEARCH_MAX_FULL		8

static void reset_hints(struct io_buffer_pool *pool)
{
	int cpu;

	/* A CPU may set its own at the same time: it is a hint. */
	for_each_possible_cpu(cpu)
		WRITE_ONCE(*per_cpu_ptr(pool->hint, cpu),
			   pool->max_chunks << IO_BUFFER_HINT_SHIFT);
}

/**
 * io_buffer_pool_create - make a pool that has no memory yet
 * @domain: IOMMU domain its chunks are to be mapped into
 * @prot: IOMMU_READ, IOMMU_WRITE, IOMMU_CACHE: how they are mapped
 * @nid: memory node to prefer
 * @slot_shift: log2 of the bytes in a slot, at least @granule_shift
 * @granule_shift: log2 of the bytes in the domain's smallest page
 * @max_chunks: how many chunks the pool may have at once
 * @gfp: how to allocate
 *
 * Context: as @gfp says.
 * Return: the pool, or NULL when memory is short.
 */
struct io_buffer_pool *
io_buffer_pool_create(struct iommu_domain *domain, int prot, int nid,
		      unsigned int slot_shift, unsigned int granule_shift,
		      unsigned int max_chunks, gfp_t gfp)
{
	struct io_buffer_pool *pool;

	pool = kzalloc_node(struct_size(pool, chunks, max_chunks + 1), gfp,
			    nid);
	if (!pool)
		return NULL;

	pool->full = bitmap_zalloc_node(max_chunks, gfp, nid);
	pool->hint = alloc_percpu_gfp(u32, gfp);
	if (!pool->full || !pool->hint) {
		free_percpu(pool->hint);
		bitmap_free(pool->full);
		kfree(pool);
		return NULL;
	}

	pool->domain = domain;
	pool->prot = prot;
	pool->nid = nid;
	pool->slot_shift = slot_shift;
	pool->granule_shift = granule_shift;
	pool->max_chunks = max_chunks;
	reset_hints(pool);
	return pool;
}

/**
 * io_buffer_pool_destroy - free a pool and all its chunks
 * @pool: the pool, or NULL; no slot of it may be used by a device any more
 *
 * Context: as iommu_unmap() with the domain's driver; any where there are no
 * chunks. Must not race with any other use of the pool.
 */
void io_buffer_pool_destroy(struct io_buffer_pool *pool)
{
	struct io_buffer_chunk *chunk;
	unsigned int i;

	if (!pool)
		return;

	for (i = 0; i < pool->end; i++) {
		chunk = io_buffer_pool_chunk(pool, i);
		if (chunk)
			io_buffer_chunk_destroy(chunk);
	}
	free_percpu(pool->hint);
	bitmap_free(pool->full);
	kfree(pool);
}

static void chunk_free(struct io_buffer_chunk *chunk)
{
	io_buffer_guards_free(chunk);
	kfree(chunk->words);
	kfree(chunk->granules);
	kfree(chunk);
}

static void chunk_free_rcu(struct rcu_head *rcu)
{
	chunk_free(container_of(rcu, struct io_buffer_chunk, rcu));
}

/* Of @nr_slots, how many to a word: enough words for all CPUs, if there can be. */
static unsigned int choose_word_shift(unsigned int nr_slots)
{
	unsigned int all = ilog2(nr_slots);
	unsigned int cpus = order_base_2(nr_cpu_ids);
	unsigned int shift = all > cpus ? all - cpus : 0;

	/* A hint has room for so many words. */
	if (all > IO_BUFFER_HINT_SHIFT)
		shift = max(shift, all - IO_BUFFER_HINT_SHIFT);
	shift = clamp_t(unsigned int, shift, WORD_MIN_SHIFT,
			ilog2(BITS_PER_LONG));
	return min(all, shift);
}

static unsigned int nr_words(const struct io_buffer_chunk *chunk)
{
	return chunk->size >> chunk->slot_shift >> chunk->word_shift;
}

/* A word none of whose slots is in use */
static unsigned long idle_word(const struct io_buffer_chunk *chunk)
{
	return ~GENMASK(BIT(chunk->word_shift) - 1, 0);
}

static int alloc_words(struct io_buffer_chunk *chunk, gfp_t gfp, int nid)
{
	unsigned int i;

	chunk->word_shift = choose_word_shift(chunk->size >> chunk->slot_shift);
	chunk->words = kcalloc_node(nr_words(chunk), sizeof(*chunk->words),
				    gfp, nid);
	if (!chunk->words)
		return -ENOMEM;
	chunk->word_mask = nr_words(chunk) - 1;
	for (i = 0; i < nr_words(chunk); i++)
		chunk->words[i].used = idle_word(chunk);
	return 0;
}

static struct io_buffer_chunk *chunk_alloc(struct io_buffer_pool *pool,
					   size_t size, gfp_t gfp)
{
	unsigned int nr_slots = size >> pool->slot_shift;
	struct io_buffer_chunk *chunk;

	/* Not kvzalloc_node(): a caller that may not sleep may not come to vmalloc(). */
	chunk = kzalloc_node(struct_size(chunk, slots, nr_slots), gfp,
			     pool->nid);
	if (!chunk)
		return NULL;

	chunk->pool = pool;
	chunk->size = size;
	chunk->slot_shift = pool->slot_shift;
	chunk->granule_shift = pool->granule_shift;
	if (alloc_words(chunk, gfp, pool->nid))
		goto err_free;
	io_buffer_guards_alloc(chunk, gfp);

	if (pool->slot_shift == pool->granule_shift)
		return chunk;
	chunk->granules = kcalloc_node(size >> pool->granule_shift,
				       sizeof(*chunk->granules), gfp,
				       pool->nid);
	if (chunk->granules)
		return chunk;

err_free:
	chunk_free(chunk);
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
 * io_buffer_chunk_take_first - take a slot before anybody else can
 * @chunk: a chunk just created, not published yet
 * @buf: filled in with the slot
 */
void io_buffer_chunk_take_first(struct io_buffer_chunk *chunk,
				struct io_buffer *buf)
{
	chunk->words[0].used |= BIT(0);
	buf->chunk = chunk;
	buf->nr = 0;
}

/**
 * io_buffer_chunk_publish - let the slots of a chunk be handed out
 * @chunk: a chunk just created; its pool must have room for one more
 *
 * Context: any; serialised by the owner of the pool.
 */
void io_buffer_chunk_publish(struct io_buffer_chunk *chunk)
{
	struct io_buffer_pool *pool = chunk->pool;
	unsigned int i = 0;

	while (rcu_access_pointer(pool->chunks[i]))
		i++;
	chunk->index = i;
	chunk->touched = true;
	rcu_assign_pointer(pool->chunks[i], chunk);
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks + 1);
	if (i >= pool->end)
		/* Pairs with io_buffer_pool_search(). */
		smp_store_release(&pool->end, i + 1);
	smp_mb(); /* pairs with the one in chunk_get() */
	io_buffer_pool_unfull(pool, i);
}

/* Let the first @nr words of a chunk that were claimed be used again. */
static void unclaim(struct io_buffer_chunk *chunk, unsigned int nr)
{
	if (!nr)
		return;
	while (nr--) {
		/* Like putting slots back: pairs with io_buffer_word_get() */
		smp_store_release(&chunk->words[nr].used, idle_word(chunk));
	}
	smp_mb(); /* pairs with the one in chunk_get() */
	if (test_bit(chunk->index, chunk->pool->full))
		io_buffer_pool_unfull(chunk->pool, chunk->index);
}

/**
 * io_buffer_chunk_retire - take a chunk out of use if none of its slots is used
 * @chunk: a published chunk
 *
 * Setting all its bits takes the slots like anybody else would; nobody can find
 * a slot in it from then on. io_buffer_chunk_destroy() is to follow.
 *
 * Context: any; serialised by the owner of the pool.
 * Return: true, or false, having changed nothing, if a slot is in use.
 */
bool io_buffer_chunk_retire(struct io_buffer_chunk *chunk)
{
	struct io_buffer_pool *pool = chunk->pool;
	unsigned long idle = idle_word(chunk);
	unsigned int i;

	for (i = 0; i < nr_words(chunk); i++) {
		if (READ_ONCE(chunk->words[i].used) != idle ||
		    cmpxchg(&chunk->words[i].used, idle, ~0UL) != idle) {
			unclaim(chunk, i);
			return false;
		}
	}

	RCU_INIT_POINTER(pool->chunks[chunk->index], NULL);
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks - 1);
	return true;
}

/**
 * io_buffer_chunk_destroy - unmap a chunk and free its memory
 * @chunk: a chunk no slot of which is in use by a device, and none of which can
 *	be handed out any more
 *
 * Where the IOMMU driver would not unmap all of it, chunk and memory are not given
 * back, because a device might still reach it; nor must the IOVA be used again.
 *
 * Context: as iommu_unmap() with the domain's driver.
 * Return: true, or false if it is still there.
 */
bool io_buffer_chunk_destroy(struct io_buffer_chunk *chunk)
{
	size_t unmapped;

	/* iommu_unmap() returns after the IOTLB sync. */
	unmapped = iommu_unmap(chunk->pool->domain, chunk->iova, chunk->size);
	if (WARN_ON_ONCE(unmapped != chunk->size))
		return false;

	free_pages((unsigned long)chunk->vaddr, get_order(chunk->size));
	call_rcu(&chunk->rcu, chunk_free_rcu);
	return true;
}

/**
 * io_buffer_pool_age - begin a new period of watching which chunks are used
 * @pool: the pool
 *
 * A chunk whose @touched is false when the next period begins was not used in
 * between; but for the rare race, which makes it look unused.
 *
 * Context: any; serialised by the owner of the pool.
 */
void io_buffer_pool_age(struct io_buffer_pool *pool)
{
	struct io_buffer_chunk *chunk;
	unsigned int i, end = READ_ONCE(pool->end);

	for (i = 0; i < end; i++) {
		chunk = io_buffer_pool_chunk(pool, i);
		if (chunk)
			WRITE_ONCE(chunk->touched, false);
	}
	/* Now every CPU has to search, which touches what it finds. */
	reset_hints(pool);
}

/* Search the words of a chunk, beginning at one that depends on the CPU. */
static int chunk_search(struct io_buffer_chunk *chunk, unsigned int *word)
{
	unsigned int mask = nr_words(chunk) - 1;
	unsigned int first = raw_smp_processor_id() & mask;
	unsigned int i;
	int nr;

	for (i = 0; i <= mask; i++) {
		*word = (first + i) & mask;
		nr = io_buffer_word_get(chunk, *word);
		if (nr >= 0)
			return nr;
	}
	return -1;
}

static int chunk_get(struct io_buffer_pool *pool, struct io_buffer_chunk *chunk,
		     unsigned int *word)
{
	int nr = chunk_search(chunk, word);

	if (likely(nr >= 0))
		return nr;

	/*
	 * Full: say so, then look once more. Either this look sees a slot put
	 * back meanwhile, or who puts it back sees the bit and clears it; and
	 * likewise with a chunk that takes the place of a retired one. Without
	 * the pairs of barriers free slots could stay hidden.
	 */
	set_bit(chunk->index, pool->full);
	smp_mb__after_atomic(); /* with those before io_buffer_pool_unfull() */
	nr = chunk_search(chunk, word);
	if (nr >= 0 || rcu_access_pointer(pool->chunks[chunk->index]) != chunk)
		io_buffer_pool_unfull(pool, chunk->index);
	return nr;
}

/**
 * io_buffer_pool_unfull - note that a chunk may have a free slot again
 * @pool: the pool
 * @index: of the chunk
 */
void io_buffer_pool_unfull(struct io_buffer_pool *pool, unsigned int index)
{
	clear_bit(index, pool->full);
}

/**
 * io_buffer_pool_search - take a free slot from wherever there is one
 * @pool: the pool
 * @buf: filled in with the slot
 *
 * The slow part of io_buffer_pool_get(). The oldest chunk with a free slot
 * serves, so that load gathers in few chunks and the others can be given back.
 *
 * Context: any but NMI; preemption is disabled.
 * Return: true, or false when no slot is free or none was found soon enough.
 */
bool io_buffer_pool_search(struct io_buffer_pool *pool, struct io_buffer *buf)
{
	/* Pairs with io_buffer_chunk_publish(). */
	unsigned int i, end = smp_load_acquire(&pool->end);
	unsigned int nr_full = 0;

	for (i = 0; i < end && nr_full < SEARCH_MAX_FULL; i++) {
		struct io_buffer_chunk *chunk;
		unsigned int word;
		int nr;

		if (test_bit(i, pool->full))
			continue;
		chunk = rcu_dereference_sched(pool->chunks[i]);
		if (!chunk)
			continue;
		nr = chunk_get(pool, chunk, &word);
		if (nr < 0) {
			nr_full++;
			continue;
		}
		if (!READ_ONCE(chunk->touched))
			WRITE_ONCE(chunk->touched, true);
		this_cpu_write(*pool->hint, i << IO_BUFFER_HINT_SHIFT | word);
		buf->chunk = chunk;
		buf->nr = nr;
		return true;
	}
	return false;
}

/**
 * io_buffer_pool_get_any - take a free slot, however long it takes to find one
 * @pool: the pool
 * @buf: filled in with the slot
 *
 * For mandatory bounces, where a miss may be an error. Each search that gives up
 * has marked some chunks as full, so there is an end.
 *
 * Context: any but NMI; preemption is disabled.
 * Return: true, or false when no slot is free.
 */
bool io_buffer_pool_get_any(struct io_buffer_pool *pool, struct io_buffer *buf)
{
	unsigned int i, tries = DIV_ROUND_UP(READ_ONCE(pool->end), SEARCH_MAX_FULL);

	for (i = 0; i <= tries; i++)
		if (io_buffer_pool_get(pool, buf))
			return true;
	return false;
}

static unsigned int chunk_used(const struct io_buffer_chunk *chunk)
{
	unsigned int i, used = 0;

	for (i = 0; i < nr_words(chunk); i++)
		used += hweight_long(READ_ONCE(chunk->words[i].used) &
				     ~idle_word(chunk));
	return used;
}

/**
 * io_buffer_pool_used - count the slots in use
 * @pool: the pool, none of whose chunks is retired meanwhile
 *
 * Context: any; a snapshot that other CPUs may overtake.
 * Return: the number of slots handed out.
 */
unsigned int io_buffer_pool_used(struct io_buffer_pool *pool)
{
	/* Pairs with io_buffer_chunk_publish(). */
	unsigned int i, end = smp_load_acquire(&pool->end);
	unsigned int used = 0;

	for (i = 0; i < end; i++) {
		struct io_buffer_chunk *chunk = io_buffer_pool_chunk(pool, i);

		if (chunk)
			used += chunk_used(chunk);
	}
	return used;
}
