// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the ownership checker: each rule is broken twice in one place
 * and reported once; no legal use is reported. The reports are in the log.
 */

#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/dma-map-ops.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "../io-bounce-internal.h"
#include "mock-domain.h"

#define OLD	0x11
#define NEW	0x22
#define CPU	0x33
/* That of the checker */
#define POISON	0xd7

/**
 * struct check_test - what each test starts with
 * @fake: the domain
 * @bounce: its bounce buffers, checked, with slots for up to 16 KiB
 * @iommu: what @dev says of its IOMMU
 * @dev: a device
 * @mask: its DMA mask
 * @p: four pages of the kernel, filled with OLD
 * @reports: how many reports there were before
 */
struct check_test {
	struct mock_domain *fake;
	struct io_bounce *bounce;
	struct dev_iommu iommu;
	struct device *dev;
	u64 mask;
	u8 *p;
	unsigned int reports;
};

static __always_inline dma_addr_t map(struct check_test *t, void *p,
				      size_t size, enum dma_data_direction dir)
{
	return __io_bounce_map(t->dev, virt_to_phys(p), size, dir, 0,
			       t->bounce);
}

static void unmap(struct check_test *t, dma_addr_t addr, size_t size,
		  enum dma_data_direction dir)
{
	io_bounce_unmap(t->dev, addr, size, dir, 0, t->bounce);
}

static void unmap_skip(struct check_test *t, dma_addr_t addr, size_t size,
		       enum dma_data_direction dir)
{
	io_bounce_unmap(t->dev, addr, size, dir, DMA_ATTR_SKIP_CPU_SYNC,
			t->bounce);
}

static void for_cpu(struct check_test *t, dma_addr_t addr, size_t size,
		    enum dma_data_direction dir)
{
	io_bounce_sync(t->dev, addr, size, dir, true, t->bounce);
}

static void for_device(struct check_test *t, dma_addr_t addr, size_t size,
		       enum dma_data_direction dir)
{
	io_bounce_sync(t->dev, addr, size, dir, false, t->bounce);
}

static u8 *device(struct check_test *t, dma_addr_t addr)
{
	return mock_domain_vaddr(t->fake, addr);
}

/* How many reports there were since this was asked last */
static unsigned int reports(struct check_test *t)
{
	unsigned int before = t->reports;

	t->reports = io_bounce_check_reports();
	return t->reports - before;
}

/* What follows is reported wherever it is: not all machines can trace the stack. */
static void elsewhere(struct check_test *t)
{
	reports(t);
	io_bounce_check_forget();
}

static bool all(const u8 *p, u8 value, size_t len)
{
	return !memchr_inv(p, value, len);
}

static int check_suite_init(struct kunit_suite *suite)
{
	stack_depot_init();
	static_branch_inc(&io_bounce_check_key);
	return 0;
}

static void check_suite_exit(struct kunit_suite *suite)
{
	static_branch_dec(&io_bounce_check_key);
}

/* Until there are slots of all kinds that are used here */
static void warm(struct check_test *t)
{
	enum dma_data_direction dir;
	unsigned int shift;

	for (dir = DMA_BIDIRECTIONAL; dir <= DMA_FROM_DEVICE; dir++) {
		for (shift = 0; shift <= 2; shift++) {
			size_t size = PAGE_SIZE << shift;
			dma_addr_t addr = map(t, t->p, size, dir);

			if (addr != DMA_MAPPING_ERROR)
				unmap(t, addr, size, dir);
			flush_work(&t->bounce->work);
			flush_work(&t->bounce->mgr.work);
		}
	}
}

static void start(struct check_test *t)
{
	io_bounce_setup(t->bounce, dev_is_dma_coherent(t->dev),
			&t->fake->domain, &t->fake->iovad, SZ_16M);
	io_bounce_set_mode(t->bounce, BOUNCE_FORCE, 0);
	t->bounce->check = true;
	warm(t);
	memset(t->p, OLD, 4 * PAGE_SIZE);
	elsewhere(t);
}

static int check_test_init(struct kunit *test)
{
	struct check_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = mock_domain_create(test);
	t->bounce = kunit_kzalloc(test, sizeof(*t->bounce), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce);
	t->dev = kunit_device_register(test, "check");
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->dev));
	t->iommu.bounce = t->bounce;
	t->dev->iommu = &t->iommu;
	t->mask = DMA_BIT_MASK(64);
	t->dev->dma_mask = &t->mask;
	t->p = (u8 *)__get_free_pages(GFP_KERNEL, 2);
	KUNIT_ASSERT_NOT_NULL(test, t->p);
	start(t);
	return 0;
}

static void check_test_exit(struct kunit *test)
{
	struct check_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, io_buffer_manager_used(&t->bounce->mgr), 0);
	t->dev->iommu = NULL;
	io_bounce_teardown(t->bounce);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	mock_domain_destroy(t->fake);
	free_pages((unsigned long)t->p, 2);
}

/* The rules, each broken twice in the same place */

static void break_write(struct check_test *t, enum dma_data_direction dir)
{
	dma_addr_t addr = map(t, t->p + 300, 5000, dir);

	memset(device(t, addr), NEW, 100);
	t->p[300 + 4321] = CPU;
	unmap(t, addr, 5000, dir);
}

static void check_written_while_owned(struct kunit *test)
{
	struct check_test *t = test->priv;
	enum dma_data_direction dir;
	int again;

	for (again = 0; again < 2; again++) {
		break_write(t, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
		/* As without the checker: what is in the slot counts. */
		KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 300));
		KUNIT_EXPECT_TRUE(test, all(t->p + 300, NEW, 100));
		KUNIT_EXPECT_TRUE(test, all(t->p + 400, OLD, 8000));
		memset(t->p, OLD, 4 * PAGE_SIZE);
	}
	elsewhere(t);
	dir = DMA_BIDIRECTIONAL;
	for (again = 0; again < 2; again++) {
		dma_addr_t addr = map(t, t->p, 100, dir);

		t->p[99] = CPU;
		for_cpu(t, addr, 100, dir);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
		unmap(t, addr, 100, dir);
		KUNIT_EXPECT_EQ(test, reports(t), 0);
	}
}

/* What is taken back and handed over is what was named, not what lies beside it. */
static void check_written_beside_a_sync(struct kunit *test)
{
	enum dma_data_direction dir = DMA_FROM_DEVICE;
	struct check_test *t = test->priv;
	dma_addr_t addr;

	/* The first byte of a mapping that begins within a block */
	addr = map(t, t->p + 20, 3000, dir);
	t->p[20] = CPU;
	unmap(t, addr, 3000, dir);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);

	/* The block after those that were synced */
	addr = map(t, t->p, 3000, dir);
	for_cpu(t, addr, 64, dir);
	KUNIT_EXPECT_TRUE(test, all(t->p + 64, POISON, 64));
	t->p[64] = CPU;
	unmap(t, addr, 3000, dir);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);

	/* What the device owns is in two pieces. */
	addr = map(t, t->p, 3000, dir);
	for_cpu(t, addr + 1000, 100, dir);
	t->p[2000] = CPU;
	unmap(t, addr, 3000, dir);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);

	/* Handing over one part does not hide a write to another. */
	addr = map(t, t->p, 3000, dir);
	t->p[2000] = CPU;
	for_cpu(t, addr, 64, dir);
	for_device(t, addr, 64, dir);
	unmap(t, addr, 3000, dir);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);

	/* Nor does handing over part of a block that the device has already. */
	addr = map(t, t->p, 3000, dir);
	for_device(t, addr + 20, 70, dir);
	t->p[10] = CPU;
	unmap(t, addr, 3000, dir);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
}

