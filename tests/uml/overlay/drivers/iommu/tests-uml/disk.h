/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk whose driver maps requests as that of NVMe does.
 */
#ifndef DISK_H
#define DISK_H

#include <linux/types.h>

struct device;
struct disk;
struct file;

/**
 * struct disk_bus - how the device gets at memory
 * @read: from a DMA address to a buffer: 0 or an error
 * @write: from a buffer to a DMA address: 0 or an error
 */
struct disk_bus {
	int (*read)(struct device *dev, dma_addr_t addr, void *buf, size_t len);
	int (*write)(struct device *dev, dma_addr_t addr, const void *buf,
		     size_t len);
};

/**
 * disk_add - bind the driver to a device and add its block device
 * @dev: device that does DMA
 * @bytes: capacity
 * @bus: if not %NULL, commands move data to and from a memory of @bytes.
 *	Else they have no effect, which takes no CPU time, as with a real device.
 *
 * Return: a disk or an ERR_PTR().
 */
struct disk *disk_add(struct device *dev, size_t bytes,
		      const struct disk_bus *bus);
void disk_del(struct disk *disk);

/* The block device, opened for direct I/O */
struct file *disk_file(struct disk *disk);

/**
 * disk_interrupt - let the device execute commands, and take its interrupt
 * @disk: disk
 * @most: the most commands to complete
 *
 * The interrupt of the queue of this CPU. Call it where a real one would come, from
 * a task that stays on the CPU: those of user-mode Linux are signals,
 * and take longer than what is measured.
 */
void disk_interrupt(struct disk *disk, unsigned int most);

/* Commands that touch this sector fail, and leave the buffer as it is. */
void disk_set_bad_sector(struct disk *disk, sector_t sector);

/* How often the IOMMU refused what a command asked for */
unsigned int disk_faults(struct disk *disk);

#endif /* DISK_H */
