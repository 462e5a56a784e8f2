// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the limit that sets itself. The IOMMU takes as long as the
 * tests say, and so does bouncing: it is said to have begun in the past. All
 * figures are far apart, because the machine that runs this may be slow.
 */

#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/sizes.h>
#include <linux/timekeeping.h>

#include "../io-bounce-limit.h"
#include "../io-buffer-manager.h"
#include "mock-domain.h"

#define LIMIT_START	SZ_16K
#define LIMIT_MAX	SZ_256K

/* What the IOMMU takes; and ns: whatever the machine, cheaper or dearer than that. */
#define MAP_NS		100000
#define CHEAP		1
#define DEAR		(100 * NSEC_PER_MSEC)

/* Classes of slots of this size; a granule is 4 KiB. */
#define CLASS_4K	0
#define CLASS_16K	2
#define CLASS_64K	4

/* The next one is not one of the first. */
#define ENOUGH_SAMPLES	1000

struct limit_test {
	struct mock_domain *fake;
	struct io_buffer_manager mgr;
	struct io_bounce_limit limit;
	u64 map_ns;
	unsigned int probes;
};

/* In place of io_bounce_probe(): there is no device. */
static u64 probe_stub(struct device *dev, size_t granule, bool list)
{
	struct limit_test *t = kunit_get_current_test()->priv;

	t->probes++;
	return t->map_ns;
}

static int limit_test_init(struct kunit *test)
{
	struct limit_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = mock_domain_create(test);
	t->map_ns = MAP_NS;
	kunit_activate_static_stub(test, io_bounce_probe, probe_stub);
	mock_manager_start(&t->mgr, t->fake, SZ_16M);
	io_bounce_limit_auto(&t->limit, LIMIT_START, LIMIT_MAX);
	return 0;
}

static void limit_test_exit(struct kunit *test)
{
	struct limit_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	mock_manager_stop(&t->mgr);
	mock_domain_destroy(t->fake);
}

/* An ordinary mapping of @size bytes, and it is time to measure. */
static bool probe_size(struct limit_test *t, size_t size,
		       enum dma_data_direction dir)
{
	t->limit.next_probe = jiffies;
	return io_bounce_limit_probe(&t->limit, NULL, &t->mgr, size, 1, dir);
}

static bool probe(struct limit_test *t)
{
	return probe_size(t, LIMIT_MAX + 1, DMA_TO_DEVICE);
}

static void probe_often(struct limit_test *t)
{
	int i;

	for (i = 0; i < 64; i++)
		probe(t);
}

/* A step of a bounced mapping that is said to have taken @ns. */
static void bounce(struct limit_test *t, u64 ns, enum io_bounce_step step,
		   unsigned int class, enum dma_data_direction dir)
{
	__io_bounce_time_end(&t->limit, &t->mgr, ktime_get_mono_fast_ns() - ns,
			     step, class, dir);
}

static void bounce_out(struct limit_test *t, u64 ns, unsigned int class)
{
	bounce(t, ns, IO_BOUNCE_STEP_MAP, class, DMA_TO_DEVICE);
	bounce(t, ns, IO_BOUNCE_STEP_UNMAP, class, DMA_TO_DEVICE);
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
	io_bounce_limit_calibrate(&t->limit, t->mgr.granule_shift);
}

static void set_average(struct ewma_io_bounce *average, u64 ns)
{
	ewma_io_bounce_init(average);
	ewma_io_bounce_add(average, ns);
}

/*
 * Decide on just these figures; @copy: ns to copy 64K, in or out. The probe that
 * goes before it fails.
 */
static void decide_on(struct limit_test *t, u64 map, u64 map_list, u64 copy)
{
	unsigned int class;

	t->limit.granule_shift = t->mgr.granule_shift;
	t->limit.calibrated = true;
	t->limit.samples = ENOUGH_SAMPLES;
	set_average(&t->limit.map, map);
	set_average(&t->limit.map_list, map_list);
	for (class = 0; class < IO_BUFFER_NR_CLASSES; class++) {
		u64 ns = max_t(u64, (copy << class) >> CLASS_64K, 1);

		set_average(&t->limit.in[class], ns);
		set_average(&t->limit.out[class], ns);
	}
	/* No trial of something else in between */
	t->limit.bounced_at = jiffies + IO_BOUNCE_AHEAD_MAX;
	t->limit.ordinary_at = jiffies + IO_BOUNCE_AHEAD_MAX;
	t->map_ns = 0;
	probe(t);
}

