// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the bounce layer.
 */

#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/dma-map-ops.h>
#include <linux/io.h>
#include <linux/pm_runtime.h>
#include <linux/prandom.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "../io-bounce-internal.h"
#include "mock-domain.h"

#define GUARD	0xee
#define STALE	0x5a
#define LIMIT	SZ_64K

/**
 * struct bounce_test - what each test starts with
 * @fake: the domain
 * @bounce: its bounce buffers
 * @iommu: what @dev says of its IOMMU
 * @dev: a device
 * @mask: its DMA mask
 * @pages: four pages, filled with GUARD
 */
struct bounce_test {
	struct mock_domain *fake;
	struct io_bounce *bounce;
	struct dev_iommu iommu;
	struct device *dev;
	u64 mask;
	u8 *pages;
};

static int bounce_test_init(struct kunit *test)
{
	struct bounce_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = mock_domain_create(test);
	t->bounce = kunit_kzalloc(test, sizeof(*t->bounce), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce);
	t->dev = kunit_device_register(test, "bounce");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->dev));
	t->iommu.bounce = t->bounce;
	t->dev->iommu = &t->iommu;
	t->mask = DMA_BIT_MASK(64);
	t->dev->dma_mask = &t->mask;
	dev_set_dma_skip_sync(t->dev);
	dev_set_dma_strict_ownership(t->dev);
	io_bounce_setup(t->bounce, dev_is_dma_coherent(t->dev),
			&t->fake->domain, &t->fake->iovad, SZ_16M);
	/* Whatever the parameters say; the other suite lets it move. */
	io_bounce_set_mode(t->bounce, BOUNCE_ON, LIMIT);
	t->pages = (u8 *)__get_free_pages(GFP_KERNEL, 2);
	KUNIT_ASSERT_NOT_NULL(test, t->pages);
	memset(t->pages, GUARD, 4 * PAGE_SIZE);
	return 0;
}

static void bounce_test_exit(struct kunit *test)
{
	struct bounce_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, io_buffer_manager_used(&t->bounce->mgr), 0);
	t->dev->iommu = NULL;
	io_bounce_teardown(t->bounce);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	mock_domain_destroy(t->fake);
	free_pages((unsigned long)t->pages, 2);
}

static void settle(struct bounce_test *t)
{
	flush_work(&t->bounce->work);
	flush_work(&t->bounce->mgr.work);
}

/* Map, if need be twice: the first miss makes the pool. */
static dma_addr_t map(struct bounce_test *t, void *p, size_t size,
		      enum dma_data_direction dir)
{
	dma_addr_t addr;

	addr = __io_bounce_map(t->dev, virt_to_phys(p), size, dir, 0,
			       t->bounce);
	if (addr != DMA_MAPPING_ERROR)
		return addr;
	settle(t);
	return __io_bounce_map(t->dev, virt_to_phys(p), size, dir, 0,
			       t->bounce);
}

static void sync_for_cpu(struct bounce_test *t, dma_addr_t addr, size_t size,
			 enum dma_data_direction dir)
{
	io_bounce_sync(t->dev, addr, size, dir, true, t->bounce);
}

static void sync_for_device(struct bounce_test *t, dma_addr_t addr, size_t size,
			    enum dma_data_direction dir)
{
	io_bounce_sync(t->dev, addr, size, dir, false, t->bounce);
}

static u8 *seen_by_device(struct bounce_test *t, dma_addr_t addr)
{
	return mock_domain_vaddr(t->fake, addr);
}

static void bounce_first_map_misses(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr;

	addr = __io_bounce_map(t->dev, virt_to_phys(t->pages), 100,
			       DMA_TO_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_EQ(test, addr, DMA_MAPPING_ERROR);
	settle(t);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->bounce->early[IO_BOUNCE_MISS_EMPTY]),
			1);
	KUNIT_EXPECT_TRUE(test, dev_dma_skip_sync(t->dev));
}

static void bounce_to_device(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	u8 *p = t->pages + 300;
	dma_addr_t addr;

	memset(p, 1, 100);
	addr = map(t, p, 100, DMA_TO_DEVICE);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, addr & (SZ_4K - 1), offset_in_page(p));
	KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, addr), IOMMU_READ);
	KUNIT_EXPECT_MEMEQ(test, seen_by_device(t, addr), p, 100);
	/* Not a byte of what lies next to it, though in the same granule. */
	KUNIT_EXPECT_EQ(test, seen_by_device(t, addr)[-1], 0);
	KUNIT_EXPECT_EQ(test, seen_by_device(t, addr)[100], 0);
	KUNIT_EXPECT_FALSE(test, dev_dma_skip_sync(t->dev));

	/* Nothing is copied back. */
	memset(p, 2, 100);
	io_bounce_unmap(t->dev, addr, 100, DMA_TO_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 2, 100));
}

static void bounce_from_device_short_write(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	u8 *p = t->pages + 100;
	dma_addr_t addr;

	/* An earlier transfer leaves bytes in the slot. */
	addr = map(t, p, 2000, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	memset(seen_by_device(t, addr), STALE, 2000);
	io_bounce_unmap(t->dev, addr, 2000, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, STALE, 2000));

	memset(p, 7, 2000);
	addr = map(t, p, 2000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, addr), IOMMU_WRITE);
	memset(seen_by_device(t, addr), 8, 500);
	io_bounce_unmap(t->dev, addr, 2000, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 8, 500));
	KUNIT_EXPECT_NULL(test, memchr_inv(p + 500, 7, 1500));
	KUNIT_EXPECT_EQ(test, p[-1], GUARD);
	KUNIT_EXPECT_EQ(test, p[2000], GUARD);
}

static void bounce_bidirectional_syncs(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	u8 *dev, *p = t->pages;
	dma_addr_t addr;

	addr = map(t, p, 3 * SZ_4K, DMA_BIDIRECTIONAL);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, addr),
			IOMMU_READ | IOMMU_WRITE);
	dev = seen_by_device(t, addr);

	memset(p, 1, 3 * SZ_4K);
	sync_for_device(t, addr + 4000, 200,
			DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, dev[3999], GUARD);
	KUNIT_EXPECT_NULL(test, memchr_inv(dev + 4000, 1, 200));
	KUNIT_EXPECT_EQ(test, dev[4200], GUARD);

	memset(dev, 2, 3 * SZ_4K);
	sync_for_cpu(t, addr + 5000, 10,
		     DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, p[4999], 1);
	KUNIT_EXPECT_NULL(test, memchr_inv(p + 5000, 2, 10));
	KUNIT_EXPECT_EQ(test, p[5010], 1);

	io_bounce_unmap(t->dev, addr, 3 * SZ_4K, DMA_BIDIRECTIONAL,
			DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
	KUNIT_EXPECT_EQ(test, p[0], 1);
}

static void bounce_sync_for_device_keeps_what_the_device_wrote(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr = map(t, t->pages, 100, DMA_FROM_DEVICE);

	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	memset(seen_by_device(t, addr), 3, 100);
	sync_for_device(t, addr, 100,
			DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, *seen_by_device(t, addr), 3);
	io_bounce_unmap(t->dev, addr, 100, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_EQ(test, t->pages[0], 3);
}

/* A driver that gives too large a size must not hit its neighbours' memory. */
static void bounce_wrong_size_stays_within_the_mapping(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	u8 *p = t->pages + 64;
	dma_addr_t addr = map(t, p, 100, DMA_FROM_DEVICE);

	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	memset(seen_by_device(t, addr) - 64, STALE, 400);
	io_bounce_unmap(t->dev, addr, 300, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, STALE, 100));
	KUNIT_EXPECT_EQ(test, p[-1], GUARD);
	KUNIT_EXPECT_EQ(test, p[100], GUARD);
}

static void destroy_domain(void *data)
{
	struct bounce_test *t = data;

	io_bounce_teardown(t->bounce);
	mock_domain_destroy(t->fake);
}

/* One more domain, with bounce buffers of its own; gone when the test is over. */
static void create_domain(struct kunit *test, struct bounce_test *t)
{
	*t = *(struct bounce_test *)test->priv;
	t->fake = mock_domain_create(test);
	t->bounce = kunit_kzalloc(test, sizeof(*t->bounce), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce);
	io_bounce_setup(t->bounce, dev_is_dma_coherent(t->dev),
			&t->fake->domain, &t->fake->iovad, SZ_16M);
	io_bounce_set_mode(t->bounce, BOUNCE_ON, LIMIT);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, destroy_domain, t),
			0);
}

