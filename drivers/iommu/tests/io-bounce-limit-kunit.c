// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the automatic limit. Mappings take as long as the tests say: they are
 * said to have begun in the past. All figures are far apart, because the machine that
 * runs this may be slow.
 */

#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/math64.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/time64.h>

#include "../io-bounce-limit.h"
#include "../io-buffer-manager.h"
#include "mock-domain.h"

#define LIMIT_START	SZ_16K
#define LIMIT_MAX	SZ_256K

/* What a mapping takes, in ns */
#define BASE		(10 * NSEC_PER_MSEC)
#define TWICE		(2 * BASE + BASE / 4)
#define SOMEWHAT_LESS	(BASE - BASE / 8)
#define HARDLY_LESS	(BASE - BASE / 32)

struct limit_test {
	struct mock_domain *fake;
	struct io_buffer_manager mgr;
	struct io_bounce_limit limit;
	struct work_struct work;
	bool asked;
};

/* In place of what calls io_bounce_limit_alloc() */
static void alloc_asked(struct work_struct *work)
{
	container_of(work, struct limit_test, work)->asked = true;
}

static int limit_test_init(struct kunit *test)
{
	struct limit_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = mock_domain_create(test);
	mock_manager_start(&t->mgr, t->fake, SZ_16M);
	INIT_WORK(&t->work, alloc_asked);
	io_bounce_limit_init(&t->limit, &t->mgr, &t->work);
	io_bounce_limit_auto(&t->limit, LIMIT_START, LIMIT_MAX);
	io_bounce_limit_alloc(&t->limit);
	KUNIT_ASSERT_NOT_NULL(test, t->limit.measure);
	return 0;
}

static void limit_test_exit(struct kunit *test)
{
	struct limit_test *t = test->priv;

	flush_work(&t->work);
	io_bounce_limit_destroy(&t->limit);
	mock_manager_stop(&t->mgr);
	mock_domain_destroy(t->fake);
}

static struct io_bounce_verdict decide(struct limit_test *t, size_t size,
				       unsigned int nr_segs,
				       enum dma_data_direction dir)
{
	enum io_bounce_way way = IO_BOUNCE_DIRECT;

	if (!io_bounce_above(&t->limit, size, dir))
		way = io_bounce_get_way(&t->limit, size, nr_segs, dir);
	if (way == IO_BOUNCE_MEASURE)
		return io_bounce_measure(&t->limit, size, nr_segs, dir);
	return (struct io_bounce_verdict) { .bounce = way == IO_BOUNCE_SLOT };
}

static bool bounced(struct limit_test *t, size_t size, unsigned int nr_segs,
		    enum dma_data_direction dir)
{
	return decide(t, size, nr_segs, dir).bounce;
}

static bool to_device(struct limit_test *t, size_t size)
{
	return bounced(t, size, 1, DMA_TO_DEVICE);
}

static struct io_bounce_window *window(struct limit_test *t)
{
	return &t->limit.measure->window;
}

/* A mapping that takes one of these times; @ns: directly, and bounced */
static struct io_bounce_verdict map_ns(struct limit_test *t, size_t size,
				       unsigned int nr_segs,
				       enum dma_data_direction dir, const u64 *ns)
{
	struct io_bounce_verdict verdict = decide(t, size, nr_segs, dir);

	if (verdict.sample)
		io_bounce_sample_end(&t->limit, verdict.sample,
				     io_bounce_clock() - ns[verdict.bounce], true);
	return verdict;
}

/* As if enough time had passed for the next round. */
static void wait_for_round(struct limit_test *t)
{
	unsigned int kind;

	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		t->limit.measure->kinds[kind].next = jiffies;
	t->limit.timer.function(&t->limit.timer);
}

/* A round for one kind; fails the test if it does not come to its end. */
static void round_of(struct kunit *test, size_t size, unsigned int nr_segs,
		     enum dma_data_direction dir, u64 direct, u64 bounced)
{
	struct limit_test *t = test->priv;
	const u64 ns[] = { direct, bounced };
	u32 before = t->limit.rounds;
	int mappings = 0;

	wait_for_round(t);
	while (t->limit.rounds == before && mappings++ < 100)
		map_ns(t, size, nr_segs, dir, ns);
	KUNIT_ASSERT_EQ(test, t->limit.rounds, before + 1);
	/* Ten each way */
	KUNIT_EXPECT_EQ(test, mappings, 20);
}

