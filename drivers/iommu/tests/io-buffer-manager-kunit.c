// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the I/O buffer manager.
 */

#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/iova.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "../io-buffer-manager.h"
#include "mock-domain.h"

/**
 * struct manager_test - what each test starts with
 * @fake: the domain
 * @mgr: its manager, after manager_start()
 * @pool_gfp: how the last pool was to allocate, with pool_create_stub()
 */
struct manager_test {
	struct mock_domain *fake;
	struct io_buffer_manager *mgr;
	gfp_t pool_gfp;
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
	mock_manager_start(t->mgr, t->fake, memory_max);
}

static int manager_test_init(struct kunit *test)
{
	struct manager_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = mock_domain_create(test);
	return 0;
}

static void manager_test_exit(struct kunit *test)
{
	struct manager_test *t = test->priv;

	if (t->mgr)
		mock_manager_stop(t->mgr);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	mock_domain_destroy(t->fake);
}

/* 0, or -1 - why there is none */
static int get_or_why(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
		      size_t size, u64 dma_limit, struct io_buffer *buf)
{
	return io_buffer_get(mgr, perm, size, dma_limit, buf) ?
	       0 : -1 - (int)io_buffer_miss_reason(mgr, perm, size, dma_limit);
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
	io_buffer_request_grow(t->mgr, perm, size, limits);
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
	KUNIT_EXPECT_FALSE(test, is_io_buffer_addr(t->mgr, 0));
	KUNIT_EXPECT_FALSE(test, is_io_buffer_addr(t->mgr, SZ_4K));
	KUNIT_EXPECT_EQ(test, get_or_why(t->mgr, IO_BUFFER_READ, 1,
					 DMA_BIT_MASK(64), &buf),
			-1 - IO_BUFFER_MISS_EMPTY);
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
	KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, io_buffer_iova(&buf)),
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
			KUNIT_EXPECT_TRUE(test, is_io_buffer_addr(t->mgr,
								  iova + byte));
			KUNIT_ASSERT_TRUE(test, io_buffer_lookup(t->mgr,
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
	KUNIT_EXPECT_FALSE(test, is_io_buffer_addr(t->mgr, t->mgr->base - 1));
	KUNIT_EXPECT_FALSE(test, is_io_buffer_addr(t->mgr,
						   t->mgr->base + t->mgr->size));
	KUNIT_EXPECT_FALSE(test,
			   io_buffer_lookup(t->mgr,
					    t->mgr->base + t->mgr->size - 1,
					    &found));
}

static void manager_permissions_are_apart(struct kunit *test)
{
	static const int prots[] = {
		[IO_BUFFER_READ_WRITE]	= IOMMU_READ | IOMMU_WRITE,
		[IO_BUFFER_READ]	= IOMMU_READ,
		[IO_BUFFER_WRITE]	= IOMMU_WRITE,
		[IO_BUFFER_OVERWRITE]	= IOMMU_WRITE,
	};
	struct manager_test *t = test->priv;
	enum io_buffer_perm perm;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		KUNIT_ASSERT_EQ(test, want_and_get(test, perm, SZ_4K,
						   &limits_64, &buf), 0);
		KUNIT_EXPECT_EQ(test,
				mock_domain_prot(t->fake, io_buffer_iova(&buf)),
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
	KUNIT_EXPECT_FALSE(test, is_io_buffer_addr(t->mgr, DMA_MAPPING_ERROR));
}

/* Let the period that is watched end. */
static void age(struct manager_test *t)
{
	mod_delayed_work(io_buffer_queue(), &t->mgr->age_work, 0);
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
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&t->mgr->age_work));

	io_buffer_pool_put(&busy);
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 0);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 0);
	KUNIT_EXPECT_EQ(test, t->mgr->chunks_added, 2);
	/* Nothing left to watch */
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&t->mgr->age_work));
	KUNIT_EXPECT_FALSE(test, io_buffer_lookup(t->mgr, t->mgr->base, &idle));

	/* And from the beginning. */
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &busy), 0);
}

static unsigned int fill(struct kunit *test, struct io_buffer *bufs, unsigned int max)
{
	struct manager_test *t = test->priv;
	unsigned int n = 0;

	while (n < max && io_buffer_get(t->mgr, IO_BUFFER_READ, SZ_4K, U64_MAX, &bufs[n]))
		n++;
	return n;
}

/* Where CPUs share words, a pool grows until half of its slots are in use. */
static void manager_relieves_a_crowded_pool(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer_pool *pool;
	struct io_buffer *bufs;
	unsigned int n;

	bufs = kunit_kcalloc(test, 64, sizeof(*bufs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bufs);
	manager_start(test, SZ_16M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K, &limits_64,
					   &bufs[0]), 0);
	n = 1 + fill(test, bufs + 1, 63);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K, &limits_64,
					   &bufs[n]), 0);
	n++;
	n += fill(test, bufs + n, 64 - n);
	pool = bufs[0].chunk->pool;
	KUNIT_ASSERT_EQ(test, n, pool->nr_slots);
	KUNIT_ASSERT_EQ(test, t->mgr->memory, SZ_64K + SZ_128K);

	pool->crowded = true;
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K + SZ_128K + SZ_128K);
	/* Only up to twice what is in use */
	pool->crowded = true;
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K + SZ_128K + SZ_128K + SZ_64K);
	scoped_guard(mutex, &t->mgr->lock)
		io_buffer_relieve(t->mgr, io_buffer_pool_nr(IO_BUFFER_READ, 0), pool);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K + SZ_128K + SZ_128K + SZ_64K);
	while (n--)
		io_buffer_pool_put(&bufs[n]);
}

