/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random traffic on one device, every byte of it predicted.
 */
#ifndef DMA_MODEL_H
#define DMA_MODEL_H

#include <linux/dma-mapping.h>
#include <linux/types.h>

struct kunit;
struct device;

/**
 * struct model_params - one run of the model
 * @profile: index into mock_profiles
 * @steps: steps each of the two threads takes
 * @fail_every: let every n-th map of the IOMMU fail
 * @seed: where the random numbers start
 */
struct model_params {
	int profile;
	unsigned int steps;
	unsigned int fail_every;
	u64 seed;
};

void model_run(struct kunit *test, const struct model_params *params);

/* Is bouncing on, so that what fits the limit must not reach the IOMMU? */
extern bool expect_bounce;

/* The kernel without optional bounces is not told what will be linked. */
static inline bool iova_try_alloc(struct device *dev, struct dma_iova_state *state,
				  phys_addr_t phys, size_t size, unsigned int nr_segs,
				  enum dma_data_direction dir, unsigned long attrs)
{
#ifdef DMA_IOVA_USE_BOUNCE
	return dma_iova_try_alloc(dev, state, phys, size, nr_segs, dir, attrs);
#else
	return dma_iova_try_alloc(dev, state, phys, size);
#endif
}

#endif /* DMA_MODEL_H */
