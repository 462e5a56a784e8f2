/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A paging domain without an IOMMU, for KUnit tests: it records what is mapped
 * and can be told to refuse.
 */
#ifndef __FAKE_DOMAIN_H
#define __FAKE_DOMAIN_H

#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/xarray.h>

struct kunit;

/**
 * struct fake_domain - a paging domain without an IOMMU
 * @domain: what the code under test sees
 * @iovad: IOVA space for it
 * @pages: by page number of the IOVA: physical page number and protection
 * @maps: successful calls of iommu_map()
 * @unmaps: calls of iommu_unmap()
 * @syncs: IOTLB syncs
 * @mapped: bytes mapped now
 * @fail_map: refuse to map
 * @map_max: refuse to map more than that at once; 0: any size will do
 * @gfp: how the last mapping was to allocate
 * @short_unmap: set to 1 to have half of the next range unmapped, and no more
 */
struct fake_domain {
	struct iommu_domain domain;
	struct iova_domain iovad;
	struct xarray pages;
	unsigned int maps;
	unsigned int unmaps;
	unsigned int syncs;
	size_t mapped;
	bool fail_map;
	size_t map_max;
	gfp_t gfp;
	unsigned int short_unmap;
};

struct fake_domain *fake_domain_create(struct kunit *test);
void fake_domain_destroy(struct fake_domain *fake);
int fake_domain_prot(struct fake_domain *fake, dma_addr_t iova);
void *fake_domain_vaddr(struct fake_domain *fake, dma_addr_t iova);

#endif /* __FAKE_DOMAIN_H */
