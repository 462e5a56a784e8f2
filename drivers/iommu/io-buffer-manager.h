/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pre-mapped buffers of one IOMMU domain.
 */
#ifndef __IO_BUFFER_MANAGER_H
#define __IO_BUFFER_MANAGER_H

#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "io-buffer-pool.h"

struct iommu_domain;
struct iova_domain;

/**
 * DOC: I/O buffer manager
 *
 * window: the IOVA range that all slots of a domain lie in. It is allocated on the
 * first miss, when the DMA mask of the device is known, and kept until the domain
 * is freed, as are the pools.
 *
 * region: the window is divided into equal regions with at most one chunk each. So
 * a comparison tells whether an address is in a slot, and shifts lead to the chunk,
 * the slot and the offset.
 *
 * size class: the size of a slot, as its order in granules.
 *
 * reserve: pools that only mandatory bounces use, for domains that cannot fall back
 * to SWIOTLB. Some of their chunks are never reclaimed.
 *
 * budget: the most memory that chunks may take, for a domain and for all domains.
 * The second one does not limit the reserve.
 *
 * io_buffer_get() and io_buffer_lookup() take no lock. The worker that grows pools,
 * the one that reclaims idle chunks, and the shrinker hold @lock of the manager. A
 * mandatory bounce in atomic context may add a chunk as well, so regions and budget
 * are assigned under @chunk_lock.
 */

/*
 * What a device may do with a slot. The first values are those of enum
 * dma_data_direction. Slots of the last one hold nothing but what devices of the domain
 * wrote there. The reserve has none of these.
 */
enum io_buffer_perm {
	IO_BUFFER_READ_WRITE,
	IO_BUFFER_READ,
	IO_BUFFER_WRITE,
	IO_BUFFER_OVERWRITE,
	IO_BUFFER_NR_PERMS
};

/*
 * A region is the largest chunk: one huge page of the common page table formats
 * (x86, arm64 with 4K pages).
 */
#define IO_BUFFER_MAX_SLOT	SZ_1M
#define IO_BUFFER_MAX_REGION	SZ_2M
#define IO_BUFFER_MIN_CHUNK	SZ_64K
#define IO_BUFFER_MAX_WINDOW	SZ_512M

/* Slots of 4K to 1M with a granule of 4K; fewer size classes with a larger one */
#define IO_BUFFER_NR_CLASSES	9

/* Pools have numbers: by permission and size class, those of the reserve last. */
#define IO_BUFFER_NR_POOLS	(IO_BUFFER_NR_PERMS * IO_BUFFER_NR_CLASSES)
#define IO_BUFFER_ALL_POOLS	(2 * IO_BUFFER_NR_POOLS)

/* The reserve has a chunk of slots of one granule, and one of slots of this size. */
#define IO_BUFFER_RESERVE_SLOT	SZ_64K
#define IO_BUFFER_RESERVE	(2 * IO_BUFFER_OVERWRITE * \
				 max_t(size_t, IO_BUFFER_MIN_CHUNK, PAGE_SIZE))

/* The reason of a miss */
enum io_buffer_miss {
	IO_BUFFER_MISS_EMPTY,	/* the pool has no chunk yet */
	IO_BUFFER_MISS_FULL,	/* all slots are in use */
	IO_BUFFER_MISS_MASK,	/* the device cannot address the window */
	IO_BUFFER_MISS_SIZE,	/* larger than the largest slot */
	IO_BUFFER_NR_MISSES
};

/**
 * struct io_buffer_limits - the limits of a device
 * @dma_limit: highest IOVA it can address
 * @prefer_32bit: try below 4 GiB first, as dma-iommu does for PCI devices
 * @prot: protection bits besides the permission, e.g. IOMMU_CACHE
 * @unmap_needs_rpm: unmapping may resume the IOMMU, which reclaim must not do
 * @nid: memory node of the device
 */
struct io_buffer_limits {
	u64 dma_limit;
	bool prefer_32bit;
	int prot;
	bool unmap_needs_rpm;
	int nid;
};

