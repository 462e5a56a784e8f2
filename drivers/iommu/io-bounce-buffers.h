/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IOMMU bounce buffers: the interface to dma-iommu.c and iommu.c.
 */
#ifndef __IO_BOUNCE_BUFFERS_H
#define __IO_BOUNCE_BUFFERS_H

#include <linux/dma-mapping.h>
#include <linux/jump_label.h>

struct io_bounce;
struct iommu_domain;
struct iova_domain;

/* The sysfs attributes of a group */
enum io_bounce_attr {
	IO_BOUNCE_MODE,
	IO_BOUNCE_LIMIT,
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

static inline struct io_bounce *io_bounce_deref(const struct io_bounce_ref *ref)
{
#ifdef CONFIG_IOMMU_BOUNCE_BUFFERS
	/* Pairs with io_bounce_create(). */
	return READ_ONCE(ref->bounce);
#else
	return NULL;
#endif
}

DECLARE_STATIC_KEY_FALSE(io_bounce_key);

/* Without the option this is constant, so the calls below it need no stubs. */
static inline bool io_bounce_enabled(void)
{
	return IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS) &&
	       static_branch_unlikely(&io_bounce_key);
}

void __io_bounce_attach(struct io_bounce_ref *ref, struct device *dev,
			struct iommu_domain *domain, struct iova_domain *iovad);
struct io_bounce *io_bounce_attach_disabled(struct io_bounce_ref *ref,
					    struct device *dev,
					    struct iommu_domain *domain,
					    struct iova_domain *iovad);
void __io_bounce_destroy(struct io_bounce_ref *ref);

dma_addr_t __io_bounce_map(struct io_bounce *bounce, struct device *dev,
			   phys_addr_t phys, size_t size,
			   enum dma_data_direction dir, unsigned long attrs);
dma_addr_t __io_bounce_map_mandatory(struct io_bounce *bounce,
				     struct device *dev, phys_addr_t phys,
				     size_t size, enum dma_data_direction dir,
				     unsigned long attrs, bool grow);
bool __io_bounce_unmap(struct io_bounce *bounce, struct device *dev,
		       dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs);
bool __io_bounce_sync(struct io_bounce *bounce, struct device *dev,
		      dma_addr_t addr, size_t size,
		      enum dma_data_direction dir, bool for_cpu);

int __io_bounce_map_sg(struct io_bounce *bounce, struct device *dev,
		       struct scatterlist *sg, int nents,
		       enum dma_data_direction dir, unsigned long attrs);
bool __io_bounce_unmap_sg(struct io_bounce *bounce, struct device *dev,
			  struct scatterlist *sg, int nents,
			  enum dma_data_direction dir, unsigned long attrs);
bool __io_bounce_sync_sg(struct io_bounce *bounce, struct device *dev,
			 struct scatterlist *sg, int nents,
			 enum dma_data_direction dir, bool for_cpu);

bool __io_bounce_iova_alloc(struct io_bounce *bounce, struct device *dev,
			    struct dma_iova_state *state, phys_addr_t phys,
			    size_t size, unsigned int nr_segs,
			    enum dma_data_direction dir, unsigned long attrs);
int io_bounce_iova_link(struct io_bounce *bounce, struct device *dev,
			struct dma_iova_state *state, phys_addr_t phys,
			size_t offset, size_t size,
			enum dma_data_direction dir, unsigned long attrs);
void io_bounce_iova_unlink(struct io_bounce *bounce, struct device *dev,
			   struct dma_iova_state *state, size_t offset,
			   size_t size, enum dma_data_direction dir,
			   unsigned long attrs);
void io_bounce_iova_free(struct io_bounce *bounce, struct device *dev,
			 dma_addr_t addr);

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
 * For dma-iommu.c; @bounce is NULL if the domain has no bounce buffers.
 *
 * The map functions fail with DMA_MAPPING_ERROR, 0 or false if the buffer has to be
 * mapped directly. The others return false, without effect, unless the buffer is
 * bounced.
 */
static __always_inline dma_addr_t
io_bounce_map(struct io_bounce *bounce, struct device *dev, phys_addr_t phys,
	      size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	return bounce ? __io_bounce_map(bounce, dev, phys, size, dir, attrs) :
			DMA_MAPPING_ERROR;
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

static __always_inline bool
io_bounce_unmap(struct io_bounce *bounce, struct device *dev, dma_addr_t addr,
		size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	return bounce && __io_bounce_unmap(bounce, dev, addr, size, dir, attrs);
}

static __always_inline bool
io_bounce_sync(struct io_bounce *bounce, struct device *dev, dma_addr_t addr,
	       size_t size, enum dma_data_direction dir, bool for_cpu)
{
	return bounce && __io_bounce_sync(bounce, dev, addr, size, dir, for_cpu);
}

static __always_inline int
io_bounce_map_sg(struct io_bounce *bounce, struct device *dev,
		 struct scatterlist *sg, int nents, enum dma_data_direction dir,
		 unsigned long attrs)
{
	return bounce ? __io_bounce_map_sg(bounce, dev, sg, nents, dir, attrs) : 0;
}

static __always_inline bool
io_bounce_unmap_sg(struct io_bounce *bounce, struct device *dev,
		   struct scatterlist *sg, int nents,
		   enum dma_data_direction dir, unsigned long attrs)
{
	return bounce && __io_bounce_unmap_sg(bounce, dev, sg, nents, dir, attrs);
}

static __always_inline bool
io_bounce_sync_sg(struct io_bounce *bounce, struct device *dev,
		  struct scatterlist *sg, int nents,
		  enum dma_data_direction dir, bool for_cpu)
{
	return bounce && __io_bounce_sync_sg(bounce, dev, sg, nents, dir, for_cpu);
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
