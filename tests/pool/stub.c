// SPDX-License-Identifier: GPL-2.0-only
/*
 * What stands in for the kernel: memory, an IOMMU that keeps books, and RCU.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/iommu.h>
#include <linux/rcupdate.h>

#include "stub.h"

unsigned int stub_nr_cpus = 1;
_Thread_local unsigned int stub_cpu;

void stub_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

/* Memory */

/* Physical addresses differ from pointers, so that none is taken for one. */
#define PHYS_OFFSET	(1ULL << 56)

long stub_allocated;
unsigned int stub_fault;

static bool fault(void)
{
	return stub_fault && !--stub_fault;
}

void *stub_alloc(size_t size, size_t align, int fill)
{
	void *p;

	if (fault())
		return NULL;
	if (posix_memalign(&p, align, size))
		stub_fail("out of memory");
	memset(p, fill, size);
	__atomic_fetch_add(&stub_allocated, 1, __ATOMIC_RELAXED);
	return p;
}

void stub_free(void *p)
{
	if (p)
		__atomic_fetch_sub(&stub_allocated, 1, __ATOMIC_RELAXED);
	free(p);
}

uint64_t stub_phys(const void *p)
{
	return (uintptr_t)p + PHYS_OFFSET;
}

/* The IOMMU. The owner of the pool serialises these. */

#define MAX_MAPPINGS	64

static struct mapping {
	dma_addr_t iova;
	phys_addr_t phys;
	size_t size;
} mappings[MAX_MAPPINGS];

unsigned int stub_mapped;

int iommu_map(struct iommu_domain *domain, dma_addr_t iova, phys_addr_t phys,
	      size_t size, int prot, gfp_t gfp)
{
	unsigned int i;

	(void)domain;
	(void)gfp;
	stub_check(!(iova & (size - 1)) && !(phys & (size - 1)));
	stub_check(prot & (IOMMU_READ | IOMMU_WRITE));
	if (fault())
		return -ENOMEM;

	for (i = 0; i < stub_mapped; i++)
		stub_check(iova + size <= mappings[i].iova ||
			   mappings[i].iova + mappings[i].size <= iova);
	stub_check(stub_mapped < MAX_MAPPINGS);
	mappings[stub_mapped++] = (struct mapping) { iova, phys, size };
	return 0;
}

size_t iommu_unmap(struct iommu_domain *domain, dma_addr_t iova, size_t size)
{
	unsigned int i;

	(void)domain;
	for (i = 0; i < stub_mapped; i++) {
		if (mappings[i].iova != iova)
			continue;
		stub_check(mappings[i].size == size);
		mappings[i] = mappings[--stub_mapped];
		return size;
	}
	stub_fail("unmapping what is not mapped: %#llx",
		  (unsigned long long)iova);
}

void stub_free_pages(void *p, size_t size)
{
	phys_addr_t phys = stub_phys(p);
	unsigned int i;

	for (i = 0; i < stub_mapped; i++)
		stub_check(phys + size <= mappings[i].phys ||
			   mappings[i].phys + mappings[i].size <= phys);
	stub_free(p);
}

/*
 * RCU. Each CPU counts how often it disabled preemption and enabled it again:
 * where that is odd it is in between. A callback may run when each CPU that was
 * in between when it was queued has counted on.
 */

static struct cpu {
	unsigned int depth;
	unsigned long count;
} __attribute__((aligned(64))) cpus[STUB_MAX_CPUS];

#ifdef STUB_FAST
_Thread_local unsigned int stub_preempt_count;
#else
void stub_preempt_disable(void)
{
	struct cpu *cpu = &cpus[stub_cpu];

	if (cpu->depth++)
		return;
	__atomic_store_n(&cpu->count, cpu->count + 1, __ATOMIC_RELAXED);
	/* Pairs with the one in call_rcu(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void stub_preempt_enable(void)
{
	struct cpu *cpu = &cpus[stub_cpu];

	stub_check(cpu->depth);
	if (!--cpu->depth)
		__atomic_store_n(&cpu->count, cpu->count + 1,
				 __ATOMIC_RELEASE);
}

bool stub_preempt_disabled(void)
{
	return cpus[stub_cpu].depth;
}
#endif

struct callback {
	struct callback *next;
	struct rcu_head *rcu;
	unsigned long counts[STUB_MAX_CPUS];
};

static pthread_mutex_t callbacks_lock = PTHREAD_MUTEX_INITIALIZER;
static struct callback *callbacks;

static unsigned long count_of(unsigned int cpu)
{
	return __atomic_load_n(&cpus[cpu].count, __ATOMIC_ACQUIRE);
}

void call_rcu(struct rcu_head *rcu, void (*func)(struct rcu_head *rcu))
{
	struct callback *cb = malloc(sizeof(*cb));
	unsigned int i;

	stub_check(cb);
	rcu->func = func;
	cb->rcu = rcu;
	/* What was unlinked before is not found by who disables from now on. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (i = 0; i < stub_nr_cpus; i++)
		cb->counts[i] = count_of(i);
	pthread_mutex_lock(&callbacks_lock);
	cb->next = callbacks;
	callbacks = cb;
	pthread_mutex_unlock(&callbacks_lock);
}

static bool may_run(const struct callback *cb)
{
	unsigned int i;

	for (i = 0; i < stub_nr_cpus; i++)
		if ((cb->counts[i] & 1) && count_of(i) == cb->counts[i])
			return false;
	return true;
}

/* Run the callbacks that may run. */
void stub_rcu_poll(void)
{
	struct callback *cb, **link, *run = NULL;

	pthread_mutex_lock(&callbacks_lock);
	for (link = &callbacks; (cb = *link);) {
		if (!may_run(cb)) {
			link = &cb->next;
			continue;
		}
		*link = cb->next;
		cb->next = run;
		run = cb;
	}
	pthread_mutex_unlock(&callbacks_lock);

	while ((cb = run)) {
		run = cb->next;
		cb->rcu->func(cb->rcu);
		free(cb);
	}
}

void rcu_barrier(void)
{
	bool left;

	stub_check(!stub_preempt_disabled());
	do {
		stub_rcu_poll();
		sched_yield();
		pthread_mutex_lock(&callbacks_lock);
		left = callbacks;
		pthread_mutex_unlock(&callbacks_lock);
	} while (left);
}