static void round_to(struct kunit *test, size_t size, u64 direct, u64 bounced)
{
	round_of(test, size, 1, DMA_TO_DEVICE, direct, bounced);
}

static void limit_starts_as_told(struct kunit *test)
{
	struct limit_test *t = test->priv;

	/* Until there is memory to measure, nothing else happens. */
	kfree(t->limit.measure);
	t->limit.measure = NULL;
	KUNIT_EXPECT_TRUE(test, to_device(t, 1));
	flush_work(&t->work);
	KUNIT_EXPECT_TRUE(test, t->asked);
	KUNIT_EXPECT_TRUE(test, to_device(t, LIMIT_START));
	KUNIT_EXPECT_FALSE(test, to_device(t, LIMIT_START + 1));
	KUNIT_EXPECT_TRUE(test, bounced(t, LIMIT_START, 4, DMA_FROM_DEVICE));
	KUNIT_EXPECT_TRUE(test, bounced(t, LIMIT_START, 1, DMA_BIDIRECTIONAL));
	KUNIT_EXPECT_EQ(test, io_bounce_limit_bytes(&t->limit, DMA_TO_DEVICE),
			LIMIT_START);
	KUNIT_EXPECT_EQ(test, decide(t, SZ_4K, 1, DMA_TO_DEVICE).sample, 0);

	io_bounce_limit_auto(&t->limit, 0, LIMIT_MAX);
	KUNIT_EXPECT_FALSE(test, to_device(t, 1));
	/* Whatever the start, the maximum holds, to the byte. */
	io_bounce_limit_auto(&t->limit, SZ_64K, 10000);
	KUNIT_EXPECT_TRUE(test, to_device(t, 10000));
	KUNIT_EXPECT_FALSE(test, to_device(t, 10001));
	KUNIT_EXPECT_EQ(test, io_bounce_limit_bytes(&t->limit, DMA_TO_DEVICE), 10000);
}

static void limit_keeps_the_faster_way(struct kunit *test)
{
	struct limit_test *t = test->priv;
	int i;

	for (i = 0; i < 5; i++) {
		round_to(test, SZ_4K, BASE, BASE / 4);
		round_to(test, SZ_64K, BASE, TWICE);
		KUNIT_EXPECT_TRUE(test, to_device(t, SZ_4K));
		KUNIT_EXPECT_FALSE(test, to_device(t, SZ_64K));
	}
}

/* Twice as fast: at once. */
static void limit_follows_the_faster_way(struct kunit *test)
{
	struct limit_test *t = test->priv;

	round_to(test, SZ_64K, TWICE, BASE);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_64K));
	round_to(test, SZ_64K, BASE, TWICE);
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_64K));
	round_to(test, SZ_4K, BASE, TWICE);
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_4K));
}

/* Otherwise twice in a row. */
static void limit_follows_two_rounds(struct kunit *test)
{
	struct limit_test *t = test->priv;

	round_to(test, SZ_64K, BASE, SOMEWHAT_LESS);
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_64K));
	round_to(test, SZ_64K, BASE, SOMEWHAT_LESS);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_64K));

	round_to(test, SZ_64K, SOMEWHAT_LESS, BASE);
	round_to(test, SZ_64K, BASE, BASE);
	round_to(test, SZ_64K, SOMEWHAT_LESS, BASE);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_64K));
	round_to(test, SZ_64K, SOMEWHAT_LESS, BASE);
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_64K));
}

static void limit_ignores_small_differences(struct kunit *test)
{
	struct limit_test *t = test->priv;
	int i;

	for (i = 0; i < 10; i++) {
		round_to(test, SZ_64K, BASE, HARDLY_LESS);
		round_to(test, SZ_4K, HARDLY_LESS, BASE);
	}
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_64K));
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_4K));
}

/* Interrupts, steal time: 1 % of the samples take twenty times as long. */
static void limit_is_not_misled_by_outliers(struct kunit *test)
{
	struct limit_test *t = test->priv;
	const int rounds = 500;
	int round, right = 0;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 1);
	for (round = 0; round < rounds; round++) {
		u32 before = t->limit.rounds;

		wait_for_round(t);
		while (t->limit.rounds == before) {
			u64 times = prandom_u32_state(&rnd) % 100 ? 1 : 20;
			const u64 ns[] = {
				(u64)BASE * times,
				(u64)(BASE - BASE / 100 * 15) * times,
			};

			map_ns(t, SZ_64K, 1, DMA_TO_DEVICE, ns);
		}
		right += to_device(t, SZ_64K);
	}
	kunit_info(test, "a way that is 15 %% cheaper is used after %d of %d rounds\n",
		   right, rounds);
	KUNIT_EXPECT_GE(test, right, rounds * 95 / 100);
}

