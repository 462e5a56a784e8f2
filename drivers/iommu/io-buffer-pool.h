/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pools of buffers that are mapped into an IOMMU domain in advance.
 */
#ifndef __IO_BUFFER_POOL_H
#define __IO_BUFFER_POOL_H

#include <linux/atomic.h>
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
 * slot: 2^slot_shift bytes at a fixed I/O virtual address (IOVA), handed out as a
 * whole. A slot is aligned to its size in both address spaces, so it cannot cross
 * a DMA segment boundary larger than itself.
 *
 * chunk: physically contiguous memory with a power of two of slots, mapped by one
 * iommu_map() and unmapped by one iommu_unmap().
 *
 * pool: chunks with slots of one size and one permission.
 *
 * word: up to BITS_PER_LONG slots of a chunk with a bit each, which is set while
 * the slot is in use. Words have cache lines of their own, and belong to the first CPU
 * that takes a slot of them.
 *
 * hint: each CPU remembers a few words that have, or had, a free slot: those in which
 * it freed one last, unless they belong to another CPU. In the steady state, if slots are
 * freed on the CPU that took them, it looks at one word to get a slot, and writes no cache
 * line that another CPU writes.
 *
 * A hint is all that a CPU caches. Any other CPU can take the slot, and reclaim has
 * nothing to drain: a chunk is out of use once all its bits are set.
 *
 * Getting a slot takes no lock, allocates nothing and does not call the IOMMU. The
 * manager serialises adding and removing chunks. An offline chunk is freed after an
 * RCU grace period: io_buffer_pool_get() runs with preemption disabled, and
 * io_buffer_pool_put() does not touch the chunk after it has freed the slot.
 */

/*
 * &io_buffer_slot.orig of a slot for several buffers is this plus the number of its
 * &io_buffer_segment. No memory has such an address.
 */
#define IO_BUFFER_LIST		(~(phys_addr_t)0 - 1024)

/**
 * struct io_buffer_segment - one of several buffers in a slot
 * @phys: its physical address
 * @offset: where it is in the slot, in bytes
 * @len: length in bytes
 *
 * No granule has parts of two of them, so there are at most as many as granules. They
 * are sorted.
 */
struct io_buffer_segment {
	phys_addr_t phys;
	u32 offset;
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
 * @synced: the same: synced for the CPU, and not handed to the device again
 * @sums: of @synced, what they held after the sync
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
	u64 synced;
	u16 sums[64];
	u32 from;
	u32 to;
	bool shared;
	bool mutable;
};
#endif

/**
 * struct io_buffer_slot - the mapping that a slot is used for
 * @orig: physical address of the buffer, or see %IO_BUFFER_LIST
 * @start: offset of the mapping in the slot, in bytes, within the first granule
 * @sample: for io-bounce-limit.c: ID of the sample that the mapping is; 0: none
 * @len: length of the mapping in bytes; 0 while the slot is free
 * @life: for io-bounce-check.c
 *
 * Belongs to the user of the slot; the pool never reads it.
 */
struct io_buffer_slot {
	phys_addr_t orig;
	u16 start;
	u16 sample;
	u32 len;
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
	struct io_buffer_life life;
#endif
};

/**
 * struct io_buffer_word - some slots of a chunk
 * @used: a bit for each slot, set while it is in use; bits without a slot are always set
 * @owner: the CPU it belongs to; nr_cpu_ids: none yet
 * @slots: what each slot is used for
 */
struct io_buffer_word {
	unsigned long used;
	unsigned int owner;
	struct io_buffer_slot slots[];
};

/**
 * struct io_buffer_chunk - contiguous memory mapped into the domain
 * @pool: the pool it belongs to
 * @vaddr: kernel address of the memory
 * @phys: physical address of the memory
 * @iova: address at which the device sees it
 * @size: bytes, a power of two
 * @segments: for slots with several buffers, as many for each as it has granules
 * @guards: for io-bounce-check.c: one for each granule, or NULL
 * @index: its place in &io_buffer_pool.chunks
 * @slot_shift: log2 of the bytes in a slot, as in @pool
 * @granule_shift: log2 of the bytes in a granule, as in @pool
 * @word_shift: log2 of the slots in a word
 * @slot_mask: number of the last slot in a word
 * @word_mask: number of the last word; there is a power of two of them
 * @word_size: bytes from one word to the next
 * @referenced: a word became a hint since io_buffer_pool_age()
 * @owned: words that have been given an owner, from the first one on; more than there are
 *	if others were looking for one
 * @rcu: frees it
 * @words: the words, see io_buffer_word()
 *
 * All but @referenced, @owned and the contents of @words is constant while online.
 */
