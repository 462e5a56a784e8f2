// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O buffers of one IOMMU domain: the pools, and the worker
 * that makes them grow. Where they lie is told in io-buffer-window.c, how they
 * shrink in io-buffer-reclaim.c, which of them stay in io-buffer-reserve.c, how
 * much memory they may take in io-buffer-budget.c; the terms are explained in
 * io-buffer-manager.h and io-buffer-pool.h.
 */

#define pr_fmt(fmt) "iommu: bounce: " fmt

#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/jiffies.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <trace/events/iommu_bounce.h>

#include "io-buffer-manager.h"

/* Where a mapping that can neither wait nor do without needs a chunk at once. */
#define GROW_NOW_GFP		(GFP_ATOMIC | __GFP_NOWARN)

struct io_buffer_chunk io_buffer_no_chunk;

static int perm_to_prot(enum io_buffer_perm perm)
{
	switch (perm) {
	case IO_BUFFER_READ:
		return IOMMU_READ;
	case IO_BUFFER_WRITE:
		return IOMMU_WRITE;
	default:
		return IOMMU_READ | IOMMU_WRITE;
	}
}

/**
 * io_buffer_make_pool - the pool of a number, a new one if need be
 * @mgr: the manager of the domain, which has a window
 * @nr: the number; if it is one of the reserve, there is or was one
 * @gfp: how to allocate
 *
 * Context: as @gfp says.
 * Return: the pool, or NULL where memory is short.
 */
struct io_buffer_pool *io_buffer_make_pool(struct io_buffer_manager *mgr,
					   unsigned int nr, gfp_t gfp)
{
	enum io_buffer_perm perm = nr % IO_BUFFER_NR_POOLS / IO_BUFFER_NR_CLASSES;
	struct io_buffer_pool **place = io_buffer_pool_place(mgr, nr);
	unsigned int class = nr % IO_BUFFER_NR_CLASSES;
	struct io_buffer_pool *pool = READ_ONCE(*place), *other;

	if (pool)
		return pool;

	pool = io_buffer_pool_create(mgr->domain,
				     perm_to_prot(perm) | mgr->limits.prot,
				     mgr->limits.nid,
				     mgr->granule_shift + class,
				     mgr->granule_shift, mgr->nr_regions, gfp);
	if (!pool)
		return NULL;
	pool->reserve = nr >= IO_BUFFER_NR_POOLS &&
			(!class || class == io_buffer_class(mgr, IO_BUFFER_RESERVE_SLOT));
	scoped_guard(spinlock_irqsave, &mgr->claims) {
		other = *place;
		if (!other)
			/* Pairs with the dependency on the pointer. */
			smp_store_release(place, pool);
	}
	if (!other)
		return pool;
	/* Somebody else was faster. */
	io_buffer_pool_destroy(pool);
	return other;
}

/* The least that a chunk of @pool is where memory is not short, in bytes */
size_t io_buffer_min_chunk(const struct io_buffer_pool *pool)
{
	return max3((size_t)1 << pool->slot_shift, (size_t)IO_BUFFER_MIN_CHUNK,
		    (size_t)PAGE_SIZE);
}

/**
 * io_buffer_next_chunk - what the next chunk of a pool should be
 * @mgr: the manager of the domain
 * @nr: number of the pool
 * @pool: the pool
 *
 * The first chunk is the smallest, the next twice that, and so on, within the
 * budgets.
 *
 * Return: bytes; 0 if the domain's budget has no room for a chunk of this pool.
 */
size_t io_buffer_next_chunk(const struct io_buffer_manager *mgr,
			    unsigned int nr, const struct io_buffer_pool *pool)
{
	/* Who makes a chunk at once does not hold the lock. */
	size_t used = READ_ONCE(mgr->memory), budget = io_buffer_budget(mgr, nr);
	size_t min = io_buffer_min_chunk(pool), max = 1UL << mgr->region_shift;
	unsigned int nr_chunks = READ_ONCE(pool->nr_chunks);
	size_t total_max = io_buffer_total_max(), total = io_buffer_total();

	if (min > max || used > budget || budget - used < min)
		return 0;

	max = min(max, rounddown_pow_of_two(budget - used));
	/* Less is better than nothing; if there is nothing, claim() refuses it. */
	while (max > min && (total > total_max || max > total_max - total))
		max /= 2;
	if (nr_chunks >= BITS_PER_LONG - 1 - ilog2(min))
		return max;
	return min(min << nr_chunks, max);
}

