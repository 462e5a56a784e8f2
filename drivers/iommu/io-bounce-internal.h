/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the files of the bounce layer. Calls go one way: dma-iommu.c,
 * io-bounce-sg.c, io-bounce-buffers.c, io-bounce-policy.c, io-bounce-limit.c,
 * io-bounce-debugfs.c, io-buffer-*.c.
 */
#ifndef __IO_BOUNCE_INTERNAL_H
#define __IO_BOUNCE_INTERNAL_H

#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/iommu.h>

#include "io-bounce-buffers.h"
#include "dma-iommu.h"

/* Which mappings are bounced although they need not be */
enum io_bounce_mode {
	BOUNCE_OFF,	/* none; mandatory bounces use SWIOTLB */
	BOUNCE_AUTO,	/* as ON, if measured to be faster */
	BOUNCE_ON,	/* if the driver of the device promises strict ownership */
	BOUNCE_FORCE,	/* all that are supported */
	BOUNCE_NR_MODES
};

/* Not normal memory, or must not be copied */
#define IO_BOUNCE_ATTRS_UNSUPPORTED	(DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT | \
					 DMA_ATTR_CC_SHARED | DMA_ATTR_PRIVILEGED)
/* A direct sample of the limit, for calls of iommu_dma_map_*() from here */
#define IO_BOUNCE_ATTR_SAMPLE		BIT(31)
/*
 * Long-lived mappings gain nothing. With DMA_ATTR_SKIP_CPU_SYNC the caller syncs
 * separately, or not at all.
 */
#define IO_BOUNCE_ATTRS_MANDATORY_ONLY	(DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_LONG_LIVED | \
					 IO_BOUNCE_ATTR_SAMPLE)

extern const char * const io_bounce_modes[BOUNCE_NR_MODES];

/* io-bounce-buffers.c */
void io_bounce_setup(struct io_bounce *bounce, bool coherent,
		     struct iommu_domain *domain, struct iova_domain *iovad,
		     size_t memory_max);
void io_bounce_teardown(struct io_bounce *bounce);
bool io_bounce_get(struct io_bounce *bounce, struct device *dev, size_t size,
		   enum dma_data_direction dir, unsigned long attrs,
		   enum io_bounce_counter hit, struct io_buffer *buf);
void io_bounce_unmap_any(struct device *dev, dma_addr_t addr, size_t size,
			 enum dma_data_direction dir, unsigned long attrs,
			 struct io_bounce *bounce);
void io_bounce_put(struct io_bounce *bounce, struct device *dev,
		   dma_addr_t addr, const struct io_buffer *buf);
void io_bounce_warn_unmapped(struct device *dev, dma_addr_t addr);
void io_bounce_copy_highmem(phys_addr_t phys, void *slot, size_t len,
			    bool to_slot);
void io_bounce_copy_out(struct io_bounce *bounce, struct device *dev,
			const struct io_buffer *buf, size_t offset, size_t len,
			enum dma_data_direction dir);

/* io-bounce-policy.c */
extern size_t io_bounce_memory;
bool io_bounce_enabled_at_boot(void);
void io_bounce_init_mode(struct io_bounce *bounce);
void io_bounce_set_mode(struct io_bounce *bounce, enum io_bounce_mode mode,
			size_t max);
bool io_bounce_supported(const struct io_bounce *bounce, struct device *dev,
			 unsigned long attrs);
void io_bounce_count_ineligible(struct io_bounce *bounce, struct device *dev,
				unsigned long attrs);
struct io_bounce_verdict __io_bounce_decide(struct io_bounce *bounce,
					    size_t size, unsigned int nr_segs,
					    enum dma_data_direction dir,
					    enum io_bounce_way way);
struct io_buffer_limits io_bounce_limits(const struct io_bounce *bounce,
					 struct device *dev);
void io_bounce_enable_reserve(struct io_bounce *bounce, struct device *dev);
void io_bounce_log_unpromised(struct io_bounce *bounce);

/* io-bounce-debugfs.c */
void io_bounce_count_early(struct io_bounce *bounce,
			   enum io_bounce_counter counter, u64 add);
void io_bounce_alloc_stats(struct io_bounce *bounce);
u64 io_bounce_counted(const struct io_bounce *bounce,
		      enum io_bounce_counter counter);
void io_bounce_debugfs_add(struct io_bounce *bounce);
void io_bounce_debugfs_remove(struct io_bounce *bounce);

/* The window is within what the domain can translate. */
static inline u64 device_dma_limit(struct device *dev)
{
	return min_not_zero(dma_get_mask(dev), dev->bus_dma_limit);
}

static inline size_t io_bounce_granule(const struct io_bounce *bounce)
{
	return (size_t)bounce->mgr.granule_mask + 1;
}

static inline void io_bounce_count(struct io_bounce *bounce,
				   enum io_bounce_counter counter, u64 add)
{
	/* Pairs with io_bounce_alloc_stats(). */
	struct io_bounce_stats __percpu *stats = READ_ONCE(bounce->stats);

	if (likely(stats))
		this_cpu_add(stats->count[counter], add);
	else
		io_bounce_count_early(bounce, counter, add);
}

/*
 * The permission that a mapping needs. A device that reports success although it did not
 * overwrite all returns what was in the slot: untrusted devices must not.
 */
