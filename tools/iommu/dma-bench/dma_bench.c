// SPDX-License-Identifier: GPL-2.0-only
/*
 * What streaming DMA costs the CPU: maps, syncs and unmaps buffers for a PCI
 * device that is never told of them, and takes the time.
 *
 * Binds to whatever device is handed to it:
 *	echo dma_bench > /sys/bus/pci/devices/<address>/driver_override
 *	echo <address> > /sys/bus/pci/drivers_probe
 * The file dma_bench/<address> in debugfs then takes the ioctl of dma_bench.h.
 *
 * Under an emulator whose clock counts instructions (QEMU: -icount shift=0) the
 * nanoseconds are instructions, the same in every run.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dma_bench.h"

/* Rounds before those that count have time in between, for memory to grow. */
#define WARM_SLEEP_MS	15

/* A window may be more than there is memory for: that is an error, no disaster. */
#define BENCH_GFP	(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN | __GFP_NORETRY)

static unsigned int warm_rounds = 24;
module_param(warm_rounds, uint, 0644);
MODULE_PARM_DESC(warm_rounds, "rounds before those that count");

/* What sets itself by what it measures needs the load that is to count. */
static unsigned int warm_ms;
module_param(warm_ms, uint, 0644);
MODULE_PARM_DESC(warm_ms, "and then so long without a rest");

struct bench_dev {
	struct device *dev;
	struct dentry *file;
	struct mutex lock;		/* one measurement at a time */
};

/* A buffer of @nents pieces, and how it is mapped while it is */
struct buffer {
	struct sg_table sgt;
	dma_addr_t addr;
	struct dma_iova_state state;
	bool by_iova;
};

/* One thread: maps, and unmaps unless @helper does that on another CPU */
struct worker {
	struct device *dev;
	const struct dma_bench_run *run;
	enum dma_data_direction dir;
	struct buffer *buffers;
	void **scratch;
	unsigned int next;
	struct task_struct *task;
	struct task_struct *helper;
	struct completion *start;
	struct completion mapped;
	struct completion unmapped;
	struct completion done;
	bool stop;
	u64 map, unmap, sync, copy_map, copy_unmap;
	int ret;
};

static unsigned int piece_size(const struct dma_bench_run *run)
{
	return run->size / run->nents;
}

static void free_buffer(const struct dma_bench_run *run, struct buffer *b)
{
	struct scatterlist *sg;
	int i;

	for_each_sgtable_sg(&b->sgt, sg, i)
		if (sg_page(sg))
			__free_pages(sg_page(sg), get_order(piece_size(run)));
	sg_free_table(&b->sgt);
}

static int alloc_buffer(const struct dma_bench_run *run, struct buffer *b)
{
	unsigned int order = get_order(piece_size(run));
	struct scatterlist *sg;
	struct page *page;
	int i;

	if (sg_alloc_table(&b->sgt, run->nents, GFP_KERNEL))
		return -ENOMEM;
	for_each_sgtable_sg(&b->sgt, sg, i) {
		page = alloc_pages(BENCH_GFP, order);
		if (!page) {
			free_buffer(run, b);
			return -ENOMEM;
		}
		sg_set_page(sg, page, piece_size(run), 0);
	}
	return 0;
}

static int map_iova(struct worker *w, struct buffer *b)
{
	struct scatterlist *sg;
	size_t offset = 0;
	int i, ret;

	b->by_iova = dma_iova_try_alloc(w->dev, &b->state, sg_phys(b->sgt.sgl),
					w->run->size, b->sgt.nents, w->dir, 0);
	if (!b->by_iova)
		return -EOPNOTSUPP;

	for_each_sgtable_sg(&b->sgt, sg, i) {
		ret = dma_iova_link(w->dev, &b->state, sg_phys(sg), offset,
				    sg->length, w->dir, 0);
		if (ret)
			goto err_destroy;
		offset += sg->length;
	}
	ret = dma_iova_sync(w->dev, &b->state, 0, offset);
	if (!ret)
		return 0;

err_destroy:
	dma_iova_destroy(w->dev, &b->state, offset, w->dir, 0);
	return ret;
}

