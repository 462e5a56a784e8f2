// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters, debugfs files and trace events of bounce buffers. The files are
 * <debugfs>/iommu_bounce/<IOMMU group>/{stats,slots_used_hiwater} and
 * <debugfs>/iommu_bounce/memory.
 */

#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

#include "io-bounce-internal.h"

/*
 * For the trace events: the permission of a pool tells the direction, also where the
 * caller does not pass it.
 */
static __maybe_unused enum dma_data_direction
bounce_pool_dir(const struct io_buffer_pool *pool)
{
	if (!(pool->prot & IOMMU_WRITE))
		return DMA_TO_DEVICE;
	return pool->prot & IOMMU_READ ? DMA_BIDIRECTIONAL : DMA_FROM_DEVICE;
}

#define CREATE_TRACE_POINTS
#include <trace/events/iommu_bounce.h>

static const char * const io_bounce_counter_names[] = {
	[IO_BOUNCE_HITS_SINGLE]	= "hits_single",
	[IO_BOUNCE_HITS_SG]	= "hits_sg",
	[IO_BOUNCE_HITS_IOVA]	= "hits_iova",
	[IO_BOUNCE_MISS_EMPTY]	= "miss_empty",
	[IO_BOUNCE_MISS_FULL]	= "miss_full",
	[IO_BOUNCE_MISS_MASK]	= "miss_mask",
	[IO_BOUNCE_MISS_SIZE]	= "miss_size",
	[IO_BOUNCE_DIRECT_LIMIT] = "direct_limit",
	[IO_BOUNCE_DIRECT_ATTRS] = "direct_attrs",
	[IO_BOUNCE_DIRECT_DEVICE] = "direct_device",
	[IO_BOUNCE_DIRECT_UNPROMISED] = "direct_unpromised",
	[IO_BOUNCE_DIRECT_MEMORY] = "direct_memory",
	[IO_BOUNCE_MANDATORY_HITS] = "mandatory_hits",
	[IO_BOUNCE_MANDATORY_MISSES] = "mandatory_misses",
	[IO_BOUNCE_BYTES_IN]	= "bytes_in",
	[IO_BOUNCE_BYTES_OUT]	= "bytes_out",
};

static_assert(ARRAY_SIZE(io_bounce_counter_names) == IO_BOUNCE_NR_COUNTERS);

static struct dentry *io_bounce_root;
static DEFINE_MUTEX(io_bounce_root_lock);

/**
 * io_bounce_count_early - count in a domain without per-CPU counters
 * @bounce: the bounce buffers of the domain
 * @counter: the counter
 * @add: how many
 *
 * Only domains that bounce get per-CPU counters.
 *
 * Context: any but NMI.
 */
void io_bounce_count_early(struct io_bounce *bounce,
			   enum io_bounce_counter counter, u64 add)
{
	bool hit = counter <= IO_BOUNCE_HITS_IOVA;
	bool direct = counter >= IO_BOUNCE_DIRECT_LIMIT &&
		      counter <= IO_BOUNCE_DIRECT_MEMORY;

	if (direct && atomic_read(&bounce->early[counter]) >= IO_BOUNCE_EARLY_MAX)
		return;
	/* May only overflow if the per-CPU counters are never allocated. */
	atomic_add(add, &bounce->early[counter]);
	if (hit)
		queue_work(system_dfl_wq, &bounce->work);
}

/**
 * io_bounce_alloc_stats - allocate per-CPU counters after the first hit
 * @bounce: the bounce buffers of the domain
 *
 * Context: may sleep; the worker of @bounce.
 */
void io_bounce_alloc_stats(struct io_bounce *bounce)
{
	struct io_bounce_stats __percpu *stats;

	if (bounce->stats ||
	    !(atomic_read(&bounce->early[IO_BOUNCE_HITS_SINGLE]) ||
	      atomic_read(&bounce->early[IO_BOUNCE_HITS_SG]) ||
	      atomic_read(&bounce->early[IO_BOUNCE_HITS_IOVA])))
		return;
	stats = alloc_percpu(struct io_bounce_stats);
	if (stats)
		/* Pairs with io_bounce_count(): zeroed before it is seen */
		smp_store_release(&bounce->stats, stats);
}

/**
 * io_bounce_counted - read a counter
 * @bounce: the bounce buffers of the domain
 * @counter: the counter
 *
 * Return: the sum of all CPUs; a snapshot.
 */
u64 io_bounce_counted(const struct io_bounce *bounce,
		      enum io_bounce_counter counter)
{
	u64 sum = (u32)atomic_read(&bounce->early[counter]);
	struct io_bounce_stats __percpu *stats;
	int cpu;

