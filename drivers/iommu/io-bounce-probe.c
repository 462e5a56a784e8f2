// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an ordinary mapping takes, for the limit that sets itself: one is made
 * and undone by the very functions that make those of drivers, so that all that
 * these do counts, and on the CPU where such a mapping is wanted, so that the
 * others who are at work there and at the IOMMU count as well.
 */

#include <kunit/static_stub.h>
#include <linux/dma-mapping.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/timekeeping.h>

#include "io-bounce-limit.h"

/* Ordinary whatever the limit is, and without cache maintenance. */
#define PROBE_ATTRS	(DMA_ATTR_LONG_LIVED | DMA_ATTR_SKIP_CPU_SYNC)

/* The least that reading the clock twice can look like. */
static u32 clock_ns(void)
{
	static u32 least;
	u32 ns = READ_ONCE(least);
	int i;

	if (likely(ns))
		return ns;
	/* Several CPUs may do this: all come to a good value. */
	ns = U32_MAX;
	for (i = 0; i < 8; i++) {
		u64 start = ktime_get_mono_fast_ns();
		u64 now = ktime_get_mono_fast_ns();

		ns = min_t(u64, ns, max(now, start + 1) - start);
	}
	WRITE_ONCE(least, ns);
	return ns;
}

/**
 * io_bounce_since - how long something took
 * @start: ktime_get_mono_fast_ns() before it
 *
 * Context: any.
 * Return: nanoseconds, less those that reading the clock takes.
 */
u64 io_bounce_since(u64 start)
{
	u64 now = ktime_get_mono_fast_ns();
	u64 ns = now > start ? now - start : 0;

	return ns - min_t(u64, ns, clock_ns());
}

static bool map_single(struct device *dev, size_t granule)
{
	dma_addr_t addr = iommu_dma_map_phys(dev, page_to_phys(ZERO_PAGE(0)),
					     granule, DMA_TO_DEVICE,
					     PROBE_ATTRS);

	if (addr == DMA_MAPPING_ERROR)
		return false;
	iommu_dma_unmap_phys(dev, addr, granule, DMA_TO_DEVICE, PROBE_ATTRS);
	return true;
}

static bool map_list(struct device *dev, size_t granule)
{
	struct scatterlist sgl[IO_BOUNCE_PROBE_PIECES];
	int i;

	sg_init_table(sgl, ARRAY_SIZE(sgl));
	/* The same page again and again does not lie behind itself. */
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
 * io_bounce_probe - time an ordinary mapping of zeroes, which @dev may read
 * @dev: the device
 * @granule: bytes in the smallest page of its domain, at most a page
 * @list: map a list of %IO_BOUNCE_PROBE_PIECES granules, not a single one
 *
 * Context: any but NMI.
 * Return: nanoseconds to map and to unmap; 0 where that cannot be done.
 */
u64 io_bounce_probe(struct device *dev, size_t granule, bool list)
{
	u64 start;

	KUNIT_STATIC_STUB_REDIRECT(io_bounce_probe, dev, granule, list);

	start = ktime_get_mono_fast_ns();
	if (!(list ? map_list(dev, granule) : map_single(dev, granule)))
		return 0;
	return max_t(u64, io_bounce_since(start), 1);
}