/**
 * struct io_buffer_manager - the pre-mapped buffers of one IOMMU domain
 *
 * Read on each map and unmap; constant once there is a window:
 * @base: first IOVA of the window
 * @size: bytes in the window; 0 if there is none yet
 * @last: last IOVA of the window; U64_MAX if there is none yet
 * @region_shift: log2 of the bytes in a region
 * @granule_shift: log2 of the bytes in a granule
 * @granule_mask: offsets in a granule
 * @nr_regions: entries in @regions
 *
 * Also read there; entries are set under @chunk_lock:
 * @regions: the chunk in each region, or NULL
 * @pools: the pools by permission and size class, or NULL
 * @reserve: the pools of the reserve, likewise; NULL if there never was one
 *
 * @grow_pending: a bit for each pool: the worker has to grow it
 * @reserve_enabled: mandatory bounces need the reserve
 * @reclaim_pages: pages to reclaim although they are not idle
 * @retry_at: in 64-bit jiffies; out of memory, do not grow before
 * @work: grows pools
 *
 * Under @lock:
 * @age_work: reclaims idle chunks
 * @window_tries: failed attempts to allocate a window of the full size
 * @slots_used_hiwater: most slots in use at once, as far as sampled
 * @budget_warned: exhaustion of the budget was logged
 *
 * Under @chunk_lock:
 * @limits: of the device that missed first
 * @limits_set: @limits are valid
 * @nr_chunks: chunks, and regions in use
 * @memory: bytes in chunks
 * @chunks_added: chunks added since the domain was created
 *
 * @chunk_lock: also protects the set of pools, @regions and the chunks of each pool
 * @lock: serialises growth and reclaim
 * @domain: where the chunks are mapped
 * @iovad: where the window is allocated
 * @dev: a device of the domain, or NULL; see io_buffer_hold_dev()
 * @memory_max: the budget in bytes
 * @group: number of the IOMMU group, or -1
 * @node: in &io_buffer_managers
 */
struct io_buffer_manager {
	dma_addr_t base;
	size_t size;
	u64 last;
	u8 region_shift;
	u8 granule_shift;
	u32 granule_mask;
	unsigned int nr_regions;
	struct io_buffer_chunk **regions;
	struct io_buffer_pool *pools[IO_BUFFER_NR_PERMS][IO_BUFFER_NR_CLASSES];
	struct io_buffer_pool **reserve;

	DECLARE_BITMAP(grow_pending, IO_BUFFER_ALL_POOLS);
	u64 retry_at;
	unsigned int reclaim_pages;
	unsigned int slots_used_hiwater;
	bool reserve_enabled;
	bool budget_warned;
	bool limits_set;
	u8 window_tries;
	struct work_struct work;
	struct delayed_work age_work;

	spinlock_t chunk_lock;	/* taken in atomic context */
	struct io_buffer_limits limits;
	unsigned int nr_chunks;
	size_t memory;
	unsigned long chunks_added;

	struct mutex lock;	/* taken before @chunk_lock */
	struct iommu_domain *domain;
	struct iova_domain *iovad;
	struct device *dev;
	size_t memory_max;
	int group;
	struct list_head node;
};

void io_buffer_manager_init(struct io_buffer_manager *mgr,
			    struct iommu_domain *domain,
			    struct iova_domain *iovad, size_t memory_max);
void io_buffer_manager_destroy(struct io_buffer_manager *mgr);
unsigned int io_buffer_manager_used(struct io_buffer_manager *mgr);

enum io_buffer_miss io_buffer_miss_reason(struct io_buffer_manager *mgr,
					  enum io_buffer_perm perm, size_t size,
					  u64 dma_limit);
void io_buffer_request_grow(struct io_buffer_manager *mgr,
			    enum io_buffer_perm perm, size_t size,
			    const struct io_buffer_limits *limits);
void io_buffer_wipe(struct io_buffer_manager *mgr);
bool io_buffer_get_any(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
		       size_t size, u64 dma_limit, struct io_buffer *buf);
void io_buffer_enable_reserve(struct io_buffer_manager *mgr,
			      const struct io_buffer_limits *limits);
bool io_buffer_get_reserved(struct io_buffer_manager *mgr,
			    enum io_buffer_perm perm, size_t size,
			    u64 dma_limit, struct io_buffer *buf);
bool io_buffer_grow_atomic(struct io_buffer_manager *mgr,
			   enum io_buffer_perm perm, size_t size,
			   u64 dma_limit, struct io_buffer *buf);

void io_buffer_set_total_max(size_t bytes);
size_t io_buffer_total_max(void);
size_t io_buffer_total(void);
unsigned long io_buffer_total_refused(void);