/* Two of ten may be wrong, whichever come first. */
static void limit_drops_the_longest(struct kunit *test)
{
	struct limit_test *t = test->priv;
	const u64 good[] = { BASE, BASE / 4 };
	const u64 bad[] = { BASE, 20 * BASE }, worse[] = { BASE, 40 * BASE };
	int i, way;

	for (way = 0; way < 2; way++) {
		io_bounce_limit_auto(&t->limit, 0, LIMIT_MAX);
		for (i = 0; i < 20; i++)
			map_ns(t, SZ_64K, 1, DMA_TO_DEVICE,
			       i == 4 + way ? worse : i == 5 - way ? bad : good);
		KUNIT_EXPECT_TRUE(test, to_device(t, SZ_64K));
	}
}

/* Direction, size and segments: what is known of one says nothing of another. */
static void limit_knows_kinds_apart(struct kunit *test)
{
	struct limit_test *t = test->priv;

	round_of(test, SZ_64K, 16, DMA_TO_DEVICE, TWICE, BASE);
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_64K, 5, DMA_TO_DEVICE));
	/* 0 segments count as many. */
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_64K, 0, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, LIMIT_MAX, 0, DMA_FROM_DEVICE));
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_32K + 1, 16, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_64K, 4, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_64K, 17, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_32K, 16, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_64K, 16, DMA_FROM_DEVICE));

	round_of(test, SZ_64K, 2, DMA_BIDIRECTIONAL, TWICE, BASE);
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_64K, 4, DMA_FROM_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_64K, 4, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_64K, 1, DMA_FROM_DEVICE));
}

/* One segment: the fast path takes all sizes below the first one that is direct. */
static void limit_of_the_fast_path(struct kunit *test)
{
	struct limit_test *t = test->priv;
	const size_t *bytes = t->limit.bytes;

	/* Armed: nothing */
	KUNIT_EXPECT_EQ(test, bytes[DMA_TO_DEVICE], 0);
	round_to(test, SZ_128K, TWICE, BASE);
	KUNIT_EXPECT_EQ(test, bytes[DMA_TO_DEVICE], SZ_16K);
	round_to(test, SZ_32K, TWICE, BASE);
	KUNIT_EXPECT_EQ(test, bytes[DMA_TO_DEVICE], SZ_32K);
	round_to(test, SZ_64K, TWICE, BASE);
	KUNIT_EXPECT_EQ(test, bytes[DMA_TO_DEVICE], SZ_128K);
	KUNIT_EXPECT_EQ(test, bytes[DMA_FROM_DEVICE], SZ_16K);
	KUNIT_EXPECT_EQ(test, bytes[DMA_BIDIRECTIONAL], SZ_16K);
	round_of(test, SZ_8K, 2, DMA_TO_DEVICE, BASE, TWICE);
	KUNIT_EXPECT_EQ(test, bytes[DMA_TO_DEVICE], SZ_128K);
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_8K, 2, DMA_TO_DEVICE));
	round_to(test, SZ_8K, BASE, TWICE);
	KUNIT_EXPECT_EQ(test, bytes[DMA_TO_DEVICE], SZ_4K);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_32K));
	KUNIT_EXPECT_FALSE(test, to_device(t, 0));
}

/* Larger mappings are direct, too, until they are measured. */
static void limit_assumes_larger_are_direct(struct kunit *test)
{
	struct limit_test *t = test->priv;

	io_bounce_limit_auto(&t->limit, SZ_64K, LIMIT_MAX);
	round_to(test, SZ_32K, BASE, BASE / 4);
	round_to(test, SZ_4K, BASE, TWICE);
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_4K));
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_16K));
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_32K));
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_64K));
	/* Only those of as many segments in that direction */
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_16K, 2, DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_4K, 1, DMA_FROM_DEVICE));
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_16K, 1, DMA_FROM_DEVICE));
	round_to(test, SZ_16K, TWICE, BASE);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_16K));

	/* None larger is measured: up to the last one in that direction */
	io_bounce_limit_auto(&t->limit, SZ_1M, SZ_1M);
	round_of(test, SZ_64K, 17, DMA_TO_DEVICE, BASE, TWICE);
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_1M, 17, DMA_TO_DEVICE));
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_4K, 17, DMA_FROM_DEVICE));
	round_of(test, SZ_64K, 17, DMA_FROM_DEVICE, BASE, TWICE);
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_1M, 17, DMA_FROM_DEVICE));
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_4K, 1, DMA_TO_DEVICE));
}

