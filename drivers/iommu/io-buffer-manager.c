// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pre-mapped buffers of one IOMMU domain: window, pools, growth, budget and
 * reserve. See io-buffer-manager.h for the terms.
 */

#define pr_fmt(fmt) "iommu: bounce: " fmt

#include <linux/atomic.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/iova.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <trace/events/iommu_bounce.h>

#include "io-buffer-manager.h"

/* The worker may sleep, but a miss costs little: do not try hard. */
#define GROW_GFP		(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN)
/* For mandatory bounces in atomic context */
#define GROW_ATOMIC_GFP		(GFP_ATOMIC | __GFP_NOWARN)

/* The window takes at most this part of the IOVA space of the device. */
#define WINDOW_SHARE		8
#define WINDOW_MIN		SZ_1M
/* Chunks smaller than a region waste IOVA space, so leave room for that. */
#define WINDOW_PER_BUDGET	4
/* The window never grows, so insist on the full size a few times. */
#define WINDOW_TRIES		3
/* Use smaller regions, down to the size of one chunk, to have this many. */
#define WINDOW_MIN_REGIONS	128

/* With a reserve, this part of the budget is left to mandatory bounces. */
#define MANDATORY_SHARE		4

struct io_buffer_chunk io_buffer_no_chunk;

LIST_HEAD(io_buffer_managers);
/* Protects the list and its members, and the creation of the queue */
DEFINE_MUTEX(io_buffer_managers_lock);

static struct workqueue_struct *queue;

static atomic_long_t total_pages;
static atomic_long_t total_refused;
static long total_max_pages = LONG_MAX >> PAGE_SHIFT;

/*
 * For all work of managers. Freezable because the IOMMU may be suspended with the
 * system, unbound to stay off the CPUs that do DMA.
 */
struct workqueue_struct *io_buffer_queue(void)
{
	return queue ?: system_freezable_wq;
}

/* The shrinker looks at managers that may have memory. */
static void io_buffer_add_to_list(struct io_buffer_manager *mgr)
{
	guard(mutex)(&io_buffer_managers_lock);
	if (list_empty(&mgr->node))
		list_add_tail(&mgr->node, &io_buffer_managers);
}

static dma_addr_t alloc_iova_below(struct iova_domain *iovad, size_t size,
				   u64 limit)
{
	unsigned long shift = iova_shift(iovad);
	struct iova *iova;

	/* Aligned to its size, hence each region and slot is aligned to its own. */
	iova = alloc_iova(iovad, size >> shift, limit >> shift, true);
	return iova ? (dma_addr_t)iova->pfn_lo << shift : 0;
}

static size_t window_size(const struct io_buffer_manager *mgr, u64 limit)
{
	u64 start = (u64)mgr->iovad->start_pfn << iova_shift(mgr->iovad);
	u64 share, want;

	if (limit <= start)
		return 0;

	share = (limit - start) / WINDOW_SHARE + 1;
	want = min_t(u64, (u64)mgr->memory_max * WINDOW_PER_BUDGET,
		     IO_BUFFER_MAX_WINDOW);
	want = min(share, max_t(u64, want, WINDOW_MIN));
	return rounddown_pow_of_two(want);
}

static dma_addr_t try_window(struct io_buffer_manager *mgr, u64 limit,
			     size_t *size)
{
	dma_addr_t base = 0;

	for (*size = window_size(mgr, limit); *size >= WINDOW_MIN; *size /= 2) {
		base = alloc_iova_below(mgr->iovad, *size, limit);
		/* A mandatory bounce cannot wait. */
		if (base || (!mgr->reserve_enabled &&
			     mgr->window_tries < WINDOW_TRIES))
			break;
	}
	return base;
}

