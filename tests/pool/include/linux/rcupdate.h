/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_RCUPDATE_H
#define __POOL_LINUX_RCUPDATE_H

#include <linux/compiler.h>
#include <linux/types.h>

#include "../../stub.h"

/* Acquire is the next best to an order by dependency. */
#define rcu_dereference_sched(p) ({					\
	if (!stub_preempt_disabled())					\
		stub_fail("preemption is enabled at %s:%d", __FILE__,	\
			  __LINE__);					\
	smp_load_acquire(&(p));						\
})
#define rcu_dereference_raw(p)	smp_load_acquire(&(p))
#define rcu_access_pointer(p)			READ_ONCE(p)
#define rcu_assign_pointer(p, val)		smp_store_release(&(p), val)
#define RCU_INIT_POINTER(p, val)		WRITE_ONCE(p, val)

void call_rcu(struct rcu_head *rcu, void (*func)(struct rcu_head *rcu));
void rcu_barrier(void);

#endif
