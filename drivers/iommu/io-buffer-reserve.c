// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reserve of a domain: for mandatory bounces that have no other way if they
 * find no slot. They have pools of their own, some slots of which are made before
 * anybody asks for one, and stay, idle or not.
 */

#include <linux/slab.h>

#include "io-buffer-manager.h"

/**
 * io_buffer_fill_reserve - make what the reserve lacks
 * @mgr: the manager of the domain, which has a window
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 */
void io_buffer_fill_reserve(struct io_buffer_manager *mgr)
{
	const unsigned int classes[] = {
		0, io_buffer_class(mgr, IO_BUFFER_RESERVE_SLOT)
	};
	unsigned int i;

	for (i = 0; i < IO_BUFFER_NR_PERMS * ARRAY_SIZE(classes); i++) {
		unsigned int class = classes[i % ARRAY_SIZE(classes)];
		unsigned int nr = IO_BUFFER_NR_POOLS +
				  io_buffer_pool_nr(i / ARRAY_SIZE(classes), class);
		struct io_buffer_pool *pool;

		if (!io_buffer_fits_region(mgr, class))
			continue;
		pool = io_buffer_make_pool(mgr, nr, IO_BUFFER_GROW_GFP);
		if (pool && !READ_ONCE(pool->nr_chunks))
			io_buffer_add_chunk(mgr, nr, pool,
					    io_buffer_min_chunk(pool),
					    IO_BUFFER_GROW_GFP, NULL);
	}
}

/**
 * io_buffer_reserve - see to it that there always are slots for mandatory bounces
 * @mgr: the manager of the domain
 * @limits: of a device
 *
 * There is a chunk of the smallest slots and one of larger ones, for each
 * permission, when this returns, unless memory is short; from then on
 * io_buffer_grow_now() helps.
 *
 * Context: may sleep.
 */
void io_buffer_reserve(struct io_buffer_manager *mgr,
		       const struct io_buffer_limits *limits)
{
	guard(mutex)(&mgr->lock);

	if (!mgr->reserve)
		/* Zeroed, then seen by io_buffer_pool_place() */
		smp_store_release(&mgr->reserve,
				  kcalloc(IO_BUFFER_NR_POOLS,
					  sizeof(*mgr->reserve), GFP_NOIO));
	if (!mgr->reserve)
		return;
	/* Pairs with io_buffer_grow_now(), which needs @reserve. */
	smp_store_release(&mgr->keep, true);
	io_buffer_set_limits(mgr, limits);
	io_buffer_reclaim_join(mgr);
	if (!mgr->size && io_buffer_reserve_window(mgr)) {
		/* Whoever asks for slots says what the device can address. */
		WRITE_ONCE(mgr->limits_set, false);
		return;
	}
	io_buffer_fill_reserve(mgr);
}

/**
 * io_buffer_get_reserved - take a slot for a mandatory bounce
 * @mgr: the manager of the domain
 * @perm: what the device may do with it
 * @size: how much it must hold, in bytes, at least 1
 * @dma_limit: highest IOVA that the device can address
 * @buf: filled in with the slot
 *
 * A larger slot is better than none.
 *
 * Context: any but NMI.
 * Return: true, or false if the reserve has none, or there is no reserve.
 */
bool io_buffer_get_reserved(struct io_buffer_manager *mgr,
			    enum io_buffer_perm perm, size_t size,
			    u64 dma_limit, struct io_buffer *buf)
{
	unsigned int class = io_buffer_class(mgr, size);

	if (!READ_ONCE(mgr->reserve) || READ_ONCE(mgr->last) > dma_limit)
		return false;

	guard(preempt)();
	for (; class < IO_BUFFER_NR_CLASSES; class++) {
		unsigned int nr = IO_BUFFER_NR_POOLS +
				  io_buffer_pool_nr(perm, class);
		struct io_buffer_pool *pool = io_buffer_pool_of(mgr, nr);

		if (pool && io_buffer_pool_get_any(pool, buf))
			return true;
	}
	return false;
}

/**
 * io_buffer_drop - give back all that is not in use before returning
 * @mgr: the manager of the domain
 *
 * Undoes io_buffer_reserve(). What belongs to a device that is suspended is given
 * back later.
 *
 * Context: may sleep.
 */
void io_buffer_drop(struct io_buffer_manager *mgr)
{
	guard(mutex)(&mgr->lock);

	WRITE_ONCE(mgr->keep, false);
	io_buffer_reclaim(mgr, SIZE_MAX, false);
	/* What is in use just now, or of a device that is suspended */
	if (READ_ONCE(mgr->nr_chunks))
		io_buffer_reclaim_later(mgr);
}
