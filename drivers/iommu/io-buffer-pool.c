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
#include <linux/prefetch.h>
#include <linux/slab.h>

#include "io-buffer-pool.h"

/*
 * Bounds of the time with preemption disabled. A search gives up after it has marked
 * SEARCH_MAX_FULL chunks full, having looked at each of their words twice; the next one
 * skips these. Before that, it looks at up to SEARCH_MAX_UNOWNED words without owner.
 */
#define SEARCH_MAX_FULL		8
#define SEARCH_MAX_UNOWNED	16

/* With this part of the slots in use or less, CPUs move to the first chunks. */
#define SPARSE_SHARE		4

/* The hint that there is none */
static u32 no_hint(const struct io_buffer_pool *pool)
{
	return pool->max_chunks << IO_BUFFER_HINT_SHIFT;
}

static u32 buffer_hint(const struct io_buffer *buf)
{
	return (buf->chunk->index << IO_BUFFER_HINT_SHIFT) +
	       (buf->nr >> buf->chunk->word_shift);
}

/* Reset the first hint of all CPUs, or @all. They may race with this. */
static void reset_hints(struct io_buffer_pool *pool, bool all)
{
	int cpu, i;

	for_each_possible_cpu(cpu) {
		struct io_buffer_hints *hints = per_cpu_ptr(pool->hints, cpu);

		WRITE_ONCE(hints->word, NULL);
		WRITE_ONCE(hints->last, no_hint(pool));
		WRITE_ONCE(hints->crowded, false);
		if (!all)
			continue;
		WRITE_ONCE(hints->search, no_hint(pool));
		for (i = 0; i < IO_BUFFER_NR_HINTS; i++)
			WRITE_ONCE(hints->old[i], no_hint(pool));
	}
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
	pool->hints = alloc_percpu_gfp(struct io_buffer_hints, gfp);
	if (!pool->full || !pool->hints) {
		free_percpu(pool->hints);
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
	reset_hints(pool, true);
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
	free_percpu(pool->hints);
	bitmap_free(pool->full);
	kfree(pool);
}

static void chunk_free(struct io_buffer_chunk *chunk)
{
	io_buffer_guards_free(chunk);
	kfree(chunk->segments);
	kfree(chunk);
}

static void chunk_free_rcu(struct rcu_head *rcu)
{
	chunk_free(container_of(rcu, struct io_buffer_chunk, rcu));
}

/*
 * log2 of the slots in a word: what one CPU has of all slots. So CPUs that are equally
 * busy each have a word of their own, also if they use few slots, and need few words.
 */
static unsigned int choose_word_shift(const struct io_buffer_pool *pool,
				      unsigned int nr_slots)
{
	unsigned int share = (READ_ONCE(pool->nr_slots) + nr_slots) / num_online_cpus();
	unsigned int shift = share ? ilog2(share) : 0;
	unsigned int all = ilog2(nr_slots);

	/* A hint can address no more words. */
	if (all > IO_BUFFER_HINT_SHIFT)
		shift = max(shift, all - IO_BUFFER_HINT_SHIFT);
	return min3(shift, all, (unsigned int)ilog2(BITS_PER_LONG));
}

static unsigned int nr_words(const struct io_buffer_chunk *chunk)
{
	return chunk->word_mask + 1;
}

/* The value of a word without slots in use */
static unsigned long idle_word(const struct io_buffer_chunk *chunk)
{
	return ~GENMASK(chunk->slot_mask, 0);
}

/* From now on, the words belong to the next CPUs that take slots of them. */
static void disown_words(struct io_buffer_chunk *chunk)
{
	unsigned int i;

	for (i = 0; i < nr_words(chunk); i++)
		WRITE_ONCE(io_buffer_word(chunk, i)->owner, nr_cpu_ids);
	atomic_set(&chunk->owned, 0);
}

static struct io_buffer_chunk *chunk_alloc(struct io_buffer_pool *pool,
					   size_t size, gfp_t gfp)
{
	unsigned int nr_slots = size >> pool->slot_shift;
	unsigned int shift = choose_word_shift(pool, nr_slots);
	struct io_buffer_chunk *chunk;
	unsigned int i;
	size_t word_size;

	word_size = ALIGN(struct_size_t(struct io_buffer_word, slots, BIT(shift)),
			  L1_CACHE_BYTES);
	/* Not kvzalloc_node(): vmalloc() may sleep. */
	chunk = kzalloc_node(struct_size(chunk, words,
					 word_size * (nr_slots >> shift)),
			     gfp, pool->nid);
	if (!chunk)
		return NULL;

	chunk->pool = pool;
	chunk->size = size;
	chunk->slot_shift = pool->slot_shift;
	chunk->granule_shift = pool->granule_shift;
	chunk->word_shift = shift;
	chunk->slot_mask = BIT(shift) - 1;
	chunk->word_mask = (nr_slots >> shift) - 1;
	chunk->word_size = word_size;
	for (i = 0; i < nr_words(chunk); i++)
		io_buffer_word(chunk, i)->used = idle_word(chunk);
	disown_words(chunk);
	io_buffer_guards_alloc(chunk, gfp);

	chunk->segments = kcalloc_node(size >> pool->granule_shift,
				       sizeof(*chunk->segments), gfp,
				       pool->nid);
	if (!chunk->segments) {
		chunk_free(chunk);
		return NULL;
	}
	return chunk;
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
	*buf = io_buffer_nr(chunk, 0);
	buf->word->used |= BIT(0);
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
	WRITE_ONCE(pool->nr_slots,
		   pool->nr_slots + (chunk->size >> chunk->slot_shift));
	WRITE_ONCE(pool->crowded, false);
	if (i >= pool->end)
		/* Pairs with io_buffer_pool_search(). */
		smp_store_release(&pool->end, i + 1);
	smp_mb(); /* pairs with the one in chunk_get() */
	io_buffer_pool_mark_nonfull(pool, i);
	if (READ_ONCE(pool->unowned) > i)
		WRITE_ONCE(pool->unowned, i);
}

/* Free all slots of the first @nr words of a chunk. */
static void release_words(struct io_buffer_chunk *chunk, unsigned int nr)
{
	if (!nr)
		return;
	while (nr--) {
		/* Like freeing slots: pairs with io_buffer_word_get() */
		smp_store_release(&io_buffer_word(chunk, nr)->used,
				  idle_word(chunk));
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
		struct io_buffer_word *word = io_buffer_word(chunk, i);

		if (READ_ONCE(word->used) != idle ||
		    cmpxchg(&word->used, idle, ~0UL) != idle) {
			release_words(chunk, i);
			return false;
		}
	}

	RCU_INIT_POINTER(pool->chunks[chunk->index], NULL);
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks - 1);
	WRITE_ONCE(pool->nr_slots,
		   pool->nr_slots - (chunk->size >> chunk->slot_shift));
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
 * io_buffer_pool_age - start to track which chunks are used
 * @pool: the pool
 *
 * Chunks that serve a slot from now on, or that a CPU expects to serve one, have
 * @referenced set, except for a rare race, which makes a used chunk look idle.
 *
 * If few slots are in use, words lose their owners, and CPUs take words of the first
 * chunks again. So the other chunks become idle and can be reclaimed.
 *
 * Context: any; serialised by the manager.
 * Return: true if CPUs had to share words since the last time.
 */
bool io_buffer_pool_age(struct io_buffer_pool *pool)
{
	unsigned int nr_slots = READ_ONCE(pool->nr_slots);
	bool sparse = io_buffer_pool_used(pool) <= nr_slots / SPARSE_SHARE;
	bool crowded = READ_ONCE(pool->crowded);
	struct io_buffer_chunk *chunk;
	unsigned int i, end = READ_ONCE(pool->end);

	if (!READ_ONCE(pool->nr_chunks))
		return false;
	for (i = 0; i < end; i++) {
		chunk = io_buffer_pool_chunk(pool, i);
		if (!chunk)
			continue;
		WRITE_ONCE(chunk->referenced, false);
		if (sparse)
			disown_words(chunk);
	}
	if (sparse)
		WRITE_ONCE(pool->unowned, 0);
	WRITE_ONCE(pool->crowded, false);
	/* Without its first hint, a CPU has to search, which sets @referenced. */
	reset_hints(pool, sparse);
	return crowded;
}

static void set_referenced(struct io_buffer_chunk *chunk)
{
	if (!READ_ONCE(chunk->referenced))
		WRITE_ONCE(chunk->referenced, true);
}

/**
 * io_buffer_pool_pop_hint - replace the first hint by the next one
 * @pool: the pool; the caller has preemption disabled
 */
void io_buffer_pool_pop_hint(struct io_buffer_pool *pool)
{
	struct io_buffer_hints *hints = this_cpu_ptr(pool->hints);
	u32 top = READ_ONCE(hints->top) - 1;
	u32 *old = &hints->old[top % IO_BUFFER_NR_HINTS];
	u32 hint = READ_ONCE(*old);
	struct io_buffer_chunk *chunk;

	chunk = rcu_dereference_sched(pool->chunks[hint >> IO_BUFFER_HINT_SHIFT]);
	if (chunk)
		set_referenced(chunk);
	WRITE_ONCE(hints->word, NULL);
	WRITE_ONCE(hints->last, hint);
	WRITE_ONCE(*old, no_hint(pool));
	WRITE_ONCE(hints->top, top);
}

/**
 * io_buffer_pool_drop_hint - replace the first hint if it is for the word of a slot
 * @buf: the slot
 *
 * Context: any but NMI.
 */
void io_buffer_pool_drop_hint(const struct io_buffer *buf)
{
	struct io_buffer_pool *pool = buf->chunk->pool;

	guard(preempt)();
	if (this_cpu_read(pool->hints->last) == buffer_hint(buf))
		io_buffer_pool_pop_hint(pool);
}

/*
 * A slot is about to be freed, not in the last word. In a word of another CPU, it is left
 * to that one, unless no word is without owner: then the alternative is a search.
 */
static void push_hint(struct io_buffer_pool *pool, const struct io_buffer *buf)
{
	u32 last, top, hint = buffer_hint(buf);
	struct io_buffer_hints *hints;

	guard(preempt)();
	hints = this_cpu_ptr(pool->hints);
	if (READ_ONCE(buf->word->owner) != smp_processor_id() &&
	    !READ_ONCE(hints->crowded))
		return;

	set_referenced(buf->chunk);
	last = READ_ONCE(hints->last);
	if (last != no_hint(pool) && last != hint) {
		top = READ_ONCE(hints->top);
		WRITE_ONCE(hints->old[top % IO_BUFFER_NR_HINTS], last);
		WRITE_ONCE(hints->top, top + 1);
	}
	WRITE_ONCE(hints->last, hint);
	WRITE_ONCE(hints->word, buf->word);
}

/**
 * io_buffer_pool_put_hinted - io_buffer_pool_put() if this CPU has no hint for the word
 * @chunk: the chunk of the slot
 * @nr: its number there
 *
 * Context: any but NMI.
 */
void io_buffer_pool_put_hinted(struct io_buffer_chunk *chunk, unsigned int nr)
{
	struct io_buffer buf = io_buffer_nr(chunk, nr);

	/* It is about to be written, perhaps after another CPU. */
	prefetchw(buf.word);
	push_hint(chunk->pool, &buf);
	io_buffer_pool_free(&buf);
}

/* Take a slot of a word; if it is the last one, the first hint is of no use any more. */
static bool word_get(struct io_buffer_pool *pool, struct io_buffer_chunk *chunk,
		     unsigned int index, struct io_buffer *buf)
{
	bool last;

	if (!io_buffer_word_get(chunk, index, buf, &last))
		return false;
	if (last)
		io_buffer_pool_pop_hint(pool);
	return true;
}

/* Take a slot of a word, and expect more there. */
static bool get_from(struct io_buffer_pool *pool, u32 hint, struct io_buffer *buf)
{
	struct io_buffer_chunk *chunk;

	this_cpu_write(pool->hints->word, NULL);
	this_cpu_write(pool->hints->last, hint);
	/* Not io_buffer_hint_get(): the hint may have been reset, and this word skipped. */
	chunk = rcu_dereference_sched(pool->chunks[hint >> IO_BUFFER_HINT_SHIFT]);
	if (!chunk || !word_get(pool, chunk, hint & chunk->word_mask, buf))
		return false;
	set_referenced(buf->chunk);
	return true;
}

/* Search the other words that this CPU has a hint for. */
static bool get_hinted(struct io_buffer_pool *pool, struct io_buffer *buf)
{
	bool last;
	int i;

	for (i = 0; i < IO_BUFFER_NR_HINTS; i++) {
		io_buffer_pool_pop_hint(pool);
		if (this_cpu_read(pool->hints->last) == no_hint(pool))
			break;
		if (!io_buffer_hint_get(pool, buf, &last))
			continue;
		if (last)
			io_buffer_pool_pop_hint(pool);
		return true;
	}
	return false;
}

/* The number of a word without owner, or -1 */
static int next_unowned(struct io_buffer_chunk *chunk)
{
	int word = atomic_read(&chunk->owned);

	if (word <= chunk->word_mask)
		word = atomic_fetch_inc(&chunk->owned);
	return word <= chunk->word_mask ? word : -1;
}

/*
 * Become the owner of a word, of the first chunk that has one. Others may have taken
 * all its slots already. A chunk that is not in use is left alone.
 */
static bool get_unowned(struct io_buffer_pool *pool, unsigned int end,
			struct io_buffer *buf)
{
	unsigned int i, tries = 0;
	u32 hint;

	while ((i = READ_ONCE(pool->unowned)) < end) {
		struct io_buffer_chunk *chunk = rcu_dereference_sched(pool->chunks[i]);
		int word;

		if (chunk && i && !READ_ONCE(chunk->referenced))
			break;
		word = chunk ? next_unowned(chunk) : -1;
		if (word < 0) {
			cmpxchg(&pool->unowned, i, i + 1);
			continue;
		}
		hint = (i << IO_BUFFER_HINT_SHIFT) + word;
		WRITE_ONCE(io_buffer_word(chunk, word)->owner, smp_processor_id());
		if (get_from(pool, hint, buf))
			return true;
		if (++tries >= SEARCH_MAX_UNOWNED)
			return false;
	}
	if (end)
		this_cpu_write(pool->hints->crowded, true);
	return false;
}

/* Search the words of a chunk from number @first on. */
static bool chunk_search(struct io_buffer_pool *pool, struct io_buffer_chunk *chunk,
			 unsigned int first, struct io_buffer *buf)
{
	u32 hint = chunk->index << IO_BUFFER_HINT_SHIFT;
	unsigned int i;

	for (i = 0; i < nr_words(chunk); i++)
		if (get_from(pool, hint + ((first + i) & chunk->word_mask), buf))
			return true;
	return false;
}

static bool chunk_get(struct io_buffer_pool *pool, struct io_buffer_chunk *chunk,
		      unsigned int first, struct io_buffer *buf)
{
	bool found = chunk_search(pool, chunk, first, buf);

	if (likely(found))
		return true;

	/*
	 * Mark the chunk full, then search again. A slot freed meanwhile is
	 * either found here, or the CPU that freed it sees the bit and clears
	 * it. The same holds if another chunk has taken the index.
	 */
	set_bit(chunk->index, pool->full);
	smp_mb__after_atomic(); /* with those before io_buffer_pool_mark_nonfull() */
	found = chunk_search(pool, chunk, first, buf);
	if (found || rcu_access_pointer(pool->chunks[chunk->index]) != chunk)
		io_buffer_pool_mark_nonfull(pool, chunk->index);
	return found;
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

/* The slot is in the word of another CPU, if that one still owns it. */
static void note_sharing(struct io_buffer_pool *pool, const struct io_buffer *buf)
{
	if (READ_ONCE(buf->word->owner) != smp_processor_id() &&
	    !READ_ONCE(pool->crowded))
		WRITE_ONCE(pool->crowded, true);
}

/* Search all words, from where the last search of this CPU ended. */
static bool get_from_any(struct io_buffer_pool *pool, unsigned int end,
			 struct io_buffer *buf)
{
	u32 from = this_cpu_read(pool->hints->search);
	unsigned int first = from >> IO_BUFFER_HINT_SHIFT;
	unsigned int i, n, nr_full = 0;

	if (first >= end)
		first = 0;
	for (n = 0; n < end && nr_full < SEARCH_MAX_FULL; n++) {
		struct io_buffer_chunk *chunk;

		i = first + n < end ? first + n : first + n - end;
		if (test_bit(i, pool->full))
			continue;
		chunk = rcu_dereference_sched(pool->chunks[i]);
		if (!chunk)
			continue;
		if (chunk_get(pool, chunk, n ? 0 : from, buf)) {
			note_sharing(pool, buf);
			return true;
		}
		nr_full++;
	}
	/* The next search begins with the chunks that this one did not reach. */
	if (end)
		this_cpu_write(pool->hints->search,
			       (first + n) % end << IO_BUFFER_HINT_SHIFT);
	return false;
}

/**
 * io_buffer_pool_search - slow path of io_buffer_pool_get()
 * @pool: the pool
 * @buf: filled in with the slot
 *
 * Context: any but NMI; preemption is disabled.
 * Return: false if no slot is free, or none was found soon enough.
 */
bool io_buffer_pool_search(struct io_buffer_pool *pool, struct io_buffer *buf)
{
	/* Pairs with io_buffer_chunk_online(). */
	unsigned int end = smp_load_acquire(&pool->end);
	u32 hint = this_cpu_read(pool->hints->search);

	if (get_hinted(pool, buf))
		return true;
	/* Other CPUs may have freed slots there. */
	if (hint != no_hint(pool) && get_from(pool, hint, buf))
		return true;
	if (!get_unowned(pool, end, buf) && !get_from_any(pool, end, buf)) {
		/* Not the last word that was tried: its chunk is not referenced. */
		this_cpu_write(pool->hints->last, no_hint(pool));
		return false;
	}
	this_cpu_write(pool->hints->search, buffer_hint(buf));
	return true;
}

/**
 * io_buffer_pool_get_any - take a free slot, however long the search takes
 * @pool: the pool
 * @buf: filled in with the slot
 *
 * For mandatory bounces, where a miss may be an error. Each search goes on where the
 * last one gave up.
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

static unsigned int chunk_used(struct io_buffer_chunk *chunk)
{
	unsigned int i, used = 0;

	for (i = 0; i < nr_words(chunk); i++)
		used += hweight_long(READ_ONCE(io_buffer_word(chunk, i)->used) &
				     GENMASK(chunk->slot_mask, 0));
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
	return !test_and_set_bit_lock(buf->nr & buf->chunk->slot_mask,
				      &buf->word->used);
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
	unsigned int i, nr, end = smp_load_acquire(&pool->end);
	size_t size = 1UL << pool->slot_shift;

	for (i = 0; i < end; i++) {
		struct io_buffer_chunk *chunk = io_buffer_pool_chunk(pool, i);

		if (!chunk)
			continue;
		for (nr = 0; nr < chunk->size >> chunk->slot_shift; nr++) {
			struct io_buffer buf = io_buffer_nr(chunk, nr);

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
