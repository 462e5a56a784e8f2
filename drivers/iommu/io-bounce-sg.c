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
	struct io_buffer_slot *slot = io_buffer_slot(buf);
	struct io_buffer_granule *granules = io_buffer_granules(buf);

	slot->orig = IO_BUFFER_LIST;
	slot->start = start;
	slot->sample = 0;
	slot->len = len;
	if (granules)
		memset(granules, 0, sizeof(*granules) <<
		       io_buffer_granules_shift(buf->chunk));
}

/*
 * Link the buffer at @phys to @offset of a slot. Both have the same offset in their
 * granule.
 */
static void link_list(const struct io_buffer *buf, size_t offset,
		      phys_addr_t phys, size_t len)
{
	size_t granule = 1UL << buf->chunk->granule_shift;
	struct io_buffer_granule *g = io_buffer_granules(buf);
	struct io_buffer_slot *slot = io_buffer_slot(buf);
	size_t start = offset & (granule - 1);
	size_t part;

	if (!g) {
		/* One granule, hence one buffer: as for a single mapping. */
		slot->orig = phys - (offset - slot->start);
		return;
	}

	g += offset >> buf->chunk->granule_shift;
	for (phys -= start; len; len -= part, phys += granule, start = 0) {
		part = min(len, granule - start);
		*g++ = (struct io_buffer_granule) {
			.phys = phys,
			.start = start,
			.len = part,
		};
	}
}

