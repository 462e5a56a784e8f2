/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_COMPILER_H
#define __POOL_LINUX_COMPILER_H

#include <stddef.h>

#include "../../stub.h"

#undef __always_inline
#define __always_inline	inline __attribute__((always_inline))
#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#define READ_ONCE(x) \
	({ stub_step(); stub_watch(&(x), false);			\
	   __atomic_load_n(&(x), __ATOMIC_RELAXED); })
#define WRITE_ONCE(x, val) \
	({ stub_step(); stub_watch(&(x), true);				\
	   __atomic_store_n(&(x), (val), __ATOMIC_RELAXED); })

#define smp_load_acquire(p) \
	({ stub_step(); __atomic_load_n(p, __ATOMIC_ACQUIRE); })
#define smp_store_release(p, val) \
	({ stub_step(); __atomic_store_n(p, val, __ATOMIC_RELEASE); })

/*
 * ThreadSanitizer does not see the order that a fence makes. That suits: no
 * plain access may rest on the fences of the pool, and were they operations on
 * some variable, they would hide that a slot was handed over without order.
 */
#define smp_mb() \
	({ stub_step(); __atomic_thread_fence(__ATOMIC_SEQ_CST); })
#define smp_mb__after_atomic()	smp_mb()

/* Full order where it succeeds, as in the kernel. */
#define cmpxchg(p, old, new) ({						\
	__auto_type __old = (old);					\
									\
	stub_step();							\
	stub_watch(p, true);						\
	__atomic_compare_exchange_n(p, &__old, new, false,		\
				    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);\
	__old;								\
})

#define WARN_ON_ONCE(cond) ({						\
	bool __cond = (cond);						\
									\
	if (__cond)							\
		stub_fail("WARN_ON_ONCE(%s) at %s:%d", #cond, __FILE__,	\
			  __LINE__);					\
	__cond;								\
})

#endif
