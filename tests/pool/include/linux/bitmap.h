/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_BITMAP_H
#define __POOL_LINUX_BITMAP_H

#include <string.h>

#include <linux/bitops.h>
#include <linux/slab.h>

#define bitmap_zalloc_node(nbits, gfp, nid)				\
	((unsigned long *)kcalloc_node(					\
		((nbits) + BITS_PER_LONG - 1) / BITS_PER_LONG,		\
		sizeof(long), gfp, nid))
#define bitmap_free(bitmap)	kfree(bitmap)

#endif
