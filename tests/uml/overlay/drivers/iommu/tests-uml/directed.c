// SPDX-License-Identifier: GPL-2.0
/*
 * The DMA API on the mock IOMMU: one test for each promise, then random traffic.
 *
 * These are tests of the DMA API, not of one way to implement it: they pass with
 * bounce buffers off and on, and on a kernel that has none. Only with
 * expect_bounce do they also ask whether the IOMMU was left alone.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/hmm-dma.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include "../../../mm/slab.h"
#include "mock-iommu.h"
#include "model.h"

static unsigned long long seed;
module_param(seed, ullong, 0444);
MODULE_PARM_DESC(seed, "where random traffic starts, 0 to draw one");

static unsigned int steps = 4000;
module_param(steps, uint, 0444);
MODULE_PARM_DESC(steps, "steps of each thread of random traffic");

bool expect_bounce;
module_param(expect_bounce, bool, 0444);
MODULE_PARM_DESC(expect_bounce, "what fits the limit must not reach the IOMMU");
static bool expect_auto;
module_param(expect_auto, bool, 0444);
MODULE_PARM_DESC(expect_auto, "the limit must set itself so that small mappings do not");

static unsigned int expect_limit = SZ_64K;
module_param(expect_limit, uint, 0444);
MODULE_PARM_DESC(expect_limit, "largest mapping to be bounced");

#define BUF_PAGES	48
#define BUF_SIZE	(BUF_PAGES * PAGE_SIZE)

/* A device, a buffer full of a known pattern, and a copy of the pattern. */
struct fixture {
	struct device *dev;
	u8 *buf;
	u8 *old;
	u8 *tmp;
	unsigned int errors;
};

/* KUNIT_EXPECT_MEMEQ() would print all of a buffer, this the place to look at. */
static size_t first_difference(const u8 *a, const u8 *b, size_t len)
{
	size_t i;

	for (i = 0; i < len && a[i] == b[i]; i++)
		;
	return i;
}

#define EXPECT_BYTES_EQUAL(test, a, b, len) do {			\
	size_t __len = (len);						\
									\
	KUNIT_EXPECT_EQ(test, first_difference(a, b, __len), __len);	\
} while (0)

/* No byte of it is one that MOCK_IS_DATA() would not take for data. */
static void random_data(u8 *p, size_t len)
{
	size_t i;

	get_random_bytes(p, len);
	for (i = 0; i < len; i++)
		p[i] &= 0x7f;
}

static void refill(struct fixture *f)
{
	random_data(f->buf, BUF_SIZE);
	memcpy(f->old, f->buf, BUF_SIZE);
}

static void free_buf(void *buf)
{
	free_pages_exact(buf, BUF_SIZE);
}

static struct fixture *fixture(struct kunit *test, enum mock_profile_id id)
{
	struct fixture *f = test->priv;

	f->dev = mock_device(id);
	refill(f);
	return f;
}

static int model_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	KUNIT_ASSERT_EQ(test, mock_devices_add(), 0);
	f->buf = alloc_pages_exact(BUF_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->buf);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_buf, f->buf),
			0);
	f->old = kunit_kmalloc(test, BUF_SIZE, GFP_KERNEL);
	f->tmp = kunit_kzalloc(test, BUF_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_TRUE(test, f->old && f->tmp);
	f->errors = mock_errors();
	test->priv = f;
	return 0;
}

static void model_exit(struct kunit *test)
{
	struct fixture *f = test->priv;

	mock_fail_maps(0);
	if (f)
		KUNIT_EXPECT_EQ(test, mock_errors(), f->errors);
}

static dma_addr_t map(struct kunit *test, struct fixture *f, size_t at,
		      size_t len, enum dma_data_direction dir)
{
	dma_addr_t addr = dma_map_single(f->dev, f->buf + at, len, dir);

	KUNIT_ASSERT_FALSE(test, dma_mapping_error(f->dev, addr));
	return addr;
}

static u64 iommu_ops(void)
{
	struct mock_counts c;

	mock_get_counts(&c);
	return c.map + c.unmap + c.sync + c.flush;
}

/*
 * Let what is missed now be there next time. That is over when a round of it
 * leaves the IOMMU alone; where that never happens, two rounds will do.
 */
static void warm_up(struct kunit *test, struct fixture *f)
{
	int round, dir, i, rounds = expect_bounce ? 20 : 2;
	size_t largest = min(expect_limit, SZ_64K);
	dma_addr_t addr;
	u64 before;

	for (round = 0; round < rounds; round++) {
		before = iommu_ops();
		for (i = 0; i < 8; i++)
			for (dir = DMA_BIDIRECTIONAL; dir <= DMA_FROM_DEVICE;
			     dir++) {
				size_t len = min(SZ_4K << (i % 5), largest);

				addr = map(test, f, 0, len, dir);
				dma_unmap_single(f->dev, addr, len, dir);
			}
		if (iommu_ops() == before)
			break;
		msleep(20);
	}
}

