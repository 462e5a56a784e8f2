// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reclaim of pre-mapped buffers: idle chunks after some seconds, all unused chunks
 * when memory is short.
 */

#include <kunit/static_stub.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/shrinker.h>
#include <linux/suspend.h>
#include <trace/events/iommu_bounce.h>

#include "io-buffer-manager.h"

/**
 * io_buffer_hold_dev - keep the device of a domain active
 * @mgr: the manager of the domain
 *
 * A device with ATS must answer invalidations, so nothing may be unmapped while it is
 * suspended. Other devices do not matter. The first device stands for the whole
 * domain, because a device with ATS is usually alone in its group.
 *
 * Context: any.
 * Return: 1 if the caller must pm_runtime_put(); 0 if the device is suspended;
 * negative if it does not matter.
 */
int io_buffer_hold_dev(struct io_buffer_manager *mgr)
{
	KUNIT_STATIC_STUB_REDIRECT(io_buffer_hold_dev, mgr);

	if (!mgr->dev || !dev_is_pci(mgr->dev) ||
	    !to_pci_dev(mgr->dev)->ats_enabled)
		return -EINVAL;
	return pm_runtime_get_if_active(mgr->dev);
}

/**
 * io_buffer_system_running - may the shrinker use the IOMMU
 *
 * Context: any.
 * Return: false if it may be suspended or shut down.
 */
bool io_buffer_system_running(void)
{
	KUNIT_STATIC_STUB_REDIRECT(io_buffer_system_running);

	return system_state <= SYSTEM_RUNNING && !pm_sleep_transition_in_progress();
}

/* Free a chunk unless it is in use. Returns its size, or 0. */
static size_t reclaim_chunk(struct io_buffer_manager *mgr,
			    struct io_buffer_chunk *chunk)
{
	unsigned int region = (chunk->iova - mgr->base) >> mgr->region_shift;
	const struct io_buffer_pool *pool = chunk->pool;
	dma_addr_t iova = chunk->iova;
	size_t size = chunk->size;
	bool freed;

	scoped_guard(spinlock_irqsave, &mgr->chunk_lock) {
		if (io_buffer_is_kept(mgr, pool) ||
		    !io_buffer_chunk_offline(chunk))
			return 0;
		/* The region stays in use until it is unmapped. */
		WRITE_ONCE(mgr->regions[region], &io_buffer_no_chunk);
	}

	freed = io_buffer_chunk_destroy(chunk);

	guard(spinlock_irqsave)(&mgr->chunk_lock);
	/* Not unmapped: leak the region as well. */
	if (freed)
		WRITE_ONCE(mgr->regions[region], NULL);
	io_buffer_uncharge(size);
	WRITE_ONCE(mgr->memory, mgr->memory - size);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks - 1);
	trace_iommu_bounce_chunk_free(mgr, pool, iova, size);
	return freed ? size : 0;
}

/**
 * io_buffer_reclaim - free chunks, the last of each pool first
 * @mgr: the manager of the domain
 * @bytes: stop after this many bytes
 * @idle: only chunks not used since io_buffer_pool_age()
 *
 * Idle chunks before a larger one that is in use stay: CPUs will move there.
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 * Return: bytes freed; 0 while a device with ATS is suspended.
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
		size_t busy = 0;

		for (i = READ_ONCE(pool->end); i-- && freed < bytes;) {
			struct io_buffer_chunk *chunk;

			chunk = io_buffer_pool_chunk(pool, i);
			if (!chunk)
				continue;
			if (idle && READ_ONCE(chunk->referenced))
				busy = max(busy, chunk->size);
			else if (chunk->size >= busy)
				freed += reclaim_chunk(mgr, chunk);
		}
	}
	if (held > 0)
		pm_runtime_put(mgr->dev);
	return freed;
}

/**
 * io_buffer_kick_reclaim - have the worker reclaim now
 * @mgr: the manager of the domain
 * @bytes: how much to free even if it is not idle
 *
 * Context: any but NMI.
 */
void io_buffer_kick_reclaim(struct io_buffer_manager *mgr, size_t bytes)
{
	WRITE_ONCE(mgr->reclaim_pages, min(bytes >> PAGE_SHIFT, (size_t)INT_MAX));
	mod_delayed_work(io_buffer_queue(), &mgr->age_work, 0);
}