static void limit_starts_as_told(struct kunit *test)
{
	struct limit_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_START);
	KUNIT_EXPECT_EQ(test, from_device(t), LIMIT_START);
	/* The first ordinary mapping asks for more, and does nothing itself. */
	KUNIT_EXPECT_TRUE(test, probe(t));
	KUNIT_EXPECT_EQ(test, t->probes, 0);

	io_bounce_limit_auto(&t->limit, 0, LIMIT_MAX);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, 1, 1,
						  DMA_TO_DEVICE));
}

static void limit_follows_the_iommu(struct kunit *test)
{
	struct limit_test *t = test->priv;

	io_bounce_limit_auto(&t->limit, 0, LIMIT_MAX);
	calibrate(t);
	KUNIT_ASSERT_TRUE(test, t->limit.calibrated);
	probe_often(t);
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

/* A copy of 64K is said to take as long as about four mappings. */
static void limit_counts_two_copies_for_reads(struct kunit *test)
{
	struct limit_test *t = test->priv;

	decide_on(t, 1000, 1000, 3200);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_16K);
	KUNIT_EXPECT_EQ(test, from_device(t), SZ_8K);
	KUNIT_EXPECT_EQ(test, t->limit.bytes[DMA_BIDIRECTIONAL], SZ_8K);

	/* A granule to the device is just worth it, from the device it is not. */
	decide_on(t, 1000, 1000, 13000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_4K);
	KUNIT_EXPECT_EQ(test, from_device(t), 0);
}

static void limit_to_begin_takes_more_than_to_go_on(struct kunit *test)
{
	struct limit_test *t = test->priv;

	decide_on(t, 1000, 1000, 100000);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	/* 64K take just as long as a mapping, or nearly. */
	decide_on(t, 1000, 1000, 1000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_32K);
	decide_on(t, 1000, 1000, 800);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	decide_on(t, 1000, 1000, 1100);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	decide_on(t, 1000, 1000, 1200);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_32K);
}

/* What was measured of a class says more than what was measured of another. */
static void limit_knows_classes_apart(struct kunit *test)
{
	struct limit_test *t = test->priv;
	int i;

	decide_on(t, 1000000, 1000000, 100000);
	KUNIT_ASSERT_EQ(test, to_device(t), LIMIT_MAX);

	/* 256K do not fit in a cache, or so it seems. */
	for (i = 0; i < 64; i++)
		bounce(t, DEAR, IO_BOUNCE_STEP_MAP, CLASS_64K + 2,
		       DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_128K);
	KUNIT_EXPECT_LT(test, io_bounce_limit_cost(&t->limit, DMA_TO_DEVICE,
						   CLASS_64K), 1000000);
	/* A read pays for both ways. */
	for (i = 0; i < 64; i++)
		bounce(t, DEAR, IO_BOUNCE_STEP_UNMAP, CLASS_64K + 1,
		       DMA_FROM_DEVICE);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_128K);
	KUNIT_EXPECT_EQ(test, from_device(t), SZ_64K);
}

/* Of a class that was never bounced, its neighbours tell. */
static void limit_guesses_from_neighbours(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_limit *limit = &t->limit;

	limit->granule_shift = t->mgr.granule_shift;
	limit->copy = 16000;
	KUNIT_EXPECT_EQ(test, io_bounce_limit_cost(limit, DMA_TO_DEVICE,
						   CLASS_16K), 4000);
	KUNIT_EXPECT_EQ(test, io_bounce_limit_cost(limit, DMA_FROM_DEVICE,
						   CLASS_16K), 8000);
	/* Above it, copying what is more; below it, at least copying. */
	set_average(&limit->in[CLASS_16K], 5000);
	KUNIT_EXPECT_EQ(test, io_bounce_limit_cost(limit, DMA_TO_DEVICE,
						   CLASS_64K), 17000);
	KUNIT_EXPECT_EQ(test, io_bounce_limit_cost(limit, DMA_TO_DEVICE,
						   CLASS_4K), 1250);
	set_average(&limit->put, 10);
	KUNIT_EXPECT_EQ(test, io_bounce_limit_cost(limit, DMA_TO_DEVICE,
						   CLASS_16K), 5010);
	set_average(&limit->out[CLASS_64K], 8000);
	KUNIT_EXPECT_EQ(test, io_bounce_limit_cost(limit, DMA_FROM_DEVICE,
						   CLASS_64K), 25000);
	KUNIT_EXPECT_EQ(test, io_bounce_limit_cost(limit, DMA_FROM_DEVICE,
						   CLASS_16K), 9000);
}

