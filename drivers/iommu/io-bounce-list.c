// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bounce buffers for DMA mappings of memory in several places: scatterlists
 * and the DMA IOVA API. One slot holds the whole list, laid out granule by
 * granule as an ordinary mapping of it would be, so that the device is given
 * the same segments, and an address within it leads back to the memory behind
 * it without the list.
 */

#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/memremap.h>
#include <linux/scatterlist.h>
#include <trace/events/iommu_bounce.h>

#include "io-bounce-internal.h"

static unsigned int slot_class(const struct io_buffer *buf)
{
	return io_buffer_granules_shift(buf->chunk);
}

/* Let a slot stand for memory in several places, none of them known yet. */
static void begin_list(const struct io_buffer *buf, size_t start, size_t len)
{
	struct io_buffer_slot *slot = io_buffer_slot(buf);
	struct io_buffer_granule *granules = io_buffer_granules(buf);

	slot->orig = IO_BUFFER_LIST;
	slot->start = start;
	slot->len = len;
	if (granules)
		memset(granules, 0, sizeof(*granules) <<
		       io_buffer_granules_shift(buf->chunk));
}

/*
 * Say what lies behind @len bytes of a slot from @offset on. The offset of
 * @phys in its granule is that of @offset.
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
		/* One granule, hence one place: as for a single mapping. */
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

static bool get_list_slot(struct io_bounce *bounce, struct device *dev,
			  size_t size, enum dma_data_direction dir,
			  enum io_bounce_counter hit, bool must,
			  struct io_buffer *buf)
{
	if (unlikely(must))
		return io_bounce_get_must(bounce, dev, size, dir, hit, buf);
	return io_bounce_get(bounce, dev, size, dir, hit, buf);
}

/* Give up a mapping without copying. */
static void release(struct io_bounce *bounce, struct device *dev,
		    dma_addr_t addr)
{
	struct io_buffer buf;

	if (io_bounce_find(bounce, dev, addr, &buf))
		io_bounce_put(bounce, dev, addr, &buf);
}

/*
 * iommu_dma_map_sg() has laid the list out by now: the page and the length of
 * each entry are aligned to the granule, what the caller said waits in the DMA
 * fields. These two undo that.
 */
static phys_addr_t entry_phys(struct scatterlist *s)
{
	return sg_phys(s) + sg_dma_address(s);
}

static size_t entry_len(struct scatterlist *s)
{
	return sg_dma_len(s);
}

/* A list that shares its granules with nothing need not be bounced. */
static bool fills_granules(const struct io_bounce *bounce,
			   struct scatterlist *sg, int nents)
{
	size_t mask = (1UL << bounce->mgr.granule_shift) - 1;
	struct scatterlist *s;
	int i;

	for_each_sg(sg, s, nents, i)
		if ((entry_phys(s) | entry_len(s)) & mask)
			return false;
	return true;
}

/* Is all of the list normal memory, and small enough? */
static bool list_allowed(struct io_bounce *bounce, struct device *dev,
			 struct scatterlist *sg, int nents,
			 enum dma_data_direction dir, unsigned long attrs,
			 bool must)
{
	unsigned int pieces = 0;
	struct scatterlist *s;
	phys_addr_t end = 0;
	size_t total = 0;
	int i;

	for_each_sg(sg, s, nents, i) {
		if (sg_dma_is_bus_address(s) || is_zone_device_page(sg_page(s))) {
			io_bounce_count(bounce, IO_BOUNCE_SKIP_MEMORY, 1);
			return false;
		}
		total += entry_len(s);
		/* What iommu_map_sg() would map one by one. */
		pieces += sg_phys(s) != end;
		end = sg_phys(s) + s->length;
	}
	return io_bounce_allowed(bounce, dev, total, pieces, dir,
				 attrs | (must ? IO_BOUNCE_MUST : 0));
}

