// SPDX-License-Identifier: GPL-2.0
/*
 * An IOMMU, a memory bus and some DMA devices, all made of memory.
 *
 * The IOMMU is stricter than hardware. A translation can be used by a device
 * only after iotlb_sync_map, and goes on being usable after it was unmapped
 * until the range or the domain is invalidated, as with the worst TLB one could
 * have. Mapping twice, unmapping what is not mapped and reusing an address
 * before its invalidation are errors. An invalidation touches the page behind
 * the dying translation, so that KASAN sees one that was freed too early.
 *
 * The bus: a coherent device works on the memory the CPU sees. For the others
 * there is a second copy of each page, "what is in RAM behind the CPU's cache",
 * which only the cache maintenance calls of the DMA API carry bytes to and from.
 */
#include <linux/atomic.h>
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "mock-iommu.h"

#define DEVICE_NAME	"mockdma"
#define APERTURE_END	DMA_BIT_MASK(36)
#define LEAF_SHIFT	9
#define LEAF_ENTRIES	BIT(LEAF_SHIFT)

/* A table entry is a physical address with these in its low bits. */
#define ENTRY_READ	BIT_ULL(0)
#define ENTRY_WRITE	BIT_ULL(1)
#define ENTRY_VALID	BIT_ULL(2)	/* mapped */
#define ENTRY_NEW	BIT_ULL(3)	/* ... but not yet visible to devices */
#define ENTRY_STALE	BIT_ULL(4)	/* unmapped, still in the TLB */
#define ENTRY_FLAGS	(SZ_1K - 1ULL)

static unsigned int delay_ns;
module_param(delay_ns, uint, 0644);
MODULE_PARM_DESC(delay_ns, "what each operation of the IOMMU costs");

struct mock_leaf {
	struct llist_node node;
	u64 entry[LEAF_ENTRIES];
};

struct mock_domain {
	struct iommu_domain domain;
	const struct mock_profile *profile;
	struct mock_leaf **table;
	struct llist_head leaves;
	atomic_long_t pages;
};

static struct {
	struct iommu_device iommu;
	struct platform_device *pdev[MOCK_NR_PROFILES];
	atomic64_t map, unmap, sync, flush;
	atomic_long_t pages;
	atomic_t errors;
	atomic_t fail_count;
	unsigned int fail_every;
} mock;

static DEFINE_PER_CPU(unsigned int, mock_failed);
/* Who has started cache maintenance on this CPU and not waited for it yet. */
static DEFINE_PER_CPU(struct task_struct *, mock_unflushed);

const struct mock_profile mock_profiles[MOCK_NR_PROFILES] = {
	[MOCK_64BIT] = {
		.name = "64-bit", .mask = DMA_BIT_MASK(64),
	}, [MOCK_32BIT] = {
		.name = "32-bit with a reserved region",
		.mask = DMA_BIT_MASK(32),
		.hole_start = 0xfe000000, .hole_size = SZ_16M,
	}, [MOCK_28BIT] = {
		.name = "28-bit", .mask = DMA_BIT_MASK(28),
	}, [MOCK_LIMITS] = {
		.name = "segment limits", .mask = DMA_BIT_MASK(64),
		.boundary = SZ_32K - 1, .max_seg = SZ_16K,
	}, [MOCK_ALIGNED] = {
		.name = "minimum alignment", .mask = DMA_BIT_MASK(64),
		.min_align = SZ_4K - 1,
	}, [MOCK_SMALL_GRANULE] = {
		.name = "granule of 1 KiB", .mask = DMA_BIT_MASK(34),
		.granule_shift = 10,
	}, [MOCK_HIGH_APERTURE] = {
		.name = "aperture above 4 GiB", .mask = DMA_BIT_MASK(64),
		.aperture_start = SZ_4G,
	}, [MOCK_BUS_LIMIT] = {
		.name = "31-bit bus", .mask = DMA_BIT_MASK(64),
		.bus_limit = SZ_2G - 1,
	}, [MOCK_SHARED_WIDE] = {
		.name = "shared domain, 64-bit", .mask = DMA_BIT_MASK(64),
		.group = 1,
	}, [MOCK_SHARED_NARROW] = {
		.name = "shared domain, 28-bit", .mask = DMA_BIT_MASK(28),
		.group = 1,
	}, [MOCK_NONCOHERENT] = {
		.name = "non-coherent", .mask = DMA_BIT_MASK(64),
		.noncoherent = true,
		/* Else SWIOTLB does not keep the offset in the page. */
		.min_align = SZ_4K - 1,
	},
};