static int io_buffer_alloc_window(struct io_buffer_manager *mgr)
{
	/* DMA_MAPPING_ERROR, which is the highest address, must not be in it. */
	u64 limit = min(mgr->limits.dma_limit,
			(u64)DMA_MAPPING_ERROR - (1UL << mgr->granule_shift));
	dma_addr_t base = 0;
	size_t size;

	/* As iommu_dma_alloc_iova() does */
	if (mgr->limits.prefer_32bit && limit > DMA_BIT_MASK(32))
		base = try_window(mgr, DMA_BIT_MASK(32), &size);
	if (!base)
		base = try_window(mgr, limit, &size);
	if (!base) {
		mgr->window_tries = min(mgr->window_tries + 1, WINDOW_TRIES);
		return -ENOSPC;
	}

	mgr->region_shift = clamp(ilog2(size / WINDOW_MIN_REGIONS),
				  ilog2(max_t(size_t, IO_BUFFER_MIN_CHUNK,
					      PAGE_SIZE)),
				  ilog2(IO_BUFFER_MAX_REGION));
	mgr->nr_regions = size >> mgr->region_shift;
	mgr->regions = kcalloc(mgr->nr_regions, sizeof(*mgr->regions), GROW_GFP);
	if (!mgr->regions) {
		free_iova(mgr->iovad, base >> mgr->granule_shift);
		return -ENOMEM;
	}
	WRITE_ONCE(mgr->base, base);
	WRITE_ONCE(mgr->last, base + (size - 1));
	/* Pairs with the acquire in is_io_buffer_addr(). */
	smp_store_release(&mgr->size, size);
	return 0;
}

/**
 * io_buffer_set_total_max - set the budget of all domains
 * @bytes: the budget; memory in use stays in use
 */
void io_buffer_set_total_max(size_t bytes)
{
	WRITE_ONCE(total_max_pages, bytes >> PAGE_SHIFT);
}

/* The budget of all domains in bytes */
size_t io_buffer_total_max(void)
{
	return (size_t)READ_ONCE(total_max_pages) << PAGE_SHIFT;
}

/* The memory of all domains in bytes */
size_t io_buffer_total(void)
{
	return (size_t)atomic_long_read(&total_pages) << PAGE_SHIFT;
}

/* How often the budget of all domains was exhausted */
unsigned long io_buffer_total_refused(void)
{
	return atomic_long_read(&total_refused);
}

/*
 * Account memory to the budget of all domains. Mandatory bounces never fail here,
 * because that may be an I/O error; the budget of their domain still applies.
 */
static bool io_buffer_charge(size_t bytes, bool mandatory)
{
	long pages = bytes >> PAGE_SHIFT;

	if (atomic_long_add_return(pages, &total_pages) <=
	    READ_ONCE(total_max_pages) || mandatory)
		return true;

	atomic_long_sub(pages, &total_pages);
	atomic_long_inc(&total_refused);
	pr_notice_once("budget of %zu KiB for all domains exhausted, falling back; see iommu.bounce_memory_total=\n",
		       io_buffer_total_max() / SZ_1K);
	return false;
}

/**
 * io_buffer_uncharge - undo io_buffer_charge()
 * @bytes: how much
 *
 * Context: any.
 */
void io_buffer_uncharge(size_t bytes)
{
	atomic_long_sub(bytes >> PAGE_SHIFT, &total_pages);
}

/* The budget for pool @nr to grow. One that is too small for the reserve is raised. */
static size_t domain_budget(const struct io_buffer_manager *mgr, unsigned int nr)
{
	size_t max = mgr->memory_max;

	if (!READ_ONCE(mgr->reserve_enabled))
		return max;
	max = max(max, IO_BUFFER_RESERVE);
	return nr < IO_BUFFER_NR_POOLS ? max - max / MANDATORY_SHARE : max;
}

/* A chunk uses a region, however small it is, so regions have a budget, too. */
static unsigned int region_budget(const struct io_buffer_manager *mgr,
				  unsigned int nr)
{
	unsigned int max = mgr->nr_regions;

	return READ_ONCE(mgr->reserve_enabled) && nr < IO_BUFFER_NR_POOLS ?
	       max - max / MANDATORY_SHARE : max;
}

static int perm_to_prot(enum io_buffer_perm perm)
{
	switch (perm) {
	case IO_BUFFER_READ:
		return IOMMU_READ;
	case IO_BUFFER_WRITE:
	case IO_BUFFER_OVERWRITE:
		return IOMMU_WRITE;
	default:
		return IOMMU_READ | IOMMU_WRITE;
	}
}

