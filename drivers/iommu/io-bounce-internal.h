/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the parts of the bounce layer.
 */
#ifndef __IO_BOUNCE_INTERNAL_H
#define __IO_BOUNCE_INTERNAL_H

#include <linux/atomic.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/percpu.h>

#include "io-bounce-buffers.h"
#include "io-bounce-limit.h"
#include "io-buffer-manager.h"
#include "dma-iommu.h"

struct dentry;

/*
 * Which mappings are bounced by choice. AUTO and ON ask for the promise of the
 * device's driver, AUTO also for a measurement; FORCE asks for neither.
 */
enum bounce_mode {
	BOUNCE_OFF,
	BOUNCE_AUTO,
	BOUNCE_ON,
	BOUNCE_FORCE,
	BOUNCE_NR_MODES
};

extern const char * const io_bounce_modes[BOUNCE_NR_MODES];

/* One counter for each path; io_bounce_counter_names[] says what they count. */
enum io_bounce_counter {
	IO_BOUNCE_HITS_SINGLE,
	IO_BOUNCE_HITS_SG,
	IO_BOUNCE_HITS_IOVA,
	IO_BOUNCE_MISS_COLD,
	IO_BOUNCE_MISS_BUSY,
	IO_BOUNCE_MISS_MASK,
	IO_BOUNCE_MISS_SIZE,
	IO_BOUNCE_SKIP_LIMIT,
	IO_BOUNCE_SKIP_ATTRS,
	IO_BOUNCE_SKIP_DEVICE,
	IO_BOUNCE_SKIP_UNPROMISED,
	IO_BOUNCE_SKIP_MEMORY,
	IO_BOUNCE_MUST_HITS,
	IO_BOUNCE_MUST_MISSES,
	IO_BOUNCE_BYTES_IN,
	IO_BOUNCE_BYTES_OUT,
	IO_BOUNCE_NR_COUNTERS
};

/**
 * struct io_bounce_stats - counters of one CPU
 * @count: by &enum io_bounce_counter
 */
struct io_bounce_stats {
	u64 count[IO_BOUNCE_NR_COUNTERS];
};

/**
 * struct io_bounce - the bounce buffers of one domain
 * @mgr: where the buffers come from
 * @limit: the largest mapping that is bounced
 * @coherent: is the DMA of the devices served coherent with the CPU caches
 * @wipe: a device is untrusted: a slot that it can read is zeroed when it is
 *	given back, so that those not in use show nothing
 * @hint: what the IOMMU driver says of the first device; NEVER as soon as it says so
 *	of another
 * @mode: &enum bounce_mode; changes under the group's mutex, as does
 * @max: what the limit is said to be, in bytes; 0: it sets itself
 * @stats: counters; NULL until the first hit has woken @work
 * @early: what was counted while @stats was NULL, by &enum io_bounce_counter
 * @work: allocates @stats and makes the first estimate of what @limit should be
 * @unpromised: the first device left alone because its driver did not promise
 *	strict DMA ownership, until @work has reported it
 * @reported: @unpromised was reported; at most once for each domain and mode
 * @dir: in debugfs
 * @check: the checker checks the mappings of this domain
 * @aged: looks for mappings that live long, for the checker
 */
struct io_bounce {
	struct io_buffer_manager mgr;
	struct io_bounce_limit limit;
	bool coherent;
	bool wipe;
	u8 hint;
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

extern size_t io_bounce_memory;

bool io_bounce_by_default(void);
enum iommu_bounce_hint io_bounce_hint(struct device *dev);
bool io_bounce_parse_size(const char *str, size_t min, u64 max, size_t *size);
void io_bounce_default(struct io_bounce *bounce);
void io_bounce_follow(struct io_bounce *bounce, enum bounce_mode mode,
		      size_t max);

/* The window itself lies within what the domain can translate. */
static __always_inline u64 device_dma_limit(struct device *dev)
{
	return min_not_zero(dma_get_mask(dev), dev->bus_dma_limit);
}

void io_bounce_count_early(struct io_bounce *bounce,
			   enum io_bounce_counter counter, u64 add);

static inline void io_bounce_count(struct io_bounce *bounce,
				   enum io_bounce_counter counter, u64 add)
{
	/* Pairs with io_bounce_work(). */
	struct io_bounce_stats __percpu *stats = READ_ONCE(bounce->stats);

