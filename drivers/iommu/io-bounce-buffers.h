/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IOMMU bounce buffers: the interface to dma-iommu.c and iommu.c.
 */
#ifndef __IO_BOUNCE_BUFFERS_H
#define __IO_BOUNCE_BUFFERS_H

#include <linux/atomic.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>

#include "io-bounce-limit.h"
#include "io-buffer-manager.h"

struct dentry;
struct iommu_domain;
struct iova_domain;

/* The sysfs attributes of a group */
enum io_bounce_attr {
	IO_BOUNCE_MODE,
	IO_BOUNCE_LIMIT,
};

/* See io_bounce_counter_names[] */
enum io_bounce_counter {
	IO_BOUNCE_HITS_SINGLE,
	IO_BOUNCE_HITS_SG,
	IO_BOUNCE_HITS_IOVA,
	IO_BOUNCE_MISS_EMPTY,
	IO_BOUNCE_MISS_FULL,
	IO_BOUNCE_MISS_MASK,
	IO_BOUNCE_MISS_SIZE,
	IO_BOUNCE_DIRECT_LIMIT,
	IO_BOUNCE_DIRECT_ATTRS,
	IO_BOUNCE_DIRECT_DEVICE,
	IO_BOUNCE_DIRECT_UNPROMISED,
	IO_BOUNCE_DIRECT_MEMORY,
	IO_BOUNCE_MANDATORY_HITS,
	IO_BOUNCE_MANDATORY_MISSES,
	IO_BOUNCE_BYTES_IN,
	IO_BOUNCE_BYTES_OUT,
	IO_BOUNCE_NR_COUNTERS
};

/* Domains that never bounce stop counting here, so that CPUs do not contend for it. */
#define IO_BOUNCE_EARLY_MAX	65536

/**
 * struct io_bounce_stats - counters of one CPU
 * @count: by &enum io_bounce_counter
 */
struct io_bounce_stats {
	u64 count[IO_BOUNCE_NR_COUNTERS];
};

/**
 * struct io_bounce - the bounce buffers of one domain
 * @mgr: the pre-mapped buffers
 * @limit: which mappings are bounced, by size
 * @coherent: the devices are DMA coherent
 * @wipe: a device is untrusted: clear slots when they are freed
 * @expensive: mapping is known to be expensive
 * @mode: &enum io_bounce_mode; changed under the mutex of the group
 * @max: configured limit in bytes, 0: automatic; likewise
 * @stats: counters; NULL until the first hit
 * @early: counters while @stats is NULL
 * @work: allocates @stats and memory of @limit, and logs
 * @unpromised: a device without promise that @work has to log
 * @reported: such a device was logged
 * @dir: in debugfs
 * @check: check the mappings of this domain
 * @aged: looks for old mappings
 */
struct io_bounce {
	struct io_buffer_manager mgr;
	struct io_bounce_limit limit;
	bool coherent;
	bool wipe;
	bool expensive;
	u8 mode;
	u32 max;
	struct io_bounce_stats __percpu *stats;
	atomic_t early[IO_BOUNCE_NR_COUNTERS];
	struct work_struct work;
	struct device *unpromised;
	bool reported;
	struct dentry *dir;
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
	bool check;
	struct delayed_work aged;
#endif
};

/**
 * struct io_bounce_ref - pointer of a DMA domain to its bounce buffers
 * @bounce: the bounce buffers, or NULL
 */
struct io_bounce_ref {
#ifdef CONFIG_IOMMU_BOUNCE_BUFFERS
	struct io_bounce *bounce;
#endif
};

DECLARE_STATIC_KEY_FALSE(io_bounce_key);

/* Without the option this is constant, so the calls below it need no stubs. */
static inline bool io_bounce_enabled(void)
{
	return IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS) &&
	       static_branch_unlikely(&io_bounce_key);
}

/* The bounce buffers of the DMA domain of a device, or NULL */
static __always_inline struct io_bounce *dev_to_bounce(struct device *dev)
{
#ifdef CONFIG_IOMMU_BOUNCE_BUFFERS
	/* Pairs with __io_bounce_attach(). */
	if (io_bounce_enabled())
		return READ_ONCE(dev->iommu->bounce);
#endif
	return NULL;
}

void __io_bounce_attach(struct io_bounce_ref *ref, struct device *dev,
			struct iommu_domain *domain, struct iova_domain *iovad);
struct io_bounce *io_bounce_attach_disabled(struct io_bounce_ref *ref,
					    struct device *dev,
					    struct iommu_domain *domain,
					    struct iova_domain *iovad);
