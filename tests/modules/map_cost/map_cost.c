// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions for each map and unmap: under QEMU's -icount shift=0 a guest
 * nanosecond is an instruction, so the clock counts them. Prints one line for
 * each size and ends its probe with -ENODEV, to be run again.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/pci.h>

#define BATCH	32
#define ROUNDS	100

static int dir = DMA_TO_DEVICE;
module_param(dir, int, 0);
MODULE_PARM_DESC(dir, "0 bidirectional, 1 to device, 2 from device");

/* What a run needs. */
struct cost {
	void *buf[BATCH];
	dma_addr_t addr[BATCH];
	u64 map;
	u64 unmap;
};

/* Map and unmap a batch, undisturbed by interrupts. */
static int cost_batch(struct device *dev, struct cost *cost, size_t size)
{
	unsigned long flags;
	int i, errors = 0;
	u64 a, b, c;

	local_irq_save(flags);
	a = ktime_get_ns();
	for (i = 0; i < BATCH; i++)
		cost->addr[i] = dma_map_single(dev, cost->buf[i], size, dir);
	b = ktime_get_ns();
	for (i = 0; i < BATCH; i++)
		dma_unmap_single(dev, cost->addr[i], size, dir);
	c = ktime_get_ns();
	local_irq_restore(flags);

	for (i = 0; i < BATCH; i++)
		errors += dma_mapping_error(dev, cost->addr[i]) != 0;
	cost->map += b - a;
	cost->unmap += c - b;
	return errors;
}

static void cost_size(struct device *dev, struct cost *cost, size_t size)
{
	int round, errors = 0;

	/* Let pools grow and caches fill. */
	for (round = 0; round < 10; round++) {
		errors += cost_batch(dev, cost, size);
		msleep(20);
	}
	cost->map = 0;
	cost->unmap = 0;
	for (round = 0; round < ROUNDS; round++)
		errors += cost_batch(dev, cost, size);
	pr_info("size %zu dir %d map %llu unmap %llu errors %d\n", size, dir,
		cost->map / (BATCH * ROUNDS), cost->unmap / (BATCH * ROUNDS),
		errors);
}

static int cost_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	static const size_t sizes[] = { 64, 512, SZ_4K, SZ_16K, SZ_64K };
	struct device *dev = &pdev->dev;
	struct cost *cost;
	int i;

	cost = devm_kzalloc(dev, sizeof(*cost), GFP_KERNEL);
	if (!cost || dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64)))
		return -ENOMEM;
	for (i = 0; i < BATCH; i++) {
		cost->buf[i] = (void *)devm_get_free_pages(dev, GFP_KERNEL,
							   get_order(SZ_64K));
		if (!cost->buf[i])
			return -ENOMEM;
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		cost_size(dev, cost, sizes[i]);
	return -ENODEV;
}

static const struct pci_device_id cost_ids[] = {
	{ PCI_DEVICE(0x1b36, 0x0005) },		/* QEMU's pci-testdev */
	{}
};
MODULE_DEVICE_TABLE(pci, cost_ids);

static struct pci_driver cost_driver = {
	.name = "map_cost",
	.id_table = cost_ids,
	.probe = cost_probe,
};
module_pci_driver(cost_driver);

MODULE_DESCRIPTION("Count the instructions of a DMA map and unmap");
MODULE_LICENSE("GPL");
