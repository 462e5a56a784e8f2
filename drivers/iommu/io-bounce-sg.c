// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bounce buffers for DMA mappings of several buffers: scatterlists and the DMA IOVA
 * API. One slot holds them all, with the layout of a direct mapping, so that the
 * device gets the same segments, and an address leads to the buffer behind it without
 * the list.
 */

#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <trace/events/iommu_bounce.h>

#include "io-bounce-internal.h"

/* Use a slot for several buffers, none of them linked yet. */
static void begin_list(const struct io_buffer *buf, size_t start, size_t len)
{
	*io_buffer_slot(buf) = (struct io_buffer_slot) {
		.orig = IO_BUFFER_LIST,
		.start = start,
		.len = len,
	};
}

static void insert_segment(const struct io_buffer *buf, unsigned int at,
			   struct io_buffer_segment seg)
{
	struct io_buffer_segment *segs = io_buffer_segments(buf);
	struct io_buffer_slot *slot = io_buffer_slot(buf);

	memmove(&segs[at + 1], &segs[at],
		(io_buffer_nr_segments(slot) - at) * sizeof(*segs));
	segs[at] = seg;
	slot->orig++;
}

static void remove_segment(const struct io_buffer *buf, unsigned int at)
{
	struct io_buffer_segment *segs = io_buffer_segments(buf);
	struct io_buffer_slot *slot = io_buffer_slot(buf);

	slot->orig--;
	memmove(&segs[at], &segs[at + 1],
		(io_buffer_nr_segments(slot) - at) * sizeof(*segs));
}

/* Cut from @start to @end out of segment @at. Returns false if nothing is left of it. */
static bool cut_segment(const struct io_buffer *buf, unsigned int at, size_t start,
			size_t end)
{
	struct io_buffer_segment *seg = &io_buffer_segments(buf)[at], rest = *seg;
	size_t seg_end = seg->offset + seg->len;

	rest.phys += end - seg->offset;
	rest.offset = end;
	rest.len = seg_end - end;
	if (seg->offset < start) {
		seg->len = start - seg->offset;
		if (seg_end > end)
			insert_segment(buf, at + 1, rest);
		return true;
	}
	if (seg_end > end)
		*seg = rest;
	return seg_end > end;
}

/* Forget the buffers in all granules that part of a slot has bytes of. */
static void unlink_list(const struct io_buffer *buf, size_t offset, size_t len)
{
	struct io_buffer_slot *slot = io_buffer_slot(buf);
	size_t granule = 1UL << buf->chunk->granule_shift;
	size_t start = round_down(offset, granule);
	size_t end = round_up(offset + len, granule);
	struct io_buffer_segment *seg;
	unsigned int i = 0;

	if (offset <= slot->start && offset + len >= slot->start + slot->len) {
		slot->orig = IO_BUFFER_LIST;
		return;
	}

	while (i < io_buffer_nr_segments(slot)) {
		seg = &io_buffer_segments(buf)[i];
		if (seg->offset + seg->len <= start || seg->offset >= end ||
		    cut_segment(buf, i, start, end))
			i++;
		else
			remove_segment(buf, i);
	}
}

/* Not behind the last segment: replaces what is linked there. */
static noinline void relink_list(const struct io_buffer *buf,
				 struct io_buffer_segment seg)
{
	struct io_buffer_segment *segs = io_buffer_segments(buf);
	struct io_buffer_slot *slot = io_buffer_slot(buf);
	unsigned int i = 0;

	unlink_list(buf, seg.offset, seg.len);
	while (i < io_buffer_nr_segments(slot) && segs[i].offset < seg.offset)
		i++;
	insert_segment(buf, i, seg);
}

/*
 * Link the buffer at @phys to @offset of a slot. Both have the same offset in their
 * granule, which has no other buffer.
 */
