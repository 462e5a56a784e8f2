// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the I/O buffer manager.
 */

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "../io-buffer-manager.h"
#include "fake-domain.h"

struct manager_test {
	struct fake_domain *fake;
	struct io_buffer_manager *mgr;
};

static const struct io_buffer_limits limits_64 = {
	.dma_limit = DMA_BIT_MASK(64),
	.prefer_32bit = true,
	.nid = NUMA_NO_NODE,
};

static void manager_start(struct kunit *test, size_t memory_max)
{
	struct manager_test *t = test->priv;

	t->mgr = kunit_kzalloc(test, sizeof(*t->mgr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->mgr);
	io_buffer_manager_init(t->mgr, &t->fake->domain, &t->fake->iovad,
			       memory_max);
}

static int manager_test_init(struct kunit *test)
{
	struct manager_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = fake_domain_create(test);
	return 0;
}

static void manager_test_exit(struct kunit *test)
{
	struct manager_test *t = test->priv;

	if (t->mgr)
		io_buffer_manager_destroy(t->mgr);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	fake_domain_destroy(t->fake);
}

/* 0, or -1 - why there is none */
static int get_or_why(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
		      size_t size, u64 dma_limit, struct io_buffer *buf)
{
	return io_buffer_get(mgr, perm, size, dma_limit, buf) ?
	       0 : -1 - (int)io_buffer_why(mgr, perm, size, dma_limit);
}

/* Miss, let the worker run, and try again. */
static int want_and_get(struct kunit *test, enum io_buffer_perm perm,
			size_t size, const struct io_buffer_limits *limits,
			struct io_buffer *buf)
{
	struct manager_test *t = test->priv;
	int ret = get_or_why(t->mgr, perm, size, limits->dma_limit, buf);

	if (!ret)
		return 0;
	io_buffer_want(t->mgr, perm, size, limits);
	flush_work(&t->mgr->work);
	return get_or_why(t->mgr, perm, size, limits->dma_limit, buf);
}

static void manager_takes_nothing_before_the_first_miss(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_1M);
	KUNIT_EXPECT_EQ(test, t->mgr->size, 0);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 0);
	KUNIT_EXPECT_FALSE(test, io_buffer_owns(t->mgr, 0));
	KUNIT_EXPECT_FALSE(test, io_buffer_owns(t->mgr, SZ_4K));
	KUNIT_EXPECT_EQ(test, get_or_why(t->mgr, IO_BUFFER_READ, 1,
					 DMA_BIT_MASK(64), &buf),
			-1 - IO_BUFFER_MISS_COLD);
	KUNIT_EXPECT_EQ(test, t->fake->maps, 0);
}

static void manager_serves_after_a_miss(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_WRITE, 5000,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_EQ(test, 1UL << buf.chunk->slot_shift, SZ_8K);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
	KUNIT_EXPECT_EQ(test, fake_domain_prot(t->fake, io_buffer_iova(&buf)),
			IOMMU_WRITE);
}

/* From each byte of each slot back to the slot; and from nowhere else. */
static void manager_address_is_the_index(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer bufs[20], found;
	unsigned int i;

	manager_start(test, SZ_16M);
	for (i = 0; i < ARRAY_SIZE(bufs); i++)
		KUNIT_ASSERT_EQ(test, want_and_get(test, i % 3,
						   SZ_4K << (i % 5),
						   &limits_64, &bufs[i]), 0);
	for (i = 0; i < ARRAY_SIZE(bufs); i++) {
		size_t size = 1UL << bufs[i].chunk->slot_shift;
		dma_addr_t iova = io_buffer_iova(&bufs[i]);
		size_t byte;

		KUNIT_EXPECT_TRUE(test, IS_ALIGNED(iova, size));
		for (byte = 0; byte < size; byte += 1023) {
			KUNIT_EXPECT_TRUE(test, io_buffer_owns(t->mgr,
							       iova + byte));
			KUNIT_ASSERT_TRUE(test, io_buffer_find(t->mgr,
							       iova + byte,
							       &found));
			KUNIT_EXPECT_PTR_EQ(test, found.chunk, bufs[i].chunk);
			KUNIT_EXPECT_EQ(test, found.nr, bufs[i].nr);
			KUNIT_EXPECT_EQ(test,
					io_buffer_offset_in_slot(&found,
								 iova + byte),
					byte);
		}
	}
	KUNIT_EXPECT_FALSE(test, io_buffer_owns(t->mgr, t->mgr->base - 1));
	KUNIT_EXPECT_FALSE(test, io_buffer_owns(t->mgr,
						t->mgr->base + t->mgr->size));
	KUNIT_EXPECT_FALSE(test,
			   io_buffer_find(t->mgr,
					  t->mgr->base + t->mgr->size - 1,
					  &found));
}