	if (likely(stats))
		this_cpu_add(stats->count[counter], add);
	else
		io_bounce_count_early(bounce, counter, add);
}

/* What a slot must permit for a direction */
static __always_inline enum io_buffer_perm
io_bounce_perm(enum dma_data_direction dir)
{
	static_assert((int)IO_BUFFER_READ_WRITE - DMA_BIDIRECTIONAL == 0);
	static_assert((int)IO_BUFFER_READ - DMA_TO_DEVICE == 0);
	static_assert((int)IO_BUFFER_WRITE - DMA_FROM_DEVICE == 0);

	return (enum io_buffer_perm)dir;
}

/*
 * Among the attributes of a mapping, between the parts of the bounce layer: it
 * must be bounced, whether or not it pays. Far from the bits of DMA_ATTR_*.
 */
#define IO_BOUNCE_MUST	BIT(31)

/* Of a mapping that must be bounced: was it? */
static inline void io_bounce_count_must(struct io_bounce *bounce, bool served)
{
	io_bounce_count(bounce, served ? IO_BOUNCE_MUST_HITS :
					 IO_BOUNCE_MUST_MISSES, 1);
}

void io_bounce_setup(struct io_bounce *bounce, bool coherent,
		     struct iommu_domain *domain, struct iova_domain *iovad,
		     size_t memory_max);
void io_bounce_teardown(struct io_bounce *bounce);

bool io_bounce_possible(const struct io_bounce *bounce, struct device *dev,
			unsigned long attrs);
bool io_bounce_no_choice(const struct io_bounce *bounce, struct device *dev,
			 unsigned long attrs);
void io_bounce_report_unpromised(struct io_bounce *bounce);
bool io_bounce_allowed(struct io_bounce *bounce, struct device *dev,
		       size_t size, unsigned int pieces,
		       enum dma_data_direction dir, unsigned long attrs);
void io_bounce_ordinary(struct io_bounce *bounce, struct device *dev,
			size_t size, unsigned int pieces,
			enum dma_data_direction dir);
bool io_bounce_get(struct io_bounce *bounce, struct device *dev, size_t size,
		   enum dma_data_direction dir, enum io_bounce_counter hit,
		   struct io_buffer *buf);
bool io_bounce_try(struct io_bounce *bounce, struct device *dev, size_t size,
		   enum dma_data_direction dir, enum io_bounce_counter hit,
		   struct io_buffer *buf);
dma_addr_t io_bounce_fill(struct io_bounce *bounce, struct device *dev,
			  const struct io_buffer *buf, phys_addr_t phys,
			  size_t offset, size_t size,
			  enum dma_data_direction dir);
struct io_buffer_limits io_bounce_limits(const struct io_bounce *bounce,
					 struct device *dev);
void io_bounce_put(struct io_bounce *bounce, struct device *dev,
		   dma_addr_t addr, const struct io_buffer *buf);
bool io_bounce_find(struct io_bounce *bounce, struct device *dev,
		    dma_addr_t addr, struct io_buffer *buf);

void io_bounce_copy_in(struct io_bounce *bounce, struct device *dev,
		       const struct io_buffer *buf, size_t offset, size_t len,
		       enum dma_data_direction dir);
void io_bounce_copy_out(struct io_bounce *bounce, struct device *dev,
			const struct io_buffer *buf, size_t offset, size_t len,
			enum dma_data_direction dir);
dma_addr_t io_bounce_iova_move(struct io_bounce *bounce, struct device *dev,
			       struct dma_iova_state *state, phys_addr_t phys,
			       size_t offset, size_t size,
			       enum dma_data_direction dir,
			       unsigned long attrs);

/* Must this very mapping be bounced? What fills its granules need not. */
static __always_inline bool io_bounce_must(const struct io_bounce *bounce,
					   struct device *dev, phys_addr_t phys,
					   size_t size, size_t whole,
					   enum dma_data_direction dir,
					   unsigned long attrs)
{
	size_t mask = (1UL << bounce->mgr.granule_shift) - 1;

	return unlikely(dev_needs_bounce(dev, size, dir)) &&
	       !(attrs & DMA_ATTR_MMIO) && (phys | whole) & mask;
}

/* io-bounce-must.c */
void io_bounce_reserve(struct io_bounce *bounce, struct device *dev);
void io_bounce_prepare_must(struct io_bounce *bounce, struct device *dev);
void io_bounce_wipe(const struct io_bounce *bounce, const struct io_buffer *buf);
bool io_bounce_get_must(struct io_bounce *bounce, struct device *dev,
			size_t size, enum dma_data_direction dir,
			enum io_bounce_counter hit, struct io_buffer *buf);
dma_addr_t io_bounce_map_must(struct io_bounce *bounce, struct device *dev,
			      phys_addr_t phys, size_t offset, size_t size,
			      enum dma_data_direction dir, unsigned long attrs);

/* io-bounce-check.c */
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
/* Is the mapping in a slot one that is checked? */
static __always_inline bool io_bounce_checked(const struct io_buffer *buf)
{
	return static_branch_unlikely(&io_bounce_check_key) &&
	       io_buffer_slot(buf)->life.checked;
}

/* Are the mappings of a domain to be checked? */
static __always_inline bool io_bounce_checks(const struct io_bounce *bounce)
{
	return static_branch_unlikely(&io_bounce_check_key) &&
	       READ_ONCE(bounce->check);
}

bool io_bounce_check_wanted(void);
void io_bounce_check_enable(void);
void io_bounce_check_setup(struct io_bounce *bounce);
void io_bounce_check_teardown(struct io_bounce *bounce);
void io_bounce_check_debugfs(struct dentry *root);
unsigned int io_bounce_check_scan(struct io_bounce *bounce);
unsigned int io_bounce_check_reports(void);
unsigned int io_bounce_check_changes(void);
void io_bounce_check_forget(void);
#else
static __always_inline bool io_bounce_checked(const struct io_buffer *buf)
{
	return false;
}

static __always_inline bool io_bounce_checks(const struct io_bounce *bounce)
{
	return false;
}

static inline bool io_bounce_check_wanted(void)
{
	return false;
}

static inline void io_bounce_check_enable(void)
{
}

static inline void io_bounce_check_setup(struct io_bounce *bounce)
{
}

static inline void io_bounce_check_teardown(struct io_bounce *bounce)
{
}

static inline void io_bounce_check_debugfs(struct dentry *root)
{
}
#endif

/* Without the option, nothing refers to these. */
void __io_bounce_check_begin(struct io_bounce *bounce, struct device *dev,
			     const struct io_buffer *buf);
void __io_bounce_check_link(const struct io_buffer *buf, size_t offset,
			    phys_addr_t phys, size_t len);
void __io_bounce_check_own(const struct io_buffer *buf, size_t offset,
			   size_t len);
bool __io_bounce_check_for_cpu(const struct io_buffer *buf, size_t offset,
			       size_t len);
bool __io_bounce_check_for_device(const struct io_buffer *buf, size_t offset,
				  size_t len);
bool __io_bounce_check_unmap(const struct io_buffer *buf, size_t offset,
			     size_t len, unsigned long attrs);
void __io_bounce_check_unlink(const struct io_buffer *buf, size_t offset,
			      size_t len);
void __io_bounce_check_end(const struct io_buffer *buf);
void __io_bounce_check_escaped(struct io_bounce *bounce, size_t size,
			       enum dma_data_direction dir,
			       unsigned long attrs);

/* A slot begins to stand for a mapping. */
static __always_inline void
io_bounce_check_begin(struct io_bounce *bounce, struct device *dev,
		      const struct io_buffer *buf)
{
	if (io_bounce_checks(bounce))
		__io_bounce_check_begin(bounce, dev, buf);
}

/* Before memory is copied in: what lies behind part of the slot */
static __always_inline void
io_bounce_check_link(const struct io_buffer *buf, size_t offset,
		     phys_addr_t phys, size_t len)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_link(buf, offset, phys, len);
}

