// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the I/O buffers of a domain give memory back: what is idle after a while,
 * all that is not in use when memory is short.
 */

#include <linux/jiffies.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <trace/events/iommu_bounce.h>

#include "io-buffer-manager.h"

/* After an allocation failed, leave the page allocator alone for a while. */
#define RETRY_DELAY		(HZ / 10)

/*
 * A chunk that was idle all of one period is given back at the end of the next
 * at the latest: within 10 seconds.
 */
#define AGE_PERIOD		(4 * HZ)

/* While the machine sleeps, the IOMMU does: hands off. */
#define AGE_WQ			system_freezable_wq

/**
 * io_buffer_retry_later - memory is short: do not grow for a while
 * @mgr: the manager of the domain
 */
void io_buffer_retry_later(struct io_buffer_manager *mgr)
{
	WRITE_ONCE(mgr->retry_at, get_jiffies_64() + RETRY_DELAY);
}

/* Give a chunk back if none of its slots is in use; return its size, or 0. */
static size_t retire(struct io_buffer_manager *mgr,
		     struct io_buffer_chunk *chunk)
{
	unsigned int region = (chunk->iova - mgr->base) >> mgr->region_shift;
	const struct io_buffer_pool *pool = chunk->pool;
	dma_addr_t iova = chunk->iova;
	size_t size = chunk->size;

	scoped_guard(spinlock_irqsave, &mgr->claims) {
		if (pool->nr_chunks <= io_buffer_kept(mgr, pool->slot_shift -
							   mgr->granule_shift) ||
		    !io_buffer_chunk_retire(chunk))
			return 0;
	}

	/* Nobody is to map anything there before it is unmapped. */
	WRITE_ONCE(mgr->regions[region], &io_buffer_no_chunk);
	if (!io_buffer_chunk_destroy(chunk)) {
		/* Lost: keep the region from being used again. */
		WRITE_ONCE(mgr->regions[region], chunk);
		return 0;
	}

	guard(spinlock_irqsave)(&mgr->claims);
	WRITE_ONCE(mgr->regions[region], NULL);
	WRITE_ONCE(mgr->memory, mgr->memory - size);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks - 1);
	WRITE_ONCE(mgr->returned, mgr->returned + 1);
	trace_bounce_retire(mgr, pool, iova, size);
	return size;
}

/**
 * io_buffer_reclaim - give chunks back, the youngest of each pool first
 * @mgr: the manager of the domain
 * @bytes: stop when that many bytes are free
 * @idle: only chunks that were not used since io_buffer_pool_age()
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 * Return: how many bytes were given back.
 */
size_t io_buffer_reclaim(struct io_buffer_manager *mgr, size_t bytes, bool idle)
{
	unsigned int perm, class, i;
	size_t freed = 0;

	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++) {
			struct io_buffer_pool *pool;

			pool = io_buffer_locked_pool(mgr, perm, class);
			for (i = pool ? pool->end : 0; i-- && freed < bytes;) {
				struct io_buffer_chunk *chunk;

				chunk = rcu_dereference_protected(pool->chunks[i],
								  true);
				if (chunk && !(idle && READ_ONCE(chunk->touched)))
					freed += retire(mgr, chunk);
			}
		}
	}
	return freed;
}

/* A pool without chunks gets none any more; see io_buffer_grow_now() */
static bool pool_is_gone(struct io_buffer_manager *mgr,
			 struct io_buffer_pool *pool)
{
	guard(spinlock_irqsave)(&mgr->claims);

	pool->gone = !pool->nr_chunks;
	return pool->gone;
}

/* Nothing is left of a domain that is idle but the struct and the window. */
static void free_empty(struct io_buffer_manager *mgr)
{
	struct io_buffer_chunk **regions;
	unsigned int perm, class;

	/* Somebody may be about to use a pool that has no chunk yet. */
	if (mgr->keep)
		return;

	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++) {
			struct io_buffer_pool *pool;

			pool = io_buffer_locked_pool(mgr, perm, class);
			if (!pool || !pool_is_gone(mgr, pool))
				continue;
			RCU_INIT_POINTER(mgr->pools[perm][class], NULL);
			io_buffer_pool_free(pool);
		}
	}
	scoped_guard(spinlock_irqsave, &mgr->claims) {
		if (mgr->nr_chunks)
			return;
		regions = mgr->regions;
		WRITE_ONCE(mgr->regions, NULL);
	}
	if (regions)
		kvfree_rcu_mightsleep(regions);
}

/**
 * io_buffer_reclaim_later - there is something that may fall idle
 * @mgr: the manager of the domain
 */