static void link_list(const struct io_buffer *buf, size_t offset,
		      phys_addr_t phys, size_t len)
{
	struct io_buffer_segment *segs = io_buffer_segments(buf), *last;
	struct io_buffer_segment seg = {
		.phys = phys,
		.offset = offset,
		.len = len,
	};
	struct io_buffer_slot *slot = io_buffer_slot(buf);
	unsigned int nr;

	nr = io_buffer_nr_segments(slot);
	if (!nr) {
		segs[0] = seg;
		slot->orig++;
		return;
	}
	last = &segs[nr - 1];
	if (last->offset + last->len > offset) {
		relink_list(buf, seg);
	} else if (last->offset + last->len == offset &&
		   last->phys + last->len == phys) {
		last->len += len;
	} else {
		segs[nr] = seg;
		slot->orig++;
	}
}

/* Get a slot for several buffers, if that is the verdict. */
static bool get_list_slot(struct io_bounce *bounce, struct device *dev, size_t len,
			  enum dma_data_direction dir, unsigned long attrs,
			  enum io_bounce_counter hit, struct io_bounce_verdict verdict,
			  struct io_buffer *buf)
{
	if (!verdict.bounce)
		return false;
	if (io_bounce_get(bounce, dev, len, dir, attrs, hit, buf))
		return true;
	if (verdict.sample)
		io_bounce_sample_end(&bounce->limit, verdict.sample, 0, false);
	return false;
}

/* The slot of a sample is filled, or is going to be. */
static void note_sample(struct io_bounce *bounce, const struct io_buffer *buf,
			u16 sample, u64 start)
{
	io_buffer_slot(buf)->sample = sample;
	io_bounce_sample_add(&bounce->limit, sample, start);
}

/**
 * struct sg_layout - where the entries of a list are in its slot
 * @granule: bytes in a granule
 * @boundary: mask of the segment boundary of the device
 * @pos: where the next entry begins
 *
 * Each entry begins in a granule of its own, as in iommu_dma_map_sg().
 */
struct sg_layout {
	size_t granule;
	unsigned long boundary;
	size_t pos;
};

static struct sg_layout begin_layout(const struct io_bounce *bounce,
				     struct device *dev)
{
	return (struct sg_layout) {
		.granule = io_bounce_granule(bounce),
		.boundary = dma_get_seg_boundary(dev),
	};
}

/* Returns the offset of an entry in the slot. */
static size_t place_entry(struct sg_layout *l, struct scatterlist *s)
{
	size_t offset = s->offset & (l->granule - 1);
	size_t len = ALIGN(offset + s->length, l->granule);
	size_t pad = -l->pos & l->boundary;
	size_t at;

	/* An entry must not cross a segment boundary. */
	if (pad && pad < len - 1)
		l->pos += pad;
	at = l->pos + offset;
	l->pos += len;
	return at;
}

/* Is it memory that can be copied, of one byte or more? */
static bool entry_supported(struct scatterlist *s)
{
	return !is_zone_device_page(sg_page(s)) && s->length;
}

/*
 * Measure a list: returns the bytes that it takes in a slot, 0 if it must not be in
 * one. Adds its length to @total, and sets @nr_segs to the number of buffers that are
 * physically contiguous, which a direct mapping would map one by one. Leaves the offset
 * of each entry in the slot where its DMA address will be.
 */
static size_t measure_list(struct io_bounce *bounce, struct device *dev,
			   struct scatterlist *sg, int nents,
			   enum dma_data_direction dir, size_t *total,
			   unsigned int *nr_segs)
{
	struct sg_layout l = begin_layout(bounce, dev);
	struct scatterlist *s;
	phys_addr_t end = 0;
	bool fits = true;
	int i;

	*nr_segs = 0;
	for_each_sg(sg, s, nents, i) {
		if (!entry_supported(s)) {
			io_bounce_count(bounce, IO_BOUNCE_DIRECT_MEMORY, 1);
			return 0;
		}
		/* Then it stays direct, whatever its layout. */
		*total += s->length;
		if (io_bounce_too_large(bounce, max_t(size_t, *total, s->length), dir))
			return 0;
		/* Stop before @l overflows. */
		if (l.pos > IO_BUFFER_MAX_SLOT)
			fits = false;
		else
			sg_dma_address(s) = place_entry(&l, s);
		*nr_segs += sg_phys(s) != end;
		end = sg_phys(s) + s->length;
	}
	return fits ? l.pos : SIZE_MAX;
}

