// SPDX-License-Identifier: GPL-2.0-only
/*
 * The automatic limit: up to which size bouncing is faster. A domain measures how
 * many nanoseconds its IOMMU takes to map, unmap and invalidate, how many each further
 * segment adds, and, for each size class, how many it takes to map and unmap by
 * bouncing, copies included.
 *
 * These depend on the load and on the caches, so they are measured under load: the
 * IOMMU by a CPU that is about to map directly, bouncing by timing some of the
 * bounces. Unused paths cannot be measured, so a few mappings are periodically
 * diverted: that is a trial.
 *
 * The clock decides when to measure, so that the cost is bounded. In the fast path
 * that is one comparison.
 */

#include <kunit/static_stub.h>
#include <linux/dma-mapping.h>
#include <linux/iommu-dma.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <trace/events/iommu_bounce.h>

#include "io-bounce-limit.h"

/* Between bursts of timed bounces, and between two probes of the IOMMU */
#define TIME_PERIOD		max(HZ / 50, 1)
#define PROBE_PERIOD		max(HZ / 20, 1)

/* Steps timed in a row. The first does not count, because the caches may be cold. */
#define TIME_BURST		4

/* At most 1/PROBE_SHARE of the CPU time is for probes. */
#define PROBE_SHARE		256

/* Faster probes are repeated with the code in the caches, as it would be in use. */
#define PROBE_WARM_NS		4000

/* A trial of direct mappings finds an IOMMU that has become faster. */
#define ORDINARY_MAPPINGS	8
#define ORDINARY_PERIOD		(30 * HZ)

/* Trials of bouncing become rarer, because they need memory. */
#define BOUNCED_MAPPINGS	64
#define BOUNCED_WARM		16
#define BOUNCED_PERIOD_MIN	(HZ / 4)
#define BOUNCED_PERIOD_MAX	(16 * HZ)
#define BOUNCED_TIME		(HZ / 4)

/* No trial if bouncing is expected to take this many times as long */
#define HOPELESS		4

/* Number of samples for the initial estimate of the IOMMU */
#define FIRST_SAMPLES		16

/* Change only for a gain of 1/HYSTERESIS. */
#define HYSTERESIS		8

/* Bytes copied for the initial estimate */
#define CALIBRATE_COPY		SZ_16K

/* Interrupts and steal time: a sample counts for at most this times the average. */
#define OUTLIER			4

/* Never bounced by choice, and without cache maintenance */
#define PROBE_ATTRS	DMA_ATTR_SKIP_CPU_SYNC

/* The shortest time between two reads of the clock */
static u32 clock_ns(void)
{
	static u32 least;
	u32 ns = READ_ONCE(least);
	int i;

	if (likely(ns))
		return ns;
	/* CPUs may race: all values are good. */
	ns = U32_MAX;
	for (i = 0; i < 8; i++) {
		u64 start = ktime_get_mono_fast_ns();
		u64 now = ktime_get_mono_fast_ns();

		ns = min_t(u64, ns, max(now, start + 1) - start);
	}
	WRITE_ONCE(least, ns);
	return ns;
}

/* Nanoseconds since @start, without those for reading the clock */
static u64 io_bounce_since(u64 start)
{
	u64 now = ktime_get_mono_fast_ns();
	u64 ns = now > start ? now - start : 0;

	return ns - min_t(u64, ns, clock_ns());
}

static bool probe_single(struct device *dev, size_t granule)
{
	dma_addr_t addr = iommu_dma_map_phys(dev, page_to_phys(ZERO_PAGE(0)),
					     granule, DMA_TO_DEVICE,
					     PROBE_ATTRS);

	if (addr == DMA_MAPPING_ERROR)
		return false;
	iommu_dma_unmap_phys(dev, addr, granule, DMA_TO_DEVICE, PROBE_ATTRS);
	return true;
}