/* What was measured only one way, or before the limit was set again, says nothing. */
static void limit_assumes_so_unless_both_were_measured(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;
	const u64 ns[] = { BASE, BASE };
	int i;

	/* Directly, ten times; then mappings stay. */
	wait_for_round(t);
	for (i = 0; i < 10; i++)
		map_ns(t, SZ_8K, 1, DMA_TO_DEVICE, ns);
	verdict = decide(t, SZ_8K, 1, DMA_TO_DEVICE);
	KUNIT_ASSERT_TRUE(test, verdict.sample && verdict.bounce);
	window(t)->progress -= 2 * HZ;
	round_to(test, SZ_4K, BASE, TWICE);
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_8K));
	KUNIT_EXPECT_EQ(test, t->limit.top_single[DMA_TO_DEVICE], 0);

	round_to(test, SZ_8K, BASE, TWICE);
	io_bounce_limit_auto(&t->limit, LIMIT_START, LIMIT_MAX);
	round_to(test, SZ_4K, BASE, TWICE);
	KUNIT_EXPECT_EQ(test, t->limit.top_single[DMA_TO_DEVICE], 0);

	/* Nor are kinds left that are too large to be measured. */
	io_bounce_limit_auto(&t->limit, SZ_64K, SZ_8K);
	round_to(test, SZ_8K, BASE, BASE / 4);
	round_to(test, SZ_8K, BASE, TWICE);
	KUNIT_EXPECT_EQ(test, t->limit.top_single[DMA_TO_DEVICE], SZ_4K);
}

/* Above everything that is bounced, nothing else is looked at. */
static void limit_of_the_direct_path(struct kunit *test)
{
	struct limit_test *t = test->priv;
	const size_t *top = t->limit.top, *single = t->limit.top_single;

	/* Armed: all that may be measured */
	KUNIT_EXPECT_EQ(test, top[DMA_TO_DEVICE], LIMIT_MAX);
	KUNIT_EXPECT_EQ(test, single[DMA_TO_DEVICE], LIMIT_MAX);
	round_to(test, SZ_4K, BASE, BASE);
	KUNIT_EXPECT_EQ(test, top[DMA_TO_DEVICE], LIMIT_START);
	KUNIT_EXPECT_EQ(test, top[DMA_FROM_DEVICE], LIMIT_START);
	round_of(test, SZ_128K, 17, DMA_TO_DEVICE, TWICE, BASE);
	KUNIT_EXPECT_EQ(test, top[DMA_TO_DEVICE], SZ_128K);
	KUNIT_EXPECT_EQ(test, top[DMA_FROM_DEVICE], LIMIT_START);
	KUNIT_EXPECT_EQ(test, single[DMA_TO_DEVICE], LIMIT_START);
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_128K, 20, DMA_TO_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_128K, 1, DMA_TO_DEVICE));
	io_bounce_limit_fixed(&t->limit, 10000);
	KUNIT_EXPECT_EQ(test, top[DMA_BIDIRECTIONAL], 10000);
	io_bounce_limit_auto(&t->limit, 0, LIMIT_MAX);
	round_to(test, SZ_4K, BASE, BASE);
	KUNIT_EXPECT_EQ(test, top[DMA_BIDIRECTIONAL], 0);
	KUNIT_EXPECT_EQ(test, single[DMA_BIDIRECTIONAL], 0);
}

