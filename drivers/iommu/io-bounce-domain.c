// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a domain's bounce buffers: when they come, when they go, and what
 * the domain's devices can address.
 */

#include <linux/crash_dump.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>

#include "io-bounce-internal.h"

static bool counted_hits(const struct io_bounce *bounce)
{
	return atomic_read(&bounce->early[IO_BOUNCE_HITS_SINGLE]) ||
	       atomic_read(&bounce->early[IO_BOUNCE_HITS_SG]) ||
	       atomic_read(&bounce->early[IO_BOUNCE_HITS_IOVA]);
}

static void io_bounce_work(struct work_struct *work)
{
	struct io_bounce *bounce = container_of(work, struct io_bounce, work);
	struct io_bounce_stats __percpu *stats;

	/* Devices are being shut down, the IOMMU perhaps before us. */
	if (system_state >= SYSTEM_HALT)
		return;

	/* The limit may be what the work was queued for. */
	if (!bounce->stats && counted_hits(bounce)) {
		stats = alloc_percpu(struct io_bounce_stats);
		if (stats)
			/* Pairs with io_bounce_count(): zeroed, then seen. */
			smp_store_release(&bounce->stats, stats);
	}
	io_bounce_report_unpromised(bounce);
	io_bounce_limit_calibrate(&bounce->limit, bounce->mgr.granule_shift);
}

/*
 * A domain that does not bounce has no per-CPU counters. It stops counting at this,
 * so that CPUs do not contend for a cache line with each direct mapping.
 */
#define EARLY_MAX	65536

/**
 * io_bounce_count_early - count, and ask for counters that are per CPU
 * @bounce: the bounce buffers of the domain
 * @counter: what to count
 * @add: how many
 *
 * Most domains never bounce anything: they are not to take memory on each CPU.
 *
 * Context: any but NMI.
 */
void io_bounce_count_early(struct io_bounce *bounce,
			   enum io_bounce_counter counter, u64 add)
{
	bool hit = counter <= IO_BOUNCE_HITS_IOVA;
	bool direct = counter >= IO_BOUNCE_SKIP_LIMIT &&
		      counter <= IO_BOUNCE_SKIP_MEMORY;

	if (direct && atomic_read(&bounce->early[counter]) >= EARLY_MAX)
		return;
	/* Would wrap round only where there never is memory for the others. */
	atomic_add(add, &bounce->early[counter]);
	if (hit)
		queue_work(system_dfl_wq, &bounce->work);
}

/**
 * io_bounce_setup - prepare the bounce buffers of a domain
 * @bounce: zeroed memory, but for the hint
 * @coherent: is DMA of the domain's devices coherent with the CPU caches
 * @domain: the domain
 * @iovad: its IOVA space, initialised
 * @memory_max: the most memory to use, in bytes
 */
void io_bounce_setup(struct io_bounce *bounce, bool coherent,
		     struct iommu_domain *domain, struct iova_domain *iovad,
		     size_t memory_max)
{
	bounce->coherent = coherent;
	INIT_WORK(&bounce->work, io_bounce_work);
	io_bounce_check_setup(bounce);
	io_bounce_default(bounce);
	io_buffer_manager_init(&bounce->mgr, domain, iovad, memory_max);
}

/**
 * io_bounce_teardown - undo io_bounce_setup()
 * @bounce: the bounce buffers; no device may reach them any more
 *
 * Context: may sleep.
 */
void io_bounce_teardown(struct io_bounce *bounce)
{
	cancel_work_sync(&bounce->work);
	put_device(bounce->unpromised);
	io_bounce_check_teardown(bounce);
	io_buffer_manager_destroy(&bounce->mgr);
	free_percpu(bounce->stats);
}

static u64 window_limit(const struct io_bounce *bounce, struct device *dev)
{
	const struct iommu_domain_geometry *geo = &bounce->mgr.domain->geometry;
	u64 limit = device_dma_limit(dev);

	return geo->force_aperture ? min_t(u64, limit, geo->aperture_end) :
				     limit;
}

/*
 * The device of an IOMMU is but an entry in sysfs: it is the parent that sleeps.
 * Without a driver it does not, whatever is enabled: that of AMD's IOMMUs is a PCI
 * function, for all of which PCI enables runtime PM.
 */