static void use_once(struct kunit *test, struct bounce_test *t, size_t size,
		     enum dma_data_direction dir)
{
	dma_addr_t addr = map(t, t->pages, size, dir);

	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	io_bounce_unmap(t->dev, addr, size, dir, 0, t->bounce);
	KUNIT_EXPECT_EQ(test, t->bounce->mgr.memory, SZ_64K);
}

/* Let the period that is watched end. */
static void age(struct bounce_test *t)
{
	struct delayed_work *work = &t->bounce->mgr.age_work;

	mod_delayed_work(system_freezable_wq, work, 0);
	/* Not flush_delayed_work(): the work may have queued itself again. */
	flush_work(&work->work);
}

#define NR_DOMAINS	256

/* As on a machine with many devices, each of which was used for once. */
static void bounce_many_domains_fall_idle(struct kunit *test)
{
	struct bounce_test *domains;
	unsigned int i;

	domains = kunit_kcalloc(test, NR_DOMAINS, sizeof(*domains), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, domains);
	for (i = 0; i < NR_DOMAINS; i++) {
		create_domain(test, &domains[i]);
		use_once(test, &domains[i], SZ_4K << i % 3, i % 3);
	}
	/* The first period ends, in which all were used, and then the next. */
	for (i = 0; i < 2 * NR_DOMAINS; i++)
		age(&domains[i % NR_DOMAINS]);

	for (i = 0; i < NR_DOMAINS; i++) {
		struct io_buffer_manager *mgr = &domains[i].bounce->mgr;

		KUNIT_EXPECT_EQ(test, mgr->memory, 0);
		KUNIT_EXPECT_EQ(test, mgr->nr_chunks, 0);
		KUNIT_EXPECT_EQ(test, domains[i].fake->mapped, 0);
		/* Nor is anybody woken for them. */
		KUNIT_EXPECT_FALSE(test, delayed_work_pending(&mgr->age_work));
	}
}

static void bounce_unmap_twice_is_harmless(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr = map(t, t->pages, 100, DMA_FROM_DEVICE);

	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	io_bounce_unmap(t->dev, addr, 100, DMA_FROM_DEVICE, 0, t->bounce);
	memset(t->pages, 9, 100);
	io_bounce_unmap(t->dev, addr, 100, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 9, 100));

	/* Nor when there is no slot any more */
	KUNIT_EXPECT_GT(test, io_buffer_shrink(SIZE_MAX), 0);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	rcu_barrier();
	KUNIT_EXPECT_TRUE(test, io_bounce_unmap(t->dev, addr, 100,
						DMA_FROM_DEVICE, 0, t->bounce));
	sync_for_cpu(t, addr, 100, DMA_FROM_DEVICE);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 9, 100));
}

/* A driver that unmaps with too small a length loses nothing. */
/* What the device could not write is not copied, in whichever direction it is unmapped. */
static void bounce_unmap_in_another_direction(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr;
	int i;

	/* The first round is before there are counters, which is another path. */
	for (i = 0; i < 2; i++) {
		addr = map(t, t->pages, 100, DMA_TO_DEVICE);
		KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
		memset(t->pages, i, 100);
		io_bounce_unmap(t->dev, addr, 100, DMA_FROM_DEVICE, 0, t->bounce);
		KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, i, 100));
		settle(t);
		KUNIT_ASSERT_NOT_NULL(test, (void __force *)t->bounce->stats);
	}
}

static void bounce_short_unmap_copies_all(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr = map(t, t->pages, 100, DMA_FROM_DEVICE);

	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	memset(seen_by_device(t, addr), 7, 100);
	io_bounce_unmap(t->dev, addr, 60, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 7, 100));
	KUNIT_EXPECT_EQ(test, t->pages[100], GUARD);
}

static bool allowed(struct bounce_test *t, size_t size, unsigned long attrs)
{
	return !io_bounce_too_large(t->bounce, size, DMA_TO_DEVICE) &&
	       io_bounce_eligible(t->bounce, t->dev, attrs) &&
	       io_bounce_get_way(&t->bounce->limit, size, 1, DMA_TO_DEVICE) !=
	       IO_BOUNCE_DIRECT;
}

static void bounce_policy(struct kunit *test)
{
	static const unsigned long not_bounced[] = {
		DMA_ATTR_MMIO, DMA_ATTR_REQUIRE_COHERENT, DMA_ATTR_CC_SHARED,
		DMA_ATTR_PRIVILEGED, DMA_ATTR_SKIP_CPU_SYNC,
		DMA_ATTR_LONG_LIVED,
	};
	struct bounce_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(not_bounced); i++)
		KUNIT_EXPECT_FALSE(test, allowed(t, 100, not_bounced[i]));
	KUNIT_EXPECT_FALSE(test, allowed(t, 0, 0));
	KUNIT_EXPECT_TRUE(test, allowed(t, 1, 0));
	KUNIT_EXPECT_TRUE(test, allowed(t, LIMIT, DMA_ATTR_NO_WARN));
	KUNIT_EXPECT_FALSE(test, allowed(t, LIMIT + 1, 0));
}

/* Drivers that do not promise are left alone, and named; force overrides. */
static void bounce_asks_for_the_promise(struct kunit *test)
{
	struct bounce_test *t = test->priv;

	dev_clear_dma_strict_ownership(t->dev);
	KUNIT_EXPECT_FALSE(test, allowed(t, 100, 0));
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce,
						IO_BOUNCE_DIRECT_UNPROMISED), 1);
	flush_work(&t->bounce->work);
	KUNIT_EXPECT_TRUE(test, t->bounce->reported);
	KUNIT_EXPECT_NULL(test, t->bounce->unpromised);

	io_bounce_set_mode(t->bounce, BOUNCE_AUTO, 0);
	KUNIT_EXPECT_FALSE(test, allowed(t, 100, 0));
	flush_work(&t->bounce->work);
	KUNIT_EXPECT_FALSE(test, allowed(t, 100, 0));
	/* What it would cost is not measured either. */
	KUNIT_EXPECT_TRUE(test, !t->bounce->limit.measure ||
			  !t->bounce->limit.measure->window.open);

	io_bounce_set_mode(t->bounce, BOUNCE_FORCE, 0);
	KUNIT_EXPECT_TRUE(test, allowed(t, 100, 0));
	KUNIT_EXPECT_TRUE(test, allowed(t, IO_BUFFER_MAX_SLOT, 0));
	KUNIT_EXPECT_FALSE(test, allowed(t, 100, DMA_ATTR_LONG_LIVED));
	KUNIT_EXPECT_FALSE(test, allowed(t, 100, DMA_ATTR_SKIP_CPU_SYNC));
	io_bounce_set_mode(t->bounce, BOUNCE_FORCE, SZ_4K);
	KUNIT_EXPECT_FALSE(test, allowed(t, SZ_4K + 1, 0));

	io_bounce_set_mode(t->bounce, BOUNCE_ON, LIMIT);
	KUNIT_EXPECT_FALSE(test, allowed(t, 100, 0));
	/* Mandatory bounces do not ask. */
	KUNIT_EXPECT_TRUE(test, io_bounce_supported(t->bounce, t->dev, 0));
	dev_set_dma_strict_ownership(t->dev);
	KUNIT_EXPECT_TRUE(test, allowed(t, 100, 0));
}

/* Without SWIOTLB, nothing is to be mapped as if it were bounced then. */
static void bounce_can_be_switched_off(struct kunit *test)
{
	struct bounce_test *t = test->priv;

	KUNIT_EXPECT_TRUE(test, io_bounce_active(t->bounce));
	io_bounce_set_mode(t->bounce, BOUNCE_OFF, 0);
	KUNIT_EXPECT_FALSE(test, io_bounce_active(t->bounce));
	KUNIT_EXPECT_FALSE(test, io_bounce_supported(t->bounce, t->dev, 0));
	KUNIT_EXPECT_FALSE(test, allowed(t, 100, 0));
	KUNIT_EXPECT_FALSE(test, io_bounce_active(NULL));
}

