// SPDX-License-Identifier: GPL-2.0-only
/*
 * A libFuzzer target. The bytes say what is done to a pool, one after the
 * other; after each the pool is compared with a model. An operation may be
 * interrupted, between any two of its accesses to what CPUs share, by others on
 * other CPUs: as on real ones, but the same bytes always do the same.
 *
 * With TRACE in the environment, each operation is printed.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>

#include "io-buffer-pool.h"
#include "stub.h"

#define MAX_CHUNKS	4
#define MAX_SLOTS	512	/* in a chunk */
#define MAX_CHUNK	(1U << 16)
#define MAX_DEPTH	3	/* CPUs at work at once */

struct model_chunk {
	struct io_buffer_chunk *chunk;
	unsigned int nr_slots;
	unsigned int nr_held;
	bool referenced;
	bool held[MAX_SLOTS];
};

struct held {
	struct io_buffer buf;
	struct model_chunk *chunk;
	u32 mark;
};

static struct model {
	const u8 *data;
	size_t left;

	struct io_buffer_pool *pool;
	unsigned int slot_shift;
	unsigned int granule_shift;
	unsigned int max_chunks;

	struct model_chunk chunks[MAX_CHUNKS];
	struct held held[MAX_CHUNKS * MAX_SLOTS];
	unsigned int nr_held;
	u32 marks;

	/* The operation at @depth is interrupted after @steps; 0: it is not. */
	unsigned int steps;
	unsigned int depth;
	unsigned int cpus[MAX_DEPTH];
	bool owner_busy;
	/* How often that happened, and if it did since io_buffer_pool_age() */
	unsigned int interrupts;
	bool raced;
	/* Some slot was got or put since then. */
	bool busy;
} m;

static const u8 zeroes[MAX_CHUNK];
static bool tracing;

#define trace(format, ...) do {						\
	if (tracing)							\
		fprintf(stderr, "%*scpu %u: " format "\n",		\
			m.depth * 4, "", stub_cpu, ##__VA_ARGS__);	\
} while (0)

static u8 next_byte(void)
{
	if (!m.left)
		return 0;
	m.left--;
	return *m.data++;
}

static unsigned int free_slots(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < MAX_CHUNKS; i++)
		n += m.chunks[i].nr_slots - m.chunks[i].nr_held;
	return n;
}

static struct model_chunk *find_chunk(const struct io_buffer_chunk *chunk)
{
	unsigned int i;

	for (i = 0; i < MAX_CHUNKS; i++)
		if (m.chunks[i].chunk == chunk)
			return &m.chunks[i];
	stub_fail("a slot of a chunk that is not there");
}

/* What the caller of io_buffer_pool_get() would write */
static void mark(struct held *h)
{
	size_t size = (size_t)1 << m.slot_shift;
	struct io_buffer_segment *segments = io_buffer_segments(&h->buf);
	u8 *p = io_buffer_vaddr(&h->buf);
	unsigned int i;

	memcpy(p, &h->mark, sizeof(h->mark));
	memcpy(p + size - sizeof(h->mark), &h->mark, sizeof(h->mark));
	*io_buffer_slot(&h->buf) = (struct io_buffer_slot) {
		.orig = h->mark,
		.start = h->mark,
		.len = size,
	};
	for (i = 0; i < 1U << (m.slot_shift - m.granule_shift); i++)
		segments[i].phys = h->mark;
}

static void check_mark(const struct held *h)
{
	size_t size = (size_t)1 << m.slot_shift;
	const struct io_buffer_slot *slot = io_buffer_slot(&h->buf);
	const struct io_buffer_segment *segments = io_buffer_segments(&h->buf);
	const u8 *p = io_buffer_vaddr(&h->buf);
	unsigned int i;

	stub_check(!memcmp(p, &h->mark, sizeof(h->mark)));
	stub_check(!memcmp(p + size - sizeof(h->mark), &h->mark,
			   sizeof(h->mark)));
	stub_check(slot->orig == h->mark && slot->start == (u16)h->mark &&
		   slot->len == size);
	stub_check(segments);
	for (i = 0; i < 1U << (m.slot_shift - m.granule_shift); i++)
		stub_check(segments[i].phys == h->mark);
}

