// SPDX-License-Identifier: GPL-2.0
/*
 * What the whole stack costs: direct I/O on a disk whose device takes no CPU time, by
 * one thread on each CPU, which never waits. The CPU time is that of the process that
 * this kernel is, with all that others do because of these I/Os, and without the time
 * for which other processes had the CPU.
 */
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/timekeeping.h>

#include "disk.h"
#include "diskbench.h"
#include "diskio.h"
#include "null-iommu.h"

/* Nothing is kept of what is written. */
#define DISK_BYTES	((size_t)SZ_1G)
/* Completions that an interrupt finds where there are many requests in flight */
#define BATCH		16U
/* Between two looks at the clock */
#define ROUND		16

static unsigned int disk_ms = 100;
module_param(disk_ms, uint, 0444);
MODULE_PARM_DESC(disk_ms, "how long a load of the disk is measured");

static unsigned int disk_warm_ms = 20;
module_param(disk_warm_ms, uint, 0444);
MODULE_PARM_DESC(disk_warm_ms, "how long each kind of mapping is done before");

static char *disk_loads = "all";
module_param(disk_loads, charp, 0444);
MODULE_PARM_DESC(disk_loads, "all, or few: 4k and 64k, by one and two threads");

/**
 * struct load - what is measured
 * @size: bytes of a request
 * @pages: of single pages, else contiguous
 * @depths: 1 or 2 numbers of requests in flight, ends with 0
 */
struct load {
	unsigned int size;
	bool pages;
	unsigned int depths[3];
};

static const struct load all_loads[] = {
	{ SZ_4K, false, { 64, 1 } },
	{ SZ_16K, true, { 64 } },
	{ SZ_64K, false, { 64 } },
	{ SZ_64K, true, { 64, 1 } },
	{ SZ_256K, true, { 64 } },
};

static const struct load few_loads[] = {
	{ SZ_4K, false, { 64 } },
	{ SZ_64K, true, { 64 } },
};

/**
 * struct worker - a thread, bound to a CPU
 * @queue: its requests
 * @done: it has done what it was to do
 * @run: what that is
 * @ns: how long it took
 */
struct worker {
	struct diskio_queue *queue;
	struct completion done;
	struct run *run;
	u64 ns;
};

/**
 * struct run - a load as it is measured
 * @disk: disk
 * @load: kind and size of the mappings
 * @depth: requests in flight, of each thread
 * @write: direction
 * @ms: for how long
 * @threads: number of @workers
 * @waiting: how many of them are not ready yet
 * @workers: one for each CPU
 */
struct run {
	struct disk *disk;
	const struct load *load;
	unsigned int depth;
	bool write;
	unsigned int ms;
	unsigned int threads;
	atomic_t waiting;
	struct worker workers[2];
};

/* Of the C library, which this kernel is linked with */
struct host_timespec {
	long sec;
	long nsec;
};
extern int clock_gettime(int clock, struct host_timespec *ts);
#define HOST_CLOCK_PROCESS_CPUTIME	2

static u64 cpu_time_ns(void)
{
	struct host_timespec ts = { };

	clock_gettime(HOST_CLOCK_PROCESS_CPUTIME, &ts);
	return ts.sec * NSEC_PER_SEC + ts.nsec;
}

/* Anywhere, but not behind the last one, which would be merged */
static void submit_next(struct diskio_queue *queue, const struct run *run,
			u64 *random)
{
	struct diskio *io = diskio_get_idle(queue);

	*random = *random * 6364136223846793005ULL + 1442695040888963407ULL;
	io->pos = (*random >> 33) % (DISK_BYTES / run->load->size) *
		  run->load->size;
	io->write = run->write;
	diskio_submit(io);
}

static void run_round(struct diskio_queue *queue, const struct run *run,
		      u64 *random)
{
	struct blk_plug plug;

	blk_start_plug(&plug);
	while (queue->nr_idle)
		submit_next(queue, run, random);
	blk_finish_plug(&plug);
	diskio_wait(queue, BATCH);
}