/* While bounced mappings go direct, all of the kind do; others are left alone. */
static void limit_diverts_all_to_the_iommu(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;
	unsigned int i, diverted = 0;

	wait_for_round(t);
	for (i = 0; i < IO_BOUNCE_NR_SAMPLES; i++) {
		verdict = decide(t, SZ_4K, 1, DMA_TO_DEVICE);
		KUNIT_EXPECT_NE(test, verdict.sample, 0);
		KUNIT_EXPECT_FALSE(test, verdict.bounce);
	}
	verdict = decide(t, SZ_4K, 1, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, verdict.sample, 0);
	KUNIT_EXPECT_FALSE(test, verdict.bounce);
	KUNIT_EXPECT_EQ(test, window(t)->mapped, IO_BOUNCE_NR_SAMPLES + 1);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_8K));
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_4K, 1, DMA_FROM_DEVICE));
	/* But not for ever, if the CPU of the first one is busy otherwise. */
	while (!to_device(t, SZ_4K) && diverted++ < 1000000)
		;
	KUNIT_EXPECT_GE(test, diverted, 32);
	KUNIT_EXPECT_LE(test, diverted, 64 * num_online_cpus());
}

/* The other way round, only what is timed takes memory. */
static void limit_bounces_only_samples(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;
	int i;

	wait_for_round(t);
	for (i = 0; i < IO_BOUNCE_NR_SAMPLES; i++) {
		verdict = decide(t, SZ_64K, 1, DMA_TO_DEVICE);
		KUNIT_EXPECT_NE(test, verdict.sample, 0);
		KUNIT_EXPECT_TRUE(test, verdict.bounce);
	}
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_64K));
	KUNIT_EXPECT_EQ(test, window(t)->mapped, IO_BOUNCE_NR_SAMPLES);
	io_bounce_sample_end(&t->limit, verdict.sample, 0, true);
	KUNIT_EXPECT_EQ(test, window(t)->mapped, IO_BOUNCE_NR_SAMPLES);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_64K));
	KUNIT_EXPECT_EQ(test, window(t)->mapped, IO_BOUNCE_NR_SAMPLES + 1);
}

/* Each has a time of its own, whatever the order. The rest of a window is too late. */
static void limit_times_several_at_once(struct kunit *test)
{
	struct limit_test *t = test->priv;
	u16 samples[IO_BOUNCE_NR_SAMPLES], last;
	struct io_bounce_kind *kind;
	int i;

	wait_for_round(t);
	/* Those that begin before two have ended do not count. */
	for (i = 0; i < IO_BOUNCE_NR_SAMPLES; i++)
		samples[i] = decide(t, SZ_64K, 1, DMA_TO_DEVICE).sample;
	for (i = IO_BOUNCE_NR_SAMPLES - 1; i > 0; i--)
		io_bounce_sample_end(&t->limit, samples[i], io_bounce_clock() - 99 * BASE, true);
	KUNIT_EXPECT_EQ(test, window(t)->samples, 2);
	last = samples[0];

	for (i = 0; i < 9; i++)
		samples[i] = decide(t, SZ_64K, 1, DMA_TO_DEVICE).sample;
	for (i = 0; i < 9; i++)
		io_bounce_sample_add(&t->limit, samples[i], io_bounce_clock() - i * BASE);
	kind = &t->limit.measure->kinds[window(t)->kind];
	/* Last begun, first ended; 8 and 7 are the longest, 6 to 1 count. */
	for (i = 8; i > 0; i--) {
		KUNIT_EXPECT_EQ(test, kind->ns[true], 0);
		io_bounce_sample_end(&t->limit, samples[i], io_bounce_clock(), true);
	}
	KUNIT_EXPECT_GE(test, kind->ns[true], 3 * BASE + BASE / 2);
	KUNIT_EXPECT_LT(test, kind->ns[true], 4 * BASE);

	/* The other way is next. What is left has another ID. */
	KUNIT_EXPECT_FALSE(test, window(t)->bounced);
	for (i = 0; i < IO_BOUNCE_NR_SAMPLES; i++)
		KUNIT_EXPECT_NE(test, decide(t, SZ_64K, 1, DMA_TO_DEVICE).sample, 0);
	io_bounce_sample_end(&t->limit, samples[0], 0, true);
	io_bounce_sample_end(&t->limit, last, 0, true);
	KUNIT_EXPECT_EQ(test, window(t)->samples, 0);
}

