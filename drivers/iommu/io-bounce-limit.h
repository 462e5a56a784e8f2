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

#include "io-buffer-manager.h"

/* By direction: bidirectional, to the device, from the device. */
#define IO_BOUNCE_NR_DIRS	3

/* A sample moves an average by an eighth; two bits of fraction are kept. */
DECLARE_EWMA(io_bounce, 2, 8)

/* What is timed of a bounced mapping: each of these as a whole. */
enum io_bounce_step {
	IO_BOUNCE_STEP_MAP,
	IO_BOUNCE_STEP_UNMAP,
	IO_BOUNCE_NR_STEPS
};

/* What a few mappings are, for the sake of a measurement. */
enum io_bounce_trial {
	IO_BOUNCE_TRIAL_NONE,
	IO_BOUNCE_TRIAL_ORDINARY,	/* where all are bounced */
	IO_BOUNCE_TRIAL_BOUNCED,	/* where they are ordinary */
};

/**
 * struct io_bounce_limit - the largest mapping that a domain bounces
 *
 * Read on every map:
 * @bytes: by direction: the largest mapping in one place that is bounced; 0:
 *	none is, and no list
 * @piece: by direction: how much larger it may be for each further place in
 *	memory that it consists of
 * @next_time: by step: in jiffies: from then on, time a bounced one
 * @next_probe: in jiffies: from then on, an ordinary mapping times the IOMMU
 *
 * @busy: bit 0: somebody is measuring; protects what follows
 * @decided: what @bytes is when no trial is under way
 * @max: no larger than this
 * @granule_shift: log2 of the bytes in the domain's smallest page
 * @automatic: is any of this done at all
 * @calibrated: there are values for @granule_shift and @copy
 * @burst: by step: how many in a row were timed just now
 * @trial: &enum io_bounce_trial that is under way
 * @trial_class: of slots, for whose sake mappings are bounced
 * @left: mappings until it ends
 * @end: in jiffies: when it ends at the latest
 * @ordinary_at: in jiffies: when mappings should be ordinary ones for a trial
 * @bounced_at: in jiffies: when they should be bounced
 * @bounced_period: in jiffies: from one of the latter to the next
 * @trials: how often that was done
 * @probes: mappings made to time the IOMMU
 * @samples: samples that they gave, of single mappings and lists in turn; once
 *	it was first_samples(), it stays more
 * @kept_out: of mappings in one place and of lists: bit (direction *
 *	IO_BUFFER_NR_CLASSES + class): has been ordinary because of the limit
 * @map: ns to map a granule the ordinary way and to unmap it
 * @map_list: likewise %IO_BOUNCE_PROBE_PIECES granules in as many places
 * @copy: ns to copy %IO_BOUNCE_COPY_UNIT bytes, as a first estimate
 * @in: by class: ns to map by bouncing, whatever the direction
 * @out: by class: ns to unmap where that copies
 * @put: ns to unmap where it does not
 */
struct io_bounce_limit {
	size_t bytes[IO_BOUNCE_NR_DIRS];
	size_t piece[IO_BOUNCE_NR_DIRS];
	unsigned long next_time[IO_BOUNCE_NR_STEPS];
	unsigned long next_probe;

	unsigned long busy;
	size_t decided[IO_BOUNCE_NR_DIRS];
	size_t max;
	u8 granule_shift;
	bool automatic;
	bool calibrated;
	u8 burst[IO_BOUNCE_NR_STEPS];
	u8 trial;
	u8 trial_class;
	u32 left;
	unsigned long end;
	unsigned long ordinary_at;
	unsigned long bounced_at;
	unsigned long bounced_period;
	u32 trials;
	u32 probes;
	u32 samples;
	u32 kept_out[2];
	u32 copy;
	struct ewma_io_bounce map;
	struct ewma_io_bounce map_list;
	struct ewma_io_bounce in[IO_BUFFER_NR_CLASSES];
	struct ewma_io_bounce out[IO_BUFFER_NR_CLASSES];
	struct ewma_io_bounce put;
};

#define IO_BOUNCE_PROBE_PIECES	4

/*
 * In jiffies: no time that is waited for is set further ahead than that. One that
 * seems to be has long passed: where jiffies have 32 bits they wrap round.
 */