/**
 * __io_bounce_takes_sg - may one slot hold a list that must be bounced
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @sg: the list, as the caller gave it
 * @nents: entries in it
 * @dir: direction
 * @attrs: DMA_ATTR_*
 *
 * The rest of a list that is not to be bounced by choice is not copied because of
 * a part that must be.
 *
 * Return: false if each entry has to see for itself.
 */
bool __io_bounce_takes_sg(struct io_bounce *bounce, struct device *dev,
			  struct scatterlist *sg, int nents,
			  enum dma_data_direction dir, unsigned long attrs)
{
	size_t granule = 1UL << bounce->mgr.granule_shift;
	size_t total = 0;
	struct scatterlist *s;
	int i;

	if (!io_bounce_possible(bounce, dev, attrs) ||
	    io_bounce_no_choice(bounce, dev, attrs))
		return false;
	for_each_sg(sg, s, nents, i) {
		if (!s->length || is_zone_device_page(sg_page(s)))
			return false;
		total += ALIGN((s->offset & (granule - 1)) + s->length, granule);
		if (total > IO_BUFFER_MAX_SLOT)
			return false;
	}
	return true;
}

/**
 * __io_bounce_prepare_sg - forget how a list was mapped before
 * @sg: the list, about to be mapped
 *
 * Both the first address and the mark of swiotlb would be taken for what the
 * list is now by the sync that mapping it does.
 */
void __io_bounce_prepare_sg(struct scatterlist *sg)
{
	sg_dma_address(sg) = DMA_MAPPING_ERROR;
	sg->dma_flags &= ~SG_DMA_SWIOTLB;
}

static dma_addr_t map_list(struct io_bounce *bounce, struct device *dev,
			   struct scatterlist *sg, int nents, size_t iova_len,
			   enum dma_data_direction dir, bool must)
{
	struct scatterlist *s;
	struct io_buffer buf;
	size_t pos = 0;
	u64 clock;
	int i;

	clock = io_bounce_time_start(&bounce->limit, IO_BOUNCE_STEP_MAP);
	if (!get_list_slot(bounce, dev, iova_len, dir, IO_BOUNCE_HITS_SG, must,
			   &buf))
		return DMA_MAPPING_ERROR;

	begin_list(&buf, 0, iova_len);
	io_bounce_check_begin(bounce, dev, &buf);
	for_each_sg(sg, s, nents, i) {
		size_t offset = pos + sg_dma_address(s);
		size_t len = entry_len(s);

		pos += s->length;
		if (!len)
			continue;
		/* A list in one granule is one entry: clamp syncs to that. */
		if (!io_buffer_granules(&buf))
			begin_list(&buf, offset, len);
		link_list(&buf, offset, entry_phys(s), len);
		io_bounce_check_link(&buf, offset, entry_phys(s), len);
		io_bounce_copy_in(bounce, dev, &buf, offset, len, dir);
	}
	io_bounce_time_end(&bounce->limit, &bounce->mgr, clock,
			   IO_BOUNCE_STEP_MAP, slot_class(&buf), dir, 1);
	io_bounce_check_own(&buf, 0, iova_len);
	/* Where the first entry begins, as when it is unmapped. */
	trace_bounce_map(dev, io_buffer_iova(&buf) + sg_dma_address(sg), &buf);
	return io_buffer_iova(&buf);
}

/**
 * __io_bounce_map_sg - map a scatterlist through one bounce buffer
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @sg: the list, laid out by iommu_dma_map_sg()
 * @nents: entries in it
 * @iova_len: bytes of IOVA space that the layout takes
 * @dir: direction
 * @attrs: DMA_ATTR_*
 * @must: it must be bounced, whether or not it pays
 *
 * Context: any but NMI.
 * Return: the DMA address of the first granule, for __finalise_sg(), or
 * DMA_MAPPING_ERROR if it is to be mapped another way.
 */
