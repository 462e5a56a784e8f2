// SPDX-License-Identifier: GPL-2.0
/*
 * The benchmark of kernel/dma/map_benchmark.c at native speed: in user-mode Linux, on
 * an IOMMU that does nothing but take a given time. So what is
 * measured is dma-iommu.c, the bounce buffers and real copies.
 *
 * Runs when the kernel boots, prints a line of JSON for each result and halts.
 */
/* First: it says how messages begin. */
#include "../../../kernel/dma/map_benchmark.c"

#include <linux/iommu.h>
#include <linux/platform_device.h>
#include <linux/reboot.h>
#include <linux/sched/clock.h>
#include <linux/sizes.h>
#include <linux/timekeeping.h>

#define DEVICE_NAME	"benchdma"
/* Long enough to see, short enough for hundreds of them. */
#define RUN_NS		(20 * NSEC_PER_MSEC)
/* Small copies: 16 KiB for what is copied and what it is copied to, at most */
#define NR_COPIES	100000
#define COPY_BUFFERS	32
/* What a map and an unmap take without the IOMMU, about: see bench-smp.config */
#define PAIR_NS		(IS_ENABLED(CONFIG_SMP) ? 1000U : 100U)
/* About what a large copy takes where nobody knows better. */
#define BYTES_PER_NS	16

static unsigned int costs[8] = { 0, 300, 1000, 3000, 10000 };
static unsigned int nr_costs = 5;
module_param_array(costs, uint, &nr_costs, 0444);
MODULE_PARM_DESC(costs, "ns that a map, an unmap and a sync of the IOMMU take each");

static char *set = "mappings";
module_param(set, charp, 0444);
MODULE_PARM_DESC(set, "what to measure: mappings, cpus (one and two of them) or copies");

static unsigned int warm_rounds = 24;
module_param(warm_rounds, uint, 0444);
MODULE_PARM_DESC(warm_rounds, "rounds before those that count");

/* The automatic limit needs the load that is to be measured. */
static unsigned int warm_ms;
module_param(warm_ms, uint, 0444);
MODULE_PARM_DESC(warm_ms, "and then for so long, without a pause");

static unsigned int cost_ns;
static phys_addr_t any_phys;

static void spend(void)
{
	u64 end;

	if (!cost_ns)
		return;
	end = ktime_get_mono_fast_ns() + cost_ns;
	while (ktime_get_mono_fast_ns() < end)
		cpu_relax();
}

static int null_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t phys, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	spend();
	*mapped = pgsize * pgcount;
	return 0;
}