/* For io-buffer-reclaim.c */
extern struct list_head io_buffer_managers;
extern struct mutex io_buffer_managers_lock;
struct workqueue_struct *io_buffer_queue(void);
void io_buffer_refill_reserve(struct io_buffer_manager *mgr);
void io_buffer_relieve(struct io_buffer_manager *mgr, unsigned int nr,
		       struct io_buffer_pool *pool);
void io_buffer_clear_pending(struct io_buffer_manager *mgr);
unsigned int io_buffer_count_used(struct io_buffer_manager *mgr);
void io_buffer_uncharge(size_t bytes);

/* io-buffer-reclaim.c */
void io_buffer_reclaim_init(struct io_buffer_manager *mgr);
void io_buffer_reclaim_stop(struct io_buffer_manager *mgr);
void io_buffer_free_unused(struct io_buffer_manager *mgr);
void io_buffer_kick_reclaim(struct io_buffer_manager *mgr, size_t bytes);
size_t io_buffer_reclaim(struct io_buffer_manager *mgr, size_t bytes, bool idle);
size_t io_buffer_shrink(size_t bytes);
int io_buffer_hold_dev(struct io_buffer_manager *mgr);
bool io_buffer_system_running(void);

/* A chunk is freed at the end of the second idle period, so within 10 seconds. */
#define IO_BUFFER_AGE_PERIOD	(4 * HZ)

/* Look for idle chunks later. */
static inline void io_buffer_queue_reclaim(struct io_buffer_manager *mgr)
{
	queue_delayed_work(io_buffer_queue(), &mgr->age_work,
			   IO_BUFFER_AGE_PERIOD);
}

/* In a region while its chunk is created or destroyed; its size is 0. */
extern struct io_buffer_chunk io_buffer_no_chunk;

/* Memory is short: do not ask the page allocator for a while. */
static inline void io_buffer_retry_later(struct io_buffer_manager *mgr)
{
	WRITE_ONCE(mgr->retry_at, get_jiffies_64() + HZ / 10);
}

/* The number of a pool outside of the reserve */
static inline unsigned int io_buffer_pool_nr(enum io_buffer_perm perm,
					     unsigned int class)
{
	return perm * IO_BUFFER_NR_CLASSES + class;
}

/* The pointer to a pool; NULL for the reserve if there never was one */
static inline struct io_buffer_pool **
io_buffer_pool_place(struct io_buffer_manager *mgr, unsigned int nr)
{
	struct io_buffer_pool **reserve;

	if (nr < IO_BUFFER_NR_POOLS)
		return &mgr->pools[nr / IO_BUFFER_NR_CLASSES]
				  [nr % IO_BUFFER_NR_CLASSES];
	reserve = READ_ONCE(mgr->reserve);
	return reserve ? reserve + (nr - IO_BUFFER_NR_POOLS) : NULL;
}

/* The pool with a number, or NULL. Pools are freed with the manager. */
static inline struct io_buffer_pool *
io_buffer_pool_of(struct io_buffer_manager *mgr, unsigned int nr)
{
	struct io_buffer_pool **place = io_buffer_pool_place(mgr, nr);

	return place ? READ_ONCE(*place) : NULL;
}

/* The next pool from number *@nr on, which is updated; NULL if there is none */
static inline struct io_buffer_pool *
io_buffer_next_pool(struct io_buffer_manager *mgr, unsigned int *nr)
{
	struct io_buffer_pool *pool = NULL;

	while (*nr < IO_BUFFER_ALL_POOLS) {
		pool = io_buffer_pool_of(mgr, *nr);
		if (pool)
			break;
		++*nr;
	}
	return pool;
}

#define for_each_io_buffer_pool(mgr, nr, pool)				\
	for ((nr) = 0; ((pool) = io_buffer_next_pool(mgr, &(nr))); (nr)++)

/* The size class of the smallest slot that holds @size bytes */
static inline unsigned int
io_buffer_size_class(const struct io_buffer_manager *mgr, size_t size)
{
	return fls_long((size - 1) >> mgr->granule_shift);
}

/* Is the last chunk of a pool exempt from reclaim? */
static inline bool io_buffer_is_kept(const struct io_buffer_manager *mgr,
				     const struct io_buffer_pool *pool)
{
	return READ_ONCE(mgr->reserve_enabled) && pool->reserve &&
	       READ_ONCE(pool->nr_chunks) <= 1;
}

