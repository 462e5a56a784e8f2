// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the I/O buffers of a domain give memory back: what is idle after a while,
 * all that is not in use when memory is short.
 */

#include <kunit/static_stub.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/shrinker.h>
#include <linux/suspend.h>
#include <trace/events/iommu_bounce.h>

#include "io-buffer-manager.h"

/*
 * A chunk that was idle all of one period is given back at the end of the next
 * at the latest: within 10 seconds.
 */
#define AGE_PERIOD		(4 * HZ)

static struct workqueue_struct *queue;

/*
 * Where the work of managers is done: while the machine sleeps the IOMMU does, so
 * it is freezable; and it has no business on the CPUs that do DMA.
 */
struct workqueue_struct *io_buffer_queue(void)
{
	return queue ?: system_freezable_wq;
}

/**
 * io_buffer_hold_dev - keep the device of a domain from being suspended
 * @mgr: the manager of the domain
 *
 * A device with ATS has to answer an invalidation, which is waited for. It may be
 * suspended when there is no I/O: then nothing is unmapped. Other devices may
 * sleep as they like. Where several devices share a domain the first one stands
 * for them all: a device with ATS is alone in its group as a rule.
 *
 * Context: any.
 * Return: 1 if it is held: call pm_runtime_put(); 0 if it is suspended; negative if
 * it does not matter.
 */
int io_buffer_hold_dev(struct io_buffer_manager *mgr)
{
	KUNIT_STATIC_STUB_REDIRECT(io_buffer_hold_dev, mgr);

	if (!mgr->dev || !dev_is_pci(mgr->dev) ||
	    !to_pci_dev(mgr->dev)->ats_enabled)
		return -EINVAL;
	return pm_runtime_get_if_active(mgr->dev);
}

/* Give a chunk back if none of its slots is in use; return its size, or 0. */
static size_t retire(struct io_buffer_manager *mgr,
		     struct io_buffer_chunk *chunk)
{
	unsigned int region = (chunk->iova - mgr->base) >> mgr->region_shift;
	const struct io_buffer_pool *pool = chunk->pool;
	dma_addr_t iova = chunk->iova;
	size_t size = chunk->size;
	bool gone;

	scoped_guard(spinlock_irqsave, &mgr->claims) {
		if (io_buffer_is_kept(mgr, pool) ||
		    !io_buffer_chunk_retire(chunk))
			return 0;
		/* Nobody is to map anything there before it is unmapped. */
		WRITE_ONCE(mgr->regions[region], &io_buffer_no_chunk);
	}

	gone = io_buffer_chunk_destroy(chunk);

	guard(spinlock_irqsave)(&mgr->claims);
	/* If it could not be unmapped, its memory and its region are lost. */
	if (gone)
		WRITE_ONCE(mgr->regions[region], NULL);
	io_buffer_uncharge(size);
	WRITE_ONCE(mgr->memory, mgr->memory - size);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks - 1);
	trace_bounce_retire(mgr, pool, iova, size);
	return gone ? size : 0;
}

/**
 * io_buffer_reclaim - give chunks back, the youngest of each pool first
 * @mgr: the manager of the domain
 * @bytes: stop when that many bytes are free
 * @idle: only chunks that were not used since io_buffer_pool_age()
 *
 * Nothing is given back while a device with ATS is suspended.
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 * Return: how many bytes were given back.
 */
size_t io_buffer_reclaim(struct io_buffer_manager *mgr, size_t bytes, bool idle)
{
	int held = io_buffer_hold_dev(mgr);
	struct io_buffer_pool *pool;
	unsigned int nr, i;
	size_t freed = 0;

	if (!held)
		return 0;
	for_each_io_buffer_pool(mgr, nr, pool) {
		for (i = READ_ONCE(pool->end); i-- && freed < bytes;) {
			struct io_buffer_chunk *chunk;

			chunk = io_buffer_pool_chunk(pool, i);
			if (chunk && !(idle && READ_ONCE(chunk->touched)))
				freed += retire(mgr, chunk);
		}
	}
	if (held > 0)
		pm_runtime_put(mgr->dev);
	return freed;
}

/**
 * io_buffer_reclaim_later - there is something that may fall idle
 * @mgr: the manager of the domain
 */
void io_buffer_reclaim_later(struct io_buffer_manager *mgr)
{
	queue_delayed_work(io_buffer_queue(), &mgr->age_work, AGE_PERIOD);
}

/**
 * io_buffer_reclaim_soon - have the worker give back what is not in use
 * @mgr: the manager of the domain
 * @bytes: how much, idle or not, besides all that is idle
 *
 * Context: any but NMI.
 */
void io_buffer_reclaim_soon(struct io_buffer_manager *mgr, size_t bytes)
{
	WRITE_ONCE(mgr->reclaim_pages, min(bytes >> PAGE_SHIFT, (size_t)INT_MAX));
	mod_delayed_work(io_buffer_queue(), &mgr->age_work, 0);
}

/*
 * Managers that hold memory, for one shrinker of them all. It never waits: whoever
 * holds a lock here may be allocating memory. Nor does it wake an IOMMU that sleeps,
 * for which whoever is allocating may hold a lock: that is left to the worker.
 */
static LIST_HEAD(managers);
static DEFINE_MUTEX(managers_lock);