/* Get or create the pool with number @nr. */
static struct io_buffer_pool *
io_buffer_make_pool(struct io_buffer_manager *mgr, unsigned int nr, gfp_t gfp)
{
	enum io_buffer_perm perm = nr % IO_BUFFER_NR_POOLS / IO_BUFFER_NR_CLASSES;
	struct io_buffer_pool **place = io_buffer_pool_place(mgr, nr);
	unsigned int class = nr % IO_BUFFER_NR_CLASSES;
	struct io_buffer_pool *pool = READ_ONCE(*place), *other;

	if (pool)
		return pool;

	pool = io_buffer_pool_create(mgr->domain,
				     perm_to_prot(perm) | mgr->limits.prot,
				     mgr->limits.nid,
				     mgr->granule_shift + class,
				     mgr->granule_shift, mgr->nr_regions, gfp);
	if (!pool)
		return NULL;
	pool->overwrite = perm == IO_BUFFER_OVERWRITE;
	pool->reserve = nr >= IO_BUFFER_NR_POOLS &&
			(!class || class == io_buffer_size_class(mgr, IO_BUFFER_RESERVE_SLOT));
	scoped_guard(spinlock_irqsave, &mgr->chunk_lock) {
		other = *place;
		if (!other)
			/* Pairs with the dependency on the pointer. */
			smp_store_release(place, pool);
	}
	if (!other)
		return pool;
	/* Lost the race */
	io_buffer_pool_destroy(pool);
	return other;
}

/* The smallest chunk unless contiguous memory is short */
static size_t min_chunk_size(const struct io_buffer_pool *pool)
{
	return max3((size_t)1 << pool->slot_shift, (size_t)IO_BUFFER_MIN_CHUNK,
		    (size_t)PAGE_SIZE);
}

/*
 * The size of the next chunk of a pool: twice that of the last one, within the
 * budgets. 0 if the budget of the domain is exhausted.
 */
static size_t next_chunk_size(const struct io_buffer_manager *mgr,
			      unsigned int nr, const struct io_buffer_pool *pool)
{
	/* Growth in atomic context does not hold the lock. */
	size_t used = READ_ONCE(mgr->memory), budget = domain_budget(mgr, nr);
	size_t min = min_chunk_size(pool), max = 1UL << mgr->region_shift;
	unsigned int nr_chunks = READ_ONCE(pool->nr_chunks);
	size_t total_max = io_buffer_total_max(), total = io_buffer_total();

	if (min > max || used > budget || budget - used < min)
		return 0;

	max = min(max, rounddown_pow_of_two(budget - used));
	/* Use what is left of the budget of all domains. */
	while (max > min && (total > total_max || max > total_max - total))
		max /= 2;
	if (nr_chunks >= BITS_PER_LONG - 1 - ilog2(min))
		return max;
	return min(min << nr_chunks, max);
}

static int find_region(const struct io_buffer_manager *mgr)
{
	unsigned int i;

	for (i = 0; i < mgr->nr_regions; i++)
		if (!mgr->regions[i])
			return i;
	return -ENOSPC;
}

/*
 * The smallest chunk if contiguous memory is short. Such chunks may use half of the
 * regions; the others are left for when there is memory again.
 */
static size_t fallback_chunk_size(const struct io_buffer_manager *mgr,
				  const struct io_buffer_pool *pool)
{
	if (READ_ONCE(mgr->nr_chunks) >= mgr->nr_regions / 2)
		return min_chunk_size(pool);
	return max((size_t)1 << pool->slot_shift, (size_t)PAGE_SIZE);
}

/* Assign a region and @size bytes of the budgets to a new chunk. */
static int io_buffer_claim_region(struct io_buffer_manager *mgr,
				  unsigned int nr, size_t size, bool mandatory)
{
	int region;

	guard(spinlock_irqsave)(&mgr->chunk_lock);

	if (mgr->memory + size > domain_budget(mgr, nr) ||
	    mgr->nr_chunks >= region_budget(mgr, nr))
		return -ENOSPC;
	region = find_region(mgr);
	if (region < 0)
		return region;
	if (!io_buffer_charge(size, mandatory))
		return -ENOMEM;
	WRITE_ONCE(mgr->regions[region], &io_buffer_no_chunk);
	WRITE_ONCE(mgr->memory, mgr->memory + size);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks + 1);
	return region;
}

