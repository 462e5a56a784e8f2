// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the I/O buffer pool.
 */

#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "../io-buffer-pool.h"
#include "mock-domain.h"

#define BASE	0x40000000UL

struct pool_test {
	struct mock_domain *fake;
	struct io_buffer_pool *pool;
};

static int pool_test_init(struct kunit *test)
{
	struct pool_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = mock_domain_create(test);
	t->pool = io_buffer_pool_create(&t->fake->domain, IOMMU_READ,
					NUMA_NO_NODE, 13, 12, 4, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->pool);
	return 0;
}

static void pool_test_exit(struct kunit *test)
{
	struct pool_test *t = test->priv;

	io_buffer_pool_destroy(t->pool);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	mock_domain_destroy(t->fake);
}

static struct io_buffer_chunk *add_chunk(struct kunit *test, dma_addr_t iova,
					 size_t size)
{
	struct pool_test *t = test->priv;
	struct io_buffer_chunk *chunk;

	chunk = io_buffer_chunk_create(t->pool, iova, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, chunk);
	io_buffer_chunk_online(chunk);
	return chunk;
}

static bool get(struct io_buffer_pool *pool, struct io_buffer *buf)
{
	guard(preempt)();
	return io_buffer_pool_get(pool, buf);
}

static unsigned int used(struct io_buffer_pool *pool)
{
	guard(preempt)();
	return io_buffer_pool_used(pool);
}

static void pool_empty(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer buf;

	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
	KUNIT_EXPECT_EQ(test, used(t->pool), 0);
	KUNIT_EXPECT_EQ(test, t->fake->maps, 0);
}

static void pool_chunk_is_mapped_once_and_zeroed(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer_chunk *chunk = add_chunk(test, BASE, SZ_64K);
	dma_addr_t iova;

	KUNIT_EXPECT_EQ(test, t->fake->mapped, SZ_64K);
	KUNIT_EXPECT_NULL(test, memchr_inv(chunk->vaddr, 0, SZ_64K));
	for (iova = BASE; iova < BASE + SZ_64K; iova += SZ_4K)
		KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, iova),
				IOMMU_READ);
	KUNIT_EXPECT_EQ(test, mock_domain_prot(t->fake, BASE + SZ_64K), 0);
}

static void pool_unmap_syncs(struct kunit *test)
{
	struct pool_test *t = test->priv;

	add_chunk(test, BASE, SZ_64K);
	io_buffer_pool_destroy(t->pool);
	t->pool = NULL;
	KUNIT_EXPECT_EQ(test, t->fake->mapped, 0);
	KUNIT_EXPECT_EQ(test, t->fake->syncs, 1);
}

/* Every slot once, each whole and its own; then none; then one again. */
static void pool_hands_out_each_slot_once(struct kunit *test)
{
	struct pool_test *t = test->priv;
	DECLARE_BITMAP(seen, 24) = {};
	struct io_buffer buf;
	unsigned int i;

	add_chunk(test, BASE, SZ_64K);
	add_chunk(test, BASE + SZ_2M, SZ_128K);
	for (i = 0; i < 24; i++) {
		unsigned int nr;

		KUNIT_ASSERT_TRUE(test, get(t->pool, &buf));
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED(io_buffer_iova(&buf), SZ_8K));
		KUNIT_EXPECT_PTR_EQ(test, io_buffer_vaddr(&buf),
				    mock_domain_vaddr(t->fake,
						      io_buffer_iova(&buf)));
		nr = buf.nr + buf.chunk->index * 8;
		KUNIT_EXPECT_FALSE(test, test_and_set_bit(nr, seen));
	}
	KUNIT_EXPECT_TRUE(test, bitmap_full(seen, 24));
	KUNIT_EXPECT_EQ(test, used(t->pool), 24);
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));

	/* buf still is the last one handed out */
	io_buffer_pool_put(&buf);
	KUNIT_EXPECT_EQ(test, used(t->pool), 23);
	KUNIT_EXPECT_TRUE(test, get(t->pool, &buf));
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
}

