// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bounce buffers for streaming DMA through an IOMMU. What is copied where:
 *
 *	map		always copies in, also for DMA_FROM_DEVICE: the device
 *			may write less than all of the buffer, and what it does
 *			not write must come back as it was (as in swiotlb)
 *	unmap		copies out what the device may have written
 *	sync for CPU	likewise, the part that is named
 *	sync for device	copies in the part that is named, unless the device
 *			only writes
 *
 * Each direction has slots of its own, so that the device is never permitted
 * more than the direction says.
 */

#include <linux/dma-map-ops.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/kmsan-checks.h>
#include <trace/events/iommu_bounce.h>

#include "io-bounce-internal.h"

/**
 * io_bounce_ordinary - a mapping is about to be made the ordinary way
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @size: bytes to be mapped in one operation
 * @pieces: places in memory that they lie in; 0: it is not because of the limit
 * @dir: direction
 *
 * Context: any but NMI.
 */
void io_bounce_ordinary(struct io_bounce *bounce, struct device *dev,
			size_t size, unsigned int pieces,
			enum dma_data_direction dir)
{
	if (io_bounce_limit_probe(&bounce->limit, dev, &bounce->mgr, size,
				  pieces, dir))
		queue_work(system_dfl_wq, &bounce->work);
}

/* Count a miss and ask for more. */
static noinline void io_bounce_missed(struct io_bounce *bounce,
				      struct device *dev, size_t size,
				      enum dma_data_direction dir)
{
	struct io_buffer_limits limits = io_bounce_limits(bounce, dev);
	enum io_buffer_perm perm = io_bounce_perm(dir);
	enum io_buffer_miss why = io_buffer_why(&bounce->mgr, perm, size,
						limits.dma_limit);

	io_bounce_count(bounce, IO_BOUNCE_MISS_COLD + why, 1);
	trace_bounce_miss(dev, size, dir, why);
	io_bounce_ordinary(bounce, dev, size, 0, dir);
	if (why == IO_BUFFER_MISS_BUSY || why == IO_BUFFER_MISS_COLD)
		io_buffer_want(&bounce->mgr, perm, size, &limits);
}

static __always_inline bool try_slot(struct io_bounce *bounce,
				     struct device *dev, size_t size,
				     enum dma_data_direction dir,
				     enum io_bounce_counter hit,
				     struct io_buffer *buf)
{
	if (unlikely(!io_buffer_get(&bounce->mgr, io_bounce_perm(dir), size,
				    device_dma_limit(dev), buf)))
		return false;

	io_bounce_count(bounce, hit, 1);
	/* Coherent devices skip sync calls until told not to. */
	dma_reset_need_sync(dev);
	return true;
}

/**
 * io_bounce_try - take a slot if there is one, else do nothing
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @size: bytes the slot must hold, at least 1
 * @dir: what the device may do with them
 * @hit: what to count if there is one
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: true, or false if there is none.
 */
bool io_bounce_try(struct io_bounce *bounce, struct device *dev, size_t size,
		   enum dma_data_direction dir, enum io_bounce_counter hit,
		   struct io_buffer *buf)
{
	return try_slot(bounce, dev, size, dir, hit, buf);
}

static __always_inline bool get_slot(struct io_bounce *bounce,
				     struct device *dev, size_t size,
				     enum dma_data_direction dir,
				     enum io_bounce_counter hit,
				     struct io_buffer *buf)
{
	if (likely(try_slot(bounce, dev, size, dir, hit, buf)))
		return true;
	io_bounce_missed(bounce, dev, size, dir);
	return false;
}

/**
 * io_bounce_get - take a slot for a device
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @size: bytes the slot must hold, at least 1
 * @dir: what the device may do with them
 * @hit: what to count if there is one
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: true, or false if the mapping is to be made another way.
 */
bool io_bounce_get(struct io_bounce *bounce, struct device *dev, size_t size,
		   enum dma_data_direction dir, enum io_bounce_counter hit,
		   struct io_buffer *buf)
{
	return get_slot(bounce, dev, size, dir, hit, buf);
}

static __always_inline void put_slot(const struct io_bounce *bounce,
				     struct device *dev, dma_addr_t addr,
				     const struct io_buffer *buf)
{
	trace_bounce_unmap(dev, addr, buf);
	io_bounce_check_end(buf);
	if (unlikely(READ_ONCE(bounce->wipe)))
		io_bounce_wipe(bounce, buf);
	io_buffer_slot(buf)->len = 0;
	io_buffer_pool_put(buf);
}

