/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What stands in for the kernel when the pool is built as a program. The
 * headers in include/linux are made of this.
 */
#ifndef __POOL_STUB_H
#define __POOL_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STUB_MAX_CPUS	128

/* How many CPUs there are, and as which of them this thread runs */
extern unsigned int stub_nr_cpus;
extern _Thread_local unsigned int stub_cpu;

#ifdef STUB_FAST
/* For measuring: as little as in the kernel. Chunks must not go away meanwhile. */
extern _Thread_local unsigned int stub_preempt_count;
#define stub_step()		((void)0)
#define stub_preempt_disable() \
	({ stub_preempt_count++; __atomic_signal_fence(__ATOMIC_SEQ_CST); })
#define stub_preempt_enable() \
	({ __atomic_signal_fence(__ATOMIC_SEQ_CST); stub_preempt_count--; })
#define stub_preempt_disabled()	true
#else
/*
 * Called before each access that another CPU may see or have made. The program
 * says what it does: make room for other threads, or be one.
 */
void stub_step(void);

/* A CPU with preemption disabled holds up what was passed to call_rcu(). */
void stub_preempt_disable(void);
void stub_preempt_enable(void);
bool stub_preempt_disabled(void);
#endif

#ifdef STUB_WATCH
/* What is about to be read or written */
void stub_watch(const void *p, bool write);
#else
#define stub_watch(p, write)	((void)0)
#endif

/* Say what is wrong, and abort. */
void stub_fail(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));

#define stub_check(cond) ({						\
	if (!(cond))							\
		stub_fail("%s:%d: not so: %s", __FILE__, __LINE__, #cond);\
})

/*
 * Allocations that were not freed, mappings that were not unmapped, and which
 * allocation or mapping from now on is to fail: 1 is the next one, 0 is none.
 */
extern long stub_allocated;
extern unsigned int stub_mapped;
extern unsigned int stub_fault;

void *stub_alloc(size_t size, size_t align, int fill);
void stub_free(void *p);
void stub_free_pages(void *p, size_t size);
uint64_t stub_phys(const void *p);

void stub_rcu_poll(void);

#endif