static void manager_permissions_are_apart(struct kunit *test)
{
	static const int prots[] = {
		[IO_BUFFER_READ_WRITE]	= IOMMU_READ | IOMMU_WRITE,
		[IO_BUFFER_READ]	= IOMMU_READ,
		[IO_BUFFER_WRITE]	= IOMMU_WRITE,
	};
	struct manager_test *t = test->priv;
	enum io_buffer_perm perm;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		KUNIT_ASSERT_EQ(test, want_and_get(test, perm, SZ_4K,
						   &limits_64, &buf), 0);
		KUNIT_EXPECT_EQ(test,
				fake_domain_prot(t->fake, io_buffer_iova(&buf)),
				prots[perm]);
	}
}

static const unsigned int mask_bits[] = { 24, 28, 32, 36, 64 };

static void mask_desc(const unsigned int *bits, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u bits", *bits);
}

KUNIT_ARRAY_PARAM(mask, mask_bits, mask_desc);

static void manager_window_fits_the_mask(struct kunit *test)
{
	unsigned int bits = *(const unsigned int *)test->param_value;
	struct io_buffer_limits limits = limits_64;
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	limits.dma_limit = DMA_BIT_MASK(bits);
	manager_start(test, SZ_64M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits, &buf), 0);
	KUNIT_EXPECT_LE(test, t->mgr->base + t->mgr->size - 1,
			min(limits.dma_limit, DMA_BIT_MASK(32)));
	KUNIT_EXPECT_LE(test, t->mgr->size,
			DMA_BIT_MASK(min(bits, 32U)) / 8 + 1);
	KUNIT_EXPECT_TRUE(test, IS_ALIGNED(t->mgr->base, t->mgr->size));

	/* A device that sees less of the address space must go without. */
	KUNIT_EXPECT_EQ(test, get_or_why(t->mgr, IO_BUFFER_READ, SZ_4K,
					 DMA_BIT_MASK(20), &buf),
			-1 - IO_BUFFER_MISS_MASK);
}

static void manager_high_window_without_32bit_workaround(struct kunit *test)
{
	struct io_buffer_limits limits = limits_64;
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	if (ULONG_MAX <= U32_MAX)
		kunit_skip(test, "a 32-bit kernel maps nothing above 4 GiB");
	limits.prefer_32bit = false;
	limits.dma_limit = DMA_BIT_MASK(48);
	manager_start(test, SZ_64M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits, &buf), 0);
	KUNIT_EXPECT_GT(test, t->mgr->base, DMA_BIT_MASK(32));
}

/* The highest address is the one that means "error". */
static void manager_window_spares_the_error_address(struct kunit *test)
{
	struct io_buffer_limits limits = limits_64;
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	limits.prefer_32bit = false;
	manager_start(test, SZ_64M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits, &buf), 0);
	KUNIT_EXPECT_FALSE(test, io_buffer_owns(t->mgr, DMA_MAPPING_ERROR));
}

/* Let the period that is watched end. */
static void age(struct manager_test *t)
{
	mod_delayed_work(system_freezable_wq, &t->mgr->age_work, 0);
	/* Not flush_delayed_work(): the work may have queued itself again. */
	flush_work(&t->mgr->age_work.work);
}

static void manager_gives_back_what_is_idle(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer busy, idle;
	unsigned int syncs;

	manager_start(test, SZ_64M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &busy), 0);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_WRITE, SZ_4K,
					   &limits_64, &idle), 0);
	io_buffer_pool_put(&idle);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_128K);

	/* Both were used in the first period. */
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_128K);
	syncs = t->fake->syncs;
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, SZ_64K);
	KUNIT_EXPECT_EQ(test, t->fake->syncs, syncs + 1);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(t->mgr->pools[IO_BUFFER_WRITE][0]));
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&t->mgr->age_work));

	io_buffer_pool_put(&busy);
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 0);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 0);
	KUNIT_EXPECT_EQ(test, t->mgr->grown, 2);
	KUNIT_EXPECT_EQ(test, t->mgr->returned, 2);
	KUNIT_EXPECT_NULL(test, t->mgr->regions);
	/* Nothing left to watch */
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&t->mgr->age_work));
	KUNIT_EXPECT_FALSE(test, io_buffer_find(t->mgr, t->mgr->base, &idle));

	/* And from the beginning. */
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &busy), 0);
}