static size_t null_unmap_pages(struct iommu_domain *domain, unsigned long iova,
			       size_t pgsize, size_t pgcount,
			       struct iommu_iotlb_gather *gather)
{
	spend();
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

static phys_addr_t null_iova_to_phys(struct iommu_domain *domain,
				     dma_addr_t iova)
{
	return any_phys;
}

static int null_attach(struct iommu_domain *domain, struct device *dev,
		       struct iommu_domain *old)
{
	return 0;
}

static void null_domain_free(struct iommu_domain *domain)
{
	kfree(domain);
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
	struct iommu_domain *domain = kzalloc_obj(*domain);

	if (!domain)
		return ERR_PTR(-ENOMEM);
	domain->pgsize_bitmap = SZ_4K | SZ_64K | SZ_2M;
	domain->geometry.aperture_end = DMA_BIT_MASK(48);
	domain->geometry.force_aperture = true;
	return domain;
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

static void print_result(const struct map_benchmark *run)
{
	static const char * const ops[] = { "single", "sg", "iova" };
	static const char * const dirs[] = {
		"bidirectional", "to_device", "from_device"
	};

	pr_info("bench: {\"iommu_ns\": %u, \"op\": \"%s\", \"nents\": %u, \"size\": %u, \"dir\": \"%s\", \"buffers\": %u, \"threads\": %u, \"cross_cpu\": %u, \"calls\": %llu, \"map_ns\": %llu, \"unmap_ns\": %llu, \"copy_ns\": %llu}\n",
		cost_ns, ops[run->map_mode], run->granule, run->size,
		dirs[run->dma_dir], run->buffers, run->threads,
		!!(run->flags & DMA_MAP_BENCH_CROSS_CPU), run->mappings,
		run->map_ns, run->unmap_ns, run->copy_ns);
}

static void measure(struct device *dev, const struct map_benchmark *run)
{
	u64 pair = max(3 * cost_ns * run->granule, PAIR_NS) + run->size / BYTES_PER_NS;
	static const enum dma_data_direction dirs[] = {
		DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE
	};
	struct map_benchmark_data map = {
		.dev = dev, .dir = dirs[run->dma_dir], .bparam = *run
	};

	map.bparam.node = NUMA_NO_NODE;
	map.bparam.flags |= DMA_MAP_BENCH_COPY;
	map.bparam.warm_rounds = warm_rounds;
	map.bparam.warm_ms = warm_ms;
	map.bparam.rounds = clamp_t(u64, div_u64(RUN_NS, pair * run->window), 4, 20000);
	if (!valid_window(&map.bparam) || do_map_benchmark(&map))
		pr_info("bench: failed\n");
	else
		print_result(&map.bparam);
}

static unsigned int window(unsigned int size)
{
	return size < SZ_64K ? 32 : 8;
}

/* Buffers that stay in the caches, and some that do not. */
static unsigned int cold(unsigned int size)
{
	return clamp(SZ_64M / size, 256U, 4096U);
}

static void measure_mappings(struct device *dev)
{
	static const unsigned int sizes[] = {
		64, 256, SZ_4K, SZ_16K, SZ_64K, SZ_256K
	};
	struct map_benchmark run = { .granule = 1, .threads = 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		run.size = sizes[i];
		run.window = window(sizes[i]);
		for (run.dma_dir = 1; run.dma_dir <= 2; run.dma_dir++) {
			run.map_mode = DMA_MAP_BENCH_SINGLE_MODE;
			run.granule = 1;
			run.buffers = run.window;
			measure(dev, &run);
			if (run.size >= SZ_4K) {
				run.buffers = cold(run.size);
				measure(dev, &run);
				run.buffers = run.window;
			}
			if (run.size == SZ_16K || run.size == SZ_64K) {
				run.map_mode = DMA_MAP_BENCH_SG_MODE;
				run.granule = run.size / SZ_4K;
				measure(dev, &run);
			}
		}
	}
}

/* On one CPU and on two, unmapping on the same one and on the other. */
static void measure_cpus(struct device *dev)
{
	static const unsigned int sizes[] = { 64, SZ_4K, SZ_64K };
	struct map_benchmark run = { .granule = 1 };
	unsigned int i, how;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		run.size = sizes[i];
		run.window = window(sizes[i]);
		run.buffers = run.window;
		for (run.dma_dir = 1; run.dma_dir <= 2; run.dma_dir++) {
			for (how = 0; how < 4; how++) {
				run.threads = how < 2 ? 1 : 2;
				run.flags = how % 2 ? DMA_MAP_BENCH_CROSS_CPU : 0;
				measure(dev, &run);
			}
		}
	}
}

static noinline void copy_by_loop(void *to, const void *from, size_t len)
{
	const u64 *in = from;
	u64 *out = to;

	/* One by one: the compiler would make it a memcpy() again. */
	for (; len; len -= sizeof(u64))
		WRITE_ONCE(*out++, READ_ONCE(*in++));
}

static noinline void copy_by_memcpy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

/* What memcpy() is on CPUs that say they are good at it, but never here */
static noinline void copy_by_rep_movsb(void *to, const void *from, size_t len)
{
	asm volatile("rep movsb" : "+D" (to), "+S" (from), "+c" (len) :: "memory");
}

typedef void (*copy_fn)(void *to, const void *from, size_t len);

/* Returns the ns that NR_COPIES copies take among buffers that are all in the cache. */
static u64 time_copies(copy_fn copy, u8 *memory, size_t len)
{
	u64 begin = ktime_get_ns();
	unsigned int i, n;

	for (n = 0; n < NR_COPIES / COPY_BUFFERS; n++)
		for (i = 0; i < COPY_BUFFERS; i++)
			copy(memory + 2 * i * len, memory + (2 * i + 1) * len,
			     len);
	return ktime_get_ns() - begin;
}

/* What bounce buffers do most of the time with little, and the least it can be. */
static void measure_copies(u8 *memory)
{
	static const unsigned int sizes[] = { 64, 128, 256 };
	static const copy_fn fns[] = {
		copy_by_memcpy, copy_by_rep_movsb, copy_by_loop
	};
	unsigned int i, j, n;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		u64 best[] = { U64_MAX, U64_MAX, U64_MAX };

		/* The best of some, in turn: the others met somebody else. */
		for (n = 0; n < 20; n++)
			for (j = 0; j < ARRAY_SIZE(fns); j++)
				best[j] = min(best[j],
					      time_copies(fns[j], memory, sizes[i]));
		pr_info("bench: {\"size\": %u, \"copies\": %u, \"memcpy\": %llu, \"rep movsb\": %llu, \"loop\": %llu}\n",
			sizes[i], NR_COPIES, best[0], best[1], best[2]);
	}
}

static struct platform_device *add_device(int id)
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

/* Each cost has a device of its own, and so a domain that knows no other. */
static void measure_costs(void (*measure_one)(struct device *dev))
{
	unsigned int i;

	for (i = 0; i < nr_costs; i++) {
		struct platform_device *pdev = add_device(i);

		if (!pdev) {
			pr_info("bench: failed\n");
			break;
		}
		cost_ns = costs[i];
		measure_one(&pdev->dev);
		platform_device_unregister(pdev);
	}
}

static int __init uml_bench_init(void)
{
	/* For copies; also an address in memory, as any mapping's */
	u8 *memory = kzalloc(2 * COPY_BUFFERS * 256, GFP_KERNEL);
	int ret = memory ? 0 : -ENOMEM;

	ret = ret ?: iommu_device_sysfs_add(&null_iommu, NULL, NULL, "nulliommu");
	ret = ret ?: iommu_device_register(&null_iommu, &null_ops, NULL);
	if (ret) {
		pr_info("bench: failed\n");
		return ret;
	}
	any_phys = virt_to_phys(memory);

	if (!strcmp(set, "mappings"))
		measure_costs(measure_mappings);
	else if (!strcmp(set, "cpus"))
		measure_costs(measure_cpus);
	else if (!strcmp(set, "copies"))
		measure_copies(memory);
	else
		pr_info("bench: failed\n");
	pr_info("bench: done\n");
	kernel_halt();
	return 0;
}
late_initcall_sync(uml_bench_init);