#define mock_error(fmt, ...) do {					\
	if (atomic_inc_return(&mock.errors) <= 10)			\
		pr_err("mock IOMMU: " fmt "\n", ##__VA_ARGS__);		\
} while (0)

static struct mock_domain *to_mock(struct iommu_domain *domain)
{
	return container_of(domain, struct mock_domain, domain);
}

static unsigned int granule_shift(const struct mock_profile *profile)
{
	return profile->granule_shift ?: PAGE_SHIFT;
}

static size_t granule(const struct mock_domain *md)
{
	return BIT(granule_shift(md->profile));
}

static void mock_spend_time(void)
{
	if (delay_ns)
		ndelay(delay_ns);
}

/* The table: leaves come on demand and stay until the domain goes. */

static u64 *mock_entry(struct mock_domain *md, u64 iova)
{
	u64 index = iova >> granule_shift(md->profile);
	struct mock_leaf *leaf;

	if (iova > APERTURE_END)
		return NULL;
	leaf = READ_ONCE(md->table[index >> LEAF_SHIFT]);
	return leaf ? &leaf->entry[index % LEAF_ENTRIES] : NULL;
}

static u64 *mock_entry_alloc(struct mock_domain *md, u64 iova, gfp_t gfp)
{
	u64 index = iova >> granule_shift(md->profile);
	u64 *entry = mock_entry(md, iova);
	struct mock_leaf *leaf;

	if (entry)
		return entry;
	leaf = kzalloc_obj(*leaf, gfp);
	if (!leaf)
		return NULL;
	if (cmpxchg(&md->table[index >> LEAF_SHIFT], NULL, leaf))
		kfree(leaf);
	else
		llist_add(&leaf->node, &md->leaves);
	return mock_entry(md, iova);
}

static bool mock_iova_allowed(struct mock_domain *md, u64 iova, size_t len)
{
	const struct mock_profile *p = md->profile;

	return iova >= max_t(u64, p->aperture_start, 1) &&
	       iova + len - 1 <= APERTURE_END &&
	       (iova + len <= p->hole_start ||
		iova >= p->hole_start + p->hole_size);
}

static void mock_count_pages(struct mock_domain *md, int nr)
{
	atomic_long_add(nr, &mock.pages);
	atomic_long_add(nr, &md->pages);
}

static bool mock_should_fail(void)
{
	unsigned int every = READ_ONCE(mock.fail_every);

	return every && !(atomic_inc_return(&mock.fail_count) % every);
}

static void mock_set(struct mock_domain *md, u64 *entry, u64 iova,
		     phys_addr_t phys, int prot)
{
	u64 old, new = phys | ENTRY_VALID | ENTRY_NEW;

	if (prot & IOMMU_READ)
		new |= ENTRY_READ;
	if (prot & IOMMU_WRITE)
		new |= ENTRY_WRITE;

	old = xchg(entry, new);
	if (old & ENTRY_VALID)
		mock_error("%#llx mapped twice", iova);
	if (old & ENTRY_STALE)
		mock_error("%#llx mapped before its invalidation", iova);
	mock_count_pages(md, 1);
}