/* A pool that has taken all of the budget, and no use for it, does not keep it. */
static void manager_budget_goes_where_it_is_used(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_64K);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_WRITE, SZ_4K,
					   &limits_64, &buf), 0);
	age(t);
	/* Still in use */
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_WRITE, SZ_4K,
					   &limits_64, &buf), 0);
	io_buffer_pool_put(&buf);
	age(t);
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_WRITE, SZ_4K,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
}

static void manager_refuses_what_is_too_large(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_64M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ,
					   IO_BUFFER_MAX_SLOT, &limits_64,
					   &buf), 0);
	KUNIT_EXPECT_EQ(test, get_or_why(t->mgr, IO_BUFFER_READ,
					 IO_BUFFER_MAX_SLOT + 1,
					 DMA_BIT_MASK(64), &buf),
			-1 - IO_BUFFER_MISS_SIZE);
}

/* Chunks of a pool double: 64K, 128K, ... 2M, 2M */
static void manager_chunks_double(struct kunit *test)
{
	struct manager_test *t = test->priv;
	size_t expect = SZ_64K, before = 0;
	struct io_buffer buf;
	unsigned int chunk;

	manager_start(test, SZ_64M);
	for (chunk = 0; chunk < 7; chunk++) {
		do {
			KUNIT_ASSERT_EQ(test,
					want_and_get(test, IO_BUFFER_READ,
						     SZ_16K, &limits_64, &buf),
					0);
		} while (t->mgr->memory == before);
		KUNIT_EXPECT_EQ(test, t->mgr->memory - before, expect);
		before = t->mgr->memory;
		expect = min(expect * 2, SZ_2M);
		/* Take what is left of this chunk, so that the next is due. */
		while (!get_or_why(t->mgr, IO_BUFFER_READ, SZ_16K,
				   DMA_BIT_MASK(64), &buf))
			;
	}
}

static void manager_keeps_to_the_budget(struct kunit *test)
{
	struct manager_test *t = test->priv;
	unsigned int got = 0, maps, i;
	struct io_buffer buf;

	manager_start(test, SZ_256K + SZ_4K);
	while (!want_and_get(test, IO_BUFFER_READ, SZ_4K, &limits_64, &buf))
		got++;
	KUNIT_EXPECT_LE(test, t->mgr->memory, SZ_256K);
	KUNIT_EXPECT_EQ(test, got, t->mgr->memory / SZ_4K);

	/* Another pool has nothing left to grow with. */
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_WRITE, SZ_1M,
					   &limits_64, &buf), 0);
	/* And asking in vain does not keep the worker busy. */
	maps = t->fake->maps;
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_TRUE(test, test_bit(IO_BUFFER_READ *
						 IO_BUFFER_NR_CLASSES,
						 &t->mgr->wanted));
		io_buffer_want(t->mgr, IO_BUFFER_READ, SZ_4K, &limits_64);
		KUNIT_EXPECT_FALSE(test, work_pending(&t->mgr->work));
	}
	KUNIT_EXPECT_EQ(test, t->fake->maps, maps);
}

static const struct load {
	size_t size;
	unsigned int mappings;
} loads[] = {
	{ SZ_4K, 1 }, { SZ_4K, 10 }, { SZ_4K, 100 }, { SZ_4K, 1000 },
	{ SZ_16K, 1 }, { SZ_16K, 10 }, { SZ_16K, 100 }, { SZ_16K, 1000 },
	{ SZ_64K, 1 }, { SZ_64K, 10 }, { SZ_64K, 100 }, { SZ_64K, 1000 },
};

static void load_desc(const struct load *load, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u of %zu KiB", load->mappings,
		 load->size / SZ_1K);
}

KUNIT_ARRAY_PARAM(load, loads, load_desc);

