/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_CACHE_H
#define __POOL_LINUX_CACHE_H

#define SMP_CACHE_BYTES	64
#define L1_CACHE_BYTES	SMP_CACHE_BYTES
#define ____cacheline_aligned \
	__attribute__((__aligned__(SMP_CACHE_BYTES)))

#endif
