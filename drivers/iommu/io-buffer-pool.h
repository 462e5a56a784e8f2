/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pools of I/O buffers that stay mapped in an IOMMU domain.
 */
#ifndef __IO_BUFFER_POOL_H
#define __IO_BUFFER_POOL_H

#include <linux/bitops.h>
#include <linux/cache.h>
#include <linux/compiler.h>
#include <linux/gfp_types.h>
#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
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
 * pool: chunks of slots of one size with one permission. A slot never moves,
 * so it is found again from its address by arithmetic alone.
 *
 * word: up to BITS_PER_LONG slots of a chunk and a bit for each: set while the
 * slot is handed out. A word has a cache line of its own, and so few slots that
 * there are words for all CPUs as soon as there are slots for all CPUs.
 *
 * Each CPU remembers the word that served it last (its hint), and takes from
 * there as long as there is something: in steady state no CPU writes a cache
 * line that another CPU uses. Nothing else is kept per CPU, so there is nothing
 * to drain: a chunk all of whose bits one manages to set is out of use.
 *
 * Handing out a slot takes no lock, allocates nothing and does not call the
 * IOMMU, so it may be done in any context but NMI. Adding and retiring chunks
 * is serialised by the owner of the pool, who keeps it until nobody can use any
 * of its slots. A retired chunk is freed after an RCU grace period:
 * io_buffer_pool_get() runs with preemption disabled, io_buffer_pool_put() does
 * not touch the chunk once the slot is free.
 */

/* In &io_buffer_slot.orig: what stands behind the slot differs by granule. */
#define IO_BUFFER_LIST		(~(phys_addr_t)0)

/**
 * struct io_buffer_granule - what one granule of a slot for a list stands for
 * @phys: physical address of the granule behind it
 * @start: offset in the granule of the first byte that was mapped
 * @len: number of bytes that were mapped; 0: none
 *
 * What lies around the mapped bytes is somebody else's memory.
 */
struct io_buffer_granule {
	phys_addr_t phys;
	u32 start;
	u32 len;
};

#ifdef CONFIG_IOMMU_BOUNCE_CHECK
DECLARE_STATIC_KEY_FALSE(io_bounce_check_key);

/**
 * struct io_buffer_life - who uses a slot, for the ownership checker
 * @checked: the mapping is checked; what follows is valid
 * @old: it was found to be older than is usual
 * @place: index of the place that mapped
 * @stack: who mapped, as a handle of stackdepot
 * @since: when, in jiffies
 * @dev: name of the device, perhaps cut short: the device may be gone
 * @driver: name of its driver, likewise
 */
struct io_buffer_life {
	bool checked;
	bool old;
	u16 place;
	u32 stack;
	unsigned long since;
	char dev[28];
	char driver[20];
};

/**
 * struct io_buffer_guard - one granule of memory behind a slot, for the checker
 * @node: in the checker's table of all such memory, by page frame
 * @chunk: the chunk it is a guard of
 * @phys: physical address of the granule
 * @owned: a bit for each 64th of the granule: owned by the device, and checked
 * @from: first byte of the granule that is mapped
 * @to: first byte after it that is not
 * @shared: another mapping has some of these bytes: they are not checked
 * @mutable: memory of user space or page cache, which may change at any time
 */
struct io_buffer_guard {
	struct hlist_node node;
	struct io_buffer_chunk *chunk;
	phys_addr_t phys;
	u64 owned;
	u32 from;
	u32 to;
	bool shared;
	bool mutable;
};
#endif

/**
 * struct io_buffer_slot - what a slot stands for while it is in use
 * @orig: physical address of the first byte, or %IO_BUFFER_LIST
 * @start: offset in the slot of the first byte, in bytes
 * @len: number of bytes from @start on; 0 while the slot is free
 * @life: for io-bounce-check.c
 *
 * Written by whoever was handed the slot. The pool stores it because it is
 * found by the same arithmetic as the slot, but never reads it.
 */
struct io_buffer_slot {
	phys_addr_t orig;
	u32 start;
	u32 len;
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
	struct io_buffer_life life;
#endif
};