static void pool_prefers_old_chunks(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer buf;
	unsigned int i;

	add_chunk(test, BASE, SZ_64K);
	add_chunk(test, BASE + SZ_2M, SZ_128K);
	for (i = 0; i < 100; i++) {
		KUNIT_ASSERT_TRUE(test, get(t->pool, &buf));
		KUNIT_EXPECT_EQ(test, buf.chunk->index, 0);
		io_buffer_pool_put(&buf);
	}
}

/* Only when nothing is in use, and then for good. */
static void pool_retires_idle_chunks(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer_chunk *old, *young;
	struct io_buffer bufs[24], buf;
	unsigned int i;

	old = add_chunk(test, BASE, SZ_64K);
	young = add_chunk(test, BASE + SZ_2M, SZ_128K);
	for (i = 0; i < 24; i++)
		KUNIT_ASSERT_TRUE(test, get(t->pool, &bufs[i]));
	KUNIT_ASSERT_PTR_EQ(test, bufs[0].chunk, old);
	KUNIT_ASSERT_PTR_EQ(test, bufs[23].chunk, young);
	for (i = 1; i < 23; i++) {
		io_buffer_pool_put(&bufs[i]);
		KUNIT_EXPECT_FALSE(test, io_buffer_chunk_offline(old));
		KUNIT_EXPECT_FALSE(test, io_buffer_chunk_offline(young));
	}
	io_buffer_pool_put(&bufs[0]);
	io_buffer_pool_put(&bufs[23]);
	KUNIT_EXPECT_EQ(test, used(t->pool), 0);

	/* The attempts have left all slots free. */
	for (i = 0; i < 24; i++)
		KUNIT_ASSERT_TRUE(test, get(t->pool, &bufs[i]));
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
	for (i = 0; i < 24; i++)
		io_buffer_pool_put(&bufs[i]);

	KUNIT_ASSERT_TRUE(test, io_buffer_chunk_offline(old));
	io_buffer_chunk_destroy(old);
	KUNIT_EXPECT_EQ(test, t->fake->mapped, SZ_128K);
	for (i = 0; i < 16; i++) {
		KUNIT_ASSERT_TRUE(test, get(t->pool, &bufs[i]));
		KUNIT_EXPECT_PTR_EQ(test, bufs[i].chunk, young);
	}
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));

	/* A new one takes its place. */
	old = add_chunk(test, BASE, SZ_64K);
	KUNIT_EXPECT_EQ(test, old->index, 0);
	for (i = 0; i < 8; i++)
		KUNIT_EXPECT_TRUE(test, get(t->pool, &buf));
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
}

/* Nobody else has a chance to take a slot that is taken beforehand. */
static void pool_slot_is_taken_before_others_can(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer_chunk *chunk;
	struct io_buffer first, buf;
	unsigned int i;

	chunk = io_buffer_chunk_create(t->pool, BASE, SZ_64K, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, chunk);
	io_buffer_chunk_take_first(chunk, &first);
	io_buffer_chunk_online(chunk);
	KUNIT_EXPECT_EQ(test, used(t->pool), 1);
	KUNIT_EXPECT_EQ(test, io_buffer_iova(&first), BASE);
	KUNIT_EXPECT_FALSE(test, io_buffer_chunk_offline(chunk));
	for (i = 0; i < 7; i++) {
		KUNIT_ASSERT_TRUE(test, get(t->pool, &buf));
		KUNIT_EXPECT_NE(test, io_buffer_iova(&buf), BASE);
	}
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
	io_buffer_pool_put(&first);
	KUNIT_EXPECT_TRUE(test, get(t->pool, &buf));
}