static int worker_fn(void *data)
{
	struct worker *worker = data;
	struct diskio_queue *queue = worker->queue;
	const struct run *run = worker->run;
	u64 begin, end, random = (uintptr_t)worker;
	unsigned int i;

	for (i = 0; i < DISKIO_DEPTH; i++)
		diskio_set_buffer(&queue->ios[i], 0, run->load->size,
				  run->load->pages ? DISKIO_PAGES :
						     DISKIO_CONTIGUOUS);
	diskio_start(queue, run->disk, run->depth);

	atomic_dec(&worker->run->waiting);
	while (atomic_read(&run->waiting))
		cond_resched();
	begin = ktime_get_ns();
	end = begin + run->ms * NSEC_PER_MSEC;
	do {
		for (i = 0; i < ROUND; i++)
			run_round(queue, run, &random);
	} while (ktime_get_ns() < end);
	while (queue->nr_idle < run->depth)
		diskio_wait(queue, BATCH);
	worker->ns = ktime_get_ns() - begin;
	complete(&worker->done);
	return 0;
}

static int run_load(struct run *run, unsigned int ms)
{
	unsigned int i;

	run->ms = ms;
	atomic_set(&run->waiting, run->threads);
	for (i = 0; i < run->threads; i++) {
		struct worker *worker = &run->workers[i];
		struct task_struct *task;

		worker->run = run;
		init_completion(&worker->done);
		task = kthread_run_on_cpu(worker_fn, worker, i, "load/%u");
		if (IS_ERR(task))
			return PTR_ERR(task);
	}
	for (i = 0; i < run->threads; i++)
		wait_for_completion(&run->workers[i].done);
	return 0;
}

static int measure(struct run *run, unsigned int cost_ns, unsigned int threads)
{
	u64 operations = null_iommu_operations(), ios = 0, ns = 0, failed = 0;
	u64 cpu_ns = cpu_time_ns();
	unsigned int i;
	int ret;

	run->threads = threads;
	ret = run_load(run, disk_ms);
	if (ret)
		return ret;
	cpu_ns = cpu_time_ns() - cpu_ns;
	operations = null_iommu_operations() - operations;
	for (i = 0; i < threads; i++) {
		ios += run->workers[i].queue->completed;
		failed += run->workers[i].queue->failed;
		ns = max(ns, run->workers[i].ns);
	}
	pr_info("bench: {\"iommu_ns\": %u, \"size\": %u, \"pages\": %u, \"rw\": \"%s\", \"depth\": %u, \"threads\": %u, \"ios\": %llu, \"ns\": %llu, \"cpu_ns\": %llu, \"operations\": %llu}\n",
		cost_ns, run->load->size, run->load->pages,
		run->write ? "write" : "read", run->depth, threads, ios, ns,
		cpu_ns, operations);
	return failed ? -EIO : 0;
}

/* All threads of a load: one, or as many as there are CPUs as well */
static int measure_threads(struct run *run, unsigned int cost_ns)
{
	unsigned int threads;
	int ret = 0;

	for (threads = 1; !ret && threads <= num_online_cpus(); threads++)
		ret = measure(run, cost_ns, threads);
	return ret;
}

static int measure_load(struct run *run, unsigned int cost_ns)
{
	const unsigned int *depth = run->load->depths;
	int ret;

	run->depth = *depth;
	run->threads = num_online_cpus();
	ret = run_load(run, disk_warm_ms);
	for (; !ret && *depth; depth++) {
		run->depth = *depth;
		ret = measure_threads(run, cost_ns);
	}
	return ret;
}

static int measure_disk(struct run *run, unsigned int cost_ns)
{
	bool few = !strcmp(disk_loads, "few");
	unsigned int nr = few ? ARRAY_SIZE(few_loads) : ARRAY_SIZE(all_loads);
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < 2 * nr; i++) {
		run->load = few ? &few_loads[i / 2] : &all_loads[i / 2];
		run->write = i % 2;
		ret = measure_load(run, cost_ns);
	}
	return ret;
}

int diskbench_measure(struct device *dev, unsigned int cost_ns)
{
	static struct run run;
	unsigned int i;
	int ret;

	for (i = 0; i < num_online_cpus(); i++) {
		if (!run.workers[i].queue)
			run.workers[i].queue = diskio_alloc();
		if (!run.workers[i].queue)
			return -ENOMEM;
	}
	run.disk = disk_add(dev, DISK_BYTES, NULL);
	if (IS_ERR(run.disk))
		return PTR_ERR(run.disk);
	ret = measure_disk(&run, cost_ns);
	disk_del(run.disk);
	return ret;
}
