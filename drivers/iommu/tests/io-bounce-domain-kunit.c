// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what a domain takes that has bounce buffers, and of what its
 * devices say about it.
 */

#include <kunit/test.h>
#include <linux/pm_runtime.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>

#include "../io-bounce-internal.h"
#include "fake-domain.h"

struct domain_test {
	struct fake_domain *fake;
	struct io_bounce *bounce;
};

static int domain_test_init(struct kunit *test)
{
	struct domain_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->fake = fake_domain_create(test);
	t->bounce = kunit_kzalloc(test, sizeof(*t->bounce), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->bounce);
	io_bounce_setup(t->bounce, true, &t->fake->domain, &t->fake->iovad,
			SZ_16M);
	return 0;
}

static void domain_test_exit(struct kunit *test)
{
	struct domain_test *t = test->priv;

	io_bounce_teardown(t->bounce);
	fake_domain_destroy(t->fake);
}

static void count(struct domain_test *t, enum io_bounce_counter counter, int n)
{
	while (n--)
		io_bounce_count(t->bounce, counter, 1);
	flush_work(&t->bounce->work);
}

/* On a machine with many CPUs the counters are most of what a domain takes. */
static void domain_counts_on_each_cpu_once_it_bounces(struct kunit *test)
{
	struct domain_test *t = test->priv;

	count(t, IO_BOUNCE_SKIP_LIMIT, 100);
	count(t, IO_BOUNCE_MISS_COLD, 1);
	/* Whatever else the work is for */
	queue_work(system_dfl_wq, &t->bounce->work);
	flush_work(&t->bounce->work);
	KUNIT_EXPECT_NULL(test, (void *)(uintptr_t)t->bounce->stats);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_SKIP_LIMIT), 100);

	/* It does not go on writing there for ever. */
	count(t, IO_BOUNCE_SKIP_LIMIT, 100000);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_SKIP_LIMIT), 65536);

	count(t, IO_BOUNCE_HITS_SG, 1);
	KUNIT_EXPECT_NOT_NULL(test, (void *)(uintptr_t)t->bounce->stats);
	count(t, IO_BOUNCE_HITS_SG, 1);
	count(t, IO_BOUNCE_SKIP_LIMIT, 10);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_HITS_SG), 2);
	KUNIT_EXPECT_EQ(test, io_bounce_counted(t->bounce, IO_BOUNCE_SKIP_LIMIT), 65546);
}

/* As AMD's: PCI enables runtime PM of all functions, with or without a driver. */
static void domain_knows_which_iommu_sleeps(struct kunit *test)
{
	struct domain_test *t = test->priv;
	struct iommu_device *iommu = kunit_kzalloc(test, sizeof(*iommu), GFP_KERNEL);
	struct dev_iommu *param = kunit_kzalloc(test, sizeof(*param), GFP_KERNEL);
	struct device *dev = kunit_kzalloc(test, 3 * sizeof(*dev), GFP_KERNEL);
	struct device_driver driver = {};

	KUNIT_ASSERT_NOT_NULL(test, iommu);
	KUNIT_ASSERT_NOT_NULL(test, param);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev[0].iommu = param;
	KUNIT_EXPECT_FALSE(test, io_bounce_limits(t->bounce, dev).unmap_wakes);
	param->iommu_dev = iommu;
	iommu->dev = &dev[1];
	KUNIT_EXPECT_FALSE(test, io_bounce_limits(t->bounce, dev).unmap_wakes);
	dev[1].parent = &dev[2];
	KUNIT_EXPECT_FALSE(test, io_bounce_limits(t->bounce, dev).unmap_wakes);
	dev[2].driver = &driver;
	KUNIT_EXPECT_EQ(test, io_bounce_limits(t->bounce, dev).unmap_wakes,
			IS_ENABLED(CONFIG_PM));
}

static struct kunit_case domain_cases[] = {
	KUNIT_CASE(domain_counts_on_each_cpu_once_it_bounces),
	KUNIT_CASE(domain_knows_which_iommu_sleeps),
	{}
};

static struct kunit_suite domain_suite = {
	.name = "io_bounce_domain",
	.init = domain_test_init,
	.exit = domain_test_exit,
	.test_cases = domain_cases,
};

kunit_test_suite(domain_suite);

MODULE_DESCRIPTION("KUnit tests of the domains of IOMMU bounce buffers");
MODULE_LICENSE("GPL");