/* Permissions and the four ways bytes move. */

static void permission_is_direction(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	static const int prots[] = {
		[DMA_BIDIRECTIONAL] = IOMMU_READ | IOMMU_WRITE,
		[DMA_TO_DEVICE] = IOMMU_READ,
		[DMA_FROM_DEVICE] = IOMMU_WRITE,
	};
	int round, dir;
	phys_addr_t phys;

	for (round = 0; round < 2; round++) {
		for (dir = DMA_BIDIRECTIONAL; dir <= DMA_FROM_DEVICE; dir++) {
			dma_addr_t addr = map(test, f, 0, SZ_4K, dir);
			bool r = mock_dev_reaches(f->dev, addr, IOMMU_READ,
						  &phys);
			bool w = mock_dev_reaches(f->dev, addr, IOMMU_WRITE,
						  &phys);

			KUNIT_EXPECT_EQ(test, r, !!(prots[dir] & IOMMU_READ));
			KUNIT_EXPECT_EQ(test, w, !!(prots[dir] & IOMMU_WRITE));
			dma_unmap_single(f->dev, addr, SZ_4K, dir);
		}
		warm_up(test, f);
	}
}

static void short_write_keeps_the_rest(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	int round, i;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < 16; i++) {
			size_t at = i * 77, len = 1 + i * 1500;
			dma_addr_t addr = map(test, f, at, len,
					      DMA_FROM_DEVICE);
			size_t wrote = len / 3;

			random_data(f->tmp, wrote);
			KUNIT_EXPECT_EQ(test, mock_dev_write(f->dev, addr,
							     f->tmp, wrote), 0);
			dma_unmap_single(f->dev, addr, len, DMA_FROM_DEVICE);
			memcpy(f->old + at, f->tmp, wrote);
			EXPECT_BYTES_EQUAL(test, f->buf, f->old, BUF_SIZE);
		}
		warm_up(test, f);
		refill(f);
	}
}

static void partial_sync_names_its_bytes(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;

	warm_up(test, f);
	refill(f);
	addr = map(test, f, 100, 8000, dir);

	/* The device writes everything, the CPU asks for the middle of it. */
	random_data(f->tmp, 8000);
	KUNIT_EXPECT_EQ(test, mock_dev_write(f->dev, addr, f->tmp, 8000), 0);
	dma_sync_single_range_for_cpu(f->dev, addr, 3001, 999, dir);
	EXPECT_BYTES_EQUAL(test, f->buf + 3101, f->tmp + 3001, 999);

	/* It answers with a few bytes, which the device must see. */
	memset(f->buf + 3200, 0x55, 10);
	dma_sync_single_range_for_device(f->dev, addr, 3100, 10, dir);
	memset(f->tmp + 3100, 0x55, 10);
	KUNIT_EXPECT_EQ(test, mock_dev_read(f->dev, addr, f->old, 8000), 0);
	EXPECT_BYTES_EQUAL(test, f->old, f->tmp, 8000);

	dma_unmap_single(f->dev, addr, 8000, dir);
	EXPECT_BYTES_EQUAL(test, f->buf + 100, f->tmp, 8000);
}

/* A receive ring: mapped once, synced for every packet. */
static void long_lived_mapping(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	dma_addr_t addr;
	int i;

	warm_up(test, f);
	addr = map(test, f, 64, 2048, DMA_FROM_DEVICE);
	for (i = 0; i < 200; i++) {
		size_t len = 60 + i * 7;

		random_data(f->tmp, len);
		KUNIT_EXPECT_EQ(test, mock_dev_write(f->dev, addr, f->tmp, len),
				0);
		dma_sync_single_for_cpu(f->dev, addr, len, DMA_FROM_DEVICE);
		EXPECT_BYTES_EQUAL(test, f->buf + 64, f->tmp, len);
		dma_sync_single_for_device(f->dev, addr, len, DMA_FROM_DEVICE);
	}
	/* The last packet is handed on before its page is unmapped. */
	random_data(f->buf + 64, 2048);
	memcpy(f->tmp, f->buf + 64, 2048);
	dma_unmap_single_attrs(f->dev, addr, 2048, DMA_FROM_DEVICE,
			       DMA_ATTR_SKIP_CPU_SYNC);
	EXPECT_BYTES_EQUAL(test, f->buf + 64, f->tmp, 2048);
}

