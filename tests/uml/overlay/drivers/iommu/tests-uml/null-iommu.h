/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An IOMMU that does nothing but take a given time.
 */
#ifndef NULL_IOMMU_H
#define NULL_IOMMU_H

#include <linux/types.h>

struct device;
struct platform_device;

/**
 * null_iommu_init - register the IOMMU
 * @translate: keep a table, for null_iommu_read() and null_iommu_write(). It
 *	takes time of its own, so nothing is timed then.
 *
 * Return: 0 or an error.
 */
int null_iommu_init(bool translate);

/**
 * null_iommu_add_device - add a device behind it, with a domain of its own
 * @id: number of the device
 *
 * Return: a coherent device with a DMA mask of 64 bits and a promise to keep to
 * strict DMA ownership, or %NULL.
 */
struct platform_device *null_iommu_add_device(int id);

/* The time that each map, unmap and invalidation takes from now on, in ns */
void null_iommu_set_cost(unsigned int ns);

/* How many of these there were, on all CPUs */
u64 null_iommu_operations(void);

/*
 * What a device does: 0, or -EFAULT where nothing is mapped, or not with that
 * permission. In an identity domain it may do anything.
 */
int null_iommu_read(struct device *dev, dma_addr_t addr, void *buf, size_t len);
int null_iommu_write(struct device *dev, dma_addr_t addr, const void *buf,
		     size_t len);

#endif /* NULL_IOMMU_H */