static bool probe_list(struct device *dev, size_t granule)
{
	struct scatterlist sgl[IO_BOUNCE_PROBE_PIECES];
	int i;

	sg_init_table(sgl, ARRAY_SIZE(sgl));
	/* Repeating one page keeps the segments from being merged. */
	for (i = 0; i < ARRAY_SIZE(sgl); i++)
		sg_set_page(&sgl[i], ZERO_PAGE(0), granule, 0);

	if (iommu_dma_map_sg(dev, sgl, ARRAY_SIZE(sgl), DMA_TO_DEVICE,
			     PROBE_ATTRS) <= 0)
		return false;
	iommu_dma_unmap_sg(dev, sgl, ARRAY_SIZE(sgl), DMA_TO_DEVICE,
			   PROBE_ATTRS);
	return true;
}

/**
 * io_bounce_probe - time a direct mapping of zeroes that @dev may read
 * @dev: the device
 * @granule: bytes in a granule, at most a page
 * @list: map a list of %IO_BOUNCE_PROBE_PIECES granules, otherwise one granule
 *
 * Context: any but NMI.
 * Return: nanoseconds to map and unmap; 0 on failure.
 */
u64 io_bounce_probe(struct device *dev, size_t granule, bool list)
{
	u64 start;

	KUNIT_STATIC_STUB_REDIRECT(io_bounce_probe, dev, granule, list);

	start = ktime_get_mono_fast_ns();
	if (!(list ? probe_list(dev, granule) : probe_single(dev, granule)))
		return 0;
	return max_t(u64, io_bounce_since(start), 1);
}

/* The range of an average, in which 0 means no sample yet */
static unsigned long clamp_ns(u64 ns)
{
	return clamp_t(u64, ns, 1, U32_MAX >> 5);
}

static void io_bounce_cost_sample(struct ewma_io_bounce *average, u64 ns)
{
	unsigned long so_far = ewma_io_bounce_read(average);

	if (so_far)
		ns = min_t(u64, ns, (u64)so_far * OUTLIER);
	ewma_io_bounce_add(average, clamp_ns(ns));
}

/* Initially the best sample counts: the first ones find neither page tables nor IOVAs. */
static void io_bounce_cost_first(struct ewma_io_bounce *average, u64 ns)
{
	unsigned long so_far = ewma_io_bounce_read(average);

	if (so_far && so_far <= ns)
		return;
	ewma_io_bounce_init(average);
	ewma_io_bounce_add(average, clamp_ns(ns));
}

/* Initial estimate: nanoseconds to copy IO_BOUNCE_COPY_UNIT bytes, 0 if out of memory. */
static u32 io_bounce_cost_copy(void)
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
		ns = clamp_ns(ns * (IO_BOUNCE_COPY_UNIT / CALIBRATE_COPY));
	kfree(from);
	kfree(to);
	return ns;
}

/* Nanoseconds to copy a slot, by the initial estimate */
static u64 copy_ns(const struct io_bounce_limit *limit, unsigned int class)
{
	return max_t(u64, ((u64)limit->copy << (class + limit->granule_shift)) /
		     IO_BOUNCE_COPY_UNIT, 1);
}

/* The average of a class, extrapolated from the nearest class if there is none */
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
 * io_bounce_limit_cost - the cost of bouncing
 * @limit: the limit of the domain
 * @dir: DMA direction
 * @class: size class
 *
 * Return: estimated nanoseconds to map and unmap, copies included.
 */
u64 io_bounce_limit_cost(struct io_bounce_limit *limit,
			 enum dma_data_direction dir, unsigned int class)
{
	u64 in = by_class(limit, limit->in, class);

	/* Mapping copies for all directions. */
	if (dir == DMA_TO_DEVICE)
		return in + ewma_io_bounce_read(&limit->put);
	return in + by_class(limit, limit->out, class);
}

/* The average of a class starts with its estimate. */
static void add_to_class(struct io_bounce_limit *limit,
			 struct ewma_io_bounce *averages, unsigned int class,
			 u64 ns)
{
	if (!ewma_io_bounce_read(&averages[class]))
		ewma_io_bounce_add(&averages[class],
				   clamp_ns(by_class(limit, averages, class)));
	io_bounce_cost_sample(&averages[class], ns);
}