void io_buffer_reclaim_later(struct io_buffer_manager *mgr)
{
	queue_delayed_work(AGE_WQ, &mgr->age_work, AGE_PERIOD);
}

/**
 * io_buffer_reclaim_soon - give back all that is not in use, idle or not
 * @mgr: the manager of the domain
 *
 * Context: any but NMI.
 */
void io_buffer_reclaim_soon(struct io_buffer_manager *mgr)
{
	WRITE_ONCE(mgr->urgent, true);
	mod_delayed_work(AGE_WQ, &mgr->age_work, 0);
}

static void io_buffer_age_work(struct work_struct *work)
{
	struct io_buffer_manager *mgr =
		container_of(to_delayed_work(work), struct io_buffer_manager,
			     age_work);
	unsigned int perm, class;

	/* Devices are being shut down, the IOMMU perhaps before us. */
	if (system_state >= SYSTEM_HALT)
		return;

	guard(mutex)(&mgr->lock);

	io_buffer_reclaim(mgr, SIZE_MAX, !xchg(&mgr->urgent, false));
	free_empty(mgr);
	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++) {
			struct io_buffer_pool *pool;

			pool = io_buffer_locked_pool(mgr, perm, class);
			if (pool)
				io_buffer_pool_age(pool);
		}
	}
	/* Whoever still wants more may ask again. */
	WRITE_ONCE(mgr->wanted, 0);
	if (mgr->keep)
		io_buffer_want_reserve(mgr);
	if (mgr->memory <= mgr->memory_max / 2 &&
	    mgr->nr_chunks <= mgr->nr_regions / 2)
		mgr->told = false;
	if (mgr->nr_chunks)
		io_buffer_reclaim_later(mgr);
}

/*
 * One shrinker for all domains. It never waits: whoever holds a lock here may
 * be allocating memory. Nor does it wake an IOMMU that sleeps, for which whoever
 * is allocating may hold a lock: that is left to the worker. What it has taken is
 * not asked back from the page allocator at once.
 */
static LIST_HEAD(managers);
static DEFINE_MUTEX(managers_lock);

static unsigned long shrinker_count(struct shrinker *shrinker,
				    struct shrink_control *sc)
{
	struct io_buffer_manager *mgr;
	unsigned long pages = 0;

	if (!mutex_trylock(&managers_lock))
		return 0;
	list_for_each_entry(mgr, &managers, node)
		pages += READ_ONCE(mgr->memory) >> PAGE_SHIFT;
	mutex_unlock(&managers_lock);
	return pages;
}

static unsigned long shrinker_scan(struct shrinker *shrinker,
				   struct shrink_control *sc)
{
	size_t want = sc->nr_to_scan << PAGE_SHIFT, freed = 0;
	struct io_buffer_manager *mgr;

	if (!mutex_trylock(&managers_lock))
		return SHRINK_STOP;
	list_for_each_entry(mgr, &managers, node) {
		if (freed >= want)
			break;
		if (!READ_ONCE(mgr->memory) || !mutex_trylock(&mgr->lock))
			continue;
		io_buffer_retry_later(mgr);
		if (mgr->limits.unmap_wakes)
			io_buffer_reclaim_soon(mgr);
		else
			freed += io_buffer_reclaim(mgr, want - freed, false);
		mutex_unlock(&mgr->lock);
	}
	mutex_unlock(&managers_lock);
	return freed ? freed >> PAGE_SHIFT : SHRINK_STOP;
}

/* The first domain brings it; one that fails leaves it to the next. */
static void register_shrinker_once(void)
{
	static struct shrinker *shrinker;

	if (shrinker)
		return;
	shrinker = shrinker_alloc(0, "iommu-io-buffers");
	if (!shrinker)
		return;
	shrinker->count_objects = shrinker_count;
	shrinker->scan_objects = shrinker_scan;
	shrinker_register(shrinker);
}

/**
 * io_buffer_reclaim_init - look after a manager
 * @mgr: the manager
 *
 * Context: may sleep.
 */
void io_buffer_reclaim_init(struct io_buffer_manager *mgr)
{
	INIT_DELAYED_WORK(&mgr->age_work, io_buffer_age_work);

	guard(mutex)(&managers_lock);
	register_shrinker_once();
	list_add_tail(&mgr->node, &managers);
}

/**
 * io_buffer_reclaim_stop - undo io_buffer_reclaim_init()
 * @mgr: the manager, which does not grow any more
 *
 * Context: may sleep.
 */
void io_buffer_reclaim_stop(struct io_buffer_manager *mgr)
{
	scoped_guard(mutex, &managers_lock)
		list_del(&mgr->node);
	cancel_delayed_work_sync(&mgr->age_work);
}