/* Handed over without having been taken back */
static void check_written_before_handing_over(struct kunit *test)
{
	struct check_test *t = test->priv;
	static const enum dma_data_direction dirs[] = {
		DMA_FROM_DEVICE, DMA_BIDIRECTIONAL
	};
	dma_addr_t addr;
	int i;

	for (i = 0; i < 2; i++) {
		addr = map(t, t->p, 3000, dirs[i]);
		memset(t->p + 20, CPU, 10);
		for_device(t, addr, 100, dirs[i]);
		KUNIT_EXPECT_EQ(test, reports(t), 1);
		/* As without the checker: the device gets what was written. */
		KUNIT_EXPECT_TRUE(test, all(device(t, addr) + 20, i ? CPU : OLD,
					    10));
		unmap(t, addr, 3000, dirs[i]);
		KUNIT_EXPECT_EQ(test, reports(t), 0);
		elsewhere(t);
	}
}

static noinline void break_two(struct check_test *t, size_t size,
			       enum dma_data_direction dir, bool moved)
{
	dma_addr_t addr = map(t, t->p, 1000, dir);
	struct io_buffer buf;

	t->p[500] ^= 1;
	if (moved && io_bounce_lookup(t->bounce, t->dev, addr, &buf))
		io_buffer_slot(&buf)->life.place ^= 1;
	unmap(t, addr, size, dir);
}

