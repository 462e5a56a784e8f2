// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the limit that sets itself. The IOMMU takes as long as the
 * tests say, and so do copies: they are said to have begun in the past. All
 * figures are far apart, because the machine that runs this may be slow.
 */

#include <kunit/test.h>
#include <linux/sizes.h>
#include <linux/timekeeping.h>

#include "../io-bounce-limit.h"
#include "../io-buffer-manager.h"
#include "fake-domain.h"

#define LIMIT_START	SZ_16K
#define LIMIT_MAX	SZ_256K

/* Microseconds; and ns: whatever the machine, cheaper or dearer than that. */
#define MAP_US		100
#define COPY_CHEAP	1
#define COPY_DEAR	(1000 * NSEC_PER_MSEC)

struct limit_test {
	struct fake_domain *fake;
	struct io_buffer_manager mgr;
	struct io_bounce_limit limit;
};

static int limit_test_init(struct kunit *test)
{
	struct limit_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = fake_domain_create(test);
	t->fake->map_us = MAP_US;
	io_buffer_manager_init(&t->mgr, &t->fake->domain, &t->fake->iovad,
			       SZ_16M);
	io_bounce_limit_auto(&t->limit, LIMIT_START, LIMIT_MAX);
	return 0;
}

static void limit_test_exit(struct kunit *test)
{
	struct limit_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	io_buffer_manager_destroy(&t->mgr);
	fake_domain_destroy(t->fake);
}

/* An ordinary mapping, and it is time to measure. */
static bool probe(struct limit_test *t)
{
	t->limit.next_probe = jiffies;
	return io_bounce_limit_probe(&t->limit, &t->mgr);
}

static void probe_often(struct limit_test *t)
{
	int i;

	for (i = 0; i < 64; i++)
		probe(t);
}

/* A copy that is said to have taken @ns, and it is time to measure. */
static void copy(struct limit_test *t, u64 ns)
{
	__io_bounce_copy_end(&t->limit, ktime_get_mono_fast_ns() - ns,
			     IO_BOUNCE_COPY_UNIT, true);
}

static size_t to_device(const struct limit_test *t)
{
	return t->limit.bytes[DMA_TO_DEVICE];
}

static size_t from_device(const struct limit_test *t)
{
	return t->limit.bytes[DMA_FROM_DEVICE];
}

static void calibrate(struct limit_test *t)
{
	io_bounce_limit_calibrate(&t->limit, &t->mgr);
}

static void set_average(struct ewma_io_bounce *average, u64 ns)
{
	ewma_io_bounce_init(average);
	ewma_io_bounce_add(average, ns);
}

/* Decide on just these figures: the probe that goes before it fails. */
static void decide_on(struct limit_test *t, u64 map, u64 map_list, u64 copy)
{
	t->limit.calibrated = true;
	set_average(&t->limit.map, map);
	set_average(&t->limit.map_list, map_list);
	set_average(&t->limit.copy_in, copy);
	set_average(&t->limit.copy_out, copy);
	t->fake->fail_map = true;
	probe(t);
}

static void limit_starts_as_told(struct kunit *test)
{
	struct limit_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_START);
	KUNIT_EXPECT_EQ(test, from_device(t), LIMIT_START);
	/* The first ordinary mapping asks for more, and does nothing itself. */
	KUNIT_EXPECT_TRUE(test, probe(t));
	KUNIT_EXPECT_EQ(test, t->fake->maps, 0);

	io_bounce_limit_auto(&t->limit, 0, LIMIT_MAX);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, 1, 1,
						  DMA_TO_DEVICE));
}

static void limit_follows_the_iommu(struct kunit *test)
{
	struct limit_test *t = test->priv;

	calibrate(t);
	KUNIT_EXPECT_GT(test, to_device(t), 0);
	KUNIT_EXPECT_GE(test, to_device(t), from_device(t));
	KUNIT_EXPECT_LE(test, to_device(t), LIMIT_MAX);

	/* Where copying costs more than the IOMMU, the domain stays out of it. */
	decide_on(t, 1000, 1000, 1000000);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	KUNIT_EXPECT_EQ(test, from_device(t), 0);

	/* Where it costs next to nothing, only @max is in the way. */
	decide_on(t, 1000, 1000, 1);
	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_MAX);
	KUNIT_EXPECT_EQ(test, from_device(t), LIMIT_MAX);
}

/* A copy of 64K is said to take as long as four mappings. */
static void limit_counts_two_copies_for_reads(struct kunit *test)
{
	struct limit_test *t = test->priv;

	decide_on(t, 1000, 1000, 4000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_16K);
	KUNIT_EXPECT_EQ(test, from_device(t), SZ_8K);
	KUNIT_EXPECT_EQ(test, t->limit.bytes[DMA_BIDIRECTIONAL], SZ_8K);

	/* A granule to the device is just worth it, from the device it is not. */
	decide_on(t, 1000, 1000, 15000);
	KUNIT_EXPECT_EQ(test, to_device(t), 65536 / 15);
	KUNIT_EXPECT_EQ(test, from_device(t), 0);
	/* To begin takes more than to go on. */
	decide_on(t, 1000, 1000, 20000);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	decide_on(t, 1000, 1000, 15000);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	decide_on(t, 1000, 1000, 12000);
	KUNIT_EXPECT_EQ(test, to_device(t), 65536 / 12);
}