/* Owners that never sync share their memory with a coherent device. */
static void shared_memory_stays_shared(struct kunit *test)
{
	static const unsigned long attrs[] = {
		DMA_ATTR_SKIP_CPU_SYNC, DMA_ATTR_REQUIRE_COHERENT
	};
	struct fixture *f = fixture(test, MOCK_64BIT);
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;
	int i;

	warm_up(test, f);
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		addr = dma_map_single_attrs(f->dev, f->buf, SZ_4K, dir,
					    attrs[i]);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(f->dev, addr));
		memset(f->buf, 0x11, 100);
		KUNIT_EXPECT_EQ(test, mock_dev_read(f->dev, addr, f->tmp, 100),
				0);
		EXPECT_BYTES_EQUAL(test, f->tmp, f->buf, 100);
		memset(f->tmp, 0x22, 100);
		KUNIT_EXPECT_EQ(test, mock_dev_write(f->dev, addr, f->tmp, 100),
				0);
		EXPECT_BYTES_EQUAL(test, f->tmp, f->buf, 100);
		dma_unmap_single_attrs(f->dev, addr, SZ_4K, dir, attrs[i]);
	}
}

static void device_memory_is_mapped(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	phys_addr_t bar = BIT_ULL(38) + SZ_64K, phys = 0;
	dma_addr_t addr;

	warm_up(test, f);
	addr = dma_map_resource(f->dev, bar + 16, 64, DMA_BIDIRECTIONAL, 0);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(f->dev, addr));
	KUNIT_EXPECT_TRUE(test, mock_dev_reaches(f->dev, addr, IOMMU_WRITE,
						 &phys));
	KUNIT_EXPECT_EQ(test, phys, bar + 16);
	dma_unmap_resource(f->dev, addr, 64, DMA_BIDIRECTIONAL, 0);

	addr = dma_map_phys(f->dev, bar, SZ_4K, DMA_TO_DEVICE, DMA_ATTR_MMIO);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(f->dev, addr));
	KUNIT_EXPECT_TRUE(test, mock_dev_reaches(f->dev, addr, IOMMU_READ,
						 &phys));
	KUNIT_EXPECT_EQ(test, phys, bar);
	dma_unmap_phys(f->dev, addr, SZ_4K, DMA_TO_DEVICE, DMA_ATTR_MMIO);
}

/* A sync of an address that was never bounced, where it could have been. */
static void coherent_memory_works(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	dma_addr_t addr;
	u8 *p;

	warm_up(test, f);
	p = dma_alloc_coherent(f->dev, SZ_16K, &addr, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	random_data(p, SZ_16K);
	KUNIT_EXPECT_EQ(test, mock_dev_read(f->dev, addr, f->tmp, SZ_16K), 0);
	EXPECT_BYTES_EQUAL(test, p, f->tmp, SZ_16K);
	dma_free_coherent(f->dev, SZ_16K, p, addr);

	p = dma_alloc_noncoherent(f->dev, SZ_4K, &addr, DMA_BIDIRECTIONAL,
				  GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	dma_sync_single_for_cpu(f->dev, addr, SZ_4K, DMA_BIDIRECTIONAL);
	random_data(p, SZ_4K);
	dma_sync_single_for_device(f->dev, addr, SZ_4K, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, mock_dev_read(f->dev, addr, f->tmp, SZ_4K), 0);
	EXPECT_BYTES_EQUAL(test, p, f->tmp, SZ_4K);
	dma_free_noncoherent(f->dev, SZ_4K, p, addr, DMA_BIDIRECTIONAL);
}

/* Under a lock with interrupts off, from the first mapping of the device on. */
static void atomic_context(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_32BIT);
	static DEFINE_SPINLOCK(lock);
	unsigned long flags;
	dma_addr_t addr;
	int i, ret;

	for (i = 0; i < 500; i++) {
		size_t len = 1 + (i * 331) % SZ_16K;

		spin_lock_irqsave(&lock, flags);
		addr = dma_map_single(f->dev, f->buf + i, len, DMA_TO_DEVICE);
		ret = mock_dev_read(f->dev, addr, f->tmp, len);
		dma_unmap_single(f->dev, addr, len, DMA_TO_DEVICE);
		spin_unlock_irqrestore(&lock, flags);
		KUNIT_ASSERT_EQ(test, ret, 0);
		EXPECT_BYTES_EQUAL(test, f->tmp, f->buf + i, len);
	}
}

/* The DMA IOVA API as its users use it. */

/* An NVMe request: all pages at once, as one range. */
static void iova_like_block(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_ALIGNED);
	static const u8 page[] = { 9, 2, 7, 4, 30, 11, 12, 3 };
	size_t len[ARRAY_SIZE(page)], linked = 0, total = 0;
	struct dma_iova_state state;
	int round, i;

	for (i = 0; i < ARRAY_SIZE(page); i++) {
		len[i] = i == ARRAY_SIZE(page) - 1 ? 512 : SZ_4K;
		total += len[i];
	}
	for (round = 0; round < 2; round++) {
		if (!iova_try_alloc(f->dev, &state, 0, total,
				    ARRAY_SIZE(page), DMA_FROM_DEVICE, 0))
			goto next;
		for (i = 0, linked = 0; i < ARRAY_SIZE(page); i++) {
			phys_addr_t phys = virt_to_phys(f->buf) +
					   page[i] * SZ_4K;

			KUNIT_ASSERT_EQ(test, dma_iova_link(f->dev, &state,
							    phys, linked,
							    len[i],
							    DMA_FROM_DEVICE, 0),
					0);
			linked += len[i];
		}
		KUNIT_ASSERT_EQ(test, dma_iova_sync(f->dev, &state, 0, linked),
				0);
		random_data(f->tmp, total);
		KUNIT_EXPECT_EQ(test, mock_dev_write(f->dev, state.addr, f->tmp,
						     total), 0);
		dma_iova_destroy(f->dev, &state, linked, DMA_FROM_DEVICE, 0);
		for (i = 0, linked = 0; i < ARRAY_SIZE(page); i++) {
			memcpy(f->old + page[i] * SZ_4K, f->tmp + linked,
			       len[i]);
			linked += len[i];
		}
		EXPECT_BYTES_EQUAL(test, f->buf, f->old, BUF_SIZE);
next:
		warm_up(test, f);
	}
}