/* A few slots must not keep a large chunk because the small ones have gone. */
static void manager_keeps_small_chunks(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer *bufs, buf;
	unsigned int i;

	bufs = kunit_kcalloc(test, 48, sizeof(*bufs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bufs);
	manager_start(test, SZ_16M);
	for (i = 0; i < 48; i++)
		KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
						   &limits_64, &bufs[i]), 0);
	KUNIT_ASSERT_EQ(test, bufs[16].chunk->size, SZ_128K);
	for (i = 0; i < 48; i++)
		if (i < 16 || i >= 36)
			io_buffer_pool_put(&bufs[i]);
	for (i = 0; i < 4; i++) {
		WRITE_ONCE(bufs[16].chunk->referenced, true);
		age(t);
		KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K + SZ_128K);
	}

	for (i = 17; i < 36; i++)
		io_buffer_pool_put(&bufs[i]);
	WRITE_ONCE(bufs[16].chunk->referenced, true);
	age(t);
	KUNIT_ASSERT_TRUE(test, io_buffer_get(t->mgr, IO_BUFFER_READ, SZ_4K, U64_MAX,
					      &buf));
	KUNIT_EXPECT_EQ(test, buf.chunk->size, SZ_64K);
	io_buffer_pool_put(&bufs[16]);
	age(t);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
	io_buffer_pool_put(&buf);
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

/* A chunk is idle after a whole period without use, not at the end of one with use. */
static void manager_grows_without_reclaim(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_64K);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	age(t);
	io_buffer_pool_put(&buf);
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_WRITE, SZ_4K,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_EQ(test, t->fake->unmaps, 0);
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
}

/* A budget beyond the largest window could never be used. */
static void manager_budget_fits_the_window(struct kunit *test)
{
	struct manager_test *t = test->priv;

	manager_start(test, SZ_1G);
	KUNIT_EXPECT_EQ(test, t->mgr->memory_max, SZ_512M);
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

/* With a large granule there would be room for slots of 2 MiB in a region. */
static void manager_has_a_largest_slot(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_64M);
	t->mgr->granule_shift = ilog2(SZ_64K);
	t->mgr->granule_mask = SZ_64K - 1;
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_64K,
					   &limits_64, &buf), 0);
	KUNIT_ASSERT_EQ(test, t->mgr->region_shift, ilog2(SZ_2M));
	KUNIT_EXPECT_EQ(test, 1UL << buf.chunk->slot_shift, SZ_64K);
	KUNIT_EXPECT_EQ(test, get_or_why(t->mgr, IO_BUFFER_READ, SZ_1M,
					 limits_64.dma_limit, &buf),
			-1 - IO_BUFFER_MISS_EMPTY);
	KUNIT_EXPECT_EQ(test, get_or_why(t->mgr, IO_BUFFER_READ, SZ_1M + 1,
					 limits_64.dma_limit, &buf),
			-1 - IO_BUFFER_MISS_SIZE);
	KUNIT_EXPECT_TRUE(test, io_buffer_grow_atomic(t->mgr, IO_BUFFER_READ,
						      SZ_1M,
						      limits_64.dma_limit,
						      &buf));
	KUNIT_EXPECT_FALSE(test, io_buffer_grow_atomic(t->mgr, IO_BUFFER_READ,
						       SZ_1M + 1,
						       limits_64.dma_limit,
						       &buf));
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
		KUNIT_EXPECT_TRUE(test, test_bit(io_buffer_pool_nr(IO_BUFFER_READ, 0),
						 t->mgr->grow_pending));
		io_buffer_request_grow(t->mgr, IO_BUFFER_READ, SZ_4K, &limits_64);
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

static bool get_reserved(struct manager_test *t, enum io_buffer_perm perm,
			 size_t size, struct io_buffer *buf)
{
	return io_buffer_get_reserved(t->mgr, perm, size, limits_64.dma_limit, buf);
}

static bool grow_now(struct manager_test *t, enum io_buffer_perm perm, size_t size,
		     struct io_buffer *buf)
{
	return io_buffer_grow_atomic(t->mgr, perm, size, limits_64.dma_limit, buf);
}

/* The worker is to have no part in what follows. */
static void no_worker(struct manager_test *t)
{
	bitmap_fill(t->mgr->grow_pending, IO_BUFFER_ALL_POOLS);
}