/* A driver that sets its DMA mask again may have bounced mappings. */
static void bounce_keeps_syncing(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr;

	if (!IS_ENABLED(CONFIG_DMA_NEED_SYNC))
		kunit_skip(test, "nothing is synced");
	addr = map(t, t->pages, 100, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_FALSE(test, dev_dma_skip_sync(t->dev));
	KUNIT_EXPECT_EQ(test, dma_set_mask(t->dev, DMA_BIT_MASK(64)), 0);
	KUNIT_EXPECT_FALSE(test, dev_dma_skip_sync(t->dev));
	io_bounce_unmap(t->dev, addr, 100, DMA_FROM_DEVICE, 0, t->bounce);
}

/* Map, if need be twice: the first miss makes the pool. */
static int map_sg(struct bounce_test *t, struct scatterlist *sg, int nents,
		  enum dma_data_direction dir)
{
	int count = __io_bounce_map_sg(t->dev, sg, nents, dir, 0, t->bounce);

	if (count)
		return count;
	settle(t);
	return __io_bounce_map_sg(t->dev, sg, nents, dir, 0, t->bounce);
}

/* Three entries with odd offsets, in the wrong order, one over two pages. */
static dma_addr_t map_list(struct kunit *test, struct scatterlist *sg)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr;

	sg_init_table(sg, 3);
	sg_set_buf(&sg[0], t->pages + 3 * SZ_4K + 17, 100);
	sg_set_buf(&sg[1], t->pages + 4000, 1000);
	sg_set_buf(&sg[2], t->pages + 2 * SZ_4K + 1500, 33);
	KUNIT_ASSERT_EQ(test, map_sg(t, sg, 3, DMA_BIDIRECTIONAL), 3);
	addr = sg_dma_address(&sg[0]) - 17;
	KUNIT_EXPECT_EQ(test, addr & (SZ_4K - 1), 0);
	KUNIT_EXPECT_EQ(test, sg_dma_address(&sg[1]), addr + SZ_4K + 4000);
	KUNIT_EXPECT_EQ(test, sg_dma_address(&sg[2]), addr + 3 * SZ_4K + 1500);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[0]), 100);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[1]), 1000);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[2]), 33);
	return addr;
}

static bool unmap_list(struct bounce_test *t, struct scatterlist *sg)
{
	return __io_bounce_unmap_sg(t->dev, sg, 3, DMA_BIDIRECTIONAL,
				    DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
}

static int map_four(struct bounce_test *t, struct scatterlist *sg)
{
	unsigned int i;

	sg_init_table(sg, 4);
	for (i = 0; i < 4; i++)
		sg_set_buf(&sg[i], t->pages + (3 - i) * SZ_4K, SZ_4K);
	return map_sg(t, sg, 4, DMA_TO_DEVICE);
}

/* A short list may need more room than the largest slot has. */
static void bounce_list_is_too_spread_out(struct kunit *test)
{
	unsigned int i, nents = IO_BUFFER_MAX_SLOT / SZ_4K + 2;
	struct bounce_test *t = test->priv;
	struct scatterlist *s;
	struct sg_table sgt;

	KUNIT_ASSERT_EQ(test, sg_alloc_table(&sgt, nents, GFP_KERNEL), 0);
	for_each_sg(sgt.sgl, s, nents, i)
		sg_set_buf(s, t->pages + i, 1);
	KUNIT_EXPECT_EQ(test, __io_bounce_map_sg(t->dev, sgt.sgl, nents,
						 DMA_TO_DEVICE, 0,
						 t->bounce), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce,
						IO_BOUNCE_MISS_SIZE), 1);
	sg_free_table(&sgt);
}

/* The device gets the segments that it would get of a direct mapping. */
static void bounce_list_has_its_segments(struct kunit *test)
{
	struct device_dma_parameters parms = {};
	struct bounce_test *t = test->priv;
	struct scatterlist sg[4];
	dma_addr_t addr;
	unsigned int i;

	t->dev->dma_parms = &parms;
	KUNIT_EXPECT_EQ(test, map_four(t, sg), 1);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[0]), SZ_16K);
	for (i = 1; i < 4; i++)
		KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[i]), 0);
	__io_bounce_unmap_sg(t->dev, sg, 4, DMA_TO_DEVICE, 0, t->bounce);

	parms.max_segment_size = 3 * SZ_4K;
	KUNIT_EXPECT_EQ(test, map_four(t, sg), 2);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[0]), 3 * SZ_4K);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[1]), SZ_4K);
	__io_bounce_unmap_sg(t->dev, sg, 4, DMA_TO_DEVICE, 0, t->bounce);

	parms.max_segment_size = 0;
	parms.segment_boundary_mask = SZ_8K - 1;
	KUNIT_EXPECT_EQ(test, map_four(t, sg), 2);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[0]), SZ_8K);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[1]), SZ_8K);
	__io_bounce_unmap_sg(t->dev, sg, 4, DMA_TO_DEVICE, 0, t->bounce);

	/* The second entry does not fit before the boundary. */
	sg_init_table(sg, 2);
	sg_set_buf(&sg[0], t->pages, 100);
	sg_set_buf(&sg[1], t->pages + 2 * SZ_4K, SZ_8K);
	KUNIT_EXPECT_EQ(test, map_sg(t, sg, 2, DMA_TO_DEVICE), 2);
	addr = sg_dma_address(&sg[0]);
	KUNIT_EXPECT_EQ(test, sg_dma_address(&sg[1]), addr + SZ_8K);
	KUNIT_EXPECT_MEMEQ(test, seen_by_device(t, addr + SZ_8K),
			   t->pages + 2 * SZ_4K, SZ_8K);
	__io_bounce_unmap_sg(t->dev, sg, 2, DMA_TO_DEVICE, 0, t->bounce);
	t->dev->dma_parms = NULL;
}

/* A sync with too large a length leaves alone what lies around an entry. */
static void bounce_list_keeps_to_its_entries(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	u8 *p[3] = { t->pages + 3 * SZ_4K + 17, t->pages + 4000,
		     t->pages + 2 * SZ_4K + 1500 };
	size_t len[3] = { 100, 1000, 33 };
	struct scatterlist sg[3];
	unsigned int i;

	map_list(test, sg);
	for (i = 0; i < 3; i++) {
		u8 *seen = seen_by_device(t, sg_dma_address(&sg[i]));

		memset(seen - 17, 7, 17);
		memset(seen, 7, len[i] + 200);
		sync_for_cpu(t,
			     sg_dma_address(&sg[i]) - 17,
			     len[i] + 217, DMA_BIDIRECTIONAL);
		KUNIT_EXPECT_NULL(test, memchr_inv(p[i], 7, len[i]));
		KUNIT_EXPECT_NULL(test, memchr_inv(p[i] - 17, GUARD, 17));
		KUNIT_EXPECT_NULL(test, memchr_inv(p[i] + len[i], GUARD, 200));
	}
	unmap_list(t, sg);
}

static void bounce_list(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	u8 *p[3] = { t->pages + 3 * SZ_4K + 17, t->pages + 4000,
		     t->pages + 2 * SZ_4K + 1500 };
	size_t len[3] = { 100, 1000, 33 };
	struct scatterlist sg[3];
	unsigned int i;

	for (i = 0; i < 3; i++)
		memset(p[i], i + 1, len[i]);
	map_list(test, sg);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_MEMEQ(test,
				   seen_by_device(t, sg_dma_address(&sg[i])),
				   p[i], len[i]);
	/* One slot holds it all. */
	KUNIT_EXPECT_EQ(test, io_buffer_manager_used(&t->bounce->mgr), 1);

	for (i = 0; i < 3; i++)
		memset(seen_by_device(t, sg_dma_address(&sg[i])), 10 + i,
		       len[i]);
	/* A single sync within the list finds its way without the list. */
	sync_for_cpu(t,
		     sg_dma_address(&sg[1]) + 90, 20,
		     DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, p[1][89], 2);
	KUNIT_EXPECT_NULL(test, memchr_inv(p[1] + 90, 11, 20));
	KUNIT_EXPECT_EQ(test, p[1][110], 2);

	__io_bounce_sync_sg(t->dev, sg, 3, DMA_BIDIRECTIONAL, true, t->bounce);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_NULL(test, memchr_inv(p[i], 10 + i, len[i]));
		KUNIT_EXPECT_EQ(test, p[i][-1], GUARD);
		KUNIT_EXPECT_EQ(test, p[i][len[i]], GUARD);
	}

	for (i = 0; i < 3; i++)
		memset(p[i], 20 + i, len[i]);
	__io_bounce_sync_sg(t->dev, sg, 3, DMA_BIDIRECTIONAL, false, t->bounce);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_MEMEQ(test,
				   seen_by_device(t, sg_dma_address(&sg[i])),
				   p[i], len[i]);

	memset(seen_by_device(t, sg_dma_address(&sg[2])), 99, 33);
	__io_bounce_sync_sg(t->dev, sg, 3, DMA_BIDIRECTIONAL, true, t->bounce);
	KUNIT_EXPECT_TRUE(test, unmap_list(t, sg));
	KUNIT_EXPECT_EQ(test, io_buffer_manager_used(&t->bounce->mgr), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(p[2], 99, 33));
	KUNIT_EXPECT_EQ(test, p[2][33], GUARD);
}

