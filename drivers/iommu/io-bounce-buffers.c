// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bounce buffers for streaming DMA through an IOMMU. What is copied:
 *
 *	map		to the slot, for all directions: a device that writes less
 *			than all of the buffer must not change the rest of it (as
 *			in swiotlb). Nothing with DMA_ATTR_OVERWRITE.
 *	unmap		from the slot, if the device may write
 *	sync for CPU	likewise, the part that is named
 *	sync for device	to the slot, the part that is named, if the device may read
 *
 * Each direction has slots of its own, so that a device has no permission that the
 * direction does not need, and so has DMA_ATTR_OVERWRITE: what a slot holds before the
 * device writes must be nobody's secret.
 */

#include <linux/crash_dump.h>
#include <linux/dma-map-ops.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/kmsan-checks.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swiotlb.h>
#include <trace/events/iommu_bounce.h>

#include "io-bounce-internal.h"

/* A slot was found. */
static __always_inline void count_hit(struct io_bounce *bounce,
				      struct device *dev,
				      enum io_bounce_counter hit)
{
	io_bounce_count(bounce, hit, 1);
	/* Coherent devices skip DMA syncs up to here. */
	dma_reset_need_sync(dev);
}

/* Count a miss, and request growth. */
static noinline void count_miss(struct io_bounce *bounce, struct device *dev,
				size_t size, enum dma_data_direction dir,
				enum io_buffer_perm perm)
{
	struct io_buffer_limits limits = io_bounce_limits(bounce, dev);
	enum io_buffer_miss reason = io_buffer_miss_reason(&bounce->mgr, perm,
							   size, limits.dma_limit);

	io_bounce_count(bounce, IO_BOUNCE_MISS_EMPTY + reason, 1);
	trace_iommu_bounce_miss(dev, size, dir, reason);
	if (reason == IO_BUFFER_MISS_FULL || reason == IO_BUFFER_MISS_EMPTY)
		io_buffer_request_grow(&bounce->mgr, perm, size, &limits);
}

static __always_inline bool get_slot(struct io_bounce *bounce,
				     struct device *dev, size_t size,
				     enum dma_data_direction dir,
				     unsigned long attrs,
				     enum io_bounce_counter hit,
				     struct io_buffer *buf)
{
	enum io_buffer_perm perm = io_bounce_perm(bounce, dir, attrs);

	if (likely(io_buffer_get(&bounce->mgr, perm, size, device_dma_limit(dev),
				 buf))) {
		count_hit(bounce, dev, hit);
		return true;
	}
	count_miss(bounce, dev, size, dir, perm);
	return false;
}

/**
 * io_bounce_get - get a slot for an optional bounce
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @size: in bytes, at least 1
 * @dir: DMA direction
 * @attrs: DMA_ATTR_*
 * @hit: the counter for success
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: false on a miss.
 */
bool io_bounce_get(struct io_bounce *bounce, struct device *dev, size_t size,
		   enum dma_data_direction dir, unsigned long attrs,
		   enum io_bounce_counter hit, struct io_buffer *buf)
{
	return get_slot(bounce, dev, size, dir, attrs, hit, buf);
}

/*
 * Get a slot for a mandatory bounce, perhaps a larger one. Nobody else uses the
 * reserve, so it comes first.
 */
static bool get_slot_mandatory(struct io_bounce *bounce, struct device *dev,
			       size_t size, enum io_buffer_perm perm,
			       struct io_buffer *buf)
{
	u64 limit = device_dma_limit(dev);

	if (io_buffer_get_reserved(&bounce->mgr, perm, size, limit, buf))
		return true;
	return io_buffer_get_any(&bounce->mgr, perm, size, limit, buf);
}

/*
 * Clear a slot that an untrusted device can access, before it is freed. So neither
 * free slots nor the rest of a slot in use show data of others.
 */
static noinline void wipe_slot(const struct io_bounce *bounce,
			       const struct io_buffer *buf)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	/* Write-only slots, too: many IOMMUs cannot deny reads. */
	memset(io_buffer_vaddr(buf) + slot->start, 0, slot->len);
	if (!bounce->coherent) {
		arch_sync_dma_for_device(io_buffer_phys(buf) + slot->start,
					 slot->len, DMA_TO_DEVICE);
		arch_sync_dma_flush();
	}
}