/**
 * io_buffer_reclaim_join - let the shrinker know of a manager
 * @mgr: the manager, which is about to hold memory
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 */
void io_buffer_reclaim_join(struct io_buffer_manager *mgr)
{
	guard(mutex)(&managers_lock);
	if (list_empty(&mgr->node))
		list_add_tail(&mgr->node, &managers);
}

static void reclaim_leave(struct io_buffer_manager *mgr)
{
	guard(mutex)(&managers_lock);
	list_del_init(&mgr->node);
}

static void io_buffer_age_work(struct work_struct *work)
{
	struct io_buffer_manager *mgr =
		container_of(to_delayed_work(work), struct io_buffer_manager,
			     age_work);
	struct io_buffer_pool *pool;
	unsigned int nr, kept = 0;
	size_t bytes, freed;

	/* Devices are being shut down, the IOMMU perhaps before us. */
	if (system_state > SYSTEM_RUNNING)
		return;

	guard(mutex)(&mgr->lock);

	io_buffer_count_used(mgr);
	bytes = (size_t)xchg(&mgr->reclaim_pages, 0) << PAGE_SHIFT;
	freed = io_buffer_reclaim(mgr, SIZE_MAX, true);
	if (freed < bytes)
		io_buffer_reclaim(mgr, bytes - freed, false);
	for_each_io_buffer_pool(mgr, nr, pool) {
		io_buffer_pool_age(pool);
		kept += READ_ONCE(pool->nr_chunks) && io_buffer_is_kept(mgr, pool);
		cond_resched();
	}
	/* What had no room may be asked for again, but the worker may just have been. */
	if (!work_busy(&mgr->work))
		io_buffer_clear_wanted(mgr);
	if (mgr->keep && mgr->size)
		io_buffer_fill_reserve(mgr);
	if (READ_ONCE(mgr->memory) <= mgr->memory_max / 2 &&
	    READ_ONCE(mgr->nr_chunks) <= mgr->nr_regions / 2)
		WRITE_ONCE(mgr->told, false);
	/* A reserve alone is nothing to wake an idle CPU for. */
	if (READ_ONCE(mgr->nr_chunks) > kept)
		io_buffer_reclaim_later(mgr);
	else if (!mgr->keep)
		reclaim_leave(mgr);
}

static unsigned long shrinker_count(struct shrinker *shrinker,
				    struct shrink_control *sc)
{
	return io_buffer_total() >> PAGE_SHIFT;
}

static size_t shrink_one(struct io_buffer_manager *mgr, size_t bytes, bool idle)
{
	size_t freed;

	if (!READ_ONCE(mgr->memory) || !mutex_trylock(&mgr->lock))
		return 0;
	if (mgr->limits.unmap_wakes) {
		if (!idle)
			io_buffer_reclaim_soon(mgr, bytes);
		freed = 0;
	} else {
		freed = io_buffer_reclaim(mgr, bytes, idle);
	}
	/* What was taken is not asked back from the page allocator at once. */
	if (freed)
		io_buffer_retry_later(mgr);
	mutex_unlock(&mgr->lock);
	return freed;
}

/* Each manager in turn, beginning with the one that was not asked for longest */
static size_t shrink_all(size_t bytes, bool idle)
{
	struct io_buffer_manager *mgr, *next;
	LIST_HEAD(asked);
	size_t freed = 0;

	list_for_each_entry_safe(mgr, next, &managers, node) {
		if (freed >= bytes)
			break;
		freed += shrink_one(mgr, bytes - freed, idle);
		list_move_tail(&mgr->node, &asked);
	}
	list_splice_tail(&asked, &managers);
	return freed;
}

/**
 * io_buffer_shrink - give back memory that is not in use, of whatever domain
 * @bytes: how much
 *
 * What nobody has used for a while goes first.
 *
 * Context: reclaim; does not wait for locks.
 * Return: how many bytes were given back.
 */
size_t io_buffer_shrink(size_t bytes)
{
	size_t freed;

	/* The IOMMU, or what powers it, may be asleep or shut down. */
	if (system_state > SYSTEM_RUNNING || pm_sleep_transition_in_progress() ||
	    !mutex_trylock(&managers_lock))
		return 0;
	freed = shrink_all(bytes, true);
	if (!freed)
		freed = shrink_all(bytes, false);
	mutex_unlock(&managers_lock);
	return freed;
}

static unsigned long shrinker_scan(struct shrinker *shrinker,
				   struct shrink_control *sc)
{
	size_t freed = io_buffer_shrink(sc->nr_to_scan << PAGE_SHIFT);

	return freed ? freed >> PAGE_SHIFT : SHRINK_STOP;
}

/* The first domain brings them; one that fails leaves it to the next. */
static void set_up_once(void)
{
	static struct shrinker *shrinker;

	if (!queue)
		queue = alloc_workqueue("iommu-io-buffers",
					WQ_UNBOUND | WQ_FREEZABLE, 0);
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
	INIT_LIST_HEAD(&mgr->node);

	guard(mutex)(&managers_lock);
	set_up_once();
}

/**
 * io_buffer_reclaim_stop - undo io_buffer_reclaim_init()
 * @mgr: the manager, which does not grow any more
 *
 * Context: may sleep.
 */
void io_buffer_reclaim_stop(struct io_buffer_manager *mgr)
{
	/* It may be about to look after a reserve. */
	disable_delayed_work_sync(&mgr->age_work);
	reclaim_leave(mgr);
}
