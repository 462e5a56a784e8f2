// SPDX-License-Identifier: GPL-2.0-only
/*
 * usage: stress SECONDS
 *
 * Threads take, pass on and give back slots while the owner of the pool adds and
 * frees chunks, now and then all of them, and wipes what is free. What is in a slot and
 * what the pool stores for it is written with plain accesses: where a slot
 * changes hands without order, ThreadSanitizer reports them. After each round,
 * when all has been given back, every slot must be there, once.
 */

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <linux/iommu.h>
#include <linux/mm.h>

#include "io-buffer-pool.h"
#include "stub.h"

#define NR_WORKERS	4
#define MAX_HELD	8
#define MAX_CHUNKS	4
#define MAX_OPS		64

#define GRANULE_SHIFT	12
#define SLOT_SHIFT	13
#define SLOT_SIZE	(1U << SLOT_SHIFT)

static struct io_buffer_pool __rcu *current_pool;
static pthread_barrier_t barrier;
static bool stop;

/* From one thread to another; @full orders what is in it. */
static struct mailbox {
	bool full;
	struct io_buffer buf;
	u32 mark;
} mailboxes[NR_WORKERS][NR_WORKERS];

struct held {
	struct io_buffer buf;
	u32 mark;
};

static struct worker {
	pthread_t thread;
	unsigned int cpu;
	struct held held[MAX_HELD];
	unsigned int nr_held;
	unsigned long gets;
	unsigned long misses;
	unsigned long passed;
} workers[NR_WORKERS];

static _Thread_local u32 random_state;

static u32 random_below(u32 ceil)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % ceil;
}

/* Let the others come in between, as far as the machine has time for it. */
void stub_step(void)
{
	unsigned int i;

	switch (random_below(256)) {
	case 0 ... 1:
		sched_yield();
		break;
	case 2 ... 15:
		for (i = random_below(256); i; i--)
			__asm__ volatile("" ::: "memory");
		break;
	}
}

static bool get(struct io_buffer *buf)
{
	struct io_buffer_pool *pool;
	bool ret;

	preempt_disable();
	pool = rcu_dereference_sched(current_pool);
	ret = io_buffer_pool_get(pool, buf);
	preempt_enable();
	return ret;
}

/* First and last bytes of the slot, and all that the pool stores for it */
static void mark(const struct io_buffer *buf, u32 mark)
{
	struct io_buffer_slot *slot = io_buffer_slot(buf);
	u32 *words = io_buffer_vaddr(buf);

	stub_check(!slot->len);
	words[0] = mark;
	words[SLOT_SIZE / sizeof(u32) - 1] = mark;
	slot->orig = mark;
	slot->start = mark;
	slot->len = SLOT_SIZE;
	io_buffer_segments(buf)[0].phys = mark;
	io_buffer_segments(buf)[1].phys = mark;
}

static void check_mark(const struct io_buffer *buf, u32 mark)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	const u32 *words = io_buffer_vaddr(buf);

	stub_check(words[0] == mark);
	stub_check(words[SLOT_SIZE / sizeof(u32) - 1] == mark);
	stub_check(slot->orig == mark && slot->start == (u16)mark);
	stub_check(slot->len == SLOT_SIZE);
	stub_check(io_buffer_segments(buf)[0].phys == mark);
	stub_check(io_buffer_segments(buf)[1].phys == mark);
}

static void put(const struct io_buffer *buf, u32 mark)
{
	check_mark(buf, mark);
	io_buffer_slot(buf)->len = 0;
	io_buffer_pool_put(buf);
}

static void worker_get(struct worker *w)
{
	struct held *h = &w->held[w->nr_held];

	if (w->nr_held == MAX_HELD)
		return;
	if (!get(&h->buf)) {
		w->misses++;
		return;
	}
	h->mark = w->cpu << 24 | (++w->gets & 0xffffff);
	mark(&h->buf, h->mark);
	w->nr_held++;
}

static void worker_put(struct worker *w)
{
	struct held *h = &w->held[w->nr_held ? random_below(w->nr_held) : 0];

	if (!w->nr_held)
		return;
	put(&h->buf, h->mark);
	*h = w->held[--w->nr_held];
}

static void worker_pass(struct worker *w)
{
	struct mailbox *m = &mailboxes[w->cpu][random_below(NR_WORKERS)];

	if (!w->nr_held || __atomic_load_n(&m->full, __ATOMIC_ACQUIRE))
		return;
	w->nr_held--;
	m->buf = w->held[w->nr_held].buf;
	m->mark = w->held[w->nr_held].mark;
	w->passed++;
	__atomic_store_n(&m->full, true, __ATOMIC_RELEASE);
}

/* Put on another thread than got */
static void empty_mailbox(struct mailbox *m)
{
	if (!__atomic_load_n(&m->full, __ATOMIC_ACQUIRE))
		return;
	put(&m->buf, m->mark);
	__atomic_store_n(&m->full, false, __ATOMIC_RELEASE);
}