static __always_inline void put_slot(const struct io_bounce *bounce,
				     struct device *dev, dma_addr_t addr,
				     const struct io_buffer *buf)
{
	trace_iommu_bounce_unmap(dev, addr, buf);
	io_bounce_check_end(buf);
	if (unlikely(READ_ONCE(bounce->wipe)))
		wipe_slot(bounce, buf);
	io_buffer_slot(buf)->len = 0;
	io_buffer_pool_put(buf);
}

/**
 * io_bounce_put - free the slot of a mapping
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: DMA address of the mapping
 * @buf: the slot
 */
void io_bounce_put(struct io_bounce *bounce, struct device *dev,
		   dma_addr_t addr, const struct io_buffer *buf)
{
	put_slot(bounce, dev, addr, buf);
}

static __always_inline bool lookup_slot(struct io_bounce *bounce,
					struct device *dev, dma_addr_t addr,
					struct io_buffer *buf)
{
	/* The chunk of a free slot may be freed at any time. */
	scoped_guard(rcu) {
		if (likely(io_buffer_lookup(&bounce->mgr, addr, buf) &&
			   io_buffer_slot(buf)->len))
			return true;
	}

	dev_warn_once(dev, "unmap or sync of unmapped DMA address %pad\n", &addr);
	return false;
}

/**
 * io_bounce_lookup - get the slot of a mapping
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: a DMA address in the window
 * @buf: filled in with the slot
 *
 * Return: false, with a warning, if nothing is mapped there.
 */
bool io_bounce_lookup(struct io_bounce *bounce, struct device *dev,
		      dma_addr_t addr, struct io_buffer *buf)
{
	return lookup_slot(bounce, dev, addr, buf);
}

static void copy_highmem(phys_addr_t phys, void *slot, size_t len, bool to_slot)
{
	while (len) {
		size_t part = min(len, PAGE_SIZE - offset_in_page(phys));
		struct page *page = pfn_to_page(PHYS_PFN(phys));

		if (to_slot)
			memcpy_from_page(slot, page, offset_in_page(phys),
					 part);
		else
			memcpy_to_page(page, offset_in_page(phys), slot, part);
		phys += part;
		slot += part;
		len -= part;
	}
}

static __always_inline void copy_phys(phys_addr_t phys, void *slot, size_t len,
				      bool to_slot)
{
	/* Highmem is at the top, so the last byte tells for all of them. */
	if (PhysHighMem(phys + len - 1))
		copy_highmem(phys, slot, len, to_slot);
	else if (to_slot)
		memcpy(slot, phys_to_virt(phys), len);
	else
		memcpy(phys_to_virt(phys), slot, len);
}

/*
 * Find the buffer behind @offset of a slot with several buffers. Returns false if
 * there is none, else sets @phys. Either holds for @part bytes, 1 to @len.
 */
static bool next_part(const struct io_buffer *buf, size_t offset, size_t len,
		      phys_addr_t *phys, size_t *part)
{
	const struct io_buffer_granule *g = io_buffer_granules(buf);
	size_t granule = 1UL << buf->chunk->granule_shift;
	size_t in_granule = offset & (granule - 1);
	size_t end;

	*part = len;
	if (!g)
		return false;

	g += offset >> buf->chunk->granule_shift;
	end = g->start + g->len;
	if (!g->len || in_granule < g->start || in_granule >= end) {
		if (g->len && in_granule < g->start)
			end = g->start;
		else
			end = granule;
		*part = min(len, end - in_granule);
		return false;
	}

	*phys = g->phys + in_granule;
	*part = min(len, end - in_granule);
	/* Continue into the next granules as long as the buffer does. */
	for (; *part < len && end == granule; g++, end = g->start + g->len) {
		if (g[1].start || !g[1].len || g[1].phys != g->phys + granule)
			break;
		*part = min(len, *part + g[1].len);
	}
	return true;
}

static noinline void copy_list(const struct io_buffer *buf, size_t offset,
			       size_t len, bool to_slot)
{
	void *vaddr = io_buffer_vaddr(buf);
	phys_addr_t phys;
	size_t part;

	for (; len; offset += part, len -= part)
		if (next_part(buf, offset, len, &phys, &part))
			copy_phys(phys, vaddr + offset, part, to_slot);
}

