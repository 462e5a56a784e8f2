/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommu_bounce

#if !defined(_TRACE_IOMMU_BOUNCE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IOMMU_BOUNCE_H

#include <linux/device.h>
#include <linux/dma-direction.h>
#include <linux/tracepoint.h>

/* Complete in io-bounce-debugfs.c, which creates the events */
struct io_bounce_limit;
struct io_buffer_manager;
struct io_buffer_pool;

TRACE_DEFINE_ENUM(DMA_BIDIRECTIONAL);
TRACE_DEFINE_ENUM(DMA_TO_DEVICE);
TRACE_DEFINE_ENUM(DMA_FROM_DEVICE);

#define show_bounce_dir(dir) \
	__print_symbolic(dir, \
		{ DMA_BIDIRECTIONAL, "BIDIRECTIONAL" }, \
		{ DMA_TO_DEVICE, "TO_DEVICE" }, \
		{ DMA_FROM_DEVICE, "FROM_DEVICE" })

TRACE_DEFINE_ENUM(IO_BUFFER_MISS_EMPTY);
TRACE_DEFINE_ENUM(IO_BUFFER_MISS_FULL);
TRACE_DEFINE_ENUM(IO_BUFFER_MISS_MASK);
TRACE_DEFINE_ENUM(IO_BUFFER_MISS_SIZE);

/* As the counters in debugfs */
#define show_bounce_miss(reason) \
	__print_symbolic(reason, \
		{ IO_BUFFER_MISS_EMPTY, "empty" }, \
		{ IO_BUFFER_MISS_FULL, "full" }, \
		{ IO_BUFFER_MISS_MASK, "mask" }, \
		{ IO_BUFFER_MISS_SIZE, "size" })

/* Both events have the size that was mapped, whatever size the driver unmaps. */
DECLARE_EVENT_CLASS(iommu_bounce_mapping,
	TP_PROTO(struct device *dev, dma_addr_t addr,
		 const struct io_buffer_pool *pool, size_t size),
	TP_ARGS(dev, addr, pool, size),

	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(u64, dma_addr)
		__field(size_t, size)
		__field(size_t, slot)
		__field(enum dma_data_direction, dir)
	),

	TP_fast_assign(
		__assign_str(device);
		__entry->dma_addr = addr;
		__entry->size = size;
		__entry->slot = (size_t)1 << pool->slot_shift;
		__entry->dir = bounce_pool_dir(pool);
	),

	TP_printk("%s dir=%s dma_addr=%llx size=%zu slot=%zu",
		__get_str(device),
		show_bounce_dir(__entry->dir),
		__entry->dma_addr,
		__entry->size,
		__entry->slot)
);

DEFINE_EVENT(iommu_bounce_mapping, iommu_bounce_map,
	TP_PROTO(struct device *dev, dma_addr_t addr,
		 const struct io_buffer_pool *pool, size_t size),
	TP_ARGS(dev, addr, pool, size));

DEFINE_EVENT(iommu_bounce_mapping, iommu_bounce_unmap,
	TP_PROTO(struct device *dev, dma_addr_t addr,
		 const struct io_buffer_pool *pool, size_t size),
	TP_ARGS(dev, addr, pool, size));

TRACE_EVENT(iommu_bounce_sync,
	TP_PROTO(struct device *dev, dma_addr_t addr, size_t size,
		 enum dma_data_direction dir, bool for_cpu),
	TP_ARGS(dev, addr, size, dir, for_cpu),

	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(u64, dma_addr)
		__field(size_t, size)
		__field(enum dma_data_direction, dir)
		__field(bool, for_cpu)
	),

	TP_fast_assign(
		__assign_str(device);
		__entry->dma_addr = addr;
		__entry->size = size;
		__entry->dir = dir;
		__entry->for_cpu = for_cpu;
	),

	TP_printk("%s dir=%s dma_addr=%llx size=%zu for=%s",
		__get_str(device),
		show_bounce_dir(__entry->dir),
		__entry->dma_addr,
		__entry->size,
		__entry->for_cpu ? "cpu" : "device")
);