static __always_inline bool find_slot(struct io_bounce *bounce,
				      struct device *dev, dma_addr_t addr,
				      struct io_buffer *buf)
{
	/* The chunk of a slot that is not in use may go at any time. */
	scoped_guard(rcu) {
		if (likely(io_buffer_find(&bounce->mgr, addr, buf) &&
			   io_buffer_slot(buf)->len))
			return true;
	}

	dev_warn_once(dev, "no DMA mapping at %pad\n", &addr);
	return false;
}

/**
 * io_bounce_put - give a slot back and forget what it stood for
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: the DMA address that the mapping began at
 * @buf: the slot
 */
void io_bounce_put(struct io_bounce *bounce, struct device *dev,
		   dma_addr_t addr, const struct io_buffer *buf)
{
	put_slot(bounce, dev, addr, buf);
}

/**
 * io_bounce_find - from a bounced address to its slot
 * @bounce: the bounce buffers of the domain
 * @dev: the device, for the message
 * @addr: an address in the window
 * @buf: filled in with the slot
 *
 * Return: true; false, having said so, if nothing is mapped there: the driver
 * unmaps or syncs twice, or what it never mapped.
 */
bool io_bounce_find(struct io_bounce *bounce, struct device *dev,
		    dma_addr_t addr, struct io_buffer *buf)
{
	return find_slot(bounce, dev, addr, buf);
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

/* Copy between memory that may have no kernel address and a slot. */
static __always_inline void copy_phys(phys_addr_t phys, void *slot, size_t len,
				      bool to_slot)
{
	/* What ends in memory with a kernel address has one from its start on. */
	if (PhysHighMem(phys + len - 1))
		copy_highmem(phys, slot, len, to_slot);
	else if (to_slot)
		memcpy(slot, phys_to_virt(phys), len);
	else
		memcpy(phys_to_virt(phys), slot, len);
}

/*
 * What lies behind a list's slot from @offset on: false if nothing was linked
 * there, else @phys, contiguous for @part bytes. At most @len, at least one.
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
	/* Go on where the next granule begins where this one ends. */
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

/*
 * Copy no more than was mapped: a length that the driver got wrong must not
 * overwrite what lies next to its buffer.
 */
static __always_inline size_t
clamp_to_mapping(struct device *dev, const struct io_buffer *buf, size_t offset,
		 size_t len)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	size_t end = slot->start + slot->len;

	if (likely(offset >= slot->start && offset <= end &&
		   len <= end - offset))
		return len;

	/* The checker has its own report. */
	if (!io_bounce_checked(buf))
		dev_warn_once(dev, "DMA mapping of %u bytes used with offset %zd, size %zu\n",
			      slot->len, (ssize_t)(offset - slot->start), len);
	return offset < slot->start || offset >= end ? 0 : end - offset;
}

/* What was copied in becomes visible to the device. */
static __always_inline void sync_in(struct io_bounce *bounce,
				    const struct io_buffer *buf, size_t offset,
				    size_t len, enum dma_data_direction dir)
{
	if (!bounce->coherent) {
		arch_sync_dma_for_device(io_buffer_phys(buf) + offset, len,
					 dir);
		arch_sync_dma_flush();
	}
	io_bounce_count(bounce, IO_BOUNCE_BYTES_IN, len);
}

/**
 * io_bounce_copy_in - hand part of a buffer to the device
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @buf: the slot
 * @offset: from the start of the slot, in bytes
 * @len: in bytes
 * @dir: direction of the mapping
 */
void io_bounce_copy_in(struct io_bounce *bounce, struct device *dev,
		       const struct io_buffer *buf, size_t offset, size_t len,
		       enum dma_data_direction dir)
{
	len = clamp_to_mapping(dev, buf, offset, len);
	copy_slot(buf, offset, len, true);
	sync_in(bounce, buf, offset, len, dir);
}