static __always_inline void copy_slot(const struct io_buffer *buf,
				      size_t offset, size_t len, bool to_slot)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	if (likely(slot->orig != IO_BUFFER_LIST))
		copy_phys(slot->orig + (offset - slot->start),
			  io_buffer_vaddr(buf) + offset, len, to_slot);
	else
		copy_list(buf, offset, len, to_slot);
}

/* A wrong length from a driver must not corrupt memory beside its buffer. */
static __always_inline size_t
clamp_to_mapping(struct device *dev, const struct io_buffer *buf, size_t offset,
		 size_t len)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	size_t end = slot->start + slot->len;

	if (likely(offset >= slot->start && offset <= end &&
		   len <= end - offset))
		return len;

	/* The checker reports it, too. */
	if (!io_bounce_checked(buf))
		dev_warn_once(dev, "unmap or sync exceeds DMA mapping: offset %zd, size %zu, mapped %u\n",
			      (ssize_t)(offset - slot->start), len, slot->len);
	return offset < slot->start || offset >= end ? 0 : end - offset;
}

static __always_inline void sync_in(const struct io_bounce *bounce,
				    const struct io_buffer *buf, size_t offset,
				    size_t len, enum dma_data_direction dir)
{
	if (!bounce->coherent) {
		arch_sync_dma_for_device(io_buffer_phys(buf) + offset, len,
					 dir);
		arch_sync_dma_flush();
	}
}

static
void io_bounce_copy_in(struct io_bounce *bounce, struct device *dev,
		       const struct io_buffer *buf, size_t offset, size_t len,
		       enum dma_data_direction dir)
{
	len = clamp_to_mapping(dev, buf, offset, len);
	copy_slot(buf, offset, len, true);
	io_bounce_count(bounce, IO_BOUNCE_BYTES_IN, len);
	sync_in(bounce, buf, offset, len, dir);
}

/**
 * io_bounce_copy_out - copy part of a mapping from its slot
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @buf: the slot
 * @offset: from the start of the slot, in bytes
 * @len: in bytes
 * @dir: DMA direction
 *
 * Does nothing unless the device may write.
 */
void io_bounce_copy_out(struct io_bounce *bounce, struct device *dev,
			const struct io_buffer *buf, size_t offset, size_t len,
			enum dma_data_direction dir)
{
	if (dir == DMA_TO_DEVICE || !(buf->chunk->pool->prot & IOMMU_WRITE))
		return;

	len = clamp_to_mapping(dev, buf, offset, len);
	if (!bounce->coherent) {
		arch_sync_dma_for_cpu(io_buffer_phys(buf) + offset, len, dir);
		arch_sync_dma_flush();
	}
	/* KMSAN does not see the writes of the device. */
	kmsan_unpoison_memory(io_buffer_vaddr(buf) + offset, len);
	copy_slot(buf, offset, len, false);
	io_bounce_count(bounce, IO_BOUNCE_BYTES_OUT, len);
}

static __always_inline void fill(struct io_bounce *bounce,
				 const struct io_buffer *buf, size_t offset,
				 phys_addr_t phys, size_t len,
				 enum dma_data_direction dir)
{
	if (!buf->chunk->pool->overwrite) {
		copy_phys(phys, io_buffer_vaddr(buf) + offset, len, true);
		io_bounce_count(bounce, IO_BOUNCE_BYTES_IN, len);
	}
	sync_in(bounce, buf, offset, len, dir);
}

/**
 * io_bounce_fill - hand part of a slot to the device
 * @bounce: the bounce buffers of the domain
 * @buf: the slot
 * @offset: from the start of the slot, in bytes
 * @phys: physical address of the buffer there
 * @len: in bytes
 * @dir: DMA direction
 *
 * Copies the buffer unless the device overwrites it.
 */
void io_bounce_fill(struct io_bounce *bounce, const struct io_buffer *buf,
		    size_t offset, phys_addr_t phys, size_t len,
		    enum dma_data_direction dir)
{
	fill(bounce, buf, offset, phys, len, dir);
}