static bool unmap_wakes(struct device *dev)
{
	struct iommu_device *iommu = dev->iommu ? dev->iommu->iommu_dev : NULL;
	struct device *parent = iommu && iommu->dev ? iommu->dev->parent : NULL;

	return parent && parent->driver && pm_runtime_enabled(parent);
}

/**
 * io_bounce_limits - what a device can address
 * @bounce: the bounce buffers of its domain
 * @dev: the device
 *
 * Return: that, for the manager.
 */
struct io_buffer_limits io_bounce_limits(const struct io_bounce *bounce,
					 struct device *dev)
{
	return (struct io_buffer_limits) {
		.dma_limit = window_limit(bounce, dev),
		.prefer_32bit = dev->iommu && dev->iommu->pci_32bit_workaround,
		.prot = bounce->coherent ? IOMMU_CACHE : 0,
		.unmap_wakes = unmap_wakes(dev),
		.nid = dev_to_node(dev),
	};
}

/* What a domain is known by: in debugfs, and in what is traced. */
static int group_number(struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);
	int id = group ? iommu_group_id(group) : -1;

	iommu_group_put(group);
	return id;
}

static void io_bounce_new(struct io_bounce_ref *ref, struct device *dev,
			  struct iommu_domain *domain,
			  struct iova_domain *iovad)
{
	enum iommu_bounce_hint hint = io_bounce_hint(dev);
	struct io_bounce *bounce;

	if (hint == IOMMU_BOUNCE_NEVER)
		ref->never = true;
	if (ref->never)
		return;
	bounce = kzalloc_obj(*bounce);
	if (!bounce)
		return;

	bounce->hint = hint;
	io_bounce_setup(bounce, dev_is_dma_coherent(dev), domain, iovad,
			io_bounce_memory);
	bounce->mgr.group = group_number(dev);
	bounce->mgr.dev = get_device(dev);
	io_bounce_prepare_must(bounce, dev);
	io_bounce_debugfs_add(bounce);
	/* The domain may be in use: pairs with the dependency on the pointer. */
	smp_store_release(&ref->bounce, bounce);
}

/**
 * io_bounce_create - give a DMA domain bounce buffers
 * @ref: the domain's reference; set unless memory is short
 * @dev: a device of the domain
 * @domain: the domain
 * @iovad: its IOVA space, initialised
 *
 * Failure is not an error: the domain then maps as ever.
 *
 * Context: may sleep; serialised per domain by the group's mutex.
 */
void io_bounce_create(struct io_bounce_ref *ref, struct device *dev,
		      struct iommu_domain *domain, struct iova_domain *iovad)
{
	if (io_bounce_by_default() && !ref->bounce)
		io_bounce_new(ref, dev, domain, iovad);
}

/**
 * io_bounce_create_off - give a DMA domain bounce buffers that can be switched on
 * @ref: the domain's reference; set unless memory is short
 * @dev: a device of the domain
 * @domain: the domain, which may be in use
 * @iovad: its IOVA space, initialised
 *
 * Does nothing where there are any. What is mapped then cannot lie in the window:
 * that is reserved later.
 *
 * Context: may sleep; serialised per domain by the group's mutex.
 */
void io_bounce_create_off(struct io_bounce_ref *ref, struct device *dev,
			  struct iommu_domain *domain,
			  struct iova_domain *iovad)
{
	/* The devices of a crash kernel are attached too late for this. */
	if (!ref->bounce && !is_kdump_kernel())
		io_bounce_new(ref, dev, domain, iovad);
}

/**
 * io_bounce_destroy - undo io_bounce_create()
 * @ref: the domain's reference; no device may be attached to the domain
 *
 * Context: may sleep. Must come before the IOVA space is torn down.
 */
void io_bounce_destroy(struct io_bounce_ref *ref)
{
	struct io_bounce *bounce = ref->bounce;

	if (!bounce)
		return;

	ref->bounce = NULL;
	io_bounce_debugfs_remove(bounce);
	io_bounce_teardown(bounce);
	put_device(bounce->mgr.dev);
	kfree(bounce);
}