/* Link the entries of a list to its slot. Returns the sum of their lengths. */
static size_t link_entries(const struct io_buffer *buf, struct scatterlist *sg,
			   int nents)
{
	struct io_buffer_segment *seg = io_buffer_segments(buf);
	struct scatterlist *s;
	size_t total = 0;
	int i;

	for_each_sg(sg, s, nents, i) {
		*seg++ = (struct io_buffer_segment) {
			.phys = sg_phys(s),
			.offset = sg_dma_address(s),
			.len = s->length,
		};
		io_bounce_check_link(buf, sg_dma_address(s), sg_phys(s), s->length);
		total += s->length;
	}
	io_buffer_slot(buf)->orig += nents;
	return total;
}

/*
 * Turn the entries into DMA segments. An entry that continues the last one is added to
 * it, as in __finalise_sg(). Returns the number of segments.
 */
static int finalise_list(const struct io_buffer *buf, struct scatterlist *sg, int nents,
			 struct device *dev)
{
	unsigned long boundary = dma_get_seg_boundary(dev);
	unsigned int max_len = dma_get_max_seg_size(dev);
	size_t mask = (1UL << buf->chunk->granule_shift) - 1;
	dma_addr_t base = io_buffer_iova(buf), end = DMA_MAPPING_ERROR;
	struct scatterlist *s, *cur = NULL;
	int i, count = 0;

	for_each_sg(sg, s, nents, i) {
		dma_addr_t addr = base + sg_dma_address(s);
		unsigned int len = s->length;

		sg_dma_address(s) = DMA_MAPPING_ERROR;
		sg_dma_len(s) = 0;
		if (addr == end && !(addr & mask) && addr & boundary &&
		    max_len - sg_dma_len(cur) >= len) {
			sg_dma_len(cur) += len;
		} else {
			cur = cur ? sg_next(cur) : sg;
			sg_dma_address(cur) = addr;
			sg_dma_len(cur) = len;
			count++;
		}
		end = addr + len;
	}
	return count;
}

/* Hand a list of @bytes to the device. */
static void fill_list(struct io_bounce *bounce, const struct io_buffer *buf,
		      size_t bytes, enum dma_data_direction dir)
{
	const struct io_buffer_segment *seg = io_buffer_segments(buf);
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	unsigned int nr = io_buffer_nr_segments(slot);
	void *vaddr = io_buffer_vaddr(buf);

	if (!buf->chunk->pool->overwrite) {
		for (; nr; nr--, seg++)
			io_bounce_copy(seg->phys, vaddr + seg->offset, seg->len, true);
		io_bounce_count(bounce, IO_BOUNCE_BYTES_IN, bytes);
	}
	io_bounce_sync_device(bounce, buf, 0, slot->len, dir);
}

/* A direct sample of the limit. The caller maps the list again. */
static void sample_sg(struct io_bounce *bounce, u16 sample, struct device *dev,
		      struct scatterlist *sg, int nents, enum dma_data_direction dir)
{
	const unsigned long attrs = IO_BOUNCE_ATTR_SAMPLE | DMA_ATTR_NO_WARN;
	u64 start = io_bounce_clock();
	bool mapped = iommu_dma_map_sg(dev, sg, nents, dir, attrs) > 0;

	if (mapped)
		iommu_dma_unmap_sg(dev, sg, nents, dir, attrs);
	sg_dma_unmark_swiotlb(sg);
	io_bounce_sample_end(&bounce->limit, sample, start, mapped);
}