/* A region without a chunk */
static int find_region(const struct io_buffer_manager *mgr)
{
	unsigned int i;

	for (i = 0; i < mgr->nr_regions; i++)
		if (!mgr->regions[i])
			return i;
	return -ENOSPC;
}

/*
 * What a chunk may be as small as where contiguous memory is short. It uses up a
 * region all the same: half of them are kept for better times.
 */
static size_t least_chunk_size(const struct io_buffer_manager *mgr,
			       const struct io_buffer_pool *pool)
{
	if (READ_ONCE(mgr->nr_chunks) >= mgr->nr_regions / 2)
		return io_buffer_min_chunk(pool);
	return max((size_t)1 << pool->slot_shift, (size_t)PAGE_SIZE);
}

/* Take a region, and @size bytes of the budgets, for a chunk that is to be made. */
static int claim(struct io_buffer_manager *mgr, unsigned int nr, size_t size)
{
	int region;

	guard(spinlock_irqsave)(&mgr->claims);

	if (mgr->memory + size > io_buffer_budget(mgr, nr) ||
	    mgr->nr_chunks >= io_buffer_region_budget(mgr, nr))
		return -ENOSPC;
	region = find_region(mgr);
	if (region < 0)
		return region;
	if (!io_buffer_charge(size, nr >= IO_BUFFER_NR_POOLS))
		return -ENOMEM;
	WRITE_ONCE(mgr->regions[region], &io_buffer_no_chunk);
	WRITE_ONCE(mgr->memory, mgr->memory + size);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks + 1);
	return region;
}

static void unclaim(struct io_buffer_manager *mgr, int region, size_t claimed)
{
	guard(spinlock_irqsave)(&mgr->claims);

	io_buffer_uncharge(claimed);
	WRITE_ONCE(mgr->memory, mgr->memory - claimed);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks - 1);
	WRITE_ONCE(mgr->regions[region], NULL);
}

/* Use a chunk, which may have become smaller than what was claimed for it. */
static void settle(struct io_buffer_manager *mgr, int region, size_t claimed,
		   struct io_buffer_chunk *chunk)
{
	guard(spinlock_irqsave)(&mgr->claims);

	io_buffer_uncharge(claimed - chunk->size);
	WRITE_ONCE(mgr->memory, mgr->memory - claimed + chunk->size);
	/* Before any of its addresses can be handed out: see io_buffer_find() */
	WRITE_ONCE(mgr->regions[region], chunk);
	WRITE_ONCE(mgr->grown, mgr->grown + 1);
	io_buffer_chunk_publish(chunk);
	trace_bounce_grow(mgr, chunk->pool, chunk->iova, chunk->size);
}

/**
 * io_buffer_add_chunk - give a pool one more chunk
 * @mgr: the manager of the domain
 * @nr: number of the pool
 * @pool: the pool
 * @size: of the chunk, in bytes
 * @gfp: how to allocate
 * @first: NULL, or filled in with a slot that nobody else had a chance to take
 *
 * Where contiguous memory is short the chunk is a smaller one: the budget counts
 * bytes.
 *
 * Context: as @gfp says.
 * Return: 0; -ENOSPC if the domain's budget or window is used up; -ENOMEM to try
 * again later.
 */
int io_buffer_add_chunk(struct io_buffer_manager *mgr, unsigned int nr,
			struct io_buffer_pool *pool, size_t size, gfp_t gfp,
			struct io_buffer *first)
{
	size_t least = least_chunk_size(mgr, pool);
	int region = claim(mgr, nr, size);
	struct io_buffer_chunk *chunk;
	size_t claimed = size;
	dma_addr_t iova;

	if (region < 0)
		return region;