/* Use a slot for a buffer; returns the DMA address. */
static __always_inline dma_addr_t
fill_slot(struct io_bounce *bounce, struct device *dev,
	  const struct io_buffer *buf, phys_addr_t phys, size_t size,
	  enum dma_data_direction dir, unsigned long attrs)
{
	size_t offset = phys & (io_bounce_granule(bounce) - 1);
	dma_addr_t addr = io_buffer_iova(buf) + offset;

	*io_buffer_slot(buf) = (struct io_buffer_slot) {
		.orig = phys,
		.start = offset,
		.len = size,
	};
	io_bounce_check_begin(bounce, dev, buf);
	io_bounce_check_link(buf, offset, phys, size);
	fill(bounce, buf, offset, phys, size, dir);
	/* Otherwise a sync hands it over. */
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		io_bounce_check_own(buf, offset, size);
	trace_iommu_bounce_map(dev, addr, buf);
	return addr;
}

/* Out of line, so that its caller saves no registers for mappings that stay direct */
static noinline dma_addr_t
map_slot(struct io_bounce *bounce, struct device *dev, phys_addr_t phys,
	 size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	size_t offset = phys & (io_bounce_granule(bounce) - 1);
	struct io_buffer buf __uninitialized; /* get_slot() fills it in */

	if (!get_slot(bounce, dev, offset + size, dir, attrs, IO_BOUNCE_HITS_SINGLE,
		      &buf)) {
		io_bounce_check_escaped(bounce, size, dir, 0);
		return DMA_MAPPING_ERROR;
	}
	return fill_slot(bounce, dev, &buf, phys, size, dir, 0);
}

/* A direct sample of the limit. The caller maps the buffer again. */
static void sample_direct(struct io_bounce *bounce, u16 sample, struct device *dev,
			  phys_addr_t phys, size_t size, enum dma_data_direction dir)
{
	const unsigned long attrs = IO_BOUNCE_ATTR_SAMPLE | DMA_ATTR_NO_WARN;
	u64 start = io_bounce_clock();
	dma_addr_t addr = iommu_dma_map_phys(dev, phys, size, dir, attrs);

	if (addr != DMA_MAPPING_ERROR)
		iommu_dma_unmap_phys(dev, addr, size, dir, attrs);
	io_bounce_sample_end(&bounce->limit, sample, start, addr != DMA_MAPPING_ERROR);
}

static noinline dma_addr_t
map_undecided(struct io_bounce *bounce, struct device *dev, phys_addr_t phys,
	      size_t size, enum dma_data_direction dir, unsigned long attrs,
	      enum io_bounce_way way)
{
	struct io_bounce_verdict verdict = io_bounce_decide(bounce, size, 1, dir, way);
	u64 start = verdict.sample ? io_bounce_clock() : 0;
	struct io_buffer buf;
	dma_addr_t addr;

	if (!verdict.bounce) {
		if (verdict.sample)
			sample_direct(bounce, verdict.sample, dev, phys, size, dir);
		io_bounce_check_escaped(bounce, size, dir, 0);
		return DMA_MAPPING_ERROR;
	}

	addr = map_slot(bounce, dev, phys, size, dir, attrs);
	if (!verdict.sample)
		return addr;
	if (addr != DMA_MAPPING_ERROR && lookup_slot(bounce, dev, addr, &buf)) {
		io_buffer_slot(&buf)->sample = verdict.sample;
		io_bounce_sample_add(&bounce->limit, verdict.sample, start);
	} else {
		io_bounce_sample_end(&bounce->limit, verdict.sample, start, false);
	}
	return addr;
}

/**
 * __io_bounce_map - map a buffer through a slot if that is allowed
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @phys: physical address of the buffer
 * @size: in bytes
 * @dir: DMA direction
 * @attrs: DMA_ATTR_*
 *
 * Context: any but NMI.
 * Return: the DMA address, with the same offset in the granule as @phys, or
 * DMA_MAPPING_ERROR if the buffer has to be mapped directly.
 */
dma_addr_t __io_bounce_map(struct io_bounce *bounce, struct device *dev,
			   phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
	enum io_bounce_way way;

	if (io_bounce_too_large(bounce, size, dir) ||
	    !io_bounce_eligible(bounce, dev, attrs)) {
		io_bounce_check_escaped(bounce, size, dir, attrs);
		return DMA_MAPPING_ERROR;
	}
	way = io_bounce_get_way(&bounce->limit, size, 1, dir);
	if (likely(way == IO_BOUNCE_SLOT))
		return map_slot(bounce, dev, phys, size, dir, attrs);
	return map_undecided(bounce, dev, phys, size, dir, attrs, way);
}