/* The first of some in a row, after a while, is not what it is otherwise. */
static void limit_times_a_few_in_a_row(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned long *next = &t->limit.next_time[IO_BOUNCE_STEP_MAP];
	int i, timed = 0;

	decide_on(t, 1000, 1000, 1000);
	*next = jiffies;
	KUNIT_EXPECT_EQ(test, io_bounce_time_start(&t->limit, IO_BOUNCE_STEP_MAP), 0);
	for (i = 0; i < 100 && !time_after(*next, jiffies); i++)
		timed += !!io_bounce_time_start(&t->limit, IO_BOUNCE_STEP_MAP);
	KUNIT_EXPECT_EQ(test, timed, 3);
	KUNIT_EXPECT_EQ(test, io_bounce_time_start(&t->limit, IO_BOUNCE_STEP_MAP), 0);
}

static void limit_survives_one_outlier(struct kunit *test)
{
	struct limit_test *t = test->priv;
	u64 before;

	decide_on(t, 1000000, 1000000, 100000);
	before = io_bounce_limit_cost(&t->limit, DMA_TO_DEVICE, CLASS_64K);
	bounce(t, DEAR, IO_BOUNCE_STEP_MAP, CLASS_64K, DMA_TO_DEVICE);
	KUNIT_EXPECT_LE(test, io_bounce_limit_cost(&t->limit, DMA_TO_DEVICE,
						   CLASS_64K), 2 * before);

	/* Giving a slot back takes no longer than taking and filling it. */
	bounce(t, DEAR, IO_BOUNCE_STEP_UNMAP, CLASS_4K, DMA_TO_DEVICE);
	KUNIT_EXPECT_LE(test, io_bounce_limit_cost(&t->limit, DMA_TO_DEVICE,
						   CLASS_64K), 3 * before);
}

/* All is bounced: now and then, a few mappings are not. */
static void limit_tries_ordinary_mappings(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned int mappings = 0, maps;

	/* From nothing, lest what it was be near enough. */
	decide_on(t, 1000, 1000, 1000000);
	decide_on(t, 100000000, 100000000, 1);
	t->map_ns = MAP_NS;
	KUNIT_ASSERT_EQ(test, to_device(t), LIMIT_MAX);

	/* Nothing happens before it is time. */
	bounce_out(t, CHEAP, CLASS_4K);
	KUNIT_EXPECT_EQ(test, t->limit.trials, 0);

	t->limit.ordinary_at = jiffies;
	bounce_out(t, CHEAP, CLASS_4K);
	KUNIT_EXPECT_EQ(test, t->limit.trials, 1);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	KUNIT_EXPECT_EQ(test, from_device(t), 0);
	/* Bounced mappings that come to their end do not end it. */
	bounce_out(t, CHEAP, CLASS_4K);
	KUNIT_EXPECT_EQ(test, to_device(t), 0);
	maps = t->probes;
	/* No need to wait for the clock in between. */
	while (!to_device(t) && mappings < 1000) {
		io_bounce_limit_probe(&t->limit, NULL, &t->mgr, SZ_4K, 1,
				      DMA_TO_DEVICE);
		mappings++;
	}
	KUNIT_EXPECT_LT(test, mappings, 100);
	KUNIT_EXPECT_GT(test, to_device(t), 0);
	KUNIT_EXPECT_GE(test, t->probes, maps + mappings);
}

