// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O buffers of one IOMMU domain: the pools, the budget, and the worker
 * that makes them grow. Where they lie is told in io-buffer-window.c, how they
 * shrink in io-buffer-reclaim.c, which of them stay in io-buffer-reserve.c; the
 * terms are explained in io-buffer-manager.h and io-buffer-pool.h.
 */

#define pr_fmt(fmt) "iommu: bounce: " fmt

#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/jiffies.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <trace/events/iommu_bounce.h>

#include "io-buffer-manager.h"

/*
 * Growing must neither wait for I/O, which may be the I/O that waits for a
 * mapping, nor try hard: the alternative is an ordinary mapping.
 */
#define GROW_GFP		(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN)

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

/* The pool of a class; a new one if need be, or NULL where memory is short. */
static struct io_buffer_pool *get_pool(struct io_buffer_manager *mgr,
				       enum io_buffer_perm perm,
				       unsigned int class, gfp_t gfp)
{
	/* Who does not hold the lock is in a section of RCU. */
	struct io_buffer_pool *pool =
		rcu_dereference_check(mgr->pools[perm][class],
				      lockdep_is_held(&mgr->lock));
	struct io_buffer_pool *other;

	if (pool)
		return pool;

	pool = io_buffer_pool_create(mgr->domain,
				     perm_to_prot(perm) | mgr->limits.prot,
				     mgr->limits.nid,
				     mgr->granule_shift + class,
				     mgr->granule_shift, mgr->nr_regions, gfp);
	if (!pool)
		return NULL;
	other = unrcu_pointer(cmpxchg(&mgr->pools[perm][class], NULL,
				      RCU_INITIALIZER(pool)));
	if (!other)
		return pool;
	/* Somebody else was faster. */
	io_buffer_pool_free(pool);
	return other;
}

/* What the next chunk of @pool should be: doubling, and within the budget. */
static size_t next_chunk_size(const struct io_buffer_manager *mgr,
			      const struct io_buffer_pool *pool, size_t min)
{
	/* Who makes a chunk at once does not hold the lock. */
	unsigned int nr_chunks = READ_ONCE(pool->nr_chunks);
	size_t max = 1UL << mgr->region_shift;
	size_t room = READ_ONCE(mgr->memory_max) - READ_ONCE(mgr->memory);
	size_t size = min;

	if (room < min || min > max)
		return 0;

	/* The first chunk is the smallest, the next twice that, and so on. */
	if (nr_chunks < BITS_PER_LONG - 1 - ilog2(min))
		size = min << nr_chunks;
	else
		size = max;
	return min3(size, max, rounddown_pow_of_two(room));
}

/* A region without a chunk; @regions must be there. */
static int find_region(const struct io_buffer_manager *mgr)
{
	unsigned int i;

	for (i = 0; i < mgr->nr_regions; i++)
		if (!mgr->regions[i])
			return i;
	return -ENOSPC;
}

static struct io_buffer_chunk **get_regions(struct io_buffer_manager *mgr)
{
	if (!mgr->regions)
		/* Zeroed, then seen by claim(), which may not hold the lock. */
		smp_store_release(&mgr->regions,
				  kvcalloc(mgr->nr_regions,
					   sizeof(*mgr->regions), GROW_GFP));
	return mgr->regions;
}

static size_t min_chunk_size(const struct io_buffer_pool *pool)
{
	return max3((size_t)1 << pool->slot_shift, (size_t)IO_BUFFER_MIN_CHUNK,
		    (size_t)PAGE_SIZE);
}

/*
 * What a chunk may be as small as where contiguous memory is short. It uses up a
 * region all the same: half of them are kept for better times.
 */
static size_t least_chunk_size(const struct io_buffer_manager *mgr,
			       const struct io_buffer_pool *pool, size_t min)
{
	if (mgr->nr_chunks >= mgr->nr_regions / 2)
		return min;
	return max((size_t)1 << pool->slot_shift, (size_t)PAGE_SIZE);
}

/* Take a region, and @size bytes of the budget, for a chunk that is to be made. */
static int claim(struct io_buffer_manager *mgr, size_t size)
{
	int region;

	guard(spinlock_irqsave)(&mgr->claims);

	if (!mgr->regions)
		return -ENOMEM;
	if (size > mgr->memory_max - mgr->memory)
		return -ENOSPC;
	region = find_region(mgr);
	if (region < 0)
		return region;
	WRITE_ONCE(mgr->regions[region], &io_buffer_no_chunk);
	WRITE_ONCE(mgr->memory, mgr->memory + size);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks + 1);
	return region;
}

static void unclaim(struct io_buffer_manager *mgr, int region, size_t claimed)
{
	guard(spinlock_irqsave)(&mgr->claims);

	WRITE_ONCE(mgr->memory, mgr->memory - claimed);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks - 1);
	WRITE_ONCE(mgr->regions[region], NULL);
}