/* After it was copied in: the device owns it. */
static __always_inline void
io_bounce_check_own(const struct io_buffer *buf, size_t offset, size_t len)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_own(buf, offset, len);
}

/*
 * Before part of a mapping is copied. False: do not, the memory is no longer what
 * was mapped.
 */
static __always_inline bool
io_bounce_check_for_cpu(const struct io_buffer *buf, size_t offset, size_t len)
{
	return !io_bounce_checked(buf) ||
	       __io_bounce_check_for_cpu(buf, offset, len);
}

static __always_inline bool
io_bounce_check_for_device(const struct io_buffer *buf, size_t offset,
			   size_t len)
{
	return !io_bounce_checked(buf) ||
	       __io_bounce_check_for_device(buf, offset, len);
}

static __always_inline bool
io_bounce_check_unmap(const struct io_buffer *buf, size_t offset, size_t len,
		      unsigned long attrs)
{
	return !io_bounce_checked(buf) ||
	       __io_bounce_check_unmap(buf, offset, len, attrs);
}

/* After part of a DMA IOVA state was copied out */
static __always_inline void
io_bounce_check_unlink(const struct io_buffer *buf, size_t offset, size_t len)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_unlink(buf, offset, len);
}

/* The slot is about to be given back. */
static __always_inline void io_bounce_check_end(const struct io_buffer *buf)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_end(buf);
}

/* A mapping was not bounced. */
static __always_inline void
io_bounce_check_escaped(struct io_bounce *bounce, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	if (io_bounce_checks(bounce))
		__io_bounce_check_escaped(bounce, size, dir, attrs);
}

void io_bounce_debugfs_add(struct io_bounce *bounce);
void io_bounce_debugfs_remove(struct io_bounce *bounce);
u64 io_bounce_counted(const struct io_bounce *bounce,
		      enum io_bounce_counter counter);

#endif /* __IO_BOUNCE_INTERNAL_H */
