// SPDX-License-Identifier: GPL-2.0
/*
 * The benchmark of kernel/dma/map_benchmark.c at native speed: in user-mode Linux, on
 * an IOMMU that does nothing but take a given time (null-iommu.c). So what is
 * measured is dma-iommu.c, the bounce buffers and real copies. And the same for the
 * whole stack, from the file of a block device down (diskbench.c).
 *
 * Runs when the kernel boots, prints a line of JSON for each result and halts.
 */
/* First: it says how messages begin. */
#include "../../../kernel/dma/map_benchmark.c"

#include <linux/platform_device.h>
#include <linux/reboot.h>
#include <linux/sched/clock.h>
#include <linux/sizes.h>
#include <linux/timekeeping.h>

#include "diskbench.h"
#include "null-iommu.h"

/* Long enough to see, short enough for hundreds of them. */
#define RUN_NS		(20 * NSEC_PER_MSEC)
/* Small copies: 16 KiB for what is copied and what it is copied to, at most */
#define NR_COPIES	100000
#define COPY_BUFFERS	32
/* What a map and an unmap take without the IOMMU, about: see bench-smp.config */
#define PAIR_NS		(IS_ENABLED(CONFIG_SMP) ? 1000U : 100U)
/* Requests by which a disk is checked */
#define CHECK_STEPS	10000
/* About what a large copy takes where nobody knows better. */
#define BYTES_PER_NS	16

static unsigned int costs[8] = { 0, 300, 1000, 3000, 10000 };
static unsigned int nr_costs = 5;
module_param_array(costs, uint, &nr_costs, 0444);
MODULE_PARM_DESC(costs, "ns that a map, an unmap and a sync of the IOMMU take each");

static char *set = "mappings";
module_param(set, charp, 0444);
MODULE_PARM_DESC(set, "what to measure: mappings, cpus (one and two of them), copies or disk; or check-disk");

static unsigned int warm_rounds = 24;
module_param(warm_rounds, uint, 0444);
MODULE_PARM_DESC(warm_rounds, "rounds before those that count");

/* The automatic limit needs the load that is to be measured. */
static unsigned int warm_ms;
module_param(warm_ms, uint, 0444);
MODULE_PARM_DESC(warm_ms, "and then for so long, without a pause");

/* Of the device that is measured */
static unsigned int cost_ns;

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

static void measure_disk(struct device *dev)
{
	if (diskbench_measure(dev, cost_ns))
		pr_info("bench: failed\n");
}

static void check_disk(struct device *dev)
{
	if (diskcheck_run(dev, CHECK_STEPS))
		pr_info("bench: failed\n");
}

/* Each cost has a device of its own, and so a domain that knows no other. */
static void measure_costs(void (*measure_one)(struct device *dev))
{
	unsigned int i;

	for (i = 0; i < nr_costs; i++) {
		struct platform_device *pdev = null_iommu_add_device(i);

		if (!pdev) {
			pr_info("bench: failed\n");
			break;
		}
		cost_ns = costs[i];
		null_iommu_set_cost(cost_ns);
		measure_one(&pdev->dev);
		platform_device_unregister(pdev);
	}
}

static int __init uml_bench_init(void)
{
	/* For copies */
	u8 *memory = kzalloc(2 * COPY_BUFFERS * 256, GFP_KERNEL);
	int ret = memory ? 0 : -ENOMEM;

	ret = ret ?: null_iommu_init(!strcmp(set, "check-disk"));
	if (ret) {
		pr_info("bench: failed\n");
		return ret;
	}

	if (!strcmp(set, "mappings"))
		measure_costs(measure_mappings);
	else if (!strcmp(set, "cpus"))
		measure_costs(measure_cpus);
	else if (!strcmp(set, "copies"))
		measure_copies(memory);
	else if (!strcmp(set, "disk"))
		measure_costs(measure_disk);
	else if (!strcmp(set, "check-disk"))
		measure_costs(check_disk);
	else
		pr_info("bench: failed\n");
	pr_info("bench: done\n");
	kernel_halt();
	return 0;
}
late_initcall_sync(uml_bench_init);