/* A list of one entry is a single mapping. */
static int map_entry(struct io_bounce *bounce, struct device *dev,
		     struct scatterlist *sg, enum dma_data_direction dir,
		     unsigned long attrs)
{
	dma_addr_t addr;

	if (!entry_supported(sg)) {
		if (io_bounce_eligible(bounce, dev, attrs))
			io_bounce_count(bounce, IO_BOUNCE_DIRECT_MEMORY, 1);
		io_bounce_check_escaped(bounce, sg->length, dir, attrs);
		return 0;
	}
	addr = __io_bounce_map(dev, sg_phys(sg), sg->length, dir, attrs, bounce);
	if (addr == DMA_MAPPING_ERROR)
		return 0;
	sg_dma_address(sg) = addr;
	sg_dma_len(sg) = sg->length;
	return 1;
}

/**
 * __io_bounce_map_sg - map a scatterlist through one slot if that is allowed
 * @dev: the device
 * @sg: the list
 * @nents: entries in it
 * @dir: DMA direction
 * @attrs: DMA_ATTR_*
 * @bounce: the bounce buffers of the domain
 *
 * Context: any but NMI.
 * Return: the number of DMA segments; 0, without effect, if the list has to be
 * mapped directly.
 */
int __io_bounce_map_sg(struct device *dev, struct scatterlist *sg, int nents,
		       enum dma_data_direction dir, unsigned long attrs,
		       struct io_bounce *bounce)
{
	struct io_bounce_verdict verdict = {};
	size_t total = 0, len = 0;
	enum io_bounce_way way;
	unsigned int nr_segs;
	struct io_buffer buf __uninitialized; /* filled in below */
	u64 start = 0;
	int count;

	/* A list that is mapped anew may have a mark left. */
	sg_dma_unmark_swiotlb(sg);
	if (nents == 1)
		return map_entry(bounce, dev, sg, dir, attrs);

	if (io_bounce_eligible(bounce, dev, attrs))
		len = measure_list(bounce, dev, sg, nents, dir, &total, &nr_segs);
	if (len) {
		way = io_bounce_get_way(&bounce->limit, total, nr_segs, dir);
		verdict = io_bounce_decide(bounce, total, nr_segs, dir, way);
	}
	if (unlikely(verdict.sample)) {
		start = io_bounce_clock();
		if (!verdict.bounce)
			sample_sg(bounce, verdict.sample, dev, sg, nents, dir);
	}
	if (!get_list_slot(bounce, dev, len, dir, attrs, IO_BOUNCE_HITS_SG, verdict,
			   &buf)) {
		io_bounce_check_escaped(bounce, total, dir, attrs);
		return 0;
	}

	begin_list(&buf, 0, len);
	io_bounce_check_begin(bounce, dev, &buf);
	total = link_entries(&buf, sg, nents);
	fill_list(bounce, &buf, total, dir);
	if (unlikely(verdict.sample))
		note_sample(bounce, &buf, verdict.sample, start);
	io_bounce_check_own(&buf, 0, len);
	count = finalise_list(&buf, sg, nents, dev);
	trace_iommu_bounce_map(dev, sg_dma_address(sg), buf.chunk->pool, len);
	return count;
}

/* A list that SWIOTLB has marked was mapped entry by entry. */
static bool list_in_slot(const struct io_bounce *bounce, struct scatterlist *sg)
{
	return is_io_buffer_addr(&bounce->mgr, sg_dma_address(sg)) &&
	       !sg_dma_is_swiotlb(sg);
}

static void sync_list(struct io_bounce *bounce, struct device *dev,
		      struct scatterlist *sg, int nents,
		      enum dma_data_direction dir, bool for_cpu)
{
	struct scatterlist *s;
	int i;

	/* After the last DMA segment, entries have no length. */
	for_each_sg(sg, s, nents, i)
		if (sg_dma_len(s) &&
		    !WARN_ON_ONCE(!is_io_buffer_addr(&bounce->mgr,
						     sg_dma_address(s))))
			__io_bounce_sync(dev, sg_dma_address(s), sg_dma_len(s), dir,
					 for_cpu, bounce);
}

