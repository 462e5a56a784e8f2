/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_BITOPS_H
#define __POOL_LINUX_BITOPS_H

#include <linux/compiler.h>
#include <linux/types.h>

#define BIT(nr)		(1UL << (nr))
#define GENMASK(h, l)	((~0UL >> (BITS_PER_LONG - 1 - (h))) & (~0UL << (l)))

static inline unsigned int ffz(unsigned long word)
{
	return __builtin_ctzl(~word);
}

static inline unsigned int hweight_long(unsigned long word)
{
	return __builtin_popcountl(word);
}

static inline bool test_bit(unsigned int nr, const unsigned long *addr)
{
	return READ_ONCE(addr[nr / BITS_PER_LONG]) & BIT(nr % BITS_PER_LONG);
}

static inline void set_bit(unsigned int nr, unsigned long *addr)
{
	stub_step();
	stub_watch(&addr[nr / BITS_PER_LONG], true);
	__atomic_fetch_or(&addr[nr / BITS_PER_LONG], BIT(nr % BITS_PER_LONG),
			  __ATOMIC_RELAXED);
}

static inline void clear_bit(unsigned int nr, unsigned long *addr)
{
	stub_step();
	stub_watch(&addr[nr / BITS_PER_LONG], true);
	__atomic_fetch_and(&addr[nr / BITS_PER_LONG],
			   ~BIT(nr % BITS_PER_LONG), __ATOMIC_RELAXED);
}

static inline bool test_and_set_bit_lock(unsigned int nr, unsigned long *addr)
{
	unsigned long mask = BIT(nr % BITS_PER_LONG);

	stub_step();
	stub_watch(&addr[nr / BITS_PER_LONG], true);
	return __atomic_fetch_or(&addr[nr / BITS_PER_LONG], mask,
				 __ATOMIC_ACQUIRE) & mask;
}

static inline void clear_bit_unlock(unsigned int nr, unsigned long *addr)
{
	stub_step();
	stub_watch(&addr[nr / BITS_PER_LONG], true);
	__atomic_fetch_and(&addr[nr / BITS_PER_LONG],
			   ~BIT(nr % BITS_PER_LONG), __ATOMIC_RELEASE);
}

#endif