void __io_bounce_destroy(struct io_bounce_ref *ref);

dma_addr_t __io_bounce_map(struct device *dev, phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs,
			   struct io_bounce *bounce);
dma_addr_t __io_bounce_map_mandatory(struct io_bounce *bounce,
				     struct device *dev, phys_addr_t phys,
				     size_t size, enum dma_data_direction dir,
				     unsigned long attrs, bool grow);
void __io_bounce_unmap(struct device *dev, dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs,
		       struct io_bounce *bounce);
void __io_bounce_sync(struct device *dev, dma_addr_t addr, size_t size,
		      enum dma_data_direction dir, bool for_cpu,
		      struct io_bounce *bounce);

int __io_bounce_map_sg(struct device *dev, struct scatterlist *sg, int nents,
		       enum dma_data_direction dir, unsigned long attrs,
		       struct io_bounce *bounce);
bool __io_bounce_unmap_sg(struct device *dev, struct scatterlist *sg, int nents,
			  enum dma_data_direction dir, unsigned long attrs,
			  struct io_bounce *bounce);
bool __io_bounce_sync_sg(struct device *dev, struct scatterlist *sg, int nents,
			 enum dma_data_direction dir, bool for_cpu,
			 struct io_bounce *bounce);

bool __io_bounce_iova_alloc(struct io_bounce *bounce, struct device *dev,
			    struct dma_iova_state *state, phys_addr_t phys,
			    size_t size, unsigned int nr_segs,
			    enum dma_data_direction dir, unsigned long attrs);
int io_bounce_iova_link(struct device *dev, struct dma_iova_state *state,
			phys_addr_t phys, size_t offset, size_t size,
			enum dma_data_direction dir, unsigned long attrs);
void io_bounce_iova_unlink(struct device *dev, struct dma_iova_state *state,
			   size_t offset, size_t size,
			   enum dma_data_direction dir, unsigned long attrs);
void io_bounce_iova_free(struct device *dev, struct dma_iova_state *state);
void io_bounce_iova_destroy(struct device *dev, struct dma_iova_state *state,
			    enum dma_data_direction dir, unsigned long attrs);

bool __io_bounce_active(const struct io_bounce *bounce);
int io_bounce_parse(enum io_bounce_attr attr, const char *buf);
int io_bounce_show(const struct io_bounce *bounce, enum io_bounce_attr attr,
		   char *buf);
int io_bounce_show_device(const struct io_bounce *bounce, struct device *dev,
			  char *buf, int at);
int io_bounce_store(struct io_bounce *bounce, struct device *dev,
		    enum io_bounce_attr attr, int value);

void __io_bounce_check_iova_to_phys(struct iommu_domain *domain,
				    dma_addr_t iova);

DECLARE_STATIC_KEY_FALSE(io_bounce_check_key);

static inline void io_bounce_check_iova_to_phys(struct iommu_domain *domain,
						dma_addr_t iova)
{
	if (IS_ENABLED(CONFIG_IOMMU_BOUNCE_CHECK) &&
	    static_branch_unlikely(&io_bounce_check_key))
		__io_bounce_check_iova_to_phys(domain, iova);
}

/* A device is attached to a DMA domain. */
static inline void io_bounce_attach(struct io_bounce_ref *ref,
				    struct device *dev,
				    struct iommu_domain *domain,
				    struct iova_domain *iovad)
{
	if (IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS))
		__io_bounce_attach(ref, dev, domain, iovad);
}

/* A device is about to be attached to a domain of any type. */
static inline void io_bounce_detach(struct device *dev)
{
#ifdef CONFIG_IOMMU_BOUNCE_BUFFERS
	WRITE_ONCE(dev->iommu->bounce, NULL);
#endif
}

/* A DMA domain is about to be freed. */
static inline void io_bounce_destroy(struct io_bounce_ref *ref)
{
	if (IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS))
		__io_bounce_destroy(ref);
}

/* Are the bounce buffers of a domain, which may be NULL, not disabled in sysfs? */
static __always_inline bool io_bounce_active(const struct io_bounce *bounce)
{
	return bounce && __io_bounce_active(bounce);
}

/*
 * For dma-iommu.c; @bounce is NULL if the domain has no bounce buffers. It is the last
 * argument where the others are those of a function of the DMA API, so that they stay in
 * their registers.
 *
 * The map functions fail with DMA_MAPPING_ERROR, 0 or false if the buffer has to be
 * mapped directly. The others return false, without effect, unless the buffer is
 * bounced.
 */