dma_addr_t __io_bounce_map_sg(struct io_bounce *bounce, struct device *dev,
			      struct scatterlist *sg, int nents,
			      size_t iova_len, enum dma_data_direction dir,
			      unsigned long attrs, bool must)
{
	dma_addr_t addr = DMA_MAPPING_ERROR;

	/* Of an untrusted device all lists are said to need it. */
	if (unlikely(must) && fills_granules(bounce, sg, nents))
		must = false;
	if (list_allowed(bounce, dev, sg, nents, dir, attrs, must))
		addr = map_list(bounce, dev, sg, nents, iova_len, dir, must);
	if (unlikely(must))
		io_bounce_count_must(bounce, addr != DMA_MAPPING_ERROR);
	if (unlikely(addr == DMA_MAPPING_ERROR))
		io_bounce_check_escaped(bounce, iova_len, dir, attrs);
	return addr;
}

/**
 * __io_bounce_sync_sg - copy a mapped scatterlist from or to the device
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @sg: the list, as mapped
 * @nelems: entries in it, as mapped
 * @dir: direction, as mapped
 * @for_cpu: copy out, else copy in
 *
 * Return: false, having done nothing, if the list is not bounced.
 */
bool __io_bounce_sync_sg(struct io_bounce *bounce, struct device *dev,
			 struct scatterlist *sg, int nelems,
			 enum dma_data_direction dir, bool for_cpu)
{
	struct scatterlist *s;
	struct io_buffer buf;
	u64 clock;
	int i;

	/* Of what was mapped entry by entry, each may be here or elsewhere. */
	if (!io_buffer_owns(&bounce->mgr, sg_dma_address(sg)) ||
	    sg_dma_is_swiotlb(sg))
		return false;

	/* Of unmapping a list this is the part that takes time. */
	clock = for_cpu && dir != DMA_TO_DEVICE ?
		io_bounce_time_start(&bounce->limit, IO_BOUNCE_STEP_UNMAP) : 0;
	for_each_sg(sg, s, nelems, i) {
		/* Entries that were merged into one before have no length. */
		if (!sg_dma_len(s) ||
		    WARN_ON_ONCE(!io_buffer_owns(&bounce->mgr,
						 sg_dma_address(s))))
			continue;
		if (for_cpu)
			__io_bounce_sync_for_cpu(bounce, dev,
						 sg_dma_address(s),
						 sg_dma_len(s), dir);
		else
			__io_bounce_sync_for_device(bounce, dev,
						    sg_dma_address(s),
						    sg_dma_len(s), dir);
	}
	if (unlikely(clock) &&
	    io_bounce_find(bounce, dev, sg_dma_address(sg), &buf))
		io_bounce_time_end(&bounce->limit, &bounce->mgr, clock,
				   IO_BOUNCE_STEP_UNMAP, slot_class(&buf), dir, 1);
	return true;
}

/**
 * __io_bounce_unmap_sg - undo __io_bounce_map_sg() without copying
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @sg: the list, as mapped or not
 *
 * iommu_dma_unmap_sg() has synced the list if its caller wants the data.
 *
 * Context: any but NMI; any CPU.
 * Return: true, or false if the list is not bounced.
 */
bool __io_bounce_unmap_sg(struct io_bounce *bounce, struct device *dev,
			  struct scatterlist *sg)
{
	if (!io_buffer_owns(&bounce->mgr, sg_dma_address(sg)))
		return false;
	release(bounce, dev, sg_dma_address(sg));
	return true;
}

/**
 * io_bounce_iova_move - move a DMA IOVA state into a bounce buffer
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @state: a state with IOVA space allocated
 * @phys: physical address that is about to be linked
 * @offset: where in @state
 * @size: bytes that are about to be linked
 * @dir: direction of the link
 * @attrs: DMA_ATTR_* of the link
 *
 * The direction is not known before the first link, so this is when the slot
 * is taken. A state that was ever linked the ordinary way stays there.
 *
 * Context: any but NMI; serialised per state by the caller.
 * Return: if @state was moved, the address it had before, where the IOVA space
 * is for the caller to free; else 0.
 */
