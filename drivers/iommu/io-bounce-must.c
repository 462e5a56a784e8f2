// SPDX-License-Identifier: GPL-2.0-only
/*
 * What must be bounced, whether it pays or not: DMA of untrusted devices, which
 * would see what lies next to a buffer, and of devices that are not coherent,
 * which share cache lines with what lies next to a kmalloc() buffer. dma-iommu
 * says which mappings these are. What is not served here is left to SWIOTLB.
 */

#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/string.h>
#include <linux/swiotlb.h>

#include "io-bounce-internal.h"

/**
 * io_bounce_reserve - have memory for what nobody else would bounce
 * @bounce: the bounce buffers of the domain
 * @dev: a device of it
 *
 * Where there is no SWIOTLB, a miss is an error: have some memory before the
 * first mapping, and keep it. Of devices that are only not coherent, none must be
 * bounced there: kmalloc() then keeps its buffers in cache lines of their own.
 *
 * Context: may sleep.
 */
void io_bounce_reserve(struct io_bounce *bounce, struct device *dev)
{
	struct io_buffer_limits limits;

	if (!READ_ONCE(bounce->wipe) || bounce->mode == BOUNCE_OFF ||
	    is_swiotlb_active(dev))
		return;
	limits = io_bounce_limits(bounce, dev);
	io_buffer_reserve(&bounce->mgr, &limits);
}

/**
 * io_bounce_prepare_must - prepare for what must be bounced
 * @bounce: the bounce buffers of a domain that does no DMA yet
 * @dev: its first device
 *
 * Context: may sleep.
 */
void io_bounce_prepare_must(struct io_bounce *bounce, struct device *dev)
{
	bounce->wipe = dev_is_untrusted(dev);
	io_bounce_reserve(bounce, dev);
}

/**
 * io_bounce_add_device - another device joins a domain
 * @ref: the domain's reference
 * @dev: the device
 *
 * One that does not get on with bounce buffers switches them off, for good. If it
 * is the first untrusted one, what the others used is not wiped: get rid
 * of it. The chunks in use at that very moment stay until they are idle, those of
 * a device that is suspended until it is not.
 *
 * Context: may sleep; serialised per domain by the group's mutex.
 */
void io_bounce_add_device(struct io_bounce_ref *ref, struct device *dev)
{
	struct io_bounce *bounce = ref->bounce;

	if (io_bounce_hint(dev) == IOMMU_BOUNCE_NEVER)
		ref->never = true;
	if (!bounce)
		return;
	if (ref->never && bounce->hint != IOMMU_BOUNCE_NEVER) {
		WRITE_ONCE(bounce->hint, IOMMU_BOUNCE_NEVER);
		io_bounce_follow(bounce, BOUNCE_OFF, bounce->max);
		io_buffer_drop(&bounce->mgr);
	}
	if (bounce->wipe || !dev_is_untrusted(dev))
		return;
	WRITE_ONCE(bounce->wipe, true);
	io_buffer_drop(&bounce->mgr);
	io_bounce_reserve(bounce, dev);
}

/**
 * io_bounce_wipe - zero what an untrusted device could still read in a slot
 * @bounce: the bounce buffers of the domain
 * @buf: the slot, about to be given back
 *
 * Memory that is not in use then shows nothing: neither do the slots that are
 * free, nor what lies around a buffer in a slot that is not. What the device
 * writes there is its own.
 */
void io_bounce_wipe(const struct io_bounce *bounce, const struct io_buffer *buf)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	/* Also write-only ones: to many page tables that means both. */
	memset(io_buffer_vaddr(buf) + slot->start, 0, slot->len);
	if (!bounce->coherent) {
		arch_sync_dma_for_device(io_buffer_phys(buf) + slot->start,
					 slot->len, DMA_TO_DEVICE);
		arch_sync_dma_flush();
	}
}