/**
 * __io_bounce_map_mandatory - map a buffer through a slot because it must be bounced
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @phys: physical address of the buffer
 * @size: in bytes
 * @dir: DMA direction
 * @attrs: DMA_ATTR_*
 * @grow: add a chunk if no slot is free
 *
 * Context: any but NMI.
 * Return: the DMA address, or DMA_MAPPING_ERROR to fall back to SWIOTLB.
 */
dma_addr_t __io_bounce_map_mandatory(struct io_bounce *bounce,
				     struct device *dev, phys_addr_t phys,
				     size_t size, enum dma_data_direction dir,
				     unsigned long attrs, bool grow)
{
	size_t len = (phys & (io_bounce_granule(bounce) - 1)) + size;
	enum io_buffer_perm perm = io_bounce_perm(bounce, dir, 0);
	struct io_buffer buf;

	/* A slot with a mapping of 0 bytes would look free. */
	if (!size || !io_bounce_supported(bounce, dev, attrs))
		return DMA_MAPPING_ERROR;
	if (!get_slot_mandatory(bounce, dev, len, perm, &buf) &&
	    !(grow && io_buffer_grow_atomic(&bounce->mgr, perm, len,
					    device_dma_limit(dev), &buf))) {
		/* Was counted before SWIOTLB failed, too */
		if (grow && is_swiotlb_active(dev))
			return DMA_MAPPING_ERROR;
		count_miss(bounce, dev, len, dir, perm);
		io_bounce_count(bounce, IO_BOUNCE_MANDATORY_MISSES, 1);
		return DMA_MAPPING_ERROR;
	}
	count_hit(bounce, dev, IO_BOUNCE_HITS_SINGLE);
	io_bounce_count(bounce, IO_BOUNCE_MANDATORY_HITS, 1);
	return fill_slot(bounce, dev, &buf, phys, size, dir, attrs);
}

/*
 * A driver that unmaps less than it has mapped must not lose data. Larger sizes are
 * clamped later. Lists may be unmapped by the address of their first segment.
 */
static noinline size_t whole_mapping(struct device *dev,
				     const struct io_buffer *buf, size_t size)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	if (slot->orig == IO_BUFFER_LIST || size > slot->len)
		return size;
	if (!io_bounce_checked(buf))
		dev_warn_once(dev, "DMA mapping of %u bytes unmapped with %zu\n",
			      slot->len, size);
	return slot->len;
}

static __always_inline void
unmap_slot(struct io_bounce *bounce, struct device *dev,
	   const struct io_buffer *buf, dma_addr_t addr, size_t size,
	   enum dma_data_direction dir, unsigned long attrs)
{
	size_t offset = io_buffer_offset_in_slot(buf, addr);
	bool there = io_bounce_check_unmap(buf, offset, size, attrs);

