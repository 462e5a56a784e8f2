/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_DMA_MAP_OPS_H
#define __POOL_LINUX_DMA_MAP_OPS_H

#include <linux/types.h>

enum dma_data_direction { DMA_TO_DEVICE = 1 };

static inline void arch_sync_dma_for_device(phys_addr_t phys, size_t size,
					    enum dma_data_direction dir)
{
	(void)phys;
	(void)size;
	(void)dir;
}

static inline void arch_sync_dma_flush(void)
{
}

#endif
