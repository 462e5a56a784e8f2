// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reserve of a domain: some slots that are made before anybody asks for
 * one, and that stay, idle or not.
 */

#include <linux/minmax.h>

#include "io-buffer-manager.h"

/* What it takes: for each permission a chunk of each of the two kinds of slots */
#define RESERVE			(2 * IO_BUFFER_NR_PERMS * \
				 max_t(size_t, IO_BUFFER_MIN_CHUNK, PAGE_SIZE))

/**
 * io_buffer_want_reserve - ask the worker for what the reserve lacks
 * @mgr: the manager of the domain
 *
 * Context: the caller holds the lock of @mgr.
 */
void io_buffer_want_reserve(struct io_buffer_manager *mgr)
{
	unsigned int perm, class;
	bool lacks = false;

	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++) {
			const struct io_buffer_pool *pool;

			pool = io_buffer_locked_pool(mgr, perm, class);
			if (!io_buffer_kept(mgr, class) ||
			    (pool && pool->nr_chunks))
				continue;
			set_bit(io_buffer_wanted_bit(perm, class),
				&mgr->wanted);
			lacks = true;
		}
	}
	/* Without a window, whoever says what the device can address does that. */
	if (lacks && mgr->size)
		queue_work(system_dfl_wq, &mgr->work);
}

/**
 * io_buffer_reserve - see to it that there always are some slots
 * @mgr: the manager of the domain
 * @limits: of a device
 *
 * For those who have no other way if they get none. There is a chunk of the
 * smallest slots and one of larger ones, for each permission, when this returns,
 * unless memory is short; from then on io_buffer_grow_now() helps.
 *
 * Context: may sleep.
 */
void io_buffer_reserve(struct io_buffer_manager *mgr,
		       const struct io_buffer_limits *limits)
{
	scoped_guard(mutex, &mgr->lock) {
		/* A budget that is too small for it does not count. */
		WRITE_ONCE(mgr->memory_max, max(mgr->memory_max, RESERVE));
		/* Whoever gives chunks back sees it the next time. */
		WRITE_ONCE(mgr->keep, 1);
		WRITE_ONCE(mgr->stopped, false);
		io_buffer_want_reserve(mgr);
	}
	/* As in io_buffer_want() */
	if (!test_and_set_bit(0, &mgr->asked)) {
		mgr->limits = *limits;
		queue_work(system_dfl_wq, &mgr->work);
	}
	flush_work(&mgr->work);
}

/**
 * io_buffer_drop - give back all that is not in use before returning
 * @mgr: the manager of the domain
 *
 * Undoes io_buffer_reserve().
 *
 * Context: may sleep.
 */
void io_buffer_drop(struct io_buffer_manager *mgr)
{
	guard(mutex)(&mgr->lock);

	WRITE_ONCE(mgr->keep, 0);
	io_buffer_reclaim(mgr, SIZE_MAX, false);
}
