/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The interface between dmabench and the dma_bench module.
 */
#ifndef DMA_BENCH_H
#define DMA_BENCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DMA_BENCH_MAX_SIZE	1048576
#define DMA_BENCH_MAX_WINDOW	1024
#define DMA_BENCH_MAX_THREADS	64
#define DMA_BENCH_MAX_NENTS	64
#define DMA_BENCH_MAX_BUFFERS	4096

/* Which part of the DMA API to use */
enum dma_bench_op {
	DMA_BENCH_SINGLE,	/* dma_map_single() */
	DMA_BENCH_SG,		/* dma_map_sgtable() */
	DMA_BENCH_IOVA,		/* dma_iova_try_alloc() and dma_iova_link() */
	DMA_BENCH_NR_OPS
};

/**
 * struct dma_bench_run - one measurement
 * @op: &enum dma_bench_op
 * @dir: 0 bidirectional, 1 to device, 2 from device, as in the kernel
 * @size: bytes in a mapping
 * @nents: pieces it is made of; 1 for DMA_BENCH_SINGLE
 * @window: mappings in flight in each thread
 * @buffers: buffers each thread cycles through, at least @window; @window of
 *	them stay in the caches, many times @window do not
 * @threads: threads, each on a CPU of its own as far as there are
 * @rounds: how many times each thread maps and unmaps @window buffers
 * @cross_cpu: unmap on another CPU than the one that mapped
 * @irqs_off: measure with interrupts off; not with @cross_cpu
 * @calls: set: how many mappings the following are the sums of
 * @map: set: nanoseconds mapping, all threads together
 * @unmap: set: unmapping
 * @sync: set: one sync of the whole mapping for the CPU and one for the device
 * @copy_map: set: copying as often, what a bounce buffer must copy when mapping
 * @copy_unmap: set: the same when unmapping
 */
struct dma_bench_run {
	__u32 op;
	__u32 dir;
	__u32 size;
	__u32 nents;
	__u32 window;
	__u32 buffers;
	__u32 threads;
	__u32 rounds;
	__u32 cross_cpu;
	__u32 irqs_off;
	__u64 calls;
	__u64 map;
	__u64 unmap;
	__u64 sync;
	__u64 copy_map;
	__u64 copy_unmap;
};

#define DMA_BENCH_RUN		_IOWR('d', 0x42, struct dma_bench_run)

#endif /* DMA_BENCH_H */