/*
 * A packet to be cut up: its linear part need not end at a page boundary. The
 * second link may then fail, and what was linked must come undone.
 */
static void iova_like_tso(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	phys_addr_t phys = virt_to_phys(f->buf);
	struct dma_iova_state state;
	int round, ret;

	for (round = 0; round < 2; round++, warm_up(test, f)) {
		if (!iova_try_alloc(f->dev, &state, phys + 66, 5000, 2,
				    DMA_TO_DEVICE, 0))
			continue;
		KUNIT_ASSERT_EQ(test, dma_iova_link(f->dev, &state, phys + 66,
						    0, 1000, DMA_TO_DEVICE, 0),
				0);
		ret = dma_iova_link(f->dev, &state, phys + SZ_8K, 1000, 4000,
				    DMA_TO_DEVICE, 0);
		if (ret) {
			dma_iova_destroy(f->dev, &state, 1000, DMA_TO_DEVICE,
					 0);
			continue;
		}
		KUNIT_EXPECT_EQ(test, dma_iova_sync(f->dev, &state, 0, 5000),
				0);
		KUNIT_EXPECT_EQ(test, mock_dev_read(f->dev, state.addr, f->tmp,
						    5000), 0);
		EXPECT_BYTES_EQUAL(test, f->tmp, f->buf + 66, 1000);
		EXPECT_BYTES_EQUAL(test, f->tmp + 1000, f->buf + SZ_8K, 4000);
		dma_iova_destroy(f->dev, &state, 5000, DMA_TO_DEVICE, 0);
	}
}

/* A range of IOVA space for good, with pages that come and go anywhere in it. */
static void iova_like_hmm(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	static const u8 at[] = { 3, 7, 0, 15, 7 };
	unsigned long attrs = DMA_ATTR_REQUIRE_COHERENT;
	struct dma_iova_state state;
	int i;

	warm_up(test, f);
	KUNIT_ASSERT_TRUE(test, iova_try_alloc(f->dev, &state, 0, 16 * SZ_4K,
					       16, DMA_NONE, attrs));
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		size_t offset = at[i] * SZ_4K;
		u8 *page = f->buf + (20 + i) * SZ_4K;

		KUNIT_ASSERT_EQ(test, dma_iova_link(f->dev, &state,
						    virt_to_phys(page), offset,
						    SZ_4K, dir, attrs), 0);
		KUNIT_ASSERT_EQ(test, dma_iova_sync(f->dev, &state, offset,
						    SZ_4K), 0);
		/* Nobody syncs: both sides must see one memory. */
		memset(page, i + 1, SZ_4K);
		KUNIT_EXPECT_EQ(test, mock_dev_read(f->dev, state.addr + offset,
						    f->tmp, SZ_4K), 0);
		EXPECT_BYTES_EQUAL(test, f->tmp, page, SZ_4K);
		memset(f->tmp, 0x77, SZ_4K);
		KUNIT_EXPECT_EQ(test, mock_dev_write(f->dev,
						     state.addr + offset,
						     f->tmp, SZ_4K), 0);
		EXPECT_BYTES_EQUAL(test, f->tmp, page, SZ_4K);
		if (at[i] == 7)
			dma_iova_unlink(f->dev, &state, offset, SZ_4K, dir,
					attrs);
	}
	dma_iova_unlink(f->dev, &state, 3 * SZ_4K, SZ_4K, dir, attrs);
	dma_iova_unlink(f->dev, &state, 0, SZ_4K, dir, attrs);
	dma_iova_unlink(f->dev, &state, 15 * SZ_4K, SZ_4K, dir, attrs);
	dma_iova_free(f->dev, &state);
}