/*
 * Use a chunk, which may have become smaller than what was claimed for it. False
 * if its pool is gone meanwhile.
 */
static bool settle(struct io_buffer_manager *mgr, int region, size_t claimed,
		   struct io_buffer_chunk *chunk)
{
	guard(spinlock_irqsave)(&mgr->claims);

	if (chunk->pool->gone)
		return false;
	WRITE_ONCE(mgr->memory, mgr->memory - claimed + chunk->size);
	/* Before any of its addresses can be handed out: see io_buffer_find() */
	WRITE_ONCE(mgr->regions[region], chunk);
	WRITE_ONCE(mgr->grown, mgr->grown + 1);
	io_buffer_chunk_publish(chunk);
	trace_bounce_grow(mgr, chunk->pool, chunk->iova, chunk->size);
	return true;
}

/*
 * Give the pool one more chunk of @size. Where contiguous memory is short, a
 * smaller one: the budget counts bytes.
 *
 * Return: 0, -ENOSPC if the budget or the window is used up, -ENOMEM to try
 * again later.
 */
static int add_chunk(struct io_buffer_manager *mgr, struct io_buffer_pool *pool,
		     size_t size, gfp_t gfp)
{
	size_t least = least_chunk_size(mgr, pool, min_chunk_size(pool));
	int region = claim(mgr, size);
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
	if (chunk && settle(mgr, region, claimed, chunk)) {
		io_buffer_reclaim_later(mgr);
		return 0;
	}
	/* Where it cannot be unmapped, what it takes stays taken. */
	if (!chunk || io_buffer_chunk_destroy(chunk))
		unclaim(mgr, region, claimed);
	return -ENOMEM;
}

/*
 * How large to make a chunk for somebody who cannot wait: the least, for it has to be
 * zeroed. But a region holds one chunk, however small: with half of them taken,
 * chunks double here, too, so that the others may do for the rest of the budget.
 */
static size_t chunk_size_now(const struct io_buffer_manager *mgr,
			     const struct io_buffer_pool *pool)
{
	size_t min = min_chunk_size(pool);

	if (READ_ONCE(mgr->nr_chunks) < mgr->nr_regions / 2)
		return min;
	return next_chunk_size(mgr, pool, min);
}

static int grow_pool(struct io_buffer_manager *mgr, struct io_buffer_pool *pool)
{
	size_t size = next_chunk_size(mgr, pool, min_chunk_size(pool));

	if (!size)
		return -ENOSPC;
	if (!get_regions(mgr))
		return -ENOMEM;
	return add_chunk(mgr, pool, size, GROW_GFP);
}

/* A slot must fit in a region. */
static bool fits_region(const struct io_buffer_manager *mgr, unsigned int class)
{
	return class < IO_BUFFER_NR_CLASSES &&
	       mgr->granule_shift + class <= mgr->region_shift;
}

/*
 * Misses that more memory or address space would avoid are for somebody to know of,
 * once for each time that it is used up; see io_buffer_age_work().
 */
static void tell_used_up(struct io_buffer_manager *mgr, size_t want)
{
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	/* What was not said is said the next time. */
	if (mgr->told || !__ratelimit(&limit))
		return;
	mgr->told = true;
	if (want > mgr->memory_max - READ_ONCE(mgr->memory))
		pr_notice("group %d: no room for more in %zu KiB, what finds no slot goes another way; iommu.bounce_memory= sets that\n",
			  mgr->group, mgr->memory_max / SZ_1K);
	else
		pr_notice("group %d: no room for more in %zu KiB of I/O addresses, %zu KiB of memory are in use; what finds no slot goes another way\n",
			  mgr->group, mgr->size / SZ_1K,
			  READ_ONCE(mgr->memory) / SZ_1K);
}

static int grow_wanted(struct io_buffer_manager *mgr, unsigned int bit)
{
	struct io_buffer_pool *pool;
	int ret;

	if (!fits_region(mgr, bit % IO_BUFFER_NR_CLASSES))
		return -ENOSPC;
	pool = get_pool(mgr, bit / IO_BUFFER_NR_CLASSES,
			bit % IO_BUFFER_NR_CLASSES, GFP_NOIO);
	if (!pool)
		return -ENOMEM;

	ret = grow_pool(mgr, pool);
	/* Let those who have no use for their part of the budget share it. */
	if (ret == -ENOSPC && io_buffer_reclaim(mgr, min_chunk_size(pool), true))
		ret = grow_pool(mgr, pool);
	if (ret == -ENOSPC)
		tell_used_up(mgr, min_chunk_size(pool));
	return ret;
}

