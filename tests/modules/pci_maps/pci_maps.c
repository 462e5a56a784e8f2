// SPDX-License-Identifier: GPL-2.0
/*
 * A PCI driver for any device that is given to it with driver_override. It leaves the
 * device alone and maps for it, rounds times 4 KiB each way; it promises to keep to the
 * ownership rules of streaming DMA only if loaded with promise=1, and its probe fails,
 * after the mappings, with fail=1.
 */
#include <linux/module.h>
#include <linux/pci.h>

#include "maps.h"

static bool promise;
module_param(promise, bool, 0444);
static bool fail;
module_param(fail, bool, 0444);
static unsigned int rounds = 64;
module_param(rounds, uint, 0444);

static int pci_maps_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64)) ?:
		  map_both_ways(&pdev->dev, rounds);

	return ret ? ret : fail ? -EIO : 0;
}

static void pci_maps_remove(struct pci_dev *pdev)
{
}

static const struct pci_device_id pci_maps_ids[] = {
	{ PCI_DEVICE_DRIVER_OVERRIDE(PCI_ANY_ID, PCI_ANY_ID, 1) },
	{ }
};

static struct pci_driver pci_maps_driver = {
	.name		= "pci_maps",
	.id_table	= pci_maps_ids,
	.probe		= pci_maps_probe,
	.remove		= pci_maps_remove,
};

static int __init pci_maps_init(void)
{
	pci_maps_driver.dma_strict_ownership = promise;
	return pci_register_driver(&pci_maps_driver);
}
module_init(pci_maps_init);

static void __exit pci_maps_exit(void)
{
	pci_unregister_driver(&pci_maps_driver);
}
module_exit(pci_maps_exit);

MODULE_DESCRIPTION("Maps for any PCI device, with a promise or without");
MODULE_LICENSE("GPL");