static int mock_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t phys, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	struct mock_domain *md = to_mock(domain);
	size_t done, todo = pgsize * pgcount;
	int ret = 0;

	mock_spend_time();
	atomic64_inc(&mock.map);
	if (!mock_iova_allowed(md, iova, todo))
		mock_error("%#lx + %#zx is out of bounds", iova, todo);
	if (!(prot & (IOMMU_READ | IOMMU_WRITE)))
		mock_error("%#lx mapped without permissions", iova);
	if (mock_should_fail()) {
		todo -= pgsize;
		ret = -ENOMEM;
	}

	for (done = 0; done < todo; done += granule(md)) {
		u64 *entry = mock_entry_alloc(md, iova + done, gfp);

		if (!entry) {
			ret = -ENOMEM;
			break;
		}
		mock_set(md, entry, iova + done, phys + done, prot);
	}
	if (ret)
		this_cpu_inc(mock_failed);
	*mapped = done;
	return ret;
}

static size_t mock_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			       size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	struct mock_domain *md = to_mock(domain);
	size_t done, len = pgsize * pgcount;

	mock_spend_time();
	atomic64_inc(&mock.unmap);
	for (done = 0; done < len; done += granule(md)) {
		u64 *entry = mock_entry(md, iova + done);
		u64 old = entry ? READ_ONCE(*entry) : 0;

		if (!(old & ENTRY_VALID)) {
			mock_error("%#lx unmapped but not mapped", iova + done);
			break;
		}
		WRITE_ONCE(*entry, (old & ~(ENTRY_VALID | ENTRY_NEW)) |
				   ENTRY_STALE);
		mock_count_pages(md, -1);
	}
	if (done && !iommu_iotlb_gather_queued(gather))
		iommu_iotlb_gather_add_page(domain, gather, iova, done);
	return done;
}

static int mock_sync_map(struct iommu_domain *domain, unsigned long iova,
			 size_t size)
{
	struct mock_domain *md = to_mock(domain);
	size_t done;

	for (done = 0; done < size; done += granule(md)) {
		u64 *entry = mock_entry(md, iova + done);

		if (entry && READ_ONCE(*entry) & ENTRY_NEW)
			WRITE_ONCE(*entry, *entry & ~ENTRY_NEW);
	}
	return 0;
}

/* Objects of slab may start in a red zone, device memory is not ours to read. */
static void mock_touch(struct mock_domain *md, phys_addr_t phys)
{
	if (md->domain.type == IOMMU_DOMAIN_DMA && pfn_valid(PHYS_PFN(phys)) &&
	    !PageSlab(phys_to_page(phys)))
		(void)READ_ONCE(*(u8 *)phys_to_virt(phys));
}

static void mock_invalidate(struct mock_domain *md, u64 *entry)
{
	u64 old = READ_ONCE(*entry);

	if (!(old & ENTRY_STALE))
		return;
	mock_touch(md, old & ~ENTRY_FLAGS);
	/* Lost against an unmap or a remap of this entry: it stays theirs. */
	cmpxchg(entry, old, 0);
}

static void mock_iotlb_sync(struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	struct mock_domain *md = to_mock(domain);
	u64 iova;

	mock_spend_time();
	atomic64_inc(&mock.sync);
	for (iova = gather->start; iova < gather->end; iova += granule(md)) {
		u64 *entry = mock_entry(md, iova);

		if (entry)
			mock_invalidate(md, entry);
	}
}

static void mock_flush_all(struct iommu_domain *domain)
{
	struct mock_domain *md = to_mock(domain);
	struct mock_leaf *leaf;
	unsigned int i;

	mock_spend_time();
	atomic64_inc(&mock.flush);
	llist_for_each_entry(leaf, READ_ONCE(md->leaves.first), node)
		for (i = 0; i < LEAF_ENTRIES; i++)
			mock_invalidate(md, &leaf->entry[i]);
}