TRACE_EVENT(iommu_bounce_miss,
	TP_PROTO(struct device *dev, size_t size, enum dma_data_direction dir,
		 unsigned int reason),
	TP_ARGS(dev, size, dir, reason),

	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(size_t, size)
		__field(enum dma_data_direction, dir)
		__field(unsigned int, reason)
	),

	TP_fast_assign(
		__assign_str(device);
		__entry->size = size;
		__entry->dir = dir;
		__entry->reason = reason;
	),

	TP_printk("%s dir=%s size=%zu reason=%s",
		__get_str(device),
		show_bounce_dir(__entry->dir),
		__entry->size,
		show_bounce_miss(__entry->reason))
);

/* A chunk belongs to a domain, which is identified by its group as in debugfs. */
DECLARE_EVENT_CLASS(iommu_bounce_chunk,
	TP_PROTO(const struct io_buffer_manager *mgr,
		 const struct io_buffer_pool *pool, dma_addr_t iova,
		 size_t size),
	TP_ARGS(mgr, pool, iova, size),

	TP_STRUCT__entry(
		__field(int, group)
		__field(u64, iova)
		__field(size_t, size)
		__field(size_t, slot)
		__field(enum dma_data_direction, dir)
		__field(size_t, memory)
	),

	TP_fast_assign(
		__entry->group = mgr->group;
		__entry->iova = iova;
		__entry->size = size;
		__entry->slot = (size_t)1 << pool->slot_shift;
		__entry->dir = bounce_pool_dir(pool);
		__entry->memory = mgr->memory;
	),

	TP_printk("group=%d iova=%llx size=%zu slot=%zu dir=%s memory=%zu",
		__entry->group,
		__entry->iova,
		__entry->size,
		__entry->slot,
		show_bounce_dir(__entry->dir),
		__entry->memory)
);

DEFINE_EVENT(iommu_bounce_chunk, iommu_bounce_chunk_add,
	TP_PROTO(const struct io_buffer_manager *mgr,
		 const struct io_buffer_pool *pool, dma_addr_t iova,
		 size_t size),
	TP_ARGS(mgr, pool, iova, size));

DEFINE_EVENT(iommu_bounce_chunk, iommu_bounce_chunk_free,
	TP_PROTO(const struct io_buffer_manager *mgr,
		 const struct io_buffer_pool *pool, dma_addr_t iova,
		 size_t size),
	TP_ARGS(mgr, pool, iova, size));

/* Mappings of a kind go the other way from now on. */
TRACE_EVENT(iommu_bounce_limit,
	TP_PROTO(const struct io_bounce_limit *limit, unsigned int kind, bool bounced,
		 const u32 *ns),
	TP_ARGS(limit, kind, bounced, ns),

	TP_STRUCT__entry(
		__field(int, group)
		__field(enum dma_data_direction, dir)
		__field(size_t, size)
		__field(unsigned int, nr_segs)
		__field(bool, bounced)
		__field(u32, direct_ns)
		__field(u32, bounced_ns)
	),

	TP_fast_assign(
		__entry->group = limit->mgr->group;
		__entry->dir = io_bounce_kind_to_device(kind) ? DMA_TO_DEVICE :
								DMA_FROM_DEVICE;
		__entry->size = io_bounce_kind_bytes(limit, kind);
		__entry->nr_segs = io_bounce_kind_segs(kind);
		__entry->bounced = bounced;
		__entry->direct_ns = ns[0];
		__entry->bounced_ns = ns[1];
	),

	TP_printk("group=%d dir=%s size=%zu nr_segs=%u bounced=%d direct_ns=%u bounced_ns=%u",
		__entry->group,
		show_bounce_dir(__entry->dir),
		__entry->size,
		__entry->nr_segs,
		__entry->bounced,
		__entry->direct_ns,
		__entry->bounced_ns)
);

#endif /* _TRACE_IOMMU_BOUNCE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
