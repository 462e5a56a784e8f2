// SPDX-License-Identifier: GPL-2.0
/*
 * usage: vfio-hold GROUP DEVICE
 *
 * Take a PCI device away from the kernel, as drivers in user space do: map memory
 * for it, read its identity, reset it. Says "held" and holds it until the input ends.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE	(8 << 20)
#define IOVA	0x10000000

static int must(int ret, const char *what)
{
	if (ret < 0)
		err(1, "%s", what);
	return ret;
}

static void map_memory(int container)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = IOVA,
		.size = SIZE,
	};
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	memset(memory, 0x5a, SIZE);
	map.vaddr = (uintptr_t)memory;
	must(ioctl(container, VFIO_IOMMU_MAP_DMA, &map), "VFIO_IOMMU_MAP_DMA");
}

static void identify(int device)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	uint16_t id[2];

	must(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), "region");
	if (pread(device, id, sizeof(id), region.offset) != sizeof(id))
		err(1, "configuration space");
	printf("device %04x:%04x\n", id[0], id[1]);
}

int main(int argc, char **argv)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	int container, group, device;
	char path[64], c;

	if (argc != 3)
		errx(2, "usage: vfio-hold GROUP DEVICE");
	snprintf(path, sizeof(path), "/dev/vfio/%s", argv[1]);
	container = must(open("/dev/vfio/vfio", O_RDWR), "/dev/vfio/vfio");
	group = must(open(path, O_RDWR), path);
	must(ioctl(group, VFIO_GROUP_GET_STATUS, &status), "status");
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		errx(1, "group %s is not viable", argv[1]);
	must(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "container");
	must(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "IOMMU");
	map_memory(container);
	device = must(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[2]), argv[2]);
	identify(device);
	must(ioctl(device, VFIO_DEVICE_RESET), "VFIO_DEVICE_RESET");
	puts("held");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}