struct io_buffer_chunk {
	struct io_buffer_pool *pool;
	void *vaddr;
	phys_addr_t phys;
	dma_addr_t iova;
	size_t size;
	struct io_buffer_segment *segments;
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
	struct io_buffer_guard *guards;
#endif
	unsigned int index;
	u8 slot_shift;
	u8 granule_shift;
	u8 word_shift;
	u8 slot_mask;
	u8 word_mask;
	bool referenced;
	u32 word_size;
	atomic_t owned;
	struct rcu_head rcu;
	u8 words[] ____cacheline_aligned;
};

/* A hint is the index of a chunk and, in the lower bits, of one of its words. */
#define IO_BUFFER_HINT_SHIFT	8

/* The words of a CPU with 64 requests in flight, unless most of them are small */
#define IO_BUFFER_NR_HINTS	16

/**
 * struct io_buffer_hints - where one CPU expects free slots
 * @word: the word of @last, if known; it may be gone, so only compare the pointer
 * @last: the word to try first
 * @top: number of the next entry in @old, modulo their number
 * @old: further words, a stack that drops its oldest entries
 * @search: the word in which the last search ended
 * @crowded: there was no word without owner then
 *
 * Interrupts and io_buffer_pool_age() may interfere, and a chunk may be gone: each
 * value can be outdated. A hint that there is none has the index of no chunk.
 */
struct io_buffer_hints {
	const struct io_buffer_word *word;
	u32 last;
	u32 top;
	u32 old[IO_BUFFER_NR_HINTS];
	u32 search;
	bool crowded;
} ____cacheline_aligned;

/**
 * struct io_buffer_pool - slots of one size with one permission
 * @hints: for each CPU, where to get a slot
 * @domain: where the slots are mapped
 * @prot: IOMMU_READ etc.
 * @nid: preferred memory node
 * @slot_shift: log2 of the bytes in a slot
 * @granule_shift: log2 of the bytes in a granule of @domain
 * @max_chunks: entries in @chunks less one
 * @nr_chunks: chunks online
 * @nr_slots: slots in these
 * @reserve: the manager keeps one chunk, idle or not
 * @overwrite: only devices write to the slots
 * @crowded: since io_buffer_pool_age(), a CPU has taken a slot of another one's word
 * @unowned: where to look for a chunk with a word without owner: from this index on
 * @end: all chunks have a lower index
 * @full: a bit for each chunk, set after a search found no free slot in it
 * @chunks: the chunks, with gaps; always NULL at @max_chunks, for no hint
 */
struct io_buffer_pool {
	struct io_buffer_hints __percpu *hints;
	struct iommu_domain *domain;
	int prot;
	int nid;
	u8 slot_shift;
	u8 granule_shift;
	unsigned int max_chunks;
	unsigned int nr_chunks;
	unsigned int nr_slots;
	bool reserve;
	bool overwrite;
	bool crowded;
	unsigned int unowned;
	unsigned int end;
	unsigned long *full;
	struct io_buffer_chunk __rcu *chunks[];
};

/**
 * struct io_buffer - a slot in use
 * @chunk: its chunk
 * @word: its word
 * @slot: what it is used for
 * @nr: its number in the chunk
 */
struct io_buffer {
	struct io_buffer_chunk *chunk;
	struct io_buffer_word *word;
	struct io_buffer_slot *slot;
	unsigned int nr;
};

static inline struct io_buffer_word *
io_buffer_word(struct io_buffer_chunk *chunk, unsigned int index)
{
	return (void *)(chunk->words + (size_t)index * chunk->word_size);
}

/* A slot by its number in the chunk */
static inline struct io_buffer io_buffer_nr(struct io_buffer_chunk *chunk,
					    unsigned int nr)
{
	struct io_buffer_word *word = io_buffer_word(chunk, nr >> chunk->word_shift);

	return (struct io_buffer) {
		.chunk = chunk,
		.word = word,
		.slot = &word->slots[nr & chunk->slot_mask],
		.nr = nr,
	};
}

static inline size_t io_buffer_offset(const struct io_buffer *buf)
{
	return (size_t)buf->nr << buf->chunk->slot_shift;
}

/* A chunk of the pool, or NULL. The caller must keep it online. */
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
	return buf->slot;
}

/* log2 of the granules in one slot */
static inline unsigned int
io_buffer_granules_shift(const struct io_buffer_chunk *chunk)
{
	return chunk->slot_shift - chunk->granule_shift;
}

/* Room for the segments of a slot */
static inline struct io_buffer_segment *
io_buffer_segments(const struct io_buffer *buf)
{
	return buf->chunk->segments +
	       ((size_t)buf->nr << io_buffer_granules_shift(buf->chunk));
}

/* Is a slot in use for several buffers? */
static inline bool io_buffer_is_list(const struct io_buffer_slot *slot)
{
	return slot->orig >= IO_BUFFER_LIST;
}