/**
 * __io_bounce_serves - do the bounce buffers take what must be bounced
 * @bounce: the bounce buffers of the domain
 * @dev: a device of it
 * @size: bytes to be mapped
 *
 * Return: false while they are switched off, and for what no slot is ever right.
 */
bool __io_bounce_serves(const struct io_bounce *bounce, struct device *dev,
			size_t size)
{
	const struct io_buffer_manager *mgr = &bounce->mgr;

	/* It may begin anywhere in a granule. */
	return io_bounce_possible(bounce, dev, 0) &&
	       io_buffer_reachable(mgr, device_dma_limit(dev)) &&
	       size <= min_t(size_t, IO_BUFFER_MAX_SLOT,
			     1UL << mgr->region_shift) -
		       (1UL << mgr->granule_shift);
}

/* A larger slot is better than none. */
static bool get_any(struct io_bounce *bounce, struct device *dev, size_t size,
		    enum dma_data_direction dir, enum io_bounce_counter hit,
		    struct io_buffer *buf)
{
	unsigned int class = io_buffer_class(&bounce->mgr, size);
	unsigned int shift = bounce->mgr.granule_shift;

	for (; class < IO_BUFFER_NR_CLASSES; class++)
		if (io_bounce_try(bounce, dev, (size_t)1 << (shift + class),
				  dir, hit, buf))
			return true;
	return false;
}

static bool count_hit(struct io_bounce *bounce, struct device *dev,
		      enum io_bounce_counter hit)
{
	io_bounce_count(bounce, hit, 1);
	/* As in io_bounce_try() */
	dma_reset_need_sync(dev);
	return true;
}

/**
 * io_bounce_get_must - take a slot for what must be bounced
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @size: bytes the slot must hold, at least 1
 * @dir: what the device may do with them
 * @hit: what to count if there is one
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: true, or false if it is left to SWIOTLB.
 */
bool io_bounce_get_must(struct io_bounce *bounce, struct device *dev,
			size_t size, enum dma_data_direction dir,
			enum io_bounce_counter hit, struct io_buffer *buf)
{
	enum io_buffer_perm perm = io_bounce_perm(dir);
	u64 limit = device_dma_limit(dev);

	/* Where there is a reserve, nobody else can use it up. */
	if (io_buffer_get_reserved(&bounce->mgr, perm, size, limit, buf))
		return count_hit(bounce, dev, hit);
	if (get_any(bounce, dev, size, dir, hit, buf))
		return true;
	/* Where SWIOTLB would help, this does not. */
	if (io_buffer_grow_now(&bounce->mgr, perm, size, limit, buf))
		return count_hit(bounce, dev, hit);
	return io_bounce_get(bounce, dev, size, dir, hit, buf);
}

/**
 * io_bounce_map_must - __io_bounce_map() for what must be bounced
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @phys: physical address of the buffer
 * @offset: its offset in its granule
 * @size: in bytes
 * @dir: direction
 * @attrs: DMA_ATTR_* and IO_BOUNCE_MUST
 *
 * It is not timed: it is not done because it is worth it.
 *
 * Context: any but NMI.
 * Return: the DMA address, or DMA_MAPPING_ERROR if it is left to SWIOTLB.
 */
dma_addr_t io_bounce_map_must(struct io_bounce *bounce, struct device *dev,
			      phys_addr_t phys, size_t offset, size_t size,
			      enum dma_data_direction dir, unsigned long attrs)
{
	struct io_buffer buf;
	bool served;

	/* No bytes are no mapping: a slot without a length is a free one. */
	served = size &&
		 io_bounce_allowed(bounce, dev, size, 1, dir, attrs) &&
		 io_bounce_get_must(bounce, dev, offset + size, dir,
				    IO_BOUNCE_HITS_SINGLE, &buf);
	io_bounce_count_must(bounce, served);
	return served ? io_bounce_fill(bounce, dev, &buf, phys, offset, size,
				       dir) : DMA_MAPPING_ERROR;
}
