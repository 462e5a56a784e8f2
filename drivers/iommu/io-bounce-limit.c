// SPDX-License-Identifier: GPL-2.0-only
/*
 * Up to which size bouncing pays. A domain measures three things, in
 * nanoseconds: what its IOMMU takes to map, unmap and invalidate; what each
 * further place in memory adds to that; and what copying takes, in and out. A
 * mapping is bounced where copying is the cheaper of the two: one copy for what
 * goes to the device, two for what comes from it.
 *
 * How long the IOMMU takes depends on who else uses it. So it is measured in the
 * midst of ordinary mappings, by the CPU that makes one. Where all is bounced
 * there are none; then, at long intervals, a few mappings are ordinary for the
 * sake of the measurement: a trial.
 *
 * Times of measuring are set by the clock, not by the number of mappings, so
 * that its cost has a bound. For the hot path that is one comparison.
 */

#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "io-bounce-limit.h"
#include "io-buffer-manager.h"
#include "iommu-pages.h"

/* Between two copies that are timed, and between two probes of the IOMMU. */
#define COPY_PERIOD		max(HZ / 50, 1)
#define PROBE_PERIOD		max(HZ / 20, 1)

/* Mappings in a trial, and the time from one to the next. */
#define TRIAL_MAPPINGS		16
#define TRIAL_PERIOD		(30 * HZ)

/* A domain's first estimate is made of that many, one after the other. */
#define CALIBRATE_PROBES	16
#define CALIBRATE_COPY		SZ_16K

/*
 * A CPU may be interrupted, or a virtual one not run at all, while it measures.
 * A sample counts for no more than so many times the average.
 */
#define OUTLIER			4

/* Change a limit if it would move by more than one part in so many. */
#define HYSTERESIS		4

/* ewma_io_bounce_add() takes 0 for "nothing yet". */
static void add_sample(struct ewma_io_bounce *average, u64 ns)
{
	unsigned long so_far = ewma_io_bounce_read(average);

	if (so_far)
		ns = min_t(u64, ns, (u64)so_far * OUTLIER);
	ewma_io_bounce_add(average, clamp_t(u64, ns, 1, U32_MAX >> 5));
}

/* The least that reading the clock twice can look like. */
static u64 clock_ns(void)
{
	static u64 least = U64_MAX;
	u64 now = least;
	int i;

	for (i = 0; least == U64_MAX && i < 8; i++) {
		u64 start = ktime_get_mono_fast_ns();

		now = min(now, ktime_get_mono_fast_ns() - start);
	}
	/* Two CPUs may race: both have good values. */
	if (least == U64_MAX)
		WRITE_ONCE(least, now);
	return now;
}

static u64 since(u64 start)
{
	u64 now = ktime_get_mono_fast_ns();
	u64 ns = now > start ? now - start : 0;

	return ns - min(ns, clock_ns());
}

/* IOVA space for a probe: no device will use it, so any will do. */
static unsigned long probe_iova(struct iova_domain *iovad,
				const struct iommu_domain *domain,
				unsigned int pieces)
{
	unsigned long shift = iova_shift(iovad);
	u64 limit = domain->geometry.aperture_end;
	unsigned long pfn;

	pfn = alloc_iova_fast(iovad, pieces,
			      min_t(u64, limit, DMA_BIT_MASK(32)) >> shift,
			      false);
	if (!pfn)
		pfn = alloc_iova_fast(iovad, pieces, limit >> shift, false);
	return pfn;
}

/*
 * Map, unmap and invalidate as dma-iommu does, @pieces granules of the zero
 * page, and see how long that takes; 0 where it cannot be done. A lazy domain
 * does not invalidate then and there, so that is not counted there.
 */
static u64 probe(struct io_buffer_manager *mgr, unsigned int pieces)
{
	size_t granule = 1UL << mgr->granule_shift, mapped = 0;
	struct iommu_domain *domain = mgr->domain;
	bool lazy = domain->type == IOMMU_DOMAIN_DMA_FQ;
	phys_addr_t phys = page_to_phys(ZERO_PAGE(0));
	struct iommu_iotlb_gather gather;
	u64 start, ns = 0;
	dma_addr_t iova;
	unsigned long pfn;

	if (granule > PAGE_SIZE)
		return 0;

	start = ktime_get_mono_fast_ns();
	pfn = probe_iova(mgr->iovad, domain, pieces);
	if (!pfn)
		return 0;
	iova = (dma_addr_t)pfn << mgr->granule_shift;

	while (mapped < pieces * granule &&
	       !iommu_map_nosync(domain, iova + mapped, phys, granule,
				 IOMMU_READ, GFP_ATOMIC))
		mapped += granule;

	if (mapped) {
		bool good = !iommu_sync_map(domain, iova, mapped) &&
			    mapped == pieces * granule;

		iommu_iotlb_gather_init(&gather);
		gather.queued = lazy;
		iommu_unmap_fast(domain, iova, mapped, &gather);
		if (!lazy)
			iommu_iotlb_sync(domain, &gather);
		if (good)
			ns = max_t(u64, since(start), 1);
		/* Only then may addresses and page tables be used again. */
		if (lazy) {
			iommu_flush_iotlb_all(domain);
			iommu_put_pages_list(&gather.freelist);
		}
	}
	free_iova_fast(mgr->iovad, pfn, pieces);
	return ns;
}