static void iova_space_unused(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_28BIT);
	struct dma_iova_state state;
	int i;

	warm_up(test, f);
	/* Many times the space there is, so that a leak would show. */
	for (i = 0; i < 40000; i++) {
		if (!iova_try_alloc(f->dev, &state, i % SZ_4K, SZ_64K, 1,
				    i % 3 ? DMA_TO_DEVICE : DMA_NONE, 0)) {
			KUNIT_ASSERT_TRUE(test, expect_bounce);
			continue;
		}
		if (i % 2)
			dma_iova_free(f->dev, &state);
		else
			dma_iova_destroy(f->dev, &state, 0, DMA_TO_DEVICE, 0);
	}
}

/* The first, second, ... map of the IOMMU fails; whatever was done is undone. */
static void iova_link_fails(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	int every, i, ret = 0, failed = 0;
	struct dma_iova_state state;
	size_t linked;

	for (every = 1; every < 9; every++) {
		if (!iova_try_alloc(f->dev, &state, 0, 80 * SZ_4K, 40,
				    DMA_BIDIRECTIONAL, 0))
			continue;
		mock_fail_maps(every);
		for (i = 0, linked = 0; i < 20; i++) {
			ret = dma_iova_link(f->dev, &state,
					    virt_to_phys(f->buf) + linked,
					    linked, 2 * SZ_4K,
					    DMA_BIDIRECTIONAL, 0);
			if (ret)
				break;
			linked += 2 * SZ_4K;
		}
		mock_fail_maps(0);
		failed += !!ret;
		dma_iova_destroy(f->dev, &state, linked, DMA_BIDIRECTIONAL, 0);
		EXPECT_BYTES_EQUAL(test, f->buf, f->old, BUF_SIZE);
	}
	/* 320 KiB is more than anybody bounces. */
	KUNIT_EXPECT_EQ(test, failed, 8);
}

/* Limits and promises of the device's side. */

static void sizes_do_not_shrink(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);

	warm_up(test, f);
	KUNIT_EXPECT_EQ(test, dma_max_mapping_size(f->dev), SIZE_MAX);
	KUNIT_EXPECT_GE(test, dma_opt_mapping_size(f->dev), SZ_128K);
	KUNIT_EXPECT_EQ(test, dma_get_merge_boundary(f->dev), SZ_4K - 1);
}

/* A device that was bounced can still share an address space with a process. */
static void hmm_after_a_bounce(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	struct hmm_dma_map map = {};

	warm_up(test, f);
	KUNIT_ASSERT_EQ(test, hmm_dma_map_alloc(f->dev, &map, 16, PAGE_SIZE),
			0);
	hmm_dma_map_free(f->dev, &map);
}

/* Rule by rule: no byte of a mapping's past or of its neighbours is readable. */
static void nothing_stale_is_readable(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	dma_addr_t addr;
	int i;

	if (!expect_bounce)
		kunit_skip(test, "the IOMMU grants whole pages");
	warm_up(test, f);
	memset(f->buf, MOCK_SECRET, BUF_SIZE);
	for (i = 0; i < 50; i++) {
		/* A mapping the device may not read, then one it may. */
		addr = map(test, f, 0, SZ_4K, DMA_FROM_DEVICE);
		dma_unmap_single(f->dev, addr, SZ_4K, DMA_FROM_DEVICE);

		memset(f->buf + 1000, i, 50);
		addr = map(test, f, 1000, 50, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, mock_dev_read(f->dev, addr - 1000, f->tmp,
						    SZ_4K), 0);
		KUNIT_EXPECT_NULL(test, memchr(f->tmp, MOCK_SECRET, SZ_4K));
		dma_unmap_single(f->dev, addr, 50, DMA_TO_DEVICE);
		memset(f->buf + 1000, MOCK_SECRET, 50);
	}
}

