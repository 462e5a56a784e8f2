/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_IOMMU_H
#define __POOL_LINUX_IOMMU_H

#include <linux/types.h>

#define IOMMU_READ	1
#define IOMMU_WRITE	2
#define IOMMU_CACHE	4

struct iommu_domain;

int iommu_map(struct iommu_domain *domain, dma_addr_t iova, phys_addr_t phys,
	      size_t size, int prot, gfp_t gfp);
size_t iommu_unmap(struct iommu_domain *domain, dma_addr_t iova, size_t size);

#endif