static void unlink_list(const struct io_buffer *buf, size_t offset, size_t len)
{
	unsigned int shift = buf->chunk->granule_shift;
	struct io_buffer_granule *granules = io_buffer_granules(buf);
	size_t first = offset >> shift, last = (offset + len - 1) >> shift;

	if (granules)
		memset(&granules[first], 0,
		       (last - first + 1) * sizeof(*granules));
	else
		io_buffer_slot(buf)->orig = IO_BUFFER_LIST;
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

/*
 * Measure a list: returns the bytes that it takes in a slot, 0 if it must not be in
 * one. Adds its length to @total, and sets @nr_segs to the number of buffers that are
 * physically contiguous, which a direct mapping would map one by one.
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
		if (is_zone_device_page(sg_page(s)) || !s->length) {
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
			place_entry(&l, s);
		*nr_segs += sg_phys(s) != end;
		end = sg_phys(s) + s->length;
	}
	return fits ? l.pos : SIZE_MAX;
}

/*
 * Add an entry to the DMA segments of a list, or to the last one, @cur, if it
 * continues there: as __finalise_sg() does. Returns the last segment.
 */
static struct scatterlist *add_segment(struct scatterlist *cur,
				       struct scatterlist *s, dma_addr_t addr,
				       const struct sg_layout *l,
				       unsigned int max_len)
{
	if (cur && !(addr & (l->granule - 1)) && addr & l->boundary &&
	    sg_dma_address(cur) + sg_dma_len(cur) == addr &&
	    max_len - sg_dma_len(cur) >= s->length) {
		sg_dma_len(cur) += s->length;
		return cur;
	}
	return cur ? sg_next(cur) : s;
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

/**
 * __io_bounce_map_sg - map a scatterlist through one slot if that is allowed
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @sg: the list
 * @nents: entries in it
 * @dir: DMA direction
 * @attrs: DMA_ATTR_*
 *
 * Context: any but NMI.
 * Return: the number of DMA segments; 0, without effect, if the list has to be
 * mapped directly.
 */
int __io_bounce_map_sg(struct io_bounce *bounce, struct device *dev,
		       struct scatterlist *sg, int nents,
		       enum dma_data_direction dir, unsigned long attrs)
{
	struct sg_layout l = begin_layout(bounce, dev);
	unsigned int max_len = dma_get_max_seg_size(dev);
	struct scatterlist *s, *cur = NULL;
	size_t total = 0, len = 0;
	unsigned int nr_segs;
	struct io_bounce_verdict verdict = {};
	enum io_bounce_way way;
	struct io_buffer buf;
	int i, count = 0;
	u64 start = 0;

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
	for_each_sg(sg, s, nents, i) {
		size_t at = place_entry(&l, s);
		dma_addr_t addr = io_buffer_iova(&buf) + at;
		struct scatterlist *last = cur;

		/* Without granules there is one entry: clamp syncs to it. */
		if (!io_buffer_granules(&buf))
			begin_list(&buf, at, s->length);
		link_list(&buf, at, sg_phys(s), s->length);
		io_bounce_check_link(&buf, at, sg_phys(s), s->length);
		io_bounce_fill(bounce, &buf, at, sg_phys(s), s->length, dir);

		cur = add_segment(cur, s, addr, &l, max_len);
		if (s != cur) {
			sg_dma_address(s) = DMA_MAPPING_ERROR;
			sg_dma_len(s) = 0;
		}
		if (cur != last) {
			sg_dma_address(cur) = addr;
			sg_dma_len(cur) = s->length;
			count++;
		}
	}
	if (unlikely(verdict.sample))
		note_sample(bounce, &buf, verdict.sample, start);
	io_bounce_check_own(&buf, 0, len);
	trace_iommu_bounce_map(dev, sg_dma_address(sg), &buf);
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
			__io_bounce_sync(bounce, dev, sg_dma_address(s),
					 sg_dma_len(s), dir, for_cpu);
}

/**
 * __io_bounce_sync_sg - DMA sync of a scatterlist
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @sg: the list, as mapped
 * @nents: entries in it
 * @dir: DMA direction, as mapped
 * @for_cpu: for the CPU, otherwise for the device
 *
 * Context: any but NMI.
 * Return: false, without effect, if the list is not in a slot.
 */
bool __io_bounce_sync_sg(struct io_bounce *bounce, struct device *dev,
			 struct scatterlist *sg, int nents,
			 enum dma_data_direction dir, bool for_cpu)
{
	if (!list_in_slot(bounce, sg))
		return false;
	sync_list(bounce, dev, sg, nents, dir, for_cpu);
	return true;
}

/**
 * __io_bounce_unmap_sg - undo __io_bounce_map_sg()
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @sg: the list, as mapped
 * @nents: entries in it
 * @dir: DMA direction, as mapped
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 *
 * Context: any but NMI; any CPU.
 * Return: false, without effect, if the list is not in a slot.
 */
bool __io_bounce_unmap_sg(struct io_bounce *bounce, struct device *dev,
			  struct scatterlist *sg, int nents,
			  enum dma_data_direction dir, unsigned long attrs)
{
	struct io_buffer buf;
	u64 start = 0;
	u16 sample;

	if (!list_in_slot(bounce, sg))
		return false;
	if (!io_bounce_lookup(bounce, dev, sg_dma_address(sg), &buf))
		return true;

	sample = io_buffer_slot(&buf)->sample;
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		sync_list(bounce, dev, sg, nents, dir, true);
	/* Syncs are timed on their own. */
	if (unlikely(sample))
		start = io_bounce_clock();
	io_bounce_put(bounce, dev, sg_dma_address(sg), &buf);
	if (unlikely(sample))
		io_bounce_sample_end(&bounce->limit, sample, start,
				     !(attrs & DMA_ATTR_SKIP_CPU_SYNC));
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

/* Out of line, so that its caller saves no registers for states that stay direct */
static noinline bool
alloc_state(struct io_bounce *bounce, struct device *dev, struct dma_iova_state *state,
	    phys_addr_t phys, size_t size, unsigned int nr_segs,
	    enum dma_data_direction dir, unsigned long attrs, enum io_bounce_way way)
{
	struct io_bounce_verdict verdict = io_bounce_decide(bounce, size, nr_segs, dir,
							    way);
	size_t offset = phys & (io_bounce_granule(bounce) - 1);
	struct io_buffer buf;
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
	trace_iommu_bounce_map(dev, state->addr, &buf);
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
static bool lookup_state(struct io_bounce *bounce, struct device *dev,
			 struct dma_iova_state *state, size_t offset,
			 size_t size, struct io_buffer *buf, size_t *in_slot)
{
	size_t whole = dma_iova_size(state);

	if (!io_bounce_lookup(bounce, dev, state->addr, buf) ||
	    offset > whole || size > whole - offset)
		return false;
	*in_slot = io_buffer_offset_in_slot(buf, state->addr) + offset;
	return true;
}

/* Is the permission of the slot the one that @dir needs? */
static bool dir_permitted(const struct io_buffer *buf,
			  enum dma_data_direction dir)
{
	int prot = (dir != DMA_FROM_DEVICE ? IOMMU_READ : 0) |
		   (dir != DMA_TO_DEVICE ? IOMMU_WRITE : 0);

	return (buf->chunk->pool->prot & (IOMMU_READ | IOMMU_WRITE)) == prot;
}

/**
 * io_bounce_iova_link - dma_iova_link() for a state in a slot
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @state: the state
 * @phys: physical address of the buffer
 * @offset: in the state, in bytes
 * @size: in bytes
 * @dir: DMA direction, as allocated
 * @attrs: DMA_ATTR_*
 *
 * Context: any but NMI.
 * Return: 0; -EINVAL if @offset, @size or @dir do not fit the state; -EOPNOTSUPP if
 * @attrs rule out a bounce buffer, which the allocation was not told.
 */
int io_bounce_iova_link(struct io_bounce *bounce, struct device *dev,
			struct dma_iova_state *state, phys_addr_t phys,
			size_t offset, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	size_t mask = io_bounce_granule(bounce) - 1;
	struct io_buffer buf;
	size_t in_slot;
	u64 start = 0;
	u16 sample;

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
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @state: the state
 * @offset: in the state, in bytes
 * @size: in bytes
 * @dir: DMA direction, as linked
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 *
 * Context: any but NMI; any CPU.
 */
void io_bounce_iova_unlink(struct io_bounce *bounce, struct device *dev,
			   struct dma_iova_state *state, size_t offset,
			   size_t size, enum dma_data_direction dir,
			   unsigned long attrs)
{
	struct io_buffer buf;
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
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: DMA address of the state
 *
 * Context: any but NMI; any CPU.
 */
void io_bounce_iova_free(struct io_bounce *bounce, struct device *dev,
			 dma_addr_t addr)
{
	struct io_buffer buf;
	u64 start = 0;
	u16 sample;

	if (WARN_ON_ONCE(!io_bounce_lookup(bounce, dev, addr, &buf)))
		return;
	sample = io_buffer_slot(&buf)->sample;
	if (unlikely(sample))
		start = io_bounce_clock();
	io_bounce_put(bounce, dev, addr, &buf);
	if (unlikely(sample))
		io_bounce_sample_end(&bounce->limit, sample, start, true);
}