/* One report for each place and rule; of a mapping the first that was found. */
static void check_reports_each_rule(struct kunit *test)
{
	struct check_test *t = test->priv;

	break_two(t, 999, DMA_FROM_DEVICE, false);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	break_two(t, 1000, DMA_FROM_DEVICE, false);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	break_two(t, 1000, DMA_TO_DEVICE, false);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	break_two(t, 1000, DMA_FROM_DEVICE, false);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
	/* As if it had been mapped elsewhere */
	break_two(t, 1000, DMA_FROM_DEVICE, true);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	break_two(t, 1000, DMA_FROM_DEVICE, true);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static __always_inline unsigned int place_of(struct check_test *t, size_t size)
{
	dma_addr_t addr = map(t, t->p, size, DMA_TO_DEVICE);
	unsigned int place = 0;
	struct io_buffer buf;

	if (io_bounce_lookup(t->bounce, t->dev, addr, &buf))
		place = io_buffer_slot(&buf)->life.place;
	unmap(t, addr, size, DMA_TO_DEVICE);
	return place;
}

static noinline unsigned int place_elsewhere(struct check_test *t, size_t size)
{
	return place_of(t, size);
}

/* A place is where the caller of the DMA layer maps, not what it calls. */
static void check_places(struct kunit *test)
{
	struct check_test *t = test->priv;
	unsigned long stack[2];
	unsigned int place;

	if (!stack_trace_save(stack, ARRAY_SIZE(stack), 0))
		kunit_skip(test, "the stack cannot be traced");
	place = place_elsewhere(t, 100);
	KUNIT_EXPECT_NE(test, place, 0);
	KUNIT_EXPECT_EQ(test, place_elsewhere(t, 5000), place);
	KUNIT_EXPECT_NE(test, place_of(t, 100), 0);
	KUNIT_EXPECT_NE(test, place_of(t, 100), place);
}

static void check_changed_after_map(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;
	int again;

	for (again = 0; again < 2; again++) {
		addr = map(t, t->p + 300, 5000, DMA_TO_DEVICE);
		t->p[300 + 1234] ^= 1;
		unmap(t, addr, 5000, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
	}
	elsewhere(t);
	for (again = 0; again < 2; again++) {
		addr = map(t, t->p + 300, 5000, DMA_TO_DEVICE);
		t->p[300 + 1234] ^= 1;
		for_cpu(t, addr + 1000, 1000, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
		unmap(t, addr, 5000, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), 0);
	}
}

static void check_written_after_sync(struct kunit *test)
{
	struct check_test *t = test->priv;
	static const enum dma_data_direction dirs[] = {
		DMA_FROM_DEVICE, DMA_BIDIRECTIONAL
	};
	dma_addr_t addr;
	int i, again;

	for (i = 0; i < 2; i++) {
		for (again = 0; again < 2; again++) {
			addr = map(t, t->p + 300, 5000, dirs[i]);
			memset(device(t, addr), NEW, 5000);
			for_cpu(t, addr + 4000, 500, dirs[i]);
			KUNIT_EXPECT_TRUE(test, all(t->p + 4300, NEW, 500));
			t->p[300 + 4321] = CPU;
			KUNIT_EXPECT_EQ(test, reports(t), 0);
			unmap(t, addr, 5000, dirs[i]);
			KUNIT_EXPECT_EQ(test, reports(t), !again);
			KUNIT_EXPECT_TRUE(test, all(t->p + 300, NEW, 5000));
			memset(t->p, OLD, 4 * PAGE_SIZE);
		}
		elsewhere(t);
	}
	/* Another part that is synced does not make the first one forgotten. */
	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	for_cpu(t, addr, 100, DMA_FROM_DEVICE);
	for_cpu(t, addr + 1000, 100, DMA_FROM_DEVICE);
	t->p[50] = CPU;
	unmap(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);
	addr = map(t, t->p, 100, DMA_FROM_DEVICE);
	for_cpu(t, addr, 100, DMA_FROM_DEVICE);
	t->p[99] = CPU;
	for_cpu(t, addr, 100, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	KUNIT_EXPECT_EQ(test, t->p[99], OLD);
	unmap(t, addr, 100, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static void check_reader_finds_poison(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr = map(t, t->p, 3000, DMA_FROM_DEVICE);

	memset(device(t, addr), NEW, 3000);
	KUNIT_EXPECT_FALSE(test, memchr(t->p, OLD, 3000));
	KUNIT_EXPECT_FALSE(test, memchr(t->p, NEW, 3000));
	KUNIT_EXPECT_EQ(test, t->p[3000], OLD);
	unmap(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, NEW, 3000));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static dma_addr_t map_overwrite(struct check_test *t, void *p, size_t size)
{
	phys_addr_t phys = virt_to_phys(p);
	dma_addr_t addr;

	addr = __io_bounce_map(t->dev, phys, size, DMA_FROM_DEVICE,
			       DMA_ATTR_OVERWRITE, t->bounce);
	if (addr != DMA_MAPPING_ERROR)
		return addr;
	flush_work(&t->bounce->mgr.work);
	return __io_bounce_map(t->dev, phys, size, DMA_FROM_DEVICE,
			       DMA_ATTR_OVERWRITE, t->bounce);
}

static void check_not_overwritten(struct kunit *test)
{
	const size_t size = PAGE_SIZE + 100;
	struct check_test *t = test->priv;
	dma_addr_t addr;
	unsigned int i;

	/* All of it, or 63 bytes less; or the request has failed. */
	for (i = 0; i < 3; i++) {
		addr = map_overwrite(t, t->p, size);
		KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
		KUNIT_EXPECT_TRUE(test, all(device(t, addr), POISON, size));
		if (i < 2)
			memset(device(t, addr), NEW, size - 63 * i);
		if (i < 2)
			unmap(t, addr, size, DMA_FROM_DEVICE);
		else
			unmap_skip(t, addr, size, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), 0);
		if (i < 2)
			KUNIT_EXPECT_TRUE(test, all(t->p, NEW, size - 63 * i));
	}

	/* The second page is not written, then the first one. */
	for (i = 0; i < 2; i++) {
		elsewhere(t);
		addr = map_overwrite(t, t->p, size);
		memset(device(t, addr) + i * PAGE_SIZE, NEW, i ? 100 : PAGE_SIZE);
		unmap(t, addr, size, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), 1);
	}

	/* Synced before it is written */
	elsewhere(t);
	addr = map_overwrite(t, t->p, size);
	for_cpu(t, addr, 64, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	unmap_skip(t, addr, size, DMA_FROM_DEVICE);
}

static void check_unmap_size(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;
	int again;

	for (again = 0; again < 2; again++) {
		addr = map(t, t->p, 1000, DMA_FROM_DEVICE);
		unmap(t, addr, 999, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
		KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 2000));
	}
	elsewhere(t);
	addr = map(t, t->p, 1000, DMA_FROM_DEVICE);
	unmap(t, addr, 1001, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 2000));
	elsewhere(t);
	addr = map(t, t->p, 1000, DMA_TO_DEVICE);
	unmap(t, addr + 1, 999, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);
	addr = map(t, t->p, 1000, DMA_TO_DEVICE);
	unmap(t, addr + 1, 1000, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
}

static void check_sync_range(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;
	int again;

	for (again = 0; again < 2; again++) {
		addr = map(t, t->p + 500, 1000, DMA_FROM_DEVICE);
		for_cpu(t, addr + 900, 101, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
		unmap(t, addr, 1000, DMA_FROM_DEVICE);
	}
	elsewhere(t);
	addr = map(t, t->p + 500, 1000, DMA_BIDIRECTIONAL);
	for_device(t, addr - 1, 100, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	unmap(t, addr, 1000, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	elsewhere(t);
	/* Behind the mapping, and over all slots behind it */
	addr = map(t, t->p + 500, 1000, DMA_FROM_DEVICE);
	for_cpu(t, addr + 1500, 10, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);
	for_cpu(t, addr, SZ_16M, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	unmap(t, addr, 1000, DMA_FROM_DEVICE);
}

static void check_mapped_twice(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr[2];
	int again;

	for (again = 0; again < 2; again++) {
		addr[0] = map(t, t->p, 2000, DMA_FROM_DEVICE);
		addr[1] = map(t, t->p + 1999, 2000, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
		memset(device(t, addr[1]), NEW, 10);
		unmap(t, addr[0], 2000, DMA_FROM_DEVICE);
		unmap(t, addr[1], 2000, DMA_FROM_DEVICE);
		KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 1999));
		KUNIT_EXPECT_TRUE(test, all(t->p + 1999, NEW, 10));
		KUNIT_EXPECT_TRUE(test, all(t->p + 2009, OLD, 3000));
		memset(t->p, OLD, PAGE_SIZE);
	}
	KUNIT_EXPECT_EQ(test, reports(t), 0);
	elsewhere(t);
	/* The same byte, the other way round */
	addr[0] = map(t, t->p + 1999, 2000, DMA_FROM_DEVICE);
	addr[1] = map(t, t->p, 2000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	unmap(t, addr[0], 2000, DMA_FROM_DEVICE);
	unmap(t, addr[1], 2000, DMA_FROM_DEVICE);
}

static void check_freed_before_unmap(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;
	int again;
	u8 *p;

	if (!IS_ENABLED(CONFIG_KASAN_GENERIC))
		kunit_skip(test, "only KASAN knows");
	for (again = 0; again < 2; again++) {
		p = kmalloc(1000, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p);
		addr = map(t, p, 1000, DMA_FROM_DEVICE);
		kfree(p);
		unmap(t, addr, 1000, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
	}
	elsewhere(t);
	p = (u8 *)__get_free_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	addr = map(t, p, PAGE_SIZE, DMA_TO_DEVICE);
	free_page((unsigned long)p);
	unmap(t, addr, PAGE_SIZE, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
}

/* What is gone is neither compared nor copied, whatever is done with the mapping. */
static void check_freed_before(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct scatterlist sg;
	dma_addr_t addr;
	u8 *p[3];
	int i;

	if (!IS_ENABLED(CONFIG_KASAN_GENERIC))
		kunit_skip(test, "only KASAN knows");
	for (i = 0; i < 3; i++) {
		p[i] = kmalloc(1000, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p[i]);
	}

	/* After a sync, whose sum is left */
	addr = map(t, p[0], 1000, DMA_FROM_DEVICE);
	for_cpu(t, addr, 1000, DMA_FROM_DEVICE);
	kfree(p[0]);
	unmap(t, addr, 1000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	elsewhere(t);

	/* Before it is handed over */
	addr = map(t, p[1], 1000, DMA_BIDIRECTIONAL);
	kfree(p[1]);
	for_device(t, addr, 1000, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	unmap(t, addr, 1000, DMA_BIDIRECTIONAL);
	elsewhere(t);

	/* Where all that is left to do is to give the slot back */
	sg_init_one(&sg, p[2], 1000);
	KUNIT_ASSERT_EQ(test, __io_bounce_map_sg(t->dev, &sg, 1,
						 DMA_FROM_DEVICE, 0,
						 t->bounce), 1);
	kfree(p[2]);
	__io_bounce_unmap_sg(t->dev, &sg, 1, DMA_FROM_DEVICE,
			     DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
}

/* Legal: something else in the same page is freed. */
static void check_freed_beside(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;
	int i, j = -1;
	u8 *p[32];

	for (i = 0; i < 32; i++) {
		p[i] = kmalloc(300, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p[i]);
	}
	/* It is at the start of the page. */
	for (i = 0; i < 32; i++)
		if (!offset_in_page(p[i]))
			for (j = 31; j >= 0; j--)
				if (j != i && virt_to_page(p[j]) == virt_to_page(p[i]))
					goto found;
found:
	if (j >= 0) {
		kfree(p[i]);
		p[i] = NULL;
		addr = map(t, p[j], 300, DMA_FROM_DEVICE);
		memset(device(t, addr), NEW, 300);
		unmap(t, addr, 300, DMA_FROM_DEVICE);
		KUNIT_EXPECT_TRUE(test, all(p[j], NEW, 300));
		KUNIT_EXPECT_EQ(test, reports(t), 0);
		/* Memory of kmalloc() must not change. */
		addr = map(t, p[j], 300, DMA_TO_DEVICE);
		p[j][0] = CPU;
		unmap(t, addr, 300, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), 1);
	}
	for (i = 0; i < 32; i++)
		kfree(p[i]);
	if (j < 0)
		kunit_skip(test, "no two objects in one page");
}

static void check_lives_long(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct io_buffer buf;
	dma_addr_t addr;

	addr = map(t, t->p, 100, DMA_TO_DEVICE);
	/* Nobody else is to look. */
	io_bounce_check_teardown(t->bounce);
	KUNIT_EXPECT_EQ(test, io_bounce_check_scan(t->bounce), 0);

	/* As if it had been there for longer than anybody waits. */
	KUNIT_ASSERT_TRUE(test, io_bounce_lookup(t->bounce, t->dev, addr, &buf));
	/* Perhaps cut short */
	KUNIT_EXPECT_TRUE(test, strstarts(dev_name(t->dev),
					  io_buffer_slot(&buf)->life.dev));
	KUNIT_EXPECT_GT(test, strlen(io_buffer_slot(&buf)->life.dev), 0);
	io_buffer_slot(&buf)->life.since -= 200 * HZ;
	KUNIT_EXPECT_EQ(test, io_bounce_check_scan(t->bounce), 0);
	io_buffer_slot(&buf)->life.since -= 3600 * HZ;
	KUNIT_EXPECT_EQ(test, io_bounce_check_scan(t->bounce), 1);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	KUNIT_EXPECT_EQ(test, io_bounce_check_scan(t->bounce), 0);

	/* What is unmapped is nobody's concern. */
	io_buffer_slot(&buf)->life.old = false;
	unmap(t, addr, 100, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, io_bounce_check_scan(t->bounce), 0);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

/* In whatever slot it is: all that there are */
static void check_all_live_long(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr[128];
	struct io_buffer buf;
	int i, nr;

	for (nr = 0; nr < ARRAY_SIZE(addr); nr++) {
		addr[nr] = map(t, t->p, 100, DMA_TO_DEVICE);
		if (addr[nr] == DMA_MAPPING_ERROR)
			break;
	}
	io_bounce_check_teardown(t->bounce);
	for (i = 0; i < nr; i++)
		if (io_bounce_lookup(t->bounce, t->dev, addr[i], &buf))
			io_buffer_slot(&buf)->life.since -= 3600 * HZ;
	KUNIT_EXPECT_GE(test, nr, 16);
	KUNIT_EXPECT_EQ(test, io_bounce_check_scan(t->bounce), nr);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	for (i = 0; i < nr; i++)
		unmap(t, addr[i], 100, DMA_TO_DEVICE);
}

static dma_addr_t map_entries(struct check_test *t, struct scatterlist *sg,
			      enum dma_data_direction dir)
{
	sg_init_table(sg, 2);
	sg_set_buf(&sg[0], t->p + 17, 100);
	sg_set_buf(&sg[1], t->p + 2 * SZ_4K + 1500, 3000);
	if (!__io_bounce_map_sg(t->dev, sg, 2, dir, 0, t->bounce))
		return DMA_MAPPING_ERROR;
	return sg_dma_address(&sg[0]) - 17;
}

static void unmap_entries(struct check_test *t, struct scatterlist *sg,
			  enum dma_data_direction dir)
{
	__io_bounce_unmap_sg(t->dev, sg, 2, dir, 0, t->bounce);
}

static void check_list(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct scatterlist sg[2];
	int again;

	/* Legal: short write, all of it, and unmapped without a sync */
	KUNIT_ASSERT_NE(test, map_entries(t, sg, DMA_FROM_DEVICE),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_FALSE(test, memchr(t->p + 17, OLD, 100));
	KUNIT_EXPECT_FALSE(test, memchr(t->p + 2 * SZ_4K + 1500, OLD, 3000));
	memset(device(t, sg_dma_address(&sg[1])), NEW, 50);
	unmap_entries(t, sg, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 2 * SZ_4K + 1500));
	KUNIT_EXPECT_TRUE(test, all(t->p + 2 * SZ_4K + 1500, NEW, 50));
	KUNIT_EXPECT_TRUE(test, all(t->p + 2 * SZ_4K + 1550, OLD, 3500));
	memset(t->p, OLD, 4 * PAGE_SIZE);
	map_entries(t, sg, DMA_BIDIRECTIONAL);
	__io_bounce_unmap_sg(t->dev, sg, 2, DMA_BIDIRECTIONAL,
			     DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	for (again = 0; again < 2; again++) {
		map_entries(t, sg, DMA_FROM_DEVICE);
		t->p[2 * SZ_4K + 1500 + 2999] = CPU;
		unmap_entries(t, sg, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), !again);
	}
	elsewhere(t);
	map_entries(t, sg, DMA_TO_DEVICE);
	t->p[17 + 99] = CPU;
	unmap_entries(t, sg, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
}

static void check_list_as_one(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct scatterlist sg[2];
	dma_addr_t addr;
	size_t len;

	/* With what lies between the entries: no more than they are is summed. */
	addr = map_entries(t, sg, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	len = sg_dma_address(&sg[1]) + 3000 - addr;
	for_cpu(t, addr, len, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	unmap_entries(t, sg, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	/* In one piece, and unmapped as such */
	sg_init_table(sg, 2);
	sg_set_buf(&sg[0], t->p + 17, SZ_4K - 17);
	sg_set_buf(&sg[1], t->p + SZ_4K, 100);
	KUNIT_ASSERT_EQ(test, __io_bounce_map_sg(t->dev, sg, 2, DMA_FROM_DEVICE,
						 0, t->bounce), 1);
	len = sg_dma_len(sg);
	memset(device(t, sg_dma_address(sg)), NEW, 50);
	unmap(t, sg_dma_address(sg), len, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, len, SZ_4K + 83);
	KUNIT_EXPECT_TRUE(test, all(t->p + 17, NEW, 50));
	KUNIT_EXPECT_TRUE(test, all(t->p + 67, OLD, SZ_4K));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	/* Nothing is compared. */
	map_entries(t, sg, DMA_BIDIRECTIONAL);
	t->p[17] = CPU;
	__io_bounce_unmap_sg(t->dev, sg, 2, DMA_BIDIRECTIONAL,
			     DMA_ATTR_SKIP_CPU_SYNC, t->bounce);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static int link_state(struct check_test *t, struct dma_iova_state *state,
		      enum dma_data_direction dir)
{
	phys_addr_t phys = virt_to_phys(t->p);

	*state = (struct dma_iova_state) {};
	if (!__io_bounce_iova_alloc(t->bounce, t->dev, state, phys + SZ_4K,
				    3 * SZ_4K, 3, dir, 0))
		return -EBUSY;
	/* The second page first, then what comes after it and before it */
	return io_bounce_iova_link(t->dev, state, phys + SZ_4K, 0, SZ_4K, dir,
				   0) ?:
	       io_bounce_iova_link(t->dev, state, phys + 2 * SZ_4K, SZ_4K,
				   SZ_4K, dir, 0) ?:
	       io_bounce_iova_link(t->dev, state, phys, 2 * SZ_4K, 1000, dir,
				   0);
}

static void unlink_state(struct check_test *t, struct dma_iova_state *state,
			 enum dma_data_direction dir, unsigned long attrs)
{
	io_bounce_iova_unlink(t->dev, state, 0, SZ_4K, dir, attrs);
	io_bounce_iova_unlink(t->dev, state, SZ_4K, SZ_4K + 1000, dir, attrs);
	io_bounce_iova_free(t->dev, state);
}

static void check_iova(struct kunit *test)
{
	enum dma_data_direction dir = DMA_FROM_DEVICE;
	struct check_test *t = test->priv;
	struct dma_iova_state state;
	dma_addr_t addr;

	KUNIT_ASSERT_EQ(test, link_state(t, &state, dir), 0);
	KUNIT_EXPECT_FALSE(test, memchr(t->p, OLD, 1000));
	KUNIT_EXPECT_FALSE(test, memchr(t->p + SZ_4K, OLD, 2 * SZ_4K));
	memset(device(t, state.addr), NEW, 10);
	unlink_state(t, &state, dir, 0);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, SZ_4K));
	KUNIT_EXPECT_TRUE(test, all(t->p + SZ_4K, NEW, 10));
	KUNIT_EXPECT_TRUE(test, all(t->p + SZ_4K + 10, OLD, 2 * SZ_4K));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	memset(t->p, OLD, 4 * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, link_state(t, &state, dir), 0);
	unlink_state(t, &state, dir, DMA_ATTR_SKIP_CPU_SYNC);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	/* Given up half way: never unlinked */
	KUNIT_ASSERT_EQ(test, link_state(t, &state, dir), 0);
	io_bounce_iova_free(t->dev, &state);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	/* What is unlinked may be mapped elsewhere before the state is freed. */
	KUNIT_ASSERT_EQ(test, link_state(t, &state, dir), 0);
	io_bounce_iova_unlink(t->dev, &state, 0, 2 * SZ_4K + 1000, dir, 0);
	addr = map(t, t->p, 3 * SZ_4K, dir);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
	unmap(t, addr, 3 * SZ_4K, dir);
	io_bounce_iova_free(t->dev, &state);

	KUNIT_ASSERT_EQ(test, link_state(t, &state, dir), 0);
	t->p[999] = CPU;
	unlink_state(t, &state, dir, 0);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
}

/* Legal use */

static void check_partial_syncs(struct kunit *test)
{
	struct check_test *t = test->priv;
	unsigned int from, step;
	dma_addr_t addr;
	u8 *p = t->p + 10;

	addr = map(t, p, 6000, DMA_FROM_DEVICE);
	for (from = 0, step = 1; from + step <= 6000; from += step, step += 7) {
		memset(device(t, addr) + from, NEW, step);
		for_cpu(t, addr + from, step, DMA_FROM_DEVICE);
		KUNIT_EXPECT_TRUE(test, all(p + from, NEW, step));
		if (!(step & 8))
			continue;
		memset(p + from, CPU, step);
		for_device(t, addr + from, step, DMA_FROM_DEVICE);
	}
	unmap(t, addr, 6000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(p, NEW, from));
	KUNIT_EXPECT_TRUE(test, all(p + from, OLD, 6000 - from));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	memset(t->p, OLD, 4 * PAGE_SIZE);
	addr = map(t, p, 6000, DMA_BIDIRECTIONAL);
	memset(device(t, addr) + 2000, NEW, 2000);
	for_cpu(t, addr + 2500, 333, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(p + 2500, NEW, 333));
	memset(p + 2600, CPU, 20);
	for_device(t, addr + 2590, 40, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(device(t, addr) + 2590, NEW, 10));
	KUNIT_EXPECT_TRUE(test, all(device(t, addr) + 2600, CPU, 20));
	/* Ahead of the device, without having taken anything back */
	for_device(t, addr, 6000, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(device(t, addr), OLD, 2000));
	KUNIT_EXPECT_TRUE(test, all(device(t, addr) + 4000, OLD, 2000));
	unmap(t, addr, 6000, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(p, OLD, 2000));
	KUNIT_EXPECT_TRUE(test, all(p + 2600, CPU, 20));
	KUNIT_EXPECT_TRUE(test, all(p + 4000, OLD, 2000));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	/* Written, then handed over: who writes only for the device needs no more. */
	addr = map(t, p, 6000, DMA_TO_DEVICE);
	memset(p + 77, CPU, 1000);
	for_device(t, addr + 77, 1000, DMA_TO_DEVICE);
	for_cpu(t, addr + 3000, 100, DMA_TO_DEVICE);
	memset(p + 3000, CPU, 100);
	unmap(t, addr, 6000, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

/* The CPU and the device have a block in part each. */
static void check_parts_of_a_block(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;

	/* What was not handed over is not poisoned. */
	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	for_cpu(t, addr, 100, DMA_FROM_DEVICE);
	memset(t->p, CPU, 100);
	for_device(t, addr + 20, 70, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, CPU, 100));
	unmap_skip(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, CPU, 100));
	KUNIT_EXPECT_TRUE(test, all(t->p + 100, OLD, 3000));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	/* Each writes its own part: the copy out overwrites only the device's. */
	memset(t->p, OLD, 100);
	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	for_cpu(t, addr, 90, DMA_FROM_DEVICE);
	memset(t->p, CPU, 90);
	memset(device(t, addr) + 90, NEW, 10);
	for_cpu(t, addr + 90, 10, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, CPU, 90));
	KUNIT_EXPECT_TRUE(test, all(t->p + 90, NEW, 10));
	unmap_skip(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	/* Part of a block is handed over that the device has already. */
	memset(t->p, OLD, 100);
	addr = map(t, t->p, 3000, DMA_BIDIRECTIONAL);
	for_device(t, addr + 20, 70, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(device(t, addr), OLD, 3000));
	unmap(t, addr, 3000, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static void check_skip_after_syncs(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr = map(t, t->p, 3000, DMA_FROM_DEVICE);

	memset(device(t, addr), NEW, 100);
	for_cpu(t, addr, 100, DMA_FROM_DEVICE);
	/* From here on the bytes are the driver's, and no unmap may touch them. */
	memset(t->p, CPU, 100);
	unmap_skip(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, CPU, 100));
	/* No poison stays. */
	KUNIT_EXPECT_TRUE(test, all(t->p + 100, OLD, 3000));

	/* Nor may it where the driver has no right to have written. */
	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	memset(device(t, addr), NEW, 3000);
	memset(t->p + 1000, CPU, 100);
	unmap_skip(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, NEW, 1000));
	KUNIT_EXPECT_TRUE(test, all(t->p + 1000, CPU, 100));
	KUNIT_EXPECT_TRUE(test, all(t->p + 1100, NEW, 1900));
	KUNIT_EXPECT_TRUE(test, all(t->p + 3000, OLD, 1000));

	addr = map(t, t->p, 3000, DMA_TO_DEVICE);
	t->p[0]++;
	unmap_skip(t, addr, 3000, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

/* Mapped without a sync, filled, and handed over later */
static void check_skip_at_map(struct kunit *test)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	struct check_test *t = test->priv;
	int broken;

	for (broken = 0; broken < 2; broken++) {
		dma_addr_t addr = __io_bounce_map_mandatory(t->bounce, t->dev,
							    virt_to_phys(t->p),
							    3000, dir,
							    DMA_ATTR_SKIP_CPU_SYNC,
							    false);

		KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
		memset(t->p, CPU, 3000);
		for_device(t, addr, 3000, dir);
		KUNIT_EXPECT_TRUE(test, all(device(t, addr), CPU, 3000));
		KUNIT_EXPECT_EQ(test, reports(t), 0);
		if (broken)
			t->p[100] = OLD;
		unmap(t, addr, 3000, dir);
		KUNIT_EXPECT_EQ(test, reports(t), broken);
	}
}

static void check_no_poison_stays(struct kunit *test)
{
	enum dma_data_direction dir = DMA_FROM_DEVICE;
	struct check_test *t = test->priv;
	dma_addr_t addr = map(t, t->p, 3000, dir);

	/* A byte that looks like it is the CPU's; a few at the end are not. */
	memset(device(t, addr), NEW, 3000);
	memset(t->p + 1000, CPU, 100);
	t->p[1050] = POISON;
	memset(t->p + 2990, CPU, 7);
	unmap_skip(t, addr, 3000, dir);
	KUNIT_EXPECT_EQ(test, t->p[1050], POISON);
	KUNIT_EXPECT_TRUE(test, all(t->p + 2990, CPU, 7));
	KUNIT_EXPECT_TRUE(test, all(t->p + 2997, NEW, 3));

	memset(t->p, OLD, 3000);
	addr = map(t, t->p, 5, dir);
	unmap_skip(t, addr, 5, dir);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 5));

	/* Blocks at both ends of a sync that are given back with it */
	addr = map(t, t->p, 3000, dir);
	for_cpu(t, addr + 1000, 100, dir);
	for_cpu(t, addr + 10, 2980, dir);
	unmap_skip(t, addr, 3000, dir);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

/* A page that looks as if it belonged to a file */
static struct page *file_page(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	page_folio(page)->mapping = (void *)test;
	return page;
}

static void free_file_page(struct page *page)
{
	page_folio(page)->mapping = NULL;
	__free_page(page);
}

/* The device writes what the CPU looks at now and then. */
static void check_polling(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	int i;

	for (i = 0; i < 3; i++) {
		memset(device(t, addr), NEW + i, 200);
		for_cpu(t, addr + 10, 150, DMA_FROM_DEVICE);
		KUNIT_EXPECT_TRUE(test, all(t->p + 10, NEW + i, 150));
	}
	memset(device(t, addr), NEW + i, 200);
	unmap(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, NEW + i, 200));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

/* Written after a sync, and not overwritten, or handed over before */
static void check_writes_of_the_owner(struct kunit *test)
{
	struct check_test *t = test->priv;
	enum dma_data_direction dir;
	dma_addr_t addr;

	for (dir = DMA_BIDIRECTIONAL; dir <= DMA_FROM_DEVICE; dir++) {
		addr = map(t, t->p, 3000, dir);
		for_cpu(t, addr, 90, dir);
		memset(t->p, CPU, 90);
		for_cpu(t, addr + 90, 10, dir);
		memset(t->p + 90, CPU, 10);
		unmap_skip(t, addr, 3000, dir);
		KUNIT_EXPECT_TRUE(test, all(t->p, CPU, 100));
		KUNIT_EXPECT_TRUE(test, all(t->p + 100, OLD, 3000));

		addr = map(t, t->p, 3000, dir);
		for_cpu(t, addr, 100, dir);
		memset(t->p + 20, NEW, 70);
		for_device(t, addr + 20, 70, dir);
		unmap(t, addr, 3000, dir);
		/* What the device has counts: DMA_FROM_DEVICE copies nothing in. */
		KUNIT_EXPECT_TRUE(test, all(t->p + 20, dir == DMA_FROM_DEVICE ?
					    CPU : NEW, 70));
		memset(t->p, OLD, 100);

		/* What overwrites it is the same. */
		addr = map(t, t->p, 3000, dir);
		for_cpu(t, addr, 100, dir);
		memset(t->p, NEW, 100);
		memset(device(t, addr), NEW, 100);
		unmap(t, addr, 3000, dir);
		memset(t->p, OLD, 100);
	}
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static void check_two_reads_into_one_buffer(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct page *page = file_page(test);
	u8 *p = page_address(page);
	dma_addr_t addr[2];

	memset(p, OLD, PAGE_SIZE);
	addr[0] = map(t, p, 2000, DMA_FROM_DEVICE);
	addr[1] = map(t, p + 1000, 2000, DMA_FROM_DEVICE);
	/* The second holds no poison, and the first neither. */
	KUNIT_EXPECT_TRUE(test, all(device(t, addr[1]), OLD, 2000));
	KUNIT_EXPECT_TRUE(test, all(p, OLD, PAGE_SIZE));
	memset(device(t, addr[0]), NEW, 2000);
	unmap(t, addr[0], 2000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(p, NEW, 2000));
	memset(device(t, addr[1]), NEW + 1, 500);
	unmap(t, addr[1], 2000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(p + 1000, NEW + 1, 500));
	KUNIT_EXPECT_FALSE(test, memchr_inv(p + 3000, OLD, 1000));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
	free_file_page(page);
}

/* Written to a device by two mappings, and read back into by a third */
static void check_readers_share(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr[3];

	addr[0] = map(t, t->p, 2000, DMA_TO_DEVICE);
	addr[1] = map(t, t->p, 2000, DMA_TO_DEVICE);
	addr[2] = map(t, t->p, 1000, DMA_FROM_DEVICE);
	memset(device(t, addr[2]), NEW, 1000);
	unmap(t, addr[2], 1000, DMA_FROM_DEVICE);
	unmap(t, addr[0], 2000, DMA_TO_DEVICE);
	unmap(t, addr[1], 2000, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, NEW, 1000));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static void check_readers_are_compared(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr[2];

	addr[0] = map(t, t->p, 2000, DMA_TO_DEVICE);
	addr[1] = map(t, t->p, 2000, DMA_TO_DEVICE);
	t->p[1000] = CPU;
	unmap(t, addr[0], 2000, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 1);
	unmap(t, addr[1], 2000, DMA_TO_DEVICE);
}

/* Received, and sent on while it is still mapped */
static void check_sharers_are_not_compared(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr[2];
	int synced;

	for (synced = 0; synced < 2; synced++) {
		addr[0] = map(t, t->p, 1000, DMA_FROM_DEVICE);
		if (synced)
			for_cpu(t, addr[0], 1000, DMA_FROM_DEVICE);
		addr[1] = map(t, t->p, 1000, DMA_TO_DEVICE);
		if (!synced) {
			for_device(t, addr[0], 1000, DMA_FROM_DEVICE);
			KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 1000));
			for_cpu(t, addr[0], 1000, DMA_FROM_DEVICE);
		}
		t->p[500] = CPU;
		unmap(t, addr[1], 1000, DMA_TO_DEVICE);
		unmap(t, addr[0], 1000, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), 0);
	}
}

static void check_neighbours_are_free(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr[3];
	int i;

	for (i = 0; i < 3; i++)
		addr[i] = map(t, t->p + 100 + i * 33, 33, i);
	memset(t->p, CPU, 100);
	memset(t->p + 199, CPU, 100);
	for (i = 0; i < 3; i++)
		unmap(t, addr[i], 33, i);
	KUNIT_EXPECT_TRUE(test, all(t->p, CPU, 100));
	KUNIT_EXPECT_TRUE(test, all(t->p + 100, OLD, 99));
	KUNIT_EXPECT_TRUE(test, all(t->p + 199, CPU, 100));
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	/* Both ends of the last touch another one that is written. */
	addr[0] = map(t, t->p + 100, 33, DMA_FROM_DEVICE);
	addr[1] = map(t, t->p + 166, 33, DMA_FROM_DEVICE);
	addr[2] = map(t, t->p + 133, 33, DMA_FROM_DEVICE);
	KUNIT_EXPECT_FALSE(test, memchr(t->p + 100, OLD, 99));
	unmap(t, addr[0], 33, DMA_FROM_DEVICE);
	unmap(t, addr[1], 33, DMA_FROM_DEVICE);
	unmap(t, addr[2], 33, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p + 100, OLD, 99));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static void check_page_cache_may_change(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct page *page = file_page(test);
	unsigned int changes = io_bounce_check_changes();
	u8 *p = page_address(page);
	dma_addr_t addr;

	memset(p, OLD, PAGE_SIZE);
	addr = map(t, p, PAGE_SIZE, DMA_TO_DEVICE);
	p[100] = CPU;
	unmap(t, addr, PAGE_SIZE, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, p[100], CPU);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_check_changes() - changes, 1);

	/* Mapped both ways it may still be read. */
	memset(p, OLD, PAGE_SIZE);
	addr = map(t, p, PAGE_SIZE, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_TRUE(test, all(p, OLD, PAGE_SIZE));
	unmap(t, addr, PAGE_SIZE, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, reports(t), 0);

	addr = map(t, p, PAGE_SIZE, DMA_FROM_DEVICE);
	for_cpu(t, addr, 100, DMA_FROM_DEVICE);
	p[99] = CPU;
	unmap(t, addr, PAGE_SIZE, DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, p[99], OLD);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
	KUNIT_EXPECT_EQ(test, io_bounce_check_changes() - changes, 2);
	free_file_page(page);
}

enum owner { OWNER_FILE, OWNER_USER, OWNER_LRU, NR_OWNERS };

/* A page looks as if it belonged to one of them, or no longer. */
static void pretend(struct page *page, enum owner owner, bool on)
{
	struct folio *folio = page_folio(page);

	if (owner == OWNER_FILE)
		folio->mapping = on ? (void *)page : NULL;
	else if (owner == OWNER_USER)
		atomic_add(on ? 1 : -1, &page->_mapcount);
	else if (on)
		folio_set_lru(folio);
	else
		folio_clear_lru(folio);
}

/* All owners; the memory is theirs before it is mapped, or from then on. */
static void check_memory_of_others_may_change(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	u8 *p = page ? page_address(page) : NULL;
	unsigned int changes;
	enum owner owner;
	dma_addr_t addr;
	int late;

	KUNIT_ASSERT_NOT_NULL(test, page);
	for (owner = 0; owner < NR_OWNERS; owner++) {
		for (late = 0; late < 2; late++) {
			changes = io_bounce_check_changes();
			if (!late)
				pretend(page, owner, true);
			addr = map(t, p, PAGE_SIZE, DMA_TO_DEVICE);
			if (late)
				pretend(page, owner, true);
			p[100]++;
			unmap(t, addr, PAGE_SIZE, DMA_TO_DEVICE);
			pretend(page, owner, false);
			KUNIT_EXPECT_EQ(test, reports(t), 0);
			KUNIT_EXPECT_EQ(test, io_bounce_check_changes() - changes,
					1);
		}
	}
	__free_page(page);
}

static bool highmem_is(struct page *page, u8 value, size_t len)
{
	u8 *p = kmap_local_page(page);
	bool same = all(p, value, len);

	kunmap_local(p);
	return same;
}

static void check_highmem(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct page *page = alloc_page(GFP_KERNEL | __GFP_HIGHMEM);
	dma_addr_t addr;
	int broken;

	KUNIT_ASSERT_NOT_NULL(test, page);
	if (!PageHighMem(page)) {
		__free_page(page);
		kunit_skip(test, "all memory has a kernel address");
	}
	for (broken = 0; broken < 2; broken++) {
		memset_page(page, 0, OLD, PAGE_SIZE);
		addr = __io_bounce_map(t->dev, page_to_phys(page), PAGE_SIZE,
				       DMA_FROM_DEVICE, 0, t->bounce);
		KUNIT_EXPECT_FALSE(test, highmem_is(page, OLD, PAGE_SIZE));
		memset(device(t, addr), NEW, PAGE_SIZE);
		if (broken)
			memset_page(page, 99, CPU, 1);
		unmap(t, addr, PAGE_SIZE, DMA_FROM_DEVICE);
		KUNIT_EXPECT_TRUE(test, highmem_is(page, NEW, PAGE_SIZE));
		KUNIT_EXPECT_EQ(test, reports(t), broken);
	}
	elsewhere(t);
	for (broken = 0; broken < 2; broken++) {
		addr = __io_bounce_map(t->dev, page_to_phys(page), PAGE_SIZE,
				       DMA_TO_DEVICE, 0, t->bounce);
		KUNIT_EXPECT_TRUE(test, all(device(t, addr), NEW, PAGE_SIZE));
		if (broken)
			memset_page(page, 99, CPU, 1);
		unmap(t, addr, PAGE_SIZE, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), broken);
	}
	__free_page(page);
}

static void check_interrupts_off(struct kunit *test)
{
	struct check_test *t = test->priv;
	unsigned long flags;
	dma_addr_t addr;

	local_irq_save(flags);
	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	*device(t, addr) = NEW;
	for_cpu(t, addr, 1, DMA_FROM_DEVICE);
	for_device(t, addr, 1, DMA_FROM_DEVICE);
	unmap(t, addr, 3000, DMA_FROM_DEVICE);
	local_irq_restore(flags);
	KUNIT_EXPECT_EQ(test, t->p[0], NEW);
	KUNIT_EXPECT_TRUE(test, all(t->p + 1, OLD, 3000));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

struct check_irq {
	struct irq_work work;
	struct check_test *t;
	bool hard;
};

static void map_in_irq(struct irq_work *work)
{
	struct check_irq *irq = container_of(work, struct check_irq, work);
	struct check_test *t = irq->t;
	dma_addr_t addr = map(t, t->p, 3000, DMA_FROM_DEVICE);

	irq->hard = in_hardirq();
	*device(t, addr) = NEW;
	for_cpu(t, addr, 1, DMA_FROM_DEVICE);
	unmap(t, addr, 3000, DMA_FROM_DEVICE);
}

static void check_hard_interrupt(struct kunit *test)
{
	struct check_test *t = test->priv;
	struct check_irq irq = {
		.work = IRQ_WORK_INIT_HARD(map_in_irq),
		.t = t,
	};

	irq_work_queue(&irq.work);
	irq_work_sync(&irq.work);
	if (!irq.hard)
		kunit_skip(test, "no interrupt");
	KUNIT_EXPECT_EQ(test, t->p[0], NEW);
	KUNIT_EXPECT_TRUE(test, all(t->p + 1, OLD, 3000));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

/* Neither is anything poisoned, nor compared, where it is not switched on. */
static void check_is_off(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;

	t->bounce->check = false;
	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 3000));
	t->p[0] = CPU;
	unmap(t, addr, 2999, DMA_FROM_DEVICE);
	addr = map(t, t->p, 3000, DMA_TO_DEVICE);
	t->p[0] = CPU + 1;
	unmap(t, addr, 3000, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static struct io_buffer_chunk *chunk_of(struct check_test *t, dma_addr_t addr)
{
	struct io_buffer buf;

	guard(rcu)();
	return io_buffer_lookup(&t->bounce->mgr, addr, &buf) ? buf.chunk : NULL;
}

/* There was no memory for the guards: bounced, but not checked, and counted as such. */
static void check_counts_what_has_no_guards(struct kunit *test)
{
	struct check_test *t = test->priv;
	unsigned long escapes = io_bounce_check_escapes();
	struct io_buffer_guard *guards;
	struct io_buffer_chunk *chunk;
	dma_addr_t addr;

	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	chunk = chunk_of(t, addr);
	unmap(t, addr, 3000, DMA_FROM_DEVICE);
	KUNIT_ASSERT_NOT_NULL(test, chunk);
	KUNIT_EXPECT_EQ(test, io_bounce_check_escapes() - escapes, 0);

	guards = chunk->guards;
	chunk->guards = NULL;
	addr = map(t, t->p, 3000, DMA_FROM_DEVICE);
	KUNIT_EXPECT_PTR_EQ(test, chunk_of(t, addr), chunk);
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 3000));
	t->p[0] = CPU;
	*device(t, addr) = NEW;
	unmap(t, addr, 3000, DMA_FROM_DEVICE);
	chunk->guards = guards;
	KUNIT_EXPECT_EQ(test, io_bounce_check_escapes() - escapes, 1);
	KUNIT_EXPECT_EQ(test, t->p[0], NEW);
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static void check_counts_what_is_not_bounced(struct kunit *test)
{
	struct check_test *t = test->priv;
	unsigned long escapes = io_bounce_check_escapes();
	phys_addr_t phys = virt_to_phys(t->p);

	KUNIT_EXPECT_EQ(test, __io_bounce_map(t->dev, phys, 100, DMA_TO_DEVICE,
					      DMA_ATTR_SKIP_CPU_SYNC,
					      t->bounce),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, io_bounce_check_escapes() - escapes, 1);
	KUNIT_EXPECT_EQ(test, __io_bounce_map(t->dev, phys, SZ_4M,
					      DMA_TO_DEVICE, 0, t->bounce),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_EQ(test, io_bounce_check_escapes() - escapes, 2);
	/* Nor does dma-iommu.c map it by itself. */
	atomic_set(&t->bounce->early[IO_BOUNCE_DIRECT_LIMIT], IO_BOUNCE_EARLY_MAX);
	KUNIT_EXPECT_TRUE(test, io_bounce_may_map(t->bounce, SZ_4M, DMA_TO_DEVICE));
}

/* A driver forgot mappings, and its device is gone: nobody finds them any more. */
static void check_leaked(struct kunit *test)
{
	struct check_test *t = test->priv;
	dma_addr_t addr;
	int i;

	/* In two slots, so that not all are the first of a chunk */
	for (i = 0; i < 2; i++) {
		addr = map(t, t->p + i * PAGE_SIZE, 3000, DMA_FROM_DEVICE);
		KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	}
	io_bounce_teardown(t->bounce);
	rcu_barrier();
	memset(t->bounce, 0, sizeof(*t->bounce));
	memset(t->p, OLD, 4 * PAGE_SIZE);
	start(t);

	for (i = 0; i < 2; i++) {
		u8 *p = t->p + i * PAGE_SIZE;

		addr = map(t, p, 3000, DMA_FROM_DEVICE);
		KUNIT_EXPECT_EQ(test, reports(t), 0);
		KUNIT_EXPECT_FALSE(test, memchr(p, OLD, 3000));
		unmap(t, addr, 3000, DMA_FROM_DEVICE);
	}
	KUNIT_EXPECT_TRUE(test, all(t->p, OLD, 4 * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, reports(t), 0);
}

static struct kunit_case check_cases[] = {
	KUNIT_CASE(check_written_while_owned),
	KUNIT_CASE(check_written_beside_a_sync),
	KUNIT_CASE(check_written_before_handing_over),
	KUNIT_CASE(check_reports_each_rule),
	KUNIT_CASE(check_places),
	KUNIT_CASE(check_changed_after_map),
	KUNIT_CASE(check_written_after_sync),
	KUNIT_CASE(check_reader_finds_poison),
	KUNIT_CASE(check_not_overwritten),
	KUNIT_CASE(check_unmap_size),
	KUNIT_CASE(check_sync_range),
	KUNIT_CASE(check_mapped_twice),
	KUNIT_CASE(check_freed_before_unmap),
	KUNIT_CASE(check_freed_before),
	KUNIT_CASE(check_freed_beside),
	KUNIT_CASE(check_lives_long),
	KUNIT_CASE(check_all_live_long),
	KUNIT_CASE(check_list),
	KUNIT_CASE(check_list_as_one),
	KUNIT_CASE(check_iova),
	KUNIT_CASE(check_partial_syncs),
	KUNIT_CASE(check_parts_of_a_block),
	KUNIT_CASE(check_skip_after_syncs),
	KUNIT_CASE(check_skip_at_map),
	KUNIT_CASE(check_no_poison_stays),
	KUNIT_CASE(check_polling),
	KUNIT_CASE(check_writes_of_the_owner),
	KUNIT_CASE(check_two_reads_into_one_buffer),
	KUNIT_CASE(check_readers_share),
	KUNIT_CASE(check_readers_are_compared),
	KUNIT_CASE(check_sharers_are_not_compared),
	KUNIT_CASE(check_neighbours_are_free),
	KUNIT_CASE(check_page_cache_may_change),
	KUNIT_CASE(check_memory_of_others_may_change),
	KUNIT_CASE(check_highmem),
	KUNIT_CASE(check_interrupts_off),
	KUNIT_CASE(check_hard_interrupt),
	KUNIT_CASE(check_is_off),
	KUNIT_CASE(check_counts_what_has_no_guards),
	KUNIT_CASE(check_counts_what_is_not_bounced),
	KUNIT_CASE(check_leaked),
	{}
};

static struct kunit_suite check_suite = {
	.name = "io_bounce_check",
	.suite_init = check_suite_init,
	.suite_exit = check_suite_exit,
	.init = check_test_init,
	.exit = check_test_exit,
	.test_cases = check_cases,
};

kunit_test_suite(check_suite);

MODULE_DESCRIPTION("KUnit tests of the ownership checker");
MODULE_LICENSE("GPL");