/* The sum of the lengths is beyond 32 bits. */
/* Drivers that unmap a list by the address of its first segment lose no data. */
static void bounce_list_unmapped_as_a_buffer(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	struct scatterlist sg[2];
	dma_addr_t addr;

	sg_init_table(sg, 2);
	sg_set_buf(&sg[0], t->pages, 100);
	sg_set_buf(&sg[1], t->pages + SZ_8K, 200);
	KUNIT_ASSERT_EQ(test, map_sg(t, sg, 2, DMA_FROM_DEVICE), 2);
	addr = sg_dma_address(&sg[0]);
	memset(seen_by_device(t, addr), 1, 100);
	memset(seen_by_device(t, sg_dma_address(&sg[1])), 2, 200);
	io_bounce_unmap(t->dev, addr, 100, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 1, 100));
	KUNIT_EXPECT_EQ(test, t->pages[100], GUARD);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages + SZ_8K, 2, 200));
	KUNIT_EXPECT_EQ(test, t->pages[SZ_8K + 200], GUARD);
}

static void bounce_list_is_too_long(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	struct scatterlist sg[3];
	unsigned int i;

	sg_init_table(sg, ARRAY_SIZE(sg));
	for (i = 0; i < ARRAY_SIZE(sg); i++)
		sg_set_buf(&sg[i], t->pages, i ? 1U << 31 : SZ_4K);
	io_bounce_set_mode(t->bounce, BOUNCE_FORCE, IO_BUFFER_MAX_SLOT);
	KUNIT_EXPECT_EQ(test, map_sg(t, sg, ARRAY_SIZE(sg), DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, t->fake->maps, 0);
}

/* As on arm64 with pages of 64 KiB: each entry begins in a granule of that size. */
static void bounce_large_granule(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	struct scatterlist sg[3];
	size_t at[3], offset;
	dma_addr_t addr;
	unsigned int i;

	t->bounce->mgr.granule_shift = ilog2(SZ_64K);
	t->bounce->mgr.granule_mask = SZ_64K - 1;
	io_bounce_set_mode(t->bounce, BOUNCE_ON, SZ_256K);

	offset = virt_to_phys(t->pages + 5) & (SZ_64K - 1);
	memset(t->pages, 1, SZ_16K);
	addr = map(t, t->pages + 5, SZ_8K, DMA_BIDIRECTIONAL);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, addr & (SZ_64K - 1), offset);
	KUNIT_EXPECT_MEMEQ(test, seen_by_device(t, addr), t->pages + 5, SZ_8K);
	io_bounce_unmap(t->dev, addr, SZ_8K, DMA_BIDIRECTIONAL, 0, t->bounce);

	sg_init_table(sg, 3);
	for (i = 0; i < 3; i++) {
		memset(t->pages + i * SZ_4K, i + 2, SZ_4K);
		sg_set_page(&sg[i], virt_to_page(t->pages), SZ_4K - i, i * SZ_4K);
		at[i] = i * (SZ_64K + SZ_4K);
	}
	KUNIT_ASSERT_EQ(test, map_sg(t, sg, 3, DMA_BIDIRECTIONAL), 3);
	addr = sg_dma_address(&sg[0]) - at[0];
	KUNIT_EXPECT_TRUE(test, IS_ALIGNED(addr, SZ_256K));
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, sg_dma_address(&sg[i]), addr + at[i]);
		KUNIT_EXPECT_NULL(test, memchr_inv(seen_by_device(t, addr + at[i]),
						   i + 2, SZ_4K - i));
		memset(seen_by_device(t, addr + at[i]), i + 12, SZ_4K - i);
	}
	__io_bounce_sync_sg(t->dev, sg, 3, DMA_BIDIRECTIONAL, true, t->bounce);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_NULL(test, memchr_inv(t->pages + i * SZ_4K, i + 12,
						   SZ_4K - i));
	unmap_list(t, sg);
}

/* What is left of a domain that is idle: see the documentation. */
static void bounce_idle_domain_is_small(struct kunit *test)
{
	size_t own = sizeof(struct io_bounce);
	size_t each_cpu = sizeof(struct io_bounce_stats);

	kunit_info(test, "%zu bytes and %zu for each CPU\n", own, each_cpu);
	if (IS_ENABLED(CONFIG_LOCKDEP) || IS_ENABLED(CONFIG_DEBUG_OBJECTS) ||
	    IS_ENABLED(CONFIG_IOMMU_BOUNCE_CHECK))
		kunit_skip(test, "debugging makes domains, locks and timers larger");
	KUNIT_EXPECT_LE(test, own, SZ_1K);
	KUNIT_EXPECT_LE(test, each_cpu, 128);
}

static bool start_state(struct bounce_test *t, struct dma_iova_state *state,
			phys_addr_t phys, size_t size)
{
	int tries;

	for (tries = 0; tries < 2; tries++) {
		*state = (struct dma_iova_state) {};
		if (__io_bounce_iova_alloc(t->bounce, t->dev, state, phys, size,
					   2, DMA_FROM_DEVICE, 0))
			return true;
		settle(t);
	}
	return false;
}

static void bounce_iova(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	phys_addr_t phys = virt_to_phys(t->pages);
	struct dma_iova_state state;
	u8 *dev;

	KUNIT_ASSERT_TRUE(test, start_state(t, &state, phys + 512, 8192 - 512));
	KUNIT_EXPECT_EQ(test, dma_iova_size(&state), 8192 - 512);
	KUNIT_EXPECT_EQ(test, state.addr & (SZ_4K - 1), 512);

	/* The pages in the wrong order */
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state,
						  phys + 2 * SZ_4K + 512, 0,
						  SZ_4K - 512, DMA_FROM_DEVICE,
						  0), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys,
						  SZ_4K - 512, SZ_4K,
						  DMA_FROM_DEVICE, 0), 0);
	dev = seen_by_device(t, state.addr);
	KUNIT_EXPECT_EQ(test, dev[0], GUARD);
	memset(dev, 1, SZ_4K - 512);
	memset(dev + SZ_4K - 512, 2, 1000);

	io_bounce_iova_unlink(t->dev, &state, 0, 8192 - 512, DMA_FROM_DEVICE,
			      0);
	io_bounce_iova_free(t->dev, &state);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages + 2 * SZ_4K + 512, 1,
					   SZ_4K - 512));
	KUNIT_EXPECT_EQ(test, t->pages[2 * SZ_4K + 511], GUARD);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 2, 1000));
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages + 1000, GUARD,
					   2 * SZ_4K - 1000));
}

static void bounce_iova_errors(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	phys_addr_t phys = virt_to_phys(t->pages);
	struct dma_iova_state state;

	KUNIT_ASSERT_TRUE(test, start_state(t, &state, phys, SZ_8K));
	/* Not where a granule starts; beyond the end */
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 100,
						  100, DMA_FROM_DEVICE,
						  0), -EINVAL);
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, SZ_8K,
						  SZ_4K, DMA_FROM_DEVICE,
						  0), -EINVAL);
	/* Another direction; memory that cannot be copied */
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0,
							  SZ_4K, DMA_TO_DEVICE,
							  0), -EINVAL);
		KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0,
							  SZ_4K, DMA_BIDIRECTIONAL,
							  0), -EINVAL);
		KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0,
							  SZ_4K, DMA_FROM_DEVICE,
							  DMA_ATTR_MMIO), -EOPNOTSUPP);
	}
	/* What was never linked is not copied anywhere. */
	io_bounce_iova_unlink(t->dev, &state, 0, SZ_8K, DMA_FROM_DEVICE, 0);
	io_bounce_iova_free(t->dev, &state);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, GUARD, 4 * SZ_4K));

	/* Without a direction there is no slot. */
	KUNIT_EXPECT_FALSE(test, __io_bounce_iova_alloc(t->bounce, t->dev, &state,
							phys, SZ_8K, 2, DMA_NONE,
							0));
}

/* What is not linked is not written, also in a state of one granule. */
static void bounce_iova_partly_linked(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	phys_addr_t phys = virt_to_phys(t->pages);
	struct dma_iova_state state;
	unsigned int pages;

	for (pages = 1; pages <= 2; pages++) {
		memset(t->pages, GUARD, 4 * SZ_4K);
		KUNIT_ASSERT_TRUE(test, start_state(t, &state, phys, pages * SZ_4K));
		KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0, 512,
							  DMA_FROM_DEVICE, 0), 0);
		/* Not where a granule starts, in the memory or in the state */
		kunit_warning_suppress(test)
			KUNIT_EXPECT_EQ(test,
					io_bounce_iova_link(t->dev, &state,
							    phys + SZ_4K + 512, 512, 512,
							    DMA_FROM_DEVICE, 0), -EIO);
		KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state,
							  phys + SZ_4K, 512, 512,
							  DMA_FROM_DEVICE, 0), -EINVAL);
		memset(seen_by_device(t, state.addr), 7, pages * SZ_4K);
		io_bounce_iova_destroy(t->dev, &state, DMA_FROM_DEVICE, 0);
		KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 7, 512));
		KUNIT_EXPECT_NULL(test, memchr_inv(t->pages + 512, GUARD,
						   4 * SZ_4K - 512));
	}
}