static __always_inline dma_addr_t
io_bounce_map(struct device *dev, phys_addr_t phys, size_t size,
	      enum dma_data_direction dir, unsigned long attrs,
	      struct io_bounce *bounce)
{
	return IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS) ?
	       __io_bounce_map(dev, phys, size, dir, attrs, bounce) :
	       DMA_MAPPING_ERROR;
}

/*
 * Call io_bounce_map()? Returns false without bounce buffers, and for a mapping that is
 * direct because of its size, if that can be counted without a call or is no longer counted.
 */
static __always_inline bool io_bounce_may_map(struct io_bounce *bounce, size_t size,
					      enum dma_data_direction dir)
{
	struct io_bounce_stats __percpu *stats;

	if (!bounce)
		return false;
	/* The checker counts what it does not see. */
	if (IS_ENABLED(CONFIG_IOMMU_BOUNCE_CHECK) &&
	    static_branch_unlikely(&io_bounce_check_key))
		return true;
	if (likely(!io_bounce_above_single(&bounce->limit, size, dir)))
		return true;
	stats = READ_ONCE(bounce->stats);
	if (unlikely(!stats))
		return atomic_read(&bounce->early[IO_BOUNCE_DIRECT_LIMIT]) <
		       IO_BOUNCE_EARLY_MAX;
	this_cpu_inc(stats->count[IO_BOUNCE_DIRECT_LIMIT]);
	return false;
}

static __always_inline dma_addr_t
io_bounce_map_mandatory(struct io_bounce *bounce, struct device *dev,
			phys_addr_t phys, size_t size,
			enum dma_data_direction dir, unsigned long attrs,
			bool grow)
{
	return bounce ? __io_bounce_map_mandatory(bounce, dev, phys, size, dir,
						  attrs, grow) :
			DMA_MAPPING_ERROR;
}

static __always_inline bool io_bounce_is_slot(const struct io_bounce *bounce,
					      dma_addr_t addr)
{
	return bounce && is_io_buffer_addr(&bounce->mgr, addr);
}

static __always_inline bool
io_bounce_unmap(struct device *dev, dma_addr_t addr, size_t size,
		enum dma_data_direction dir, unsigned long attrs,
		struct io_bounce *bounce)
{
	if (!io_bounce_is_slot(bounce, addr))
		return false;
	__io_bounce_unmap(dev, addr, size, dir, attrs, bounce);
	return true;
}

static __always_inline bool
io_bounce_sync(struct device *dev, dma_addr_t addr, size_t size,
	       enum dma_data_direction dir, bool for_cpu,
	       struct io_bounce *bounce)
{
	if (!io_bounce_is_slot(bounce, addr))
		return false;
	__io_bounce_sync(dev, addr, size, dir, for_cpu, bounce);
	return true;
}

static __always_inline int
io_bounce_map_sg(struct device *dev, struct scatterlist *sg, int nents,
		 enum dma_data_direction dir, unsigned long attrs,
		 struct io_bounce *bounce)
{
	return bounce ? __io_bounce_map_sg(dev, sg, nents, dir, attrs, bounce) : 0;
}

static __always_inline bool
io_bounce_unmap_sg(struct device *dev, struct scatterlist *sg, int nents,
		   enum dma_data_direction dir, unsigned long attrs,
		   struct io_bounce *bounce)
{
	return bounce && __io_bounce_unmap_sg(dev, sg, nents, dir, attrs, bounce);
}

static __always_inline bool
io_bounce_sync_sg(struct device *dev, struct scatterlist *sg, int nents,
		  enum dma_data_direction dir, bool for_cpu,
		  struct io_bounce *bounce)
{
	return bounce && __io_bounce_sync_sg(dev, sg, nents, dir, for_cpu, bounce);
}

static __always_inline bool
io_bounce_iova_alloc(struct io_bounce *bounce, struct device *dev,
		     struct dma_iova_state *state, phys_addr_t phys, size_t size,
		     unsigned int nr_segs, enum dma_data_direction dir,
		     unsigned long attrs)
{
	return bounce && __io_bounce_iova_alloc(bounce, dev, state, phys, size,
						nr_segs, dir, attrs);
}

/* Is a DMA IOVA state in a bounce buffer? */
static __always_inline bool io_bounce_iova(const struct dma_iova_state *state)
{
	/* A load of its own, so that the compiler leaves the direct path alone */
	return io_bounce_enabled() &&
	       (READ_ONCE(state->__size) & DMA_IOVA_USE_BOUNCE);
}

#endif /* __IO_BOUNCE_BUFFERS_H */