/* Something is ordinary because of the limit: now and then it is bounced. */
static void limit_tries_bouncing(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned long period;
	u64 cost;
	int i;

	/* 64K are believed to take three times as long as the IOMMU. */
	decide_on(t, 1000000, 1000000, 3000000);
	KUNIT_ASSERT_EQ(test, to_device(t), SZ_16K);

	/* A kind of mapping that was not seen before brings one soon. */
	probe_size(t, SZ_64K, DMA_TO_DEVICE);
	KUNIT_EXPECT_TRUE(test, time_before(t->limit.bounced_at, jiffies + HZ));
	t->limit.bounced_at = jiffies;
	period = t->limit.bounced_period;
	probe_size(t, SZ_64K, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, t->limit.trials, 1);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	KUNIT_EXPECT_EQ(test, t->limit.bounced_period, 2 * period);
	/* All of it is timed. */
	for (i = 0; i < 100; i++)
		KUNIT_ASSERT_NE(test, io_bounce_time_start(&t->limit, IO_BOUNCE_STEP_MAP), 0);

	/* It is not for those that are bounced anyway to end it. */
	t->limit.end = jiffies + IO_BOUNCE_AHEAD_MAX;
	for (i = 0; i < 64; i++)
		bounce_out(t, CHEAP, CLASS_64K - 1);
	KUNIT_EXPECT_EQ(test, t->limit.trial, IO_BOUNCE_TRIAL_BOUNCED);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	KUNIT_EXPECT_EQ(test, t->limit.decided[DMA_TO_DEVICE], SZ_16K);

	/* The first of those it is for do not count. */
	cost = io_bounce_limit_cost(&t->limit, DMA_TO_DEVICE, CLASS_64K);
	for (i = 0; i < 8; i++)
		bounce_out(t, DEAR, CLASS_64K);
	KUNIT_EXPECT_EQ(test, cost, io_bounce_limit_cost(&t->limit, DMA_TO_DEVICE,
							 CLASS_64K));
	/* 64K take next to nothing after all. */
	for (i = 0; i < 56; i++)
		bounce_out(t, CHEAP, CLASS_64K);
	KUNIT_EXPECT_EQ(test, t->limit.trial, IO_BOUNCE_TRIAL_NONE);
	KUNIT_EXPECT_GE(test, t->limit.decided[DMA_TO_DEVICE], SZ_64K);
}

static void limit_gives_up_a_trial_nobody_comes_to(struct kunit *test)
{
	struct limit_test *t = test->priv;

	decide_on(t, 1000000, 1000000, 3000000);
	probe_size(t, SZ_64K, DMA_TO_DEVICE);
	t->limit.bounced_at = jiffies;
	probe_size(t, SZ_64K, DMA_TO_DEVICE);
	KUNIT_ASSERT_EQ(test, to_device(t), SZ_64K);
	KUNIT_EXPECT_EQ(test, from_device(t), t->limit.decided[DMA_FROM_DEVICE]);
	t->limit.end = jiffies;
	t->limit.bounced_at = jiffies + IO_BOUNCE_AHEAD_MAX;
	probe_size(t, SZ_1M, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_16K);
}

/* How often it must be time for a trial until 4K to the device get one */
static int times_until_trial(struct limit_test *t)
{
	int i;

	probe_size(t, SZ_4K, DMA_TO_DEVICE);
	for (i = 0; i < 1000 && !to_device(t); i++) {
		t->limit.bounced_at = jiffies;
		probe_size(t, SZ_4K, DMA_TO_DEVICE);
	}
	return i;
}

/* No trial without hope, but hope comes back. */
static void limit_does_not_try_the_hopeless(struct kunit *test)
{
	struct limit_test *t = test->priv;

	decide_on(t, 1000, 1000, 1000000);
	KUNIT_EXPECT_GT(test, times_until_trial(t), 10);
	KUNIT_EXPECT_EQ(test, t->limit.trials, 1);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_4K);
}

/* The same for a class that was never measured. */
static void limit_does_not_trust_the_first_estimate(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned int class;

	decide_on(t, 1000, 1000, 1000000);
	t->limit.copy = 1000000;
	for (class = 0; class < IO_BUFFER_NR_CLASSES; class++)
		ewma_io_bounce_init(&t->limit.in[class]);
	KUNIT_EXPECT_LT(test, times_until_trial(t), 1000);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_4K);
}