/* As the documentation says: twice what is in flight, until chunks are 2M. */
static void manager_memory_is_in_proportion(struct kunit *test)
{
	const struct load *load = test->param_value;
	size_t in_flight = load->size * load->mappings;
	struct manager_test *t = test->priv;
	struct io_buffer buf;
	unsigned int i;

	manager_start(test, SZ_256M);
	for (i = 0; i < load->mappings; i++)
		KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ,
						   load->size, &limits_64,
						   &buf), 0);
	kunit_info(test, "%zu KiB in flight, %zu KiB held\n",
		   in_flight / SZ_1K, t->mgr->memory / SZ_1K);
	KUNIT_EXPECT_GE(test, t->mgr->memory, in_flight);
	KUNIT_EXPECT_LE(test, t->mgr->memory,
			min(2 * in_flight + SZ_64K, in_flight + SZ_2M));
}

/* Of memory that is in small pieces something can be made, but not everything. */
static void manager_makes_do_with_small_chunks(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;
	unsigned int got = 0;

	manager_start(test, SZ_64M);
	t->fake->map_max = SZ_4K;
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_4K);
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_READ, SZ_16K,
					   &limits_64, &buf), 0);
	/* Slots that do not fit wait for better times, the others do not. */
	t->mgr->retry_at = 0;
	while (!want_and_get(test, IO_BUFFER_READ, SZ_4K, &limits_64, &buf))
		got++;
	KUNIT_EXPECT_GE(test, got, 60);
	KUNIT_EXPECT_LE(test, t->mgr->nr_chunks, t->mgr->nr_regions / 2);

	t->fake->map_max = 0;
	t->mgr->retry_at = 0;
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_16K,
					   &limits_64, &buf), 0);
}

static void manager_tries_again_after_a_refusal(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_1M);
	t->fake->fail_map = true;
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 0);
	t->fake->fail_map = false;
	t->mgr->retry_at = 0;
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
}

static bool grow_now(struct manager_test *t, enum io_buffer_perm perm, size_t size)
{
	return io_buffer_grow_now(t->mgr, perm, size, limits_64.dma_limit);
}

/* Where there is no other way, a slot is made at once, and memory is kept. */
static void manager_grows_at_once(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;
	unsigned int i;
	u64 all = limits_64.dma_limit;

	manager_start(test, SZ_1M);
	KUNIT_EXPECT_FALSE(test, grow_now(t, IO_BUFFER_READ, SZ_4K));
	io_buffer_reserve(t->mgr, &limits_64);
	/* Small and large ones of each permission, and no more the next time */
	KUNIT_ASSERT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	io_buffer_reserve(t->mgr, &limits_64);
	KUNIT_ASSERT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	/* The worker is to have no part in this. */
	t->mgr->wanted = ~0UL;
	for (i = 0; i < 16; i++)
		KUNIT_ASSERT_TRUE(test, io_buffer_get(t->mgr, IO_BUFFER_READ, SZ_4K,
						      all, &buf));
	KUNIT_EXPECT_FALSE(test, io_buffer_get(t->mgr, IO_BUFFER_READ, SZ_4K, all, &buf));
	t->fake->fail_map = true;
	KUNIT_EXPECT_FALSE(test, grow_now(t, IO_BUFFER_READ, SZ_4K));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 6);
	t->fake->fail_map = false;
	KUNIT_EXPECT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K));
	KUNIT_EXPECT_TRUE(test, io_buffer_get(t->mgr, IO_BUFFER_READ, SZ_4K, all, &buf));
	KUNIT_EXPECT_EQ(test, fake_domain_prot(t->fake, io_buffer_iova(&buf)),
			IOMMU_READ);
	io_buffer_pool_put(&buf);
	/* No slots of that size yet, and one for which there is no room */
	KUNIT_EXPECT_TRUE(test, grow_now(t, IO_BUFFER_WRITE, SZ_16K));
	KUNIT_EXPECT_FALSE(test, grow_now(t, IO_BUFFER_WRITE, SZ_1M));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 8 * SZ_64K);

	/* The budget holds. */
	for (i = 0; grow_now(t, IO_BUFFER_READ, SZ_4K); i++)
		KUNIT_ASSERT_LT(test, i, 100);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_1M);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, SZ_1M);

	/* What is idle goes, but for one chunk of each pool of the reserve. */
	age(t);
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	KUNIT_EXPECT_TRUE(test, io_buffer_get(t->mgr, IO_BUFFER_WRITE, SZ_64K, all, &buf));
}