static void io_buffer_work(struct work_struct *work)
{
	struct io_buffer_manager *mgr =
		container_of(work, struct io_buffer_manager, work);
	unsigned int bit;

	/* Devices are being shut down, the IOMMU perhaps before us. */
	if (system_state >= SYSTEM_HALT)
		return;

	guard(mutex)(&mgr->lock);

	if (!mgr->size && io_buffer_reserve_window(mgr)) {
		/* A reserve is made before the driver has set its mask. */
		if (!mgr->keep && !io_buffer_window_fits(mgr))
			WRITE_ONCE(mgr->stopped, true);
		io_buffer_retry_later(mgr);
		WRITE_ONCE(mgr->wanted, 0);
		/* The next miss says what its device can address. */
		clear_bit_unlock(0, &mgr->asked);
		return;
	}

	for (bit = 0; bit < IO_BUFFER_NR_PERMS * IO_BUFFER_NR_CLASSES; bit++) {
		if (!test_bit(bit, &mgr->wanted))
			continue;
		/*
		 * What the budget has no room for stays marked, so that its
		 * misses no longer wake the worker, until ageing has looked
		 * for room.
		 */
		switch (grow_wanted(mgr, bit)) {
		case 0:
			clear_bit(bit, &mgr->wanted);
			break;
		case -ENOMEM:
			io_buffer_retry_later(mgr);
			clear_bit(bit, &mgr->wanted);
			break;
		}
	}
}

/**
 * io_buffer_grow_now - make more slots, here and now
 * @mgr: the manager of the domain
 * @perm: as for the io_buffer_get() that missed
 * @size: as for the io_buffer_get() that missed
 * @dma_limit: as for the io_buffer_get() that missed
 *
 * Only where io_buffer_reserve() was called before. The chunk is a small one as long
 * as regions are left, for it is zeroed and mapped by the caller; the worker, which
 * has time, adds a larger one.
 *
 * Context: any but NMI.
 * Return: true if there are more slots of that size.
 */
bool io_buffer_grow_now(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
			size_t size, u64 dma_limit)
{
	unsigned int class = io_buffer_class(mgr, size);
	struct io_buffer_pool *pool;
	size_t bytes;

	if (!READ_ONCE(mgr->keep) ||
	    !io_buffer_reachable(mgr, dma_limit) || !fits_region(mgr, class))
		return false;
	/* A pool that falls idle may go at any time. */
	guard(rcu)();
	pool = get_pool(mgr, perm, class, GROW_NOW_GFP);
	bytes = pool ? chunk_size_now(mgr, pool) : 0;
	if (!bytes || add_chunk(mgr, pool, bytes, GROW_NOW_GFP))
		return false;
	if (!test_and_set_bit(io_buffer_wanted_bit(perm, class), &mgr->wanted))
		queue_work(system_dfl_wq, &mgr->work);
	return true;
}

/**
 * io_buffer_manager_init - prepare a domain for I/O buffers
 * @mgr: zeroed memory
 * @domain: a paging domain whose geometry is final
 * @iovad: the initialised IOVA space of @domain, to be destroyed after @mgr
 * @memory_max: the most memory to use, in bytes
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
	mgr->memory_max = memory_max;
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
	unsigned int perm, class;

	/* For good: what is idle is looked for until it is stopped, and may ask. */
	disable_work_sync(&mgr->work);
	io_buffer_reclaim_stop(mgr);

	guard(mutex)(&mgr->lock);
	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++)
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++)
			io_buffer_pool_destroy(io_buffer_locked_pool(mgr, perm, class));
	kvfree(mgr->regions);
}

/**
 * io_buffer_manager_used - count the slots in use
 * @mgr: the manager
 *
 * Context: any but NMI.
 * Return: the number of slots handed out; other CPUs may overtake it.
 */
unsigned int io_buffer_manager_used(struct io_buffer_manager *mgr)
{
	unsigned int perm, class, used = 0;

	guard(preempt)();
	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++) {
			struct io_buffer_pool *pool;

			pool = rcu_dereference_sched(mgr->pools[perm][class]);
			if (pool)
				used += io_buffer_pool_used(pool);
		}
	}
	return used;
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
	if (mgr->granule_shift + class > mgr->region_shift)
		return IO_BUFFER_MISS_SIZE;
	return rcu_access_pointer(mgr->pools[perm][class]) ?
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
	unsigned int bit = io_buffer_wanted_bit(perm,
						io_buffer_class(mgr, size));

	if (READ_ONCE(mgr->stopped) || test_bit(bit, &mgr->wanted) ||
	    time_before64(get_jiffies_64(), READ_ONCE(mgr->retry_at)))
		return;

	if (!READ_ONCE(mgr->asked)) {
		if (test_and_set_bit(0, &mgr->asked))
			return;
		/* Queuing the work orders this before the worker's reads. */
		mgr->limits = *limits;
		/* Whoever wants the same meanwhile leaves the queuing to us. */
		set_bit(bit, &mgr->wanted);
		queue_work(system_dfl_wq, &mgr->work);
		return;
	}
	/* Another CPU may still be filling in the limits: it queues the work. */
	if (!READ_ONCE(mgr->size))
		return;

	if (!test_and_set_bit(bit, &mgr->wanted))
		queue_work(system_dfl_wq, &mgr->work);
}