static __always_inline enum io_buffer_perm
io_bounce_perm(const struct io_bounce *bounce, enum dma_data_direction dir,
	       unsigned long attrs)
{
	static_assert((int)IO_BUFFER_READ_WRITE - DMA_BIDIRECTIONAL == 0);
	static_assert((int)IO_BUFFER_READ - DMA_TO_DEVICE == 0);
	static_assert((int)IO_BUFFER_WRITE - DMA_FROM_DEVICE == 0);

	if (attrs & DMA_ATTR_OVERWRITE && dir == DMA_FROM_DEVICE &&
	    !READ_ONCE(bounce->wipe))
		return IO_BUFFER_OVERWRITE;
	return (enum io_buffer_perm)dir;
}

/*
 * Not supported: confidential guests, which need decrypted slots; devices with a
 * min_align_mask that exceeds the granule; devices that differ in coherence from the
 * first one of the domain.
 */
static __always_inline bool
io_bounce_device_supported(const struct io_bounce *bounce, struct device *dev)
{
	return !force_dma_unencrypted(dev) &&
	       dev_is_dma_coherent(dev) == bounce->coherent &&
	       !(dma_get_min_align_mask(dev) >> bounce->mgr.granule_shift);
}

/*
 * Bouncing breaks drivers that access a buffer while the device owns it. Only their
 * authors and the checker can tell which do not.
 */
static __always_inline bool io_bounce_promised(const struct io_bounce *bounce,
					       struct device *dev)
{
	return dev_dma_strict_ownership(dev) ||
	       READ_ONCE(bounce->mode) == BOUNCE_FORCE;
}

/* May a mapping be bounced if it is small enough? */
static __always_inline bool io_bounce_allowed(const struct io_bounce *bounce,
					      struct device *dev,
					      unsigned long attrs)
{
	return !(attrs & (IO_BOUNCE_ATTRS_UNSUPPORTED |
			  IO_BOUNCE_ATTRS_MANDATORY_ONLY)) &&
	       io_bounce_promised(bounce, dev) &&
	       io_bounce_device_supported(bounce, dev);
}

/* The same. If it must not, the reason is counted. */
static __always_inline bool io_bounce_eligible(struct io_bounce *bounce,
					       struct device *dev,
					       unsigned long attrs)
{
	if (likely(io_bounce_allowed(bounce, dev, attrs)))
		return true;
	io_bounce_count_ineligible(bounce, dev, attrs);
	return false;
}

/* What to do with a mapping; @way is from io_bounce_get_way() */
static __always_inline struct io_bounce_verdict
io_bounce_decide(struct io_bounce *bounce, size_t size, unsigned int nr_segs,
		 enum dma_data_direction dir, enum io_bounce_way way)
{
	if (likely(way == IO_BOUNCE_SLOT))
		return (struct io_bounce_verdict) { .bounce = true };
	return __io_bounce_decide(bounce, size, nr_segs, dir, way);
}

/* Is a mapping direct because of its size, whatever else? If so, that is counted. */
static __always_inline bool io_bounce_too_large(struct io_bounce *bounce, size_t size,
						enum dma_data_direction dir)
{
	if (likely(!io_bounce_above(&bounce->limit, size, dir)))
		return false;
	io_bounce_count(bounce, IO_BOUNCE_DIRECT_LIMIT, 1);
	return true;
}

#include "io-bounce-check.h"

/*
 * Find the slot of a mapping: @addr is in the window. Returns false, with a warning, if
 * nothing is mapped there.
 */
static __always_inline bool io_bounce_lookup(const struct io_bounce *bounce,
					     struct device *dev, dma_addr_t addr,
					     struct io_buffer *buf)
{
	/* The chunk of a free slot may be freed at any time. */
	scoped_guard(rcu) {
		if (likely(io_buffer_lookup(&bounce->mgr, addr, buf) &&
			   io_buffer_slot(buf)->len))
			return true;
	}

	io_bounce_warn_unmapped(dev, addr);
	return false;
}

static __always_inline void io_bounce_copy(phys_addr_t phys, void *slot, size_t len,
					   bool to_slot)
{
	/* Highmem is at the top, so the last byte tells for all of them. */
	if (PhysHighMem(phys + len - 1))
		io_bounce_copy_highmem(phys, slot, len, to_slot);
	else if (to_slot)
		memcpy(slot, phys_to_virt(phys), len);
	else
		memcpy(phys_to_virt(phys), slot, len);
}

/* Copy a buffer to its slot unless the device overwrites it. */
static __always_inline void io_bounce_copy_in(struct io_bounce *bounce,
					      const struct io_buffer *buf,
					      size_t offset, phys_addr_t phys,
					      size_t len)
{
	if (buf->chunk->pool->overwrite)
		return;
	io_bounce_count(bounce, IO_BOUNCE_BYTES_IN, len);
	io_bounce_copy(phys, io_buffer_vaddr(buf) + offset, len, true);
}

/* Part of a slot, from @offset on, is for the device. */
static __always_inline void io_bounce_sync_device(const struct io_bounce *bounce,
						  const struct io_buffer *buf,
						  size_t offset, size_t len,
						  enum dma_data_direction dir)
{
	if (!bounce->coherent) {
		arch_sync_dma_for_device(io_buffer_phys(buf) + offset, len,
					 dir);
		arch_sync_dma_flush();
	}
}

/* Hand a buffer to the device. */
static __always_inline void io_bounce_fill(struct io_bounce *bounce,
					   const struct io_buffer *buf,
					   size_t offset, phys_addr_t phys,
					   size_t len,
					   enum dma_data_direction dir)
{
	io_bounce_copy_in(bounce, buf, offset, phys, len);
	io_bounce_sync_device(bounce, buf, offset, len, dir);
}

#endif /* __IO_BOUNCE_INTERNAL_H */