static void probe_once(struct io_bounce_limit *limit,
		       struct io_buffer_manager *mgr)
{
	bool list = limit->probes++ & 1;
	u64 ns = probe(mgr, list ? IO_BOUNCE_PROBE_PIECES : 1);

	if (ns)
		add_sample(list ? &limit->map_list : &limit->map, ns);
}

static size_t bytes_copied_in(u64 ns, u64 ns_per_unit)
{
	return min_t(u64, div64_u64(ns * IO_BOUNCE_COPY_UNIT,
				    max_t(u64, ns_per_unit, 1)), SZ_1G);
}

/*
 * Is @new so far from @old that it is worth a change? Less than a granule is
 * not worth having a pool for; to begin takes more than to go on.
 */
static size_t with_hysteresis(size_t old, size_t new, size_t granule)
{
	if (new < granule || (!old && new < granule + granule / HYSTERESIS))
		return 0;
	if (new > old + old / HYSTERESIS || new < old - old / HYSTERESIS)
		return new;
	return old;
}

static void decide(struct io_bounce_limit *limit, enum dma_data_direction dir,
		   u64 ns_per_unit, size_t granule)
{
	u64 map = ewma_io_bounce_read(&limit->map);
	u64 list = ewma_io_bounce_read(&limit->map_list);
	u64 piece = list > map ? (list - map) / (IO_BOUNCE_PROBE_PIECES - 1) : 0;
	size_t bytes = min(bytes_copied_in(map, ns_per_unit), limit->max);

	limit->decided[dir] = with_hysteresis(limit->decided[dir], bytes,
					      granule);
	WRITE_ONCE(limit->piece[dir], bytes_copied_in(piece, ns_per_unit));
}

static void publish(struct io_bounce_limit *limit)
{
	unsigned int dir;

	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		if (limit->bytes[dir] != limit->decided[dir])
			WRITE_ONCE(limit->bytes[dir], limit->decided[dir]);
}

static void decide_all(struct io_bounce_limit *limit,
		       const struct io_buffer_manager *mgr)
{
	u64 in = ewma_io_bounce_read(&limit->copy_in);
	u64 out = ewma_io_bounce_read(&limit->copy_out);
	size_t granule = 1UL << mgr->granule_shift;

	/* A map copies in whatever the direction: see io-bounce-buffers.c */
	decide(limit, DMA_TO_DEVICE, in, granule);
	decide(limit, DMA_FROM_DEVICE, in + out, granule);
	decide(limit, DMA_BIDIRECTIONAL, in + out, granule);
	publish(limit);
}

static bool try_busy(struct io_bounce_limit *limit)
{
	return !test_and_set_bit_lock(0, &limit->busy);
}

static void end_busy(struct io_bounce_limit *limit)
{
	clear_bit_unlock(0, &limit->busy);
}

static void start_trial(struct io_bounce_limit *limit)
{
	unsigned int dir;

	limit->trial = TRIAL_MAPPINGS;
	limit->trials++;
	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		WRITE_ONCE(limit->bytes[dir], 0);
	WRITE_ONCE(limit->next_probe, jiffies);
}

/* See what a device that never was busy can tell: copying, in the cache. */
static u64 copy_in_cache(void)
{
	void *from = kmalloc(CALIBRATE_COPY, GFP_KERNEL | __GFP_NOWARN);
	void *to = kmalloc(CALIBRATE_COPY, GFP_KERNEL | __GFP_NOWARN);
	u64 ns = 0;
	int i;

	for (i = 0; from && to && i < 4; i++) {
		u64 start = ktime_get_mono_fast_ns();

		memcpy(to, from, CALIBRATE_COPY);
		/* The first one brings it into the cache. */
		ns = i > 1 ? min(ns, since(start)) : since(start);
	}
	kfree(from);
	kfree(to);
	return ns * (IO_BOUNCE_COPY_UNIT / CALIBRATE_COPY);
}

/**
 * io_bounce_limit_calibrate - make the first estimate
 * @limit: the limit of the domain
 * @mgr: the manager of its buffers
 *
 * Context: may sleep.
 */