#define STATE_PAGES	8

/* Link or unlink some pages, and note in @owner which page each one of the slot has. */
static void change_state(struct kunit *test, struct dma_iova_state *state,
			 struct rnd_state *rnd, phys_addr_t phys, s8 *owner)
{
	unsigned int first = prandom_u32_state(rnd) % STATE_PAGES;
	unsigned int nr = prandom_u32_state(rnd) % (STATE_PAGES - first) + 1;
	unsigned int page = prandom_u32_state(rnd) % (STATE_PAGES - nr + 1);
	bool link = prandom_u32_state(rnd) % 4;
	struct bounce_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < nr; i++)
		owner[first + i] = link ? page + i : -1;
	if (link)
		KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, state,
							  phys + page * SZ_4K,
							  first * SZ_4K,
							  nr * SZ_4K,
							  DMA_FROM_DEVICE, 0), 0);
	else
		io_bounce_iova_unlink(t->dev, state, first * SZ_4K, nr * SZ_4K,
				      DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
}

/* In any order, also where something is linked already, and in part unlinked */
static void bounce_iova_changes(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	unsigned int round, i, changes, order = get_order(STATE_PAGES * SZ_4K);
	struct dma_iova_state state;
	s8 owner[STATE_PAGES];
	struct rnd_state rnd;
	u8 *pages, *dev;

	pages = (u8 *)__get_free_pages(GFP_KERNEL, order);
	KUNIT_ASSERT_NOT_NULL(test, pages);
	prandom_seed_state(&rnd, 14);
	for (round = 0; round < 500; round++) {
		u8 expected[STATE_PAGES];

		memset(pages, GUARD, STATE_PAGES * SZ_4K);
		memset(expected, GUARD, sizeof(expected));
		memset(owner, -1, sizeof(owner));
		KUNIT_ASSERT_TRUE(test, start_state(t, &state, virt_to_phys(pages),
						    STATE_PAGES * SZ_4K));
		changes = prandom_u32_state(&rnd) % 6 + 1;
		for (i = 0; i < changes; i++)
			change_state(test, &state, &rnd, virt_to_phys(pages), owner);
		dev = seen_by_device(t, state.addr);
		for (i = 0; i < STATE_PAGES; i++) {
			memset(dev + i * SZ_4K, i, SZ_4K);
			if (owner[i] >= 0)
				expected[owner[i]] = i;
		}
		io_bounce_iova_destroy(t->dev, &state, DMA_FROM_DEVICE, 0);
		for (i = 0; i < STATE_PAGES; i++)
			KUNIT_EXPECT_NULL(test, memchr_inv(pages + i * SZ_4K,
							   expected[i], SZ_4K));
	}
	free_pages((unsigned long)pages, order);
}

/* The next mapping of 4 KiB is a sample, and bounced, for a limit that starts at 0. */
static void start_measuring(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	dma_addr_t addr;

	/* Make the pools. */
	addr = map(t, t->pages, SZ_4K, DMA_FROM_DEVICE);
	io_bounce_unmap(t->dev, addr, SZ_4K, DMA_FROM_DEVICE, 0, t->bounce);
	addr = map(t, t->pages, SZ_8K, DMA_FROM_DEVICE);
	io_bounce_unmap(t->dev, addr, SZ_8K, DMA_FROM_DEVICE, 0, t->bounce);
	settle(t);
	io_bounce_limit_auto(&t->bounce->limit, 0, LIMIT);
	io_bounce_limit_alloc(&t->bounce->limit);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce->limit.measure);
}

static unsigned int samples(struct bounce_test *t)
{
	return t->bounce->limit.measure->window.samples;
}

/* A bit for each */
static u16 samples_in_flight(struct bounce_test *t)
{
	return t->bounce->limit.measure->window.timing;
}

/* A mapping is timed from map to unmap, and only with what is copied there. */
static void bounce_is_timed(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	const u32 *times;
	dma_addr_t addr;
	u32 ns;

	start_measuring(test);
	times = t->bounce->limit.measure->window.ns;
	addr = map(t, t->pages, SZ_4K, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 1);
	ns = times[0];
	sync_for_cpu(t, addr, SZ_4K, DMA_FROM_DEVICE);
	KUNIT_EXPECT_GT(test, times[0], ns);
	io_bounce_unmap(t->dev, addr, SZ_4K, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 0);
	KUNIT_EXPECT_EQ(test, samples(t), 1);

	addr = map(t, t->pages, SZ_4K, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	io_bounce_unmap(t->dev, addr, SZ_4K, DMA_FROM_DEVICE,
			DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 0);
	KUNIT_EXPECT_EQ(test, samples(t), 1);
}

static void bounce_list_is_timed(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	struct scatterlist sg[2];
	struct io_buffer buf;

	start_measuring(test);
	sg_init_table(sg, 2);
	sg_set_page(&sg[0], virt_to_page(t->pages + 2 * SZ_4K), SZ_4K, 0);
	sg_set_page(&sg[1], virt_to_page(t->pages), SZ_4K, 0);
	KUNIT_ASSERT_GT(test, map_sg(t, sg, 2, DMA_FROM_DEVICE), 0);
	KUNIT_EXPECT_NE(test, samples_in_flight(t), 0);
	__io_bounce_unmap_sg(t->dev, sg, 2, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 0);
	KUNIT_EXPECT_EQ(test, samples(t), 1);

	KUNIT_ASSERT_GT(test, map_sg(t, sg, 2, DMA_FROM_DEVICE), 0);
	__io_bounce_unmap_sg(t->dev, sg, 2, DMA_FROM_DEVICE,
			     DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
	KUNIT_EXPECT_EQ(test, samples(t), 1);

	/* The next one in that slot is no sample. */
	io_bounce_limit_fixed(&t->bounce->limit, LIMIT);
	KUNIT_ASSERT_GT(test, map_sg(t, sg, 2, DMA_FROM_DEVICE), 0);
	KUNIT_ASSERT_TRUE(test, io_bounce_lookup(t->bounce, t->dev,
						 sg_dma_address(sg), &buf));
	KUNIT_EXPECT_EQ(test, io_buffer_slot(&buf)->sample, 0);
	__io_bounce_unmap_sg(t->dev, sg, 2, DMA_FROM_DEVICE, 0, t->bounce);
}

static void bounce_iova_is_timed(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	phys_addr_t phys = virt_to_phys(t->pages);
	struct dma_iova_state state;

	start_measuring(test);
	KUNIT_ASSERT_TRUE(test, start_state(t, &state, phys, SZ_8K));
	KUNIT_EXPECT_NE(test, samples_in_flight(t), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0,
						  SZ_8K, DMA_FROM_DEVICE,
						  0), 0);
	KUNIT_EXPECT_NE(test, samples_in_flight(t), 0);
	io_bounce_iova_unlink(t->dev, &state, 0, SZ_8K, DMA_FROM_DEVICE, 0);
	KUNIT_EXPECT_NE(test, samples_in_flight(t), 0);
	io_bounce_iova_free(t->dev, &state);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 0);
	KUNIT_EXPECT_EQ(test, samples(t), 1);

	/* Not unlinked as a whole */
	KUNIT_ASSERT_TRUE(test, start_state(t, &state, phys, SZ_8K));
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0,
						  SZ_8K, DMA_FROM_DEVICE,
						  0), 0);
	io_bounce_iova_unlink(t->dev, &state, 0, SZ_4K, DMA_FROM_DEVICE, 0);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 0);
	io_bounce_iova_unlink(t->dev, &state, SZ_4K, SZ_4K, DMA_FROM_DEVICE, 0);
	io_bounce_iova_free(t->dev, &state);
	KUNIT_EXPECT_EQ(test, samples(t), 1);
}