/* Where there is no other way, a slot is made at once, and memory is kept. */
static void manager_grows_at_once(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf, bufs[40];
	unsigned int i, n;

	manager_start(test, SZ_1M);
	KUNIT_EXPECT_FALSE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &buf));
	KUNIT_EXPECT_FALSE(test, get_reserved(t, IO_BUFFER_READ, SZ_4K, &buf));
	io_buffer_enable_reserve(t->mgr, &limits_64);
	/* Small and large ones of each permission, and no more the next time */
	KUNIT_ASSERT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	KUNIT_ASSERT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	no_worker(t);
	/* The last one is a larger one. */
	for (i = 0; i < 17; i++)
		KUNIT_ASSERT_TRUE(test, get_reserved(t, IO_BUFFER_READ, SZ_4K, &buf));
	KUNIT_EXPECT_EQ(test, 1UL << buf.chunk->slot_shift, SZ_64K);
	KUNIT_EXPECT_FALSE(test, get_reserved(t, IO_BUFFER_READ, SZ_4K, &buf));
	t->fake->fail_map = true;
	KUNIT_EXPECT_FALSE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &buf));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 6);
	t->fake->fail_map = false;
	KUNIT_ASSERT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &buf));
	KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, io_buffer_iova(&buf)),
			IOMMU_READ);
	io_buffer_pool_put(&buf);
	/* No slots of that size yet, and one for which there is no room */
	KUNIT_ASSERT_TRUE(test, grow_now(t, IO_BUFFER_WRITE, SZ_16K, &buf));
	io_buffer_pool_put(&buf);
	KUNIT_EXPECT_FALSE(test, grow_now(t, IO_BUFFER_WRITE, SZ_1M, &buf));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 8 * SZ_64K);

	/* The budget holds. */
	for (n = 0; grow_now(t, IO_BUFFER_READ, SZ_4K, &bufs[n]); n++)
		KUNIT_ASSERT_LT(test, n, ARRAY_SIZE(bufs) - 1);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_1M);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, SZ_1M);
	while (n--)
		io_buffer_pool_put(&bufs[n]);

	/* Reclaim keeps one chunk of each pool of the reserve: the same one. */
	n = t->fake->maps;
	age(t);
	age(t);
	KUNIT_EXPECT_EQ(test, t->fake->maps, n);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	KUNIT_EXPECT_TRUE(test, get_reserved(t, IO_BUFFER_WRITE, SZ_64K, &buf));
}

/* Of no use to a device that does not reach the window; else the worker adds more. */
static void manager_grows_at_once_and_later(struct kunit *test)
{
	struct manager_test *t = test->priv;
	u64 too_low = DMA_BIT_MASK(31);
	struct io_buffer buf;

	manager_start(test, SZ_64M);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	KUNIT_ASSERT_GT(test, t->mgr->last, too_low);
	KUNIT_EXPECT_FALSE(test, io_buffer_grow_atomic(t->mgr, IO_BUFFER_READ, SZ_4K,
						       too_low, &buf));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);

	KUNIT_EXPECT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &buf));
	flush_work(&t->mgr->work);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 8);
	KUNIT_EXPECT_GT(test, t->mgr->memory, 8 * SZ_64K);
}

/* Growth in atomic context clears little memory, more only if regions are scarce. */
static void manager_grows_at_once_by_little(struct kunit *test)
{
	struct manager_test *t = test->priv;
	unsigned int i, nr_regions;
	struct io_buffer buf;
	size_t before;

	manager_start(test, SZ_64M);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	no_worker(t);
	for (i = 0; i < 8; i++) {
		before = t->mgr->memory;
		KUNIT_ASSERT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &buf));
		KUNIT_EXPECT_EQ(test, t->mgr->memory, before + SZ_64K);
	}
	nr_regions = t->mgr->nr_regions;
	KUNIT_ASSERT_GT(test, nr_regions, 2 * t->mgr->nr_chunks);
	t->mgr->nr_regions = 2 * t->mgr->nr_chunks;
	before = t->mgr->memory;
	KUNIT_EXPECT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &buf));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, before + SZ_256K);
	t->mgr->nr_regions = nr_regions;
}

/* However much is bounced by choice, mandatory bounces have slots and a budget. */
static void manager_reserve_is_reserved(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;
	enum io_buffer_perm perm;
	unsigned int class, n;

	manager_start(test, SZ_1M);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++)
		for (class = 0; class < IO_BUFFER_NR_CLASSES; class++)
			while (!want_and_get(test, perm, SZ_4K << class,
					     &limits_64, &buf))
				;
	KUNIT_EXPECT_GT(test, t->mgr->memory, 6 * SZ_64K);
	no_worker(t);

	for (perm = 0; perm < IO_BUFFER_NR_PERMS; perm++) {
		for (n = 0; get_reserved(t, perm, SZ_4K, &buf); n++)
			;
		KUNIT_EXPECT_EQ(test, n, perm == IO_BUFFER_OVERWRITE ? 0 : 17);
	}
	for (n = 0; grow_now(t, IO_BUFFER_READ, SZ_64K, &buf); n++)
		;
	KUNIT_EXPECT_EQ(test, n, SZ_256K / SZ_64K);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_1M);

	/* Nor can others take what a mandatory bounce gives back. */
	io_buffer_pool_put(&buf);
	KUNIT_EXPECT_NE(test, get_or_why(t->mgr, IO_BUFFER_READ, SZ_64K,
					 limits_64.dma_limit, &buf), 0);
	KUNIT_EXPECT_TRUE(test, get_reserved(t, IO_BUFFER_READ, SZ_64K, &buf));
}