/**
 * __io_bounce_sync_sg - DMA sync of a scatterlist
 * @dev: the device
 * @sg: the list, as mapped
 * @nents: entries in it
 * @dir: DMA direction, as mapped
 * @for_cpu: for the CPU, otherwise for the device
 * @bounce: the bounce buffers of the domain
 *
 * Context: any but NMI.
 * Return: false, without effect, if the list is not in a slot.
 */
bool __io_bounce_sync_sg(struct device *dev, struct scatterlist *sg, int nents,
			 enum dma_data_direction dir, bool for_cpu,
			 struct io_bounce *bounce)
{
	if (!list_in_slot(bounce, sg))
		return false;
	sync_list(bounce, dev, sg, nents, dir, for_cpu);
	return true;
}

/**
 * __io_bounce_unmap_sg - undo __io_bounce_map_sg()
 * @dev: the device
 * @sg: the list, as mapped
 * @nents: entries in it
 * @dir: DMA direction, as mapped
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 * @bounce: the bounce buffers of the domain
 *
 * Context: any but NMI; any CPU.
 * Return: false, without effect, if the list is not in a slot.
 */
bool __io_bounce_unmap_sg(struct device *dev, struct scatterlist *sg, int nents,
			  enum dma_data_direction dir, unsigned long attrs,
			  struct io_bounce *bounce)
{
	if (!list_in_slot(bounce, sg))
		return false;
	if (nents == 1)
		__io_bounce_unmap(dev, sg_dma_address(sg), sg_dma_len(sg), dir,
				  attrs, bounce);
	else
		io_bounce_unmap_any(dev, sg_dma_address(sg), sg_dma_len(sg), dir,
				    attrs, bounce);
	return true;
}

/*
 * A DMA IOVA state that is mapped directly. Its buffers are not known yet, so take a
 * page of zeroes, which the device may read, for each of them. A granule is at most a
 * page.
 */
static bool map_zeroes(struct device *dev, size_t size, unsigned int nr_segs,
		       size_t granule)
{
	struct dma_iova_state state = {};
	size_t len = 0;
	int error = 0;

	size = ALIGN(size, granule);
	if (!dma_iova_try_alloc(dev, &state, 0, size, nr_segs, DMA_NONE, 0))
		return false;
	for (; nr_segs && len < size && !error; nr_segs--) {
		error = dma_iova_link(dev, &state, page_to_phys(ZERO_PAGE(0)), len,
				      granule, DMA_TO_DEVICE, 0);
		if (!error)
			len += granule;
	}
	if (!error)
		error = dma_iova_sync(dev, &state, 0, len);
	dma_iova_destroy(dev, &state, len, DMA_TO_DEVICE, 0);
	return !error;
}

static void sample_iova(struct io_bounce *bounce, u16 sample, struct device *dev,
			size_t size, unsigned int nr_segs)
{
	u64 start = io_bounce_clock();
	bool mapped = map_zeroes(dev, size, nr_segs, io_bounce_granule(bounce));

	io_bounce_sample_end(&bounce->limit, sample, start, mapped);
}

static bool
alloc_state(struct io_bounce *bounce, struct device *dev, struct dma_iova_state *state,
	    phys_addr_t phys, size_t size, unsigned int nr_segs,
	    enum dma_data_direction dir, unsigned long attrs, enum io_bounce_way way)
{
	struct io_bounce_verdict verdict = io_bounce_decide(bounce, size, nr_segs, dir,
							    way);
	size_t offset = phys & (io_bounce_granule(bounce) - 1);
	struct io_buffer buf __uninitialized; /* filled in below */
	u64 start = 0;

	if (unlikely(verdict.sample)) {
		start = io_bounce_clock();
		if (!verdict.bounce)
			sample_iova(bounce, verdict.sample, dev, size, nr_segs);
	}
	if (!get_list_slot(bounce, dev, offset + size, dir, attrs, IO_BOUNCE_HITS_IOVA,
			   verdict, &buf)) {
		io_bounce_check_escaped(bounce, size, dir, 0);
		return false;
	}