static void io_buffer_release_region(struct io_buffer_manager *mgr, int region,
				     size_t claimed)
{
	guard(spinlock_irqsave)(&mgr->chunk_lock);

	io_buffer_uncharge(claimed);
	WRITE_ONCE(mgr->memory, mgr->memory - claimed);
	WRITE_ONCE(mgr->nr_chunks, mgr->nr_chunks - 1);
	WRITE_ONCE(mgr->regions[region], NULL);
}

/* Use a chunk, which may be smaller than claimed. */
static void io_buffer_commit_chunk(struct io_buffer_manager *mgr, int region,
				   size_t claimed, struct io_buffer_chunk *chunk)
{
	guard(spinlock_irqsave)(&mgr->chunk_lock);

	io_buffer_uncharge(claimed - chunk->size);
	WRITE_ONCE(mgr->memory, mgr->memory - claimed + chunk->size);
	/* Before it serves an address: see io_buffer_lookup() */
	WRITE_ONCE(mgr->regions[region], chunk);
	WRITE_ONCE(mgr->chunks_added, mgr->chunks_added + 1);
	io_buffer_chunk_online(chunk);
	trace_iommu_bounce_chunk_add(mgr, chunk->pool, chunk->iova, chunk->size);
}

/* A smaller chunk will do, too: do not reclaim memory for a large one. */
static gfp_t chunk_gfp(const struct io_buffer_pool *pool, size_t size, gfp_t gfp)
{
	return size > min_chunk_size(pool) ? gfp & ~__GFP_DIRECT_RECLAIM : gfp;
}

/*
 * Add a chunk to a pool, a smaller one if contiguous memory is short. @first, if not
 * NULL, is filled in with a slot of it that nobody else can take. Returns -ENOSPC if
 * budget or window of the domain are exhausted, -ENOMEM to try again later.
 */
static int io_buffer_add_chunk(struct io_buffer_manager *mgr, unsigned int nr,
			       struct io_buffer_pool *pool, size_t size,
			       gfp_t gfp, struct io_buffer *first)
{
	size_t least = fallback_chunk_size(mgr, pool);
	int region = io_buffer_claim_region(mgr, nr, size,
					    first || nr >= IO_BUFFER_NR_POOLS);
	struct io_buffer_chunk *chunk;
	size_t claimed = size;
	dma_addr_t iova;

	if (region < 0)
		return region;

	iova = mgr->base + ((dma_addr_t)region << mgr->region_shift);
	do {
		chunk = io_buffer_chunk_create(pool, iova, size,
					       chunk_gfp(pool, size, gfp));
		size /= 2;
	} while (!chunk && size >= least);
	if (!chunk) {
		io_buffer_release_region(mgr, region, claimed);
		return -ENOMEM;
	}
	if (first)
		io_buffer_chunk_take_first(chunk, first);
	io_buffer_commit_chunk(mgr, region, claimed, chunk);
	io_buffer_queue_reclaim(mgr);
	return 0;
}

/* May there be slots of this class? */
static bool class_fits_region(const struct io_buffer_manager *mgr,
			      unsigned int class)
{
	return class < IO_BUFFER_NR_CLASSES &&
	       mgr->granule_shift + class <= min_t(unsigned int, mgr->region_shift,
						   ilog2(IO_BUFFER_MAX_SLOT));
}

/* Returns false if there are limits already. */
static bool io_buffer_set_limits(struct io_buffer_manager *mgr,
				 const struct io_buffer_limits *limits)
{
	guard(spinlock_irqsave)(&mgr->chunk_lock);

	if (mgr->limits_set)
		return false;
	mgr->limits = *limits;
	WRITE_ONCE(mgr->limits_set, true);
	return true;
}

/* Log each exhaustion of the budget once; see io_buffer_age_work(). */
static void warn_budget(struct io_buffer_manager *mgr)
{
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);
	size_t memory = READ_ONCE(mgr->memory);

	if (READ_ONCE(mgr->budget_warned) || !__ratelimit(&limit))
		return;
	WRITE_ONCE(mgr->budget_warned, true);
	if (memory > mgr->memory_max / 2)
		pr_notice("group %d: budget of %zu KiB exhausted, falling back; see iommu.bounce_memory=\n",
			  mgr->group, mgr->memory_max / SZ_1K);
	else
		pr_notice("group %d: window of %zu KiB exhausted with %zu KiB of memory, falling back\n",
			  mgr->group, mgr->size / SZ_1K, memory / SZ_1K);
}

