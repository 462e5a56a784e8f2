/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_LOG2_H
#define __POOL_LINUX_LOG2_H

static inline unsigned int ilog2(unsigned long n)
{
	return sizeof(n) * 8 - 1 - __builtin_clzl(n);
}

static inline unsigned int order_base_2(unsigned long n)
{
	return n > 1 ? ilog2(n - 1) + 1 : 0;
}

#endif