/* Small chunks use up regions. All of the budget can be used nevertheless. */
static void manager_grows_at_once_to_the_budget(struct kunit *test)
{
	struct manager_test *t = test->priv;
	u64 too_low = DMA_BIT_MASK(31);
	unsigned int i;

	manager_start(test, SZ_64M);
	io_buffer_reserve(t->mgr, &limits_64);
	/* Of no use to a device that does not reach the window */
	KUNIT_ASSERT_GT(test, t->mgr->last, too_low);
	KUNIT_EXPECT_FALSE(test, io_buffer_grow_now(t->mgr, IO_BUFFER_READ, SZ_4K,
						    too_low));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);

	/* The worker adds a larger one in its own time. */
	KUNIT_EXPECT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K));
	flush_work(&t->mgr->work);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 8);
	KUNIT_EXPECT_GT(test, t->mgr->memory, 8 * SZ_64K);

	t->mgr->wanted = ~0UL;
	for (i = 0; grow_now(t, IO_BUFFER_READ, SZ_4K); i++)
		KUNIT_ASSERT_LT(test, i, t->mgr->nr_regions);
	KUNIT_EXPECT_GT(test, t->mgr->memory, SZ_64M - SZ_64K);
}

struct manager_end {
	struct work_struct work;
	struct io_buffer_manager *mgr;
};

static void manager_end(struct work_struct *work)
{
	io_buffer_manager_destroy(container_of(work, struct manager_end,
					       work)->mgr);
}

/* Ageing finds that the reserve lacks something, and the manager is on its way out. */
static void manager_ends_while_its_reserve_is_wanted(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer_manager *mgr;
	struct manager_end end;
	struct io_buffer buf;
	unsigned int maps;

	manager_start(test, SZ_16M);
	mgr = t->mgr;
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	io_buffer_pool_put(&buf);
	maps = t->fake->maps;
	mgr->keep = 1;

	mutex_lock(&mgr->lock);
	io_buffer_reclaim_soon(mgr);
	while (!(work_busy(&mgr->age_work.work) & WORK_BUSY_RUNNING))
		msleep(20);
	end.mgr = mgr;
	INIT_WORK_ONSTACK(&end.work, manager_end);
	queue_work(system_dfl_wq, &end.work);
	/* Time enough to be where it waits for ageing to come to its end */
	msleep(50);
	mutex_unlock(&mgr->lock);
	flush_work(&end.work);
	destroy_work_on_stack(&end.work);
	flush_work(&mgr->work);
	t->mgr = NULL;
	KUNIT_EXPECT_EQ(test, t->fake->maps, maps);
}

static void manager_goes_without_a_window(struct kunit *test)
{
	struct io_buffer_limits limits = limits_64;
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_1M);
	limits.dma_limit = DMA_BIT_MASK(16);
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits, &buf),
			-1 - IO_BUFFER_MISS_COLD);
	KUNIT_EXPECT_EQ(test, t->mgr->size, 0);
	KUNIT_EXPECT_TRUE(test, t->mgr->stopped);
}

static struct kunit_case manager_cases[] = {
	KUNIT_CASE(manager_takes_nothing_before_the_first_miss),
	KUNIT_CASE(manager_serves_after_a_miss),
	KUNIT_CASE(manager_address_is_the_index),
	KUNIT_CASE(manager_permissions_are_apart),
	KUNIT_CASE_PARAM(manager_window_fits_the_mask, mask_gen_params),
	KUNIT_CASE(manager_high_window_without_32bit_workaround),
	KUNIT_CASE(manager_window_spares_the_error_address),
	KUNIT_CASE(manager_gives_back_what_is_idle),
	KUNIT_CASE(manager_budget_goes_where_it_is_used),
	KUNIT_CASE(manager_refuses_what_is_too_large),
	KUNIT_CASE(manager_chunks_double),
	KUNIT_CASE(manager_keeps_to_the_budget),
	KUNIT_CASE_PARAM(manager_memory_is_in_proportion, load_gen_params),
	KUNIT_CASE(manager_makes_do_with_small_chunks),
	KUNIT_CASE(manager_tries_again_after_a_refusal),
	KUNIT_CASE(manager_grows_at_once),
	KUNIT_CASE(manager_grows_at_once_to_the_budget),
	KUNIT_CASE(manager_ends_while_its_reserve_is_wanted),
	KUNIT_CASE(manager_goes_without_a_window),
	{}
};

static struct kunit_suite manager_suite = {
	.name = "io_buffer_manager",
	.init = manager_test_init,
	.exit = manager_test_exit,
	.test_cases = manager_cases,
};

kunit_test_suite(manager_suite);

MODULE_DESCRIPTION("KUnit tests of the I/O buffer manager");
MODULE_LICENSE("GPL");