static int grow_pool(struct io_buffer_manager *mgr, unsigned int nr)
{
	struct io_buffer_pool *pool;
	size_t size;

	if (!class_fits_region(mgr, nr % IO_BUFFER_NR_CLASSES))
		return -EINVAL;
	pool = io_buffer_make_pool(mgr, nr, GROW_GFP);
	if (!pool)
		return -ENOMEM;
	size = next_chunk_size(mgr, nr, pool);
	if (!size)
		return -ENOSPC;
	return io_buffer_add_chunk(mgr, nr, pool, size, GROW_GFP, NULL);
}

/**
 * io_buffer_relieve - grow a pool in which CPUs share words
 * @mgr: the manager of the domain
 * @nr: number of the pool
 * @pool: the pool
 *
 * Slots beyond what is in use let each CPU have words of its own. Uses at most half of
 * the budgets, and leaves at least half of the slots in use.
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 */
void io_buffer_relieve(struct io_buffer_manager *mgr, unsigned int nr,
		       struct io_buffer_pool *pool)
{
	size_t used = (size_t)io_buffer_pool_used(pool) << pool->slot_shift;
	size_t size = (size_t)READ_ONCE(pool->nr_slots) << pool->slot_shift;

	if (size + min_chunk_size(pool) > 2 * used ||
	    READ_ONCE(mgr->memory) + 2 * used - size > mgr->memory_max / 2 ||
	    io_buffer_total() + 2 * used - size > io_buffer_total_max() / 2 ||
	    time_before64(get_jiffies_64(), READ_ONCE(mgr->retry_at)))
		return;
	size = min(next_chunk_size(mgr, nr, pool), rounddown_pow_of_two(2 * used - size));
	if (size && io_buffer_add_chunk(mgr, nr, pool, size, GROW_GFP, NULL) == -ENOMEM)
		io_buffer_retry_later(mgr);
}

/* Let misses wake the worker again. */
void io_buffer_clear_pending(struct io_buffer_manager *mgr)
{
	unsigned int nr;

	for (nr = 0; nr < IO_BUFFER_ALL_POOLS; nr++)
		clear_bit(nr, mgr->grow_pending);
}

/* Returns false if budget or window are exhausted. */
static bool grow_all_pending(struct io_buffer_manager *mgr)
{
	bool room = true;
	unsigned int nr;

	io_buffer_count_used(mgr);
	io_buffer_add_to_list(mgr);
	for (nr = 0; nr < IO_BUFFER_ALL_POOLS; nr++) {
		if (!test_bit(nr, mgr->grow_pending))
			continue;
		/*
		 * If the budget is exhausted the bit stays set until reclaim has
		 * run, so that misses do not wake the worker in vain.
		 */
		switch (grow_pool(mgr, nr)) {
		case 0:
			clear_bit(nr, mgr->grow_pending);
			break;
		case -ENOMEM:
			io_buffer_retry_later(mgr);
			clear_bit(nr, mgr->grow_pending);
			break;
		case -ENOSPC:
			room = false;
			break;
		}
	}
	return room;
}

static void io_buffer_grow_work(struct work_struct *work)
{
	struct io_buffer_manager *mgr =
		container_of(work, struct io_buffer_manager, work);
	bool room = true;

	/* During shutdown the IOMMU may be off already. */
	if (system_state > SYSTEM_RUNNING)
		return;

	scoped_guard(mutex, &mgr->lock) {
		if (!mgr->size && io_buffer_alloc_window(mgr)) {
			io_buffer_retry_later(mgr);
			io_buffer_clear_pending(mgr);
			/* The next miss sets the limits again. */
			WRITE_ONCE(mgr->limits_set, false);
			return;
		}
		room = grow_all_pending(mgr);
	}
	/* The console may be slow: not under the lock. */
	if (!room)
		warn_budget(mgr);
}

static void wake_worker(struct io_buffer_manager *mgr, unsigned int nr)
{
	if (!test_and_set_bit(nr, mgr->grow_pending))
		queue_work(io_buffer_queue(), &mgr->work);
}

