/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_FIND_H
#define __POOL_LINUX_FIND_H

#include <linux/bitops.h>

static inline unsigned int find_next_zero_bit(const unsigned long *addr,
					      unsigned int size,
					      unsigned int start)
{
	while (start < size && test_bit(start, addr))
		start++;
	return start;
}

#define for_each_clear_bit(bit, addr, size)				\
	for ((bit) = find_next_zero_bit(addr, size, 0); (bit) < (size);	\
	     (bit) = find_next_zero_bit(addr, size, (bit) + 1))

#endif
