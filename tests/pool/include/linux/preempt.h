/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_PREEMPT_H
#define __POOL_LINUX_PREEMPT_H

#include "../../stub.h"

#define preempt_disable()	stub_preempt_disable()
#define preempt_enable()	stub_preempt_enable()

static inline bool stub_guard_enter(void)
{
	preempt_disable();
	return true;
}

static inline void stub_guard_leave(bool *entered)
{
	(void)entered;
	preempt_enable();
}

/* The only guard there is is that of preemption. */
#define guard(what)	stub_guard_##what
#define stub_guard_preempt()						\
	bool __guard __attribute__((cleanup(stub_guard_leave), unused)) = \
		stub_guard_enter()

#endif