	if (unlikely(size != io_buffer_slot(buf)->len))
		size = whole_mapping(dev, buf, size);
	if (there && dir != DMA_TO_DEVICE && !(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		io_bounce_copy_out(bounce, dev, buf, offset, size, dir);
	put_slot(bounce, dev, addr, buf);
}

static noinline void
unmap_sample(struct io_bounce *bounce, struct device *dev,
	     const struct io_buffer *buf, dma_addr_t addr, size_t size,
	     enum dma_data_direction dir, unsigned long attrs)
{
	u16 sample = io_buffer_slot(buf)->sample;
	u64 start = io_bounce_clock();

	unmap_slot(bounce, dev, buf, addr, size, dir, attrs);
	io_bounce_sample_end(&bounce->limit, sample, start,
			     !(attrs & DMA_ATTR_SKIP_CPU_SYNC));
}

/* Out of line, so that its caller saves no registers for direct mappings */
static noinline bool
unmap_bounced(struct io_bounce *bounce, struct device *dev, dma_addr_t addr,
	      size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	struct io_buffer buf __uninitialized; /* lookup_slot() fills it in */

	if (!lookup_slot(bounce, dev, addr, &buf))
		return true;
	if (unlikely(io_buffer_slot(&buf)->sample))
		unmap_sample(bounce, dev, &buf, addr, size, dir, attrs);
	else
		unmap_slot(bounce, dev, &buf, addr, size, dir, attrs);
	return true;
}

/**
 * __io_bounce_unmap - undo __io_bounce_map() or __io_bounce_map_mandatory()
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: the DMA address
 * @size: in bytes, as mapped
 * @dir: DMA direction, as mapped
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 *
 * Context: any but NMI; any CPU.
 * Return: false, without effect, if @addr is not in a slot.
 */
bool __io_bounce_unmap(struct io_bounce *bounce, struct device *dev,
		       dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs)
{
	return is_io_buffer_addr(&bounce->mgr, addr) &&
	       unmap_bounced(bounce, dev, addr, size, dir, attrs);
}

static void sync_for_device(struct io_bounce *bounce, struct device *dev,
			    const struct io_buffer *buf, size_t offset,
			    size_t size, enum dma_data_direction dir)
{
	if (!io_bounce_check_for_device(buf, offset, size))
		return;
	/* As in swiotlb, the device keeps what it has written so far. */
	if (dir != DMA_FROM_DEVICE) {
		io_bounce_copy_in(bounce, dev, buf, offset, size, dir);
	} else if (!bounce->coherent) {
		arch_sync_dma_for_device(io_buffer_phys(buf) + offset, size,
					 dir);
		arch_sync_dma_flush();
	}
	io_bounce_check_own(buf, offset, size);
}

static void sync_for_cpu(struct io_bounce *bounce, struct device *dev,
			 const struct io_buffer *buf, size_t offset,
			 size_t size, enum dma_data_direction dir)
{
	if (!io_bounce_check_for_cpu(buf, offset, size))
		return;
	io_bounce_copy_out(bounce, dev, buf, offset, size, dir);
	io_bounce_check_synced(buf, offset, size);
}

/**
 * __io_bounce_sync - DMA sync of part of a mapping
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: a DMA address within the mapping
 * @size: in bytes
 * @dir: DMA direction, as mapped
 * @for_cpu: for the CPU, otherwise for the device
 *
 * Context: any but NMI.
 * Return: false, without effect, if @addr is not in a slot.
 */
bool __io_bounce_sync(struct io_bounce *bounce, struct device *dev,
		      dma_addr_t addr, size_t size,
		      enum dma_data_direction dir, bool for_cpu)
{
	struct io_buffer buf;
	size_t offset;
	u64 start = 0;
	u16 sample;

	if (!is_io_buffer_addr(&bounce->mgr, addr))
		return false;
	if (!lookup_slot(bounce, dev, addr, &buf))
		return true;

	sample = io_buffer_slot(&buf)->sample;
	if (unlikely(sample))
		start = io_bounce_clock();
	offset = io_buffer_offset_in_slot(&buf, addr);
	if (for_cpu)
		sync_for_cpu(bounce, dev, &buf, offset, size, dir);
	else
		sync_for_device(bounce, dev, &buf, offset, size, dir);
	if (unlikely(sample))
		io_bounce_sample_add(&bounce->limit, sample, start);
	trace_iommu_bounce_sync(dev, addr, size, dir, for_cpu);
	return true;
}

static void io_bounce_work(struct work_struct *work)
{
	struct io_bounce *bounce = container_of(work, struct io_bounce, work);

	/* During shutdown the IOMMU may be off already. */
	if (system_state > SYSTEM_RUNNING)
		return;

	io_bounce_alloc_stats(bounce);
	io_bounce_log_unpromised(bounce);
	io_bounce_limit_alloc(&bounce->limit);
}

/**
 * io_bounce_setup - initialise the bounce buffers of a domain
 * @bounce: zeroed memory
 * @coherent: the devices of the domain are DMA coherent
 * @domain: the domain
 * @iovad: its IOVA space, initialised
 * @memory_max: the budget in bytes
 */
void io_bounce_setup(struct io_bounce *bounce, bool coherent,
		     struct iommu_domain *domain, struct iova_domain *iovad,
		     size_t memory_max)
{
	bounce->coherent = coherent;
	INIT_WORK(&bounce->work, io_bounce_work);
	io_bounce_check_setup(bounce);
	io_buffer_manager_init(&bounce->mgr, domain, iovad, memory_max);
	io_buffer_reclaim_init(&bounce->mgr);
	io_bounce_limit_init(&bounce->limit, &bounce->mgr, &bounce->work);
	io_bounce_init_mode(bounce);
}

/**
 * io_bounce_teardown - undo io_bounce_setup()
 * @bounce: the bounce buffers; no device can access them any more
 *
 * Context: may sleep.
 */
void io_bounce_teardown(struct io_bounce *bounce)
{
	cancel_work_sync(&bounce->work);
	put_device(bounce->unpromised);
	io_bounce_check_teardown(bounce);
	io_bounce_limit_destroy(&bounce->limit);
	io_buffer_reclaim_stop(&bounce->mgr);
	io_buffer_manager_destroy(&bounce->mgr);
	free_percpu(bounce->stats);
}

static int group_number(struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);
	int id = group ? iommu_group_id(group) : -1;

	iommu_group_put(group);
	return id;
}

static void io_bounce_create(struct io_bounce_ref *ref, struct device *dev,
			     struct iommu_domain *domain,
			     struct iova_domain *iovad)
{
	struct io_bounce *bounce = kzalloc_obj(*bounce);