/**
 * struct io_buffer_word - which of some slots are in use
 * @used: a bit for each slot; those that stand for no slot are always set
 */
struct io_buffer_word {
	unsigned long used;
} ____cacheline_aligned_in_smp;

/**
 * struct io_buffer_chunk - contiguous memory mapped into the domain
 * @pool: the pool it belongs to
 * @vaddr: kernel address of the memory
 * @phys: physical address of the memory
 * @iova: address at which the device sees it
 * @size: bytes, a power of two
 * @words: which slots are in use
 * @granules: for slots marked %IO_BUFFER_LIST, what each granule stands for;
 *	NULL where a slot is one granule, whose one entry is its @orig
 * @guards: for io-bounce-check.c: one for each granule, or NULL
 * @index: its place in &io_buffer_pool.chunks
 * @slot_shift: log2 of the bytes in a slot, as in @pool
 * @granule_shift: log2 of the bytes in a granule, as in @pool
 * @word_shift: log2 of the slots in a word
 * @word_mask: number of the last word; there is a power of two of them
 * @touched: became some CPU's hint since io_buffer_pool_age()
 * @rcu: frees it
 * @slots: what each slot stands for
 *
 * All but @touched, the slots' contents and @words is constant once published.
 */
struct io_buffer_chunk {
	struct io_buffer_pool *pool;
	void *vaddr;
	phys_addr_t phys;
	dma_addr_t iova;
	size_t size;
	struct io_buffer_word *words;
	struct io_buffer_granule *granules;
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
	struct io_buffer_guard *guards;
#endif
	unsigned int index;
	u8 slot_shift;
	u8 granule_shift;
	u8 word_shift;
	u8 word_mask;
	bool touched;
	struct rcu_head rcu;
	struct io_buffer_slot slots[] ____cacheline_aligned_in_smp;
};

/*
 * A hint: the index of a chunk and, in the lower bits, of one of its words. That
 * is enough for 512 slots of 4 KiB in 2 MiB, four to a word.
 */
#define IO_BUFFER_HINT_SHIFT	8

/**
 * struct io_buffer_pool - slots of one size with one permission
 * @hint: where each CPU found a slot last
 * @domain: where the slots are mapped
 * @prot: IOMMU_READ and friends: how they are mapped
 * @nid: memory node the chunks should come from
 * @slot_shift: log2 of the bytes in a slot
 * @granule_shift: log2 of the bytes in a granule of @domain
 * @max_chunks: entries in @chunks less one
 * @nr_chunks: chunks it has
 * @reserve: its owner keeps a chunk of it, idle or not
 * @end: no chunk has this index or a higher one
 * @full: one bit a chunk, set while a search of it found no free slot, so that
 *	the next search need not look
 * @chunks: the chunks, with NULL in between; NULL at @max_chunks, where the
 *	hints of CPUs point that have none
 */