static phys_addr_t mock_iova_to_phys(struct iommu_domain *domain,
				     dma_addr_t iova)
{
	struct mock_domain *md = to_mock(domain);
	u64 *entry = mock_entry(md, iova);
	u64 old = entry ? READ_ONCE(*entry) : 0;

	if (!(old & ENTRY_VALID))
		return 0;
	return (old & ~ENTRY_FLAGS) + (iova & (granule(md) - 1));
}

static int mock_attach(struct iommu_domain *domain, struct device *dev,
		       struct iommu_domain *old)
{
	return 0;
}

static void mock_domain_free(struct iommu_domain *domain)
{
	struct mock_domain *md = to_mock(domain);
	struct mock_leaf *leaf, *next;
	unsigned int i, left = 0;

	llist_for_each_entry_safe(leaf, next, md->leaves.first, node) {
		for (i = 0; i < LEAF_ENTRIES; i++)
			left += !!(leaf->entry[i] & ENTRY_VALID);
		kfree(leaf);
	}
	if (left)
		mock_error("domain freed with %u pages mapped", left);
	vfree(md->table);
	kfree(md);
}

static const struct iommu_domain_ops mock_domain_ops = {
	.attach_dev = mock_attach,
	.map_pages = mock_map_pages,
	.unmap_pages = mock_unmap_pages,
	.iova_to_phys = mock_iova_to_phys,
	.iotlb_sync_map = mock_sync_map,
	.iotlb_sync = mock_iotlb_sync,
	.flush_iotlb_all = mock_flush_all,
	.free = mock_domain_free,
};

static const struct mock_profile *dev_profile(struct device *dev)
{
	return &mock_profiles[to_platform_device(dev)->id];
}

static struct iommu_domain *mock_domain_alloc(struct device *dev)
{
	const struct mock_profile *profile = dev_profile(dev);
	unsigned int shift = granule_shift(profile);
	struct mock_domain *md = kzalloc_obj(*md);

	if (!md)
		return ERR_PTR(-ENOMEM);
	md->table = vzalloc(array_size((APERTURE_END + 1) >>
				       (shift + LEAF_SHIFT),
				       sizeof(*md->table)));
	if (!md->table) {
		kfree(md);
		return ERR_PTR(-ENOMEM);
	}
	md->profile = profile;
	md->domain.pgsize_bitmap = BIT(shift) | SZ_4K | SZ_2M;
	md->domain.geometry.aperture_start = profile->aperture_start;
	md->domain.geometry.aperture_end = APERTURE_END;
	md->domain.geometry.force_aperture = true;
	return &md->domain;
}

static struct iommu_device *mock_probe_device(struct device *dev)
{
	if (!dev_is_platform(dev) || !strstarts(dev_name(dev), DEVICE_NAME "."))
		return ERR_PTR(-ENODEV);
	return &mock.iommu;
}

static bool mock_capable(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_CACHE_COHERENCY ||
	       cap == IOMMU_CAP_DEFERRED_FLUSH;
}

static struct iommu_group *mock_device_group(struct device *dev)
{
	const struct mock_profile *profile = dev_profile(dev);
	int i;

	for (i = 0; profile->group && i < MOCK_NR_PROFILES; i++) {
		if (mock_profiles[i].group != profile->group ||
		    !mock.pdev[i] || !mock.pdev[i]->dev.iommu_group)
			continue;
		return iommu_group_get(&mock.pdev[i]->dev);
	}
	return generic_device_group(dev);
}

static void mock_get_resv_regions(struct device *dev, struct list_head *head)
{
	const struct mock_profile *profile = dev_profile(dev);
	struct iommu_resv_region *region;

	if (!profile->hole_size)
		return;
	region = iommu_alloc_resv_region(profile->hole_start,
					 profile->hole_size, 0,
					 IOMMU_RESV_RESERVED, GFP_KERNEL);
	if (region)
		list_add_tail(&region->list, head);
}

static struct iommu_domain mock_identity = {
	.type = IOMMU_DOMAIN_IDENTITY,
	.ops = &(const struct iommu_domain_ops){ .attach_dev = mock_attach },
};

