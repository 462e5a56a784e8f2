// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bounced mappings that live long: their owner should rather say so, with
 * DMA_ATTR_LONG_LIVED, for they keep a slot and, worse, may belong to a driver
 * that never syncs, whose device then sees nothing of what the CPU writes. Each
 * place that makes such mappings is reported once. For debugging the DMA API.
 */

#define pr_fmt(fmt) "iommu: bounce: " fmt

#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/jiffies.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/xarray.h>

#include "io-bounce-internal.h"

/*
 * In seconds; 0: never. The buffers that a driver keeps ready for what may come
 * in, an idle network for one, live as long as nothing comes in: no fault of
 * theirs, so this is long.
 */
static u32 report_after_s = 300;

/* A mapping is looked at so often. */
#define WATCH_PERIOD	HZ

/* Stacks that were reported */
static DEFINE_XARRAY(reported);

static void report(dma_addr_t addr, unsigned int len,
		   const struct io_buffer_life *life)
{
	/* Another mapping from the same place, or no memory to remember it. */
	if (xa_insert(&reported, life->stack, xa_mk_value(1),
		      GFP_NOIO | __GFP_NOWARN))
		return;
	pr_notice("%.*s: %u bytes at %pad have been bounced for more than %u s; DMA_ATTR_LONG_LIVED may be missing where they were mapped:\n",
		  (int)sizeof(life->dev), life->dev, len, &addr,
		  READ_ONCE(report_after_s));
	if (life->stack)
		stack_depot_print(life->stack);
}

/* Their owner may give the slot back, and somebody else take it, at any time. */
static unsigned int scan_chunk(struct io_buffer_chunk *chunk,
			       unsigned long born_before)
{
	struct io_buffer buf = { .chunk = chunk };
	unsigned int old = 0;

	for (; buf.nr < chunk->size >> chunk->slot_shift; buf.nr++) {
		struct io_buffer_slot *slot = io_buffer_slot(&buf);
		unsigned int len = READ_ONCE(slot->len);
		unsigned long since;
		struct io_buffer_life life;
		dma_addr_t addr;

		/* Pairs with io_bounce_watch() */
		since = smp_load_acquire(&slot->life.since);
		if (!len || !since || !time_before(since, born_before))
			continue;
		life = slot->life;
		addr = io_buffer_iova(&buf) + READ_ONCE(slot->start);
		/* All of that is of one owner if it still is the same. */
		if (cmpxchg(&slot->life.since, since, 0) != since)
			continue;
		report(addr, len, &life);
		old++;
	}
	return old;
}

/**
 * io_bounce_watch_scan - report what has lived too long
 * @bounce: the bounce buffers of the domain
 *
 * Context: may sleep.
 * Return: how many mappings were found that had not been found before.
 */
unsigned int io_bounce_watch_scan(struct io_bounce *bounce)
{
	struct io_buffer_manager *mgr = &bounce->mgr;
	unsigned int perm, class, i, old = 0;
	unsigned long born_before;

	born_before = jiffies - min_t(u64, (u64)READ_ONCE(report_after_s) * HZ,
				      MAX_JIFFY_OFFSET);

	/* No chunk goes meanwhile. Growing waits: no I/O in here. */
	guard(mutex)(&mgr->lock);
	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++) {
			struct io_buffer_pool *pool;

			pool = io_buffer_locked_pool(mgr, perm, class);
			for (i = pool ? READ_ONCE(pool->end) : 0; i--;) {
				struct io_buffer_chunk *chunk;

				chunk = rcu_dereference_check(pool->chunks[i],
							      lockdep_is_held(&mgr->lock));
				if (chunk)
					old += scan_chunk(chunk, born_before);
			}
		}
	}
	return old;
}

static void watch_work(struct work_struct *work)
{
	struct io_bounce *bounce =
		container_of(to_delayed_work(work), struct io_bounce, watch);

	if (READ_ONCE(report_after_s))
		io_bounce_watch_scan(bounce);
	if (io_buffer_manager_used(&bounce->mgr))
		queue_delayed_work(system_freezable_wq, &bounce->watch,
				   WATCH_PERIOD);
}

/**
 * io_bounce_watch - note when and by whom a mapping was made
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @buf: its slot, filled in
 *
 * Context: any but NMI.
 */
void io_bounce_watch(struct io_bounce *bounce, struct device *dev,
		     const struct io_buffer *buf)
{
	struct io_buffer_life *life = &io_buffer_slot(buf)->life;
	unsigned long stack[16];
	unsigned int depth;

	strscpy(life->dev, dev_name(dev));
	/* But for the function of ours that called this */
	depth = stack_trace_save(stack, ARRAY_SIZE(stack), 1);
	life->stack = stack_depot_save(stack, depth, GFP_NOWAIT | __GFP_NOWARN);
	/* Pairs with scan_chunk() */
	smp_store_release(&life->since, jiffies ?: 1);
	if (!delayed_work_pending(&bounce->watch))
		queue_delayed_work(system_freezable_wq, &bounce->watch,
				   WATCH_PERIOD);
}

/**
 * io_bounce_watch_setup - prepare to watch the mappings of a domain
 * @bounce: the bounce buffers of the domain
 *
 * Context: may sleep.
 */
void io_bounce_watch_setup(struct io_bounce *bounce)
{
	INIT_DELAYED_WORK(&bounce->watch, watch_work);
	/* Where that fails, no stack is saved. */
	stack_depot_init();
}

/**
 * io_bounce_watch_teardown - undo io_bounce_watch_setup()
 * @bounce: the bounce buffers; no device may reach them any more
 *
 * Context: may sleep.
 */
void io_bounce_watch_teardown(struct io_bounce *bounce)
{
	cancel_delayed_work_sync(&bounce->watch);
}

/**
 * io_bounce_watch_debugfs - let the time be set
 * @root: the directory of all bounce buffers
 */
void io_bounce_watch_debugfs(struct dentry *root)
{
	debugfs_create_u32("report_after_s", 0644, root, &report_after_s);
}
