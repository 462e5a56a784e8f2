// SPDX-License-Identifier: GPL-2.0-only
/*
 * A paging domain without an IOMMU, for KUnit tests.
 */

#include <kunit/test.h>
#include <linux/io.h>
#include <linux/sizes.h>

#include "../io-buffer-manager.h"
#include "mock-domain.h"

/* The protection bits fit below the page number. */
#define PROT_BITS	8

static struct mock_domain *to_fake(struct iommu_domain *domain)
{
	return container_of(domain, struct mock_domain, domain);
}

static int fake_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t paddr, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	struct mock_domain *fake = to_fake(domain);
	size_t i, size = pgsize * pgcount;

	if (fake->fail_map || (fake->map_max && size > fake->map_max))
		return -ENOMEM;

	for (i = 0; i < size; i += SZ_4K) {
		unsigned long entry = ((paddr + i) >> 12 << PROT_BITS) | prot;

		if (xa_load(&fake->pages, (iova + i) >> 12) ||
		    xa_err(xa_store(&fake->pages, (iova + i) >> 12,
				    xa_mk_value(entry), GFP_KERNEL)))
			return -EEXIST;
	}
	fake->mapped += size;
	fake->maps++;
	fake->gfp = gfp;
	*mapped = size;
	return 0;
}

static size_t fake_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			       size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	struct mock_domain *fake = to_fake(domain);
	size_t i, size = pgsize * pgcount;

	if (fake->short_unmap) {
		size = fake->short_unmap++ == 1 ? size / 2 : 0;
		if (!size)
			return 0;
	}
	for (i = 0; i < size; i += SZ_4K)
		if (!xa_erase(&fake->pages, (iova + i) >> 12))
			break;
	fake->mapped -= i;
	fake->unmaps++;
	iommu_iotlb_gather_add_range(gather, iova, i);
	return i;
}

static phys_addr_t fake_iova_to_phys(struct iommu_domain *domain,
				     dma_addr_t iova)
{
	void *entry = xa_load(&to_fake(domain)->pages, iova >> 12);

	if (!entry)
		return 0;
	return ((phys_addr_t)(xa_to_value(entry) >> PROT_BITS) << 12) +
	       (iova & (SZ_4K - 1));
}

static void fake_iotlb_sync(struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	to_fake(domain)->syncs++;
}

static const struct iommu_domain_ops fake_ops = {
	.map_pages	= fake_map_pages,
	.unmap_pages	= fake_unmap_pages,
	.iova_to_phys	= fake_iova_to_phys,
	.iotlb_sync	= fake_iotlb_sync,
};

struct mock_domain *mock_domain_create(struct kunit *test)
{
	struct mock_domain *fake;

	fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fake);
	xa_init(&fake->pages);
	fake->domain.type = IOMMU_DOMAIN_DMA;
	fake->domain.ops = &fake_ops;
	fake->domain.pgsize_bitmap = SZ_4K | SZ_2M;
	/* As of all domains: iommu_map() takes the address as an unsigned long. */
	fake->domain.geometry.aperture_end = min_t(u64, DMA_BIT_MASK(48),
						   ULONG_MAX);
	fake->domain.geometry.force_aperture = true;
	init_iova_domain(&fake->iovad, SZ_4K, 1);
	return fake;
}

void mock_domain_destroy(struct mock_domain *fake)
{
	put_iova_domain(&fake->iovad);
	xa_destroy(&fake->pages);
}

/* IOMMU_READ and IOMMU_WRITE as mapped, 0 where nothing is. */
int mock_domain_prot(struct mock_domain *fake, dma_addr_t iova)
{
	void *entry = xa_load(&fake->pages, iova >> 12);

	return entry ? xa_to_value(entry) & (IOMMU_READ | IOMMU_WRITE) : 0;
}

/* What a device would reach, NULL where nothing is mapped. */
void *mock_domain_vaddr(struct mock_domain *fake, dma_addr_t iova)
{
	phys_addr_t phys = fake_iova_to_phys(&fake->domain, iova);

	return phys ? phys_to_virt(phys) : NULL;
}

/* A manager of the domain, with reclaim. Context: may sleep. */
void mock_manager_start(struct io_buffer_manager *mgr, struct mock_domain *mock,
			size_t memory_max)
{
	io_buffer_manager_init(mgr, &mock->domain, &mock->iovad, memory_max);
	io_buffer_reclaim_init(mgr);
}

void mock_manager_stop(struct io_buffer_manager *mgr)
{
	io_buffer_reclaim_stop(mgr);
	io_buffer_manager_destroy(mgr);
}