static void io_bounce_cost_step(struct io_bounce_limit *limit,
				enum io_bounce_step step, unsigned int class,
				enum dma_data_direction dir, u64 ns)
{
	if (step == IO_BOUNCE_STEP_MAP)
		add_to_class(limit, limit->in, class, ns);
	else if (dir != DMA_TO_DEVICE)
		add_to_class(limit, limit->out, class, ns);
	else
		/* Without a copy, unmapping is cheaper than mapping. */
		io_bounce_cost_sample(&limit->put,
				      min(ns, by_class(limit, limit->in,
						       class)));
}

static bool first_samples(const struct io_bounce_limit *limit)
{
	return limit->samples < FIRST_SAMPLES;
}

static u64 probe_counted(struct io_bounce_limit *limit, struct device *dev, bool list)
{
	WRITE_ONCE(limit->probes, limit->probes + 1);
	return io_bounce_probe(dev, 1UL << limit->granule_shift, list);
}

/* Time the IOMMU, with single mappings and lists in turn. */
static void probe_once(struct io_bounce_limit *limit, struct device *dev)
{
	bool list = limit->samples & 1, first = first_samples(limit);
	struct ewma_io_bounce *average = list ? &limit->map_list : &limit->map;
	u64 ns = probe_counted(limit, dev, list);

	if (!first && ns && ns < PROBE_WARM_NS)
		ns = (probe_counted(limit, dev, list) +
		      probe_counted(limit, dev, list)) / 2;
	/* Wrap to where the first ones are over. */
	if (!++limit->samples)
		limit->samples = FIRST_SAMPLES;
	if (!ns)
		return;
	if (first)
		io_bounce_cost_first(average, ns);
	else
		io_bounce_cost_sample(average, ns);
}

static unsigned int class_of(const struct io_bounce_limit *limit, size_t bytes)
{
	unsigned int class = bytes ? fls_long((bytes - 1) >> limit->granule_shift) : 0;

	return min_t(unsigned int, class, IO_BUFFER_NR_CLASSES - 1);
}

/* The largest bounce of a class */
static size_t class_bytes(const struct io_bounce_limit *limit,
			  unsigned int class)
{
	return min((size_t)1 << (class + limit->granule_shift), limit->max);
}

/*
 * The largest size for which bouncing takes at most @ns, with a hysteresis of @more in
 * favour of the current state. Smaller sizes are assumed to be cheaper.
 */
static size_t pays_up_to(struct io_bounce_limit *limit,
			 enum dma_data_direction dir, u64 ns, u64 more)
{
	int class;

	for (class = class_of(limit, limit->max); class >= 0; class--) {
		size_t bytes = class_bytes(limit, class);
		bool going_on = limit->decided[dir] >= bytes;

		if (io_bounce_limit_cost(limit, dir, class) <=
		    (going_on ? ns + more : ns - more))
			return bytes;
	}
	return 0;
}

/* Nanoseconds that each further segment adds to a direct mapping */
static u64 piece_ns(struct io_bounce_limit *limit)
{
	u64 map = ewma_io_bounce_read(&limit->map);
	u64 list = ewma_io_bounce_read(&limit->map_list);

	return list > map ? div_u64(list - map, IO_BOUNCE_PROBE_PIECES - 1) : 0;
}

/* How much larger a mapping may be for each further segment, in bytes */
static size_t bytes_per_piece(struct io_bounce_limit *limit,
			      enum dma_data_direction dir, u64 map)
{
	unsigned int class = class_of(limit, limit->max);
	u64 piece = piece_ns(limit), bytes = limit->max;
	size_t from = limit->decided[dir];