/* Each chunk takes up a region: others leave some of these, too. */
static void manager_reserve_has_regions(struct kunit *test)
{
	const struct io_buffer_limits limits_24 = {
		.dma_limit = DMA_BIT_MASK(24),
		.nid = NUMA_NO_NODE,
	};
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	io_buffer_enable_reserve(t->mgr, &limits_24);
	while (!want_and_get(test, IO_BUFFER_READ, SZ_64K, &limits_24, &buf))
		;
	KUNIT_EXPECT_LE(test, t->mgr->nr_chunks,
			t->mgr->nr_regions - t->mgr->nr_regions / 4);
	KUNIT_EXPECT_TRUE(test, io_buffer_grow_atomic(t->mgr, IO_BUFFER_READ,
						      SZ_64K, limits_24.dma_limit,
						      &buf));
}

/* However many full chunks are in front of it, a free slot is found. */
static void manager_reserve_is_found(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer_pool *pool;
	struct io_buffer buf, last;
	int n;

	manager_start(test, SZ_16M);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	no_worker(t);
	for (n = 0; n < 20; n++) {
		KUNIT_ASSERT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &last));
		while (get_reserved(t, IO_BUFFER_READ, SZ_4K, &buf))
			;
	}
	pool = last.chunk->pool;
	KUNIT_ASSERT_GT(test, pool->nr_chunks, 19);
	io_buffer_pool_put(&last);
	/* None of them is known to be full. */
	bitmap_zero(pool->full, pool->max_chunks);
	for_each_possible_cpu(n)
		WRITE_ONCE(per_cpu_ptr(pool->hints, n)->last, 0);
	KUNIT_EXPECT_TRUE(test, get_reserved(t, IO_BUFFER_READ, SZ_4K, &buf));
}

/* What is in use when a reserve is given up goes later. */
static void manager_looks_after_what_it_drops(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	KUNIT_ASSERT_TRUE(test, get_reserved(t, IO_BUFFER_READ, SZ_4K, &buf));
	disable_delayed_work_sync(&t->mgr->age_work);
	enable_delayed_work(&t->mgr->age_work);
	KUNIT_ASSERT_FALSE(test, delayed_work_pending(&t->mgr->age_work));
	io_buffer_free_unused(t->mgr);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 1);
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&t->mgr->age_work));
	io_buffer_pool_put(&buf);
}

/* Nobody is woken for a reserve that nobody uses. */
static void manager_reserve_is_left_alone(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf, more;

	manager_start(test, SZ_16M);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&t->mgr->age_work));
	age(t);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&t->mgr->age_work));
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);

	/* A chunk that is added to the reserve is reclaimed. */
	no_worker(t);
	KUNIT_ASSERT_TRUE(test, get_reserved(t, IO_BUFFER_READ, SZ_4K, &buf));
	KUNIT_ASSERT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_4K, &more));
	age(t);
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&t->mgr->age_work));
	io_buffer_pool_put(&buf);
	io_buffer_pool_put(&more);
}

/* The least of budgets is enough for the reserve, until that is no longer wanted. */
static void manager_reserve_raises_a_small_budget(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_64K);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	io_buffer_free_unused(t->mgr);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 0);
	age(t);
	while (!want_and_get(test, IO_BUFFER_READ, SZ_4K, &limits_64, &buf))
		;
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
}

/* Another CPU has said what the device can address, but not woken the worker yet. */
static void manager_reserve_does_not_wait_for_others(struct kunit *test)
{
	struct manager_test *t = test->priv;

	manager_start(test, SZ_16M);
	t->mgr->limits = limits_64;
	t->mgr->limits_set = true;
	io_buffer_enable_reserve(t->mgr, &limits_64);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 6 * SZ_64K);
}

/* A thief takes what is published, and memory is short, as it is then. */
static void manager_grow_now_keeps_its_slot(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer bufs[8], thief;
	unsigned int i;

	manager_start(test, SZ_16M);
	io_buffer_enable_reserve(t->mgr, &limits_64);
	no_worker(t);
	KUNIT_ASSERT_TRUE(test, get_reserved(t, IO_BUFFER_READ, SZ_64K, &thief));
	for (i = 0; i < ARRAY_SIZE(bufs); i++) {
		KUNIT_ASSERT_TRUE(test, grow_now(t, IO_BUFFER_READ, SZ_64K, &bufs[i]));
		KUNIT_EXPECT_FALSE(test, get_reserved(t, IO_BUFFER_READ, SZ_64K, &thief));
		io_buffer_shrink(SIZE_MAX);
		KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, io_buffer_iova(&bufs[i])),
				IOMMU_READ);
	}
}

static bool suspended;

static int hold_dev_stub(struct io_buffer_manager *mgr)
{
	return suspended ? 0 : -EINVAL;
}