	if (!bounce)
		return;

	/* Set before the mode */
	bounce->expensive = dev->iommu->shadow_on_flush ||
			    device_iommu_capable(dev, IOMMU_CAP_EXPENSIVE_MAP);
	bounce->wipe = dev_is_untrusted(dev);
	io_bounce_setup(bounce, dev_is_dma_coherent(dev), domain, iovad,
			io_bounce_memory);
	bounce->mgr.group = group_number(dev);
	bounce->mgr.dev = get_device(dev);
	io_bounce_enable_reserve(bounce, dev);
	io_bounce_debugfs_add(bounce);
	/* The domain may be in use: pairs with the dependency on the pointer. */
	smp_store_release(&ref->bounce, bounce);
}

/*
 * Another device joins a domain. If it is the first untrusted one, free slots hold data
 * of the others: clear them. Slots in use are cleared when they are freed, unless that
 * is happening right now.
 */
static void add_device(struct io_bounce *bounce, struct device *dev)
{
	if (bounce->wipe || !dev_is_untrusted(dev))
		return;
	WRITE_ONCE(bounce->wipe, true);
	io_buffer_wipe(&bounce->mgr);
	io_bounce_enable_reserve(bounce, dev);
}

/**
 * __io_bounce_attach - a device is attached to a DMA domain
 * @ref: of the domain
 * @dev: the device
 * @domain: the domain
 * @iovad: its IOVA space, initialised
 *
 * Creates the bounce buffers of the domain if they are enabled. If that fails, all
 * buffers are mapped directly.
 *
 * Context: may sleep; serialised by the mutex of the group.
 */
void __io_bounce_attach(struct io_bounce_ref *ref, struct device *dev,
			struct iommu_domain *domain, struct iova_domain *iovad)
{
	if (ref->bounce)
		add_device(ref->bounce, dev);
	else if (io_bounce_enabled_at_boot())
		io_bounce_create(ref, dev, domain, iovad);
}

/**
 * io_bounce_attach_disabled - create bounce buffers that sysfs can enable
 * @ref: of the domain
 * @dev: a device of the domain
 * @domain: the domain, which may be in use
 * @iovad: its IOVA space, initialised
 *
 * Direct mappings cannot be in the window, which is allocated later.
 *
 * Context: may sleep; serialised by the mutex of the group.
 * Return: the bounce buffers, or NULL.
 */
struct io_bounce *io_bounce_attach_disabled(struct io_bounce_ref *ref,
					    struct device *dev,
					    struct iommu_domain *domain,
					    struct iova_domain *iovad)
{
	if (ref->bounce)
		add_device(ref->bounce, dev);
	/* Devices may be attached in atomic context there. */
	else if (!is_kdump_kernel())
		io_bounce_create(ref, dev, domain, iovad);
	return ref->bounce;
}

/**
 * __io_bounce_destroy - free the bounce buffers of a domain
 * @ref: of the domain, to which no device is attached
 *
 * Context: may sleep; before the IOVA space is freed.
 */
void __io_bounce_destroy(struct io_bounce_ref *ref)
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
