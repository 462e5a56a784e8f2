// SPDX-License-Identifier: GPL-2.0-only
/*
 * usage: crowd [all]
 *
 * Up to 128 CPUs, simulated one operation at a time, get and put slots of 4 KiB. The pool
 * grows as the manager has it grow. Counted is what io-buffer-pool.c accesses: to the
 * words it looks at for each slot, and the writes to cache lines that another CPU wrote
 * last. No times: the caches are simulated, too.
 *
 * The CPUs get all that is in flight, then free slots and get others: one by one or 16
 * at a time, the oldest or any, on the CPU that got them or, with "all", on the next
 * one. Measured is the second half, while the pool ages a few times. At last each CPU
 * has a single slot in flight, then one CPU alone has as many as before, all of which
 * it frees before it gets others, and it is measured how many slots reclaim leaves.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>

#include "io-buffer-pool.h"
#include "stub.h"

#define SLOT_SHIFT	12
#define REGION		(1UL << 21)	/* IO_BUFFER_MAX_REGION */
#define MIN_CHUNK	(1UL << 16)	/* IO_BUFFER_MIN_CHUNK */
#define MAX_CHUNKS	48
#define MAX_IN_FLIGHT	64
#define OPS		800000
#define AGES		40	/* meanwhile */

#define MAX_WORDS	1.2	/* looked at for each slot */
#define MAX_FOREIGN	0.05	/* puts to a line that another CPU wrote last */
#define MAX_SHARED	0.01	/* writes to lines of chunks and pool */
#define MAX_LEFT	4	/* slots for each in flight, or one chunk, when load has gone */

static struct io_buffer_pool *pool;

static struct {
	struct io_buffer slots[MAX_IN_FLIGHT];
	unsigned int n, first;
} cpus[STUB_MAX_CPUS];

static struct {
	unsigned long gets, puts, misses;
	unsigned long words;
	unsigned long foreign_puts;
	unsigned long shared_writes;
} count;

static bool putting, counting;

/* Who wrote the words last, by chunk and line */
static u8 *writers[MAX_CHUNKS];

void stub_step(void)
{
}

static struct io_buffer_chunk *chunk_of(const void *p, size_t *line)
{
	unsigned int i;

	for (i = 0; i < pool->end; i++) {
		struct io_buffer_chunk *chunk = pool->chunks[i];
		size_t offset;

		if (!chunk)
			continue;
		offset = (const u8 *)p - chunk->words;
		if (offset >= (size_t)chunk->word_size * (chunk->word_mask + 1))
			continue;
		*line = offset / SMP_CACHE_BYTES;
		return chunk;
	}
	return NULL;
}

static bool is_hint(const void *p)
{
	return (const char *)p >= (const char *)pool->hints &&
	       (const char *)p < (const char *)per_cpu_ptr(pool->hints, stub_nr_cpus);
}

void stub_watch(const void *p, bool write)
{
	struct io_buffer_chunk *chunk;
	size_t line;
	u8 *writer;

	if (!counting || is_hint(p))
		return;
	chunk = chunk_of(p, &line);
	if (!chunk) {
		count.shared_writes += write;
		return;
	}
	writer = &writers[chunk->index][line];
	if (!write) {
		count.words += !putting && line * SMP_CACHE_BYTES % chunk->word_size == 0;
		return;
	}
	count.foreign_puts += putting && *writer && *writer != stub_cpu + 1;
	*writer = stub_cpu + 1;
}

/* As next_chunk_size() and io_buffer_add_chunk() */
static void grow(size_t max)
{
	size_t size = min(min(MIN_CHUNK << min(pool->nr_chunks, 5U), REGION), max);
	static unsigned int region;
	struct io_buffer_chunk *chunk;

	chunk = io_buffer_chunk_create(pool, ++region * REGION, size, GFP_KERNEL);
	stub_check(chunk && pool->nr_chunks < MAX_CHUNKS);
	io_buffer_chunk_online(chunk);
	writers[chunk->index] = calloc(chunk->word_mask + 1UL, chunk->word_size);
	stub_check(writers[chunk->index]);
}

/* As io_buffer_age_work() */
static void age(void)
{
	size_t used, size, busy = 0;
	unsigned int i;

	for (i = pool->end; i--;) {
		struct io_buffer_chunk *chunk = pool->chunks[i];

		if (!chunk)
			continue;
		if (chunk->referenced) {
			busy = max(busy, chunk->size);
		} else if (chunk->size >= busy && io_buffer_chunk_offline(chunk)) {
			io_buffer_chunk_destroy(chunk);
			free(writers[i]);
			writers[i] = NULL;
		}
	}
	/* As io_buffer_relieve() */
	used = (size_t)io_buffer_pool_used(pool) << SLOT_SHIFT;
	size = (size_t)pool->nr_slots << SLOT_SHIFT;
	if (io_buffer_pool_age(pool) && size + MIN_CHUNK <= 2 * used)
		grow(1UL << ilog2(2 * used - size));
}

static void get(unsigned int cpu)
{
	bool found;

	stub_cpu = cpu;
	count.gets++;
	do {
		struct io_buffer *buf = &cpus[cpu].slots[(cpus[cpu].first + cpus[cpu].n) %
							 MAX_IN_FLIGHT];

		preempt_disable();
		counting = true;
		found = io_buffer_pool_get(pool, buf);
		counting = false;
		preempt_enable();
		if (!found) {
			count.misses++;
			grow(REGION);
		}
	} while (!found);
	cpus[cpu].n++;
}

