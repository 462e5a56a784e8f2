/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A paging domain without an IOMMU, for KUnit tests: it records what is mapped
 * and can be told to refuse.
 */
#ifndef __MOCK_DOMAIN_H
#define __MOCK_DOMAIN_H

#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/xarray.h>

struct io_buffer_manager;
struct kunit;

/**
 * struct mock_domain - a paging domain without an IOMMU
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
struct mock_domain {
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

struct mock_domain *mock_domain_create(struct kunit *test);
void mock_domain_destroy(struct mock_domain *fake);
int mock_domain_prot(struct mock_domain *fake, dma_addr_t iova);
void mock_manager_start(struct io_buffer_manager *mgr, struct mock_domain *mock,
			size_t memory_max);
void mock_manager_stop(struct io_buffer_manager *mgr);
void *mock_domain_vaddr(struct mock_domain *fake, dma_addr_t iova);

#endif /* __MOCK_DOMAIN_H */