#define IO_BOUNCE_AHEAD_MAX	(64UL * HZ)
#define IO_BOUNCE_COPY_UNIT	SZ_64K

struct device;

void io_bounce_limit_fixed(struct io_bounce_limit *limit, size_t bytes);
void io_bounce_limit_auto(struct io_bounce_limit *limit, size_t start,
			  size_t max);
void io_bounce_limit_change(struct io_bounce_limit *limit, bool automatic,
			    size_t start, size_t max);
void io_bounce_limit_calibrate(struct io_bounce_limit *limit,
			       unsigned int granule_shift);
u64 io_bounce_limit_cost(struct io_bounce_limit *limit,
			 enum dma_data_direction dir, unsigned int class);
bool __io_bounce_limit_probe(struct io_bounce_limit *limit, struct device *dev,
			     struct io_buffer_manager *mgr, size_t size,
			     unsigned int pieces, enum dma_data_direction dir);
u64 __io_bounce_time_start(struct io_bounce_limit *limit,
			   enum io_bounce_step step);
void __io_bounce_time_end(struct io_bounce_limit *limit,
			  struct io_buffer_manager *mgr, u64 start,
			  enum io_bounce_step step, unsigned int class,
			  enum dma_data_direction dir, unsigned int parts);

/* io-bounce-cost.c: what becomes of samples, for io-bounce-limit.c alone */
void io_bounce_cost_sample(struct ewma_io_bounce *average, u64 ns);
void io_bounce_cost_first(struct ewma_io_bounce *average, u64 ns);
u32 io_bounce_cost_copy(void);
void io_bounce_cost_step(struct io_bounce_limit *limit,
			 enum io_bounce_step step, unsigned int class,
			 enum dma_data_direction dir, u64 ns);

u64 io_bounce_since(u64 start);
u64 io_bounce_probe(struct device *dev, size_t granule, bool list);

/* Has a time come, in jiffies? */
static __always_inline bool io_bounce_due(unsigned long at)
{
	return jiffies - at < -IO_BOUNCE_AHEAD_MAX;
}

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
	       size - bytes <= (u64)(pieces - 1) * READ_ONCE(limit->piece[dir]);
}

/**
 * io_bounce_limit_probe - to be called when a mapping is an ordinary one
 * @limit: the limit of the domain
 * @dev: the device
 * @mgr: the manager of the domain's buffers
 * @size: bytes to be mapped
 * @pieces: places in memory that they lie in; 0: it is not because of the limit
 *	that the mapping is an ordinary one
 * @dir: direction
 *
 * Now and then this measures what such a mapping costs here and now.
 *
 * Context: any but NMI.
 * Return: true if io_bounce_limit_calibrate() is wanted.
 */
static inline bool io_bounce_limit_probe(struct io_bounce_limit *limit,
					 struct device *dev,
					 struct io_buffer_manager *mgr,
					 size_t size, unsigned int pieces,
					 enum dma_data_direction dir)
{
	if (likely(!io_bounce_due(READ_ONCE(limit->next_probe))))
		return false;
	return __io_bounce_limit_probe(limit, dev, mgr, size, pieces, dir);
}

/* Is a step of a bounced mapping to be timed, or at least asked for that? */
static __always_inline bool io_bounce_time_due(const struct io_bounce_limit *limit,
					       enum io_bounce_step step)
{
	return unlikely(io_bounce_due(READ_ONCE(limit->next_time[step])));
}

/*
 * To be called around a step of a bounced mapping, which now and then is timed.
 * Nothing need be called at the end if it turns out not to be a bounced one.
 */
static inline u64 io_bounce_time_start(struct io_bounce_limit *limit,
				       enum io_bounce_step step)
{
	return io_bounce_time_due(limit, step) ?
	       __io_bounce_time_start(limit, step) : 0;
}

static inline void io_bounce_time_end(struct io_bounce_limit *limit,
				      struct io_buffer_manager *mgr, u64 start,
				      enum io_bounce_step step,
				      unsigned int class,
				      enum dma_data_direction dir,
				      unsigned int parts)
{
	if (unlikely(start))
		__io_bounce_time_end(limit, mgr, start, step, class, dir,
				     parts);
}

#endif /* __IO_BOUNCE_LIMIT_H */