void io_bounce_limit_calibrate(struct io_bounce_limit *limit,
			       struct io_buffer_manager *mgr)
{
	u64 copy;
	int i;

	if (!limit->automatic || limit->calibrated || !try_busy(limit))
		return;

	copy = copy_in_cache();
	if (copy) {
		add_sample(&limit->copy_in, copy);
		add_sample(&limit->copy_out, copy);
		/* The first of each kind finds no page tables. */
		probe(mgr, 1);
		probe(mgr, IO_BOUNCE_PROBE_PIECES);
		for (i = 0; i < CALIBRATE_PROBES; i++)
			probe_once(limit, mgr);
		limit->calibrated = ewma_io_bounce_read(&limit->map);
		if (limit->calibrated)
			decide_all(limit, mgr);
	}
	WRITE_ONCE(limit->trial_at, jiffies + TRIAL_PERIOD);
	WRITE_ONCE(limit->next_copy, jiffies);
	end_busy(limit);
}

/**
 * __io_bounce_limit_probe - the slow part of io_bounce_limit_probe()
 * @limit: the limit of the domain
 * @mgr: the manager of its buffers
 *
 * Context: any but NMI.
 * Return: true if io_bounce_limit_calibrate() is wanted.
 */
bool __io_bounce_limit_probe(struct io_bounce_limit *limit,
			     struct io_buffer_manager *mgr)
{
	bool wanted = false;

	/* Others go on, at the same time, with what is measured. */
	if (!try_busy(limit))
		return false;

	WRITE_ONCE(limit->next_probe, jiffies + PROBE_PERIOD);
	if (!limit->automatic) {
		WRITE_ONCE(limit->next_probe, jiffies + MAX_JIFFY_OFFSET);
	} else if (!limit->calibrated) {
		wanted = true;
	} else {
		probe_once(limit, mgr);
		if (limit->trial && --limit->trial) {
			WRITE_ONCE(limit->next_probe, jiffies);
		} else {
			WRITE_ONCE(limit->trial_at, jiffies + TRIAL_PERIOD);
			decide_all(limit, mgr);
		}
	}
	end_busy(limit);
	return wanted;
}

/**
 * __io_bounce_copy_start - the slow part of io_bounce_copy_start()
 * @limit: the limit of the domain
 * @len: bytes about to be copied
 *
 * Less than a page says more about the call than about copying.
 *
 * Return: what __io_bounce_copy_end() is to be given; 0: do not call it.
 */
u64 __io_bounce_copy_start(struct io_bounce_limit *limit, size_t len)
{
	unsigned long next = READ_ONCE(limit->next_copy);
	unsigned long period = limit->automatic ? COPY_PERIOD :
						  MAX_JIFFY_OFFSET;

	if (cmpxchg(&limit->next_copy, next, jiffies + period) != next ||
	    !limit->automatic || !READ_ONCE(limit->calibrated) ||
	    len < PAGE_SIZE)
		return 0;
	return ktime_get_mono_fast_ns();
}

/**
 * __io_bounce_copy_end - the slow part of io_bounce_copy_end()
 * @limit: the limit of the domain
 * @start: of __io_bounce_copy_start()
 * @len: bytes copied
 * @in: into a slot
 */
void __io_bounce_copy_end(struct io_bounce_limit *limit, u64 start, size_t len,
			  bool in)
{
	u64 ns = div_u64(since(start) * IO_BOUNCE_COPY_UNIT, len);

	if (!try_busy(limit))
		return;

	add_sample(in ? &limit->copy_in : &limit->copy_out, ns);
	if (!limit->trial && time_after_eq(jiffies, limit->trial_at))
		start_trial(limit);
	end_busy(limit);
}

/**
 * io_bounce_limit_fixed - let a limit be what somebody says
 * @limit: zeroed memory
 * @bytes: the limit for every direction
 */
void io_bounce_limit_fixed(struct io_bounce_limit *limit, size_t bytes)
{
	unsigned int dir;

	limit->automatic = false;
	limit->max = bytes;
	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++)
		limit->decided[dir] = bytes;
	limit->next_copy = jiffies + MAX_JIFFY_OFFSET;
	limit->next_probe = jiffies + MAX_JIFFY_OFFSET;
	publish(limit);
}

/**
 * io_bounce_limit_auto - let a limit set itself
 * @limit: zeroed memory
 * @start: the limit until something was measured, in bytes; 0: do not bounce
 * @max: never go beyond that
 */
void io_bounce_limit_auto(struct io_bounce_limit *limit, size_t start,
			  size_t max)
{
	io_bounce_limit_fixed(limit, min(start, max));
	limit->automatic = true;
	limit->max = max;
	limit->next_probe = jiffies;
}
