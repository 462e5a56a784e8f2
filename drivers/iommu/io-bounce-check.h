/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The calls of the bounce layer to the ownership checker. Without the option nothing
 * is left of them.
 */
#ifndef __IO_BOUNCE_CHECK_H
#define __IO_BOUNCE_CHECK_H

/* Is the mapping in a slot checked? */
static __always_inline bool io_bounce_checked(const struct io_buffer *buf)
{
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
	return static_branch_unlikely(&io_bounce_check_key) &&
	       io_buffer_slot(buf)->life.checked;
#else
	return false;
#endif
}

/* Are the mappings of a domain checked? */
static __always_inline bool io_bounce_checks(const struct io_bounce *bounce)
{
#ifdef CONFIG_IOMMU_BOUNCE_CHECK
	return static_branch_unlikely(&io_bounce_check_key) &&
	       READ_ONCE(bounce->check);
#else
	return false;
#endif
}

bool __io_bounce_check_wanted(void);
void io_bounce_check_enable(void);
void __io_bounce_check_setup(struct io_bounce *bounce);
void __io_bounce_check_teardown(struct io_bounce *bounce);
void __io_bounce_check_debugfs(struct dentry *root);
unsigned int io_bounce_check_scan(struct io_bounce *bounce);
unsigned int io_bounce_check_reports(void);
unsigned int io_bounce_check_changes(void);
unsigned long io_bounce_check_escapes(void);
void io_bounce_check_forget(void);

void __io_bounce_check_begin(struct io_bounce *bounce, struct device *dev,
			     const struct io_buffer *buf);
void __io_bounce_check_link(const struct io_buffer *buf, size_t offset,
			    phys_addr_t phys, size_t len);
void __io_bounce_check_own(const struct io_buffer *buf, size_t offset,
			   size_t len);
bool __io_bounce_check_for_cpu(const struct io_buffer *buf, size_t offset,
			       size_t len);
void __io_bounce_check_synced(const struct io_buffer *buf, size_t offset,
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

static inline bool io_bounce_check_wanted(void)
{
	return IS_ENABLED(CONFIG_IOMMU_BOUNCE_CHECK) && __io_bounce_check_wanted();
}

static inline void io_bounce_check_setup(struct io_bounce *bounce)
{
	if (IS_ENABLED(CONFIG_IOMMU_BOUNCE_CHECK))
		__io_bounce_check_setup(bounce);
}

static inline void io_bounce_check_teardown(struct io_bounce *bounce)
{
	if (IS_ENABLED(CONFIG_IOMMU_BOUNCE_CHECK))
		__io_bounce_check_teardown(bounce);
}

static inline void io_bounce_check_debugfs(struct dentry *root)
{
	if (IS_ENABLED(CONFIG_IOMMU_BOUNCE_CHECK))
		__io_bounce_check_debugfs(root);
}

/* A slot is used for a mapping. */
static __always_inline void
io_bounce_check_begin(struct io_bounce *bounce, struct device *dev,
		      const struct io_buffer *buf)
{
	if (io_bounce_checks(bounce))
		__io_bounce_check_begin(bounce, dev, buf);
}

/* Before the copy in: the buffer behind part of the slot */
static __always_inline void
io_bounce_check_link(const struct io_buffer *buf, size_t offset,
		     phys_addr_t phys, size_t len)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_link(buf, offset, phys, len);
}

/* After the copy in: the device owns the buffer. */
static __always_inline void
io_bounce_check_own(const struct io_buffer *buf, size_t offset, size_t len)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_own(buf, offset, len);
}

/* Before a copy. Returns false if it must not be done, because the buffer was freed. */
static __always_inline bool
io_bounce_check_for_cpu(const struct io_buffer *buf, size_t offset, size_t len)
{
	return !io_bounce_checked(buf) ||
	       __io_bounce_check_for_cpu(buf, offset, len);
}

/* After the copy out of a sync */
static __always_inline void
io_bounce_check_synced(const struct io_buffer *buf, size_t offset, size_t len)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_synced(buf, offset, len);
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

/* After the copy out of part of a DMA IOVA state */
static __always_inline void
io_bounce_check_unlink(const struct io_buffer *buf, size_t offset, size_t len)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_unlink(buf, offset, len);
}

/* The slot is about to be freed. */
static __always_inline void io_bounce_check_end(const struct io_buffer *buf)
{
	if (io_bounce_checked(buf))
		__io_bounce_check_end(buf);
}

/* A buffer is mapped directly. */
static __always_inline void
io_bounce_check_escaped(struct io_bounce *bounce, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	if (io_bounce_checks(bounce))
		__io_bounce_check_escaped(bounce, size, dir, attrs);
}

#endif /* __IO_BOUNCE_CHECK_H */