/* An invalidation may be for the device to answer. */
static void manager_unmaps_nothing_of_a_suspended_device(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	io_buffer_pool_put(&buf);
	suspended = true;
	kunit_activate_static_stub(test, io_buffer_hold_dev, hold_dev_stub);
	io_buffer_shrink(SIZE_MAX);
	KUNIT_EXPECT_EQ(test, t->fake->unmaps, 0);
	io_buffer_free_unused(t->mgr);
	KUNIT_EXPECT_EQ(test, t->fake->unmaps, 0);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
	suspended = false;
	io_buffer_shrink(SIZE_MAX);
	KUNIT_EXPECT_EQ(test, t->fake->unmaps, 1);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 0);
}

#if defined(CONFIG_PM) && defined(CONFIG_PCI)
static void runtime_pm_end(void *data)
{
	struct device *dev = data;

	pm_runtime_disable(dev);
	put_device(dev);
}

static void no_release(struct device *dev)
{
}

/* A PCI device with runtime PM, in use: without a driver it must not be put to sleep. */
static struct pci_dev *pci_device(struct kunit *test)
{
	struct pci_dev *pdev = kunit_kzalloc(test, sizeof(*pdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pdev);
	device_initialize(&pdev->dev);
	pdev->dev.release = no_release;
	KUNIT_ASSERT_EQ(test, dev_set_name(&pdev->dev, "ats"), 0);
	pdev->dev.bus = &pci_bus_type;
	pm_runtime_get_noresume(&pdev->dev);
	pm_runtime_enable(&pdev->dev);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, runtime_pm_end,
							&pdev->dev), 0);
	return pdev;
}

static void set_active(struct device *dev, bool active)
{
	pm_runtime_disable(dev);
	if (active)
		pm_runtime_set_active(dev);
	else
		pm_runtime_set_suspended(dev);
	pm_runtime_enable(dev);
}

/* A device without ATS has no part in invalidations, and one that is active answers. */
static void manager_holds_devices_with_ats(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct pci_dev *pdev;

	manager_start(test, SZ_1M);
	KUNIT_EXPECT_LT(test, io_buffer_hold_dev(t->mgr), 0);

	pdev = pci_device(test);
	t->mgr->dev = &pdev->dev;
	set_active(&pdev->dev, false);
	KUNIT_EXPECT_LT(test, io_buffer_hold_dev(t->mgr), 0);
	pdev->ats_enabled = 1;
	KUNIT_EXPECT_EQ(test, io_buffer_hold_dev(t->mgr), 0);
	set_active(&pdev->dev, true);
	KUNIT_EXPECT_EQ(test, io_buffer_hold_dev(t->mgr), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&pdev->dev.power.usage_count), 2);
	/* Reclaim releases what it holds. */
	io_buffer_free_unused(t->mgr);
	KUNIT_EXPECT_EQ(test, atomic_read(&pdev->dev.power.usage_count), 2);
	pm_runtime_put_noidle(&pdev->dev);
	/* Active, though nobody uses it */
	pm_runtime_put_noidle(&pdev->dev);
	KUNIT_EXPECT_EQ(test, io_buffer_hold_dev(t->mgr), 1);
	pm_runtime_put_noidle(&pdev->dev);
	/* Whatever its bus is */
	pdev->dev.bus = NULL;
	set_active(&pdev->dev, false);
	KUNIT_EXPECT_LT(test, io_buffer_hold_dev(t->mgr), 0);
	t->mgr->dev = NULL;
}
#endif

static bool asleep_stub(void)
{
	return false;
}

/* The shrinker may be called at any time, also when the IOMMU is suspended already. */
static void manager_does_not_shrink_in_suspend(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	io_buffer_pool_put(&buf);
	kunit_activate_static_stub(test, io_buffer_system_running, asleep_stub);
	KUNIT_EXPECT_EQ(test, io_buffer_shrink(SIZE_MAX), 0);
	KUNIT_EXPECT_EQ(test, t->fake->unmaps, 0);
	kunit_deactivate_static_stub(test, io_buffer_system_running);
	KUNIT_EXPECT_EQ(test, io_buffer_shrink(SIZE_MAX), SZ_64K);
}

/* What an IOMMU does not let go is lost, and nobody goes on looking for it. */
static void manager_survives_a_short_unmap(struct kunit *test)
{
	struct manager_test *t = test->priv;
	size_t total = io_buffer_total();
	struct io_buffer buf, again;
	dma_addr_t iova;

	manager_start(test, SZ_16M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	iova = buf.chunk->iova;
	io_buffer_pool_put(&buf);
	kunit_warning_suppress(test) {
		t->fake->short_unmap = 1;
		io_buffer_free_unused(t->mgr);
		t->fake->short_unmap = 0;
	}
	KUNIT_EXPECT_EQ(test, t->fake->mapped, SZ_64K / 2);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, 0);
	KUNIT_EXPECT_EQ(test, t->mgr->nr_chunks, 0);
	KUNIT_EXPECT_EQ(test, io_buffer_total(), total);
	KUNIT_EXPECT_FALSE(test, io_buffer_lookup(t->mgr, iova, &again));
	age(t);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&t->mgr->age_work));
	/* Its addresses are not used again. */
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &again), 0);
	KUNIT_EXPECT_NE(test, again.chunk->iova, iova);
	t->fake->mapped -= SZ_64K / 2;
}

static void manager_works_in_the_background(struct kunit *test)
{
	manager_start(test, SZ_1M);
	KUNIT_EXPECT_PTR_NE(test, io_buffer_queue(), system_freezable_wq);
}

