// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trace points of the bounce buffers. They are made here, not where they are
 * called, because the manager of the buffers may be built without the rest.
 */

#include <linux/dma-direction.h>
#include <linux/iommu.h>

#include "io-buffer-manager.h"

/*
 * A slot permits what its direction needs and no more, so this is the direction,
 * also where the caller is not told it: lists and states of the DMA IOVA API are
 * given back without.
 */
static __maybe_unused enum dma_data_direction
bounce_pool_dir(const struct io_buffer_pool *pool)
{
	if (!(pool->prot & IOMMU_WRITE))
		return DMA_TO_DEVICE;
	return pool->prot & IOMMU_READ ? DMA_BIDIRECTIONAL : DMA_FROM_DEVICE;
}

#define CREATE_TRACE_POINTS
#include <trace/events/iommu_bounce.h>