/* As if no CPU had got a slot yet */
static void forget_hints(struct io_buffer_pool *pool)
{
	u32 none = pool->max_chunks << IO_BUFFER_HINT_SHIFT;
	unsigned int cpu, i;

	for_each_possible_cpu(cpu) {
		struct io_buffer_hints *hints = per_cpu_ptr(pool->hints, cpu);

		hints->word = NULL;
		hints->last = none;
		hints->search = none;
		for (i = 0; i < IO_BUFFER_NR_HINTS; i++)
			hints->old[i] = none;
	}
}

/* A CPU takes again what it freed last, unless the word belongs to another one. */
static void pool_hints_are_for_own_words(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer bufs[8], buf;
	unsigned int i;

	add_chunk(test, BASE, SZ_64K);
	guard(preempt)();
	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_TRUE(test, io_buffer_pool_get(t->pool, &bufs[i]));
		KUNIT_EXPECT_EQ(test, bufs[i].word->owner, smp_processor_id());
	}
	for (i = 0; i < 8; i++) {
		io_buffer_pool_put(&bufs[i]);
		KUNIT_ASSERT_TRUE(test, io_buffer_pool_get(t->pool, &buf));
		KUNIT_EXPECT_EQ(test, buf.nr, bufs[i].nr);
	}

	forget_hints(t->pool);
	this_cpu_write(t->pool->hints->crowded, false);
	bufs[0].word->owner = nr_cpu_ids;
	io_buffer_pool_put(&bufs[0]);
	KUNIT_EXPECT_EQ(test, this_cpu_read(t->pool->hints->last) >> IO_BUFFER_HINT_SHIFT,
			t->pool->max_chunks);
	/* But the slot is not lost. */
	KUNIT_ASSERT_TRUE(test, io_buffer_pool_get(t->pool, &buf));
	KUNIT_EXPECT_EQ(test, buf.nr, bufs[0].nr);
	/* All words have an owner, so this CPU does not leave the slot to it. */
	KUNIT_EXPECT_TRUE(test, this_cpu_read(t->pool->hints->crowded));
	KUNIT_EXPECT_TRUE(test, t->pool->crowded);
	forget_hints(t->pool);
	io_buffer_pool_put(&bufs[0]);
	KUNIT_EXPECT_EQ(test, this_cpu_read(t->pool->hints->last), 0);
}

/* With few slots in use, CPUs go to the oldest chunk, so that others become idle. */
static void pool_moves_to_old_chunks(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer_chunk *old, *young;
	struct io_buffer bufs[24];
	unsigned int i;

	old = add_chunk(test, BASE, SZ_64K);
	young = add_chunk(test, BASE + SZ_2M, SZ_128K);
	for (i = 0; i < 24; i++)
		KUNIT_ASSERT_TRUE(test, get(t->pool, &bufs[i]));
	KUNIT_ASSERT_PTR_EQ(test, bufs[23].chunk, young);
	for (i = 0; i < 17; i++)
		io_buffer_pool_put(&bufs[i]);
	io_buffer_pool_age(t->pool);
	io_buffer_pool_put(&bufs[17]);
	/* 6 of 24 from here on, as above 7: not yet, then at once */
	io_buffer_pool_age(t->pool);
	io_buffer_pool_put(&bufs[23]);
	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_TRUE(test, get(t->pool, &bufs[i]));
		KUNIT_EXPECT_PTR_EQ(test, bufs[i].chunk, old);
	}
	KUNIT_EXPECT_TRUE(test, old->referenced);
	KUNIT_EXPECT_FALSE(test, young->referenced);
}

