// SPDX-License-Identifier: GPL-2.0-only
/*
 * Up to which size bouncing pays. A domain measures, in nanoseconds, what its
 * IOMMU takes to map, unmap and invalidate; what each further place in memory
 * adds to that; and, for each size of slot, what it takes to map and to unmap by
 * bouncing, copies included. A mapping is bounced where that is the cheaper way.
 *
 * Both depend on who else is at work and on what is in the caches. So both are
 * measured on the job: the IOMMU in the midst of ordinary mappings, by the CPU
 * that makes one; bouncing by timing some of the mappings that are bounced. What
 * is not done cannot be measured: now and then a few mappings go the other way
 * for the sake of it. That is a trial. What becomes of the samples is told in
 * io-bounce-cost.c.
 *
 * Times of measuring are set by the clock, not by the number of mappings, so
 * that its cost has a bound. For the hot path that is one comparison.
 */

#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <trace/events/iommu_bounce.h>

#include "io-bounce-limit.h"

/* Between steps that are timed, and between two probes of the IOMMU. */
#define TIME_PERIOD		max(HZ / 50, 1)
#define PROBE_PERIOD		max(HZ / 20, 1)

/*
 * So many steps in a row are timed. The first one does not count: it may be the
 * first thing that happens after a while, with nothing in the caches.
 */
#define TIME_BURST		4

/* Probing takes no more than one part in so many of the time. */
#define PROBE_SHARE		256

/*
 * What takes no longer than that depends on whether the code that does it is in
 * the caches, as it is where it is done all the time.
 */
#define PROBE_WARM_NS		4000

/*
 * Of ordinary mappings where all are bounced, a trial is made so often: what it
 * can find is an IOMMU that became faster, and that bouncing goes on where it
 * could stop.
 */
#define ORDINARY_MAPPINGS	8
#define ORDINARY_PERIOD		(30 * HZ)

/*
 * Of bouncing what is ordinary, a trial is made soon, and then less and less
 * often: it takes memory.
 */
#define BOUNCED_MAPPINGS	64
#define BOUNCED_WARM		16
#define BOUNCED_PERIOD_MIN	(HZ / 4)
#define BOUNCED_PERIOD_MAX	(16 * HZ)
#define BOUNCED_TIME		(HZ / 4)

/* No trial of what is likely to take more than so many times as long. */
#define HOPELESS		4

/* So many samples make the first estimate of the IOMMU, lists included. */
#define FIRST_SAMPLES		16

/* The other way must be better by more than one part in so many. */
#define HYSTERESIS		8

static bool first_samples(const struct io_bounce_limit *limit)
{
	return limit->samples < FIRST_SAMPLES;
}

static u64 probe(struct io_bounce_limit *limit, struct device *dev, bool list)
{
	WRITE_ONCE(limit->probes, limit->probes + 1);
	return io_bounce_probe(dev, 1UL << limit->granule_shift, list);
}

/* Time the IOMMU, here and now, of single mappings and of lists in turn. */
static void probe_once(struct io_bounce_limit *limit, struct device *dev)
{
	bool list = limit->samples & 1, first = first_samples(limit);
	struct ewma_io_bounce *average = list ? &limit->map_list : &limit->map;
	u64 ns = probe(limit, dev, list);

	if (!first && ns && ns < PROBE_WARM_NS)
		ns = (probe(limit, dev, list) + probe(limit, dev, list)) / 2;
	/* Wraps round to where the first ones are over. */
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

/* The largest mapping of a class that may be bounced */
static size_t class_bytes(const struct io_bounce_limit *limit,
			  unsigned int class)
{
	return min((size_t)1 << (class + limit->granule_shift), limit->max);
}

/*
 * Up to which size, in bytes, bouncing takes no more than @ns; going on may take
 * @more, beginning must take that much less. What is known of the largest class
 * that pays decides: that smaller ones then pay as well need not be measured.
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

/* What each further place in memory adds to an ordinary mapping, in ns */
static u64 piece_ns(struct io_bounce_limit *limit)
{
	u64 map = ewma_io_bounce_read(&limit->map);
	u64 list = ewma_io_bounce_read(&limit->map_list);

	return list > map ? div_u64(list - map, IO_BOUNCE_PROBE_PIECES - 1) : 0;
}

/*
 * How many bytes more a mapping may have for each further place in memory, so
 * that no class is bounced where that does not pay.
 */
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

/* Return: whether something changed. */
static bool decide(struct io_bounce_limit *limit, enum dma_data_direction dir)
{
	u64 map = ewma_io_bounce_read(&limit->map);
	size_t was = limit->decided[dir], piece;

	/* What we began with is as good as anything until this is known. */
	if (!map)
		return false;

	WRITE_ONCE(limit->decided[dir],
		   pays_up_to(limit, dir, map, map / HYSTERESIS));
	piece = bytes_per_piece(limit, dir, map);
	if (limit->piece[dir] != piece)
		WRITE_ONCE(limit->piece[dir], piece);
	return limit->decided[dir] != was;
}

static void publish(struct io_bounce_limit *limit)
{
	unsigned int dir;

	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		if (limit->bytes[dir] != limit->decided[dir])
			WRITE_ONCE(limit->bytes[dir], limit->decided[dir]);
}

static bool stays_out(const struct io_bounce_limit *limit)
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
	bool was_out = stays_out(limit) && !limit->trial, changed = false;
	unsigned int dir;

	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		changed |= decide(limit, dir);
	WRITE_ONCE(limit->trial, IO_BOUNCE_TRIAL_NONE);
	publish(limit);
	if (changed)
		trace_bounce_limit(mgr->group, limit->decided,
				   ewma_io_bounce_read(&limit->map));
	if (!was_out && stays_out(limit))
		io_buffer_reclaim_soon(mgr, SIZE_MAX);
}