static inline unsigned int
io_buffer_nr_segments(const struct io_buffer_slot *slot)
{
	return slot->orig - IO_BUFFER_LIST;
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
bool io_buffer_pool_age(struct io_buffer_pool *pool);

struct io_buffer_chunk *io_buffer_chunk_create(struct io_buffer_pool *pool,
					       dma_addr_t iova, size_t size,
					       gfp_t gfp);
void io_buffer_chunk_take_first(struct io_buffer_chunk *chunk,
				struct io_buffer *buf);
void io_buffer_chunk_online(struct io_buffer_chunk *chunk);
bool io_buffer_chunk_offline(struct io_buffer_chunk *chunk);
bool io_buffer_chunk_destroy(struct io_buffer_chunk *chunk);

bool io_buffer_pool_search(struct io_buffer_pool *pool, struct io_buffer *buf);
bool io_buffer_pool_get_any(struct io_buffer_pool *pool, struct io_buffer *buf);
void io_buffer_pool_pop_hint(struct io_buffer_pool *pool);
void io_buffer_pool_drop_hint(const struct io_buffer *buf);
void io_buffer_pool_put_hinted(struct io_buffer_chunk *chunk, unsigned int nr);
void io_buffer_pool_mark_nonfull(struct io_buffer_pool *pool, unsigned int index);
unsigned int io_buffer_pool_used(struct io_buffer_pool *pool);
void io_buffer_pool_wipe(struct io_buffer_pool *pool);

/* Take a free slot of a word. Returns false if there is none; sets @last if it was one. */
static __always_inline bool io_buffer_word_get(struct io_buffer_chunk *chunk,
					       unsigned int index,
					       struct io_buffer *buf, bool *last)
{
	struct io_buffer_word *word = io_buffer_word(chunk, index);
	unsigned long val;

	while ((val = READ_ONCE(word->used)) != ~0UL) {
		unsigned int bit = ffz(val);

		/* Pairs with the release in io_buffer_pool_free(). */
		if (unlikely(test_and_set_bit_lock(bit, &word->used)))
			continue;
		buf->chunk = chunk;
		buf->word = word;
		buf->slot = &word->slots[bit];
		buf->nr = (index << chunk->word_shift) + bit;
		*last = (val | (val + 1)) == ~0UL;
		return true;
	}
	return false;
}

/*
 * Take a slot of the word that the first hint of this CPU is for. If @last is set, the
 * hint is of no use any more.
 */
static __always_inline bool io_buffer_hint_get(struct io_buffer_pool *pool,
					       struct io_buffer *buf, bool *last)
{
	u32 hint = this_cpu_read(pool->hints->last);
	struct io_buffer_chunk *chunk;

	chunk = rcu_dereference_sched(pool->chunks[hint >>
						   IO_BUFFER_HINT_SHIFT]);
	/* The chunk may have replaced the one of the hint. */
	return likely(chunk) &&
	       io_buffer_word_get(chunk, hint & chunk->word_mask, buf, last);
}

/**
 * io_buffer_pool_get - take a free slot
 * @pool: the pool; the caller has preemption disabled
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: false if no slot is free, or none was found soon enough.
 */
static __always_inline bool io_buffer_pool_get(struct io_buffer_pool *pool,
					       struct io_buffer *buf)
{
	bool last;

	if (unlikely(!io_buffer_hint_get(pool, buf, &last)))
		return io_buffer_pool_search(pool, buf);
	if (unlikely(last))
		io_buffer_pool_pop_hint(pool);
	return true;
}

/* Free a slot, without a hint for this CPU. */
static __always_inline void io_buffer_pool_free(const struct io_buffer *buf)
{
	struct io_buffer_chunk *chunk = buf->chunk;
	struct io_buffer_pool *pool = chunk->pool;
	unsigned int index = chunk->index;

	/*
	 * The chunk may be freed once the bit is clear. Orders accesses to the
	 * slot before those of its next user; pairs with test_and_set_bit_lock().
	 */
	clear_bit_unlock(buf->nr & chunk->slot_mask, &buf->word->used);
	smp_mb__after_atomic(); /* pairs with the one in chunk_get() */
	if (unlikely(test_bit(index, pool->full)))
		io_buffer_pool_mark_nonfull(pool, index);
}

/**
 * io_buffer_pool_put - free a slot
 * @buf: the slot, which neither the device nor the caller uses any more
 *
 * Context: any but NMI.
 */
static __always_inline void io_buffer_pool_put(const struct io_buffer *buf)
{
	if (likely(this_cpu_read(buf->chunk->pool->hints->word) == buf->word))
		io_buffer_pool_free(buf);
	else
		io_buffer_pool_put_hinted(buf->chunk, buf->nr);
}

#endif /* __IO_BUFFER_POOL_H */