/* Segments that are not counted to their end do not matter. */
static void bounce_list_above_the_limit(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	struct scatterlist sg[2];

	io_bounce_limit_fixed(&t->bounce->limit, SZ_4K);
	sg_init_table(sg, 2);
	sg_set_page(&sg[0], virt_to_page(t->pages), SZ_8K, 0);
	sg_set_page(&sg[1], virt_to_page(t->pages + 2 * SZ_4K), SZ_4K, 0);
	KUNIT_EXPECT_EQ(test, __io_bounce_map_sg(t->dev, sg, 2, DMA_FROM_DEVICE,
						 0, t->bounce), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_DIRECT_LIMIT), 1);
	/* A length that wraps around on 32 bits */
	sg_set_page(&sg[0], virt_to_page(t->pages), SZ_4K, 0);
	sg[1].length = UINT_MAX - SZ_4K + 1;
	KUNIT_EXPECT_EQ(test, __io_bounce_map_sg(t->dev, sg, 2, DMA_FROM_DEVICE,
						 0, t->bounce), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_DIRECT_LIMIT), 2);
}

/* What is too large is counted and goes no further; at first, the slow path counts. */
static void bounce_above_the_limit(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	const enum io_bounce_counter direct = IO_BOUNCE_DIRECT_LIMIT;
	dma_addr_t addr;

	io_bounce_limit_fixed(&t->bounce->limit, SZ_4K);
	KUNIT_EXPECT_FALSE(test, io_bounce_may_map(NULL, SZ_4K, DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_may_map(t->bounce, SZ_4K, DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_may_map(t->bounce, SZ_4K + 1, DMA_TO_DEVICE));
	KUNIT_EXPECT_EQ(test, io_bounce_map(t->dev, virt_to_phys(t->pages), SZ_4K + 1,
					    DMA_TO_DEVICE, 0, t->bounce),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, direct), 1);
	atomic_set(&t->bounce->early[direct], IO_BOUNCE_EARLY_MAX);
	KUNIT_EXPECT_FALSE(test, io_bounce_may_map(t->bounce, SZ_4K + 1, DMA_TO_DEVICE));
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, direct), IO_BOUNCE_EARLY_MAX);

	addr = map(t, t->pages, SZ_4K, DMA_TO_DEVICE);
	io_bounce_unmap(t->dev, addr, SZ_4K, DMA_TO_DEVICE, 0, t->bounce);
	settle(t);
	addr = map(t, t->pages, SZ_4K, DMA_TO_DEVICE);
	io_bounce_unmap(t->dev, addr, SZ_4K, DMA_TO_DEVICE, 0, t->bounce);
	settle(t);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce->stats);
	KUNIT_EXPECT_FALSE(test, io_bounce_may_map(t->bounce, SZ_4K + 1, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_may_map(t->bounce, 0, DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_may_map(t->bounce, 1, DMA_TO_DEVICE));
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, direct), IO_BOUNCE_EARLY_MAX + 2);
}

/* No slot: that is no sample, but brings one for the next. */
static void bounce_miss_is_not_timed(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	struct dma_iova_state state = {};

	io_bounce_limit_auto(&t->bounce->limit, 0, LIMIT);
	io_bounce_limit_alloc(&t->bounce->limit);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce->limit.measure);
	KUNIT_EXPECT_EQ(test, __io_bounce_map(t->dev, virt_to_phys(t->pages),
					      SZ_4K, DMA_FROM_DEVICE, 0,
					      t->bounce),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_TRUE(test, t->bounce->limit.measure->window.open);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 0);
	KUNIT_EXPECT_EQ(test, samples(t), 0);

	io_bounce_limit_auto(&t->bounce->limit, 0, LIMIT);
	KUNIT_EXPECT_FALSE(test, __io_bounce_iova_alloc(t->bounce, t->dev, &state,
							virt_to_phys(t->pages), SZ_8K,
							2, DMA_FROM_DEVICE, 0));
	KUNIT_EXPECT_TRUE(test, t->bounce->limit.measure->window.open);
	KUNIT_EXPECT_EQ(test, samples_in_flight(t), 0);
	settle(t);
	KUNIT_EXPECT_GT(test, t->bounce->mgr.memory, 0);
}

static dma_addr_t map_mandatory(struct bounce_test *t, phys_addr_t phys,
				size_t size, unsigned long attrs, bool grow)
{
	return __io_bounce_map_mandatory(t->bounce, t->dev, phys, size,
					 DMA_TO_DEVICE, attrs, grow);
}

/* Neither limit, promise nor attributes of choice matter. */
static void bounce_mandatory(struct kunit *test)
{
	unsigned long choice = DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_LONG_LIVED;
	struct bounce_test *t = test->priv;
	phys_addr_t phys = virt_to_phys(t->pages + 1);
	dma_addr_t addr;

	io_bounce_limit_fixed(&t->bounce->limit, 0);
	dev_clear_dma_strict_ownership(t->dev);
	KUNIT_EXPECT_EQ(test, map(t, t->pages, 100, DMA_TO_DEVICE),
			DMA_MAPPING_ERROR);
	/* The first miss requests a window. */
	KUNIT_EXPECT_EQ(test, map_mandatory(t, phys, SZ_8K, choice, false),
			DMA_MAPPING_ERROR);
	settle(t);
	addr = map_mandatory(t, phys, SZ_8K, choice, false);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, addr & (SZ_4K - 1), 1);
	KUNIT_EXPECT_MEMEQ(test, seen_by_device(t, addr), t->pages + 1, SZ_4K);
	io_bounce_unmap(t->dev, addr, SZ_8K, DMA_TO_DEVICE, choice, t->bounce);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce,
						IO_BOUNCE_MANDATORY_HITS), 1);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce,
						IO_BOUNCE_MANDATORY_MISSES), 1);

	/* Not supported, or nothing to map */
	KUNIT_EXPECT_EQ(test, map_mandatory(t, phys, SZ_8K, DMA_ATTR_MMIO, true),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, map_mandatory(t, phys, SZ_8K,
					    DMA_ATTR_REQUIRE_COHERENT, true),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, map_mandatory(t, phys, 0, 0, true),
			DMA_MAPPING_ERROR);
}

/* When all slots are in use, a mandatory bounce may add a chunk at once. */
static void bounce_mandatory_grows(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	void *large = kunit_kzalloc(test, SZ_64K, GFP_KERNEL);
	phys_addr_t phys;
	dma_addr_t addrs[2];

	KUNIT_ASSERT_NOT_NULL(test, large);
	phys = virt_to_phys(large + 1);
	KUNIT_EXPECT_EQ(test, map_mandatory(t, phys, SZ_64K - 1, 0, false),
			DMA_MAPPING_ERROR);
	settle(t);
	disable_work_sync(&t->bounce->mgr.work);
	addrs[0] = map_mandatory(t, phys, SZ_64K - 1, 0, false);
	KUNIT_ASSERT_NE(test, addrs[0], DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, map_mandatory(t, phys, SZ_64K - 1, 0, false),
			DMA_MAPPING_ERROR);
	addrs[1] = map_mandatory(t, phys, SZ_64K - 1, 0, true);
	KUNIT_EXPECT_NE(test, addrs[1], DMA_MAPPING_ERROR);
	io_bounce_unmap(t->dev, addrs[0], SZ_64K - 1, DMA_TO_DEVICE, 0,
			t->bounce);
	io_bounce_unmap(t->dev, addrs[1], SZ_64K - 1, DMA_TO_DEVICE, 0,
			t->bounce);
	enable_work(&t->bounce->mgr.work);
}

/* A free slot shows nothing to an untrusted device. */
static void bounce_wipes_for_the_untrusted(struct kunit *test)
{
	static const enum dma_data_direction readable[] = {
		DMA_TO_DEVICE, DMA_BIDIRECTIONAL, DMA_FROM_DEVICE,
	};
	struct bounce_test *t = test->priv;
	struct scatterlist sg[3];
	dma_addr_t addr;
	unsigned int i;
	u8 *slot;

	for (i = 0; i < ARRAY_SIZE(readable); i++) {
		t->bounce->wipe = false;
		addr = map(t, t->pages + 5, 1000, readable[i]);
		KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
		slot = seen_by_device(t, addr);
		io_bounce_unmap(t->dev, addr, 1000, readable[i], 0, t->bounce);
		KUNIT_EXPECT_EQ(test, slot[999], GUARD);
		io_buffer_wipe(&t->bounce->mgr);
		KUNIT_EXPECT_NULL(test, memchr_inv(slot - 5, 0, SZ_4K));

		t->bounce->wipe = true;
		KUNIT_ASSERT_EQ(test, map(t, t->pages + 5, 1000, readable[i]), addr);
		KUNIT_EXPECT_EQ(test, slot[999], GUARD);
		io_bounce_unmap(t->dev, addr, 1000, readable[i], 0, t->bounce);
		KUNIT_EXPECT_NULL(test, memchr_inv(slot - 5, 0, SZ_4K));
	}

	addr = map_list(test, sg);
	slot = seen_by_device(t, addr);
	KUNIT_EXPECT_EQ(test, slot[17], GUARD);
	unmap_list(t, sg);
	KUNIT_EXPECT_NULL(test, memchr_inv(slot, 0, 4 * SZ_4K));
}