/**
 * io_buffer_request_grow - have the worker grow a pool after a miss
 * @mgr: the manager of the domain
 * @perm: as for the io_buffer_get() that missed
 * @size: as for the io_buffer_get() that missed
 * @limits: of the device; the first ones determine where the window is
 *
 * Context: any but NMI. Further calls before the worker runs cost a few loads.
 */
void io_buffer_request_grow(struct io_buffer_manager *mgr,
			    enum io_buffer_perm perm, size_t size,
			    const struct io_buffer_limits *limits)
{
	unsigned int nr = io_buffer_pool_nr(perm, io_buffer_size_class(mgr, size));

	if (test_bit(nr, mgr->grow_pending) ||
	    time_before64(get_jiffies_64(), READ_ONCE(mgr->retry_at)))
		return;

	/* Without a window, only the miss that sets the limits wakes the worker. */
	if (!READ_ONCE(mgr->size) && (READ_ONCE(mgr->limits_set) ||
				      !io_buffer_set_limits(mgr, limits)))
		return;
	wake_worker(mgr, nr);
}

/**
 * io_buffer_miss_reason - why io_buffer_get() found no slot
 * @mgr: the manager of the domain
 * @perm: as for io_buffer_get()
 * @size: as for io_buffer_get()
 * @dma_limit: as for io_buffer_get()
 *
 * Context: any but NMI.
 * Return: the reason, which may have changed meanwhile.
 */
enum io_buffer_miss io_buffer_miss_reason(struct io_buffer_manager *mgr,
					  enum io_buffer_perm perm, size_t size,
					  u64 dma_limit)
{
	unsigned int class = io_buffer_size_class(mgr, size);

	if (class >= IO_BUFFER_NR_CLASSES || size > IO_BUFFER_MAX_SLOT)
		return IO_BUFFER_MISS_SIZE;
	/* Pairs with io_buffer_alloc_window() */
	if (!smp_load_acquire(&mgr->size))
		return IO_BUFFER_MISS_EMPTY;
	if (mgr->base + (mgr->size - 1) > dma_limit)
		return IO_BUFFER_MISS_MASK;
	if (!class_fits_region(mgr, class))
		return IO_BUFFER_MISS_SIZE;
	return READ_ONCE(mgr->pools[perm][class]) ?
	       IO_BUFFER_MISS_FULL : IO_BUFFER_MISS_EMPTY;
}

/**
 * io_buffer_refill_reserve - add missing chunks to the reserve
 * @mgr: the manager of the domain, which has a window
 *
 * Context: may sleep; the caller holds the lock of @mgr.
 */
void io_buffer_refill_reserve(struct io_buffer_manager *mgr)
{
	const unsigned int classes[] = {
		0, io_buffer_size_class(mgr, IO_BUFFER_RESERVE_SLOT)
	};
	unsigned int i;

	for (i = 0; i < IO_BUFFER_OVERWRITE * ARRAY_SIZE(classes); i++) {
		unsigned int class = classes[i % ARRAY_SIZE(classes)];
		unsigned int nr = IO_BUFFER_NR_POOLS +
				  io_buffer_pool_nr(i / ARRAY_SIZE(classes), class);
		struct io_buffer_pool *pool;

		if (!class_fits_region(mgr, class))
			continue;
		pool = io_buffer_make_pool(mgr, nr, GROW_GFP);
		if (pool && !READ_ONCE(pool->nr_chunks))
			io_buffer_add_chunk(mgr, nr, pool, min_chunk_size(pool),
					    GROW_GFP, NULL);
	}
}

/**
 * io_buffer_enable_reserve - keep a reserve for mandatory bounces
 * @mgr: the manager of the domain
 * @limits: of a device
 *
 * Unless memory is short, the reserve has two chunks for each permission that it serves
 * on return. io_buffer_grow_atomic() works from then on.
 *
 * Context: may sleep.
 */
