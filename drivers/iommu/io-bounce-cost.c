// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it costs to map the ordinary way and to bounce, in nanoseconds: averages
 * of what was measured, and, where nothing was, what that makes likely.
 */

#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "io-bounce-limit.h"

/* What the first estimate of copying copies */
#define CALIBRATE_COPY		SZ_16K

/*
 * A CPU may be interrupted, or a virtual one not run at all, while it measures.
 * A sample counts for no more than so many times the average.
 */
#define OUTLIER			4

/* What an average can hold; and 0 means "nothing yet". */
static unsigned long sane(u64 ns)
{
	return clamp_t(u64, ns, 1, U32_MAX >> 5);
}

/**
 * io_bounce_cost_sample - let a sample count
 * @average: what it is a sample of; the caller has set @busy of its limit
 * @ns: nanoseconds
 *
 * Context: any.
 */
void io_bounce_cost_sample(struct ewma_io_bounce *average, u64 ns)
{
	unsigned long so_far = ewma_io_bounce_read(average);

	if (so_far)
		ns = min_t(u64, ns, (u64)so_far * OUTLIER);
	ewma_io_bounce_add(average, sane(ns));
}

/**
 * io_bounce_cost_first - let one of the first samples count
 * @average: what it is a sample of; the caller has set @busy of its limit
 * @ns: nanoseconds
 *
 * What the first mappings took decides until there is an average: the best of
 * them, for the very first finds neither page tables nor addresses at hand.
 *
 * Context: any.
 */
void io_bounce_cost_first(struct ewma_io_bounce *average, u64 ns)
{
	unsigned long so_far = ewma_io_bounce_read(average);

	if (so_far && so_far <= ns)
		return;
	ewma_io_bounce_init(average);
	ewma_io_bounce_add(average, sane(ns));
}

/**
 * io_bounce_cost_copy - make the first estimate of copying
 *
 * What a device that never was busy can tell: copying, in the cache.
 *
 * Context: may sleep.
 * Return: nanoseconds for %IO_BOUNCE_COPY_UNIT bytes, 0 where memory is short.
 */
u32 io_bounce_cost_copy(void)
{
	void *from = kmalloc(CALIBRATE_COPY, GFP_KERNEL | __GFP_NOWARN);
	void *to = kmalloc(CALIBRATE_COPY, GFP_KERNEL | __GFP_NOWARN);
	u64 ns = 0;
	int i;

	for (i = 0; from && to && i < 4; i++) {
		u64 start = ktime_get_mono_fast_ns();

		memcpy(to, from, CALIBRATE_COPY);
		/* The first one brings it into the cache. */
		ns = i > 1 ? min(ns, io_bounce_since(start)) : io_bounce_since(start);
	}
	if (from && to)
		ns = sane(ns * (IO_BOUNCE_COPY_UNIT / CALIBRATE_COPY));
	kfree(from);
	kfree(to);
	return ns;
}

/* What copying alone takes, by the first estimate */
static u64 copy_ns(const struct io_bounce_limit *limit, unsigned int class)
{
	return max_t(u64, ((u64)limit->copy << (class + limit->granule_shift)) /
		     IO_BOUNCE_COPY_UNIT, 1);
}

/* Of a class that was never measured: what the next one that was makes likely. */
static u64 by_class(struct io_bounce_limit *limit,
		    struct ewma_io_bounce *averages, unsigned int class)
{
	u64 ns = ewma_io_bounce_read(&averages[class]);
	unsigned int c;

	if (ns)
		return ns;
	for (c = class; c--;) {
		ns = ewma_io_bounce_read(&averages[c]);
		if (ns)
			return ns + copy_ns(limit, class) - copy_ns(limit, c);
	}
	for (c = class + 1; c < IO_BUFFER_NR_CLASSES; c++) {
		ns = ewma_io_bounce_read(&averages[c]);
		if (ns)
			return max(ns >> (c - class), copy_ns(limit, class));
	}
	return copy_ns(limit, class);
}

/**
 * io_bounce_limit_cost - what it takes to bounce
 * @limit: the limit of the domain
 * @dir: direction
 * @class: class of slot
 *
 * Return: nanoseconds to map and to unmap, copies included, as far as is known.
 */
u64 io_bounce_limit_cost(struct io_bounce_limit *limit,
			 enum dma_data_direction dir, unsigned int class)
{
	u64 in = by_class(limit, limit->in, class);

	/* A map copies in whatever the direction: see io-bounce-buffers.c */
	if (dir == DMA_TO_DEVICE)
		return in + ewma_io_bounce_read(&limit->put);
	return in + by_class(limit, limit->out, class);
}

/* An average of a class begins with what was expected of it. */
static void add_to_class(struct io_bounce_limit *limit,
			 struct ewma_io_bounce *averages, unsigned int class,
			 u64 ns)
{
	if (!ewma_io_bounce_read(&averages[class]))
		ewma_io_bounce_add(&averages[class],
				   sane(by_class(limit, averages, class)));
	io_bounce_cost_sample(&averages[class], ns);
}

/**
 * io_bounce_cost_step - let a sample of a step of a bounced mapping count
 * @limit: the limit of the domain, of which the caller has set @busy
 * @step: what was timed
 * @class: with a slot of which class
 * @dir: direction of the mapping
 * @ns: nanoseconds
 *
 * Context: any.
 */
void io_bounce_cost_step(struct io_bounce_limit *limit,
			 enum io_bounce_step step, unsigned int class,
			 enum dma_data_direction dir, u64 ns)
{
	if (step == IO_BOUNCE_STEP_MAP)
		add_to_class(limit, limit->in, class, ns);
	else if (dir != DMA_TO_DEVICE)
		add_to_class(limit, limit->out, class, ns);
	else
		/* Without a copy it is no more than the map was with one. */
		io_bounce_cost_sample(&limit->put,
				      min(ns, by_class(limit, limit->in,
						       class)));
}