/* What had no slot, or was not copied back, says nothing. */
static void limit_counts_whole_mappings(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;
	struct io_bounce_kind *kind = NULL;
	int i;

	wait_for_round(t);
	for (i = 0; i < 100; i++) {
		verdict = decide(t, SZ_64K, 1, DMA_TO_DEVICE);
		KUNIT_ASSERT_NE(test, verdict.sample, 0);
		io_bounce_sample_end(&t->limit, verdict.sample, 0, false);
	}
	KUNIT_EXPECT_EQ(test, window(t)->samples, 0);
	/* Nor does it cost anything. */
	KUNIT_EXPECT_EQ(test, window(t)->mapped, 0);
	/* Another CPU may have lost count meanwhile. */
	verdict = decide(t, SZ_64K, 1, DMA_TO_DEVICE);
	window(t)->mapped = 0;
	io_bounce_sample_end(&t->limit, verdict.sample, 0, false);
	KUNIT_EXPECT_EQ(test, window(t)->mapped, 0);
	/* It does not go on for ever, and is tried less and less often. */
	for (i = 0; i < 10; i++) {
		wait_for_round(t);
		verdict = decide(t, SZ_64K, 1, DMA_TO_DEVICE);
		KUNIT_ASSERT_TRUE(test, window(t)->open);
		kind = &t->limit.measure->kinds[window(t)->kind];
		io_bounce_sample_end(&t->limit, verdict.sample, 0, false);
		window(t)->progress -= 2 * HZ;
		KUNIT_EXPECT_FALSE(test, to_device(t, SZ_64K));
		KUNIT_EXPECT_FALSE(test, window(t)->open);
	}
	KUNIT_EXPECT_GE(test, kind->next - (u32)jiffies, 15 * HZ);
}

/* IDs wrap around, and 0 is none. */
static void limit_numbers_samples(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;

	wait_for_round(t);
	window(t)->first = -16;
	verdict = decide(t, SZ_64K, 1, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, verdict.sample, 16);
	KUNIT_EXPECT_TRUE(test, verdict.bounce);
}

/* Map, link and unmap are added up. */
static void limit_adds_steps(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;

	wait_for_round(t);
	verdict = decide(t, SZ_64K, 1, DMA_TO_DEVICE);
	io_bounce_sample_add(&t->limit, verdict.sample, io_bounce_clock() - BASE);
	io_bounce_sample_add(&t->limit, verdict.sample, io_bounce_clock() - BASE);
	KUNIT_EXPECT_GE(test, window(t)->ns[0], 2 * BASE - BASE / 8);
	/* Not those of others. */
	io_bounce_sample_add(&t->limit, verdict.sample + 1, io_bounce_clock() - 8 * BASE);
	KUNIT_EXPECT_LT(test, window(t)->ns[0], 8 * BASE);
	/* Whatever the clock says */
	io_bounce_sample_add(&t->limit, verdict.sample, io_bounce_clock() + BASE);
	KUNIT_EXPECT_GE(test, window(t)->ns[0], 2 * BASE - BASE / 8);
	KUNIT_EXPECT_LT(test, window(t)->ns[0], 8 * BASE);
}

/* A mapping that is not unmapped */
static void limit_gives_up_what_stays(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;
	unsigned int kind;

	wait_for_round(t);
	verdict = decide(t, SZ_4K, 1, DMA_TO_DEVICE);
	KUNIT_ASSERT_NE(test, verdict.sample, 0);
	KUNIT_EXPECT_FALSE(test, to_device(t, SZ_4K));
	/* Nothing else is due. */
	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		t->limit.measure->kinds[kind].next = jiffies + HZ;
	window(t)->progress = jiffies - HZ / 2;
	to_device(t, SZ_8K);
	KUNIT_EXPECT_TRUE(test, window(t)->open);
	window(t)->progress = jiffies - 2 * HZ;
	to_device(t, SZ_8K);
	KUNIT_EXPECT_FALSE(test, window(t)->open);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_4K));
	/* Too late */
	io_bounce_sample_end(&t->limit, verdict.sample, io_bounce_clock() - BASE, true);
	KUNIT_EXPECT_EQ(test, window(t)->samples, 0);
	/* It waits for long. */
	t->limit.timer.function(&t->limit.timer);
	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		t->limit.measure->kinds[kind].next -= 15 * HZ;
	KUNIT_EXPECT_EQ(test, decide(t, SZ_4K, 1, DMA_TO_DEVICE).sample, 0);
	KUNIT_EXPECT_NE(test, decide(t, SZ_8K, 1, DMA_TO_DEVICE).sample, 0);
}

