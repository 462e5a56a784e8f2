/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_PREFETCH_H
#define __POOL_LINUX_PREFETCH_H

#define prefetchw(p)	__builtin_prefetch(p, 1)

#endif
