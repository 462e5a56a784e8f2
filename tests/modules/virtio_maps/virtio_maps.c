// SPDX-License-Identifier: GPL-2.0
/*
 * A virtio driver for disks that have none. It promises to keep to the ownership rules of
 * streaming DMA, maps for the parent device, 64 times 4 KiB each way, and then its probe
 * fails. When it is unloaded it maps the same again: nobody promises for these.
 */
#include <linux/module.h>
#include <linux/virtio.h>
#include <linux/virtio_ids.h>

#include "maps.h"

#define ROUNDS	64

static struct virtio_device *failed;

static int virtio_maps_probe(struct virtio_device *vdev)
{
	map_both_ways(vdev->dev.parent, ROUNDS);
	if (!failed) {
		get_device(&vdev->dev);
		failed = vdev;
	}
	return -EIO;
}

static void virtio_maps_remove(struct virtio_device *vdev)
{
}

static const struct virtio_device_id virtio_maps_ids[] = {
	{ VIRTIO_ID_BLOCK, VIRTIO_DEV_ANY_ID },
	{ }
};

static struct virtio_driver virtio_maps_driver = {
	.driver.name		= "virtio_maps",
	.id_table		= virtio_maps_ids,
	.probe			= virtio_maps_probe,
	.remove			= virtio_maps_remove,
	.dma_strict_ownership	= true,
};

static int __init virtio_maps_init(void)
{
	return register_virtio_driver(&virtio_maps_driver);
}
module_init(virtio_maps_init);

static void __exit virtio_maps_exit(void)
{
	unregister_virtio_driver(&virtio_maps_driver);
	if (!failed)
		return;
	map_both_ways(failed->dev.parent, ROUNDS);
	put_device(&failed->dev);
}
module_exit(virtio_maps_exit);

MODULE_DESCRIPTION("A virtio driver that promises, maps and fails");
MODULE_LICENSE("GPL");
