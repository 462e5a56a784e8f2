/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_TYPES_H
#define __POOL_LINUX_TYPES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITS_PER_LONG	((unsigned int)(sizeof(long) * CHAR_BIT))

#define __percpu
#define __rcu

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef u64 phys_addr_t;
typedef u64 dma_addr_t;
typedef unsigned int gfp_t;

typedef struct {
	int counter;
} atomic_t;

struct rcu_head {
	void (*func)(struct rcu_head *rcu);
};

#endif