static const struct iommu_ops mock_ops = {
	.capable = mock_capable,
	.domain_alloc_paging = mock_domain_alloc,
	.probe_device = mock_probe_device,
	.device_group = mock_device_group,
	.get_resv_regions = mock_get_resv_regions,
	.identity_domain = &mock_identity,
	.default_domain_ops = &mock_domain_ops,
};

int mock_iommu_init(void)
{
	int ret = iommu_device_sysfs_add(&mock.iommu, NULL, NULL, "mockiommu");

	if (ret)
		return ret;
	return iommu_device_register(&mock.iommu, &mock_ops, NULL);
}

int mock_device_add(enum mock_profile_id id)
{
	const struct mock_profile *profile = &mock_profiles[id];
	struct platform_device *pdev = platform_device_alloc(DEVICE_NAME, id);
	struct device *dev;
	int ret;

	if (!pdev)
		return -ENOMEM;
	dev = &pdev->dev;
	dev->bus_dma_limit = profile->bus_limit;
	dev_assign_dma_coherent(dev, !profile->noncoherent);
#ifdef CONFIG_IOMMU_BOUNCE_BUFFERS	/* the tests also run without the series */
	dev_set_dma_strict_ownership(dev);
#endif
	ret = platform_device_add(pdev);
	if (ret) {
		platform_device_put(pdev);
		return ret;
	}
	mock.pdev[id] = pdev;

	/* From here on what a driver does. */
	if (profile->max_seg)
		dma_set_max_seg_size(dev, profile->max_seg);
	if (profile->boundary)
		dma_set_seg_boundary(dev, profile->boundary);
	dma_set_min_align_mask(dev, profile->min_align);
	return dma_set_mask_and_coherent(dev, profile->mask);
}

int mock_devices_add(void)
{
	int ret, i;

	for (i = 0; i < MOCK_NR_PROFILES; i++) {
		if (mock.pdev[i])
			continue;
		ret = mock_device_add(i);
		if (ret)
			return ret;
	}
	return 0;
}

void mock_device_del(enum mock_profile_id id)
{
	platform_device_unregister(mock.pdev[id]);
	mock.pdev[id] = NULL;
}

void mock_devices_del(void)
{
	int i;

	for (i = 0; i < MOCK_NR_PROFILES; i++)
		mock_device_del(i);
}

struct device *mock_device(enum mock_profile_id id)
{
	return &mock.pdev[id]->dev;
}

/* Memory behind the CPU's cache. */

static DEFINE_XARRAY(mock_ram);
static atomic_long_t mock_ram_pages;

static u8 *ram_alloc(unsigned long pfn)
{
	u8 *page = kmalloc(PAGE_SIZE, GFP_ATOMIC), *old;

	if (!page)
		return NULL;
	memset(page, MOCK_SECRET, PAGE_SIZE);
	old = xa_cmpxchg(&mock_ram, pfn, NULL, page, GFP_ATOMIC);
	if (old) {
		kfree(page);
		return xa_is_err(old) ? NULL : old;
	}
	atomic_long_inc(&mock_ram_pages);
	return page;
}

unsigned long mock_ram_bytes(void)
{
	return atomic_long_read(&mock_ram_pages) * PAGE_SIZE;
}

static u8 *ram(phys_addr_t phys)
{
	u8 *page = xa_load(&mock_ram, PHYS_PFN(phys));

	if (!page)
		page = ram_alloc(PHYS_PFN(phys));
	if (!page) {
		mock_error("no memory for the model of memory");
		return NULL;
	}
	return page + offset_in_page(phys);
}

static void ram_copy(phys_addr_t phys, size_t size, bool to_ram)
{
	while (size) {
		size_t len = min(size, PAGE_SIZE - offset_in_page(phys));
		u8 *p = ram(phys);

		if (!p)
			return;
		if (to_ram)
			memcpy(p, phys_to_virt(phys), len);
		else
			memcpy(phys_to_virt(phys), p, len);
		phys += len;
		size -= len;
	}
}

