// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pools of buffers that are mapped into an IOMMU domain in advance. See
 * io-buffer-pool.h for the terms.
 */

#include <kunit/static_stub.h>
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "io-buffer-pool.h"

/* log2 of the slots in a word, at least: their struct io_buffer_slot fill a cache line. */
#define WORD_MIN_SHIFT		2

/*
 * Bounds the time with preemption disabled: a search stops after it has marked
 * this many chunks full. The next one skips those.
 */
#define SEARCH_MAX_FULL		8

static void reset_hints(struct io_buffer_pool *pool)
{
	int cpu;

	/* CPUs may race with this: it is only a hint. */
	for_each_possible_cpu(cpu)
		WRITE_ONCE(*per_cpu_ptr(pool->hint, cpu),
			   pool->max_chunks << IO_BUFFER_HINT_SHIFT);
}

/**
 * io_buffer_pool_create - create a pool without chunks
 * @domain: IOMMU domain to map its chunks into
 * @prot: IOMMU_READ, IOMMU_WRITE, IOMMU_CACHE
 * @nid: preferred memory node
 * @slot_shift: log2 of the bytes in a slot, at least @granule_shift
 * @granule_shift: log2 of the bytes in the domain's smallest page
 * @max_chunks: the most chunks that may be online at once
 * @gfp: allocation flags
 *
 * Context: depends on @gfp.
 * Return: the pool, or NULL if out of memory.
 */
struct io_buffer_pool *
io_buffer_pool_create(struct iommu_domain *domain, int prot, int nid,
		      unsigned int slot_shift, unsigned int granule_shift,
		      unsigned int max_chunks, gfp_t gfp)
{
	struct io_buffer_pool *pool;

	KUNIT_STATIC_STUB_REDIRECT(io_buffer_pool_create, domain, prot, nid,
				   slot_shift, granule_shift, max_chunks, gfp);

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
 * @pool: the pool, or NULL; devices must not use its slots any more
 *
 * Context: as iommu_unmap(); any if there are no chunks. Must not race with any
 * other use of the pool.
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

/* log2 of the slots in a word: as many words as CPUs, if possible. */
static unsigned int choose_word_shift(unsigned int nr_slots)
{
	unsigned int all = ilog2(nr_slots);
	unsigned int cpus = order_base_2(nr_cpu_ids);
	unsigned int shift = all > cpus ? all - cpus : 0;

	/* A hint can address no more words. */
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

/* The value of a word without slots in use */
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

	/* Not kvzalloc_node(): vmalloc() may sleep. */
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
 * io_buffer_chunk_create - allocate and map a chunk
 * @pool: the pool
 * @iova: where to map the chunk, aligned to @size
 * @size: in bytes: a power of two, at least a page, a granule and a slot
 * @gfp: allocation flags
 *
 * The memory is zeroed because a device can read all of a slot.
 *
 * Context: depends on @gfp.
 * Return: the chunk, still offline, or NULL on failure.
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
		/* A device that does not snoop must see the zeroes. */
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
 * io_buffer_chunk_take_first - take a slot of an offline chunk
 * @chunk: a new chunk, not online yet
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
 * io_buffer_chunk_online - make the slots of a chunk available
 * @chunk: a new chunk; its pool must have room for it
 *
 * Context: any; serialised by the manager.
 */
void io_buffer_chunk_online(struct io_buffer_chunk *chunk)
{
	struct io_buffer_pool *pool = chunk->pool;
	unsigned int i = 0;

	while (rcu_access_pointer(pool->chunks[i]))
		i++;
	chunk->index = i;
	chunk->referenced = true;
	rcu_assign_pointer(pool->chunks[i], chunk);
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks + 1);
	if (i >= pool->end)
		/* Pairs with io_buffer_pool_search(). */
		smp_store_release(&pool->end, i + 1);
	smp_mb(); /* pairs with the one in chunk_get() */
	io_buffer_pool_mark_nonfull(pool, i);
}

/* Free all slots of the first @nr words of a chunk. */
static void release_words(struct io_buffer_chunk *chunk, unsigned int nr)
{
	if (!nr)
		return;
	while (nr--) {
		/* Like freeing slots: pairs with io_buffer_word_get() */
		smp_store_release(&chunk->words[nr].used, idle_word(chunk));
	}
	smp_mb(); /* pairs with the one in chunk_get() */
	if (test_bit(chunk->index, chunk->pool->full))
		io_buffer_pool_mark_nonfull(chunk->pool, chunk->index);
}

/**
 * io_buffer_chunk_offline - take a chunk out of use if all its slots are free
 * @chunk: a chunk that is online
 *
 * Takes all slots of the chunk, so that nobody else gets one.
 *
 * Context: any; serialised by the manager.
 * Return: false, without effect, if a slot is in use; otherwise
 * io_buffer_chunk_destroy() has to follow.
 */
bool io_buffer_chunk_offline(struct io_buffer_chunk *chunk)
{
	struct io_buffer_pool *pool = chunk->pool;
	unsigned long idle = idle_word(chunk);
	unsigned int i;

	for (i = 0; i < nr_words(chunk); i++) {
		if (READ_ONCE(chunk->words[i].used) != idle ||
		    cmpxchg(&chunk->words[i].used, idle, ~0UL) != idle) {
			release_words(chunk, i);
			return false;
		}
	}

	RCU_INIT_POINTER(pool->chunks[chunk->index], NULL);
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks - 1);
	return true;
}

/**
 * io_buffer_chunk_destroy - unmap and free a chunk
 * @chunk: an offline chunk
 *
 * If the IOMMU driver does not unmap all of it, the chunk is leaked, because a
 * device might still reach it. Its IOVA must not be used again either.
 *
 * Context: as iommu_unmap().
 * Return: false if the chunk was leaked.
 */