/* When the IOMMU fails, so does the mapping, and only then. */
static void maps_fail_and_recover(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_BUS_LIMIT);
	struct scatterlist sgl[4];
	dma_addr_t addr;
	int i;

	sg_init_table(sgl, ARRAY_SIZE(sgl));
	for (i = 0; i < ARRAY_SIZE(sgl); i++)
		sg_set_buf(&sgl[i], f->buf + i * SZ_8K + i, 5000);

	mock_fail_maps(1);
	/* Nothing was mapped yet: no pool can help. */
	addr = dma_map_single(f->dev, f->buf, SZ_4K, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, dma_mapping_error(f->dev, addr));
	KUNIT_EXPECT_EQ(test, dma_map_sg(f->dev, sgl, 4, DMA_TO_DEVICE), 0);
	addr = dma_map_single(f->dev, f->buf, BUF_SIZE, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, dma_mapping_error(f->dev, addr));
	msleep(50);
	mock_fail_maps(0);

	for (i = 0; i < ARRAY_SIZE(sgl); i++) {
		KUNIT_EXPECT_PTR_EQ(test, sg_virt(&sgl[i]),
				    (void *)f->buf + i * SZ_8K + i);
		KUNIT_EXPECT_EQ(test, sgl[i].length, 5000);
	}
	EXPECT_BYTES_EQUAL(test, f->buf, f->old, BUF_SIZE);
	warm_up(test, f);
}

/* What it is all for. */

static void map_and_unmap_all_ways(struct kunit *test, struct fixture *f, int i)
{
	enum dma_data_direction dir = i % 3;
	size_t len = 1 + (i * 997) % expect_limit;
	struct scatterlist sgl[2];
	struct dma_iova_state state;
	dma_addr_t addr;

	addr = map(test, f, 0, len, dir);
	dma_unmap_single(f->dev, addr, len, dir);

	sg_init_table(sgl, 2);
	sg_set_buf(&sgl[0], f->buf + 1, max(len / 4, 1));
	sg_set_buf(&sgl[1], f->buf + SZ_64K, max(len / 2, 1));
	KUNIT_ASSERT_GT(test, dma_map_sg(f->dev, sgl, 2, dir), 0);
	dma_unmap_sg(f->dev, sgl, 2, dir);

	if (!iova_try_alloc(f->dev, &state, 0, len, 1, dir, 0))
		return;
	KUNIT_ASSERT_EQ(test, dma_iova_link(f->dev, &state,
					    virt_to_phys(f->buf), 0, len, dir,
					    0), 0);
	KUNIT_ASSERT_EQ(test, dma_iova_sync(f->dev, &state, 0, len), 0);
	dma_iova_destroy(f->dev, &state, len, dir, 0);
}

static void iommu_is_left_alone(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	const int rounds = 2000;
	int i, tries;
	dma_addr_t addr;
	u64 before, after;

	if (!expect_bounce)
		kunit_skip(test, "nothing is expected to bounce");
	warm_up(test, f);
	/* Until the worker has made what is needed; on a busy host it is late. */
	for (tries = 0; tries < 100; tries++) {
		before = iommu_ops();
		for (i = 0; i < 300; i++)
			map_and_unmap_all_ways(test, f, i);
		if (iommu_ops() == before)
			break;
		msleep(50);
	}
	before = iommu_ops();
	for (i = 0; i < rounds; i++)
		map_and_unmap_all_ways(test, f, i);
	after = iommu_ops();
	kunit_info(test, "%llu IOMMU operations for %d mappings\n",
		   after - before, 3 * rounds);
	KUNIT_EXPECT_LE(test, after - before, rounds / 500);

	before = iommu_ops();
	for (i = 0; i < 100; i++) {
		addr = map(test, f, 0, expect_limit + 1, DMA_TO_DEVICE);
		dma_unmap_single(f->dev, addr, expect_limit + 1, DMA_TO_DEVICE);
	}
	after = iommu_ops();
	KUNIT_EXPECT_GE(test, after - before, 200);
}

/* Where mapping is expensive, a limit that sets itself must find that out. */
static void automatic_limit_begins(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	const int rounds = 1000;
	u64 before, ops = 0;
	dma_addr_t addr;
	int i, tries;

	if (!expect_auto)
		kunit_skip(test, "the limit is given, or nothing is expected");
	for (tries = 0; tries < 100; tries++) {
		before = iommu_ops();
		for (i = 0; i < rounds; i++) {
			addr = map(test, f, 0, SZ_4K, DMA_TO_DEVICE);
			dma_unmap_single(f->dev, addr, SZ_4K, DMA_TO_DEVICE);
		}
		ops = iommu_ops() - before;
		/* Two or three each where it has not begun; some are trials. */
		if (ops <= rounds)
			break;
		msleep(50);
	}
	kunit_info(test, "%llu IOMMU operations for %d mappings after %d tries\n",
		   ops, rounds, tries);
	KUNIT_EXPECT_LE(test, ops, rounds);
}