/**
 * io_bounce_copy_out - take part of a buffer back from the device
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @buf: the slot
 * @offset: from the start of the slot, in bytes
 * @len: in bytes
 * @dir: direction of the mapping; does nothing for DMA_TO_DEVICE
 *
 * Nor does it where the device cannot have written, whatever the driver says.
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
	/* What a device wrote is initialised as far as KMSAN can know. */
	kmsan_unpoison_memory(io_buffer_vaddr(buf) + offset, len);
	copy_slot(buf, offset, len, false);
	io_bounce_count(bounce, IO_BOUNCE_BYTES_OUT, len);
}

static __always_inline dma_addr_t
fill_slot(struct io_bounce *bounce, struct device *dev,
	  const struct io_buffer *buf, phys_addr_t phys, size_t offset,
	  size_t size, enum dma_data_direction dir)
{
	dma_addr_t addr = io_buffer_iova(buf) + offset;

	*io_buffer_slot(buf) = (struct io_buffer_slot) {
		.orig = phys,
		.start = offset,
		.len = size,
	};
	io_bounce_check_begin(bounce, dev, buf);
	io_bounce_check_link(buf, offset, phys, size);
	copy_phys(phys, io_buffer_vaddr(buf) + offset, size, true);
	sync_in(bounce, buf, offset, size, dir);
	io_bounce_check_own(buf, offset, size);
	trace_bounce_map(dev, addr, buf);
	return addr;
}

static __always_inline dma_addr_t
map_slot(struct io_bounce *bounce, struct device *dev, phys_addr_t phys,
	 size_t offset, size_t size, enum dma_data_direction dir)
{
	struct io_buffer buf;

	if (!get_slot(bounce, dev, offset + size, dir, IO_BOUNCE_HITS_SINGLE,
		      &buf))
		return DMA_MAPPING_ERROR;
	return fill_slot(bounce, dev, &buf, phys, offset, size, dir);
}

/**
 * io_bounce_fill - let a slot stand for a buffer in one place
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @buf: the slot
 * @phys: physical address of the buffer
 * @offset: from the start of the slot to that of the buffer, in bytes
 * @size: of the buffer, in bytes
 * @dir: direction
 *
 * Return: the DMA address.
 */
dma_addr_t io_bounce_fill(struct io_bounce *bounce, struct device *dev,
			  const struct io_buffer *buf, phys_addr_t phys,
			  size_t offset, size_t size,
			  enum dma_data_direction dir)
{
	return fill_slot(bounce, dev, buf, phys, offset, size, dir);
}

/* Out of line, so that the clock costs nothing when it is not looked at. */
static noinline dma_addr_t
map_slot_timed(struct io_bounce *bounce, struct device *dev, phys_addr_t phys,
	       size_t offset, size_t size, enum dma_data_direction dir)
{
	u64 clock = io_bounce_time_start(&bounce->limit, IO_BOUNCE_STEP_MAP);
	dma_addr_t addr = map_slot(bounce, dev, phys, offset, size, dir);

	if (addr != DMA_MAPPING_ERROR)
		io_bounce_time_end(&bounce->limit, &bounce->mgr, clock,
				   IO_BOUNCE_STEP_MAP,
				   io_buffer_class(&bounce->mgr, offset + size),
				   dir, 1);
	return addr;
}

static __always_inline dma_addr_t
map_one(struct io_bounce *bounce, struct device *dev, phys_addr_t phys,
	size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	size_t offset = phys & ((1UL << bounce->mgr.granule_shift) - 1);

	if (io_bounce_must(bounce, dev, phys, size, size, dir, attrs))
		return io_bounce_map_must(bounce, dev, phys, offset, size, dir,
					  attrs | IO_BOUNCE_MUST);
	if (!io_bounce_allowed(bounce, dev, size, 1, dir, attrs))
		return DMA_MAPPING_ERROR;
	if (io_bounce_time_due(&bounce->limit, IO_BOUNCE_STEP_MAP))
		return map_slot_timed(bounce, dev, phys, offset, size, dir);
	return map_slot(bounce, dev, phys, offset, size, dir);
}

/**
 * __io_bounce_map - map through a bounce buffer
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @phys: physical address of the buffer
 * @size: its size in bytes
 * @dir: direction
 * @attrs: DMA_ATTR_*
 *
 * Context: any but NMI.
 * Return: the DMA address, whose offset in the granule is that of @phys, or
 * DMA_MAPPING_ERROR if it is to be mapped another way.
 */
