/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Up to which size mappings are bounced.
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

/* The steps of a bounce that are timed */
enum io_bounce_step {
	IO_BOUNCE_STEP_MAP,
	IO_BOUNCE_STEP_UNMAP,
	IO_BOUNCE_NR_STEPS
};

/* Mappings that are diverted to measure them */
enum io_bounce_trial {
	IO_BOUNCE_TRIAL_NONE,
	IO_BOUNCE_TRIAL_ORDINARY,	/* direct instead of bounced */
	IO_BOUNCE_TRIAL_BOUNCED,	/* bounced instead of direct */
};

/**
 * struct io_bounce_limit - the largest mapping that a domain bounces
 *
 * Read on each map:
 * @bytes: by direction: the largest mapping of one segment that is bounced; 0: none
 * @piece: by direction: how much larger it may be for each further segment
 * @next_time: by step, in jiffies: when to time a bounce again
 * @next_probe: in jiffies: when to time the IOMMU again
 *
 * @busy: bit 0: measuring; protects the members below. Bit 1: @timed_state is set
 * @timed_state: DMA address of the state that is timed from allocation to last link
 * @timed_start: when it was allocated
 * @decided: @bytes without a trial
 * @max: the highest limit
 * @granule_shift: log2 of the bytes in a granule
 * @automatic: measure; otherwise the limit is fixed
 * @calibrated: @granule_shift and @copy are valid
 * @burst: by step: how many were timed in a row
 * @trial: &enum io_bounce_trial
 * @trial_class: the size class that is bounced in a trial
 * @left: remaining mappings of a trial
 * @end: in jiffies: when a trial ends at the latest
 * @ordinary_at: in jiffies: when to try direct mappings
 * @bounced_at: in jiffies: when to try bouncing
 * @bounced_period: in jiffies: time between trials of bouncing
 * @trials: number of trials
 * @probes: mappings made to time the IOMMU
 * @samples: samples of the IOMMU, single mappings and lists in turn
 * @kept_out: for single mappings and lists: bit (direction * IO_BUFFER_NR_CLASSES +
 *	class): was direct because of the limit
 * @map: ns to map and unmap one granule directly
 * @map_list: ns to map and unmap %IO_BOUNCE_PROBE_PIECES granules directly
 * @copy: ns to copy %IO_BOUNCE_COPY_UNIT bytes, initial estimate
 * @in: by class: ns to map by bouncing
 * @out: by class: ns to unmap by bouncing, with a copy
 * @put: ns to unmap by bouncing, without a copy
 */
struct io_bounce_limit {
	size_t bytes[IO_BOUNCE_NR_DIRS];
	size_t piece[IO_BOUNCE_NR_DIRS];
	unsigned long next_time[IO_BOUNCE_NR_STEPS];
	unsigned long next_probe;

	unsigned long busy;
	dma_addr_t timed_state;
	u64 timed_start;
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

/* No deadline is further ahead, in jiffies: those that seem to be have wrapped around. */
#define IO_BOUNCE_AHEAD_MAX	(64UL * HZ)
#define IO_BOUNCE_COPY_UNIT	SZ_64K

struct device;

u64 io_bounce_probe(struct device *dev, size_t granule, bool list);

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
			  enum dma_data_direction dir);
void io_bounce_time_state(struct io_bounce_limit *limit, dma_addr_t addr,
			  u64 start);
void io_bounce_time_state_end(struct io_bounce_limit *limit,
			      struct io_buffer_manager *mgr, unsigned int class,
			      enum dma_data_direction dir);
void io_bounce_forget_state(struct io_bounce_limit *limit);

/* Is a deadline in jiffies reached? */
static __always_inline bool io_bounce_due(unsigned long at)
{
	return jiffies - at < -IO_BOUNCE_AHEAD_MAX;
}

/**
 * io_bounce_within - is a mapping within the limit
 * @limit: the limit of the domain
 * @size: in bytes
 * @pieces: physically contiguous segments, at least 1
 * @dir: DMA direction
 *
 * Return: true if it is; false for 0 bytes.
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
 * io_bounce_limit_probe - a mapping is about to be made directly
 * @limit: the limit of the domain
 * @dev: the device
 * @mgr: the manager of the domain's buffers
 * @size: of the mapping, in bytes
 * @pieces: its segments; 0 if it is not the limit that makes it direct
 * @dir: DMA direction
 *
 * Now and then this measures the cost of such a mapping.
 *
 * Context: any but NMI.
 * Return: true to have io_bounce_limit_calibrate() called.
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

/* Is it time to time a step? */
static __always_inline bool io_bounce_time_due(const struct io_bounce_limit *limit,
					       enum io_bounce_step step)
{
	return unlikely(io_bounce_due(READ_ONCE(limit->next_time[step])));
}

/* Around a step of a bounce, which is timed now and then. The end may be left out. */
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
				      enum dma_data_direction dir)
{
	if (unlikely(start))
		__io_bounce_time_end(limit, mgr, start, step, class, dir);
}

/* Is this the DMA IOVA state that is timed? */
static inline bool io_bounce_state_timed(const struct io_bounce_limit *limit,
					 dma_addr_t addr)
{
	return READ_ONCE(limit->timed_state) == addr;
}

#endif /* __IO_BOUNCE_LIMIT_H */