#ifdef CONFIG_FREEZER
/* The IOMMU may be suspended when tasks are frozen. */
static void manager_freezes_with_tasks(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf, other;
	size_t grown, aged;

	manager_start(test, SZ_16M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	io_buffer_pool_put(&buf);
	age(t);

	freeze_workqueues_begin();
	io_buffer_request_grow(t->mgr, IO_BUFFER_WRITE, SZ_4K, &limits_64);
	msleep(50);
	grown = t->mgr->memory;
	mod_delayed_work(io_buffer_queue(), &t->mgr->age_work, 0);
	msleep(50);
	aged = t->mgr->memory;
	thaw_workqueues();
	KUNIT_EXPECT_EQ(test, grown, SZ_64K);
	KUNIT_EXPECT_EQ(test, aged, SZ_64K);

	flush_work(&t->mgr->work);
	flush_work(&t->mgr->age_work.work);
	KUNIT_EXPECT_EQ(test, get_or_why(t->mgr, IO_BUFFER_WRITE, SZ_4K,
					 limits_64.dma_limit, &other), 0);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
}
#endif

static struct io_buffer_pool *
pool_create_stub(struct iommu_domain *domain, int prot, int nid,
		 unsigned int slot_shift, unsigned int granule_shift,
		 unsigned int max_chunks, gfp_t gfp)
{
	struct kunit *test = kunit_get_current_test();
	struct manager_test *t = test->priv;

	t->pool_gfp = gfp;
	kunit_deactivate_static_stub(test, io_buffer_pool_create);
	return io_buffer_pool_create(domain, prot, nid, slot_shift,
				     granule_shift, max_chunks, gfp);
}

/* How a pool is made by what the worker does, or by a bounce that cannot wait */
static void manager_makes_pools_with_little_effort(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	disable_work_sync(&t->mgr->work);
	kunit_activate_static_stub(test, io_buffer_pool_create, pool_create_stub);
	io_buffer_request_grow(t->mgr, IO_BUFFER_READ, SZ_4K, &limits_64);
	/* Here, where stubs are in effect */
	t->mgr->work.func(&t->mgr->work);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
	KUNIT_EXPECT_EQ(test, (__force int)t->pool_gfp,
			(__force int)(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN));

	kunit_activate_static_stub(test, io_buffer_pool_create, pool_create_stub);
	KUNIT_EXPECT_TRUE(test, grow_now(t, IO_BUFFER_WRITE, SZ_4K, &buf));
	KUNIT_EXPECT_EQ(test, (__force int)t->pool_gfp,
			(__force int)(GFP_ATOMIC | __GFP_NOWARN));
	io_buffer_pool_put(&buf);
	enable_work(&t->mgr->work);
}

/* A chunk is not worth reclaim, and no failure worth a message. */
static void manager_does_not_try_hard(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_64M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_EQ(test, (__force int)t->fake->gfp,
			(__force int)(GFP_NOIO | __GFP_NORETRY |
				      __GFP_NOWARN));
	/* Not at all for a large chunk */
	while (t->mgr->memory < SZ_256K)
		KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
						   &limits_64, &buf), 0);
	KUNIT_EXPECT_FALSE(test, (__force int)(t->fake->gfp &
					       __GFP_DIRECT_RECLAIM));
}

/* There may be room for more once the others have left. */
static void manager_window_is_not_small_at_once(struct kunit *test)
{
	struct manager_test *t = test->priv;
	unsigned long shift = iova_shift(&t->fake->iovad);
	struct io_buffer_limits limits = limits_64;
	struct iova *taken;
	struct io_buffer buf;

	limits.dma_limit = DMA_BIT_MASK(32);
	/* All but what lies below 256 MiB, which is not aligned to that. */
	taken = alloc_iova(&t->fake->iovad, (DMA_BIT_MASK(32) - SZ_256M + 1) >> shift,
			   DMA_BIT_MASK(32) >> shift, false);
	KUNIT_ASSERT_NOT_NULL(test, taken);
	manager_start(test, SZ_64M);
	KUNIT_EXPECT_NE(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits, &buf), 0);
	KUNIT_EXPECT_EQ(test, t->mgr->size, 0);
	__free_iova(&t->fake->iovad, taken);
	t->mgr->retry_at = 0;
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits, &buf), 0);
	KUNIT_EXPECT_EQ(test, t->mgr->size, SZ_256M);
}

/* A second domain, for what concerns all of them. */
static void second_start(struct kunit *test, struct manager_test *other)
{
	struct manager_test *t = test->priv;

	other->fake = mock_domain_create(test);
	other->mgr = kunit_kzalloc(test, sizeof(*other->mgr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, other->mgr);
	mock_manager_start(other->mgr, other->fake, t->mgr->memory_max);
}

static void second_stop(struct manager_test *other)
{
	mock_manager_stop(other->mgr);
	mock_domain_destroy(other->fake);
}

/* Hold much that is not in use; return how much. */
static size_t inflate(struct kunit *test, struct manager_test *t)
{
	static struct io_buffer bufs[1024];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bufs); i++) {
		while (!io_buffer_get(t->mgr, IO_BUFFER_READ, SZ_4K,
				      limits_64.dma_limit, &bufs[i])) {
			io_buffer_request_grow(t->mgr, IO_BUFFER_READ, SZ_4K, &limits_64);
			flush_work(&t->mgr->work);
		}
	}
	while (i--)
		io_buffer_pool_put(&bufs[i]);
	return t->mgr->memory;
}

