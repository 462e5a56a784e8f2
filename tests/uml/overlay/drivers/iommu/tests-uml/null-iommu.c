// SPDX-License-Identifier: GPL-2.0
/*
 * An IOMMU that does nothing but take a given time, so that what is measured is
 * dma-iommu.c, the bounce buffers and real copies. If asked to, it also keeps a
 * table, by which a device can be made to move data.
 */
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/xarray.h>

#include "null-iommu.h"

#define DEVICE_NAME	"benchdma"
#define PROT_BITS	2

struct null_domain {
	struct iommu_domain domain;
	struct xarray table;	/* by page: page frame and permission */
};

static unsigned int cost_ns;
static bool keep_table;
static DEFINE_PER_CPU(u64, null_operations);
/* What an address translates to without a table: memory, as any mapping's */
static phys_addr_t any_phys;

static struct null_domain *to_null(struct iommu_domain *domain)
{
	return container_of(domain, struct null_domain, domain);
}

static void spend(void)
{
	u64 end;

	this_cpu_inc(null_operations);
	if (!cost_ns)
		return;
	end = ktime_get_mono_fast_ns() + cost_ns;
	while (ktime_get_mono_fast_ns() < end)
		cpu_relax();
}

/* Store an entry for each page, or clear them. Returns the number of bytes. */
static size_t set_range(struct null_domain *nd, unsigned long iova,
			phys_addr_t phys, size_t len, int prot)
{
	unsigned long flags;
	size_t done;

	xa_lock_irqsave(&nd->table, flags);
	for (done = 0; done < len; done += PAGE_SIZE) {
		unsigned long page = (iova + done) >> PAGE_SHIFT;
		void *entry = prot ? xa_mk_value(PHYS_PFN(phys + done) <<
						 PROT_BITS | prot) : NULL;
		void *old = __xa_store(&nd->table, page, entry, GFP_ATOMIC);

		/* Mapped twice, unmapped twice, or out of memory */
		if (WARN_ON_ONCE(xa_is_err(old) || !old != !!prot))
			break;
	}
	xa_unlock_irqrestore(&nd->table, flags);
	return done;
}

static int null_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t phys, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	spend();
	*mapped = pgsize * pgcount;
	if (keep_table)
		*mapped = set_range(to_null(domain), iova, phys, *mapped,
				    prot & (IOMMU_READ | IOMMU_WRITE));
	return *mapped == pgsize * pgcount ? 0 : -ENOMEM;
}

static size_t null_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			       size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	spend();
	if (keep_table)
		return set_range(to_null(domain), iova, 0, pgsize * pgcount, 0);
	return pgsize * pgcount;
}

static void null_iotlb_sync(struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	spend();
}

static void null_flush_all(struct iommu_domain *domain)
{
	spend();
}

/* Returns 0 where nothing is mapped with all of @prot. */
static phys_addr_t translate(struct iommu_domain *domain, dma_addr_t iova,
			     int prot)
{
	unsigned long value;
	void *entry;

	if (domain->type == IOMMU_DOMAIN_IDENTITY)
		return iova;
	entry = xa_load(&to_null(domain)->table, iova >> PAGE_SHIFT);
	value = entry ? xa_to_value(entry) : 0;
	if (!value || (value & prot) != prot)
		return 0;
	return PFN_PHYS(value >> PROT_BITS) + offset_in_page(iova);
}

static phys_addr_t null_iova_to_phys(struct iommu_domain *domain,
				     dma_addr_t iova)
{
	return keep_table ? translate(domain, iova, 0) : any_phys;
}

static int null_attach(struct iommu_domain *domain, struct device *dev,
		       struct iommu_domain *old)
{
	return 0;
}

static void null_domain_free(struct iommu_domain *domain)
{
	WARN_ON(!xa_empty(&to_null(domain)->table));
	kfree(to_null(domain));
}

