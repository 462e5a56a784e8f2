// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the bounce buffers of each domain have done, in
 * <debugfs>/iommu_bounce/<number of the IOMMU group>/: stats, and
 * slots_high_water, which is set back by writing 0; and in
 * <debugfs>/iommu_bounce/memory how much they hold together.
 */

#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

#include "io-bounce-internal.h"

static const char * const io_bounce_counter_names[] = {
	[IO_BOUNCE_HITS_SINGLE]	= "hits_single",
	[IO_BOUNCE_HITS_SG]	= "hits_sg",
	[IO_BOUNCE_HITS_IOVA]	= "hits_iova",
	[IO_BOUNCE_MISS_COLD]	= "miss_cold",
	[IO_BOUNCE_MISS_BUSY]	= "miss_busy",
	[IO_BOUNCE_MISS_MASK]	= "miss_mask",
	[IO_BOUNCE_MISS_SIZE]	= "miss_size",
	[IO_BOUNCE_SKIP_LIMIT]	= "skip_limit",
	[IO_BOUNCE_SKIP_ATTRS]	= "skip_attrs",
	[IO_BOUNCE_SKIP_DEVICE]	= "skip_device",
	[IO_BOUNCE_SKIP_UNPROMISED] = "skip_unpromised",
	[IO_BOUNCE_SKIP_MEMORY]	= "skip_memory",
	[IO_BOUNCE_MUST_HITS]	= "must_hits",
	[IO_BOUNCE_MUST_MISSES]	= "must_misses",
	[IO_BOUNCE_BYTES_IN]	= "bytes_in",
	[IO_BOUNCE_BYTES_OUT]	= "bytes_out",
};

static_assert(ARRAY_SIZE(io_bounce_counter_names) == IO_BOUNCE_NR_COUNTERS);

static struct dentry *io_bounce_root;
static DEFINE_MUTEX(io_bounce_root_lock);

/**
 * io_bounce_counted - read a counter
 * @bounce: the bounce buffers of the domain
 * @counter: which one
 *
 * Return: what all CPUs have counted; they may go on meanwhile.
 */
u64 io_bounce_counted(const struct io_bounce *bounce,
		      enum io_bounce_counter counter)
{
	u64 sum = (u32)atomic_read(&bounce->early[counter]);
	struct io_bounce_stats __percpu *stats;
	int cpu;

	/* Pairs with io_bounce_work(). */
	stats = smp_load_acquire(&bounce->stats);
	if (!stats)
		return sum;
	for_each_possible_cpu(cpu)
		/* A CPU counts on meanwhile: its counter before or after that. */
		sum += data_race(per_cpu_ptr(stats, cpu)->count[counter]);
	return sum;
}

static unsigned long average(struct ewma_io_bounce *of)
{
	/* One word, which may change at the same time */
	return data_race(ewma_io_bounce_read(of));
}

static u64 cost(struct io_bounce_limit *limit, enum dma_data_direction dir,
		unsigned int class)
{
	/* Made of such averages */
	return data_race(io_bounce_limit_cost(limit, dir, class));
}

static void show_limit(struct seq_file *m, struct io_bounce_limit *limit)
{
	unsigned int class;

	seq_printf(m, "limit_to_device %zu\n",
		   READ_ONCE(limit->decided[DMA_TO_DEVICE]));
	seq_printf(m, "limit_from_device %zu\n",
		   READ_ONCE(limit->decided[DMA_FROM_DEVICE]));
	if (!READ_ONCE(limit->automatic) || !READ_ONCE(limit->calibrated))
		return;
	seq_printf(m, "limit_trials %u\n", READ_ONCE(limit->trials));
	seq_printf(m, "limit_probes %u\n", READ_ONCE(limit->probes));
	seq_printf(m, "ns_map %lu\n", average(&limit->map));
	seq_printf(m, "ns_map_list %lu\n", average(&limit->map_list));
	for (class = 0; class < IO_BUFFER_NR_CLASSES; class++)
		seq_printf(m, "ns_bounce_%lu %llu %llu\n",
			   1UL << (limit->granule_shift + class),
			   cost(limit, DMA_TO_DEVICE, class),
			   cost(limit, DMA_FROM_DEVICE, class));
}

