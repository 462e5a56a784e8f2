/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bounce buffers for streaming DMA through an IOMMU.
 */
#ifndef __IO_BOUNCE_BUFFERS_H
#define __IO_BOUNCE_BUFFERS_H

#include <linux/dma-mapping.h>
#include <linux/jump_label.h>

/* What can be set for each group */
enum io_bounce_knob {
	IO_BOUNCE_MODE,
	IO_BOUNCE_LIMIT,
};

struct io_bounce;
struct iommu_domain;
struct iova_domain;

#ifdef CONFIG_IOMMU_BOUNCE_BUFFERS

/**
 * struct io_bounce_ref - a domain's reference to its bounce buffers
 * @bounce: the bounce buffers, or NULL where the domain does without
 * @never: a device of it does not get on with them
 *
 * An empty struct where the option is off, so that its holder needs no #ifdef.
 */
struct io_bounce_ref {
	struct io_bounce *bounce;
	bool never;
};

DECLARE_STATIC_KEY_FALSE(io_bounce_key);

static inline bool io_bounce_enabled(void)
{
	return static_branch_unlikely(&io_bounce_key);
}

static inline struct io_bounce *io_bounce_of(const struct io_bounce_ref *ref)
{
	/* Pairs with io_bounce_new(). */
	return READ_ONCE(ref->bounce);
}

void io_bounce_create(struct io_bounce_ref *ref, struct device *dev,
		      struct iommu_domain *domain, struct iova_domain *iovad);
void io_bounce_create_off(struct io_bounce_ref *ref, struct device *dev,
			  struct iommu_domain *domain,
			  struct iova_domain *iovad);
void io_bounce_destroy(struct io_bounce_ref *ref);
int io_bounce_parse(enum io_bounce_knob knob, const char *buf);
int io_bounce_show(const struct io_bounce *bounce, enum io_bounce_knob knob,
		   char *buf);
int io_bounce_show_device(const struct io_bounce *bounce, struct device *dev,
			  char *buf, int at);
int io_bounce_store(struct io_bounce *bounce, struct device *dev,
		    enum io_bounce_knob knob, int value);
void io_bounce_add_device(struct io_bounce_ref *ref, struct device *dev);

dma_addr_t __io_bounce_map(struct io_bounce *bounce, struct device *dev,
			   phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs);
bool __io_bounce_unmap(struct io_bounce *bounce, struct device *dev,
		       dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs);
bool __io_bounce_sync_for_cpu(struct io_bounce *bounce, struct device *dev,
			      dma_addr_t addr, size_t size,
			      enum dma_data_direction dir);
bool __io_bounce_sync_for_device(struct io_bounce *bounce, struct device *dev,
				 dma_addr_t addr, size_t size,
				 enum dma_data_direction dir);

bool __io_bounce_serves(const struct io_bounce *bounce, struct device *dev,
			size_t size);
bool __io_bounce_takes_sg(struct io_bounce *bounce, struct device *dev,
			  struct scatterlist *sg, int nents,
			  enum dma_data_direction dir, unsigned long attrs);
void __io_bounce_prepare_sg(struct scatterlist *sg);
dma_addr_t __io_bounce_map_sg(struct io_bounce *bounce, struct device *dev,
			      struct scatterlist *sg, int nents,
			      size_t iova_len, enum dma_data_direction dir,
			      unsigned long attrs, bool must);
bool __io_bounce_unmap_sg(struct io_bounce *bounce, struct device *dev,
			  struct scatterlist *sg);
bool __io_bounce_sync_sg(struct io_bounce *bounce, struct device *dev,
			 struct scatterlist *sg, int nelems,
			 enum dma_data_direction dir, bool for_cpu);

bool __io_bounce_iova_start(struct io_bounce *bounce, struct device *dev,
			    struct dma_iova_state *state, phys_addr_t phys,
			    size_t offset, size_t size,
			    enum dma_data_direction dir, unsigned long attrs);
int __io_bounce_iova_link(struct io_bounce *bounce, struct device *dev,
			  struct dma_iova_state *state, phys_addr_t phys,
			  size_t offset, size_t size,
			  enum dma_data_direction dir, unsigned long attrs);
void __io_bounce_iova_unlink(struct io_bounce *bounce, struct device *dev,
			     dma_addr_t addr, size_t size,
			     enum dma_data_direction dir, unsigned long attrs);
void __io_bounce_iova_free(struct io_bounce *bounce, struct device *dev,
			   dma_addr_t addr);

#else /* CONFIG_IOMMU_BOUNCE_BUFFERS */

struct io_bounce_ref {
};

static inline bool io_bounce_enabled(void)
{
	return false;
}

static inline struct io_bounce *io_bounce_of(const struct io_bounce_ref *ref)
{
	return NULL;
}

static inline void io_bounce_create(struct io_bounce_ref *ref,
				    struct device *dev,
				    struct iommu_domain *domain,
				    struct iova_domain *iovad)
{
}

static inline void io_bounce_create_off(struct io_bounce_ref *ref,
					struct device *dev,
					struct iommu_domain *domain,
					struct iova_domain *iovad)
{
}