static bool do_get(void)
{
	unsigned int interrupts = m.interrupts;
	u64 mask = (1ULL << m.slot_shift) - 1;
	struct model_chunk *c;
	struct io_buffer buf;
	struct held *h;
	bool ret;

	trace("get");
	m.busy = true;
	preempt_disable();
	ret = io_buffer_pool_get(m.pool, &buf);
	preempt_enable();
	if (!ret) {
		trace("got none");
		/* While others are at work, one may be missed. */
		if (!m.depth && m.interrupts == interrupts)
			stub_check(!free_slots());
		return false;
	}

	trace("got slot %u of chunk %u", buf.nr, buf.chunk->index);
	c = find_chunk(buf.chunk);
	stub_check(buf.nr < c->nr_slots);
	stub_check(!c->held[buf.nr]);
	stub_check(!(io_buffer_iova(&buf) & mask));
	stub_check(!(io_buffer_phys(&buf) & mask));
	stub_check(io_buffer_phys(&buf) == stub_phys(io_buffer_vaddr(&buf)));

	c->held[buf.nr] = true;
	c->nr_held++;
	c->referenced = true;
	h = &m.held[m.nr_held++];
	*h = (struct held) { buf, c, ++m.marks };
	mark(h);
	return true;
}

static void do_put(unsigned int i)
{
	struct held h;

	if (!m.nr_held)
		return;
	i %= m.nr_held;
	h = m.held[i];
	m.held[i] = m.held[--m.nr_held];
	trace("put slot %u of chunk %u", h.buf.nr, h.buf.chunk->index);
	m.busy = true;
	check_mark(&h);
	/* It can be got at once. */
	h.chunk->held[h.buf.nr] = false;
	h.chunk->nr_held--;
	io_buffer_pool_put(&h.buf);
}

/* Many at once, for few bytes */
static void do_many(unsigned int n)
{
	unsigned int i;

	for (i = 0; i <= (n >> 1); i++) {
		if (!(n & 1))
			do_put(n);
		else if (!do_get())
			break;
	}
}

static void do_add(unsigned int arg)
{
	size_t size = max(PAGE_SIZE, 1UL << m.slot_shift) << (arg & 3);
	unsigned int i, fault = arg >> 5;
	long allocated = stub_allocated;
	struct io_buffer_chunk *chunk;
	struct held *h;

	for (i = 0; i < m.max_chunks; i++)
		if (!m.chunks[i].chunk)
			break;
	if (i == m.max_chunks)
		return;

	trace("add %zu bytes, fault %u", size, fault);
	stub_fault = fault;
	chunk = io_buffer_chunk_create(m.pool, (i + 1ULL) << 24, size,
				       GFP_KERNEL);
	stub_check(!chunk == (fault && !stub_fault));
	stub_fault = 0;
	if (!chunk) {
		stub_check(stub_allocated == allocated);
		return;
	}
	stub_check(chunk->size == size && chunk->iova == (i + 1ULL) << 24);
	stub_check(!memcmp(chunk->vaddr, zeroes, size));

	memset(&m.chunks[i], 0, sizeof(m.chunks[i]));
	m.chunks[i].chunk = chunk;
	m.chunks[i].nr_slots = size >> m.slot_shift;
	m.chunks[i].referenced = true;
	/* For a mandatory bounce */
	if (arg & 4) {
		h = &m.held[m.nr_held++];
		*h = (struct held) { .chunk = &m.chunks[i], .mark = ++m.marks };
		io_buffer_chunk_take_first(chunk, &h->buf);
		stub_check(h->buf.chunk == chunk && h->buf.nr == 0);
		m.chunks[i].held[0] = true;
		m.chunks[i].nr_held++;
		mark(h);
	}
	io_buffer_chunk_online(chunk);
	trace("added as chunk %u", chunk->index);
}

static void do_retire(unsigned int i)
{
	struct model_chunk *c = &m.chunks[i % m.max_chunks];
	unsigned int interrupts = m.interrupts;

	if (!c->chunk)
		return;
	trace("retire chunk %u", c->chunk->index);
	if (!io_buffer_chunk_offline(c->chunk)) {
		trace("it is in use");
		if (!m.depth && m.interrupts == interrupts)
			stub_check(c->nr_held);
		return;
	}
	stub_check(!c->nr_held);
	trace("destroy it");
	io_buffer_chunk_destroy(c->chunk);
	memset(c, 0, sizeof(*c));
}

static void do_age(void)
{
	unsigned int i, interrupts = m.interrupts;

	trace("age");
	io_buffer_pool_age(m.pool);
	for (i = 0; i < MAX_CHUNKS; i++)
		m.chunks[i].referenced = false;
	m.busy = false;
	if (!m.depth && m.interrupts == interrupts)
		m.raced = false;
}

static void do_wipe(void)
{
	unsigned int interrupts = m.interrupts, nr;
	struct model_chunk *c;

	trace("wipe");
	m.busy = true;
	io_buffer_pool_wipe(m.pool);
	if (m.depth || m.interrupts != interrupts)
		return;
	for (c = m.chunks; c < m.chunks + MAX_CHUNKS; c++)
		for (nr = 0; c->chunk && nr < c->nr_slots; nr++)
			stub_check(c->held[nr] ||
				   !memcmp(c->chunk->vaddr + ((size_t)nr << m.slot_shift),
					   zeroes, (size_t)1 << m.slot_shift));
}