/* A kind that does not come any more */
static void limit_yields_to_another_kind(struct kunit *test)
{
	struct limit_test *t = test->priv;
	const u64 ns[] = { BASE, BASE };

	wait_for_round(t);
	KUNIT_ASSERT_NE(test, map_ns(t, SZ_4K, 1, DMA_TO_DEVICE, ns).sample, 0);
	KUNIT_EXPECT_EQ(test, decide(t, SZ_8K, 1, DMA_TO_DEVICE).sample, 0);
	window(t)->progress = jiffies - HZ / 2;
	KUNIT_EXPECT_NE(test, decide(t, SZ_8K, 1, DMA_TO_DEVICE).sample, 0);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_4K));
}

/* A slow device gets its samples in its own time. */
static void limit_waits_for_slow_devices(struct kunit *test)
{
	struct limit_test *t = test->priv;
	const u64 ns[] = { TWICE, BASE };
	int i;

	wait_for_round(t);
	for (i = 0; i < 20; i++) {
		map_ns(t, SZ_64K, 1, DMA_TO_DEVICE, ns);
		window(t)->progress -= HZ / 2;
	}
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_64K));
}

/* Nothing is due: after 1024 mappings, the fast path has its limit back. */
static void limit_stops_looking(struct kunit *test)
{
	struct limit_test *t = test->priv;
	unsigned int kind;
	int i;

	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		t->limit.measure->kinds[kind].next = jiffies + HZ;
	t->limit.timer.function(&t->limit.timer);
	for (i = 0; i < 1023; i++) {
		KUNIT_EXPECT_TRUE(test, to_device(t, SZ_4K));
		KUNIT_EXPECT_EQ(test, t->limit.bytes[DMA_TO_DEVICE], 0);
	}
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_4K));
	KUNIT_EXPECT_EQ(test, t->limit.bytes[DMA_TO_DEVICE], LIMIT_START);
	KUNIT_EXPECT_TRUE(test, timer_pending(&t->limit.timer));
}

/* 256 times the cost, but at most 16 s, until the next round of any kind */
static void limit_spaces_rounds_by_cost(struct kunit *test)
{
	struct limit_test *t = test->priv;
	int i;

	/* 10 direct samples of 1 ms each, and no loss: 2.6 s */
	round_to(test, SZ_4K, NSEC_PER_MSEC, 2 * NSEC_PER_MSEC);
	KUNIT_EXPECT_GE(test, t->limit.timer.expires, jiffies + 2 * HZ);
	KUNIT_EXPECT_LE(test, t->limit.timer.expires, jiffies + 4 * HZ);
	/* 10 of 2 ms and a loss of 10 times 1 ms, for each round only once: 7.7 s */
	for (i = 0; i < 3; i++) {
		round_to(test, SZ_8K, 2 * NSEC_PER_MSEC, NSEC_PER_MSEC);
		KUNIT_EXPECT_GE(test, t->limit.timer.expires, jiffies + 7 * HZ);
		KUNIT_EXPECT_LE(test, t->limit.timer.expires, jiffies + 9 * HZ);
	}
	round_to(test, SZ_4K, BASE, 100 * BASE);
	KUNIT_EXPECT_GE(test, t->limit.timer.expires, jiffies + 15 * HZ);
	KUNIT_EXPECT_LE(test, t->limit.timer.expires, jiffies + 16 * HZ);
}

/* The longer it is clear, the less often a kind is measured. */
static void limit_spaces_rounds_of_a_kind(struct kunit *test)
{
	struct limit_test *t = test->priv;
	u32 wait, last = 0;
	int i;

	for (i = 0; i < 10; i++) {
		u32 next = 0;
		unsigned int kind;

		round_to(test, SZ_64K, BASE, TWICE);
		for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
			if (t->limit.measure->kinds[kind].ns[0])
				next = t->limit.measure->kinds[kind].next;
		wait = next - (u32)jiffies;
		/* Somewhat more time may have passed than the last time. */
		KUNIT_EXPECT_GE(test, wait + HZ / 8, last);
		last = wait;
	}
	/* And 16 s for other kinds, since such a round is dear. */
	KUNIT_EXPECT_GE(test, last, 31 * HZ);
	KUNIT_EXPECT_LE(test, last, 32 * HZ);
}