struct io_buffer_pool {
	u32 __percpu *hint;
	struct iommu_domain *domain;
	int prot;
	int nid;
	u8 slot_shift;
	u8 granule_shift;
	unsigned int max_chunks;
	unsigned int nr_chunks;
	bool reserve;
	unsigned int end;
	unsigned long *full;
	struct io_buffer_chunk __rcu *chunks[];
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

/* A chunk of the pool or NULL, for those who keep it from being retired */
static inline struct io_buffer_chunk *
io_buffer_pool_chunk(const struct io_buffer_pool *pool, unsigned int index)
{
	return rcu_dereference_raw(pool->chunks[index]);
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
static inline struct io_buffer_granule *
io_buffer_granules(const struct io_buffer *buf)
{
	struct io_buffer_chunk *chunk = buf->chunk;

	if (!chunk->granules)
		return NULL;
	return chunk->granules +
	       ((size_t)buf->nr << io_buffer_granules_shift(chunk));
}

#ifdef CONFIG_IOMMU_BOUNCE_CHECK
void io_buffer_guards_alloc(struct io_buffer_chunk *chunk, gfp_t gfp);
void io_buffer_guards_free(struct io_buffer_chunk *chunk);
#else
static inline void io_buffer_guards_alloc(struct io_buffer_chunk *chunk,
					  gfp_t gfp)
{
}

static inline void io_buffer_guards_free(struct io_buffer_chunk *chunk)
{
}
#endif

struct io_buffer_pool *
io_buffer_pool_create(struct iommu_domain *domain, int prot, int nid,
		      unsigned int slot_shift, unsigned int granule_shift,
		      unsigned int max_chunks, gfp_t gfp);
void io_buffer_pool_destroy(struct io_buffer_pool *pool);
void io_buffer_pool_age(struct io_buffer_pool *pool);

struct io_buffer_chunk *io_buffer_chunk_create(struct io_buffer_pool *pool,
					       dma_addr_t iova, size_t size,
					       gfp_t gfp);
void io_buffer_chunk_take_first(struct io_buffer_chunk *chunk,
				struct io_buffer *buf);
void io_buffer_chunk_publish(struct io_buffer_chunk *chunk);
bool io_buffer_chunk_retire(struct io_buffer_chunk *chunk);
bool io_buffer_chunk_destroy(struct io_buffer_chunk *chunk);

bool io_buffer_pool_search(struct io_buffer_pool *pool, struct io_buffer *buf);
bool io_buffer_pool_get_any(struct io_buffer_pool *pool, struct io_buffer *buf);
void io_buffer_pool_unfull(struct io_buffer_pool *pool, unsigned int index);
unsigned int io_buffer_pool_used(struct io_buffer_pool *pool);

/* Take a free slot of a word; its number in the chunk, or -1 if there is none. */
static __always_inline int io_buffer_word_get(struct io_buffer_chunk *chunk,
					      unsigned int word)
{
	unsigned long *used = &chunk->words[word].used;
	unsigned long val;

	while ((val = READ_ONCE(*used)) != ~0UL) {
		unsigned int bit = ffz(val);

		/* Pairs with the release in io_buffer_pool_put(). */
		if (likely(!test_and_set_bit_lock(bit, used)))
			return (word << chunk->word_shift) + bit;
	}
	return -1;
}

/**
 * io_buffer_pool_get - take a free slot
 * @pool: the pool; preemption is disabled since it was looked up
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: true, or false when no slot is free, or none was found soon enough;
 * in the steady state that costs a few nanoseconds.
 */
static __always_inline bool io_buffer_pool_get(struct io_buffer_pool *pool,
					       struct io_buffer *buf)
{
	u32 hint = this_cpu_read(*pool->hint);
	struct io_buffer_chunk *chunk;

	chunk = rcu_dereference_sched(pool->chunks[hint >>
						   IO_BUFFER_HINT_SHIFT]);
	if (likely(chunk)) {
		/* It may be another chunk than the hint was given for. */
		int nr = io_buffer_word_get(chunk, hint & chunk->word_mask);

		if (likely(nr >= 0)) {
			buf->chunk = chunk;
			buf->nr = nr;
			return true;
		}
	}
	return io_buffer_pool_search(pool, buf);
}

/**
 * io_buffer_pool_put - give a slot back
 * @buf: the slot; neither the device nor the caller may touch it any more
 *
 * Context: any but NMI.
 */
static __always_inline void io_buffer_pool_put(const struct io_buffer *buf)
{
	struct io_buffer_chunk *chunk = buf->chunk;
	struct io_buffer_pool *pool = chunk->pool;
	unsigned int index = chunk->index;

	/*
	 * Once the bit is clear the chunk may go.
	 *
	 * What the last owner read and wrote in the slot comes before the next
	 * owner's use of it; pairs with test_and_set_bit_lock().
	 */
	clear_bit_unlock(buf->nr & (BIT(chunk->word_shift) - 1),
			 &chunk->words[buf->nr >> chunk->word_shift].used);
	smp_mb__after_atomic(); /* pairs with the one in chunk_get() */
	if (unlikely(test_bit(index, pool->full)))
		io_buffer_pool_unfull(pool, index);
}

#endif /* __IO_BUFFER_POOL_H */