static void new_pool(void)
{
	m.pool = io_buffer_pool_create(NULL, IOMMU_WRITE, 0, m.slot_shift,
				       m.granule_shift, m.max_chunks,
				       GFP_KERNEL);
	stub_check(m.pool);
}

static void do_retire_all(void)
{
	unsigned int i;

	for (i = 0; i < m.max_chunks; i++)
		do_retire(i);
}

static void do_owner(unsigned int op, unsigned int arg)
{
	/* The owner does one thing at a time. */
	if (m.owner_busy)
		return;
	m.owner_busy = true;
	switch (op) {
	case 4:
		do_add(arg);
		break;
	case 5:
		do_retire(arg);
		break;
	case 6:
		if (arg & 1)
			do_age();
		else if (arg & 2)
			do_wipe();
		else
			do_retire_all();
		break;
	}
	m.owner_busy = false;
}

static void do_one(void)
{
	unsigned int op = next_byte(), arg;

	/* A bit of the byte says that the operation is interrupted. */
	m.steps = op & 8 ? next_byte() % 32 + 1 : 0;
	arg = next_byte();
	switch (op & 7) {
	case 0 ... 1:
		do_get();
		break;
	case 2:
		do_put(arg);
		break;
	case 3:
		do_many(arg);
		break;
	case 4 ... 6:
		do_owner(op & 7, arg);
		break;
	case 7:
		if (!m.depth)
			stub_cpu = arg % stub_nr_cpus;
		break;
	}
	m.steps = 0;
	stub_rcu_poll();
}

void stub_step(void)
{
	unsigned int i, cpu, n;

	if (!m.steps || --m.steps)
		return;
	if (m.depth + 1 == MAX_DEPTH || m.depth + 1 >= stub_nr_cpus)
		return;

	/* A CPU that is not in the middle of something */
	m.cpus[m.depth++] = stub_cpu;
	n = next_byte();
	cpu = n >> 2;
again:
	cpu %= stub_nr_cpus;
	for (i = 0; i < m.depth; i++) {
		if (m.cpus[i] == cpu) {
			cpu++;
			goto again;
		}
	}
	stub_cpu = cpu;
	m.interrupts++;
	m.raced = true;
	for (n &= 3; ; n--) {
		do_one();
		if (!n)
			break;
	}
	stub_cpu = m.cpus[--m.depth];
}

static void compare(void)
{
	unsigned int i, used, nr_chunks = 0;

	preempt_disable();
	used = io_buffer_pool_used(m.pool);
	preempt_enable();
	if (used != m.nr_held)
		stub_fail("%u slots in use, not %u", used, m.nr_held);
	for (i = 0; i < MAX_CHUNKS; i++) {
		struct model_chunk *c = &m.chunks[i];

		if (!c->chunk)
			continue;
		nr_chunks++;
		if (!m.raced) {
			stub_check(c->chunk->referenced || !c->referenced);
			stub_check(c->referenced || !c->chunk->referenced ||
				   m.busy);
		}
	}
	stub_check(m.pool->nr_chunks == nr_chunks);
	stub_check(stub_mapped == nr_chunks);
}

static void finish(void)
{
	unsigned int i;

	/* What is free in the model is there. */
	while (do_get())
		;
	compare();
	while (m.nr_held)
		do_put(m.nr_held - 1);
	compare();
	/* One way to end, or the other */
	for (i = 0; i < MAX_CHUNKS / 2; i++)
		do_owner(5, i);
	io_buffer_pool_destroy(m.pool);
	rcu_barrier();
	stub_check(!stub_mapped);
	stub_check(!stub_allocated);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u8 cpus[] = { 2, 1, 3, 4, 5, 8, 16, STUB_MAX_CPUS };
	static const u8 slot_shifts[] = { 6, 8, 9, 10, 11, 12, 13, 13 };

	tracing = getenv("TRACE");
	memset(&m, 0, sizeof(m));
	m.data = data;
	m.left = size;
	stub_cpu = 0;
	stub_nr_cpus = cpus[next_byte() % sizeof(cpus)];
	m.slot_shift = slot_shifts[next_byte() % sizeof(slot_shifts)];
	m.granule_shift = min(m.slot_shift - next_byte() % 3, 12);
	m.max_chunks = next_byte() % MAX_CHUNKS + 1;
	trace("%u CPUs, slots of %u bytes, granules of %u, %u chunks",
	      stub_nr_cpus, 1 << m.slot_shift, 1 << m.granule_shift,
	      m.max_chunks);

	new_pool();
	while (m.left) {
		do_one();
		compare();
	}
	finish();
	return 0;
}