static int map_buffer(struct worker *w, struct buffer *b)
{
	switch (w->run->op) {
	case DMA_BENCH_SINGLE:
		b->addr = dma_map_single(w->dev, sg_virt(b->sgt.sgl),
					 w->run->size, w->dir);
		return dma_mapping_error(w->dev, b->addr);
	case DMA_BENCH_SG:
		return dma_map_sgtable(w->dev, &b->sgt, w->dir, 0);
	default:
		return map_iova(w, b);
	}
}

static void sync_buffer(struct worker *w, struct buffer *b)
{
	switch (w->run->op) {
	case DMA_BENCH_SINGLE:
		dma_sync_single_for_cpu(w->dev, b->addr, w->run->size, w->dir);
		dma_sync_single_for_device(w->dev, b->addr, w->run->size,
					   w->dir);
		break;
	case DMA_BENCH_SG:
		dma_sync_sgtable_for_cpu(w->dev, &b->sgt, w->dir);
		dma_sync_sgtable_for_device(w->dev, &b->sgt, w->dir);
		break;
	}
}

static void unmap_buffer(struct worker *w, struct buffer *b)
{
	switch (w->run->op) {
	case DMA_BENCH_SINGLE:
		dma_unmap_single(w->dev, b->addr, w->run->size, w->dir);
		break;
	case DMA_BENCH_SG:
		dma_unmap_sgtable(w->dev, &b->sgt, w->dir, 0);
		break;
	default:
		dma_iova_destroy(w->dev, &b->state, w->run->size, w->dir, 0);
		break;
	}
}

static struct buffer *nth_buffer(struct worker *w, unsigned int i)
{
	return &w->buffers[(w->next + i) % w->run->buffers];
}

static void copy_buffer(struct worker *w, unsigned int i, bool back)
{
	struct scatterlist *sg;
	void *scratch = w->scratch[i];
	int j;

	for_each_sgtable_sg(&nth_buffer(w, i)->sgt, sg, j) {
		if (back)
			memcpy(sg_virt(sg), scratch, sg->length);
		else
			memcpy(scratch, sg_virt(sg), sg->length);
		scratch += sg->length;
	}
}

static int map_window(struct worker *w)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < w->run->window; i++) {
		ret = map_buffer(w, nth_buffer(w, i));
		if (ret)
			break;
	}
	if (ret)
		while (i--)
			unmap_buffer(w, nth_buffer(w, i));
	return ret;
}

static void unmap_window(struct worker *w, u64 *ns)
{
	u64 begin = ktime_get_ns();
	unsigned int i;

	for (i = 0; i < w->run->window; i++)
		unmap_buffer(w, nth_buffer(w, i));
	*ns += ktime_get_ns() - begin;
}

/* One window through map, sync, unmap; then the bare copies of the same. */
static int one_round(struct worker *w)
{
	unsigned long flags = 0;
	u64 t[5] = {};
	unsigned int i;
	int ret;

	if (w->run->irqs_off)
		local_irq_save(flags);
	t[0] = ktime_get_ns();
	ret = map_window(w);
	t[1] = ktime_get_ns();
	if (!ret) {
		for (i = 0; i < w->run->window; i++)
			sync_buffer(w, nth_buffer(w, i));
		t[2] = ktime_get_ns();
		if (!w->helper)
			unmap_window(w, &w->unmap);
	}
	if (w->run->irqs_off)
		local_irq_restore(flags);
	if (ret)
		return ret;
	if (w->helper) {
		complete(&w->mapped);
		wait_for_completion(&w->unmapped);
	}
	w->map += t[1] - t[0];
	w->sync += t[2] - t[1];

	if (w->run->irqs_off)
		local_irq_save(flags);
	t[2] = ktime_get_ns();
	for (i = 0; i < w->run->window; i++)
		copy_buffer(w, i, false);
	t[3] = ktime_get_ns();
	if (w->dir != DMA_TO_DEVICE)
		for (i = 0; i < w->run->window; i++)
			copy_buffer(w, i, true);
	t[4] = ktime_get_ns();
	if (w->run->irqs_off)
		local_irq_restore(flags);
	w->copy_map += t[3] - t[2];
	w->copy_unmap += t[4] - t[3];
	w->next = (w->next + w->run->window) % w->run->buffers;
	cond_resched();
	return 0;
}

