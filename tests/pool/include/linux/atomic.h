/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_ATOMIC_H
#define __POOL_LINUX_ATOMIC_H

#include <linux/compiler.h>
#include <linux/types.h>

#define atomic_read(v)		READ_ONCE((v)->counter)
#define atomic_set(v, i)	WRITE_ONCE((v)->counter, i)

static inline int atomic_fetch_inc(atomic_t *v)
{
	stub_step();
	stub_watch(&v->counter, true);
	return __atomic_fetch_add(&v->counter, 1, __ATOMIC_SEQ_CST);
}

#endif
