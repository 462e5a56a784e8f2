/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pools of I/O buffers that stay mapped in an IOMMU domain.
 */
#ifndef __IO_BUFFER_POOL_H
#define __IO_BUFFER_POOL_H

#include <linux/compiler.h>
#include <linux/gfp_types.h>
#include <linux/sbitmap.h>
#include <linux/types.h>

struct iommu_domain;

/**
 * DOC: I/O buffer pool
 *
 * granule: the smallest page of the IOMMU domain, at most PAGE_SIZE.
 *
 * slot: 2^slot_shift bytes of memory at a fixed I/O virtual address (IOVA).
 * A slot is handed out whole. It is aligned to its size in both address
 * spaces, so it cannot cross a DMA segment boundary larger than itself.
 *
 * chunk: physically contiguous memory holding a power of two of slots, mapped
 * into the domain by one iommu_map() and unmapped by one iommu_unmap().
 *
 * pool: chunks of slots of one size with one permission. Chunks are added and
 * never move, so a slot is found again from its address by arithmetic alone.
 *
 * Handing out a slot takes no lock, allocates nothing and does not call the
 * IOMMU, so it may be done in any context but NMI. Adding and destroying
 * chunks sleeps and is serialised by the owner of the pool.
 */

/* In &io_buffer_slot.orig: what stands behind the slot differs by granule. */
#define IO_BUFFER_LIST		(~(phys_addr_t)0)

/* In &io_buffer_chunk.granules: this granule stands for something. */
#define IO_BUFFER_GRANULE_VALID	((phys_addr_t)1)

/**
 * struct io_buffer_slot - what a slot stands for while it is in use
 * @orig: physical address of the first byte, or %IO_BUFFER_LIST
 * @start: offset in the slot of the first byte, in bytes
 * @len: number of bytes from @start on; 0 while the slot is free
 *
 * Written by whoever was handed the slot. The pool stores it because it is
 * found by the same arithmetic as the slot, but never reads it.
 */
struct io_buffer_slot {
	phys_addr_t orig;
	u32 start;
	u32 len;
};

/**
 * struct io_buffer_chunk - contiguous memory mapped into the domain
 * @pool: the pool it belongs to
 * @vaddr: kernel address of the memory
 * @phys: physical address of the memory
 * @iova: address at which the device sees it
 * @size: bytes, a power of two
 * @index: its place in &io_buffer_pool.chunks
 * @slot_shift: log2 of the bytes in a slot, as in @pool
 * @granule_shift: log2 of the bytes in a granule, as in @pool
 * @used: one bit a slot, set while the slot is handed out
 * @granules: for slots marked %IO_BUFFER_LIST, the physical address behind
 *	each granule, aligned to the granule, with %IO_BUFFER_GRANULE_VALID;
 *	NULL where a slot is one granule, whose one entry is its @orig
 * @slots: what each slot stands for
 *
 * All but the slots' contents and @used is constant once published.
 */
struct io_buffer_chunk {
	struct io_buffer_pool *pool;
	void *vaddr;
	phys_addr_t phys;
	dma_addr_t iova;
	size_t size;
	unsigned int index;
	u8 slot_shift;
	u8 granule_shift;
	struct sbitmap used;
	phys_addr_t *granules;
	struct io_buffer_slot slots[];
};

/**
 * struct io_buffer_pool - slots of one size with one permission
 * @domain: where the slots are mapped
 * @prot: IOMMU_READ and friends: how they are mapped
 * @nid: memory node the chunks should come from
 * @slot_shift: log2 of the bytes in a slot
 * @granule_shift: log2 of the bytes in a granule of @domain
 * @max_chunks: entries in @chunks
 * @nr_chunks: chunks published; grows only
 * @full: one bit a chunk, set while a search of it found no free slot, so
 *	that the next search need not look
 * @chunks: the chunks
 */
struct io_buffer_pool {
	struct iommu_domain *domain;
	int prot;
	int nid;
	u8 slot_shift;
	u8 granule_shift;
	unsigned int max_chunks;
	unsigned int nr_chunks;
	unsigned long *full;
	struct io_buffer_chunk *chunks[] __counted_by(max_chunks);
};

/**
 * struct io_buffer - a slot that was handed out
 * @chunk: where it lies
 * @nr: which slot of the chunk
 */
struct io_buffer {
	struct io_buffer_chunk *chunk;
	unsigned int nr;
};

static inline size_t io_buffer_offset(const struct io_buffer *buf)
{
	return (size_t)buf->nr << buf->chunk->slot_shift;
}

/* IOVA of the first byte of the slot */
static inline dma_addr_t io_buffer_iova(const struct io_buffer *buf)
{
	return buf->chunk->iova + io_buffer_offset(buf);
}

/* Physical address of the first byte of the slot */
static inline phys_addr_t io_buffer_phys(const struct io_buffer *buf)
{
	return buf->chunk->phys + io_buffer_offset(buf);
}

/* Kernel address of the first byte of the slot */
static inline void *io_buffer_vaddr(const struct io_buffer *buf)
{
	return buf->chunk->vaddr + io_buffer_offset(buf);
}

static inline struct io_buffer_slot *io_buffer_slot(const struct io_buffer *buf)
{
	return &buf->chunk->slots[buf->nr];
}

/* log2 of the granules in one slot */
static inline unsigned int
io_buffer_granules_shift(const struct io_buffer_chunk *chunk)
{
	return chunk->slot_shift - chunk->granule_shift;
}

/* The entries of the slot's granules; NULL where a slot is one granule. */
static inline phys_addr_t *io_buffer_granules(const struct io_buffer *buf)
{
	struct io_buffer_chunk *chunk = buf->chunk;

	if (!chunk->granules)
		return NULL;
	return chunk->granules +
	       ((size_t)buf->nr << io_buffer_granules_shift(chunk));
}

struct io_buffer_pool *
io_buffer_pool_create(struct iommu_domain *domain, int prot, int nid,
		      unsigned int slot_shift, unsigned int granule_shift,
		      unsigned int max_chunks);
void io_buffer_pool_destroy(struct io_buffer_pool *pool);

struct io_buffer_chunk *io_buffer_chunk_create(struct io_buffer_pool *pool,
					       dma_addr_t iova, size_t size,
					       gfp_t gfp);
void io_buffer_chunk_publish(struct io_buffer_chunk *chunk);
void io_buffer_chunk_destroy(struct io_buffer_chunk *chunk);

bool io_buffer_pool_get(struct io_buffer_pool *pool, struct io_buffer *buf);
void io_buffer_pool_put(const struct io_buffer *buf);
unsigned int io_buffer_pool_used(const struct io_buffer_pool *pool);

#endif /* __IO_BUFFER_POOL_H */