static inline void io_bounce_destroy(struct io_bounce_ref *ref)
{
}

static inline int io_bounce_parse(enum io_bounce_knob knob, const char *buf)
{
	return -EOPNOTSUPP;
}

static inline int io_bounce_show(const struct io_bounce *bounce,
				 enum io_bounce_knob knob, char *buf)
{
	return -EOPNOTSUPP;
}

static inline int io_bounce_show_device(const struct io_bounce *bounce,
					struct device *dev, char *buf, int at)
{
	return 0;
}

static inline int io_bounce_store(struct io_bounce *bounce, struct device *dev,
				  enum io_bounce_knob knob, int value)
{
	return -EOPNOTSUPP;
}

static inline void io_bounce_add_device(struct io_bounce_ref *ref,
					struct device *dev)
{
}

static inline dma_addr_t __io_bounce_map(struct io_bounce *bounce,
					 struct device *dev, phys_addr_t phys,
					 size_t size,
					 enum dma_data_direction dir,
					 unsigned long attrs)
{
	return DMA_MAPPING_ERROR;
}

static inline bool __io_bounce_unmap(struct io_bounce *bounce,
				     struct device *dev, dma_addr_t addr,
				     size_t size, enum dma_data_direction dir,
				     unsigned long attrs)
{
	return false;
}

static inline bool __io_bounce_sync_for_cpu(struct io_bounce *bounce,
					    struct device *dev, dma_addr_t addr,
					    size_t size,
					    enum dma_data_direction dir)
{
	return false;
}

static inline bool
__io_bounce_sync_for_device(struct io_bounce *bounce, struct device *dev,
			    dma_addr_t addr, size_t size,
			    enum dma_data_direction dir)
{
	return false;
}

static inline bool __io_bounce_serves(const struct io_bounce *bounce,
				      struct device *dev, size_t size)
{
	return false;
}

static inline bool __io_bounce_takes_sg(struct io_bounce *bounce,
					struct device *dev,
					struct scatterlist *sg, int nents,
					enum dma_data_direction dir,
					unsigned long attrs)
{
	return false;
}

static inline void __io_bounce_prepare_sg(struct scatterlist *sg)
{
}

static inline dma_addr_t __io_bounce_map_sg(struct io_bounce *bounce,
					    struct device *dev,
					    struct scatterlist *sg, int nents,
					    size_t iova_len,
					    enum dma_data_direction dir,
					    unsigned long attrs, bool must)
{
	return DMA_MAPPING_ERROR;
}

static inline bool __io_bounce_unmap_sg(struct io_bounce *bounce,
					struct device *dev,
					struct scatterlist *sg)
{
	return false;
}

static inline bool __io_bounce_sync_sg(struct io_bounce *bounce,
				       struct device *dev,
				       struct scatterlist *sg, int nelems,
				       enum dma_data_direction dir,
				       bool for_cpu)
{
	return false;
}

static inline bool __io_bounce_iova_start(struct io_bounce *bounce,
					  struct device *dev,
					  struct dma_iova_state *state,
					  phys_addr_t phys, size_t offset,
					  size_t size,
					  enum dma_data_direction dir,
					  unsigned long attrs)
{
	return false;
}

static inline int __io_bounce_iova_link(struct io_bounce *bounce,
					struct device *dev,
					struct dma_iova_state *state,
					phys_addr_t phys, size_t offset,
					size_t size,
					enum dma_data_direction dir,
					unsigned long attrs)
{
	return -EOPNOTSUPP;
}

static inline void __io_bounce_iova_unlink(struct io_bounce *bounce,
					   struct device *dev, dma_addr_t addr,
					   size_t size,
					   enum dma_data_direction dir,
					   unsigned long attrs)
{
}

static inline void __io_bounce_iova_free(struct io_bounce *bounce,
					 struct device *dev, dma_addr_t addr)
{
}

#endif /* CONFIG_IOMMU_BOUNCE_BUFFERS */

#ifdef CONFIG_IOMMU_BOUNCE_CHECK
DECLARE_STATIC_KEY_FALSE(io_bounce_check_key);

void __io_bounce_check_iova_to_phys(struct iommu_domain *domain,
				    dma_addr_t iova);

static inline void io_bounce_check_iova_to_phys(struct iommu_domain *domain,
						dma_addr_t iova)
{
	if (static_branch_unlikely(&io_bounce_check_key))
		__io_bounce_check_iova_to_phys(domain, iova);
}
#else
static inline void io_bounce_check_iova_to_phys(struct iommu_domain *domain,
						dma_addr_t iova)
{
}
#endif

/*
 * What dma-iommu calls. @bounce is NULL where a domain has no bounce buffers.
 */

/*
 * Map @phys through a bounce buffer, be it that it must be bounced or that it
 * pays; DMA_MAPPING_ERROR where that is not to be, for whatever reason: the caller
 * then maps the ordinary way, or by SWIOTLB.
 */
