/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_MM_H
#define __POOL_LINUX_MM_H

#include <linux/gfp_types.h>
#include <linux/log2.h>
#include <linux/types.h>

#include "../../stub.h"

#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)

#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define min3(a, b, c)		min(min(a, b), c)
#define ALIGN(n, a)		(((n) + (a) - 1) / (a) * (a))
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))

static inline unsigned int get_order(size_t size)
{
	return size > PAGE_SIZE ? order_base_2(size) - PAGE_SHIFT : 0;
}

/* A struct page lies where its memory is. */
struct page;

static inline struct page *alloc_pages_node(int nid, gfp_t gfp,
					    unsigned int order)
{
	size_t size = PAGE_SIZE << order;

	(void)nid;
	return stub_alloc(size, size, gfp & __GFP_ZERO ? 0 : 0xa5);
}

static inline void *page_address(struct page *page)
{
	return page;
}

static inline phys_addr_t page_to_phys(struct page *page)
{
	return stub_phys(page);
}

static inline void __free_pages(struct page *page, unsigned int order)
{
	stub_free_pages(page, PAGE_SIZE << order);
}

static inline void free_pages(unsigned long addr, unsigned int order)
{
	stub_free_pages((void *)addr, PAGE_SIZE << order);
}

#endif