/* What was not to be had is no reason to try something larger. */
static void limit_does_not_mind_misses(struct kunit *test)
{
	struct limit_test *t = test->priv;
	int i;

	decide_on(t, 1000000, 1000000, 3000000);
	for (i = 0; i < 3; i++) {
		t->limit.bounced_at = jiffies;
		t->limit.next_probe = jiffies;
		io_bounce_limit_probe(&t->limit, NULL, &t->mgr, SZ_64K, 0,
				      DMA_TO_DEVICE);
	}
	KUNIT_EXPECT_EQ(test, t->limit.trials, 0);
	KUNIT_EXPECT_EQ(test, t->limit.kept_out[0], 0);
}

static void limit_of_lists_counts_their_pieces(struct kunit *test)
{
	struct limit_test *t = test->priv;

	/* 16K for one piece; 64K take 2200 more than 1000, 128K 5400. */
	decide_on(t, 1000, 1000 * IO_BOUNCE_PROBE_PIECES, 3200);
	KUNIT_ASSERT_EQ(test, to_device(t), SZ_16K);
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, SZ_64K, 3,
						  DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_within(&t->limit, SZ_64K, 4,
						 DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, SZ_128K, 4,
						  DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_within(&t->limit, SZ_128K, 7,
						 DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, io_bounce_within(&t->limit, LIMIT_MAX, 1000,
						 DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, LIMIT_MAX + 1, 1000,
						  DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, 0, 16,
						  DMA_TO_DEVICE));
}

/* A maximum that is no power of two holds to the byte. */
static void limit_never_exceeds_the_maximum(struct kunit *test)
{
	struct limit_test *t = test->priv;

	io_bounce_limit_auto(&t->limit, 0, 10000);
	decide_on(t, 1000, 1000, 1);
	KUNIT_EXPECT_EQ(test, to_device(t), 10000);
	io_bounce_limit_auto(&t->limit, 0, 100);
	decide_on(t, 1000, 1000, 1);
	KUNIT_EXPECT_EQ(test, to_device(t), 100);
}

static void limit_fixed_never_measures(struct kunit *test)
{
	struct limit_test *t = test->priv;

	io_bounce_limit_fixed(&t->limit, SZ_8K);
	calibrate(t);
	KUNIT_EXPECT_FALSE(test, probe(t));
	KUNIT_EXPECT_EQ(test, __io_bounce_time_start(&t->limit, IO_BOUNCE_STEP_MAP), 0);
	KUNIT_EXPECT_EQ(test, t->probes, 0);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_8K);
	KUNIT_EXPECT_TRUE(test, io_bounce_within(&t->limit, SZ_8K, 1,
						 DMA_FROM_DEVICE));
	KUNIT_EXPECT_FALSE(test, io_bounce_within(&t->limit, SZ_8K + 1, 64,
						  DMA_FROM_DEVICE));
	/* Once asked, the clock is not looked at for a long time. */
	KUNIT_EXPECT_TRUE(test, time_after(t->limit.next_probe,
					   jiffies + IO_BOUNCE_AHEAD_MAX / 2));
}

/* What was being timed when somebody fixed the limit does not undo that. */
static void limit_fixed_stays_fixed(struct kunit *test)
{
	struct limit_test *t = test->priv;
	u64 start;

	decide_on(t, 1000, 1000, 1);
	t->limit.ordinary_at = jiffies;
	t->limit.burst[IO_BOUNCE_STEP_MAP] = 1;
	start = __io_bounce_time_start(&t->limit, IO_BOUNCE_STEP_MAP);
	KUNIT_ASSERT_NE(test, start, 0);
	io_bounce_limit_change(&t->limit, false, 0, SZ_64K);
	__io_bounce_time_end(&t->limit, &t->mgr, start - DEAR, IO_BOUNCE_STEP_MAP,
			     CLASS_4K, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, to_device(t), SZ_64K);
	KUNIT_EXPECT_EQ(test, t->limit.decided[DMA_TO_DEVICE], SZ_64K);
	KUNIT_EXPECT_EQ(test, t->limit.trial, IO_BOUNCE_TRIAL_NONE);
}

