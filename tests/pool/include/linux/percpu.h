/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_PERCPU_H
#define __POOL_LINUX_PERCPU_H

#include <linux/cache.h>
#include <linux/compiler.h>
#include <linux/slab.h>

#include "../../stub.h"

#define smp_processor_id()	stub_cpu

/* The variable of each CPU has cache lines of its own. */
#define STUB_PERCPU_BYTES	(2 * SMP_CACHE_BYTES)

#define alloc_percpu_gfp(type, gfp) ({					\
	_Static_assert(sizeof(type) <= STUB_PERCPU_BYTES, "size");	\
	(type *)kcalloc_node(stub_nr_cpus, STUB_PERCPU_BYTES, gfp,	\
			     NUMA_NO_NODE);				\
})
#define free_percpu(p)		kfree(p)
#define per_cpu_ptr(p, cpu) \
	((__typeof__(p))((char *)(p) + (size_t)(cpu) * STUB_PERCPU_BYTES))

#define this_cpu_ptr(p)		per_cpu_ptr(p, stub_cpu)

/* Atomic, because the variable of one CPU may be written by another. */
#define this_cpu_read(x)	READ_ONCE(*per_cpu_ptr(&(x), stub_cpu))
#define this_cpu_write(x, val)	WRITE_ONCE(*per_cpu_ptr(&(x), stub_cpu), val)

#endif