	begin_list(&buf, offset, size);
	io_bounce_check_begin(bounce, dev, &buf);
	state->addr = io_buffer_iova(&buf) + offset;
	state->__size = size | DMA_IOVA_USE_BOUNCE;
	if (unlikely(verdict.sample))
		note_sample(bounce, &buf, verdict.sample, start);
	trace_iommu_bounce_map(dev, state->addr, buf.chunk->pool, size);
	return true;
}

/**
 * __io_bounce_iova_alloc - allocate a DMA IOVA state in a slot if that is allowed
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @state: the state, zeroed
 * @phys: physical address of the first buffer, or 0
 * @size: of the state, in bytes
 * @nr_segs: the most buffers that will be linked
 * @dir: DMA direction of all links, DMA_NONE if it is unknown
 * @attrs: DMA_ATTR_* of all links
 *
 * Context: any but NMI.
 * Return: false, without effect, if the state has to be mapped directly.
 */
bool __io_bounce_iova_alloc(struct io_bounce *bounce, struct device *dev,
			    struct dma_iova_state *state, phys_addr_t phys,
			    size_t size, unsigned int nr_segs,
			    enum dma_data_direction dir, unsigned long attrs)
{
	enum io_bounce_way way;

	/* A slot has the permissions of one direction. */
	if (dir == DMA_NONE)
		return false;
	if (io_bounce_too_large(bounce, size, dir) ||
	    !io_bounce_eligible(bounce, dev, attrs)) {
		io_bounce_check_escaped(bounce, size, dir, attrs);
		return false;
	}
	way = io_bounce_get_way(&bounce->limit, size, nr_segs, dir);
	return alloc_state(bounce, dev, state, phys, size, nr_segs, dir, attrs, way);
}

/* The slot of a state, and where in it @offset is. */
static __always_inline bool
lookup_state(struct io_bounce *bounce, struct device *dev,
	     struct dma_iova_state *state, size_t offset, size_t size,
	     struct io_buffer *buf, size_t *in_slot)
{
	size_t whole = dma_iova_size(state);

	if (!io_bounce_lookup(bounce, dev, state->addr, buf) ||
	    offset > whole || size > whole - offset)
		return false;
	*in_slot = io_buffer_slot(buf)->start + offset;
	return true;
}

/* Is the permission of the slot the one that @dir needs? */
static bool dir_permitted(const struct io_buffer *buf,
			  enum dma_data_direction dir)
{
	static const u8 prot[] = {
		[DMA_BIDIRECTIONAL]	= IOMMU_READ | IOMMU_WRITE,
		[DMA_TO_DEVICE]		= IOMMU_READ,
		[DMA_FROM_DEVICE]	= IOMMU_WRITE,
		[DMA_NONE]		= 0,
	};

	return (buf->chunk->pool->prot & (IOMMU_READ | IOMMU_WRITE)) == prot[dir];
}

/**
 * io_bounce_iova_link - dma_iova_link() for a state in a slot
 * @dev: the device
 * @state: the state
 * @phys: physical address of the buffer
 * @offset: in the state, in bytes
 * @size: in bytes
 * @dir: DMA direction, as allocated
 * @attrs: DMA_ATTR_*
 *
 * Context: any but NMI.
 * Return: 0; -EIO or -EINVAL if @phys, @offset, @size or @dir do not fit the state; -EOPNOTSUPP if
 * @attrs rule out a bounce buffer, which the allocation was not told.
 */