static void limit_fixed_never_measures(struct kunit *test)
{
	struct limit_test *t = test->priv;

	io_bounce_limit_fixed(&t->limit, SZ_8K);
	wait_for_round(t);
	KUNIT_EXPECT_EQ(test, decide(t, SZ_16K, 1, DMA_TO_DEVICE).sample, 0);
	KUNIT_EXPECT_EQ(test, t->limit.bytes[DMA_TO_DEVICE], SZ_8K);
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_8K, 1, DMA_FROM_DEVICE));
	KUNIT_EXPECT_TRUE(test, bounced(t, SZ_8K, 64, DMA_FROM_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, SZ_8K + 1, 64, DMA_FROM_DEVICE));
	KUNIT_EXPECT_FALSE(test, bounced(t, 0, 1, DMA_FROM_DEVICE));
	/* Nor does it take memory. */
	kfree(t->limit.measure);
	t->limit.measure = NULL;
	io_bounce_limit_alloc(&t->limit);
	KUNIT_EXPECT_NULL(test, t->limit.measure);
}

/* What was being timed when the limit was fixed does not undo that. */
static void limit_fixed_stays_fixed(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_verdict verdict;
	unsigned int kind;

	wait_for_round(t);
	verdict = decide(t, SZ_4K, 1, DMA_TO_DEVICE);
	KUNIT_ASSERT_NE(test, verdict.sample, 0);
	io_bounce_limit_fixed(&t->limit, SZ_64K);
	io_bounce_sample_add(&t->limit, verdict.sample, io_bounce_clock() - BASE);
	io_bounce_sample_end(&t->limit, verdict.sample, io_bounce_clock() - BASE, true);
	t->limit.timer.function(&t->limit.timer);
	KUNIT_EXPECT_EQ(test, t->limit.bytes[DMA_TO_DEVICE], SZ_64K);
	KUNIT_EXPECT_EQ(test, t->limit.bytes[DMA_FROM_DEVICE], SZ_64K);
	KUNIT_EXPECT_TRUE(test, to_device(t, SZ_4K));
	KUNIT_EXPECT_FALSE(test, window(t)->open);

	/* An automatic one starts anew. */
	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		t->limit.measure->kinds[kind].next = jiffies + HZ;
	io_bounce_limit_auto(&t->limit, LIMIT_START, LIMIT_MAX);
	KUNIT_EXPECT_NE(test, decide(t, SZ_8K, 1, DMA_TO_DEVICE).sample, 0);
}

/* After a long time without any mapping: jiffies may have wrapped around. */
static void limit_is_not_misled_by_old_times(struct kunit *test)
{
	struct limit_test *t = test->priv;
	struct io_bounce_kind *kinds = t->limit.measure->kinds;
	unsigned int kind;

	wait_for_round(t);
	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		kinds[kind].next = (u32)jiffies + INT_MAX;
	KUNIT_EXPECT_NE(test, decide(t, SZ_4K, 1, DMA_TO_DEVICE).sample, 0);
}

static struct kunit_case limit_cases[] = {
	KUNIT_CASE(limit_starts_as_told),
	KUNIT_CASE(limit_keeps_the_faster_way),
	KUNIT_CASE(limit_follows_the_faster_way),
	KUNIT_CASE(limit_follows_two_rounds),
	KUNIT_CASE(limit_ignores_small_differences),
	KUNIT_CASE(limit_is_not_misled_by_outliers),
	KUNIT_CASE(limit_drops_the_longest),
	KUNIT_CASE(limit_knows_kinds_apart),
	KUNIT_CASE(limit_of_the_fast_path),
	KUNIT_CASE(limit_assumes_larger_are_direct),
	KUNIT_CASE(limit_assumes_so_unless_both_were_measured),
	KUNIT_CASE(limit_of_the_direct_path),
	KUNIT_CASE(limit_diverts_all_to_the_iommu),
	KUNIT_CASE(limit_bounces_only_samples),
	KUNIT_CASE(limit_times_several_at_once),
	KUNIT_CASE(limit_counts_whole_mappings),
	KUNIT_CASE(limit_numbers_samples),
	KUNIT_CASE(limit_adds_steps),
	KUNIT_CASE(limit_gives_up_what_stays),
	KUNIT_CASE(limit_yields_to_another_kind),
	KUNIT_CASE(limit_waits_for_slow_devices),
	KUNIT_CASE(limit_stops_looking),
	KUNIT_CASE(limit_spaces_rounds_by_cost),
	KUNIT_CASE(limit_spaces_rounds_of_a_kind),
	KUNIT_CASE(limit_fixed_never_measures),
	KUNIT_CASE(limit_fixed_stays_fixed),
	KUNIT_CASE(limit_is_not_misled_by_old_times),
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