/* Map, if need be twice. */
static dma_addr_t map_overwrite(struct bounce_test *t, void *p, size_t size,
				enum dma_data_direction dir)
{
	phys_addr_t phys = virt_to_phys(p);
	dma_addr_t addr;

	addr = __io_bounce_map(t->dev, phys, size, dir, DMA_ATTR_OVERWRITE,
			       t->bounce);
	if (addr != DMA_MAPPING_ERROR)
		return addr;
	settle(t);
	return __io_bounce_map(t->dev, phys, size, dir, DMA_ATTR_OVERWRITE,
			       t->bounce);
}

static void bounce_overwrite(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	u8 *p = t->pages + 100;
	dma_addr_t addr, other;
	u8 *slot;

	/* A CPU takes again the slot that it freed. */
	set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
	addr = map_overwrite(t, p, 2000, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, addr), IOMMU_WRITE);
	slot = seen_by_device(t, addr);
	KUNIT_EXPECT_NULL(test, memchr_inv(slot, 0, 2000));
	memset(slot, 8, 2000);
	io_bounce_unmap(t->dev, addr, 2000, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 8, 2000));
	KUNIT_EXPECT_EQ(test, p[-1], GUARD);
	KUNIT_EXPECT_EQ(test, p[2000], GUARD);

	/* A request that fails leaves its buffer alone. */
	memset(p, 7, 2000);
	KUNIT_ASSERT_EQ(test, map_overwrite(t, p, 2000, DMA_FROM_DEVICE), addr);
	memset(slot, 9, 500);
	io_bounce_unmap(t->dev, addr, 2000, DMA_FROM_DEVICE,
			DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 7, 2000));
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_BYTES_IN), 0);

	/* Copies of other buffers go to other slots. */
	other = map(t, p, 2000, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NE(test, other, DMA_MAPPING_ERROR);
	io_bounce_unmap(t->dev, other, 2000, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_ASSERT_EQ(test, map_overwrite(t, p, 2000, DMA_FROM_DEVICE), addr);
	KUNIT_EXPECT_NULL(test, memchr_inv(slot, 9, 500));
	KUNIT_EXPECT_NULL(test, memchr_inv(slot + 500, 8, 1500));
	io_bounce_unmap(t->dev, addr, 2000, DMA_FROM_DEVICE,
			DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
}

/* By a device that reads the buffer, an untrusted one, and where bouncing is mandatory */
static void bounce_overwrite_is_ignored(struct kunit *test)
{
	static const enum dma_data_direction dirs[] = {
		DMA_TO_DEVICE, DMA_BIDIRECTIONAL, DMA_FROM_DEVICE,
	};
	struct bounce_test *t = test->priv;
	dma_addr_t addr;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		t->bounce->wipe = dirs[i] == DMA_FROM_DEVICE;
		addr = map_overwrite(t, t->pages, 2000, dirs[i]);
		KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
		KUNIT_EXPECT_NULL(test, memchr_inv(seen_by_device(t, addr), GUARD, 2000));
		io_bounce_unmap(t->dev, addr, 2000, dirs[i], 0, t->bounce);
	}

	t->bounce->wipe = false;
	addr = __io_bounce_map_mandatory(t->bounce, t->dev, virt_to_phys(t->pages), 2000,
					 DMA_FROM_DEVICE, DMA_ATTR_OVERWRITE, false);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	KUNIT_EXPECT_NULL(test, memchr_inv(seen_by_device(t, addr), GUARD, 2000));
	io_bounce_unmap(t->dev, addr, 2000, DMA_FROM_DEVICE, 0, t->bounce);
}

static void bounce_overwrite_list(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	struct scatterlist sg[2];
	unsigned int i;

	sg_init_table(sg, 2);
	sg_set_buf(&sg[0], t->pages + 2 * SZ_4K, SZ_4K);
	sg_set_buf(&sg[1], t->pages, 3000);
	for (i = 0; i < 2; i++) {
		if (__io_bounce_map_sg(t->dev, sg, 2, DMA_FROM_DEVICE,
				       DMA_ATTR_OVERWRITE, t->bounce))
			break;
		settle(t);
	}
	KUNIT_ASSERT_LT(test, i, 2);
	KUNIT_EXPECT_EQ(test, sg_dma_len(&sg[0]), SZ_4K + 3000);
	KUNIT_EXPECT_NULL(test, memchr_inv(seen_by_device(t, sg_dma_address(&sg[0])), 0,
					   SZ_4K + 3000));
	memset(seen_by_device(t, sg_dma_address(&sg[0])), 8, SZ_4K + 3000);
	__io_bounce_unmap_sg(t->dev, sg, 2, DMA_FROM_DEVICE, 0, t->bounce);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages + 2 * SZ_4K, 8, SZ_4K));
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 8, 3000));
	KUNIT_EXPECT_EQ(test, t->pages[3000], GUARD);
}

/* What counts is what the allocation was told. */
static void bounce_overwrite_iova(struct kunit *test)
{
	struct bounce_test *t = test->priv;
	phys_addr_t phys = virt_to_phys(t->pages);
	struct dma_iova_state state;
	unsigned int i;
	u8 *slot;

	for (i = 0; i < 2; i++) {
		state = (struct dma_iova_state) {};
		if (__io_bounce_iova_alloc(t->bounce, t->dev, &state, phys, SZ_8K, 2,
					   DMA_FROM_DEVICE, DMA_ATTR_OVERWRITE))
			break;
		settle(t);
	}
	KUNIT_ASSERT_LT(test, i, 2);
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0,
						  SZ_4K, DMA_FROM_DEVICE,
						  DMA_ATTR_OVERWRITE), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state,
						  phys + 2 * SZ_4K, SZ_4K,
						  SZ_4K, DMA_FROM_DEVICE,
						  0), 0);
	slot = seen_by_device(t, state.addr);
	KUNIT_EXPECT_NULL(test, memchr_inv(slot, 0, SZ_8K));
	memset(slot, 8, SZ_8K);
	io_bounce_iova_unlink(t->dev, &state, 0, SZ_4K, DMA_FROM_DEVICE, 0);
	io_bounce_iova_unlink(t->dev, &state, SZ_4K, SZ_4K, DMA_FROM_DEVICE,
			      DMA_ATTR_SKIP_CPU_SYNC);
	io_bounce_iova_free(t->dev, &state);
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages, 8, SZ_4K));
	KUNIT_EXPECT_NULL(test, memchr_inv(t->pages + SZ_4K, GUARD, 3 * SZ_4K));

	KUNIT_ASSERT_TRUE(test, start_state(t, &state, phys, SZ_8K));
	KUNIT_EXPECT_EQ(test, io_bounce_iova_link(t->dev, &state, phys, 0,
						  SZ_4K, DMA_FROM_DEVICE,
						  DMA_ATTR_OVERWRITE), 0);
	KUNIT_EXPECT_NULL(test, memchr_inv(seen_by_device(t, state.addr), 8, SZ_4K));
	io_bounce_iova_unlink(t->dev, &state, 0, SZ_4K, DMA_FROM_DEVICE, 0);
	io_bounce_iova_free(t->dev, &state);
}

#define COUNT_ROUNDS	1600
#define COUNT_CPUS	4

/* What one of several that map at once has done */
struct count_work {
	struct work_struct work;
	struct bounce_test *t;
	u8 *page;
	u64 hits, misses, bytes;
};

static void map_and_count(struct work_struct *work)
{
	static const size_t sizes[] = { 100, 2000, 2 * IO_BUFFER_MAX_SLOT, 4096 };
	struct count_work *w = container_of(work, struct count_work, work);
	struct bounce_test *t = w->t;
	unsigned int i;

	for (i = 0; i < COUNT_ROUNDS; i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];
		dma_addr_t addr;

		addr = __io_bounce_map(t->dev, virt_to_phys(w->page), size,
				       DMA_BIDIRECTIONAL,
				       size == 2000 ? DMA_ATTR_SKIP_CPU_SYNC : 0,
				       t->bounce);
		if (addr != DMA_MAPPING_ERROR) {
			io_bounce_unmap(t->dev, addr, size, DMA_BIDIRECTIONAL,
					0, t->bounce);
			w->hits++;
			w->bytes += size;
		} else if (size <= 4096 && size != 2000) {
			w->misses++;
		}
	}
}