/* Is there a window, and can a device that addresses @dma_limit reach all of it? */
static inline bool io_buffer_reachable(const struct io_buffer_manager *mgr,
				       u64 dma_limit)
{
	/* Pairs with io_buffer_alloc_window() */
	return smp_load_acquire(&mgr->size) &&
	       READ_ONCE(mgr->last) <= dma_limit;
}

/**
 * io_buffer_get - take a slot
 * @mgr: the manager of the domain
 * @perm: permission of the device
 * @size: in bytes, at least 1
 * @dma_limit: highest IOVA that the device can address
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: false on a miss; see io_buffer_miss_reason().
 */
static __always_inline bool io_buffer_get(struct io_buffer_manager *mgr,
					  enum io_buffer_perm perm,
					  size_t size, u64 dma_limit,
					  struct io_buffer *buf)
{
	unsigned int class = io_buffer_size_class(mgr, size);
	struct io_buffer_pool *pool;
	bool ret = false;

	if (unlikely(class >= IO_BUFFER_NR_CLASSES ||
		     READ_ONCE(mgr->last) > dma_limit))
		return false;

	preempt_disable();
	pool = READ_ONCE(mgr->pools[perm][class]);
	if (likely(pool))
		ret = io_buffer_pool_get(pool, buf);
	preempt_enable();
	return ret;
}

/**
 * io_buffer_get_hinted - take a slot of the word that this CPU expects one in
 * @mgr: the manager of the domain
 * @perm: permission of the device, which reaches all of the window
 * @size: in bytes, at least 1
 * @buf: filled in with the slot
 * @last: if that was the last slot there, io_buffer_pool_drop_hint() should follow
 *
 * Context: any but NMI.
 * Return: false if there is none; then use io_buffer_get().
 */
static __always_inline bool io_buffer_get_hinted(struct io_buffer_manager *mgr,
						 enum io_buffer_perm perm,
						 size_t size, struct io_buffer *buf,
						 bool *last)
{
	unsigned int class = io_buffer_size_class(mgr, size);
	struct io_buffer_pool *pool;
	bool ret = false;

	if (unlikely(class >= IO_BUFFER_NR_CLASSES))
		return false;

	preempt_disable();
	pool = READ_ONCE(mgr->pools[perm][class]);
	if (likely(pool))
		ret = io_buffer_hint_get(pool, buf, last);
	preempt_enable();
	return ret;
}

/**
 * is_io_buffer_addr - is an IOVA in the window
 * @mgr: the manager of the domain
 * @iova: any IOVA of the domain
 *
 * The domain has no other mappings in the window.
 *
 * Return: true if it is.
 */
static inline bool is_io_buffer_addr(const struct io_buffer_manager *mgr,
				     dma_addr_t iova)
{
	/*
	 * Pairs with io_buffer_alloc_window(). A size without its base would
	 * make a directly mapped address look like one of the window.
	 */
	size_t size = smp_load_acquire(&mgr->size);

	return iova - READ_ONCE(mgr->base) < size;
}

/**
 * io_buffer_lookup - get the slot of an IOVA
 * @mgr: the manager of the domain
 * @iova: an address for which is_io_buffer_addr() is true
 * @buf: filled in with the slot
 *
 * A slot in use keeps its chunk. A driver may pass an address that it has unmapped
 * already, so look at the slot under rcu_read_lock() to see if it is in use.
 *
 * Return: false if there is no chunk.
 */
static inline bool io_buffer_lookup(const struct io_buffer_manager *mgr,
				    dma_addr_t iova, struct io_buffer *buf)
{
	size_t offset = iova - mgr->base;
	struct io_buffer_chunk *chunk;

	chunk = READ_ONCE(mgr->regions[offset >> mgr->region_shift]);
	if (unlikely(!chunk || iova - chunk->iova >= chunk->size))
		return false;

	*buf = io_buffer_nr(chunk, (iova - chunk->iova) >> chunk->slot_shift);
	return true;
}

/* Offset of @iova from the start of its slot */
static inline size_t io_buffer_offset_in_slot(const struct io_buffer *buf,
					      dma_addr_t iova)
{
	return (iova - buf->chunk->iova) & ((1UL << buf->chunk->slot_shift) - 1);
}

#endif /* __IO_BUFFER_MANAGER_H */