	for (; class_bytes(limit, class) > from; class--) {
		u64 cost = io_bounce_limit_cost(limit, dir, class);

		if (cost > map)
			bytes = min(bytes, div64_u64((class_bytes(limit, class) -
						      from) * piece, cost - map));
		if (!class)
			break;
	}
	return bytes;
}

/* Returns true on a change. */
static bool decide_dir(struct io_bounce_limit *limit, enum dma_data_direction dir)
{
	u64 map = ewma_io_bounce_read(&limit->map);
	size_t was = limit->decided[dir], piece;

	/* Keep the initial limit until the IOMMU was measured. */
	if (!map)
		return false;

	WRITE_ONCE(limit->decided[dir],
		   pays_up_to(limit, dir, map, map / HYSTERESIS));
	piece = bytes_per_piece(limit, dir, map);
	if (limit->piece[dir] != piece)
		WRITE_ONCE(limit->piece[dir], piece);
	return limit->decided[dir] != was;
}

static void publish_limit(struct io_bounce_limit *limit)
{
	unsigned int dir;

	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		if (limit->bytes[dir] != limit->decided[dir])
			WRITE_ONCE(limit->bytes[dir], limit->decided[dir]);
}

static bool bouncing_disabled(const struct io_bounce_limit *limit)
{
	unsigned int dir;

	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		if (limit->decided[dir])
			return false;
	return true;
}

static void decide_all(struct io_bounce_limit *limit,
		       struct io_buffer_manager *mgr)
{
	bool was_out = bouncing_disabled(limit) && !limit->trial, changed = false;
	unsigned int dir;

	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		changed |= decide_dir(limit, dir);
	WRITE_ONCE(limit->trial, IO_BOUNCE_TRIAL_NONE);
	publish_limit(limit);
	if (changed)
		trace_iommu_bounce_limit(mgr->group, limit->decided,
					 ewma_io_bounce_read(&limit->map));
	if (!was_out && bouncing_disabled(limit))
		io_buffer_kick_reclaim(mgr, SIZE_MAX);
}

static bool try_busy(struct io_bounce_limit *limit)
{
	return !test_and_set_bit_lock(0, &limit->busy);
}

static void end_busy(struct io_bounce_limit *limit)
{
	clear_bit_unlock(0, &limit->busy);
}

/* All mappings are bounced: divert a few of them. */
static void start_direct_trial(struct io_bounce_limit *limit)
{
	unsigned int dir;

	WRITE_ONCE(limit->trial, IO_BOUNCE_TRIAL_ORDINARY);
	limit->left = ORDINARY_MAPPINGS;
	WRITE_ONCE(limit->trials, limit->trials + 1);
	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		WRITE_ONCE(limit->bytes[dir], 0);
	WRITE_ONCE(limit->next_probe, jiffies);
}

/*
 * Mappings of a class are direct because of the limit: bounce a few of them. If that
 * is hopeless, decay the estimate instead so that it is retried eventually.
 */
static void start_bounce_trial(struct io_bounce_limit *limit,
			       unsigned int class, unsigned int pieces,
			       enum dma_data_direction dir)
{
	u64 map = ewma_io_bounce_read(&limit->map) +
		  (pieces - 1) * piece_ns(limit);

	limit->bounced_at = jiffies + limit->bounced_period;
	limit->bounced_period = min(2 * limit->bounced_period,
				    (unsigned long)BOUNCED_PERIOD_MAX);
	if (io_bounce_limit_cost(limit, dir, class) > map * HOPELESS) {
		io_bounce_cost_step(limit, IO_BOUNCE_STEP_MAP, class, dir, 1);
		if (dir != DMA_TO_DEVICE)
			io_bounce_cost_step(limit, IO_BOUNCE_STEP_UNMAP, class,
					    dir, 1);
		return;
	}

	WRITE_ONCE(limit->trial, IO_BOUNCE_TRIAL_BOUNCED);
	limit->trial_class = class;
	limit->left = BOUNCED_MAPPINGS;
	limit->end = jiffies + BOUNCED_TIME;
	WRITE_ONCE(limit->trials, limit->trials + 1);
	WRITE_ONCE(limit->bytes[dir], class_bytes(limit, class));
	WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_MAP], jiffies);
	WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_UNMAP], jiffies);
}