dma_addr_t __io_bounce_map(struct io_bounce *bounce, struct device *dev,
			   phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
	dma_addr_t addr = map_one(bounce, dev, phys, size, dir, attrs);

	if (unlikely(addr == DMA_MAPPING_ERROR))
		io_bounce_check_escaped(bounce, size, dir, attrs);
	return addr;
}

/*
 * Unmapping ends all of a mapping, whatever length the driver gives: do not lose
 * the tail of a buffer that is unmapped with less than it was mapped with. More is
 * clamped when it is copied. Lists may be unmapped by the address of their head.
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
unmap_slot_timed(struct io_bounce *bounce, struct device *dev,
		 struct io_buffer buf, dma_addr_t addr, size_t size,
		 enum dma_data_direction dir, unsigned long attrs)
{
	/* Once the slot is given back, the chunk may go. */
	unsigned int class = io_buffer_granules_shift(buf.chunk);
	u64 clock = io_bounce_time_start(&bounce->limit, IO_BOUNCE_STEP_UNMAP);

	unmap_slot(bounce, dev, &buf, addr, size, dir, attrs);
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		io_bounce_time_end(&bounce->limit, &bounce->mgr, clock,
				   IO_BOUNCE_STEP_UNMAP, class, dir, 1);
}

/**
 * __io_bounce_unmap - undo __io_bounce_map()
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: the DMA address
 * @size: in bytes, as mapped
 * @dir: direction, as mapped
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy out
 *
 * Context: any but NMI; any CPU.
 * Return: false, having done nothing, if @addr is not bounced.
 */
bool __io_bounce_unmap(struct io_bounce *bounce, struct device *dev,
		       dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs)
{
	struct io_buffer buf;

	if (!io_buffer_owns(&bounce->mgr, addr))
		return false;
	if (!find_slot(bounce, dev, addr, &buf))
		return true;

	if (io_bounce_time_due(&bounce->limit, IO_BOUNCE_STEP_UNMAP))
		unmap_slot_timed(bounce, dev, buf, addr, size, dir, attrs);
	else
		unmap_slot(bounce, dev, &buf, addr, size, dir, attrs);
	return true;
}

/**
 * __io_bounce_sync_for_cpu - let the CPU see what the device wrote
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: any address within a bounced mapping
 * @size: in bytes
 * @dir: direction of the mapping
 *
 * Return: false, having done nothing, if @addr is not bounced.
 */
bool __io_bounce_sync_for_cpu(struct io_bounce *bounce, struct device *dev,
			      dma_addr_t addr, size_t size,
			      enum dma_data_direction dir)
{
	struct io_buffer buf;
	size_t offset;

	if (!io_buffer_owns(&bounce->mgr, addr))
		return false;
	if (!find_slot(bounce, dev, addr, &buf))
		return true;

	offset = io_buffer_offset_in_slot(&buf, addr);
	if (io_bounce_check_for_cpu(&buf, offset, size))
		io_bounce_copy_out(bounce, dev, &buf, offset, size, dir);
	trace_bounce_sync(dev, addr, size, dir, true);
	return true;
}

/**
 * __io_bounce_sync_for_device - let the device see what the CPU wrote
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: any address within a bounced mapping
 * @size: in bytes
 * @dir: direction of the mapping; copies nothing for DMA_FROM_DEVICE, as
 *	swiotlb
 *
 * Return: false, having done nothing, if @addr is not bounced.
 */
bool __io_bounce_sync_for_device(struct io_bounce *bounce, struct device *dev,
				 dma_addr_t addr, size_t size,
				 enum dma_data_direction dir)
{
	struct io_buffer buf;
	size_t offset;

	if (!io_buffer_owns(&bounce->mgr, addr))
		return false;
	if (!find_slot(bounce, dev, addr, &buf))
		return true;

	offset = io_buffer_offset_in_slot(&buf, addr);
	if (!io_bounce_check_for_device(&buf, offset, size))
		return true;
	if (dir != DMA_FROM_DEVICE) {
		io_bounce_copy_in(bounce, dev, &buf, offset, size, dir);
	} else if (!bounce->coherent) {
		arch_sync_dma_for_device(io_buffer_phys(&buf) + offset, size,
					 dir);
		arch_sync_dma_flush();
	}
	io_bounce_check_own(&buf, offset, size);
	trace_bounce_sync(dev, addr, size, dir, false);
	return true;
}
