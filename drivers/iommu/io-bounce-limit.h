/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Up to which size bouncing pays.
 */
#ifndef __IO_BOUNCE_LIMIT_H
#define __IO_BOUNCE_LIMIT_H

#include <linux/average.h>
#include <linux/dma-direction.h>
#include <linux/jiffies.h>
#include <linux/types.h>

struct io_buffer_manager;

/* By direction: bidirectional, to the device, from the device. */
#define IO_BOUNCE_NR_DIRS	3

/* A sample moves an average by an eighth; two bits of fraction are kept. */
DECLARE_EWMA(io_bounce, 2, 8)

/**
 * struct io_bounce_limit - the largest mapping that a domain bounces
 *
 * Read on every map:
 * @bytes: by direction: the largest mapping that is bounced; 0: none is
 * @piece: by direction: how much larger it may be for each further place in
 *	memory that it consists of
 * @next_copy: in jiffies: from then on, time a copy
 * @next_probe: in jiffies: from then on, an ordinary mapping times the IOMMU
 *
 * @busy: bit 0: somebody is measuring; protects what follows
 * @decided: what @bytes is when no trial is under way
 * @max: no larger than this
 * @trial: mappings that are still to be ordinary ones
 * @trials: how often that was done
 * @trial_at: in jiffies: when it is time to do it again
 * @probes: ordinary mappings timed
 * @map: ns to map a granule, unmap it and invalidate the IOTLB
 * @map_list: likewise %IO_BOUNCE_PROBE_PIECES granules in as many places
 * @copy_in: ns to copy %IO_BOUNCE_COPY_UNIT bytes into a slot
 * @copy_out: ns to copy as many out of one
 * @calibrated: there are values for these four
 * @automatic: is all this done at all; constant
 */
struct io_bounce_limit {
	size_t bytes[IO_BOUNCE_NR_DIRS];
	size_t piece[IO_BOUNCE_NR_DIRS];
	unsigned long next_copy;
	unsigned long next_probe;

	unsigned long busy;
	size_t decided[IO_BOUNCE_NR_DIRS];
	size_t max;
	unsigned int trial;
	unsigned long trials;
	unsigned long trial_at;
	unsigned long probes;
	struct ewma_io_bounce map;
	struct ewma_io_bounce map_list;
	struct ewma_io_bounce copy_in;
	struct ewma_io_bounce copy_out;
	bool calibrated;
	bool automatic;
};

#define IO_BOUNCE_PROBE_PIECES	4
#define IO_BOUNCE_COPY_UNIT	SZ_64K

void io_bounce_limit_fixed(struct io_bounce_limit *limit, size_t bytes);
void io_bounce_limit_auto(struct io_bounce_limit *limit, size_t start,
			  size_t max);
void io_bounce_limit_calibrate(struct io_bounce_limit *limit,
			       struct io_buffer_manager *mgr);
bool __io_bounce_limit_probe(struct io_bounce_limit *limit,
			     struct io_buffer_manager *mgr);
u64 __io_bounce_copy_start(struct io_bounce_limit *limit, size_t len);
void __io_bounce_copy_end(struct io_bounce_limit *limit, u64 start, size_t len,
			  bool in);

/**
 * io_bounce_within - does a mapping lie within the limit
 * @limit: the limit of the domain
 * @size: bytes to be mapped in one operation
 * @pieces: places in memory that they lie in, at least 1
 * @dir: direction
 *
 * Return: true if it does; never for 0 bytes, which are not ours to judge.
 */
static __always_inline bool io_bounce_within(const struct io_bounce_limit *limit,
					     size_t size, unsigned int pieces,
					     enum dma_data_direction dir)
{
	size_t bytes = READ_ONCE(limit->bytes[dir]);

	if (likely(size - 1 < bytes))
		return true;
	return pieces > 1 && bytes && size - 1 < READ_ONCE(limit->max) &&
	       size - bytes <= (pieces - 1) * READ_ONCE(limit->piece[dir]);
}

/**
 * io_bounce_limit_probe - to be called when a mapping is an ordinary one
 * @limit: the limit of the domain
 * @mgr: the manager of its buffers
 *
 * Now and then this measures what such a mapping costs here and now.
 *
 * Context: any but NMI.
 * Return: true if io_bounce_limit_calibrate() is wanted.
 */
static inline bool io_bounce_limit_probe(struct io_bounce_limit *limit,
					 struct io_buffer_manager *mgr)
{
	if (likely(time_before(jiffies, READ_ONCE(limit->next_probe))))
		return false;
	return __io_bounce_limit_probe(limit, mgr);
}

/* To be called around a copy, which now and then is timed. */
static __always_inline u64 io_bounce_copy_start(struct io_bounce_limit *limit,
						size_t len)
{
	if (likely(time_before(jiffies, READ_ONCE(limit->next_copy))))
		return 0;
	return __io_bounce_copy_start(limit, len);
}

static __always_inline void io_bounce_copy_end(struct io_bounce_limit *limit,
					       u64 start, size_t len, bool in)
{
	if (unlikely(start))
		__io_bounce_copy_end(limit, start, len, in);
}

#endif /* __IO_BOUNCE_LIMIT_H */