dma_addr_t io_bounce_iova_move(struct io_bounce *bounce, struct device *dev,
			       struct dma_iova_state *state, phys_addr_t phys,
			       size_t offset, size_t size,
			       enum dma_data_direction dir, unsigned long attrs)
{
	size_t granule = 1UL << bounce->mgr.granule_shift;
	size_t start = phys & (granule - 1);
	size_t whole = dma_iova_size(state);
	dma_addr_t unused = state->addr;
	unsigned int pieces;
	struct io_buffer buf;
	bool served, must;

	if (state->__size & (DMA_IOVA_USE_BOUNCE | DMA_IOVA_NO_BOUNCE))
		return 0;

	/* A guess: the others are as large as the first, or a granule. */
	pieces = size < whole ? DIV_ROUND_UP(whole, max(size, granule)) : 1;
	/* Its parts meet where granules do: only its ends may be elsewhere. */
	must = io_bounce_must(bounce, dev, phys, size, whole, dir, attrs);
	served = !offset &&
		 io_bounce_allowed(bounce, dev, whole, pieces, dir,
				   attrs | (must ? IO_BOUNCE_MUST : 0)) &&
		 get_list_slot(bounce, dev, start + whole, dir,
			       IO_BOUNCE_HITS_IOVA, must, &buf);
	if (unlikely(must))
		io_bounce_count_must(bounce, served);
	if (!served) {
		io_bounce_check_escaped(bounce, whole, dir, attrs);
		/* HMM may link several ranges of a state at once. */
		if (!(attrs & DMA_ATTR_REQUIRE_COHERENT))
			state->__size |= DMA_IOVA_NO_BOUNCE;
		return 0;
	}

	begin_list(&buf, start, whole);
	io_bounce_check_begin(bounce, dev, &buf);
	state->addr = io_buffer_iova(&buf) + start;
	state->__size |= DMA_IOVA_USE_BOUNCE;
	trace_bounce_map(dev, state->addr, &buf);
	return unused;
}

/**
 * __io_bounce_iova_start - see to it that a state is where it is to be linked
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @state: as for io_bounce_iova_move()
 * @phys: as for io_bounce_iova_move()
 * @offset: as for io_bounce_iova_move()
 * @size: as for io_bounce_iova_move()
 * @dir: as for io_bounce_iova_move()
 * @attrs: as for io_bounce_iova_move()
 *
 * Return: whether @state is in a bounce buffer, now or since before.
 */
bool __io_bounce_iova_start(struct io_bounce *bounce, struct device *dev,
			    struct dma_iova_state *state, phys_addr_t phys,
			    size_t offset, size_t size,
			    enum dma_data_direction dir, unsigned long attrs)
{
	struct dma_iova_state unused = { .__size = dma_iova_size(state) };

	unused.addr = io_bounce_iova_move(bounce, dev, state, phys, offset,
					  size, dir, attrs);
	if (unused.addr)
		dma_iova_free(dev, &unused);
	return state->__size & DMA_IOVA_USE_BOUNCE;
}

/* The slot of a bounced state, and where in it @offset lies. */
static bool find_state(struct io_bounce *bounce, struct device *dev,
		       struct dma_iova_state *state, size_t offset,
		       size_t size, struct io_buffer *buf, size_t *in_slot)
{
	size_t whole = dma_iova_size(state);

	if (!io_bounce_find(bounce, dev, state->addr, buf) ||
	    offset > whole || size > whole - offset)
		return false;
	*in_slot = io_buffer_offset_in_slot(buf, state->addr) + offset;
	return true;
}

/* May the device do with the slot just what @dir says? */
static bool dir_permitted(const struct io_buffer *buf,
			  enum dma_data_direction dir)
{
	int prot = (dir != DMA_FROM_DEVICE ? IOMMU_READ : 0) |
		   (dir != DMA_TO_DEVICE ? IOMMU_WRITE : 0);

	return (buf->chunk->pool->prot & (IOMMU_READ | IOMMU_WRITE)) == prot;
}