	/* Pairs with io_bounce_alloc_stats(). */
	stats = smp_load_acquire(&bounce->stats);
	if (!stats)
		return sum;
	for_each_possible_cpu(cpu)
		/* The CPU may count at the same time. */
		sum += data_race(per_cpu_ptr(stats, cpu)->count[counter]);
	return sum;
}

static void show_kind(struct seq_file *m, const struct io_bounce_limit *limit,
		      unsigned int index)
{
	const struct io_bounce_kind *kind = &limit->measure->kinds[index];
	u32 direct = READ_ONCE(kind->ns[0]), bounced = READ_ONCE(kind->ns[1]);

	if (!direct || !bounced)
		return;
	seq_printf(m, "ns_%s_%zu_%u %u %u\n",
		   io_bounce_kind_to_device(index) ? "to" : "from",
		   io_bounce_kind_bytes(limit, index),
		   io_bounce_kind_segs(index), direct, bounced);
}

static void show_limit(struct seq_file *m, const struct io_bounce_limit *limit)
{
	unsigned int kind;

	seq_printf(m, "limit_to_device %zu\n",
		   io_bounce_limit_bytes(limit, DMA_TO_DEVICE));
	seq_printf(m, "limit_from_device %zu\n",
		   io_bounce_limit_bytes(limit, DMA_FROM_DEVICE));
	/* Pairs with io_bounce_limit_alloc(). */
	if (!READ_ONCE(limit->automatic) || !smp_load_acquire(&limit->measure))
		return;
	seq_printf(m, "tune_rounds %u\n", READ_ONCE(limit->rounds));
	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		show_kind(m, limit, kind);
}

static int stats_show(struct seq_file *m, void *v)
{
	struct io_bounce *bounce = m->private;
	struct io_buffer_manager *mgr = &bounce->mgr;
	unsigned long added, nr_chunks;
	enum io_bounce_counter i;

	for (i = 0; i < IO_BOUNCE_NR_COUNTERS; i++)
		seq_printf(m, "%s %llu\n", io_bounce_counter_names[i],
			   io_bounce_counted(bounce, i));
	seq_printf(m, "slots_used %u\n", io_buffer_manager_used(mgr));
	seq_printf(m, "slots_used_hiwater %u\n",
		   READ_ONCE(mgr->slots_used_hiwater));
	seq_printf(m, "memory %zu\n", READ_ONCE(mgr->memory));
	seq_printf(m, "memory_max %zu\n", mgr->memory_max);
	/* A chunk that is being created is not added yet. */
	nr_chunks = READ_ONCE(mgr->nr_chunks);
	added = max(READ_ONCE(mgr->chunks_added), nr_chunks);
	seq_printf(m, "chunks %lu\n", nr_chunks);
	seq_printf(m, "chunks_added %lu\n", added);
	seq_printf(m, "chunks_freed %lu\n", added - nr_chunks);
	seq_printf(m, "window_size %zu\n", READ_ONCE(mgr->size));
	seq_printf(m, "window_start %#llx\n", (u64)READ_ONCE(mgr->base));
	seq_printf(m, "expensive_map %d\n", bounce->expensive);
	show_limit(m, &bounce->limit);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static int hiwater_get(void *data, u64 *val)
{
	struct io_bounce *bounce = data;

	io_buffer_manager_used(&bounce->mgr);
	*val = READ_ONCE(bounce->mgr.slots_used_hiwater);
	return 0;
}

/* Writing 0 resets it, as with io_tlb_used_hiwater of swiotlb. */
static int hiwater_set(void *data, u64 val)
{
	struct io_bounce *bounce = data;

	if (val)
		return -EINVAL;
	WRITE_ONCE(bounce->mgr.slots_used_hiwater, 0);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(hiwater_fops, hiwater_get, hiwater_set, "%llu\n");

/* Of all domains */
static int memory_show(struct seq_file *m, void *v)
{
	seq_printf(m, "memory %zu\n", io_buffer_total());
	seq_printf(m, "memory_max %zu\n", io_buffer_total_max());
	seq_printf(m, "memory_refused %lu\n", io_buffer_total_refused());
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(memory);

/* The directory is created with the first domain. */
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
 * io_bounce_debugfs_add - create the debugfs files of a domain
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
	debugfs_create_file("slots_used_hiwater", 0644, bounce->dir, bounce,
			    &hiwater_fops);
}

/**
 * io_bounce_debugfs_remove - remove the debugfs files of a domain
 * @bounce: the bounce buffers of the domain
 *
 * Waits for readers.
 */
void io_bounce_debugfs_remove(struct io_bounce *bounce)
{
	debugfs_remove(bounce->dir);
}
