/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The I/O buffers of one IOMMU domain.
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
 * window: the one range of IOVA space that all of a domain's slots lie in. It
 * is reserved when the first buffer is asked for, because only then is the DMA
 * mask of the device known, and kept until the domain goes, as are the pools.
 *
 * region: the window is cut into equal regions; a region holds at most one
 * chunk. So "is this address ours" is one comparison, and the chunk, the slot
 * and the offset follow by shifts.
 *
 * class: the size of a slot, as its order in granules.
 *
 * reserve: where a mandatory bounce has no other way, there are pools that only
 * mandatory bounces take from and grow, and some chunks of them always stay.
 *
 * budget: how much memory chunks may take, of a domain and of all domains. The
 * reserve and mandatory bounces count towards the latter but are not bound by it.
 *
 * io_buffer_get() and io_buffer_find() take no lock. Whoever changes the set of
 * chunks holds the lock of the manager: the worker that grows pools, the one
 * that gives back what was not used for a while, and the shrinker. A mandatory
 * bounce that cannot wait for it may still add a chunk: a region and its part of
 * the budget are claimed first, under a spinlock.
 */

/*
 * The permission of a slot: what the device may do with it. Numbered as the
 * directions of DMA that need them.
 */
enum io_buffer_perm {
	IO_BUFFER_READ_WRITE,
	IO_BUFFER_READ,
	IO_BUFFER_WRITE,
	IO_BUFFER_NR_PERMS
};

/*
 * The largest slot. A chunk is at most IO_BUFFER_MAX_REGION so that it can be
 * mapped by one huge page of the common formats (x86, arm64 with 4K pages).
 */
#define IO_BUFFER_MAX_SLOT	SZ_1M
#define IO_BUFFER_MAX_REGION	SZ_2M
#define IO_BUFFER_MIN_CHUNK	SZ_64K

/* What a window is at most, and so the budget of a domain */
#define IO_BUFFER_MAX_WINDOW	SZ_512M

/* Slots of 4K to 1M where the granule is 4K; fewer where it is larger. */
#define IO_BUFFER_NR_CLASSES	9

/* The pools by number: those of each permission, then those of the reserve */
#define IO_BUFFER_NR_POOLS	(IO_BUFFER_NR_PERMS * IO_BUFFER_NR_CLASSES)
#define IO_BUFFER_ALL_POOLS	(2 * IO_BUFFER_NR_POOLS)

/* What a reserve is made of, besides slots of a granule */
#define IO_BUFFER_RESERVE_SLOT	SZ_64K

/* What it takes: for each permission a chunk of each of the two kinds of slots */
#define IO_BUFFER_RESERVE	(2 * IO_BUFFER_NR_PERMS * \
				 max_t(size_t, IO_BUFFER_MIN_CHUNK, PAGE_SIZE))

/* Why a buffer could not be had. */
enum io_buffer_miss {
	IO_BUFFER_MISS_COLD,	/* nothing of this class and permission yet */
	IO_BUFFER_MISS_BUSY,	/* all slots in use */
	IO_BUFFER_MISS_MASK,	/* the device cannot address the window */
	IO_BUFFER_MISS_SIZE,	/* no slot is that large */
	IO_BUFFER_NR_MISSES
};

/**
 * struct io_buffer_limits - what the first device can address
 * @dma_limit: highest IOVA
 * @prefer_32bit: try below 4 GiB first, as dma-iommu does for PCI devices
 * @prot: protection bits besides the permission, e.g. IOMMU_CACHE
 * @unmap_wakes: unmapping may have to wake the IOMMU, which reclaim must not do
 * @nid: memory node of the device
 */
struct io_buffer_limits {
	u64 dma_limit;
	bool prefer_32bit;
	int prot;
	bool unmap_wakes;
	int nid;
};

/**
 * struct io_buffer_manager - the I/O buffers of one IOMMU domain
 *
 * Read on every map and unmap; constant once published:
 * @base: first IOVA of the window
 * @size: bytes in the window; 0 until it is reserved
 * @last: last IOVA of the window; beyond all addresses until it is reserved
 * @region_shift: log2 of the bytes in a region
 * @granule_shift: log2 of the bytes in the domain's smallest page
 * @nr_regions: entries in @regions
 *
 * Also read there; entries are set under @claims and are never cleared:
 * @regions: the chunk in each region, or NULL
 * @pools: the pools by permission and class, or NULL
 * @reserve: likewise those of the reserve; NULL where there never was one
 *
 * Between a miss and the worker:
 * @wanted: by number: grow that pool
 * @keep: there is to be a reserve
 * @reclaim_pages: give back so much of what is not in use, idle or not
 * @retry_at: in 64-bit jiffies: memory was short, do not try again before
 * @work: makes what is wanted grow
 *
 * Under @lock:
 * @age_work: gives back what is idle
 * @window_tries: how often there was no room for a window of the full size
 * @slots_high_water: most slots in use at once, as far as was sampled
 * @told: somebody was told that the budget is used up
 *
 * Under @claims:
 * @limits: of the device that missed first
 * @limits_set: there are @limits, constant until a window was looked for in vain
 * @nr_chunks: chunks held
 * @memory: bytes held in chunks
 * @grown: chunks added so far; what is not there any more was given back
 *
 * @claims: besides, which pools there are, which regions are in use and which
 *	chunks a pool has
 * @lock: serialises changes
 * @domain: where the buffers are mapped
 * @iovad: where the window is reserved
 * @dev: a device of the domain, or NULL; while it is suspended at run time,
 *	nothing is unmapped, for it may have to answer an invalidation
 * @memory_max: the budget of the domain
 * @group: number of the IOMMU group, or -1: what the domain is known by
 * @node: in the list of managers that hold memory, for the shrinker
 */