/* A domain that is asked for memory gives some; the others may grow. */
static void manager_shrinks_fairly(struct kunit *test)
{
	struct manager_test *t = test->priv, other = {};
	size_t was[2], gave[2];
	struct io_buffer buf;
	unsigned int i;

	manager_start(test, SZ_64M);
	second_start(test, &other);
	was[0] = inflate(test, t);
	was[1] = inflate(test, &other);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_GE(test, io_buffer_shrink(SZ_64K), SZ_64K);
	gave[0] = was[0] - t->mgr->memory;
	gave[1] = was[1] - other.mgr->memory;
	kunit_info(test, "%zu and %zu KiB were given back\n", gave[0] / SZ_1K,
		   gave[1] / SZ_1K);
	KUNIT_EXPECT_GT(test, gave[0], 0);
	KUNIT_EXPECT_GT(test, gave[1], 0);
	KUNIT_EXPECT_LE(test, gave[0], 2 * gave[1]);
	KUNIT_EXPECT_LE(test, gave[1], 2 * gave[0]);

	while (io_buffer_shrink(SIZE_MAX))
		;
	KUNIT_EXPECT_EQ(test, t->mgr->memory + other.mgr->memory, 0);
	t->mgr->retry_at = 0;
	KUNIT_EXPECT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	KUNIT_EXPECT_EQ(test, io_buffer_shrink(SIZE_MAX), 0);
	KUNIT_EXPECT_EQ(test, t->mgr->retry_at, 0);
	second_stop(&other);
}

/* What was used lately is not taken while others have something that was not. */
static void manager_gives_what_is_idle_first(struct kunit *test)
{
	struct manager_test *t = test->priv, other = {};
	struct io_buffer buf;

	manager_start(test, SZ_64M);
	second_start(test, &other);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	io_buffer_pool_put(&buf);
	inflate(test, &other);
	io_buffer_pool_age(other.mgr->pools[IO_BUFFER_READ][0]);
	KUNIT_EXPECT_GE(test, io_buffer_shrink(SZ_64K), SZ_64K);
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_64K);
	second_stop(&other);
}

/* Where the shrinker must not unmap, the worker does: what was asked for, no more. */
static void manager_gives_a_part_of_it_later(struct kunit *test)
{
	struct io_buffer_limits limits = limits_64;
	struct manager_test *t = test->priv;
	struct io_buffer buf;
	size_t was;

	limits.unmap_needs_rpm = true;
	manager_start(test, SZ_64M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits, &buf), 0);
	io_buffer_pool_put(&buf);
	was = inflate(test, t);
	KUNIT_ASSERT_GT(test, was, 2 * SZ_2M);
	KUNIT_EXPECT_EQ(test, io_buffer_shrink(SZ_64K), 0);
	flush_work(&t->mgr->age_work.work);
	KUNIT_EXPECT_LE(test, t->mgr->memory, was - SZ_64K);
	KUNIT_EXPECT_GE(test, t->mgr->memory, was - SZ_2M);
}

/* All domains together keep to a budget, and who must bounce is not refused. */
static void manager_keeps_to_the_total(struct kunit *test)
{
	struct manager_test *t = test->priv, other = {};
	size_t max = io_buffer_total_max(), total = io_buffer_total();
	unsigned long refused = io_buffer_total_refused();
	struct io_buffer buf;

	manager_start(test, SZ_64M);
	second_start(test, &other);
	io_buffer_set_total_max(total + SZ_256K);
	while (!want_and_get(test, IO_BUFFER_READ, SZ_4K, &limits_64, &buf))
		;
	KUNIT_EXPECT_EQ(test, t->mgr->memory, SZ_256K);
	KUNIT_EXPECT_EQ(test, io_buffer_total(), total + SZ_256K);
	KUNIT_EXPECT_GT(test, io_buffer_total_refused(), refused);

	io_buffer_request_grow(other.mgr, IO_BUFFER_READ, SZ_4K, &limits_64);
	flush_work(&other.mgr->work);
	KUNIT_EXPECT_EQ(test, other.mgr->memory, 0);
	/* Nor does it wake the worker for each miss. */
	KUNIT_EXPECT_GT(test, other.mgr->retry_at, get_jiffies_64());

	no_worker(&other);
	KUNIT_EXPECT_TRUE(test, grow_now(&other, IO_BUFFER_READ, SZ_4K, &buf));
	io_buffer_pool_put(&buf);
	io_buffer_free_unused(other.mgr);
	io_buffer_enable_reserve(other.mgr, &limits_64);
	KUNIT_EXPECT_EQ(test, other.mgr->memory, 6 * SZ_64K);
	second_stop(&other);
	KUNIT_EXPECT_EQ(test, io_buffer_total(), total + SZ_256K);
	io_buffer_set_total_max(max);
}