static int helper_thread(void *data)
{
	struct worker *w = data;

	for (;;) {
		wait_for_completion(&w->mapped);
		if (READ_ONCE(w->stop))
			break;
		unmap_window(w, &w->unmap);
		complete(&w->unmapped);
	}
	complete(&w->unmapped);
	return 0;
}

static int worker_thread(void *data)
{
	struct worker *w = data;
	unsigned long end;
	unsigned int i;

	for (i = 0; i < warm_rounds && !w->ret; i++) {
		w->ret = one_round(w);
		msleep(WARM_SLEEP_MS);
	}
	end = jiffies + msecs_to_jiffies(warm_ms);
	while (time_before(jiffies, end) && !w->ret)
		w->ret = one_round(w);
	w->map = 0;
	w->unmap = 0;
	w->sync = 0;
	w->copy_map = 0;
	w->copy_unmap = 0;
	complete(&w->done);

	wait_for_completion(w->start);
	for (i = 0; i < w->run->rounds && !w->ret; i++)
		w->ret = one_round(w);
	complete(&w->done);
	return 0;
}

/* On the nth CPU; to be ended with kthread_stop_put(), or NULL. */
static struct task_struct *spawn_on(int (*fn)(void *data), void *data,
				    unsigned int cpu)
{
	struct task_struct *task = kthread_create(fn, data, "dma_bench/%u",
						  cpu);

	if (IS_ERR(task))
		return NULL;
	kthread_bind(task, cpumask_local_spread(cpu, NUMA_NO_NODE));
	get_task_struct(task);
	wake_up_process(task);
	return task;
}

static void destroy_worker(struct worker *w)
{
	unsigned int i;

	if (w->task)
		kthread_stop_put(w->task);
	if (w->helper) {
		WRITE_ONCE(w->stop, true);
		complete(&w->mapped);
		wait_for_completion(&w->unmapped);
		kthread_stop_put(w->helper);
	}
	for (i = 0; w->buffers && i < w->run->buffers; i++)
		if (w->buffers[i].sgt.sgl)
			free_buffer(w->run, &w->buffers[i]);
	kvfree(w->buffers);
	for (i = 0; w->scratch && i < w->run->window; i++)
		free_pages((unsigned long)w->scratch[i],
			   get_order(w->run->size));
	kfree(w->scratch);
}

static int prepare_worker(struct worker *w, unsigned int nr)
{
	unsigned int i, cpus = num_online_cpus();
	const struct dma_bench_run *run = w->run;

	init_completion(&w->mapped);
	init_completion(&w->unmapped);
	init_completion(&w->done);
	w->buffers = kvcalloc(run->buffers, sizeof(*w->buffers), GFP_KERNEL);
	w->scratch = kcalloc(run->window, sizeof(*w->scratch), GFP_KERNEL);
	if (!w->buffers || !w->scratch)
		return -ENOMEM;
	for (i = 0; i < run->buffers; i++)
		if (alloc_buffer(run, &w->buffers[i]))
			return -ENOMEM;
	for (i = 0; i < run->window; i++) {
		w->scratch[i] = (void *)__get_free_pages(BENCH_GFP,
							 get_order(run->size));
		if (!w->scratch[i])
			return -ENOMEM;
	}
	if (!run->cross_cpu)
		return 0;

	w->helper = spawn_on(helper_thread, w, (nr + 1) % cpus);
	return w->helper ? 0 : -ENOMEM;
}

static int run_workers(struct dma_bench_run *run, struct worker *workers)
{
	DECLARE_COMPLETION_ONSTACK(start);
	unsigned int i, n, cpus = num_online_cpus();
	int ret = 0;

	for (n = 0; n < run->threads; n++) {
		workers[n].start = &start;
		workers[n].task = spawn_on(worker_thread, &workers[n],
					   n % cpus);
		if (!workers[n].task) {
			ret = -ENOMEM;
			break;
		}
	}
	/* All are warm before any is timed. */
	for (i = 0; i < n; i++)
		wait_for_completion(&workers[i].done);
	if (ret)
		run->rounds = 0;
	complete_all(&start);
	for (i = 0; i < n; i++) {
		wait_for_completion(&workers[i].done);
		ret = ret ?: workers[i].ret;
		run->map += workers[i].map;
		run->unmap += workers[i].unmap;
		run->sync += workers[i].sync;
		run->copy_map += workers[i].copy_map;
		run->copy_unmap += workers[i].copy_unmap;
	}
	run->calls = (u64)n * run->rounds * run->window;
	return ret;
}

