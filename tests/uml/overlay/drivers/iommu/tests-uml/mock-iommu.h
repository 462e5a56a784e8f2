/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An IOMMU, a memory bus and some DMA devices, all made of memory.
 */
#ifndef MOCK_IOMMU_H
#define MOCK_IOMMU_H

#include <linux/device.h>
#include <linux/iommu.h>

/* What a byte nobody handed to a device looks like; data never looks so. */
#define MOCK_SECRET	0xc7
#define MOCK_IS_DATA(b)	(!((b) & 0x80))

/**
 * struct mock_profile - what a device and its IOMMU can do
 * @name: shown as the name of the parameterized test
 * @mask: DMA mask its driver sets
 * @bus_limit: highest address the bus carries, 0 if it carries all
 * @aperture_start: lowest address the IOMMU translates
 * @boundary: segments may not cross a multiple of this plus one
 * @hole_start: first address of a reserved region
 * @hole_size: bytes of that region, 0 if there is none
 * @max_seg: longest segment, 0 for the default
 * @min_align: minimum alignment mask
 * @granule_shift: smallest IOMMU page
 * @group: profiles with the same nonzero number share a domain
 * @noncoherent: the device does not snoop the CPU's caches
 */
struct mock_profile {
	const char *name;
	u64 mask;
	u64 bus_limit;
	u64 aperture_start;
	u64 boundary;
	u64 hole_start;
	u64 hole_size;
	u32 max_seg;
	u32 min_align;
	u8 granule_shift;
	u8 group;
	bool noncoherent;
};

enum mock_profile_id {
	MOCK_64BIT,
	MOCK_32BIT,
	MOCK_28BIT,
	MOCK_LIMITS,
	MOCK_ALIGNED,
	MOCK_SMALL_GRANULE,
	MOCK_HIGH_APERTURE,
	MOCK_BUS_LIMIT,
	MOCK_SHARED_WIDE,
	MOCK_SHARED_NARROW,
	MOCK_NONCOHERENT,
	MOCK_NR_PROFILES
};

/**
 * struct mock_counts - operations the IOMMU was asked for, by all devices
 * @map: calls of map_pages
 * @unmap: calls of unmap_pages
 * @sync: invalidations of a range
 * @flush: invalidations of a whole domain
 */
struct mock_counts {
	u64 map;
	u64 unmap;
	u64 sync;
	u64 flush;
};

extern const struct mock_profile mock_profiles[MOCK_NR_PROFILES];

int mock_iommu_init(void);
int mock_device_add(enum mock_profile_id id);
void mock_device_del(enum mock_profile_id id);
int mock_devices_add(void);
void mock_devices_del(void);
struct device *mock_device(enum mock_profile_id id);

/* The device's side of the bus: 0, or -EFAULT where the IOMMU says no. */
int mock_dev_read(struct device *dev, dma_addr_t addr, void *buf, size_t len);
int mock_dev_write(struct device *dev, dma_addr_t addr, const void *buf,
		   size_t len);
bool mock_dev_reaches(struct device *dev, dma_addr_t addr, int prot,
		      phys_addr_t *phys);

void mock_get_counts(struct mock_counts *counts);
long mock_pages_mapped(void);
/* What the model of memory behind caches has taken from kmalloc(), for good */
unsigned long mock_ram_bytes(void);
/* In the domain of this device alone */
long mock_pages_mapped_for(struct device *dev);
unsigned int mock_errors(void);

/* Every n-th map fails, the first n-1 pages of it done: 1 for all, 0 for none. */
void mock_fail_maps(unsigned int every);
/* How many maps have failed on this CPU, which must not change under you. */
unsigned int mock_failed_here(void);
/* Has this thread started cache maintenance that it did not wait for? */
bool mock_unflushed_by_us(void);

#endif /* MOCK_IOMMU_H */