bool io_buffer_chunk_destroy(struct io_buffer_chunk *chunk)
{
	size_t unmapped;

	/* Drivers may have forgotten mappings. */
	io_buffer_guards_free(chunk);
	/* iommu_unmap() returns after the IOTLB sync. */
	unmapped = iommu_unmap(chunk->pool->domain, chunk->iova, chunk->size);
	if (WARN_ON_ONCE(unmapped != chunk->size))
		return false;

	free_pages((unsigned long)chunk->vaddr, get_order(chunk->size));
	call_rcu(&chunk->rcu, chunk_free_rcu);
	return true;
}

/**
 * io_buffer_pool_clear_referenced - start to track which chunks are used
 * @pool: the pool
 *
 * Chunks that serve a slot from now on have @referenced set, except for a rare
 * race, which makes a used chunk look idle.
 *
 * Context: any; serialised by the manager.
 */
void io_buffer_pool_clear_referenced(struct io_buffer_pool *pool)
{
	struct io_buffer_chunk *chunk;
	unsigned int i, end = READ_ONCE(pool->end);

	for (i = 0; i < end; i++) {
		chunk = io_buffer_pool_chunk(pool, i);
		if (chunk)
			WRITE_ONCE(chunk->referenced, false);
	}
	/* Without a hint, a CPU has to search, which sets @referenced. */
	reset_hints(pool);
}

/* Search the words of a chunk. CPUs start at different words. */
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
	 * Mark the chunk full, then search again. A slot freed meanwhile is
	 * either found here, or the CPU that freed it sees the bit and clears
	 * it. The same holds if another chunk has taken the index.
	 */
	set_bit(chunk->index, pool->full);
	smp_mb__after_atomic(); /* with those before io_buffer_pool_mark_nonfull() */
	nr = chunk_search(chunk, word);
	if (nr >= 0 || rcu_access_pointer(pool->chunks[chunk->index]) != chunk)
		io_buffer_pool_mark_nonfull(pool, chunk->index);
	return nr;
}

/**
 * io_buffer_pool_mark_nonfull - a chunk may have a free slot again
 * @pool: the pool
 * @index: index of the chunk
 */
void io_buffer_pool_mark_nonfull(struct io_buffer_pool *pool, unsigned int index)
{
	clear_bit(index, pool->full);
}

/**
 * io_buffer_pool_search - slow path of io_buffer_pool_get()
 * @pool: the pool
 * @buf: filled in with the slot
 *
 * Prefers the oldest chunk, so that the others become idle and can be reclaimed.
 *
 * Context: any but NMI; preemption is disabled.
 * Return: false if no slot is free, or none was found soon enough.
 */
bool io_buffer_pool_search(struct io_buffer_pool *pool, struct io_buffer *buf)
{
	/* Pairs with io_buffer_chunk_online(). */
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
		if (!READ_ONCE(chunk->referenced))
			WRITE_ONCE(chunk->referenced, true);
		this_cpu_write(*pool->hint, i << IO_BUFFER_HINT_SHIFT | word);
		buf->chunk = chunk;
		buf->nr = nr;
		return true;
	}
	return false;
}

/**
 * io_buffer_pool_get_any - take a free slot, however long the search takes
 * @pool: the pool
 * @buf: filled in with the slot
 *
 * For mandatory bounces, where a miss may be an error. Each search that gives up
 * has marked some chunks full, so this ends.
 *
 * Context: any but NMI; preemption is disabled.
 * Return: false if no slot is free.
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
 * @pool: the pool; the caller keeps its chunks online
 *
 * Return: the number of slots in use; a snapshot.
 */
unsigned int io_buffer_pool_used(struct io_buffer_pool *pool)
{
	/* Pairs with io_buffer_chunk_online(). */
	unsigned int i, end = smp_load_acquire(&pool->end);
	unsigned int used = 0;

	for (i = 0; i < end; i++) {
		struct io_buffer_chunk *chunk = io_buffer_pool_chunk(pool, i);

		if (chunk)
			used += chunk_used(chunk);
	}
	return used;
}

/* Take this slot of an online chunk if it is free. */
static bool io_buffer_take(const struct io_buffer *buf)
{
	const struct io_buffer_chunk *chunk = buf->chunk;

	return !test_and_set_bit_lock(buf->nr & (BIT(chunk->word_shift) - 1),
				      &chunk->words[buf->nr >> chunk->word_shift].used);
}

/**
 * io_buffer_pool_wipe - clear all free slots
 * @pool: the pool; the caller keeps its chunks online
 *
 * Takes each for a moment. What happens to the slots in use is up to their users.
 *
 * Context: any but NMI.
 */
void io_buffer_pool_wipe(struct io_buffer_pool *pool)
{
	/* Pairs with io_buffer_chunk_online(). */
	unsigned int i, end = smp_load_acquire(&pool->end);
	size_t size = 1UL << pool->slot_shift;
	struct io_buffer buf;

	for (i = 0; i < end; i++) {
		buf.chunk = io_buffer_pool_chunk(pool, i);
		if (!buf.chunk)
			continue;
		for (buf.nr = 0; io_buffer_offset(&buf) < buf.chunk->size; buf.nr++) {
			if (!io_buffer_take(&buf))
				continue;
			memset(io_buffer_vaddr(&buf), 0, size);
			if (!(pool->prot & IOMMU_CACHE))
				arch_sync_dma_for_device(io_buffer_phys(&buf),
							 size, DMA_TO_DEVICE);
			io_buffer_pool_put(&buf);
		}
		if (!(pool->prot & IOMMU_CACHE))
			arch_sync_dma_flush();
	}
}
