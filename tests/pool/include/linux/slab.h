/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_SLAB_H
#define __POOL_LINUX_SLAB_H

#include <errno.h>

#include <linux/cache.h>
#include <linux/gfp_types.h>

#include "../../stub.h"

#define NUMA_NO_NODE	(-1)

#define struct_size(p, member, n) \
	(sizeof(*(p)) + (n) * sizeof(*(p)->member))
#define struct_size_t(type, member, n)	struct_size((type *)NULL, member, n)

static inline void *kvzalloc_node(size_t size, gfp_t gfp, int nid)
{
	(void)gfp;
	(void)nid;
	return stub_alloc(size, SMP_CACHE_BYTES, 0);
}

#define kzalloc_node(size, gfp, nid)	kvzalloc_node(size, gfp, nid)
#define kvcalloc_node(n, size, gfp, nid) \
	kvzalloc_node((size_t)(n) * (size), gfp, nid)
#define kcalloc_node(n, size, gfp, nid)	kvcalloc_node(n, size, gfp, nid)
#define kvfree(p)			stub_free(p)
#define kfree(p)			stub_free(p)

#endif
