// SPDX-License-Identifier: GPL-2.0
/*
 * An IOMMU domain of its own for QEMU's "edu" device, behind virtio-iommu: what the IOMMU
 * driver makes of a MAP request that the device refuses, and of mappings that come and go
 * while the domain is being attached.
 *
 * QEMU refuses to map an address that is mapped. So mapping one twice is a request that is
 * refused, and tells whether the device knows a mapping. Both are undone then.
 *
 * Probing runs all tests, prints KTAP to the log and fails with -ENODEV.
 */
#include <linux/iommu.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include "edu.h"

#define EDU_WRITES	64

/* Addresses in the domain, of the 28 bits that the device has */
#define IOVA		0x1000000UL
#define IOVA_OTHER	0x2000000UL
#define IOVA_STAYS	0x3000000UL

/*
 * Enough that their replay, with interrupts off, takes longer than a tick of the timer. That
 * interrupt is taken right behind the replay then, and widens a gap that may be there.
 */
static unsigned int stay = 1024;
module_param(stay, uint, 0444);
MODULE_PARM_DESC(stay, "mappings that stay, and are replayed when the domain is attached");

static unsigned int rounds = 128;
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "how often the domain is attached while another CPU maps, or unmaps");

/*
 * @page: what is mapped, @other: something else
 * @why: why a test failed
 */
struct edu {
	struct device *dev;
	void __iomem *regs;
	struct iommu_domain *domain;
	struct page *page;
	struct page *other;
	const char *why;
};

/* What one CPU does while another attaches the domain */
struct race {
	struct work_struct work;
	struct edu *edu;
	bool maps;
	bool ready;
	bool begun;
	u64 delay;
	u64 attach_time;
	int ret;
};

static int fail(struct edu *edu, const char *why)
{
	edu->why = why;
	return -EIO;
}

static int map(struct edu *edu, unsigned long iova, struct page *page)
{
	return iommu_map(edu->domain, iova, page_to_phys(page), PAGE_SIZE,
			 IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);
}

static bool unmap(struct edu *edu, unsigned long iova)
{
	return iommu_unmap(edu->domain, iova, PAGE_SIZE) == PAGE_SIZE;
}

static bool is_mapped(struct edu *edu, unsigned long iova)
{
	return iommu_iova_to_phys(edu->domain, iova);
}

/* The device's own memory is zeroed. */
static int device_writes(struct edu *edu, unsigned long iova, struct page *page)
{
	u8 *bytes = page_address(page);

	memset(bytes, 0xa5, PAGE_SIZE);
	if (edu_dma(edu->regs, EDU_BUFFER, iova, EDU_WRITES, EDU_CMD_TO_RAM))
		return fail(edu, "the device does not finish");
	if (memchr_inv(bytes, 0, EDU_WRITES))
		return fail(edu, "what the device wrote did not arrive");
	return 0;
}

static int refused_fails(struct edu *edu)
{
	if (map(edu, IOVA, edu->page))
		return fail(edu, "a good MAP fails");
	if (!map(edu, IOVA, edu->other)) {
		unmap(edu, IOVA);
		return fail(edu, "iommu_map() of an address that is mapped returns 0");
	}
	if (is_mapped(edu, IOVA)) {
		unmap(edu, IOVA);
		return fail(edu, "the mapping was not undone");
	}
	return 0;
}

static int good_after_refused(struct edu *edu)
{
	int ret;

	if (map(edu, IOVA, edu->other))
		return fail(edu, "it fails at the same address");
	ret = device_writes(edu, IOVA, edu->other);
	if (!unmap(edu, IOVA))
		return fail(edu, "unmapping it fails");
	if (ret)
		return ret;
	if (map(edu, IOVA_OTHER, edu->page))
		return fail(edu, "it fails at another address");
	if (!unmap(edu, IOVA_OTHER))
		return fail(edu, "unmapping it fails at another address");
	return 0;
}

/*
 * The request that is refused is only queued at first, as if this CPU had been interrupted
 * before it could wait for the answer: then a good one collects both answers.
 */
static int each_its_own(struct edu *edu)
{
	const struct iommu_domain_ops *ops = edu->domain->ops;
	size_t mapped;
	int good, refused;

	if (map(edu, IOVA, edu->page))
		return fail(edu, "a good one fails");
	if (ops->map_pages(edu->domain, IOVA, page_to_phys(edu->other),
			   PAGE_SIZE, 1, IOMMU_READ | IOMMU_WRITE, GFP_KERNEL,
			   &mapped))
		return fail(edu, "the request cannot be queued");
	good = map(edu, IOVA_OTHER, edu->page);
	refused = ops->iotlb_sync_map(edu->domain, IOVA, PAGE_SIZE);
	unmap(edu, IOVA);
	if (good)
		return fail(edu, "the good one fails");
	if (!unmap(edu, IOVA_OTHER))
		return fail(edu, "unmapping the good one fails");
	return refused ? 0 : fail(edu, "the refused one returns 0");
}

static unsigned int this_cpu(void)
{
	return cpumask_first(cpu_online_mask);
}

static unsigned int other_cpu(void)
{
	return cpumask_next(this_cpu(), cpu_online_mask);
}

static void race_changes(struct work_struct *work)
{
	struct race *race = container_of(work, struct race, work);
	u64 begin;

	WRITE_ONCE(race->ready, true);
	while (!READ_ONCE(race->begun))
		cpu_relax();
	begin = ktime_get_ns();
	while (ktime_get_ns() - begin < race->delay)
		cpu_relax();
	if (race->maps)
		race->ret = map(race->edu, IOVA, race->edu->page);
	else
		race->ret = unmap(race->edu, IOVA) ? 0 : -EIO;
}