static int bench(struct device *dev, struct dma_bench_run *run)
{
	static const enum dma_data_direction dirs[] = {
		DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE
	};
	struct worker *workers;
	unsigned int i;
	int ret = 0;

	workers = kvcalloc(run->threads, sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	for (i = 0; i < run->threads; i++) {
		workers[i].dev = dev;
		workers[i].run = run;
		workers[i].dir = dirs[run->dir];
	}
	for (i = 0; i < run->threads && !ret; i++)
		ret = prepare_worker(&workers[i], i);
	if (!ret)
		ret = run_workers(run, workers);
	for (i = 0; i < run->threads; i++)
		destroy_worker(&workers[i]);
	kvfree(workers);
	return ret;
}

static bool between(u32 val, u32 min, u32 max)
{
	return val >= min && val <= max;
}

static bool valid(const struct dma_bench_run *run)
{
	return run->op < DMA_BENCH_NR_OPS && run->dir <= 2 &&
	       between(run->size, 1, DMA_BENCH_MAX_SIZE) &&
	       between(run->nents, 1, DMA_BENCH_MAX_NENTS) &&
	       run->size % run->nents == 0 &&
	       (run->op != DMA_BENCH_SINGLE || run->nents == 1) &&
	       between(run->window, 1, DMA_BENCH_MAX_WINDOW) &&
	       between(run->buffers, run->window, DMA_BENCH_MAX_BUFFERS) &&
	       between(run->threads, 1, DMA_BENCH_MAX_THREADS) &&
	       between(run->rounds, 1, 1000000) &&
	       !(run->cross_cpu && run->irqs_off);
}

static long bench_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct bench_dev *bd = file->private_data;
	void __user *user = (void __user *)arg;
	struct dma_bench_run run;
	int ret;

	if (cmd != DMA_BENCH_RUN)
		return -ENOTTY;
	if (copy_from_user(&run, user, sizeof(run)))
		return -EFAULT;
	if (!valid(&run))
		return -EINVAL;

	run.calls = 0;
	run.map = 0;
	run.unmap = 0;
	run.sync = 0;
	run.copy_map = 0;
	run.copy_unmap = 0;
	mutex_lock(&bd->lock);
	ret = bench(bd->dev, &run);
	mutex_unlock(&bd->lock);
	if (!ret && copy_to_user(user, &run, sizeof(run)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations bench_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.unlocked_ioctl = bench_ioctl,
};

static struct dentry *bench_dir;

static int bench_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct bench_dev *bd = devm_kzalloc(&pdev->dev, sizeof(*bd), GFP_KERNEL);
	int ret;

	if (!bd)
		return -ENOMEM;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	bd->dev = &pdev->dev;
	mutex_init(&bd->lock);
	pci_set_drvdata(pdev, bd);
	bd->file = debugfs_create_file(pci_name(pdev), 0600, bench_dir, bd,
				       &bench_fops);
	return 0;
}

static void bench_remove(struct pci_dev *pdev)
{
	struct bench_dev *bd = pci_get_drvdata(pdev);

	debugfs_remove(bd->file);
}

/* No IDs: only by driver_override. */
static struct pci_driver bench_driver = {
	.name = "dma_bench",
	.probe = bench_probe,
	.remove = bench_remove,
	.dma_strict_ownership = true,
};

static int __init bench_init(void)
{
	int ret;

	bench_dir = debugfs_create_dir("dma_bench", NULL);
	ret = pci_register_driver(&bench_driver);
	if (ret)
		debugfs_remove(bench_dir);
	return ret;
}
module_init(bench_init);

static void __exit bench_exit(void)
{
	pci_unregister_driver(&bench_driver);
	debugfs_remove(bench_dir);
}
module_exit(bench_exit);

MODULE_DESCRIPTION("Benchmark of streaming DMA");
MODULE_LICENSE("GPL");