static void put(unsigned int owner, unsigned int cpu, bool any)
{
	unsigned int first = cpus[owner].first, nr;
	struct io_buffer buf;

	nr = (first + (any ? rand() % cpus[owner].n : 0)) % MAX_IN_FLIGHT;
	buf = cpus[owner].slots[nr];
	cpus[owner].slots[nr] = cpus[owner].slots[first];
	cpus[owner].first = (first + 1) % MAX_IN_FLIGHT;
	cpus[owner].n--;
	stub_cpu = cpu;
	count.puts++;
	counting = putting = true;
	io_buffer_pool_put(&buf);
	counting = putting = false;
}

static void work(unsigned int ops, unsigned int batch, bool any, bool cross)
{
	unsigned int i, n, cpu;

	for (i = 0; i < ops; i++) {
		cpu = rand() % stub_nr_cpus;
		for (n = 0; n < batch; n++)
			put(cpu, (cpu + cross) % stub_nr_cpus, any);
		for (n = 0; n < batch; n++)
			get(cpu);
	}
}

static void free_pool(void)
{
	unsigned int i;

	stub_cpu = 0;
	io_buffer_pool_destroy(pool);
	rcu_barrier();
	for (i = 0; i < MAX_CHUNKS; i++) {
		free(writers[i]);
		writers[i] = NULL;
	}
}

/* Returns whether a bar is missed. */
static bool run(unsigned int in_flight, unsigned int batch, bool any, bool cross)
{
	unsigned int i, cpu, ops = OPS / batch / AGES;
	double words, foreign, shared, memory, left, alone;

	srand(1);
	memset(cpus, 0, sizeof(cpus));
	pool = io_buffer_pool_create(NULL, IOMMU_READ, NUMA_NO_NODE, SLOT_SHIFT,
				     SLOT_SHIFT, MAX_CHUNKS, GFP_KERNEL);
	stub_check(pool);
	for (i = 0; i < in_flight; i++)
		for (cpu = 0; cpu < stub_nr_cpus; cpu++)
			get(cpu);
	for (i = 0; i < AGES; i++) {
		if (i == AGES / 2)
			memset(&count, 0, sizeof(count));
		age();
		work(ops, batch, any, cross);
	}
	memory = (double)pool->nr_slots / (in_flight * stub_nr_cpus);
	words = (double)count.words / count.gets;
	foreign = (double)count.foreign_puts / count.puts;
	shared = (double)count.shared_writes / count.gets;

	for (cpu = 0; cpu < stub_nr_cpus; cpu++)
		while (cpus[cpu].n > 1)
			put(cpu, cpu, any);
	for (i = 0; i < 2; i++) {
		age();
		work(OPS / AGES, 1, any, cross);
	}
	age();
	left = (double)pool->nr_slots / max(stub_nr_cpus, MIN_CHUNK >> SLOT_SHIFT);

	for (cpu = 0; cpu < stub_nr_cpus; cpu++)
		put(cpu, cpu, any);
	for (i = 0; i < in_flight; i++)
		get(0);
	for (i = 0; i < 4; i++) {
		unsigned int n, k;

		age();
		for (n = 0; n < OPS / AGES / in_flight; n++) {
			for (k = 0; k < in_flight; k++)
				put(0, 0, any);
			for (k = 0; k < in_flight; k++)
				get(0);
		}
	}
	age();
	alone = (double)pool->nr_slots / max(in_flight, MIN_CHUNK >> SLOT_SHIFT);
	free_pool();
	printf("%4u %9u %5u  %-6s %-5s %6.2f %8.3f %8.4f %7.2f %6lu %5.2f %6.2f\n", stub_nr_cpus,
	       in_flight, batch, any ? "any" : "oldest", cross ? "next" : "same", words,
	       foreign, shared, memory, count.misses, left, alone);
	if (cross)
		return words > 2 * MAX_WORDS || left > 2 * MAX_LEFT || alone > MAX_LEFT;
	return words > MAX_WORDS || foreign > MAX_FOREIGN || shared > MAX_SHARED ||
	       memory > 2 + 16. / in_flight / stub_nr_cpus || left > MAX_LEFT ||
	       alone > MAX_LEFT;
}

int main(int argc, char **argv)
{
	static const unsigned int nr_cpus[] = { 1, 2, 8, 16, 64, 128 };
	static const unsigned int in_flight[] = { 1, 2, 4, 8, 16, 32, 64 };
	bool all = argc > 1 && !strcmp(argv[1], "all");
	unsigned int c, q, how, missed = 0, rows = 0;

	printf("words: looked at to get a slot; foreign: puts to a line that another CPU wrote last;\n"
	       "shared: writes to lines of pool or chunks for each slot; memory: slots for each in flight;\n"
	       "left: the same, after each CPU has had but one in flight for a while;\n"
	       "alone: the same, after one CPU alone has had as many in flight as before\n"
	       "CPUs in flight batch  frees  on     words  foreign   shared  memory misses  left  alone\n");
	for (c = 0; c < sizeof(nr_cpus) / sizeof(*nr_cpus); c++) {
		stub_nr_cpus = nr_cpus[c];
		for (q = 0; q < sizeof(in_flight) / sizeof(*in_flight); q++) {
			for (how = 0; how < (all ? 8 : 4); how++) {
				unsigned int batch = how & 2 ? min(in_flight[q], 16U) : 1;

				missed += run(in_flight[q], batch, how & 1, how & 4);
				rows++;
			}
		}
	}
	printf("at most %.1f words (next: twice), %.2f foreign, %.2f shared, memory 2 and one chunk, %u left (next: twice) and alone: %u of %u rows are not\n",
	       MAX_WORDS, MAX_FOREIGN, MAX_SHARED, MAX_LEFT, missed, rows);
	return !!missed;
}