/* With preemption disabled, not all chunks of a large pool are looked at. */
static void pool_search_has_an_end(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer buf, last;
	unsigned int i;
	bool found;

	io_buffer_pool_destroy(t->pool);
	t->pool = io_buffer_pool_create(&t->fake->domain, IOMMU_READ,
					NUMA_NO_NODE, 13, 12, 32, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->pool);
	for (i = 0; i < 20; i++)
		add_chunk(test, BASE + i * SZ_2M, SZ_64K);
	while (get(t->pool, &buf))
		last = buf;
	KUNIT_EXPECT_EQ(test, used(t->pool), 20 * 8);
	/* What is known to be full is not looked at again. */
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
	KUNIT_EXPECT_EQ(test, bitmap_weight(t->pool->full, 20), 20);
	KUNIT_EXPECT_FALSE(test, io_buffer_chunk_offline(last.chunk));
	KUNIT_EXPECT_EQ(test, bitmap_weight(t->pool->full, 20), 20);

	bitmap_zero(t->pool->full, 20);
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
	KUNIT_EXPECT_EQ(test, bitmap_weight(t->pool->full, 20), 8);
	/* But none is lost, and one for which a miss is an error finds it at once. */
	io_buffer_pool_put(&last);
	forget_hints(t->pool);
	bitmap_zero(t->pool->full, 20);
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
	forget_hints(t->pool);
	bitmap_zero(t->pool->full, 20);
	scoped_guard(preempt)
		found = io_buffer_pool_get_any(t->pool, &buf);
	KUNIT_EXPECT_TRUE(test, found);
	KUNIT_EXPECT_EQ(test, used(t->pool), 20 * 8);
}

/* A hint is not for a smaller chunk in the place of the one it was given for. */
static void pool_hint_outlives_its_chunk(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer_chunk *chunk = add_chunk(test, BASE, SZ_512K);
	struct io_buffer buf;
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, io_buffer_chunk_offline(chunk));
	io_buffer_chunk_destroy(chunk);
	add_chunk(test, BASE, SZ_64K);
	/* As if all CPUs had last found something in the old one's last word */
	for_each_possible_cpu(i)
		WRITE_ONCE(per_cpu_ptr(t->pool->hints, i)->last,
			   BIT(IO_BUFFER_HINT_SHIFT) - 1);
	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_TRUE(test, get(t->pool, &buf));
		KUNIT_EXPECT_LT(test, buf.nr, 8);
	}
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
}

static void pool_knows_what_was_touched(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer_chunk *chunk = add_chunk(test, BASE, SZ_64K);
	struct io_buffer buf;

	KUNIT_EXPECT_TRUE(test, chunk->referenced);
	io_buffer_pool_age(t->pool);
	KUNIT_EXPECT_FALSE(test, chunk->referenced);
	KUNIT_ASSERT_TRUE(test, get(t->pool, &buf));
	KUNIT_EXPECT_TRUE(test, chunk->referenced);
	io_buffer_pool_put(&buf);
	io_buffer_pool_age(t->pool);
	KUNIT_EXPECT_FALSE(test, chunk->referenced);
}

static void pool_survives_a_refusing_iommu(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct io_buffer buf;

	t->fake->fail_map = true;
	KUNIT_EXPECT_NULL(test, io_buffer_chunk_create(t->pool, BASE, SZ_64K,
						       GFP_KERNEL));
	KUNIT_EXPECT_FALSE(test, get(t->pool, &buf));
	t->fake->fail_map = false;
	add_chunk(test, BASE, SZ_64K);
	KUNIT_EXPECT_TRUE(test, get(t->pool, &buf));
}

#define STRESS_THREADS	4
#define STRESS_ROUNDS	20000
#define STRESS_BURST	1000
#define STRESS_HELD	12	/* of 16, 8 in each chunk: also on a single CPU */

/*
 * Threads that together now and then want more than there is: no slot may ever
 * have two owners, and none may be lost.
 */
struct stress {
	struct io_buffer_pool *pool;
	atomic_t owners[24];
	atomic_t clashes;
	atomic_t hits;
	atomic_t running;
	struct completion done;
};

static bool stress_take(struct stress *s, struct io_buffer *buf)
{
	unsigned int nr;

	if (!get(s->pool, buf))
		return false;
	nr = buf->nr + buf->chunk->index * 8;
	if (atomic_inc_return(&s->owners[nr]) != 1)
		atomic_inc(&s->clashes);
	atomic_inc(&s->hits);
	return true;
}