static long race_attaches(void *data)
{
	struct race *race = data;
	u64 begin;
	int ret;

	while (!READ_ONCE(race->ready))
		cpu_relax();
	WRITE_ONCE(race->begun, true);
	begin = ktime_get_ns();
	ret = iommu_attach_device(race->edu->domain, race->edu->dev);
	race->attach_time = ktime_get_ns() - begin;
	return ret;
}

/* Attach the domain, while another CPU maps or unmaps IOVA. */
static int attach_and_change(struct race *race)
{
	int ret;

	race->ready = false;
	race->begun = false;
	INIT_WORK_ONSTACK(&race->work, race_changes);
	queue_work_on(other_cpu(), system_percpu_wq, &race->work);
	ret = work_on_cpu(this_cpu(), race_attaches, race);
	flush_work(&race->work);
	destroy_work_on_stack(&race->work);
	if (ret)
		return fail(race->edu, "the domain cannot be attached");
	if (race->ret)
		return fail(race->edu, "the other CPU's change fails");
	return 0;
}

/*
 * The domain is detached and attached again and again. When @maps, another CPU maps IOVA
 * meanwhile, and mapping it again must be refused; else it unmaps IOVA, and mapping it
 * again must not be refused. Otherwise the device has not heard of the change.
 */
static int device_agrees(struct edu *edu, bool maps)
{
	struct race race = { .edu = edu, .maps = maps };
	unsigned int round, wrong = 0;
	int ret = 0;

	for (round = 0; round < rounds && !ret; round++) {
		if (!maps && map(edu, IOVA, edu->page))
			return fail(edu, "it cannot be mapped before");
		iommu_detach_device(edu->domain, edu->dev);
		/* From the beginning of what attaching took the last time to its end */
		race.delay = div_u64(race.attach_time * round, rounds);
		ret = attach_and_change(&race);
		wrong += !map(edu, IOVA, edu->other) == maps;
		if (is_mapped(edu, IOVA))
			unmap(edu, IOVA);
	}
	pr_info("# attaching took %llu us, the device was wrong in %u of %u rounds\n",
		div_u64(race.attach_time, 1000), wrong, round);
	if (!ret && wrong)
		ret = fail(edu, maps ? "the device has not got the mapping" :
				       "the device still has the mapping");
	return ret;
}

static int unmap_while_attaching(struct edu *edu)
{
	return device_agrees(edu, false);
}

static int map_while_attaching(struct edu *edu)
{
	return device_agrees(edu, true);
}

/* After all these, the device still reaches what stays mapped. */
static int others_stay(struct edu *edu)
{
	return device_writes(edu, IOVA_STAYS, edu->page) ?:
	       device_writes(edu, IOVA_STAYS + (stay - 1) * SZ_8K, edu->page);
}

static const struct {
	const char *name;
	int (*run)(struct edu *edu);
} tests[] = {
	{ "a MAP request that is refused fails", refused_fails },
	{ "after it, a good one works", good_after_refused },
	{ "if a good one collects both answers, each gets its own", each_its_own },
	{ "an UNMAP while the domain is being attached reaches the device", unmap_while_attaching },
	{ "a MAP while the domain is being attached reaches the device", map_while_attaching },
	{ "all other mappings stay", others_stay },
};

static void run_all(struct edu *edu)
{
	unsigned int i, failed = 0;
	int ret;

	pr_info("KTAP version 1\n1..%zu\n", ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		ret = tests[i].run(edu);
		if (ret)
			pr_info("# %s\n", edu->why);
		pr_info("%sok %u - domain: %s\n", ret ? "not " : "", i + 1,
			tests[i].name);
		failed += !!ret;
	}
	pr_info("# domain: %u passed, %u failed\n", i - failed, failed);
}

static int edu_map_stays(struct edu *edu)
{
	unsigned int i;
	int ret = 0;

	/* With a gap behind each: QEMU takes neighbours for one when it looks up an address. */
	for (i = 0; i < stay && !ret; i++)
		ret = map(edu, IOVA_STAYS + i * SZ_8K, edu->page);
	return ret;
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu edu = { .dev = &pdev->dev };
	int ret;

	if (other_cpu() >= nr_cpu_ids)
		return dev_err_probe(edu.dev, -EINVAL, "two CPUs are needed\n");
	edu.regs = edu_enable(pdev);
	if (IS_ERR(edu.regs))
		return PTR_ERR(edu.regs);
	edu.page = alloc_page(GFP_KERNEL);
	edu.other = alloc_page(GFP_KERNEL);
	edu.domain = iommu_paging_domain_alloc(edu.dev);
	if (!edu.page || !edu.other || IS_ERR(edu.domain)) {
		ret = -ENOMEM;
		goto free;
	}
	pci_set_master(pdev);
	ret = edu_map_stays(&edu) ?: iommu_attach_device(edu.domain, edu.dev);
	if (!ret) {
		run_all(&edu);
		iommu_detach_device(edu.domain, edu.dev);
	}
	pci_clear_master(pdev);
free:
	if (!IS_ERR(edu.domain))
		iommu_domain_free(edu.domain);
	if (edu.other)
		__free_page(edu.other);
	if (edu.page)
		__free_page(edu.page);
	return ret ?: -ENODEV;
}

static const struct pci_device_id edu_ids[] = {
	{ EDU_ID },
	{}
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu_domain",
	.id_table = edu_ids,
	.probe = edu_probe,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("Tests of a domain behind virtio-iommu on QEMU's edu device");
MODULE_LICENSE("GPL");