	iova = mgr->base + ((dma_addr_t)region << mgr->region_shift);
	do {
		chunk = io_buffer_chunk_create(pool, iova, size, gfp);
		size /= 2;
	} while (!chunk && size >= least);
	if (!chunk) {
		unclaim(mgr, region, claimed);
		return -ENOMEM;
	}
	if (first)
		io_buffer_chunk_take_first(chunk, first);
	settle(mgr, region, claimed, chunk);
	io_buffer_reclaim_later(mgr);
	return 0;
}

/* Does a slot fit in a region? */
bool io_buffer_fits_region(const struct io_buffer_manager *mgr,
			   unsigned int class)
{
	return class < IO_BUFFER_NR_CLASSES &&
	       mgr->granule_shift + class <= mgr->region_shift;
}

/**
 * io_buffer_set_limits - say what the devices can address if nobody did before
 * @mgr: the manager of the domain
 * @limits: of a device
 *
 * Context: any.
 * Return: true if these are the limits now.
 */
bool io_buffer_set_limits(struct io_buffer_manager *mgr,
			  const struct io_buffer_limits *limits)
{
	guard(spinlock_irqsave)(&mgr->claims);

	if (mgr->limits_set)
		return false;
	mgr->limits = *limits;
	WRITE_ONCE(mgr->limits_set, true);
	return true;
}

/*
 * Misses that more memory or address space would avoid are for somebody to know of,
 * once for each time that it is used up; see io_buffer_age_work().
 */
static void tell_used_up(struct io_buffer_manager *mgr)
{
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);
	size_t memory = READ_ONCE(mgr->memory);

	/* What was not said is said the next time. */
	if (READ_ONCE(mgr->told) || !__ratelimit(&limit))
		return;
	WRITE_ONCE(mgr->told, true);
	if (memory > mgr->memory_max / 2)
		pr_notice("group %d: no room for more in %zu KiB, what finds no slot goes another way; iommu.bounce_memory= sets that\n",
			  mgr->group, mgr->memory_max / SZ_1K);
	else
		pr_notice("group %d: no room for more in %zu KiB of I/O addresses, %zu KiB of memory are in use; what finds no slot goes another way\n",
			  mgr->group, mgr->size / SZ_1K, memory / SZ_1K);
}

static int grow_wanted(struct io_buffer_manager *mgr, unsigned int nr)
{
	struct io_buffer_pool *pool;
	size_t size;

	if (!io_buffer_fits_region(mgr, nr % IO_BUFFER_NR_CLASSES))
		return -EINVAL;
	pool = io_buffer_make_pool(mgr, nr, IO_BUFFER_GROW_GFP);
	if (!pool)
		return -ENOMEM;
	size = io_buffer_next_chunk(mgr, nr, pool);
	if (!size)
		return -ENOSPC;
	return io_buffer_add_chunk(mgr, nr, pool, size, IO_BUFFER_GROW_GFP,
				   NULL);
}

/* Let those that miss wake the worker again. */
void io_buffer_clear_wanted(struct io_buffer_manager *mgr)
{
	unsigned int nr;

	for (nr = 0; nr < IO_BUFFER_ALL_POOLS; nr++)
		clear_bit(nr, mgr->wanted);
}

/* Return: false if the budget or the window is used up. */
static bool grow_all_wanted(struct io_buffer_manager *mgr)
{
	bool room = true;
	unsigned int nr;

	io_buffer_count_used(mgr);
	io_buffer_reclaim_join(mgr);
	for (nr = 0; nr < IO_BUFFER_ALL_POOLS; nr++) {
		if (!test_bit(nr, mgr->wanted))
			continue;
		/*
		 * What the budget has no room for stays marked, so that its
		 * misses no longer wake the worker, until ageing has looked
		 * for room.
		 */
		switch (grow_wanted(mgr, nr)) {
		case 0:
			clear_bit(nr, mgr->wanted);
			break;
		case -ENOMEM:
			io_buffer_retry_later(mgr);
			clear_bit(nr, mgr->wanted);
			break;
		case -ENOSPC:
			room = false;
			break;
		}
	}
	return room;
}