/* After a long time without any mapping: 32-bit jiffies may have wrapped round. */
static void limit_is_not_misled_by_old_times(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned long *next = &t->limit.next_time[IO_BOUNCE_STEP_MAP];

	decide_on(t, 1000, 1000, 1);
	t->probes = 0;
	t->limit.next_probe = jiffies - LONG_MAX - 2;
	io_bounce_limit_probe(&t->limit, NULL, &t->mgr, SZ_1M, 1, DMA_TO_DEVICE);
	KUNIT_EXPECT_GT(test, t->probes, 0);
	*next = jiffies - LONG_MAX - 2;
	KUNIT_EXPECT_TRUE(test, io_bounce_time_due(&t->limit, IO_BOUNCE_STEP_MAP));
	*next = jiffies + IO_BOUNCE_AHEAD_MAX;
	KUNIT_EXPECT_FALSE(test, io_bounce_time_due(&t->limit, IO_BOUNCE_STEP_MAP));
}

static void limit_stays_where_the_iommu_fails(struct kunit *test)
{
	struct limit_test *t = test->priv;

	t->map_ns = 0;
	calibrate(t);
	probe_often(t);
	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_START);
	KUNIT_EXPECT_EQ(test, from_device(t), LIMIT_START);

	t->map_ns = DEAR;
	probe_often(t);
	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_MAX);
	t->map_ns = 0;
	probe_often(t);
	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_MAX);
}

/* The first mappings find nothing at hand: the best of them counts. */
static void limit_begins_with_the_best(struct kunit *test)
{
	struct limit_test *t = test->priv;

	calibrate(t);
	t->map_ns = DEAR;
	probe(t);
	probe(t);
	/* What is bounced waits for that; so nothing is decided before. */
	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_START);
	t->map_ns = MAP_NS;
	probe(t);
	probe(t);
	t->map_ns = DEAR;
	while (to_device(t) == LIMIT_START && t->probes < 100)
		probe(t);
	KUNIT_EXPECT_EQ(test, ewma_io_bounce_read(&t->limit.map), MAP_NS);
	KUNIT_EXPECT_EQ(test, ewma_io_bounce_read(&t->limit.map_list), MAP_NS);
}

/* Where a granule is more than a page there are no probes. */
static void limit_does_not_show_what_is_next_to_zeroes(struct kunit *test)
{
	struct limit_test *t = test->priv;

	io_bounce_limit_calibrate(&t->limit, PAGE_SHIFT + 1);
	KUNIT_EXPECT_FALSE(test, probe(t));
	probe_often(t);
	KUNIT_EXPECT_EQ(test, t->probes, 0);
	KUNIT_EXPECT_EQ(test, to_device(t), LIMIT_START);
}

static struct kunit_case limit_cases[] = {
	KUNIT_CASE(limit_starts_as_told),
	KUNIT_CASE(limit_follows_the_iommu),
	KUNIT_CASE(limit_counts_two_copies_for_reads),
	KUNIT_CASE(limit_to_begin_takes_more_than_to_go_on),
	KUNIT_CASE(limit_knows_classes_apart),
	KUNIT_CASE(limit_guesses_from_neighbours),
	KUNIT_CASE(limit_times_a_few_in_a_row),
	KUNIT_CASE(limit_survives_one_outlier),
	KUNIT_CASE(limit_tries_ordinary_mappings),
	KUNIT_CASE(limit_tries_bouncing),
	KUNIT_CASE(limit_gives_up_a_trial_nobody_comes_to),
	KUNIT_CASE(limit_does_not_try_the_hopeless),
	KUNIT_CASE(limit_does_not_trust_the_first_estimate),
	KUNIT_CASE(limit_does_not_mind_misses),
	KUNIT_CASE(limit_of_lists_counts_their_pieces),
	KUNIT_CASE(limit_never_exceeds_the_maximum),
	KUNIT_CASE(limit_fixed_never_measures),
	KUNIT_CASE(limit_fixed_stays_fixed),
	KUNIT_CASE(limit_is_not_misled_by_old_times),
	KUNIT_CASE(limit_stays_where_the_iommu_fails),
	KUNIT_CASE(limit_begins_with_the_best),
	KUNIT_CASE(limit_does_not_show_what_is_next_to_zeroes),
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