int io_bounce_iova_link(struct device *dev, struct dma_iova_state *state,
			phys_addr_t phys, size_t offset, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	struct io_bounce *bounce = dev->iommu->bounce;
	size_t mask = io_bounce_granule(bounce) - 1;
	struct io_buffer buf __uninitialized; /* filled in below */
	size_t in_slot;
	u64 start = 0;
	u16 sample;

	/* Only the first range may begin within a granule. */
	if (WARN_ON_ONCE(offset && phys & mask))
		return -EIO;
	if (!size)
		return 0;
	if (!lookup_state(bounce, dev, state, offset, size, &buf, &in_slot) ||
	    (in_slot & mask) != (phys & mask))
		return -EINVAL;
	if (WARN_ON_ONCE(attrs & (DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT)))
		return -EOPNOTSUPP;
	if (WARN_ON_ONCE(!dir_permitted(&buf, dir)))
		return -EINVAL;

	sample = io_buffer_slot(&buf)->sample;
	if (unlikely(sample))
		start = io_bounce_clock();
	link_list(&buf, in_slot, phys, size);
	io_bounce_check_link(&buf, in_slot, phys, size);
	io_bounce_fill(bounce, &buf, in_slot, phys, size, dir);
	io_bounce_check_own(&buf, in_slot, size);
	if (unlikely(sample))
		io_bounce_sample_add(&bounce->limit, sample, start);
	return 0;
}

/**
 * io_bounce_iova_unlink - dma_iova_unlink() for a state in a slot
 * @dev: the device
 * @state: the state
 * @offset: in the state, in bytes
 * @size: in bytes
 * @dir: DMA direction, as linked
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 *
 * Context: any but NMI; any CPU.
 */
void io_bounce_iova_unlink(struct device *dev, struct dma_iova_state *state,
			   size_t offset, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
	struct io_bounce *bounce = dev->iommu->bounce;
	struct io_buffer buf __uninitialized; /* filled in below */
	size_t in_slot;
	u64 start = 0;
	u16 sample;

	if (!size || WARN_ON_ONCE(!lookup_state(bounce, dev, state, offset, size,
						&buf, &in_slot)))
		return;

	sample = io_buffer_slot(&buf)->sample;
	if (unlikely(sample))
		start = io_bounce_clock();
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC) &&
	    io_bounce_check_for_cpu(&buf, in_slot, size))
		io_bounce_copy_out(bounce, dev, &buf, in_slot, size, dir);
	io_bounce_check_unlink(&buf, in_slot, size);
	unlink_list(&buf, in_slot, size);
	if (likely(!sample))
		return;
	/* The rest of the sample is in io_bounce_iova_free(). */
	if (size == dma_iova_size(state) && !(attrs & DMA_ATTR_SKIP_CPU_SYNC)) {
		io_bounce_sample_add(&bounce->limit, sample, start);
	} else {
		io_buffer_slot(&buf)->sample = 0;
		io_bounce_sample_end(&bounce->limit, sample, start, false);
	}
}

/**
 * io_bounce_iova_free - dma_iova_free() for a state in a slot
 * @dev: the device
 * @state: the state
 *
 * Context: any but NMI; any CPU.
 */
void io_bounce_iova_free(struct device *dev, struct dma_iova_state *state)
{
	struct io_bounce *bounce = dev->iommu->bounce;
	struct io_buffer buf;
	u64 start = 0;
	u16 sample;

	if (WARN_ON_ONCE(!io_bounce_lookup(bounce, dev, state->addr, &buf)))
		return;
	sample = io_buffer_slot(&buf)->sample;
	if (unlikely(sample))
		start = io_bounce_clock();
	io_bounce_put(bounce, dev, state->addr, &buf);
	if (unlikely(sample))
		io_bounce_sample_end(&bounce->limit, sample, start, true);
}

/**
 * io_bounce_iova_destroy - dma_iova_destroy() for a state in a slot
 * @dev: the device
 * @state: the state
 * @dir: DMA direction, as linked
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 *
 * Context: any but NMI; any CPU.
 */
void io_bounce_iova_destroy(struct device *dev, struct dma_iova_state *state,
			    enum dma_data_direction dir, unsigned long attrs)
{
	io_bounce_unmap_any(dev, state->addr, dma_iova_size(state), dir, attrs,
			    dev->iommu->bounce);
}