void io_buffer_enable_reserve(struct io_buffer_manager *mgr,
			      const struct io_buffer_limits *limits)
{
	guard(mutex)(&mgr->lock);

	if (!mgr->reserve)
		/* Zeroed before io_buffer_pool_place() sees it */
		smp_store_release(&mgr->reserve,
				  kcalloc(IO_BUFFER_NR_POOLS,
					  sizeof(*mgr->reserve), GFP_NOIO));
	if (!mgr->reserve)
		return;
	/* Pairs with io_buffer_grow_atomic(), which needs @reserve. */
	smp_store_release(&mgr->reserve_enabled, true);
	io_buffer_set_limits(mgr, limits);
	io_buffer_add_to_list(mgr);
	if (!mgr->size && io_buffer_alloc_window(mgr)) {
		/* The next miss sets the limits again. */
		WRITE_ONCE(mgr->limits_set, false);
		return;
	}
	io_buffer_refill_reserve(mgr);
}

/* Take a slot of a pool from number @nr on, of @class and larger ones. */
static bool get_any(struct io_buffer_manager *mgr, unsigned int nr,
		    unsigned int class, u64 dma_limit, struct io_buffer *buf)
{
	if (READ_ONCE(mgr->last) > dma_limit)
		return false;

	guard(preempt)();
	for (; class < IO_BUFFER_NR_CLASSES; class++, nr++) {
		struct io_buffer_pool *pool = io_buffer_pool_of(mgr, nr);

		if (pool && io_buffer_pool_get_any(pool, buf))
			return true;
	}
	return false;
}

/**
 * io_buffer_get_any - take a slot, perhaps a larger one, however long it takes
 * @mgr: the manager of the domain
 * @perm: permission of the device
 * @size: in bytes, at least 1
 * @dma_limit: highest IOVA that the device can address
 * @buf: filled in with the slot
 *
 * For mandatory bounces, where a miss may be an error.
 *
 * Context: any but NMI.
 * Return: false if no slot is free.
 */
bool io_buffer_get_any(struct io_buffer_manager *mgr, enum io_buffer_perm perm,
		       size_t size, u64 dma_limit, struct io_buffer *buf)
{
	unsigned int class = io_buffer_size_class(mgr, size);

	return get_any(mgr, io_buffer_pool_nr(perm, class), class, dma_limit,
		       buf);
}

/**
 * io_buffer_get_reserved - take a slot of the reserve
 * @mgr: the manager of the domain
 * @perm: permission of the device
 * @size: in bytes, at least 1
 * @dma_limit: highest IOVA that the device can address
 * @buf: filled in with the slot, which may be larger than necessary
 *
 * Context: any but NMI.
 * Return: false if there is no reserve, or no slot is free.
 */
bool io_buffer_get_reserved(struct io_buffer_manager *mgr,
			    enum io_buffer_perm perm, size_t size,
			    u64 dma_limit, struct io_buffer *buf)
{
	unsigned int class = io_buffer_size_class(mgr, size);

	return READ_ONCE(mgr->reserve) &&
	       get_any(mgr, IO_BUFFER_NR_POOLS + io_buffer_pool_nr(perm, class),
		       class, dma_limit, buf);
}

/*
 * Growth in atomic context: a small chunk, because the caller has to zero it. Each
 * chunk uses a region, so if many are in use, prefer larger ones.
 */
static size_t atomic_chunk_size(const struct io_buffer_manager *mgr,
				unsigned int nr, const struct io_buffer_pool *pool)
{
	size_t min = min_chunk_size(pool);
	size_t max = READ_ONCE(mgr->nr_chunks) < mgr->nr_regions / 2 ?
		     min : max(min, SZ_256K);

	return min(next_chunk_size(mgr, nr, pool), max);
}

/**
 * io_buffer_grow_atomic - add a chunk for a mandatory bounce and take a slot of it
 * @mgr: the manager of the domain
 * @perm: permission of the device
 * @size: in bytes, at least 1
 * @dma_limit: highest IOVA that the device can address
 * @buf: filled in with the slot
 *
 * Adds to the reserve if there is one. Also wakes the worker, which adds a larger
 * chunk.
 *
 * Context: any but NMI.
 * Return: false without a window, or if memory or budget are exhausted.
 */