/* A mapping is direct because of the limit. Soon after the first one of a kind, try. */
static void kept_out(struct io_bounce_limit *limit, size_t size,
		     unsigned int pieces, enum dma_data_direction dir)
{
	unsigned int class = class_of(limit, size);
	u32 bit = BIT(dir * IO_BUFFER_NR_CLASSES + class);
	u32 *seen = &limit->kept_out[pieces > 1];

	static_assert(IO_BOUNCE_NR_DIRS * IO_BUFFER_NR_CLASSES <= 32);
	if (size > limit->max || size <= limit->decided[dir])
		return;

	if (!(*seen & bit)) {
		*seen |= bit;
		limit->bounced_period = BOUNCED_PERIOD_MIN;
		limit->bounced_at = jiffies + BOUNCED_PERIOD_MIN;
	} else if (io_bounce_due(limit->bounced_at)) {
		start_bounce_trial(limit, class, pieces, dir);
	}
}

/**
 * io_bounce_limit_calibrate - make the initial estimate of copying
 * @limit: the limit of the domain
 * @granule_shift: log2 of the bytes in a granule
 *
 * Context: may sleep.
 */
void io_bounce_limit_calibrate(struct io_bounce_limit *limit,
			       unsigned int granule_shift)
{
	if (!READ_ONCE(limit->automatic) || READ_ONCE(limit->calibrated) ||
	    !try_busy(limit))
		return;

	limit->granule_shift = granule_shift;
	limit->copy = io_bounce_cost_copy();
	/* A probe must not expose memory beside the zero page. */
	if (granule_shift > PAGE_SHIFT)
		WRITE_ONCE(limit->automatic, false);
	else if (limit->copy)
		WRITE_ONCE(limit->calibrated, true);
	WRITE_ONCE(limit->ordinary_at, jiffies);
	WRITE_ONCE(limit->next_probe, jiffies);
	WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_MAP], jiffies);
	WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_UNMAP], jiffies);
	end_busy(limit);
}

/* Time the IOMMU and decide, but no more often than its cost allows. */
static void measure_ordinary(struct io_bounce_limit *limit, struct device *dev,
			     struct io_buffer_manager *mgr, size_t size,
			     unsigned int pieces, enum dma_data_direction dir)
{
	u64 start = ktime_get_mono_fast_ns(), rest;

	probe_once(limit, dev);
	if (first_samples(limit)) {
		WRITE_ONCE(limit->next_probe, jiffies);
		return;
	}
	/* Cap the delay in case of preemption. */
	rest = min_t(u64, nsecs_to_jiffies64(io_bounce_since(start) * PROBE_SHARE),
		     BOUNCED_PERIOD_MAX);
	WRITE_ONCE(limit->next_probe, jiffies + max_t(u64, PROBE_PERIOD, rest));
	WRITE_ONCE(limit->ordinary_at, jiffies + ORDINARY_PERIOD);

	if (limit->trial == IO_BOUNCE_TRIAL_ORDINARY && --limit->left) {
		WRITE_ONCE(limit->next_probe, jiffies);
		return;
	}
	if (limit->trial == IO_BOUNCE_TRIAL_BOUNCED &&
	    !io_bounce_due(limit->end))
		return;

	decide_all(limit, mgr);
	if (pieces)
		kept_out(limit, size, pieces, dir);
}

/**
 * __io_bounce_limit_probe - the slow part of io_bounce_limit_probe()
 * @limit: the limit of the domain
 * @dev: the device
 * @mgr: the manager of the domain's buffers
 * @size: of the mapping, in bytes
 * @pieces: its segments; 0 if it is not the limit that makes it direct
 * @dir: DMA direction
 *
 * Context: any but NMI.
 * Return: true to have io_bounce_limit_calibrate() called.
 */