static const struct iommu_domain_ops null_domain_ops = {
	.attach_dev = null_attach,
	.map_pages = null_map_pages,
	.unmap_pages = null_unmap_pages,
	.iotlb_sync = null_iotlb_sync,
	.flush_iotlb_all = null_flush_all,
	.iova_to_phys = null_iova_to_phys,
	.free = null_domain_free,
};

static struct iommu_domain *null_domain_alloc(struct device *dev)
{
	struct null_domain *nd = kzalloc_obj(*nd);

	if (!nd)
		return ERR_PTR(-ENOMEM);
	xa_init_flags(&nd->table, XA_FLAGS_LOCK_IRQ);
	nd->domain.pgsize_bitmap = SZ_4K | SZ_64K | SZ_2M;
	nd->domain.geometry.aperture_end = DMA_BIT_MASK(48);
	nd->domain.geometry.force_aperture = true;
	return &nd->domain;
}

static struct iommu_device null_iommu;

static struct iommu_device *null_probe_device(struct device *dev)
{
	if (!dev_is_platform(dev) || !strstarts(dev_name(dev), DEVICE_NAME "."))
		return ERR_PTR(-ENODEV);
	return &null_iommu;
}

static bool null_capable(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_CACHE_COHERENCY ||
	       cap == IOMMU_CAP_DEFERRED_FLUSH;
}

static struct iommu_domain null_identity = {
	.type = IOMMU_DOMAIN_IDENTITY,
	.ops = &(const struct iommu_domain_ops){ .attach_dev = null_attach },
};

static const struct iommu_ops null_ops = {
	.capable = null_capable,
	.domain_alloc_paging = null_domain_alloc,
	.probe_device = null_probe_device,
	.device_group = generic_device_group,
	.identity_domain = &null_identity,
	.default_domain_ops = &null_domain_ops,
};

int null_iommu_init(bool table)
{
	void *memory = (void *)get_zeroed_page(GFP_KERNEL);
	int ret;

	if (!memory)
		return -ENOMEM;
	any_phys = virt_to_phys(memory);
	keep_table = table;
	ret = iommu_device_sysfs_add(&null_iommu, NULL, NULL, "nulliommu");
	return ret ?: iommu_device_register(&null_iommu, &null_ops, NULL);
}

struct platform_device *null_iommu_add_device(int id)
{
	struct platform_device *pdev = platform_device_alloc(DEVICE_NAME, id);

	if (!pdev)
		return NULL;
	dev_assign_dma_coherent(&pdev->dev, true);
	dev_set_dma_strict_ownership(&pdev->dev);
	if (platform_device_add(pdev)) {
		platform_device_put(pdev);
		return NULL;
	}
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	return pdev;
}

void null_iommu_set_cost(unsigned int ns)
{
	cost_ns = ns;
}

u64 null_iommu_operations(void)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu(null_operations, cpu);
	return sum;
}

/* What lies behind @addr up to the end of its page, or %NULL */
static void *reach(struct device *dev, dma_addr_t addr, int prot)
{
	phys_addr_t phys = translate(iommu_get_domain_for_dev(dev), addr, prot);

	return phys && pfn_valid(PHYS_PFN(phys)) ? phys_to_virt(phys) : NULL;
}

static size_t rest_of_page(dma_addr_t addr, size_t len)
{
	return min(len, PAGE_SIZE - offset_in_page(addr));
}

int null_iommu_read(struct device *dev, dma_addr_t addr, void *buf, size_t len)
{
	size_t part;

	for (; len; len -= part, addr += part, buf += part) {
		void *mem = reach(dev, addr, IOMMU_READ);

		if (!mem)
			return -EFAULT;
		part = rest_of_page(addr, len);
		memcpy(buf, mem, part);
	}
	return 0;
}

int null_iommu_write(struct device *dev, dma_addr_t addr, const void *buf,
		     size_t len)
{
	size_t part;

	for (; len; len -= part, addr += part, buf += part) {
		void *mem = reach(dev, addr, IOMMU_WRITE);

		if (!mem)
			return -EFAULT;
		part = rest_of_page(addr, len);
		memcpy(mem, buf, part);
	}
	return 0;
}
