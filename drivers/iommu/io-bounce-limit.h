/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which mappings are bounced, by size, segments and direction.
 */
#ifndef __IO_BOUNCE_LIMIT_H
#define __IO_BOUNCE_LIMIT_H

#include <linux/dma-direction.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "io-buffer-manager.h"

/* By enum dma_data_direction: bidirectional, to the device, from the device */
#define IO_BOUNCE_NR_DIRS	3

/*
 * Kinds of mappings: to the device or not, by size class, and by segments: 1, 2 to 4,
 * 5 to 16, or more.
 */
#define IO_BOUNCE_NR_SEGS	4
#define IO_BOUNCE_NR_KINDS	(2 * IO_BUFFER_NR_CLASSES * IO_BOUNCE_NR_SEGS)

/* Samples of a window, and mappings that are timed at once */
#define IO_BOUNCE_NR_SAMPLES	10

/**
 * struct io_bounce_kind - what was measured of a kind of mappings
 * @ns: to map and unmap one of them, directly and bounced; 0: not measured
 * @next: in jiffies: not to be measured before
 * @wins: the way that is not in use was faster when last measured
 * @period: log2 of the time between measurements
 */
struct io_bounce_kind {
	u32 ns[2];
	u32 next;
	u8 wins;
	u8 period;
};

/**
 * struct io_bounce_window - some mappings of one kind, which all go one way
 * @open: there is a window
 * @bounced: they are bounced, otherwise mapped directly
 * @trial: that is the way that is not in use
 * @kind: index of the kind
 * @samples: how many were timed, from the first ones on that have begun warm
 * @first: ID of a sample that is in @ns[0]; each window has others
 * @timing: a bit for each entry of @ns: a mapping is being timed
 * @counted: the same: it counts, because it has not begun among the first ones
 * @progress: in jiffies: when the last sample ended
 * @ns: time of these samples so far
 * @sum: time of the samples that ended
 * @longest: the two longest samples
 * @mapped: how many mappings went the way that is not in use, samples included
 */
struct io_bounce_window {
	bool open;
	bool bounced;
	bool trial;
	u8 kind;
	u8 samples;
	u16 first;
	u16 timing;
	u16 counted;
	u32 progress;
	u32 ns[IO_BOUNCE_NR_SAMPLES];
	u64 sum;
	u32 longest[2];
	u32 mapped;
};

/**
 * struct io_bounce_measure - the measurements of a domain
 * @window: the current window
 * @kinds: by index
 */
struct io_bounce_measure {
	struct io_bounce_window window;
	struct io_bounce_kind kinds[IO_BOUNCE_NR_KINDS];
};

/**
 * struct io_bounce_limit - which mappings of a domain are bounced
 * @bytes: by direction: all mappings of one segment up to this size are bounced; 0: ask
 * @top: by direction: nothing larger is bounced at present, in bytes
 * @top_single: the same for mappings of one segment
 * @max: nothing larger is ever bounced, in bytes
 * @bounced: automatic limit: by index of the kind: is it bounced
 * @automatic: measure; otherwise everything up to @max is bounced
 * @armed: look for a kind to measure, or measure one
 * @measure: NULL until there is a mapping to measure
 * @mgr: the manager of the domain's buffers
 * @work: has io_bounce_limit_alloc() called
 * @lock: protects all but @measure, @mgr and @work; the fast path reads without it
 * @timer: sets @armed
 * @looked: mappings of kinds that were not due, since @armed was set
 * @rounds: how often both ways were measured
 */
struct io_bounce_limit {
	size_t bytes[IO_BOUNCE_NR_DIRS];
	size_t top[IO_BOUNCE_NR_DIRS];
	size_t top_single[IO_BOUNCE_NR_DIRS];
	size_t max;
	DECLARE_BITMAP(bounced, IO_BOUNCE_NR_KINDS);
	bool automatic;
	bool armed;
	struct io_bounce_measure *measure;
	const struct io_buffer_manager *mgr;
	struct work_struct *work;

	raw_spinlock_t lock ____cacheline_aligned_in_smp;
	struct timer_list timer;
	u32 looked;
	u32 rounds;
};

/* What to do with a mapping */
enum io_bounce_way {
	IO_BOUNCE_DIRECT,
	IO_BOUNCE_SLOT,
	IO_BOUNCE_MEASURE,	/* ask io_bounce_measure() */
};

/**
 * struct io_bounce_verdict - what to do with a mapping, when measuring
 * @bounce: bounce it, otherwise map it directly
 * @sample: ID of the sample that it is; 0: none
 */
struct io_bounce_verdict {
	bool bounce;
	u16 sample;
};