bool __io_bounce_limit_probe(struct io_bounce_limit *limit, struct device *dev,
			     struct io_buffer_manager *mgr, size_t size,
			     unsigned int pieces, enum dma_data_direction dir)
{
	bool wanted = false;

	if (!try_busy(limit))
		return false;

	if (!limit->automatic) {
		WRITE_ONCE(limit->next_probe, jiffies + IO_BOUNCE_AHEAD_MAX);
	} else if (!limit->calibrated) {
		WRITE_ONCE(limit->next_probe, jiffies + PROBE_PERIOD);
		wanted = true;
	} else {
		measure_ordinary(limit, dev, mgr, size, pieces, dir);
	}
	end_busy(limit);
	return wanted;
}

/**
 * __io_bounce_time_start - the slow part of io_bounce_time_start()
 * @limit: the limit of the domain
 * @step: the step that begins
 *
 * Return: the time for __io_bounce_time_end(); 0: do not call it.
 */
u64 __io_bounce_time_start(struct io_bounce_limit *limit,
			   enum io_bounce_step step)
{
	/* Whoever has set @busy may change it. */
	bool automatic = READ_ONCE(limit->automatic);
	unsigned int nr;

	if (!automatic || !READ_ONCE(limit->calibrated)) {
		WRITE_ONCE(limit->next_time[step], jiffies +
			   (automatic ? TIME_PERIOD : IO_BOUNCE_AHEAD_MAX));
		return 0;
	}
	/* CPUs may race: then there is one more, or less. */
	nr = READ_ONCE(limit->burst[step]) + 1;
	/* In a trial, all are timed. */
	if (READ_ONCE(limit->trial) != IO_BOUNCE_TRIAL_BOUNCED) {
		if (nr >= TIME_BURST)
			WRITE_ONCE(limit->next_time[step], jiffies + TIME_PERIOD);
		WRITE_ONCE(limit->burst[step], nr % TIME_BURST);
		if (nr == 1)
			return 0;
	}
	return ktime_get_mono_fast_ns();
}

static void note_step(struct io_bounce_limit *limit, enum io_bounce_step step,
		      unsigned int class, enum dma_data_direction dir, u64 ns)
{
	/* The first ones of a trial use cold memory. */
	if (limit->trial == IO_BOUNCE_TRIAL_BOUNCED &&
	    limit->left > BOUNCED_MAPPINGS - BOUNCED_WARM)
		return;

	io_bounce_cost_step(limit, step, class, dir, ns);
}

/* Only mappings of the class of a trial end it. */
static bool trial_goes_on(struct io_bounce_limit *limit,
			  enum io_bounce_step step, unsigned int class)
{
	switch (limit->trial) {
	case IO_BOUNCE_TRIAL_ORDINARY:
		return true;
	case IO_BOUNCE_TRIAL_BOUNCED:
		if (step == IO_BOUNCE_STEP_MAP && class >= limit->trial_class)
			limit->left--;
		return limit->left && !io_bounce_due(limit->end);
	default:
		return false;
	}
}

static void step_done(struct io_bounce_limit *limit,
		      struct io_buffer_manager *mgr, enum io_bounce_step step,
		      unsigned int class, enum dma_data_direction dir, u64 ns)
{
	note_step(limit, step, class, dir, ns);
	if (trial_goes_on(limit, step, class))
		return;
	decide_all(limit, mgr);
	if (io_bounce_due(limit->ordinary_at))
		start_direct_trial(limit);
}

/**
 * __io_bounce_time_end - the slow part of io_bounce_time_end()
 * @limit: the limit of the domain
 * @mgr: the manager of its buffers
 * @start: from __io_bounce_time_start()
 * @step: the step that ends
 * @class: size class of the slot
 * @dir: DMA direction
 */
void __io_bounce_time_end(struct io_bounce_limit *limit,
			  struct io_buffer_manager *mgr, u64 start,
			  enum io_bounce_step step, unsigned int class,
			  enum dma_data_direction dir)
{
	u64 ns = io_bounce_since(start);