static void io_buffer_work(struct work_struct *work)
{
	struct io_buffer_manager *mgr =
		container_of(work, struct io_buffer_manager, work);
	bool room = true;

	/* Devices are being shut down, the IOMMU perhaps before us. */
	if (system_state > SYSTEM_RUNNING)
		return;

	scoped_guard(mutex, &mgr->lock) {
		if (!mgr->size && io_buffer_reserve_window(mgr)) {
			io_buffer_retry_later(mgr);
			io_buffer_clear_wanted(mgr);
			/* The next miss says what its device can address. */
			WRITE_ONCE(mgr->limits_set, false);
			return;
		}
		room = grow_all_wanted(mgr);
	}
	/* The shrinker is not kept waiting for the console. */
	if (!room)
		tell_used_up(mgr);
}

/* Have the worker grow a pool, which is to have been told the limits. */
static void wake_worker(struct io_buffer_manager *mgr, unsigned int nr)
{
	if (!test_and_set_bit(nr, mgr->wanted))
		queue_work(io_buffer_queue(), &mgr->work);
}

/*
 * How large to make a chunk for somebody who cannot wait: small, for it has to be
 * zeroed. But a region holds one chunk, however small: with half of them taken,
 * chunks get larger here, too, so that the others may do for more of the budget.
 */
static size_t chunk_size_now(const struct io_buffer_manager *mgr,
			     unsigned int nr, const struct io_buffer_pool *pool)
{
	size_t min = io_buffer_min_chunk(pool);
	size_t max = READ_ONCE(mgr->nr_chunks) < mgr->nr_regions / 2 ?
		     min : max(min, SZ_256K);

	return min(io_buffer_next_chunk(mgr, nr, pool), max);
}

/**
 * io_buffer_grow_now - make more slots, here and now, and take one
 * @mgr: the manager of the domain
 * @perm: as for the io_buffer_get_reserved() that missed
 * @size: as for the io_buffer_get_reserved() that missed
 * @dma_limit: as for the io_buffer_get_reserved() that missed
 * @buf: filled in with the slot
 *
 * Only where io_buffer_reserve() was called before. The chunk is a small one, for
 * it is zeroed and mapped by the caller; the worker, which has time, adds a larger
 * one.
 *
 * Context: any but NMI.
 * Return: true, or false if memory is short or the budget exhausted.
 */
bool io_buffer_grow_now(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
			size_t size, u64 dma_limit, struct io_buffer *buf)
{
	unsigned int class = io_buffer_class(mgr, size);
	unsigned int nr = IO_BUFFER_NR_POOLS + io_buffer_pool_nr(perm, class);
	struct io_buffer_pool *pool;
	size_t bytes;

	/* Pairs with io_buffer_reserve(). */
	if (!smp_load_acquire(&mgr->keep) ||
	    !io_buffer_reachable(mgr, dma_limit) ||
	    !io_buffer_fits_region(mgr, class))
		return false;
	pool = io_buffer_make_pool(mgr, nr, GROW_NOW_GFP);
	bytes = pool ? chunk_size_now(mgr, nr, pool) : 0;
	if (!bytes ||
	    io_buffer_add_chunk(mgr, nr, pool, bytes, GROW_NOW_GFP, buf))
		return false;
	wake_worker(mgr, nr);
	return true;
}

/**
 * io_buffer_manager_init - prepare a domain for I/O buffers
 * @mgr: zeroed memory
 * @domain: a paging domain whose geometry is final
 * @iovad: the initialised IOVA space of @domain, to be destroyed after @mgr
 * @memory_max: the most memory to use, in bytes; %IO_BUFFER_MAX_WINDOW at most
 *
 * Takes neither IOVA space nor memory: that is left to the first miss.
 *
 * Context: may sleep.
 */
void io_buffer_manager_init(struct io_buffer_manager *mgr,
			    struct iommu_domain *domain,
			    struct iova_domain *iovad, size_t memory_max)
{
	mgr->domain = domain;
	mgr->iovad = iovad;
	mgr->granule_shift = iova_shift(iovad);
	mgr->memory_max = min_t(size_t, memory_max, IO_BUFFER_MAX_WINDOW);
	mgr->group = -1;
	mgr->last = U64_MAX;
	mutex_init(&mgr->lock);
	spin_lock_init(&mgr->claims);
	INIT_WORK(&mgr->work, io_buffer_work);
	io_buffer_reclaim_init(mgr);
}