static void remove_from_list(struct io_buffer_manager *mgr)
{
	guard(mutex)(&io_buffer_managers_lock);
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

	/* During shutdown the IOMMU may be off already. */
	if (system_state > SYSTEM_RUNNING)
		return;

	guard(mutex)(&mgr->lock);

	io_buffer_count_used(mgr);
	bytes = (size_t)xchg(&mgr->reclaim_pages, 0) << PAGE_SHIFT;
	freed = io_buffer_reclaim(mgr, SIZE_MAX, true);
	if (freed < bytes)
		io_buffer_reclaim(mgr, bytes - freed, false);
	for_each_io_buffer_pool(mgr, nr, pool) {
		if (io_buffer_pool_age(pool) && nr < IO_BUFFER_NR_POOLS && !bytes)
			io_buffer_relieve(mgr, nr, pool);
		kept += READ_ONCE(pool->nr_chunks) && io_buffer_is_kept(mgr, pool);
		cond_resched();
	}
	/* Retry growth that had no budget, unless the worker is about to. */
	if (!work_busy(&mgr->work))
		io_buffer_clear_pending(mgr);
	if (mgr->reserve_enabled && mgr->size)
		io_buffer_refill_reserve(mgr);
	if (READ_ONCE(mgr->memory) <= mgr->memory_max / 2 &&
	    READ_ONCE(mgr->nr_chunks) <= mgr->nr_regions / 2)
		WRITE_ONCE(mgr->budget_warned, false);
	/* Do not wake an idle CPU for the reserve alone. */
	if (READ_ONCE(mgr->nr_chunks) > kept)
		io_buffer_queue_reclaim(mgr);
	else if (!mgr->reserve_enabled)
		remove_from_list(mgr);
}

/**
 * io_buffer_free_unused - free all chunks without slots in use, and the reserve
 * @mgr: the manager of the domain
 *
 * Chunks that cannot be freed now are freed when they are idle.
 *
 * Context: may sleep.
 */
void io_buffer_free_unused(struct io_buffer_manager *mgr)
{
	guard(mutex)(&mgr->lock);

	WRITE_ONCE(mgr->reserve_enabled, false);
	io_buffer_reclaim(mgr, SIZE_MAX, false);
	if (READ_ONCE(mgr->nr_chunks))
		io_buffer_queue_reclaim(mgr);
}

/*
 * The shrinker never waits for a lock, whose holder may be in reclaim itself. Nor does
 * it resume an IOMMU, for which its caller may hold a lock: the worker does.
 */
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
	if (mgr->limits.unmap_needs_rpm) {
		if (!idle)
			io_buffer_kick_reclaim(mgr, bytes);
		freed = 0;
	} else {
		freed = io_buffer_reclaim(mgr, bytes, idle);
	}
	/* Do not immediately reallocate what was just reclaimed. */
	if (freed)
		io_buffer_retry_later(mgr);
	mutex_unlock(&mgr->lock);
	return freed;
}

/* Round-robin: managers that were asked go to the end of the list. */
static size_t shrink_all(size_t bytes, bool idle)
{
	struct io_buffer_manager *mgr, *next;
	LIST_HEAD(asked);
	size_t freed = 0;

	list_for_each_entry_safe(mgr, next, &io_buffer_managers, node) {
		if (freed >= bytes)
			break;
		freed += shrink_one(mgr, bytes - freed, idle);
		list_move_tail(&mgr->node, &asked);
	}
	list_splice_tail(&asked, &io_buffer_managers);
	return freed;
}

/**
 * io_buffer_shrink - free unused chunks of any domain, idle ones first
 * @bytes: how much
 *
 * Context: reclaim; does not wait for locks.
 * Return: bytes freed.
 */
size_t io_buffer_shrink(size_t bytes)
{
	size_t freed;

	if (!io_buffer_system_running() ||
	    !mutex_trylock(&io_buffer_managers_lock))
		return 0;
	freed = shrink_all(bytes, true);
	if (!freed)
		freed = shrink_all(bytes, false);
	mutex_unlock(&io_buffer_managers_lock);
	return freed;
}

static unsigned long shrinker_scan(struct shrinker *shrinker,
				   struct shrink_control *sc)
{
	size_t freed = io_buffer_shrink(sc->nr_to_scan << PAGE_SHIFT);

	return freed ? freed >> PAGE_SHIFT : SHRINK_STOP;
}

/**
 * io_buffer_reclaim_init - prepare reclaim from a manager
 * @mgr: the manager, initialised
 *
 * Context: may sleep.
 */
void io_buffer_reclaim_init(struct io_buffer_manager *mgr)
{
	static struct shrinker *shrinker;

	INIT_DELAYED_WORK(&mgr->age_work, io_buffer_age_work);

	guard(mutex)(&io_buffer_managers_lock);
	if (shrinker)
		return;
	/* Retried with the next domain on failure */
	shrinker = shrinker_alloc(0, "iommu-io-buffers");
	if (!shrinker)
		return;
	shrinker->count_objects = shrinker_count;
	shrinker->scan_objects = shrinker_scan;
	shrinker_register(shrinker);
}

/**
 * io_buffer_reclaim_stop - stop growth and reclaim of a manager
 * @mgr: the manager
 *
 * Context: may sleep.
 */
void io_buffer_reclaim_stop(struct io_buffer_manager *mgr)
{
	/* They may queue each other, so cancelling them is not enough. */
	disable_work_sync(&mgr->work);
	disable_delayed_work_sync(&mgr->age_work);
	remove_from_list(mgr);
}