struct manager_end {
	struct work_struct work;
	struct io_buffer_manager *mgr;
};

static void manager_end(struct work_struct *work)
{
	mock_manager_stop(container_of(work, struct manager_end,
				       work)->mgr);
}

/* Stop the manager while @work waits for its lock, which the caller holds. */
static void end_while_running(struct kunit *test, struct work_struct *work)
{
	struct manager_test *t = test->priv;
	struct io_buffer_manager *mgr = t->mgr;
	struct manager_end end = { .mgr = mgr };

	while (!(work_busy(work) & WORK_BUSY_RUNNING))
		msleep(20);
	INIT_WORK_ONSTACK(&end.work, manager_end);
	queue_work(system_dfl_wq, &end.work);
	/* Time enough to be where it waits for @work to come to its end */
	msleep(50);
	mutex_unlock(&mgr->lock);
	flush_work(&end.work);
	destroy_work_on_stack(&end.work);
	t->mgr = NULL;
	KUNIT_EXPECT_EQ(test, work_busy(&mgr->work), 0);
	KUNIT_EXPECT_EQ(test, work_busy(&mgr->age_work.work), 0);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&mgr->age_work));
}

static void manager_ends_while_it_gives_back(struct kunit *test)
{
	struct manager_test *t = test->priv;
	struct io_buffer buf;

	manager_start(test, SZ_16M);
	KUNIT_ASSERT_EQ(test, want_and_get(test, IO_BUFFER_READ, SZ_4K,
					   &limits_64, &buf), 0);
	/* In use, which is a reason to look again later */
	mutex_lock(&t->mgr->lock);
	io_buffer_kick_reclaim(t->mgr, SIZE_MAX);
	end_while_running(test, &t->mgr->age_work.work);
}

static void manager_ends_while_it_grows(struct kunit *test)
{
	struct manager_test *t = test->priv;

	manager_start(test, SZ_16M);
	mutex_lock(&t->mgr->lock);
	io_buffer_request_grow(t->mgr, IO_BUFFER_READ, SZ_4K, &limits_64);
	end_while_running(test, &t->mgr->work);
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
			-1 - IO_BUFFER_MISS_EMPTY);
	KUNIT_EXPECT_EQ(test, t->mgr->size, 0);
	/* And asking in vain does not keep the worker busy. */
	io_buffer_request_grow(t->mgr, IO_BUFFER_READ, SZ_4K, &limits);
	KUNIT_EXPECT_FALSE(test, work_pending(&t->mgr->work));
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
	KUNIT_CASE(manager_relieves_a_crowded_pool),
	KUNIT_CASE(manager_keeps_small_chunks),
	KUNIT_CASE(manager_budget_goes_where_it_is_used),
	KUNIT_CASE(manager_grows_without_reclaim),
	KUNIT_CASE(manager_budget_fits_the_window),
	KUNIT_CASE(manager_refuses_what_is_too_large),
	KUNIT_CASE(manager_has_a_largest_slot),
	KUNIT_CASE(manager_chunks_double),
	KUNIT_CASE(manager_keeps_to_the_budget),
	KUNIT_CASE_PARAM(manager_memory_is_in_proportion, load_gen_params),
	KUNIT_CASE(manager_makes_do_with_small_chunks),
	KUNIT_CASE(manager_tries_again_after_a_refusal),
	KUNIT_CASE(manager_grows_at_once),
	KUNIT_CASE(manager_grows_at_once_and_later),
	KUNIT_CASE(manager_grows_at_once_by_little),
	KUNIT_CASE(manager_reserve_is_reserved),
	KUNIT_CASE(manager_reserve_has_regions),
	KUNIT_CASE(manager_reserve_is_found),
	KUNIT_CASE(manager_looks_after_what_it_drops),
	KUNIT_CASE(manager_reserve_is_left_alone),
	KUNIT_CASE(manager_reserve_raises_a_small_budget),
	KUNIT_CASE(manager_reserve_does_not_wait_for_others),
	KUNIT_CASE(manager_grow_now_keeps_its_slot),
	KUNIT_CASE(manager_unmaps_nothing_of_a_suspended_device),
#if defined(CONFIG_PM) && defined(CONFIG_PCI)
	KUNIT_CASE(manager_holds_devices_with_ats),
#endif
	KUNIT_CASE(manager_does_not_shrink_in_suspend),
	KUNIT_CASE(manager_survives_a_short_unmap),
	KUNIT_CASE(manager_works_in_the_background),
#ifdef CONFIG_FREEZER
	KUNIT_CASE(manager_freezes_with_tasks),
#endif
	KUNIT_CASE(manager_makes_pools_with_little_effort),
	KUNIT_CASE(manager_does_not_try_hard),
	KUNIT_CASE(manager_window_is_not_small_at_once),
	KUNIT_CASE(manager_shrinks_fairly),
	KUNIT_CASE(manager_gives_what_is_idle_first),
	KUNIT_CASE(manager_gives_a_part_of_it_later),
	KUNIT_CASE(manager_keeps_to_the_total),
	KUNIT_CASE(manager_ends_while_it_gives_back),
	KUNIT_CASE(manager_ends_while_it_grows),
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
