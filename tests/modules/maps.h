/* SPDX-License-Identifier: GPL-2.0 */
/* What the drivers do that leave their device alone and map for it */
#ifndef TESTS_MODULES_MAPS_H
#define TESTS_MODULES_MAPS_H

#include <linux/dma-mapping.h>
#include <linux/sizes.h>
#include <linux/slab.h>

static inline int map_once(struct device *dev, void *buffer,
			   enum dma_data_direction dir)
{
	dma_addr_t addr = dma_map_single(dev, buffer, SZ_4K, dir);

	if (dma_mapping_error(dev, addr))
		return -ENOMEM;
	dma_unmap_single(dev, addr, SZ_4K, dir);
	return 0;
}

/* Map 4 KiB and unmap them, @rounds times each way. */
static inline int map_both_ways(struct device *dev, unsigned int rounds)
{
	void *buffer = kmalloc(SZ_4K, GFP_KERNEL);
	int ret = buffer ? 0 : -ENOMEM;
	unsigned int n;

	for (n = 0; !ret && n < rounds; n++)
		ret = map_once(dev, buffer, DMA_TO_DEVICE) ?:
		      map_once(dev, buffer, DMA_FROM_DEVICE);
	kfree(buffer);
	dev_info(dev, "mapped %u times each way, status %d\n", n, ret);
	return ret;
}

#endif