static bool try_busy(struct io_bounce_limit *limit)
{
	return !test_and_set_bit_lock(0, &limit->busy);
}

static void end_busy(struct io_bounce_limit *limit)
{
	clear_bit_unlock(0, &limit->busy);
}

/* All is bounced: have a few ordinary mappings. */
static void start_ordinary(struct io_bounce_limit *limit)
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
 * A mapping is ordinary because of the limit: see what bouncing such mappings
 * takes. What is believed to be without hope becomes less so with time.
 */
static void start_bounced(struct io_bounce_limit *limit, unsigned int class,
			  unsigned int pieces, enum dma_data_direction dir)
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

/*
 * A mapping is an ordinary one because of the limit. The first time that happens
 * to such a mapping, see soon whether it is right.
 */
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
		start_bounced(limit, class, pieces, dir);
	}
}

/**
 * io_bounce_limit_calibrate - make the first estimate of copying
 * @limit: the limit of the domain
 * @granule_shift: log2 of the bytes in the domain's smallest page
 *
 * That of the IOMMU is for the mappings to make that come next.
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
	/* A probe must not show what lies next to the page of zeroes. */
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

/* Time the IOMMU, and see what follows. Not more often than its cost allows. */
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
	/* Who was preempted meanwhile shall not make it wait for long. */
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
 * @size: bytes to be mapped
 * @pieces: places in memory that they lie in; 0: it is not because of the limit
 *	that the mapping is an ordinary one
 * @dir: direction
 *
 * Context: any but NMI.
 * Return: true if io_bounce_limit_calibrate() is wanted.
 */
bool __io_bounce_limit_probe(struct io_bounce_limit *limit, struct device *dev,
			     struct io_buffer_manager *mgr, size_t size,
			     unsigned int pieces, enum dma_data_direction dir)
{
	bool wanted = false;

	/* Others go on, at the same time, with what is measured. */
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
 * @step: what is about to be done
 *
 * Return: what __io_bounce_time_end() is to be given; 0: do not call it.
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
	/* Two CPUs may race: then there is one more, or less. */
	nr = READ_ONCE(limit->burst[step]) + 1;
	/* In a trial every one counts. */
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
	/* The first ones of a trial find fresh memory. */
	if (limit->trial == IO_BOUNCE_TRIAL_BOUNCED &&
	    limit->left > BOUNCED_MAPPINGS - BOUNCED_WARM)
		return;

	io_bounce_cost_step(limit, step, class, dir, ns);
}

/* The end of a trial is for those to bring for whose sake it is made. */
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
		start_ordinary(limit);
}

/**
 * __io_bounce_time_end - the slow part of io_bounce_time_end()
 * @limit: the limit of the domain
 * @mgr: the manager of its buffers
 * @start: of __io_bounce_time_start()
 * @step: what was done
 * @class: with a slot of which class
 * @dir: direction of the mapping
 * @parts: 1, or of how many parts as this one the whole step consists
 */
void __io_bounce_time_end(struct io_bounce_limit *limit,
			  struct io_buffer_manager *mgr, u64 start,
			  enum io_bounce_step step, unsigned int class,
			  enum dma_data_direction dir, unsigned int parts)
{
	u64 ns = io_bounce_since(start) * parts;

	if (!try_busy(limit))
		return;

	/* Somebody may have fixed the limit since io_bounce_time_start(). */
	if (limit->automatic)
		step_done(limit, mgr, step, class, dir, ns);
	end_busy(limit);
}

/**
 * io_bounce_limit_fixed - let a limit be what somebody says
 * @limit: nobody else uses it
 * @bytes: the limit for every direction
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
	publish(limit);
}

/**
 * io_bounce_limit_auto - let a limit set itself
 * @limit: nobody else uses it
 * @start: the limit until something was measured, in bytes; 0: do not bounce
 * @max: never go beyond that
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
	/* What was measured before it was last told what to be still holds. */
	if (limit->calibrated) {
		limit->ordinary_at = jiffies;
		WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_MAP], jiffies);
		WRITE_ONCE(limit->next_time[IO_BOUNCE_STEP_UNMAP], jiffies);
	}
}

/**
 * io_bounce_limit_change - let a limit that is in use be another one
 * @limit: the limit of the domain
 * @automatic: let it set itself
 * @start: as for io_bounce_limit_auto()
 * @max: as for io_bounce_limit_auto(), or the limit if it does not
 *
 * Context: may sleep. Mappings made meanwhile may see some of both.
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
