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

	if (likely(io_buffer_get(&bounce->mgr, perm, size, device_dma_limit(dev), buf))) {
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
static void wipe_slot(const struct io_bounce *bounce,
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
	trace_iommu_bounce_unmap(dev, addr, buf->chunk->pool, buf->slot->len);
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

/**
 * io_bounce_warn_unmapped - a driver uses an address that it has not mapped
 * @dev: the device
 * @addr: the DMA address, in the window
 */
void io_bounce_warn_unmapped(struct device *dev, dma_addr_t addr)
{
	dev_warn_once(dev, "unmap or sync of unmapped DMA address %pad\n", &addr);
}

/**
 * io_bounce_copy_highmem - copy memory that may have no kernel address
 * @phys: its physical address
 * @slot: kernel address of the slot, or of a part of it
 * @len: in bytes
 * @to_slot: to the slot, otherwise from it
 */
void io_bounce_copy_highmem(phys_addr_t phys, void *slot, size_t len, bool to_slot)
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

static noinline void copy_list(const struct io_buffer *buf, size_t offset,
			       size_t len, bool to_slot)
{
	const struct io_buffer_segment *seg = io_buffer_segments(buf);
	unsigned int nr = io_buffer_nr_segments(io_buffer_slot(buf));
	void *vaddr = io_buffer_vaddr(buf);
	size_t start, end;

	for (; nr && seg->offset < offset + len; nr--, seg++) {
		start = max_t(size_t, offset, seg->offset);
		end = min_t(size_t, offset + len, seg->offset + seg->len);
		if (start < end)
			io_bounce_copy(seg->phys + (start - seg->offset),
				       vaddr + start, end - start, to_slot);
	}
}

static __always_inline void copy_slot(const struct io_buffer *buf,
				      size_t offset, size_t len, bool to_slot)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	if (likely(!io_buffer_is_list(slot)))
		io_bounce_copy(slot->orig + (offset - slot->start),
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

static void sync_in(struct io_bounce *bounce, struct device *dev,
		    const struct io_buffer *buf, size_t offset, size_t len,
		    enum dma_data_direction dir)
{
	len = clamp_to_mapping(dev, buf, offset, len);
	copy_slot(buf, offset, len, true);
	io_bounce_count(bounce, IO_BOUNCE_BYTES_IN, len);
	io_bounce_sync_device(bounce, buf, offset, len, dir);
}

/* Whatever direction the driver passes now */
static __always_inline bool device_may_write(const struct io_buffer *buf)
{
	return buf->chunk->pool->prot & IOMMU_WRITE;
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
	if (dir == DMA_TO_DEVICE || !device_may_write(buf))
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

static __always_inline void set_slot(const struct io_buffer *buf, phys_addr_t phys,
				     size_t offset, size_t size)
{
	*io_buffer_slot(buf) = (struct io_buffer_slot) {
		.orig = phys,
		.start = offset,
		.len = size,
	};
}

/* Use a slot for a buffer; returns the DMA address. */
static dma_addr_t use_slot(struct io_bounce *bounce, struct device *dev,
			   const struct io_buffer *buf, phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
	size_t offset = phys & (io_bounce_granule(bounce) - 1);
	dma_addr_t addr = io_buffer_iova(buf) + offset;

	set_slot(buf, phys, offset, size);
	io_bounce_check_begin(bounce, dev, buf);
	io_bounce_check_link(buf, offset, phys, size);
	io_bounce_fill(bounce, buf, offset, phys, size, dir);
	/* Otherwise a sync hands it over. */
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		io_bounce_check_own(buf, offset, size);
	trace_iommu_bounce_map(dev, addr, buf->chunk->pool, size);
	return addr;
}

static dma_addr_t map_slot(struct io_bounce *bounce, struct device *dev,
			   phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
	size_t offset = phys & (io_bounce_granule(bounce) - 1);
	struct io_buffer buf;

	if (!get_slot(bounce, dev, offset + size, dir, attrs, IO_BOUNCE_HITS_SINGLE,
		      &buf)) {
		io_bounce_check_escaped(bounce, size, dir, 0);
		return DMA_MAPPING_ERROR;
	}
	return use_slot(bounce, dev, &buf, phys, size, dir, 0);
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

static dma_addr_t
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
	if (addr != DMA_MAPPING_ERROR && io_bounce_lookup(bounce, dev, addr, &buf)) {
		io_buffer_slot(&buf)->sample = verdict.sample;
		io_bounce_sample_add(&bounce->limit, verdict.sample, start);
	} else {
		io_bounce_sample_end(&bounce->limit, verdict.sample, start, false);
	}
	return addr;
}

/* Map an eligible buffer, plain or not. */
static noinline dma_addr_t
map_any(struct device *dev, phys_addr_t phys, size_t size,
	enum dma_data_direction dir, unsigned long attrs, struct io_bounce *bounce)
{
	enum io_bounce_way way = io_bounce_get_way(&bounce->limit, size, 1, dir);

	if (way == IO_BOUNCE_SLOT)
		return map_slot(bounce, dev, phys, size, dir, attrs);
	return map_undecided(bounce, dev, phys, size, dir, attrs, way);
}

/*
 * Is nothing done to the mappings of a domain but to copy them? map_plain() and
 * __io_bounce_unmap() then call nothing that returns to them, save for the copy, so they
 * need not save registers. All else is done by map_any() and io_bounce_unmap_any().
 */
static __always_inline bool is_plain(const struct io_bounce *bounce)
{
	return bounce->coherent && !READ_ONCE(bounce->wipe) &&
	       !io_bounce_checks(bounce) &&
	       !trace_iommu_bounce_map_enabled() &&
	       !trace_iommu_bounce_unmap_enabled();
}

/* Can the device address @last? */
static __always_inline bool device_reaches(struct device *dev, u64 last)
{
	u64 bus_limit = dev->bus_dma_limit;

	if (unlikely(bus_limit) && last > bus_limit)
		return false;
	return last <= dma_get_mask(dev);
}

/*
 * Get a slot for a plain mapping, if one is free where this CPU expects it. Returns the
 * counters, or NULL. If @last is set, io_buffer_pool_drop_hint() should follow.
 */
static __always_inline struct io_bounce_stats __percpu *
get_slot_plain(struct io_bounce *bounce, struct device *dev, size_t size,
	       enum dma_data_direction dir, unsigned long attrs,
	       struct io_buffer *buf, bool *last)
{
	struct io_bounce_stats __percpu *stats = READ_ONCE(bounce->stats);

	if (unlikely(!stats || !is_plain(bounce) ||
		     !device_reaches(dev, READ_ONCE(bounce->mgr.last)) ||
		     !io_buffer_get_hinted(&bounce->mgr, io_bounce_perm(bounce, dir, attrs),
					   size, buf, last)))
		return NULL;
	/* Coherent devices skip DMA syncs up to here. */
	dma_reset_need_sync(dev);
	return stats;
}

/* The rest of map_plain() if no other slot is free in the word */
static noinline dma_addr_t fill_last(struct io_bounce *bounce,
				     struct io_buffer_chunk *chunk, unsigned int nr,
				     phys_addr_t phys, size_t size)
{
	struct io_buffer buf = io_buffer_nr(chunk, nr);
	size_t offset = io_buffer_slot(&buf)->start;

	io_buffer_pool_drop_hint(&buf);
	io_bounce_copy_in(bounce, &buf, offset, phys, size);
	return io_buffer_iova(&buf) + offset;
}

/* Map an eligible buffer, which is below the limit and perhaps plain. */
static noinline dma_addr_t
map_plain(struct device *dev, phys_addr_t phys, size_t size,
	  enum dma_data_direction dir, unsigned long attrs, struct io_bounce *bounce)
{
	size_t offset = phys & (io_bounce_granule(bounce) - 1);
	struct io_buffer buf __uninitialized; /* get_slot_plain() fills it in */
	struct io_bounce_stats __percpu *stats;
	dma_addr_t addr;
	bool last;

	stats = get_slot_plain(bounce, dev, offset + size, dir, attrs, &buf, &last);
	if (unlikely(!stats))
		return map_any(dev, phys, size, dir, attrs, bounce);

	this_cpu_inc(stats->count[IO_BOUNCE_HITS_SINGLE]);
	set_slot(&buf, phys, offset, size);
	if (unlikely(last))
		return fill_last(bounce, buf.chunk, buf.nr, phys, size);

	offset += io_buffer_offset(&buf);
	addr = buf.chunk->iova + offset;
	/* The copy comes last: compute this before. */
	OPTIMIZER_HIDE_VAR(addr);
	if (!buf.chunk->pool->overwrite) {
		this_cpu_add(stats->count[IO_BOUNCE_BYTES_IN], size);
		io_bounce_copy(phys, buf.chunk->vaddr + offset, size, true);
	}
	return addr;
}

/**
 * __io_bounce_map - map a buffer through a slot if that is allowed
 * @dev: the device
 * @phys: physical address of the buffer
 * @size: in bytes
 * @dir: DMA direction
 * @attrs: DMA_ATTR_*
 * @bounce: the bounce buffers of the domain
 *
 * Context: any but NMI.
 * Return: the DMA address, with the same offset in the granule as @phys, or
 * DMA_MAPPING_ERROR if the buffer has to be mapped directly.
 */
dma_addr_t __io_bounce_map(struct device *dev, phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs,
			   struct io_bounce *bounce)
{
	if (likely(io_bounce_within(&bounce->limit, size, dir) &&
		   io_bounce_allowed(bounce, dev, attrs)))
		return map_plain(dev, phys, size, dir, attrs, bounce);

	if (io_bounce_too_large(bounce, size, dir) ||
	    !io_bounce_eligible(bounce, dev, attrs)) {
		io_bounce_check_escaped(bounce, size, dir, attrs);
		return DMA_MAPPING_ERROR;
	}
	return map_any(dev, phys, size, dir, attrs, bounce);
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
	return use_slot(bounce, dev, &buf, phys, size, dir, attrs);
}

/*
 * A driver that unmaps less than it has mapped must not lose data. Larger sizes are
 * clamped later.
 */
static void whole_mapping(struct device *dev, const struct io_buffer *buf,
			  size_t *offset, size_t *size)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	if (*size > slot->len || (*size == slot->len && *offset == slot->start))
		return;
	if (!io_bounce_checked(buf))
		dev_warn_once(dev, "DMA mapping of %u bytes unmapped with %zu\n",
			      slot->len, *size);
	*offset = slot->start;
	*size = slot->len;
}

/*
 * All of them: a list may be unmapped by the address of its first segment. Without @copy,
 * they are only checked.
 */
static void copy_out_list(struct io_bounce *bounce, const struct io_buffer *buf,
			  enum dma_data_direction dir, bool copy)
{
	const struct io_buffer_segment *seg = io_buffer_segments(buf);
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	unsigned int nr = io_buffer_nr_segments(slot);
	void *vaddr = io_buffer_vaddr(buf);
	size_t bytes = 0;

	if (!bounce->coherent) {
		arch_sync_dma_for_cpu(io_buffer_phys(buf) + slot->start,
				      slot->len, dir);
		arch_sync_dma_flush();
	}
	for (; nr; nr--, seg++) {
		if (!io_bounce_check_for_cpu(buf, seg->offset, seg->len) || !copy)
			continue;
		kmsan_unpoison_memory(vaddr + seg->offset, seg->len);
		io_bounce_copy(seg->phys, vaddr + seg->offset, seg->len, false);
		bytes += seg->len;
	}
	io_bounce_count(bounce, IO_BOUNCE_BYTES_OUT, bytes);
}

static void unmap_slot(struct io_bounce *bounce, struct device *dev,
		       const struct io_buffer *buf, dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs)
{
	bool sync = !(attrs & DMA_ATTR_SKIP_CPU_SYNC);
	bool copy = sync && dir != DMA_TO_DEVICE && device_may_write(buf);
	size_t offset = io_buffer_offset_in_slot(buf, addr);

	if (io_buffer_is_list(io_buffer_slot(buf))) {
		if (copy || (sync && io_bounce_checked(buf)))
			copy_out_list(bounce, buf, dir, copy);
	} else {
		if (!io_bounce_check_unmap(buf, offset, size, attrs))
			copy = false;
		whole_mapping(dev, buf, &offset, &size);
		if (copy)
			io_bounce_copy_out(bounce, dev, buf, offset, size, dir);
	}
	put_slot(bounce, dev, addr, buf);
}

/**
 * io_bounce_unmap_any - __io_bounce_unmap() in all cases
 * @dev: the device
 * @addr: the DMA address, in a slot
 * @size: in bytes, as mapped; ignored if the slot holds several buffers
 * @dir: DMA direction, as mapped
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 * @bounce: the bounce buffers of the domain
 *
 * Context: any but NMI; any CPU.
 */
void io_bounce_unmap_any(struct device *dev, dma_addr_t addr, size_t size,
			 enum dma_data_direction dir, unsigned long attrs,
			 struct io_bounce *bounce)
{
	struct io_buffer buf __uninitialized; /* io_bounce_lookup() fills it in */
	u64 start = 0;
	u16 sample;

	if (!io_bounce_lookup(bounce, dev, addr, &buf))
		return;
	sample = io_buffer_slot(&buf)->sample;
	if (sample)
		start = io_bounce_clock();
	unmap_slot(bounce, dev, &buf, addr, size, dir, attrs);
	if (sample)
		io_bounce_sample_end(&bounce->limit, sample, start,
				     !(attrs & DMA_ATTR_SKIP_CPU_SYNC));
}

/*
 * Find the slot of a single mapping, if it is unmapped as it was mapped, and is no
 * sample of the limit.
 */
static __always_inline bool lookup_simple(const struct io_bounce *bounce,
					  dma_addr_t addr, size_t size,
					  struct io_buffer *buf)
{
	const struct io_buffer_slot *slot;

	/* See io_bounce_lookup() */
	guard(rcu)();
	if (!io_buffer_lookup(&bounce->mgr, addr, buf))
		return false;
	slot = io_buffer_slot(buf);
	return size && slot->len == size && !slot->sample && !io_buffer_is_list(slot) &&
	       slot->start == io_buffer_offset_in_slot(buf, addr);
}

/* The rest of __io_bounce_unmap() if an untrusted device has joined the domain */
static noinline void wipe_and_put(const struct io_bounce *bounce,
				  struct io_buffer_chunk *chunk, unsigned int nr)
{
	struct io_buffer buf = io_buffer_nr(chunk, nr);

	wipe_slot(bounce, &buf);
	io_buffer_slot(&buf)->len = 0;
	io_buffer_pool_put(&buf);
}

/**
 * __io_bounce_unmap - undo __io_bounce_map() or __io_bounce_map_mandatory()
 * @dev: the device
 * @addr: the DMA address, in a slot
 * @size: in bytes, as mapped
 * @dir: DMA direction, as mapped
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 * @bounce: the bounce buffers of the domain
 *
 * Context: any but NMI; any CPU.
 */
void __io_bounce_unmap(struct device *dev, dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs,
		       struct io_bounce *bounce)
{
	struct io_bounce_stats __percpu *stats = READ_ONCE(bounce->stats);
	struct io_buffer buf __uninitialized; /* lookup_simple() fills it in */

	if (unlikely(!stats || !is_plain(bounce) ||
		     !lookup_simple(bounce, addr, size, &buf))) {
		io_bounce_unmap_any(dev, addr, size, dir, attrs, bounce);
		return;
	}

	if (dir != DMA_TO_DEVICE && !(attrs & DMA_ATTR_SKIP_CPU_SYNC) &&
	    device_may_write(&buf)) {
		void *vaddr = buf.chunk->vaddr + (addr - buf.chunk->iova);

		/* KMSAN does not see the writes of the device. */
		kmsan_unpoison_memory(vaddr, size);
		this_cpu_add(stats->count[IO_BOUNCE_BYTES_OUT], size);
		io_bounce_copy(io_buffer_slot(&buf)->orig, vaddr, size, false);
	}
	/* Again: the copy may have taken a while. */
	if (unlikely(READ_ONCE(bounce->wipe))) {
		wipe_and_put(bounce, buf.chunk, buf.nr);
		return;
	}
	io_buffer_slot(&buf)->len = 0;
	io_buffer_pool_put(&buf);
}

static void sync_for_device(struct io_bounce *bounce, struct device *dev,
			    const struct io_buffer *buf, size_t offset,
			    size_t size, enum dma_data_direction dir)
{
	if (!io_bounce_check_for_device(buf, offset, size))
		return;
	/* As in swiotlb, the device keeps what it has written so far. */
	if (dir != DMA_FROM_DEVICE)
		sync_in(bounce, dev, buf, offset, size, dir);
	else
		io_bounce_sync_device(bounce, buf, offset, size, dir);
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
 * @dev: the device
 * @addr: a DMA address within the mapping, in a slot
 * @size: in bytes
 * @dir: DMA direction, as mapped
 * @for_cpu: for the CPU, otherwise for the device
 * @bounce: the bounce buffers of the domain
 *
 * Context: any but NMI.
 */
void __io_bounce_sync(struct device *dev, dma_addr_t addr, size_t size,
		      enum dma_data_direction dir, bool for_cpu,
		      struct io_bounce *bounce)
{
	struct io_buffer buf;
	size_t offset;
	u64 start = 0;
	u16 sample;

	if (!io_bounce_lookup(bounce, dev, addr, &buf))
		return;

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
	/* Pairs with iommu_dma_get_bounce(). */
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

/* From now on, mappings of the device may be bounced. */
static void set_device(struct device *dev, struct io_bounce *bounce)
{
	/* The device may be in use: pairs with the dependency in dev_to_bounce(). */
	smp_store_release(&dev->iommu->bounce, bounce);
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
	set_device(dev, ref->bounce);
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
	set_device(dev, ref->bounce);
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