static int stats_show(struct seq_file *m, void *v)
{
	struct io_bounce *bounce = m->private;
	struct io_buffer_manager *mgr = &bounce->mgr;
	unsigned long grown, nr_chunks;
	enum io_bounce_counter i;

	for (i = 0; i < IO_BOUNCE_NR_COUNTERS; i++)
		seq_printf(m, "%s %llu\n", io_bounce_counter_names[i],
			   io_bounce_counted(bounce, i));
	seq_printf(m, "slots_used %u\n", io_buffer_manager_used(mgr));
	seq_printf(m, "slots_high_water %u\n", READ_ONCE(mgr->slots_high_water));
	seq_printf(m, "memory %zu\n", READ_ONCE(mgr->memory));
	seq_printf(m, "memory_max %zu\n", mgr->memory_max);
	/* One that is being made is not there yet. */
	nr_chunks = READ_ONCE(mgr->nr_chunks);
	grown = max(READ_ONCE(mgr->grown), nr_chunks);
	seq_printf(m, "chunks %lu\n", nr_chunks);
	seq_printf(m, "chunks_grown %lu\n", grown);
	seq_printf(m, "chunks_returned %lu\n", grown - nr_chunks);
	seq_printf(m, "window_size %zu\n", READ_ONCE(mgr->size));
	seq_printf(m, "window_start %#llx\n", (u64)READ_ONCE(mgr->base));
	seq_printf(m, "iommu_costly %d\n", READ_ONCE(bounce->hint) == IOMMU_BOUNCE_COSTLY);
	show_limit(m, &bounce->limit);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int high_water_get(void *data, u64 *val)
{
	struct io_bounce *bounce = data;

	io_buffer_manager_used(&bounce->mgr);
	*val = READ_ONCE(bounce->mgr.slots_high_water);
	return 0;
}

/* As io_tlb_used_hiwater of swiotlb: only zero makes sense. */
static int high_water_set(void *data, u64 val)
{
	struct io_bounce *bounce = data;

	if (val)
		return -EINVAL;
	WRITE_ONCE(bounce->mgr.slots_high_water, 0);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(high_water_fops, high_water_get, high_water_set,
			 "%llu\n");

/* All domains together */
static int memory_show(struct seq_file *m, void *v)
{
	seq_printf(m, "memory %zu\n", io_buffer_total());
	seq_printf(m, "memory_max %zu\n", io_buffer_total_max());
	seq_printf(m, "memory_refused %lu\n", io_buffer_total_refused());
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(memory);

/* The directory comes with the first domain: none where nothing is bounced. */
static struct dentry *get_root(void)
{
	guard(mutex)(&io_bounce_root_lock);

	if (!io_bounce_root) {
		io_bounce_root = debugfs_create_dir("iommu_bounce", NULL);
		debugfs_create_file("memory", 0444, io_bounce_root, NULL,
				    &memory_fops);
		io_bounce_check_debugfs(io_bounce_root);
	}
	return io_bounce_root;
}

/**
 * io_bounce_debugfs_add - show the counters of a domain
 * @bounce: the bounce buffers of the domain
 *
 * Context: may sleep.
 */
void io_bounce_debugfs_add(struct io_bounce *bounce)
{
	char name[12];

	if (bounce->mgr.group < 0)
		return;
	snprintf(name, sizeof(name), "%d", bounce->mgr.group);
	bounce->dir = debugfs_create_dir(name, get_root());
	debugfs_create_file("stats", 0444, bounce->dir, bounce, &stats_fops);
	debugfs_create_file("slots_high_water", 0644, bounce->dir, bounce,
			    &high_water_fops);
}

/**
 * io_bounce_debugfs_remove - undo io_bounce_debugfs_add()
 * @bounce: the bounce buffers of the domain
 *
 * Returns after the last reader has left.
 */
void io_bounce_debugfs_remove(struct io_bounce *bounce)
{
	debugfs_remove(bounce->dir);
}