/**
 * __io_bounce_iova_link - dma_iova_link() for a bounced state
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @state: the state
 * @phys: physical address to link
 * @offset: where in @state, in bytes
 * @size: in bytes
 * @dir: direction; the same for all links of a state
 * @attrs: DMA_ATTR_*
 *
 * Return: 0; -EINVAL where the IOMMU would not map either: @offset is not at a
 * granule or not within the state; -EOPNOTSUPP where @attrs and what is linked
 * already exclude each other, as for swiotlb.
 */
int __io_bounce_iova_link(struct io_bounce *bounce, struct device *dev,
			  struct dma_iova_state *state, phys_addr_t phys,
			  size_t offset, size_t size,
			  enum dma_data_direction dir, unsigned long attrs)
{
	size_t mask = (1UL << bounce->mgr.granule_shift) - 1;
	struct io_buffer buf;
	size_t in_slot;
	u64 clock;

	if (!size)
		return 0;
	if (!find_state(bounce, dev, state, offset, size, &buf, &in_slot) ||
	    (in_slot & mask) != (phys & mask))
		return -EINVAL;
	if (WARN_ON_ONCE(attrs & (DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT)))
		return -EOPNOTSUPP;
	/* The slot was chosen for the direction of the first link. */
	if (WARN_ON_ONCE(!dir_permitted(&buf, dir)))
		return -EINVAL;

	clock = offset ? 0 : io_bounce_time_start(&bounce->limit,
						  IO_BOUNCE_STEP_MAP);
	link_list(&buf, in_slot, phys, size);
	io_bounce_check_link(&buf, in_slot, phys, size);
	io_bounce_copy_in(bounce, dev, &buf, in_slot, size, dir);
	io_bounce_check_own(&buf, in_slot, size);
	io_bounce_time_end(&bounce->limit, &bounce->mgr, clock,
			   IO_BOUNCE_STEP_MAP, slot_class(&buf), dir,
			   clock ? DIV_ROUND_UP(dma_iova_size(state),
						max(size, mask + 1)) : 1);
	return 0;
}

/**
 * __io_bounce_iova_unlink - dma_iova_unlink() for a bounced state
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: the first address to unlink
 * @size: in bytes
 * @dir: direction, as linked
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy out
 */
void __io_bounce_iova_unlink(struct io_bounce *bounce, struct device *dev,
			     dma_addr_t addr, size_t size,
			     enum dma_data_direction dir, unsigned long attrs)
{
	const struct io_buffer_slot *slot;
	struct io_buffer buf;
	size_t in_slot, end;
	u64 clock;

	if (!size || !io_bounce_find(bounce, dev, addr, &buf))
		return;

	slot = io_buffer_slot(&buf);
	end = slot->start + slot->len;
	in_slot = io_buffer_offset_in_slot(&buf, addr);
	if (WARN_ON_ONCE(in_slot < slot->start || in_slot > end ||
			 size > end - in_slot))
		return;

	clock = size < slot->len || attrs & DMA_ATTR_SKIP_CPU_SYNC ? 0 :
		io_bounce_time_start(&bounce->limit, IO_BOUNCE_STEP_UNMAP);
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC) &&
	    io_bounce_check_for_cpu(&buf, in_slot, size))
		io_bounce_copy_out(bounce, dev, &buf, in_slot, size, dir);
	io_bounce_check_unlink(&buf, in_slot, size);
	unlink_list(&buf, in_slot, size);
	io_bounce_time_end(&bounce->limit, &bounce->mgr, clock,
			   IO_BOUNCE_STEP_UNMAP, slot_class(&buf), dir, 1);
}

/**
 * __io_bounce_iova_free - dma_iova_free() for a bounced state
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @addr: where the state is
 */
void __io_bounce_iova_free(struct io_bounce *bounce, struct device *dev,
			   dma_addr_t addr)
{
	struct io_buffer buf;

	if (!WARN_ON_ONCE(!io_bounce_find(bounce, dev, addr, &buf)))
		io_bounce_put(bounce, dev, addr, &buf);
}