struct io_buffer_manager {
	dma_addr_t base;
	size_t size;
	u64 last;
	u8 region_shift;
	u8 granule_shift;
	unsigned int nr_regions;
	struct io_buffer_chunk **regions;
	struct io_buffer_pool *pools[IO_BUFFER_NR_PERMS][IO_BUFFER_NR_CLASSES];
	struct io_buffer_pool **reserve;

	DECLARE_BITMAP(wanted, IO_BUFFER_ALL_POOLS);
	u64 retry_at;
	unsigned int reclaim_pages;
	unsigned int slots_high_water;
	bool keep;
	bool told;
	bool limits_set;
	u8 window_tries;
	struct work_struct work;
	struct delayed_work age_work;

	spinlock_t claims;	/* for who cannot wait for the lock */
	struct io_buffer_limits limits;
	unsigned int nr_chunks;
	size_t memory;
	unsigned long grown;

	struct mutex lock;	/* for the set of chunks and what follows from it */
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

enum io_buffer_miss io_buffer_why(struct io_buffer_manager *mgr,
				  enum io_buffer_perm perm, size_t size,
				  u64 dma_limit);
void io_buffer_want(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
		    size_t size, const struct io_buffer_limits *limits);
void io_buffer_reserve(struct io_buffer_manager *mgr,
		       const struct io_buffer_limits *limits);
void io_buffer_drop(struct io_buffer_manager *mgr);
bool io_buffer_get_reserved(struct io_buffer_manager *mgr,
			    enum io_buffer_perm perm, size_t size,
			    u64 dma_limit, struct io_buffer *buf);
bool io_buffer_grow_now(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
			size_t size, u64 dma_limit, struct io_buffer *buf);

/* io-buffer-manager.c: how pools grow, for the other parts of the manager */
#define IO_BUFFER_GROW_GFP	(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN)
struct io_buffer_pool *io_buffer_make_pool(struct io_buffer_manager *mgr,
					   unsigned int nr, gfp_t gfp);
int io_buffer_add_chunk(struct io_buffer_manager *mgr, unsigned int nr,
			struct io_buffer_pool *pool, size_t size, gfp_t gfp,
			struct io_buffer *first);
size_t io_buffer_next_chunk(const struct io_buffer_manager *mgr,
			    unsigned int nr, const struct io_buffer_pool *pool);
size_t io_buffer_min_chunk(const struct io_buffer_pool *pool);
bool io_buffer_fits_region(const struct io_buffer_manager *mgr,
			   unsigned int class);
bool io_buffer_set_limits(struct io_buffer_manager *mgr,
			  const struct io_buffer_limits *limits);
void io_buffer_clear_wanted(struct io_buffer_manager *mgr);
unsigned int io_buffer_count_used(struct io_buffer_manager *mgr);

/* io-buffer-budget.c: how much memory that may take */
size_t io_buffer_budget(const struct io_buffer_manager *mgr, unsigned int nr);
unsigned int io_buffer_region_budget(const struct io_buffer_manager *mgr,
				     unsigned int nr);
void io_buffer_set_total_max(size_t bytes);
size_t io_buffer_total_max(void);
size_t io_buffer_total(void);
unsigned long io_buffer_total_refused(void);
bool io_buffer_charge(size_t bytes, bool mandatory);
void io_buffer_uncharge(size_t bytes);

/* io-buffer-reserve.c: what always stays */
void io_buffer_fill_reserve(struct io_buffer_manager *mgr);

/* io-buffer-reclaim.c: what gives memory back */
struct workqueue_struct *io_buffer_queue(void);
void io_buffer_reclaim_init(struct io_buffer_manager *mgr);
void io_buffer_reclaim_stop(struct io_buffer_manager *mgr);
void io_buffer_reclaim_join(struct io_buffer_manager *mgr);
void io_buffer_reclaim_later(struct io_buffer_manager *mgr);
void io_buffer_reclaim_soon(struct io_buffer_manager *mgr, size_t bytes);
size_t io_buffer_reclaim(struct io_buffer_manager *mgr, size_t bytes, bool idle);
size_t io_buffer_shrink(size_t bytes);
int io_buffer_hold_dev(struct io_buffer_manager *mgr);

/* Memory is short: leave the page allocator alone for a while. */
static inline void io_buffer_retry_later(struct io_buffer_manager *mgr)
{
	WRITE_ONCE(mgr->retry_at, get_jiffies_64() + HZ / 10);
}

/* io-buffer-window.c: where the buffers lie */
int io_buffer_reserve_window(struct io_buffer_manager *mgr);

/*
 * Stands in a region while its chunk is being made or unmade. It has no size, so
 * that no address lies in it.
 */
extern struct io_buffer_chunk io_buffer_no_chunk;

/* The number of a pool that does not belong to the reserve */
static inline unsigned int io_buffer_pool_nr(enum io_buffer_perm perm,
					     unsigned int class)
{
	return perm * IO_BUFFER_NR_CLASSES + class;
}

/* Where a pool is noted; NULL for one of a reserve that there never was */
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

/* The pool of a number; NULL if there is none. It stays until its manager goes. */
static inline struct io_buffer_pool *
io_buffer_pool_of(struct io_buffer_manager *mgr, unsigned int nr)
{
	struct io_buffer_pool **place = io_buffer_pool_place(mgr, nr);

	return place ? READ_ONCE(*place) : NULL;
}

/*
 * Likewise by permission and class; those of the reserve follow as further
 * permissions, so that there are twice IO_BUFFER_NR_PERMS.
 */
static inline struct io_buffer_pool *
io_buffer_locked_pool(struct io_buffer_manager *mgr, unsigned int perm,
		      unsigned int class)
{
	return io_buffer_pool_of(mgr, perm * IO_BUFFER_NR_CLASSES + class);
}

/* The first pool there is from number *@nr on, which is set; NULL if there is none */
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

/* The class of the smallest slot that holds @size bytes. */
static inline unsigned int
io_buffer_class(const struct io_buffer_manager *mgr, size_t size)
{
	return fls_long((size - 1) >> mgr->granule_shift);
}

/* Does the last chunk of a pool stay, idle or not? */
static inline bool io_buffer_is_kept(const struct io_buffer_manager *mgr,
				     const struct io_buffer_pool *pool)
{
	return READ_ONCE(mgr->keep) && pool->reserve &&
	       READ_ONCE(pool->nr_chunks) <= 1;
}

/* Is there a window, and can a device that addresses @dma_limit reach all of it? */
static inline bool io_buffer_reachable(const struct io_buffer_manager *mgr,
				       u64 dma_limit)
{
	/* Pairs with io_buffer_reserve_window() */
	return smp_load_acquire(&mgr->size) &&
	       READ_ONCE(mgr->last) <= dma_limit;
}

/**
 * io_buffer_get - take a slot
 * @mgr: the manager of the domain
 * @perm: what the device may do with it
 * @size: how much it must hold, in bytes, at least 1
 * @dma_limit: highest IOVA that the device can address
 * @buf: filled in with the slot
 *
 * Context: any but NMI.
 * Return: true, or false if there is none: io_buffer_why() tells why.
 */
static __always_inline bool io_buffer_get(struct io_buffer_manager *mgr,
					  enum io_buffer_perm perm,
					  size_t size, u64 dma_limit,
					  struct io_buffer *buf)
{
	unsigned int class = io_buffer_class(mgr, size);
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
 * io_buffer_owns - is an IOVA in the window
 * @mgr: the manager of the domain
 * @iova: any IOVA of the domain
 *
 * No other mapping of the domain ever lies in the window, so this answers for
 * every address that was handed out.
 *
 * Return: true if it is.
 */
static inline bool io_buffer_owns(const struct io_buffer_manager *mgr,
				  dma_addr_t iova)
{
	/*
	 * Pairs with io_buffer_reserve_window(): where there is a size there is
	 * a base. The other way round an ordinary address could be taken for
	 * ours while the window is being published.
	 */
	size_t size = smp_load_acquire(&mgr->size);

	return iova - READ_ONCE(mgr->base) < size;
}

/**
 * io_buffer_find - from an IOVA to its slot
 * @mgr: the manager of the domain
 * @iova: an address for which io_buffer_owns() is true
 * @buf: filled in with the slot
 *
 * A slot in use keeps its chunk. Who cannot be sure that it is in use, and that is
 * everybody as long as drivers have bugs, looks at it under rcu_read_lock().
 *
 * Return: true, or false when no chunk lies there, which means that the caller
 * was given an address that was never handed out.
 */
static inline bool io_buffer_find(const struct io_buffer_manager *mgr,
				  dma_addr_t iova, struct io_buffer *buf)
{
	size_t offset = iova - mgr->base;
	struct io_buffer_chunk *chunk;

	chunk = READ_ONCE(mgr->regions[offset >> mgr->region_shift]);
	if (unlikely(!chunk || iova - chunk->iova >= chunk->size))
		return false;

	buf->chunk = chunk;
	buf->nr = (iova - chunk->iova) >> chunk->slot_shift;
	return true;
}

/* Offset of @iova from the start of its slot */
static inline size_t io_buffer_offset_in_slot(const struct io_buffer *buf,
					      dma_addr_t iova)
{
	return (iova - buf->chunk->iova) & ((1UL << buf->chunk->slot_shift) - 1);
}

#endif /* __IO_BUFFER_MANAGER_H */