static void *worker(void *arg)
{
	struct worker *w = arg;
	unsigned int ops;

	stub_cpu = w->cpu;
	random_state = w->cpu + 1;
	for (;;) {
		pthread_barrier_wait(&barrier);
		if (stop)
			return NULL;
		for (ops = random_below(MAX_OPS); ops; ops--) {
			switch (random_below(16)) {
			case 0:
				worker_pass(w);
				break;
			case 1:
				empty_mailbox(&mailboxes[random_below(NR_WORKERS)]
							[w->cpu]);
				break;
			case 2 ... 9:
				worker_get(w);
				break;
			default:
				worker_put(w);
				break;
			}
		}
		/* The last that misses and the last that puts meet here. */
		for (ops = random_below(MAX_HELD); ops; ops--)
			worker_get(w);
		while (w->nr_held)
			worker_put(w);
		pthread_barrier_wait(&barrier);
	}
}

static struct owner {
	struct io_buffer_pool *pool;
	struct io_buffer_chunk *chunks[MAX_CHUNKS];
	unsigned long rounds;
	unsigned long added;
	unsigned long retired;
	unsigned long refused;
	unsigned long emptied;
} owner;

static void new_pool(void)
{
	owner.pool = io_buffer_pool_create(NULL, IOMMU_READ, 0, SLOT_SHIFT,
					   GRANULE_SHIFT, MAX_CHUNKS, GFP_KERNEL);
	stub_check(owner.pool);
	rcu_assign_pointer(current_pool, owner.pool);
}

static void add_chunk(unsigned int i)
{
	size_t size = SLOT_SIZE << random_below(5);
	struct io_buffer_chunk *chunk;

	chunk = io_buffer_chunk_create(owner.pool, (i + 1ULL) << 24, size,
				       GFP_KERNEL);
	stub_check(chunk);
	owner.chunks[i] = chunk;
	io_buffer_chunk_online(chunk);
	owner.added++;
}

static void retire_chunk(unsigned int i)
{
	if (!io_buffer_chunk_offline(owner.chunks[i])) {
		owner.refused++;
		return;
	}
	io_buffer_chunk_destroy(owner.chunks[i]);
	owner.chunks[i] = NULL;
	owner.retired++;
}

static unsigned int used(void)
{
	unsigned int n;

	preempt_disable();
	n = io_buffer_pool_used(owner.pool);
	preempt_enable();
	return n;
}

static void own(void)
{
	unsigned int i = random_below(MAX_CHUNKS);

	switch (random_below(16)) {
	case 0:
		io_buffer_pool_age(owner.pool);
		break;
	case 1:
		used();
		break;
	case 3:
		io_buffer_pool_wipe(owner.pool);
		break;
	case 2:
		for (i = 0; i < MAX_CHUNKS; i++)
			if (owner.chunks[i])
				retire_chunk(i);
		if (!owner.pool->nr_chunks)
			owner.emptied++;
		break;
	default:
		if (owner.chunks[i])
			retire_chunk(i);
		else
			add_chunk(i);
		break;
	}
	stub_rcu_poll();
}

/* Nobody else is at work. */
static void check_round(void)
{
	static struct io_buffer bufs[MAX_CHUNKS << 4];
	unsigned int i, j, nr = 0, slots = 0;

	for (i = 0; i < NR_WORKERS; i++)
		for (j = 0; j < NR_WORKERS; j++)
			empty_mailbox(&mailboxes[i][j]);
	for (i = 0; i < MAX_CHUNKS; i++)
		if (owner.chunks[i])
			slots += owner.chunks[i]->size >> SLOT_SHIFT;

	if (used())
		stub_fail("%u slots are in use by nobody", used());
	for (; nr < slots && get(&bufs[nr]); nr++)
		mark(&bufs[nr], nr);
	if (nr != slots)
		stub_fail("%u slots of %u are there", nr, slots);
	stub_check(used() == slots);
	stub_check(!get(&bufs[0]));
	while (nr--)
		put(&bufs[nr], nr);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	unsigned long gets = 0, misses = 0, passed = 0;
	double end = now() + (argc > 1 ? atof(argv[1]) : 5);
	unsigned int i;

	stub_nr_cpus = NR_WORKERS + 1;
	stub_cpu = NR_WORKERS;
	random_state = NR_WORKERS + 1;
	new_pool();
	stub_check(!pthread_barrier_init(&barrier, NULL, NR_WORKERS + 1));
	for (i = 0; i < NR_WORKERS; i++) {
		workers[i].cpu = i;
		stub_check(!pthread_create(&workers[i].thread, NULL, worker,
					   &workers[i]));
	}
	while (now() < end) {
		pthread_barrier_wait(&barrier);
		for (i = random_below(MAX_OPS); i; i--)
			own();
		pthread_barrier_wait(&barrier);
		check_round();
		owner.rounds++;
	}
	stop = true;
	pthread_barrier_wait(&barrier);
	for (i = 0; i < NR_WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		gets += workers[i].gets;
		misses += workers[i].misses;
		passed += workers[i].passed;
	}

	io_buffer_pool_destroy(owner.pool);
	rcu_barrier();
	stub_check(!stub_mapped);
	stub_check(!stub_allocated);

	printf("%lu rounds, %lu slots taken, %lu misses, %lu passed on, %lu chunks added, %lu retired, %lu in use, %lu times none left\n",
	       owner.rounds, gets, misses, passed, owner.added, owner.retired,
	       owner.refused, owner.emptied);
	/* Nothing was shown by what did not happen. */
	stub_check(gets && misses && passed && owner.retired && owner.refused);
	return 0;
}