/* A bounced address needs its syncs, and says so. */
static void bounced_addresses_need_sync(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_64BIT);
	phys_addr_t phys = 0;
	dma_addr_t addr;

	warm_up(test, f);
	addr = map(test, f, 0, SZ_4K, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, mock_dev_reaches(f->dev, addr, IOMMU_READ,
						 &phys));
	if (phys == virt_to_phys(f->buf))
		KUNIT_EXPECT_FALSE(test, expect_bounce);
	else
		KUNIT_EXPECT_TRUE(test, dma_need_sync(f->dev, addr));
	dma_unmap_single(f->dev, addr, SZ_4K, DMA_TO_DEVICE);
}

/* Random traffic. */

static void profile_name(const struct mock_profile *p, char *desc)
{
	strscpy(desc, p->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(profile, mock_profiles, profile_name);

static void random_run(struct kunit *test, unsigned int fail_every)
{
	const struct mock_profile *profile = test->param_value;
	struct model_params params = {
		.profile = profile - mock_profiles, .steps = steps,
		.fail_every = fail_every, .seed = seed ?: get_random_u32(),
	};

	model_run(test, &params);
}

static void random_traffic(struct kunit *test)
{
	random_run(test, 0);
}

static void random_traffic_failing_iommu(struct kunit *test)
{
	random_run(test, 5);
}

/* Pools shrink to what is in use, over and over, and must grow again. */
static int press(void *unused)
{
	while (!kthread_should_stop()) {
		drop_slab();
		msleep(1);
	}
	return 0;
}

static void random_traffic_under_pressure(struct kunit *test)
{
	struct task_struct *presser = kthread_run(press, NULL, "press");

	KUNIT_ASSERT_FALSE(test, IS_ERR(presser));
	random_run(test, 0);
	kthread_stop(presser);
}

/* The end of domains. */

static long drain(void *unused)
{
	drain_local_pages(NULL);
	return 0;
}

/* Free, or in caches of slab, where KASAN keeps what was freed. */
static unsigned long pages_at_rest(void)
{
	int cpu;

	/* Some of it is freed by work queues, by RCU, to lists of one CPU. */
	msleep(100);
	rcu_barrier();
	for_each_online_cpu(cpu)
		work_on_cpu(cpu, drain, NULL);
	return global_zone_page_state(NR_FREE_PAGES) +
	       global_node_page_state_pages(NR_SLAB_RECLAIMABLE_B) +
	       global_node_page_state_pages(NR_SLAB_UNRECLAIMABLE_B);
}

/*
 * What kmalloc() gave and nobody freed, the mock's memory aside. Shrinking the caches takes what was
 * freed from the CPUs and from KASAN.
 */
static unsigned long kmalloc_in_use(void)
{
	unsigned long bytes = 0;
	struct slabinfo info;
	int type, i;

	kvfree_rcu_barrier();
	rcu_barrier();
	for (type = 0; type < NR_KMALLOC_TYPES; type++) {
		for (i = 0; i <= KMALLOC_SHIFT_HIGH; i++) {
			struct kmem_cache *cache = kmalloc_caches[type][i];

			if (!cache)
				continue;
			kmem_cache_shrink(cache);
			get_slabinfo(cache, &info);
			bytes += info.active_objs * cache->object_size;
		}
	}
	return bytes - mock_ram_bytes();
}

static void domains_come_and_go(struct kunit *test)
{
	const int warm = 4, part = 10, parts = 4;
	unsigned long before = 0, after, bytes[5], *now = bytes;
	struct fixture *f;
	dma_addr_t addr;
	bool grows = true;
	int i, id;

	for (i = 0; i < warm + parts * part; i++) {
		mock_devices_del();
		KUNIT_ASSERT_EQ(test, mock_pages_mapped(), 0);
		/* The first rounds fill the caches of everybody. */
		if (i == warm)
			before = pages_at_rest();
		if (i >= warm && (i - warm) % part == 0)
			*now++ = kmalloc_in_use();
		KUNIT_ASSERT_EQ(test, mock_devices_add(), 0);
		for (id = 0; id < MOCK_NR_PROFILES; id++) {
			f = fixture(test, id);
			addr = map(test, f, 8, SZ_4K, DMA_BIDIRECTIONAL);
			dma_unmap_single(f->dev, addr, SZ_4K,
					 DMA_BIDIRECTIONAL);
		}
		/* Sometimes while the pools are growing, sometimes after. */
		msleep(i % 3 * 20);
	}
	mock_devices_del();
	after = pages_at_rest();
	*now = kmalloc_in_use();
	kunit_info(test, "pages at rest: %lu, then %lu\n", before, after);
	/* Less than the smallest chunk in each round on one of the devices. */
	KUNIT_EXPECT_GT(test, after + parts * part * (SZ_64K / PAGE_SIZE), before);
	/*
	 * Less than a small object in each on one of the devices. Others allocate now and
	 * then, what leaks does so all the time.
	 */
	for (i = 0; i < parts; i++) {
		kunit_info(test, "bytes of kmalloc(): %lu, then %lu\n", bytes[i], bytes[i + 1]);
		grows &= bytes[i + 1] >= bytes[i] + part * 64;
	}
	KUNIT_EXPECT_FALSE(test, grows);
	KUNIT_ASSERT_EQ(test, mock_devices_add(), 0);
}

/* Must be the last one. */
static void all_is_unmapped_at_the_end(struct kunit *test)
{
	mock_devices_del();
	KUNIT_EXPECT_EQ(test, mock_pages_mapped(), 0);
}

/*
 * Of a device that is not coherent, a small buffer that it writes shares cache lines
 * with what lies next to it: the device must be given other memory.
 */
static void small_buffers_are_bounced(struct kunit *test)
{
	struct fixture *f = fixture(test, MOCK_NONCOHERENT);
	static const u8 sizes[] = { 8, 16, 24, 32, 64, 96 };
	int round, dir, i;

	for (round = 0; round < 3; round++, msleep(20)) {
		for (dir = DMA_BIDIRECTIONAL; dir <= DMA_FROM_DEVICE; dir++) {
			for (i = 0; i < ARRAY_SIZE(sizes); i++) {
				size_t at = SZ_1K + 8 * i, len = sizes[i];
				dma_addr_t addr = map(test, f, at, len, dir);
				phys_addr_t phys;

				KUNIT_EXPECT_EQ(test, dir != DMA_TO_DEVICE,
						dma_kmalloc_needs_bounce(f->dev, len, dir));
				KUNIT_EXPECT_TRUE(test, mock_dev_reaches(f->dev, addr,
						dir == DMA_FROM_DEVICE ? IOMMU_WRITE :
									 IOMMU_READ, &phys));
				if (dir != DMA_TO_DEVICE)
					KUNIT_EXPECT_NE(test, phys,
							virt_to_phys(f->buf + at));
				/* While the device has it, its neighbours are the CPU's. */
				random_data(f->buf + at - 8, 8);
				memcpy(f->old + at - 8, f->buf + at - 8, 8);
				random_data(f->buf + at + len, 8);
				memcpy(f->old + at + len, f->buf + at + len, 8);
				if (dir != DMA_TO_DEVICE) {
					random_data(f->tmp, len);
					KUNIT_EXPECT_EQ(test, mock_dev_write(f->dev, addr,
									     f->tmp, len), 0);
					memcpy(f->old + at, f->tmp, len);
				}
				dma_unmap_single(f->dev, addr, len, dir);
				EXPECT_BYTES_EQUAL(test, f->buf, f->old, BUF_SIZE);
			}
		}
	}
}

static int model_suite_init(struct kunit_suite *suite)
{
	static bool done;

	if (done)
		return 0;
	done = true;
	return mock_iommu_init();
}

static struct kunit_case model_cases[] = {
	KUNIT_CASE(maps_fail_and_recover),
	KUNIT_CASE(atomic_context),
	KUNIT_CASE(permission_is_direction),
	KUNIT_CASE(short_write_keeps_the_rest),
	KUNIT_CASE(partial_sync_names_its_bytes),
	KUNIT_CASE(long_lived_mapping),
	KUNIT_CASE(shared_memory_stays_shared),
	KUNIT_CASE(device_memory_is_mapped),
	KUNIT_CASE(coherent_memory_works),
	KUNIT_CASE(iova_like_block),
	KUNIT_CASE(iova_like_tso),
	KUNIT_CASE(iova_like_hmm),
	KUNIT_CASE(iova_space_unused),
	KUNIT_CASE(iova_link_fails),
	KUNIT_CASE(sizes_do_not_shrink),
	KUNIT_CASE(hmm_after_a_bounce),
	KUNIT_CASE(nothing_stale_is_readable),
	KUNIT_CASE(bounced_addresses_need_sync),
	KUNIT_CASE(iommu_is_left_alone),
	KUNIT_CASE(automatic_limit_begins),
	KUNIT_CASE(small_buffers_are_bounced),
	KUNIT_CASE_PARAM(random_traffic, profile_gen_params),
	KUNIT_CASE_PARAM(random_traffic_failing_iommu, profile_gen_params),
	KUNIT_CASE_PARAM(random_traffic_under_pressure, profile_gen_params),
	KUNIT_CASE(domains_come_and_go),
	KUNIT_CASE(all_is_unmapped_at_the_end),
	{}
};

static struct kunit_suite model_suite = {
	.name = "dma_iommu_model",
	.suite_init = model_suite_init,
	.init = model_init,
	.exit = model_exit,
	.test_cases = model_cases,
};

kunit_test_suite(model_suite);

MODULE_DESCRIPTION("DMA API model tests against a mock IOMMU");
MODULE_LICENSE("GPL");