void io_bounce_limit_init(struct io_bounce_limit *limit,
			  const struct io_buffer_manager *mgr,
			  struct work_struct *work);
void io_bounce_limit_destroy(struct io_bounce_limit *limit);
void io_bounce_limit_fixed(struct io_bounce_limit *limit, size_t max);
void io_bounce_limit_auto(struct io_bounce_limit *limit, size_t start, size_t max);
void io_bounce_limit_alloc(struct io_bounce_limit *limit);
size_t io_bounce_limit_bytes(const struct io_bounce_limit *limit,
			     enum dma_data_direction dir);

struct io_bounce_verdict io_bounce_measure(struct io_bounce_limit *limit,
					   size_t size, unsigned int nr_segs,
					   enum dma_data_direction dir);
u64 io_bounce_clock(void);
void io_bounce_sample_add(struct io_bounce_limit *limit, u16 sample, u64 start);
void io_bounce_sample_end(struct io_bounce_limit *limit, u16 sample, u64 start,
			  bool valid);

static inline bool io_bounce_kind_to_device(unsigned int kind)
{
	return kind < IO_BOUNCE_NR_KINDS / 2;
}

/* The largest mapping of a kind, in bytes */
static inline size_t io_bounce_kind_bytes(const struct io_bounce_limit *limit,
					  unsigned int kind)
{
	unsigned int class = kind / IO_BOUNCE_NR_SEGS % IO_BUFFER_NR_CLASSES;

	return (size_t)1 << (limit->mgr->granule_shift + class);
}

/* The fewest segments of a kind */
static inline unsigned int io_bounce_kind_segs(unsigned int kind)
{
	static const u8 segs[IO_BOUNCE_NR_SEGS] = { 1, 2, 5, 17 };

	return segs[kind % IO_BOUNCE_NR_SEGS];
}

/* @segs: 0 to %IO_BOUNCE_NR_SEGS - 1 */
static __always_inline unsigned int
io_bounce_kind_index(enum dma_data_direction dir, unsigned int class, unsigned int segs)
{
	if (dir != DMA_TO_DEVICE)
		class += IO_BUFFER_NR_CLASSES;
	return class * IO_BOUNCE_NR_SEGS + segs;
}

static __always_inline unsigned int
io_bounce_kind_of(const struct io_bounce_limit *limit, size_t size,
		  unsigned int nr_segs, enum dma_data_direction dir)
{
	/* 1, 2 to 4, 5 to 16, or more, like 0 */
	unsigned int segs = nr_segs - 1 > 15 ? IO_BOUNCE_NR_SEGS - 1 :
			    ((unsigned int)fls(nr_segs - 1) + 1) / 2;

	return io_bounce_kind_index(dir, io_buffer_size_class(limit->mgr, size), segs);
}

/* Is a mapping larger than all that are bounced at present? 0 bytes are, too. */
static __always_inline bool
io_bounce_above(const struct io_bounce_limit *limit, size_t size,
		enum dma_data_direction dir)
{
	return size - 1 >= READ_ONCE(limit->top[dir]);
}

/* The same for a mapping of one segment */
static __always_inline bool
io_bounce_above_single(const struct io_bounce_limit *limit, size_t size,
		       enum dma_data_direction dir)
{
	return size - 1 >= READ_ONCE(limit->top_single[dir]);
}

/* Are all mappings of one segment and this size bounced? */
static __always_inline bool
io_bounce_within(const struct io_bounce_limit *limit, size_t size,
		 enum dma_data_direction dir)
{
	return size - 1 < READ_ONCE(limit->bytes[dir]);
}

/**
 * io_bounce_get_way - is a mapping within the limit
 * @limit: the limit of the domain
 * @size: in bytes, not io_bounce_above()
 * @nr_segs: physically contiguous segments, at least 1
 * @dir: DMA direction
 *
 * Context: any but NMI.
 * Return: what to do with it.
 */
static __always_inline enum io_bounce_way
io_bounce_get_way(const struct io_bounce_limit *limit, size_t size,
		  unsigned int nr_segs, enum dma_data_direction dir)
{
	if (likely(nr_segs == 1 && io_bounce_within(limit, size, dir)))
		return IO_BOUNCE_SLOT;
	if (!READ_ONCE(limit->automatic))
		return IO_BOUNCE_SLOT;
	if (unlikely(READ_ONCE(limit->armed)))
		return IO_BOUNCE_MEASURE;
	return test_bit(io_bounce_kind_of(limit, size, nr_segs, dir), limit->bounced) ?
	       IO_BOUNCE_SLOT : IO_BOUNCE_DIRECT;
}

#endif /* __IO_BOUNCE_LIMIT_H */