	if (!try_busy(limit))
		return;

	/* The limit may have been fixed since io_bounce_time_start(). */
	if (limit->automatic)
		step_done(limit, mgr, step, class, dir, ns);
	end_busy(limit);
}

/**
 * io_bounce_time_state - time a DMA IOVA state up to its last link
 * @limit: the limit of the domain
 * @addr: DMA address of the state
 * @start: from io_bounce_time_start()
 *
 * One state at a time.
 */
void io_bounce_time_state(struct io_bounce_limit *limit, dma_addr_t addr,
			  u64 start)
{
	if (test_and_set_bit_lock(1, &limit->busy))
		return;
	limit->timed_start = start;
	WRITE_ONCE(limit->timed_state, addr);
}

/* A state that was timed is linked to its end. */
void io_bounce_time_state_end(struct io_bounce_limit *limit,
			      struct io_buffer_manager *mgr, unsigned int class,
			      enum dma_data_direction dir)
{
	u64 start = limit->timed_start;

	io_bounce_forget_state(limit);
	__io_bounce_time_end(limit, mgr, start, IO_BOUNCE_STEP_MAP, class, dir);
}

/* A state that was timed is freed. */
void io_bounce_forget_state(struct io_bounce_limit *limit)
{
	WRITE_ONCE(limit->timed_state, 0);
	clear_bit_unlock(1, &limit->busy);
}

/**
 * io_bounce_limit_fixed - set a fixed limit
 * @limit: nobody else uses it
 * @bytes: the limit for all directions
 */
void io_bounce_limit_fixed(struct io_bounce_limit *limit, size_t bytes)
{
	unsigned int i;

	WRITE_ONCE(limit->automatic, false);
	WRITE_ONCE(limit->max, bytes);
	for (i = 0; i < IO_BOUNCE_NR_DIRS; i++)
		WRITE_ONCE(limit->decided[i], bytes);
	for (i = 0; i < IO_BOUNCE_NR_STEPS; i++)
		WRITE_ONCE(limit->next_time[i], jiffies + IO_BOUNCE_AHEAD_MAX);
	WRITE_ONCE(limit->next_probe, jiffies + IO_BOUNCE_AHEAD_MAX);
	WRITE_ONCE(limit->trial, IO_BOUNCE_TRIAL_NONE);
	publish_limit(limit);
}

/**
 * io_bounce_limit_auto - start to measure
 * @limit: nobody else uses it
 * @start: the initial limit in bytes; 0: do not bounce
 * @max: the highest limit
 */
void io_bounce_limit_auto(struct io_bounce_limit *limit, size_t start,
			  size_t max)
{
	io_bounce_limit_fixed(limit, min(start, max));
	WRITE_ONCE(limit->automatic, true);
	WRITE_ONCE(limit->max, max);
	WRITE_ONCE(limit->next_probe, jiffies);
	limit->bounced_period = BOUNCED_PERIOD_MIN;
	limit->bounced_at = jiffies;
	limit->kept_out[0] = 0;
	limit->kept_out[1] = 0;
	/* Earlier measurements still hold. */
	if (limit->calibrated) {
		limit->ordinary_at = jiffies;
		WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_MAP], jiffies);
		WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_UNMAP], jiffies);
	}
}

/**
 * io_bounce_limit_change - change a limit in use
 * @limit: the limit of the domain
 * @automatic: as io_bounce_limit_auto(), otherwise as io_bounce_limit_fixed()
 * @start: the initial limit in bytes
 * @max: the highest or the fixed limit
 *
 * Context: may sleep.
 */
void io_bounce_limit_change(struct io_bounce_limit *limit, bool automatic,
			    size_t start, size_t max)
{
	while (!try_busy(limit))
		schedule_timeout_uninterruptible(1);
	if (automatic)
		io_bounce_limit_auto(limit, start, max);
	else
		io_bounce_limit_fixed(limit, max);
	end_busy(limit);
}
