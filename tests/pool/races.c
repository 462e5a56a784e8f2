// SPDX-License-Identifier: GPL-2.0-only
/*
 * usage: races
 *
 * Searches of io-buffer-pool.c while others are at work, step by step:
 *
 * - Another CPU frees a slot, and the pool ages, at each pair of steps of a search. When
 *   all is quiet again, the slot must be found.
 * - Another CPU keeps freeing and taking slots of the first chunks. A slot of a later chunk
 *   that is free all the time must be found by a search for which a miss is an error.
 */

#include <stdio.h>
#include <string.h>

#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>

#include "io-buffer-pool.h"
#include "stub.h"

#define CHUNK		(1UL << 16)
#define REGION		(1UL << 21)
#define SLOTS		16		/* of 4 KiB in a chunk */
#define MAX_CHUNKS	24
#define MAX_STEPS	400

static struct io_buffer_pool *pool;
static struct io_buffer slots[MAX_CHUNKS * SLOTS];

/* The step that the search is at; negative: nobody interrupts. */
static long step = -1;
static void (*interrupt)(long step);

void stub_step(void)
{
	unsigned int cpu = stub_cpu;
	long now = step;

	if (now < 0)
		return;
	step = -1;
	interrupt(now);
	stub_cpu = cpu;
	step = now + 1;
}

static bool get(struct io_buffer *buf, bool any)
{
	bool found;

	preempt_disable();
	found = any ? io_buffer_pool_get_any(pool, buf) : io_buffer_pool_get(pool, buf);
	preempt_enable();
	return found;
}

/* A pool with all slots in use, none of its chunks marked full */
static void create(unsigned int nr_chunks, unsigned int nr_cpus)
{
	struct io_buffer buf;
	unsigned int i;

	stub_nr_cpus = nr_cpus;
	pool = io_buffer_pool_create(NULL, IOMMU_READ, NUMA_NO_NODE, 12, 12, MAX_CHUNKS,
				     GFP_KERNEL);
	stub_check(pool);
	for (i = 0; i < nr_chunks; i++)
		io_buffer_chunk_online(io_buffer_chunk_create(pool, (i + 1) * REGION, CHUNK,
							      GFP_KERNEL));
	for (i = 0; i < nr_chunks * SLOTS; i++) {
		stub_cpu = nr_chunks > 1 ? 1 + i % (nr_cpus - 1) : 0;
		stub_check(get(&buf, true));
		slots[buf.chunk->index * SLOTS + buf.nr] = buf;
	}
	pool->full[0] = 0;
}

static void destroy(void)
{
	stub_cpu = 0;
	io_buffer_pool_destroy(pool);
	rcu_barrier();
}

static long put_at, age_at;

static void put_and_age(long now)
{
	if (now == put_at) {
		stub_cpu = 1;
		io_buffer_pool_put(&slots[SLOTS - 1]);
	}
	if (now == age_at) {
		stub_cpu = 2;
		io_buffer_pool_age(pool);
	}
}

/* Returns the number of steps of the search. */
static long search_while_pool_ages(void)
{
	struct io_buffer buf;
	long steps;
	bool found;

	create(1, SLOTS);
	interrupt = put_and_age;
	stub_cpu = 0;
	step = 0;
	found = get(&buf, false);
	steps = step;
	step = -1;
	if (steps > put_at && !found) {
		stub_cpu = 5;
		if (!get(&buf, true))
			stub_fail("put at step %ld, age at step %ld: the slot is lost", put_at,
				  age_at);
	}
	destroy();
	return steps;
}

static long period;

static void put_and_get(long now)
{
	static unsigned int turn;
	struct io_buffer *buf;

	if (now % period)
		return;
	buf = &slots[turn % 16 * SLOTS];
	stub_cpu = 1 + turn++ % 7;
	io_buffer_pool_put(buf);
	stub_check(get(buf, true));
}

static void search_while_others_do(void)
{
	struct io_buffer buf;
	unsigned int i;

	create(MAX_CHUNKS, 8);
	interrupt = put_and_get;
	for (i = 0; i < 200; i++) {
		bool found;

		/* It is not found by its hint. */
		stub_cpu = 7;
		io_buffer_pool_put(&slots[20 * SLOTS]);
		pool->full[0] = 0;
		stub_cpu = 0;
		step = 1;
		found = get(&buf, true);
		step = -1;
		if (!found)
			stub_fail("every %ld steps: a free slot was not found", period);
		slots[buf.chunk->index * SLOTS + buf.nr] = buf;
		if (!test_bit(slots[20 * SLOTS].nr, &slots[20 * SLOTS].word->used)) {
			stub_cpu = 7;
			stub_check(get(&buf, true));
			slots[buf.chunk->index * SLOTS + buf.nr] = buf;
		}
	}
	destroy();
}

int main(void)
{
	static const long periods[] = { 50, 20, 10 };
	unsigned int i;

	for (put_at = 0; put_at < MAX_STEPS; put_at++)
		for (age_at = 0; age_at < MAX_STEPS; age_at++)
			if (search_while_pool_ages() <= max(put_at, age_at))
				break;
	for (i = 0; i < sizeof(periods) / sizeof(*periods); i++) {
		period = periods[i];
		search_while_others_do();
	}
	return 0;
}