static inline dma_addr_t io_bounce_map(struct io_bounce *bounce,
				       struct device *dev, phys_addr_t phys,
				       size_t size, enum dma_data_direction dir,
				       unsigned long attrs)
{
	return bounce ? __io_bounce_map(bounce, dev, phys, size, dir, attrs) :
			DMA_MAPPING_ERROR;
}

/* Each of these returns false, having done nothing, if @addr is not bounced. */
static inline bool io_bounce_unmap(struct io_bounce *bounce, struct device *dev,
				   dma_addr_t addr, size_t size,
				   enum dma_data_direction dir,
				   unsigned long attrs)
{
	return bounce && __io_bounce_unmap(bounce, dev, addr, size, dir, attrs);
}

static inline bool io_bounce_sync_for_cpu(struct io_bounce *bounce,
					  struct device *dev, dma_addr_t addr,
					  size_t size,
					  enum dma_data_direction dir)
{
	return bounce && __io_bounce_sync_for_cpu(bounce, dev, addr, size, dir);
}

static inline bool
io_bounce_sync_for_device(struct io_bounce *bounce, struct device *dev,
			  dma_addr_t addr, size_t size,
			  enum dma_data_direction dir)
{
	return bounce && __io_bounce_sync_for_device(bounce, dev, addr, size, dir);
}

/* Do they take what must be bounced? */
static inline bool io_bounce_serves(const struct io_bounce *bounce,
				    struct device *dev, size_t size)
{
	return bounce && __io_bounce_serves(bounce, dev, size);
}

/* May a list that must be bounced be laid out for a single bounce buffer? */
static inline bool io_bounce_takes_sg(struct io_bounce *bounce,
				      struct device *dev,
				      struct scatterlist *sg, int nents,
				      enum dma_data_direction dir,
				      unsigned long attrs)
{
	return bounce &&
	       __io_bounce_takes_sg(bounce, dev, sg, nents, dir, attrs);
}

/*
 * Forget how a list was mapped before: until it is mapped, its DMA addresses and
 * flags are whatever an earlier use, perhaps by another device, has left there.
 */
static inline void io_bounce_prepare_sg(struct io_bounce *bounce,
					struct scatterlist *sg)
{
	if (bounce)
		__io_bounce_prepare_sg(sg);
}

static inline dma_addr_t io_bounce_map_sg(struct io_bounce *bounce,
					  struct device *dev,
					  struct scatterlist *sg, int nents,
					  size_t iova_len,
					  enum dma_data_direction dir,
					  unsigned long attrs, bool must)
{
	return bounce ? __io_bounce_map_sg(bounce, dev, sg, nents, iova_len,
					   dir, attrs, must) :
			DMA_MAPPING_ERROR;
}

/* Unmap a list of which all that is wanted was copied out by a sync before. */
static inline bool io_bounce_unmap_sg(struct io_bounce *bounce,
				      struct device *dev,
				      struct scatterlist *sg)
{
	return bounce && __io_bounce_unmap_sg(bounce, dev, sg);
}

static inline bool io_bounce_sync_sg(struct io_bounce *bounce,
				     struct device *dev, struct scatterlist *sg,
				     int nelems, enum dma_data_direction dir,
				     bool for_cpu)
{
	return bounce &&
	       __io_bounce_sync_sg(bounce, dev, sg, nelems, dir, for_cpu);
}

/*
 * The DMA IOVA API: a state says itself whether it is in a bounce buffer, and is
 * moved there when it is linked for the first time.
 */
static inline bool io_bounce_iova_owns(const struct dma_iova_state *state)
{
	/* A load of its own leaves the one of the ordinary way alone. */
	return io_bounce_enabled() &&
	       (READ_ONCE(state->__size) & DMA_IOVA_USE_BOUNCE);
}

/* Returns whether @state is in a bounce buffer, if need be from now on. */
static inline bool io_bounce_iova_start(struct io_bounce *bounce,
					struct device *dev,
					struct dma_iova_state *state,
					phys_addr_t phys, size_t offset,
					size_t size,
					enum dma_data_direction dir,
					unsigned long attrs)
{
	/* Of a state in many places, only the first link has to ask. */
	if (bounce && READ_ONCE(state->__size) & DMA_IOVA_NO_BOUNCE)
		return false;

	return bounce && __io_bounce_iova_start(bounce, dev, state, phys,
						offset, size, dir, attrs);
}

/* These two return false, having done nothing, if @state is not bounced. */
static inline bool io_bounce_iova_unlink(const struct io_bounce_ref *ref,
					 struct device *dev,
					 const struct dma_iova_state *state,
					 dma_addr_t addr, size_t size,
					 enum dma_data_direction dir,
					 unsigned long attrs)
{
	if (!io_bounce_iova_owns(state))
		return false;
	__io_bounce_iova_unlink(io_bounce_of(ref), dev, addr, size, dir, attrs);
	return true;
}

static inline bool io_bounce_iova_free(const struct io_bounce_ref *ref,
				       struct device *dev,
				       const struct dma_iova_state *state)
{
	if (!io_bounce_iova_owns(state))
		return false;
	__io_bounce_iova_free(io_bounce_of(ref), dev, state->addr);
	return true;
}

#endif /* __IO_BOUNCE_BUFFERS_H */