void arch_sync_dma_for_device(phys_addr_t phys, size_t size,
			      enum dma_data_direction dir)
{
	this_cpu_write(mock_unflushed, current);
	ram_copy(phys, size, true);
}

void arch_sync_dma_for_cpu(phys_addr_t phys, size_t size,
			   enum dma_data_direction dir)
{
	this_cpu_write(mock_unflushed, current);
	if (dir != DMA_TO_DEVICE)
		ram_copy(phys, size, false);
}

void arch_sync_dma_flush(void)
{
	this_cpu_write(mock_unflushed, NULL);
}

bool mock_unflushed_by_us(void)
{
	return this_cpu_read(mock_unflushed) == current;
}

/* The device. */

bool mock_dev_reaches(struct device *dev, dma_addr_t addr, int prot,
		      phys_addr_t *phys)
{
	struct mock_domain *md = to_mock(iommu_get_domain_for_dev(dev));
	u64 *entry = mock_entry(md, addr);
	u64 e = entry ? READ_ONCE(*entry) : 0;

	if (!(e & (ENTRY_VALID | ENTRY_STALE)) || (e & ENTRY_NEW))
		return false;
	if ((prot & IOMMU_READ) && !(e & ENTRY_READ))
		return false;
	if ((prot & IOMMU_WRITE) && !(e & ENTRY_WRITE))
		return false;
	*phys = (e & ~ENTRY_FLAGS) + (addr & (granule(md) - 1));
	return true;
}

/* One granule, both addresses known to stay inside it. */
static int mock_access(struct device *dev, dma_addr_t addr, void *buf,
		       size_t len, int prot)
{
	phys_addr_t phys;
	void *mem;

	if (!mock_dev_reaches(dev, addr, prot, &phys) ||
	    !pfn_valid(PHYS_PFN(phys)))
		return -EFAULT;
	mem = dev_is_dma_coherent(dev) ? phys_to_virt(phys) : ram(phys);
	if (!mem)
		return -ENOMEM;
	if (prot & IOMMU_READ)
		memcpy(buf, mem, len);
	else
		memcpy(mem, buf, len);
	return 0;
}

static int mock_access_range(struct device *dev, dma_addr_t addr, void *buf,
			     size_t len, int prot)
{
	size_t granule = BIT(granule_shift(dev_profile(dev)));

	while (len) {
		size_t part = min(len, granule - (addr & (granule - 1)));
		int ret = mock_access(dev, addr, buf, part, prot);

		if (ret)
			return ret;
		addr += part;
		buf += part;
		len -= part;
	}
	return 0;
}

int mock_dev_read(struct device *dev, dma_addr_t addr, void *buf, size_t len)
{
	return mock_access_range(dev, addr, buf, len, IOMMU_READ);
}

int mock_dev_write(struct device *dev, dma_addr_t addr, const void *buf,
		   size_t len)
{
	return mock_access_range(dev, addr, (void *)buf, len, IOMMU_WRITE);
}

/* What the tests ask about. */

void mock_get_counts(struct mock_counts *counts)
{
	counts->map = atomic64_read(&mock.map);
	counts->unmap = atomic64_read(&mock.unmap);
	counts->sync = atomic64_read(&mock.sync);
	counts->flush = atomic64_read(&mock.flush);
}

long mock_pages_mapped(void)
{
	return atomic_long_read(&mock.pages);
}

long mock_pages_mapped_for(struct device *dev)
{
	return atomic_long_read(&to_mock(iommu_get_domain_for_dev(dev))->pages);
}

unsigned int mock_errors(void)
{
	return atomic_read(&mock.errors);
}

void mock_fail_maps(unsigned int every)
{
	atomic_set(&mock.fail_count, 0);
	WRITE_ONCE(mock.fail_every, every);
}

unsigned int mock_failed_here(void)
{
	return this_cpu_read(mock_failed);
}