static void stress_give(struct stress *s, const struct io_buffer *buf)
{
	unsigned int nr = buf->nr + buf->chunk->index * 8;

	if (atomic_dec_return(&s->owners[nr]) != 0)
		atomic_inc(&s->clashes);
	io_buffer_pool_put(buf);
}

static int stress_thread(void *data)
{
	struct stress *s = data;
	struct io_buffer held[STRESS_HELD];
	unsigned int i, nr_held = 0;

	for (i = 0; i < STRESS_ROUNDS; i++) {
		if (nr_held < STRESS_HELD && stress_take(s, &held[nr_held]))
			nr_held++;
		else if (nr_held)
			stress_give(s, &held[--nr_held]);
		if (i % STRESS_BURST)
			continue;
		/* Now and then nothing is in use. */
		while (nr_held)
			stress_give(s, &held[--nr_held]);
		usleep_range(1000, 2000);
	}
	while (nr_held)
		stress_give(s, &held[--nr_held]);

	if (atomic_dec_and_test(&s->running))
		complete(&s->done);
	return 0;
}

static void pool_stress(struct kunit *test)
{
	struct pool_test *t = test->priv;
	struct stress *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct io_buffer buf;
	struct io_buffer_chunk *chunk;
	unsigned int i, retired = 0;

	KUNIT_ASSERT_NOT_NULL(test, s);
	add_chunk(test, BASE, SZ_64K);
	chunk = add_chunk(test, BASE + SZ_2M, SZ_64K);
	s->pool = t->pool;
	init_completion(&s->done);
	atomic_set(&s->running, STRESS_THREADS);
	for (i = 0; i < STRESS_THREADS; i++)
		KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(stress_thread, s,
							    "pool/%u", i)));
	/* Meanwhile the second chunk comes and goes. */
	while (!try_wait_for_completion(&s->done)) {
		if (io_buffer_chunk_offline(chunk)) {
			io_buffer_chunk_destroy(chunk);
			retired++;
			chunk = add_chunk(test, BASE + SZ_2M, SZ_64K);
			/* Let it be used. */
			usleep_range(100, 200);
		}
		cond_resched();
	}

	KUNIT_EXPECT_GT(test, retired, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&s->clashes), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&s->hits), STRESS_ROUNDS);
	KUNIT_EXPECT_EQ(test, used(t->pool), 0);
	/* The mark "full" must not have stuck to the chunk. */
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_TRUE(test, get(t->pool, &buf));
}

static struct kunit_case pool_cases[] = {
	KUNIT_CASE(pool_empty),
	KUNIT_CASE(pool_chunk_is_mapped_once_and_zeroed),
	KUNIT_CASE(pool_unmap_syncs),
	KUNIT_CASE(pool_hands_out_each_slot_once),
	KUNIT_CASE(pool_prefers_old_chunks),
	KUNIT_CASE(pool_retires_idle_chunks),
	KUNIT_CASE(pool_slot_is_taken_before_others_can),
	KUNIT_CASE(pool_hints_are_for_own_words),
	KUNIT_CASE(pool_moves_to_old_chunks),
	KUNIT_CASE(pool_search_has_an_end),
	KUNIT_CASE(pool_hint_outlives_its_chunk),
	KUNIT_CASE(pool_knows_what_was_touched),
	KUNIT_CASE(pool_survives_a_refusing_iommu),
	KUNIT_CASE_SLOW(pool_stress),
	{}
};

static struct kunit_suite pool_suite = {
	.name = "io_buffer_pool",
	.init = pool_test_init,
	.exit = pool_test_exit,
	.test_cases = pool_cases,
};

kunit_test_suite(pool_suite);

MODULE_DESCRIPTION("KUnit tests of the I/O buffer pool");
MODULE_LICENSE("GPL");