/* From the very first mapping on, when counters and slots are only being made. */
static void bounce_counters_add_up(struct kunit *test)
{
	u64 hits = 0, misses = 0, bytes = 0, counted = 0;
	struct bounce_test *t = test->priv;
	struct count_work *work;
	unsigned int i, again;

	work = kunit_kcalloc(test, COUNT_CPUS, sizeof(*work), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, work);
	for (i = 0; i < COUNT_CPUS; i++) {
		work[i].t = t;
		work[i].page = t->pages + i * PAGE_SIZE;
		INIT_WORK(&work[i].work, map_and_count);
	}
	for (again = 0; again < 2; again++) {
		for (i = 0; i < COUNT_CPUS; i++)
			queue_work(system_dfl_wq, &work[i].work);
		for (i = 0; i < COUNT_CPUS; i++)
			flush_work(&work[i].work);
		settle(t);
	}
	for (i = 0; i < COUNT_CPUS; i++) {
		hits += work[i].hits;
		misses += work[i].misses;
		bytes += work[i].bytes;
	}

	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_HITS_SINGLE),
			hits);
	for (i = IO_BOUNCE_MISS_EMPTY; i <= IO_BOUNCE_MISS_SIZE; i++)
		counted += io_bounce_counted(t->bounce, i);
	KUNIT_EXPECT_EQ(test, counted, misses);
	KUNIT_EXPECT_GT(test, misses, 0);
	KUNIT_EXPECT_GE(test, hits, COUNT_CPUS * COUNT_ROUNDS / 2);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_DIRECT_LIMIT),
			COUNT_CPUS * COUNT_ROUNDS / 2);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_DIRECT_ATTRS),
			COUNT_CPUS * COUNT_ROUNDS / 2);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_BYTES_IN),
			bytes);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_BYTES_OUT),
			bytes);
}

static struct kunit_case bounce_cases[] = {
	KUNIT_CASE(bounce_first_map_misses),
	KUNIT_CASE(bounce_idle_domain_is_small),
	KUNIT_CASE(bounce_to_device),
	KUNIT_CASE(bounce_from_device_short_write),
	KUNIT_CASE(bounce_bidirectional_syncs),
	KUNIT_CASE(bounce_sync_for_device_keeps_what_the_device_wrote),
	KUNIT_CASE(bounce_many_domains_fall_idle),
	KUNIT_CASE(bounce_wrong_size_stays_within_the_mapping),
	KUNIT_CASE(bounce_unmap_twice_is_harmless),
	KUNIT_CASE(bounce_policy),
	KUNIT_CASE(bounce_unmap_in_another_direction),
	KUNIT_CASE(bounce_short_unmap_copies_all),
	KUNIT_CASE(bounce_list_keeps_to_its_entries),
	KUNIT_CASE(bounce_asks_for_the_promise),
	KUNIT_CASE(bounce_can_be_switched_off),
	KUNIT_CASE(bounce_keeps_syncing),
	KUNIT_CASE(bounce_list),
	KUNIT_CASE(bounce_iova),
	KUNIT_CASE(bounce_iova_errors),
	KUNIT_CASE(bounce_iova_partly_linked),
	KUNIT_CASE(bounce_iova_changes),
	KUNIT_CASE(bounce_is_timed),
	KUNIT_CASE(bounce_list_is_timed),
	KUNIT_CASE(bounce_list_above_the_limit),
	KUNIT_CASE(bounce_iova_is_timed),
	KUNIT_CASE(bounce_above_the_limit),
	KUNIT_CASE(bounce_miss_is_not_timed),
	KUNIT_CASE(bounce_counters_add_up),
	KUNIT_CASE(bounce_list_is_too_spread_out),
	KUNIT_CASE(bounce_list_unmapped_as_a_buffer),
	KUNIT_CASE(bounce_list_is_too_long),
	KUNIT_CASE(bounce_large_granule),
	KUNIT_CASE(bounce_list_has_its_segments),
	KUNIT_CASE(bounce_mandatory),
	KUNIT_CASE(bounce_mandatory_grows),
	KUNIT_CASE(bounce_wipes_for_the_untrusted),
	KUNIT_CASE(bounce_overwrite),
	KUNIT_CASE(bounce_overwrite_is_ignored),
	KUNIT_CASE(bounce_overwrite_list),
	KUNIT_CASE(bounce_overwrite_iova),
	{}
};

static struct kunit_suite bounce_suite = {
	.name = "io_bounce",
	.init = bounce_test_init,
	.exit = bounce_test_exit,
	.test_cases = bounce_cases,
};

struct domain_test {
	struct mock_domain *fake;
	struct io_bounce *bounce;
};

static int domain_test_init(struct kunit *test)
{
	struct domain_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = mock_domain_create(test);
	t->bounce = kunit_kzalloc(test, sizeof(*t->bounce), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce);
	io_bounce_setup(t->bounce, true, &t->fake->domain, &t->fake->iovad,
			SZ_16M);
	return 0;
}

static void domain_test_exit(struct kunit *test)
{
	struct domain_test *t = test->priv;

	io_bounce_teardown(t->bounce);
	mock_domain_destroy(t->fake);
}

static void count(struct domain_test *t, enum io_bounce_counter counter, int n)
{
	while (n--)
		io_bounce_count(t->bounce, counter, 1);
	flush_work(&t->bounce->work);
}

/* On a machine with many CPUs the counters are most of what a domain takes. */
static void domain_counts_on_each_cpu_once_it_bounces(struct kunit *test)
{
	struct domain_test *t = test->priv;

	count(t, IO_BOUNCE_DIRECT_LIMIT, 100);
	count(t, IO_BOUNCE_MISS_EMPTY, 1);
	/* Whatever else the work is for */
	queue_work(system_dfl_wq, &t->bounce->work);
	flush_work(&t->bounce->work);
	KUNIT_EXPECT_NULL(test, (void *)(uintptr_t)t->bounce->stats);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_DIRECT_LIMIT), 100);

	/* It does not go on writing there for ever. */
	count(t, IO_BOUNCE_DIRECT_LIMIT, 100000);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_DIRECT_LIMIT), 65536);

	count(t, IO_BOUNCE_HITS_SG, 1);
	KUNIT_EXPECT_NOT_NULL(test, (void *)(uintptr_t)t->bounce->stats);
	count(t, IO_BOUNCE_HITS_SG, 1);
	count(t, IO_BOUNCE_DIRECT_LIMIT, 10);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_HITS_SG), 2);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_DIRECT_LIMIT), 65546);
}

/* As AMD's: PCI enables runtime PM of all functions, with or without a driver. */
static void domain_knows_which_iommu_sleeps(struct kunit *test)
{
	struct domain_test *t = test->priv;
	struct iommu_device *iommu = kunit_kzalloc(test, sizeof(*iommu), GFP_KERNEL);
	struct dev_iommu *param = kunit_kzalloc(test, sizeof(*param), GFP_KERNEL);
	struct device *dev = kunit_kzalloc(test, 3 * sizeof(*dev), GFP_KERNEL);
	struct device_driver driver = {};

	KUNIT_ASSERT_NOT_NULL(test, iommu);
	KUNIT_ASSERT_NOT_NULL(test, param);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev[0].iommu = param;
	KUNIT_EXPECT_FALSE(test, io_bounce_limits(t->bounce, dev).unmap_needs_rpm);
	param->iommu_dev = iommu;
	iommu->dev = &dev[1];
	KUNIT_EXPECT_FALSE(test, io_bounce_limits(t->bounce, dev).unmap_needs_rpm);
	dev[1].parent = &dev[2];
	KUNIT_EXPECT_FALSE(test, io_bounce_limits(t->bounce, dev).unmap_needs_rpm);
	dev[2].driver = &driver;
	KUNIT_EXPECT_EQ(test, io_bounce_limits(t->bounce, dev).unmap_needs_rpm,
			IS_ENABLED(CONFIG_PM));
}

static struct kunit_case domain_cases[] = {
	KUNIT_CASE(domain_counts_on_each_cpu_once_it_bounces),
	KUNIT_CASE(domain_knows_which_iommu_sleeps),
	{}
};

static struct kunit_suite domain_suite = {
	.name = "io_bounce_domain",
	.init = domain_test_init,
	.exit = domain_test_exit,
	.test_cases = domain_cases,
};

kunit_test_suites(&bounce_suite, &domain_suite);

MODULE_DESCRIPTION("KUnit tests of the IOMMU bounce buffers");
MODULE_LICENSE("GPL");