bool io_buffer_grow_atomic(struct io_buffer_manager *mgr,
			   enum io_buffer_perm perm, size_t size,
			   u64 dma_limit, struct io_buffer *buf)
{
	unsigned int class = io_buffer_size_class(mgr, size);
	unsigned int nr = io_buffer_pool_nr(perm, class);
	struct io_buffer_pool *pool;
	size_t bytes;

	if (!io_buffer_reachable(mgr, dma_limit) ||
	    !class_fits_region(mgr, class))
		return false;
	/* Pairs with io_buffer_enable_reserve(). */
	if (smp_load_acquire(&mgr->reserve_enabled))
		nr += IO_BUFFER_NR_POOLS;
	pool = io_buffer_make_pool(mgr, nr, GROW_ATOMIC_GFP);
	bytes = pool ? atomic_chunk_size(mgr, nr, pool) : 0;
	if (!bytes ||
	    io_buffer_add_chunk(mgr, nr, pool, bytes, GROW_ATOMIC_GFP, buf))
		return false;
	wake_worker(mgr, nr);
	return true;
}

/**
 * io_buffer_wipe - clear all free slots
 * @mgr: the manager of the domain
 *
 * Context: may sleep.
 */
void io_buffer_wipe(struct io_buffer_manager *mgr)
{
	struct io_buffer_pool *pool;
	unsigned int nr;

	guard(mutex)(&mgr->lock);
	for_each_io_buffer_pool(mgr, nr, pool)
		io_buffer_pool_wipe(pool);
}

/* Count the slots in use. The caller holds the lock of @mgr. */
unsigned int io_buffer_count_used(struct io_buffer_manager *mgr)
{
	struct io_buffer_pool *pool;
	unsigned int nr, used = 0;

	lockdep_assert_held(&mgr->lock);
	for_each_io_buffer_pool(mgr, nr, pool) {
		used += io_buffer_pool_used(pool);
		cond_resched();
	}
	if (used > mgr->slots_used_hiwater)
		WRITE_ONCE(mgr->slots_used_hiwater, used);
	return used;
}

/**
 * io_buffer_manager_used - count the slots in use
 * @mgr: the manager
 *
 * Context: may sleep.
 * Return: the number of slots in use; a snapshot.
 */
unsigned int io_buffer_manager_used(struct io_buffer_manager *mgr)
{
	guard(mutex)(&mgr->lock);
	return io_buffer_count_used(mgr);
}

/**
 * io_buffer_manager_init - initialise the manager of a domain
 * @mgr: zeroed memory
 * @domain: a paging domain whose geometry is final
 * @iovad: the initialised IOVA space of @domain, to be destroyed after @mgr
 * @memory_max: the budget in bytes, at most %IO_BUFFER_MAX_WINDOW
 *
 * Allocates nothing: the first miss does.
 *
 * Context: may sleep.
 */
void io_buffer_manager_init(struct io_buffer_manager *mgr,
			    struct iommu_domain *domain,
			    struct iova_domain *iovad, size_t memory_max)
{
	mgr->domain = domain;
	mgr->iovad = iovad;
	mgr->granule_shift = iova_shift(iovad);
	mgr->granule_mask = BIT(mgr->granule_shift) - 1;
	mgr->memory_max = min_t(size_t, memory_max, IO_BUFFER_MAX_WINDOW);
	mgr->group = -1;
	mgr->last = U64_MAX;
	mutex_init(&mgr->lock);
	spin_lock_init(&mgr->chunk_lock);
	INIT_LIST_HEAD(&mgr->node);
	INIT_WORK(&mgr->work, io_buffer_grow_work);

	/* Retried with the next domain on failure */
	guard(mutex)(&io_buffer_managers_lock);
	if (!queue)
		queue = alloc_workqueue("iommu-io-buffers",
					WQ_UNBOUND | WQ_FREEZABLE, 0);
}

/**
 * io_buffer_manager_destroy - unmap and free all buffers of a domain
 * @mgr: the manager, after io_buffer_reclaim_stop(); no device can use its buffers
 *
 * Cannot fail. The window is freed with the IOVA space.
 *
 * Context: may sleep.
 */
void io_buffer_manager_destroy(struct io_buffer_manager *mgr)
{
	struct io_buffer_pool *pool;
	unsigned int nr;

	guard(mutex)(&mgr->lock);
	for_each_io_buffer_pool(mgr, nr, pool)
		io_buffer_pool_destroy(pool);
	io_buffer_uncharge(mgr->memory);
	kfree(mgr->reserve);
	kfree(mgr->regions);
}
