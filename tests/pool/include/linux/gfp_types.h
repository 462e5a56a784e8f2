/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_GFP_TYPES_H
#define __POOL_LINUX_GFP_TYPES_H

#include <linux/types.h>

#define __GFP_ZERO	((gfp_t)1)
#define GFP_NOIO	((gfp_t)2)
#define GFP_KERNEL	((gfp_t)4)

#endif