/**
 * io_buffer_manager_destroy - unmap and free all I/O buffers of a domain
 * @mgr: the manager; no device may be able to use its buffers any more
 *
 * Cannot fail. The window itself goes with the IOVA space.
 *
 * Context: may sleep.
 */
void io_buffer_manager_destroy(struct io_buffer_manager *mgr)
{
	struct io_buffer_pool *pool;
	unsigned int nr;

	/* For good: what is idle is looked for until it is stopped, and may ask. */
	disable_work_sync(&mgr->work);
	io_buffer_reclaim_stop(mgr);

	guard(mutex)(&mgr->lock);
	for_each_io_buffer_pool(mgr, nr, pool)
		io_buffer_pool_destroy(pool);
	io_buffer_uncharge(mgr->memory);
	kfree(mgr->reserve);
	kfree(mgr->regions);
}

/* Count the slots in use; the caller holds the lock of @mgr. */
unsigned int io_buffer_count_used(struct io_buffer_manager *mgr)
{
	struct io_buffer_pool *pool;
	unsigned int nr, used = 0;

	lockdep_assert_held(&mgr->lock);
	for_each_io_buffer_pool(mgr, nr, pool) {
		used += io_buffer_pool_used(pool);
		cond_resched();
	}
	if (used > mgr->slots_high_water)
		WRITE_ONCE(mgr->slots_high_water, used);
	return used;
}

/**
 * io_buffer_manager_used - count the slots in use
 * @mgr: the manager
 *
 * Context: may sleep.
 * Return: the number of slots handed out; other CPUs may overtake it.
 */
unsigned int io_buffer_manager_used(struct io_buffer_manager *mgr)
{
	guard(mutex)(&mgr->lock);
	return io_buffer_count_used(mgr);
}

/**
 * io_buffer_why - why io_buffer_get() found no slot
 * @mgr: the manager of the domain
 * @perm: as for io_buffer_get()
 * @size: as for io_buffer_get()
 * @dma_limit: as for io_buffer_get()
 *
 * Context: any but NMI.
 * Return: the reason, as far as it still holds.
 */
enum io_buffer_miss io_buffer_why(struct io_buffer_manager *mgr,
				  enum io_buffer_perm perm, size_t size,
				  u64 dma_limit)
{
	unsigned int class = io_buffer_class(mgr, size);

	if (class >= IO_BUFFER_NR_CLASSES || size > IO_BUFFER_MAX_SLOT)
		return IO_BUFFER_MISS_SIZE;
	/* Pairs with io_buffer_reserve_window() */
	if (!smp_load_acquire(&mgr->size))
		return IO_BUFFER_MISS_COLD;
	if (mgr->base + (mgr->size - 1) > dma_limit)
		return IO_BUFFER_MISS_MASK;
	if (!io_buffer_fits_region(mgr, class))
		return IO_BUFFER_MISS_SIZE;
	return READ_ONCE(mgr->pools[perm][class]) ?
	       IO_BUFFER_MISS_BUSY : IO_BUFFER_MISS_COLD;
}

/**
 * io_buffer_want - ask the worker for more slots after a miss
 * @mgr: the manager of the domain
 * @perm: as for the io_buffer_get() that missed
 * @size: as for the io_buffer_get() that missed
 * @limits: of the device; those of the first call place the window
 *
 * Context: any but NMI. Once the worker knows, further calls cost a few loads.
 */
void io_buffer_want(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
		    size_t size, const struct io_buffer_limits *limits)
{
	unsigned int nr = io_buffer_pool_nr(perm, io_buffer_class(mgr, size));

	if (test_bit(nr, mgr->wanted) ||
	    time_before64(get_jiffies_64(), READ_ONCE(mgr->retry_at)))
		return;

	/* Without a window, those wake the worker that say what it has to fit. */
	if (!READ_ONCE(mgr->size) && (READ_ONCE(mgr->limits_set) ||
				      !io_buffer_set_limits(mgr, limits)))
		return;
	wake_worker(mgr, nr);
}