static void limit_survives_one_outlier(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned long before;

	calibrate(t);
	before = ewma_io_bounce_read(&t->limit.copy_in);
	copy(t, COPY_DEAR);
	KUNIT_EXPECT_LE(test, ewma_io_bounce_read(&t->limit.copy_in),
			2 * before);
}

static void limit_is_put_to_trial(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned int mappings = 0, maps;

	calibrate(t);
	/* From nothing, lest what it was be near enough. */
	decide_on(t, 1000, 1000, 1000000);
	decide_on(t, 1000000, 1000000, 1);
	t->fake->fail_map = false;
	KUNIT_ASSERT_EQ(test, to_device(t), LIMIT_MAX);

	/* Nothing happens before it is time. */
	copy(t, COPY_CHEAP);
	KUNIT_EXPECT_EQ(test, t->limit.trials, 0);

	t->limit.trial_at = jiffies;
	copy(t, COPY_CHEAP);
	KUNIT_EXPECT_EQ(test, t->limit.trials, 1);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	KUNIT_EXPECT_EQ(test, from_device(t), 0);
	maps = t->fake->maps;
	/* No need to wait for the clock in between. */
	while (!to_device(t) && mappings < 1000) {
		io_bounce_limit_probe(&t->limit, &t->mgr);
		mappings++;
	}
	KUNIT_EXPECT_LT(test, mappings, 100);
	KUNIT_EXPECT_GT(test, to_device(t), 0);
	KUNIT_EXPECT_GE(test, t->fake->maps, maps + mappings);
}

static void limit_ignores_small_moves(struct kunit *test)
{
	struct limit_test *t = test->priv;

	decide_on(t, 1000, 1000, 1000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	decide_on(t, 1200, 1200, 1000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	decide_on(t, 800, 800, 1000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	decide_on(t, 500, 500, 1000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_32K);
	decide_on(t, 1000, 1000, 1000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
}

static void limit_of_lists_counts_their_pieces(struct kunit *test)
{
	struct limit_test *t = test->priv;

	/* 16K for one piece, and as much for each further one. */
	decide_on(t, 1000, 1000 * IO_BOUNCE_PROBE_PIECES, 4000);
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, SZ_64K, 3,
						  DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_within(&t->limit, SZ_64K, 4,
						 DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, SZ_64K + 1, 4,
						  DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_within(&t->limit, LIMIT_MAX, 1000,
						 DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, LIMIT_MAX + 1, 1000,
						  DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, 0, 16,
						  DMA_TO_DEVICE));
}

static void limit_fixed_never_measures(struct kunit *test)
{
	struct limit_test *t = test->priv;

	io_bounce_limit_fixed(&t->limit, SZ_8K);
	calibrate(t);
	KUNIT_EXPECT_FALSE(test, probe(t));
	KUNIT_EXPECT_EQ(test, __io_bounce_copy_start(&t->limit, SZ_64K), 0);
	KUNIT_EXPECT_EQ(test, t->fake->maps, 0);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_8K);
	KUNIT_EXPECT_TRUE(test, io_bounce_within(&t->limit, SZ_8K, 1,
						 DMA_FROM_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, SZ_8K + 1, 64,
						  DMA_FROM_DEVICE));
	/* Once asked, the clock is not looked at for a long time. */
	KUNIT_EXPECT_TRUE(test, time_after(t->limit.next_probe,
					   jiffies + 3600 * HZ));
}

static void limit_stays_where_the_iommu_fails(struct kunit *test)
{
	struct limit_test *t = test->priv;

	t->fake->fail_map = true;
	calibrate(t);
	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_START);
	KUNIT_EXPECT_TRUE(test, probe(t));

	t->fake->fail_map = false;
	calibrate(t);
	KUNIT_EXPECT_FALSE(test, probe(t));
	t->fake->fail_map = true;
	probe_often(t);
	KUNIT_EXPECT_GT(test, to_device(t), 0);
}

static void limit_of_a_lazy_domain(struct kunit *test)
{
	struct limit_test *t = test->priv;

	t->fake->domain.type = IOMMU_DOMAIN_DMA_FQ;
	calibrate(t);
	KUNIT_EXPECT_GT(test, ewma_io_bounce_read(&t->limit.map), 0);
	KUNIT_EXPECT_EQ(test, t->fake->syncs, 0);
}

static struct kunit_case limit_cases[] = {
	KUNIT_CASE(limit_starts_as_told),
	KUNIT_CASE(limit_follows_the_iommu),
	KUNIT_CASE(limit_counts_two_copies_for_reads),
	KUNIT_CASE(limit_survives_one_outlier),
	KUNIT_CASE(limit_is_put_to_trial),
	KUNIT_CASE(limit_ignores_small_moves),
	KUNIT_CASE(limit_of_lists_counts_their_pieces),
	KUNIT_CASE(limit_fixed_never_measures),
	KUNIT_CASE(limit_stays_where_the_iommu_fails),
	KUNIT_CASE(limit_of_a_lazy_domain),
	{}
};

static struct kunit_suite limit_suite = {
	.name = "io_bounce_limit",
	.init = limit_test_init,
	.exit = limit_test_exit,
	.test_cases = limit_cases,
};

kunit_test_suite(limit_suite);

MODULE_DESCRIPTION("KUnit tests of the limit of IOMMU bounce buffers");
MODULE_LICENSE("GPL");
