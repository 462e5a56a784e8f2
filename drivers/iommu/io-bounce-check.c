// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ownership checker: find drivers that touch a buffer while the device owns
 * it, which a coherent machine hides. Everything that may be bounced is bounced,
 * so that the device has memory of its own, and the original is watched:
 *
 *	DMA_FROM_DEVICE, DMA_BIDIRECTIONAL
 *		The original is poisoned while the device owns it. What it held
 *		is in the slot, where map copied it, and comes back at unmap or
 *		sync together with what the device wrote: nothing is allocated.
 *		Who reads early reads poison; who writes is found when the
 *		poison is no longer complete. What was synced for the CPU must
 *		not be written until it is unmapped or the device owns it again:
 *		the copy out would overwrite it. A checksum tells.
 *		With DMA_ATTR_OVERWRITE the slot starts with poison as well,
 *		and none of it may be left where it is copied out. So nothing
 *		comes back of a request that failed; memory of user space and
 *		the page cache is not poisoned then.
 *	DMA_TO_DEVICE
 *		The original must stay equal to the slot, which the device
 *		cannot write.
 *
 * Ownership is tracked in blocks, 64 to a granule. A sync for the CPU takes back
 * all blocks that it touches, and a sync for the device hands over those that
 * it covers: at the edges something may be missed, but legal use is never
 * reported. Memory that two mappings have at once, one of them for writing, is
 * neither poisoned nor compared.
 *
 * Memory of user space and the page cache may change while it is written to a
 * device: its changes are counted, not reported.
 *
 * What is left to dma-debug: leaks, directions, the number of entries of a list,
 * memory on stacks. What it knows and is not asked here:
 *  - length and range: the slot has both, also for the DMA IOVA API, which
 *    dma-debug does not track; and it finds a part of a list by its first entry;
 *  - overlap: its table is by DMA address, and of the memory it knows the first
 *    cache line;
 *  - age: its entries have no time.
 *
 * One lock guards all guards and who uses a slot. It is held while memory is
 * compared: this is for debugging.
 */

#define pr_fmt(fmt) "iommu: bounce_check: " fmt

#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/jhash.h>
#include <linux/jiffies.h>
#include <linux/kasan.h>
#include <linux/kmsan-checks.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>
#include <linux/string.h>

#include "io-bounce-internal.h"

/* What a driver that reads too early finds */
#define POISON		0xd7

#define BLOCKS_SHIFT	6
#define STACK_DEPTH	16

/* How often the mappings of a domain are searched for old ones */
#define AGE_PERIOD	HZ

DEFINE_STATIC_KEY_FALSE(io_bounce_check_key);

static bool check_wanted __ro_after_init;

/*
 * In seconds; 0: never. Buffers for what may come in live as long as nothing
 * comes in, which is no fault of a driver, so this is long.
 */
static u32 report_after_s = 300;

enum fault {
	FAULT_NONE,
	FAULT_WROTE,
	FAULT_CHANGED,
	FAULT_OVERWRITTEN,
	FAULT_NOT_OVERWRITTEN,
	FAULT_UNMAP_SIZE,
	FAULT_SYNC_RANGE,
	FAULT_IOVA_TO_PHYS,
	FAULT_FREED,
	FAULT_TWICE,
	FAULT_AGE,
	NR_FAULTS
};

static const char * const fault_names[NR_FAULTS] = {
	[FAULT_WROTE]		= "written by the CPU while the device owned it",
	[FAULT_CHANGED]		= "changed by the CPU after it was mapped",
	[FAULT_OVERWRITTEN]	= "written by the CPU after a sync, and then overwritten",
	[FAULT_NOT_OVERWRITTEN]	= "not overwritten by the device, but copied",
	[FAULT_UNMAP_SIZE]	= "unmapped with another address or size than it was mapped",
	[FAULT_SYNC_RANGE]	= "synced outside of the mapping",
	[FAULT_IOVA_TO_PHYS]	= "iommu_iova_to_phys() called for a bounced address",
	[FAULT_FREED]		= "freed before it was unmapped",
	[FAULT_TWICE]		= "mapped twice for writing",
	[FAULT_AGE]		= "mapped for longer than report_after_s",
};

/**
 * struct finding - what is wrong with a mapping
 * @fault: the first fault that was found
 * @offset: of it, from the start of the slot, in bytes
 * @size: as named by the driver, or the number of bytes concerned
 * @other: who mapped the same memory, as a handle of stackdepot
 * @changed: memory that may change did
 */
struct finding {
	enum fault fault;
	size_t offset;
	size_t size;
	u32 other;
	bool changed;
};

static void note_fault(struct finding *f, enum fault kind, size_t offset,
		       size_t size)
{
	if (f->fault)
		return;
	f->fault = kind;
	f->offset = offset;
	f->size = size;
}

/*
 * Places that map: the first caller outside of the DMA layer. The first entry
 * stands for all that find no room.
 */
#define PLACES_BITS	9
#define NR_PLACES	BIT(PLACES_BITS)

enum escape {
	ESCAPE_MISS,
	ESCAPE_ATTRS,
	ESCAPE_SIZE,
	ESCAPE_MEMORY,
	NR_ESCAPES
};

/**
 * struct place - a place in the kernel that maps
 * @ip: where; 0: the entry is free
 * @reported: a bit for each &enum fault
 * @checked: mappings that were checked
 * @escaped: those that were not checked, by reason
 * @changed: those of user space or page cache that changed
 */
struct place {
	unsigned long ip;
	unsigned long reported;
	atomic_long_t checked;
	atomic_long_t escaped[NR_ESCAPES];
	atomic_long_t changed;
};

static struct place places[NR_PLACES];

static atomic_t nr_reports, nr_changes;

/* Helpers that map on behalf of their callers, by the beginning of their names */
static const char * const dma_layer[] = {
	"dma_", "__dma_", "iommu_dma_", "__iommu_dma_", "io_bounce_", "__io_bounce_",
	"map_slot", "use_slot", "map_any", "map_plain", "map_entry", "map_undecided",
	"alloc_state",
	"blk_rq_dma_", "blk_rq_integrity_dma_", "blk_dma_", "tso_dma_",
	"virtqueue_", "vring_", "scsi_dma_", "skb_frag_dma_", "ib_dma_",
	"usb_hcd_", "page_pool_dma_", "tso_", "stack_trace_",
};

/* A name is looked up once for each address: an entry is the address and a bit. */
static unsigned long layer_cache[1024];

static bool name_is_dma_layer(unsigned long ip)
{
	char name[32];
	unsigned int i;

	snprintf(name, sizeof(name), "%ps", (void *)ip);
	for (i = 0; i < ARRAY_SIZE(dma_layer); i++)
		if (strstarts(name, dma_layer[i]))
			return true;
	return false;
}

static bool is_dma_layer(unsigned long ip)
{
	unsigned long *entry = &layer_cache[hash_long(ip, 10)];
	/* The highest bit is the same for all addresses. */
	unsigned long val = READ_ONCE(*entry);
	bool dma;

	if (val >> 1 == (ip << 1) >> 1)
		return val & 1;
	dma = name_is_dma_layer(ip);
	WRITE_ONCE(*entry, ip << 1 | dma);
	return dma;
}

static unsigned int find_place(const unsigned long *stack, unsigned int depth)
{
	unsigned int i, probe, nr;
	unsigned long ip = 0;

	for (i = 0; i < depth; i++) {
		ip = stack[i];
		if (!is_dma_layer(ip))
			break;
	}
	if (!ip)
		return 0;

	nr = hash_long(ip, PLACES_BITS);
	for (probe = 0; probe < 32; probe++, nr = (nr + 1) % NR_PLACES) {
		if (!nr)
			continue;
		if (READ_ONCE(places[nr].ip) == ip ||
		    !cmpxchg(&places[nr].ip, 0, ip) ||
		    READ_ONCE(places[nr].ip) == ip)
			return nr;
	}
	return 0;
}

/*
 * Guards of all memory that is mapped and checked, by page frame; also of what
 * each slot is used for. Taken in any context, with no other lock inside.
 */
static DEFINE_HASHTABLE(guards, 12);
static DEFINE_RAW_SPINLOCK(check_lock);

/**
 * io_buffer_guards_alloc - have the slots of a chunk checked
 * @chunk: a new chunk
 * @gfp: how to allocate
 *
 * Failure is not an error: what is mapped there is counted as not checked.
 *
 * Context: as @gfp says.
 */
void io_buffer_guards_alloc(struct io_buffer_chunk *chunk, gfp_t gfp)
{
	size_t i, nr = chunk->size >> chunk->granule_shift;

	if (!static_branch_unlikely(&io_bounce_check_key))
		return;
	chunk->guards = kcalloc_node(nr, sizeof(*chunk->guards), gfp,
				     chunk->pool->nid);
	for (i = 0; chunk->guards && i < nr; i++)
		chunk->guards[i].chunk = chunk;
}

/**
 * io_buffer_guards_free - undo io_buffer_guards_alloc()
 * @chunk: the chunk, whose slots nobody uses any more
 *
 * A driver may have forgotten mappings. What they mapped is not touched: it may be
 * somebody else's by now.
 *
 * Context: any but NMI.
 */
void io_buffer_guards_free(struct io_buffer_chunk *chunk)
{
	size_t i, nr = chunk->size >> chunk->granule_shift;

	for (i = 0; chunk->guards && i < nr; i++)
		scoped_guard(raw_spinlock_irqsave, &check_lock)
			hash_del(&chunk->guards[i].node);
	kfree(chunk->guards);
	chunk->guards = NULL;
}

static size_t granule_size(const struct io_buffer_chunk *chunk)
{
	return (size_t)1 << chunk->granule_shift;
}

/* Of the slot */
static struct io_buffer_guard *first_guard(const struct io_buffer *buf)
{
	return buf->chunk->guards +
	       ((size_t)buf->nr << io_buffer_granules_shift(buf->chunk));
}

static bool device_writes(const struct io_buffer_chunk *chunk)
{
	return chunk->pool->prot & IOMMU_WRITE;
}

static bool device_reads(const struct io_buffer_chunk *chunk)
{
	return chunk->pool->prot & IOMMU_READ;
}

static bool is_mapped(const struct io_buffer_guard *g)
{
	return !hlist_unhashed(&g->node);
}

/* The blocks of a granule that [@from, @to) touches, as far as they are mapped */
static u64 blocks_touched(const struct io_buffer_guard *g, size_t from,
			  size_t to)
{
	unsigned int shift = g->chunk->granule_shift - BLOCKS_SHIFT;

	from = max_t(size_t, from, g->from);
	to = min_t(size_t, to, g->to);
	return from < to ? GENMASK_ULL((to - 1) >> shift, from >> shift) : 0;
}

/* The blocks of a granule of which [@from, @to) covers all that is mapped */
static u64 blocks_covered(const struct io_buffer_guard *g, size_t from,
			  size_t to)
{
	unsigned int shift = g->chunk->granule_shift - BLOCKS_SHIFT;
	size_t first, end;

	first = (from <= g->from ? g->from :
				   ALIGN(from, (size_t)1 << shift)) >> shift;
	end = (to >= g->to ? ALIGN(g->to, (size_t)1 << shift) : to) >> shift;
	return first < end ? GENMASK_ULL(end - 1, first) : 0;
}

/* Take the first run of blocks off @blocks: the bytes [@from, @to) of the granule. */
static bool next_run(const struct io_buffer_guard *g, u64 *blocks, size_t *from,
		     size_t *to)
{
	unsigned int shift = g->chunk->granule_shift - BLOCKS_SHIFT;
	unsigned int first, end;
	u64 rest;

	if (!*blocks)
		return false;
	first = __ffs64(*blocks);
	rest = ~(*blocks >> first);
	end = first + (rest ? __ffs64(rest) : 64);
	*blocks &= end < 64 ? ~0ULL << end : 0;
	*from = max_t(size_t, g->from, (size_t)first << shift);
	*to = min_t(size_t, g->to, (size_t)end << shift);
	return true;
}

static u8 *slot_memory(const struct io_buffer_guard *g)
{
	return g->chunk->vaddr +
	       ((size_t)(g - g->chunk->guards) << g->chunk->granule_shift);
}

/* From the start of the slot to that of the granule */
static size_t offset_in_slot(const struct io_buffer_guard *g)
{
	size_t granules = BIT(io_buffer_granules_shift(g->chunk));

	return ((g - g->chunk->guards) & (granules - 1)) <<
	       g->chunk->granule_shift;
}

/* A granule is at most a page. */
static u8 *get_original(const struct io_buffer_guard *g)
{
	if (PhysHighMem(g->phys))
		return (u8 *)kmap_local_page(pfn_to_page(PHYS_PFN(g->phys))) +
		       offset_in_page(g->phys);
	return phys_to_virt(g->phys);
}

static void put_original(const struct io_buffer_guard *g, u8 *original)
{
	if (PhysHighMem(g->phys))
		kunmap_local(original);
}

#ifdef CONFIG_KASAN_GENERIC
/* As in mm/kasan/kasan.h. A redzone is no sign: drivers map more than they have. */
#define SHADOW_PAGE_FREE	0xff
#define SHADOW_SLAB_FREE	0xfb
#define SHADOW_SLAB_FREE_META	0xfa

/* Asking KASAN itself would make it report. */
static bool is_freed(phys_addr_t phys)
{
	u8 shadow = READ_ONCE(*(u8 *)kasan_mem_to_shadow(phys_to_virt(phys)));

	return shadow == SHADOW_PAGE_FREE || shadow == SHADOW_SLAB_FREE ||
	       shadow == SHADOW_SLAB_FREE_META;
}
#else
/* Only so far as touching it would crash */
static bool is_freed(phys_addr_t phys)
{
	return debug_pagealloc_enabled_static() &&
	       !kernel_page_present(pfn_to_page(PHYS_PFN(phys)));
}
#endif

static bool original_freed(const struct io_buffer_guard *g)
{
	if (PhysHighMem(g->phys) || !pfn_valid(PHYS_PFN(g->phys)))
		return false;
	return is_freed(g->phys + g->from) || is_freed(g->phys + g->to - 1);
}

/* Memory of user space or the page cache, whose owners keep to no rules of DMA */
static bool is_mutable(phys_addr_t phys)
{
	unsigned long pfn = PHYS_PFN(phys);
	struct folio *folio;

	if (!pfn_valid(pfn) || PageReserved(pfn_to_page(pfn)))
		return false;
	folio = page_folio(pfn_to_page(pfn));
	if (folio_test_slab(folio))
		return false;
	return folio->mapping || folio_mapped(folio) || folio_test_lru(folio);
}

/* What the device wrote becomes visible, as io_bounce_copy_out() does. */
static void sync_slot(const struct io_buffer_guard *g, size_t from, size_t to)
{
	const struct io_buffer_chunk *chunk = g->chunk;

	if (!(chunk->pool->prot & IOMMU_CACHE)) {
		arch_sync_dma_for_cpu(chunk->phys + (slot_memory(g) + from -
						     (u8 *)chunk->vaddr),
				      to - from, DMA_FROM_DEVICE);
		arch_sync_dma_flush();
	}
	kmsan_unpoison_memory(slot_memory(g) + from, to - from);
}

/* Give what the slot holds back to the CPU. */
static void restore(const struct io_buffer_guard *g, u64 blocks)
{
	u8 *original = get_original(g);
	size_t from, to;

	while (next_run(g, &blocks, &from, &to)) {
		sync_slot(g, from, to);
		memcpy(original + from, slot_memory(g) + from, to - from);
	}
	put_original(g, original);
}

/* Fewer bytes that look like the poison may be what the CPU wrote. */
#define POISON_RUN	8

/* The same, but keep what the CPU wrote: nobody asked for what the device wrote. */
static void restore_unwritten(const struct io_buffer_guard *g, u64 blocks)
{
	const u8 *slot = slot_memory(g);
	u8 *original = get_original(g);
	size_t from, to, len;

	while (next_run(g, &blocks, &from, &to)) {
		sync_slot(g, from, to);
		for (; from < to; from += len) {
			const u8 *other = memchr_inv(original + from, POISON,
						     to - from);

			len = other ? other - (original + from) : to - from;
			if (len >= min(to - from, POISON_RUN))
				memcpy(original + from, slot + from, len);
			len = max(len, 1);
		}
	}
	put_original(g, original);
}

static void poison(const struct io_buffer_guard *g, u64 blocks)
{
	u8 *original = get_original(g);
	size_t from, to;

	while (next_run(g, &blocks, &from, &to))
		memset(original + from, POISON, to - from);
	put_original(g, original);
}

static const u8 *first_difference(const u8 *a, const u8 *b, size_t len)
{
	if (!memcmp(a, b, len))
		return NULL;
	while (*a == *b) {
		a++;
		b++;
	}
	return a;
}

/* Did the CPU touch what the device owns? */
static void verify(const struct io_buffer_guard *g, u64 blocks,
		   struct finding *f)
{
	bool writes = device_writes(g->chunk);
	u8 *original = get_original(g);
	const u8 *bad = NULL;
	size_t from, to;

	while (!bad && next_run(g, &blocks, &from, &to))
		bad = writes ? memchr_inv(original + from, POISON, to - from) :
			       first_difference(original + from,
						slot_memory(g) + from, to - from);
	if (bad && (g->mutable || is_mutable(g->phys)))
		f->changed = true;
	else if (bad)
		note_fault(f, writes ? FAULT_WROTE : FAULT_CHANGED,
			   offset_in_slot(g) + (bad - original), 1);
	put_original(g, original);
}

static u16 sum_block(const u8 *original, size_t from, size_t to)
{
	return jhash(original + from, to - from, 0);
}

/* Call sum_block() for each of @blocks. */
static void sum_synced(struct io_buffer_guard *g, u64 blocks)
{
	u8 *original = get_original(g);

	g->synced |= blocks;
	while (blocks) {
		u64 block = blocks & -blocks;
		unsigned int nr = __ffs64(block);
		size_t from, to;

		blocks &= ~block;
		next_run(g, &block, &from, &to);
		g->sums[nr] = sum_block(original, from, to);
	}
	put_original(g, original);
}

/*
 * [@start, @end) of the granule is about to be overwritten: did the CPU write there
 * since the sync? The device may have written to the slot, so that a difference alone
 * says nothing; and of a block that is overwritten in part, the CPU may own the rest.
 */
static void verify_synced(const struct io_buffer_guard *g, size_t start,
			  size_t end, struct finding *f)
{
	u64 blocks = blocks_covered(g, start, end) & g->synced;
	u8 *original = get_original(g);
	const u8 *bad = NULL;
	size_t from, to;

	while (!bad && blocks) {
		u64 block = blocks & -blocks;
		unsigned int nr = __ffs64(block);

		blocks &= ~block;
		next_run(g, &block, &from, &to);
		if (g->sums[nr] == sum_block(original, from, to))
			continue;
		sync_slot(g, from, to);
		bad = first_difference(original + from, slot_memory(g) + from,
				       to - from);
	}
	if (bad && (g->mutable || is_mutable(g->phys)))
		f->changed = true;
	else if (bad)
		note_fault(f, FAULT_OVERWRITTEN,
			   offset_in_slot(g) + (bad - original), 1);
	put_original(g, original);
}

/* Data of a disk may hold fewer bytes of poison in a row. */
#define OVERWRITE_RUN	64

/* Did the device overwrite [@start, @end) of the granule? */
static void verify_overwritten(const struct io_buffer_guard *g, size_t start,
			       size_t end, struct finding *f)
{
	size_t at, from = max_t(size_t, start, g->from);

	end = min_t(size_t, end, g->to);
	if (from >= end)
		return;
	sync_slot(g, from, end);
	for (at = from; at + OVERWRITE_RUN <= end; at += OVERWRITE_RUN)
		if (!memchr_inv(slot_memory(g) + at, POISON, OVERWRITE_RUN))
			return note_fault(f, FAULT_NOT_OVERWRITTEN,
					  offset_in_slot(g) + at, OVERWRITE_RUN);
}

/*
 * The device owns these blocks no longer. False if the memory is gone, and must not
 * be referenced.
 */
static bool take_back(struct io_buffer_guard *g, u64 blocks, bool check,
		      struct finding *f)
{
	g->synced &= ~blocks;
	blocks &= g->owned;
	g->owned &= ~blocks;
	if (original_freed(g)) {
		g->owned = 0;
		g->synced = 0;
		if (IS_ENABLED(CONFIG_KASAN_GENERIC))
			note_fault(f, FAULT_FREED, offset_in_slot(g) + g->from,
				   g->to - g->from);
		return false;
	}
	if (check)
		verify(g, blocks, f);
	if (device_writes(g->chunk) && check)
		restore(g, blocks);
	else if (device_writes(g->chunk))
		restore_unwritten(g, blocks);
	return true;
}

static void drop_guard(struct io_buffer_guard *g, struct finding *f)
{
	take_back(g, ~0ULL, false, f);
	hash_del(&g->node);
}

static bool overlap(const struct io_buffer_guard *a,
		    const struct io_buffer_guard *b)
{
	return a->phys + a->from < b->phys + b->to &&
	       b->phys + b->from < a->phys + a->to;
}

static u32 guard_stack(const struct io_buffer_guard *g)
{
	size_t nr = (g - g->chunk->guards) >> io_buffer_granules_shift(g->chunk);
	struct io_buffer buf = io_buffer_nr(g->chunk, nr);

	return io_buffer_slot(&buf)->life.stack;
}

/* Who has the same bytes? Where one writes, nobody's copy is the right one. */
static void find_sharers(struct io_buffer_guard *g, struct finding *f)
{
	struct io_buffer_guard *other;

	hash_for_each_possible(guards, other, node, PHYS_PFN(g->phys)) {
		struct finding ignored = {};
		bool writes = device_writes(g->chunk);
		bool other_writes = device_writes(other->chunk);

		if (other == g || !(writes || other_writes) ||
		    !overlap(g, other))
			continue;
		take_back(other, ~0ULL, false, &ignored);
		other->shared = true;
		g->shared = true;
		if (!writes || !other_writes || f->fault ||
		    g->mutable || other->mutable)
			continue;
		note_fault(f, FAULT_TWICE, offset_in_slot(g) + g->from,
			   g->to - g->from);
		f->other = guard_stack(other);
	}
}

static void link_guard(struct io_buffer_guard *g, phys_addr_t phys, u32 from,
		       u32 to, struct finding *f)
{
	if (is_mapped(g) && g->phys == phys) {
		/* Two links of a DMA IOVA state meet in this granule. */
		from = min(from, g->from);
		to = max(to, g->to);
	} else {
		if (is_mapped(g))
			drop_guard(g, f);
		g->phys = phys;
		g->owned = 0;
		g->mutable = is_mutable(phys);
		/*
		 * Page cache that is mapped both ways is most likely only read
		 * by the device, and may be read by anybody else.
		 */
		g->shared = g->mutable && device_reads(g->chunk) &&
			    device_writes(g->chunk);
		hash_add(guards, &g->node, PHYS_PFN(phys));
	}
	g->from = from;
	g->to = to;
	g->synced = 0;
	find_sharers(g, f);
}

/* For each granule that [@offset, @offset + @len) of a slot touches */
#define for_each_guard(buf, g, offset, len, from, to)				\
	for (size_t __i = (offset) >> (buf)->chunk->granule_shift,		\
	     __g = granule_size((buf)->chunk), __end = (offset) + (len);	\
	     (g) = first_guard(buf) + __i,					\
	     (from) = max_t(size_t, (offset), __i * __g) - __i * __g,		\
	     (to) = min_t(size_t, __end - min(__end, __i * __g), __g),		\
	     __i * __g < __end; __i++)

/* What follows the first line */
static void print_stacks(u32 mapped, u32 other)
{
	unsigned long stack[STACK_DEPTH];
	unsigned int depth;

	pr_err("mapped by:\n");
	stack_depot_print(mapped);
	if (other) {
		pr_err("mapped before by:\n");
		stack_depot_print(other);
	}
	pr_err("found in:\n");
	depth = stack_trace_save(stack, ARRAY_SIZE(stack), 2);
	stack_trace_print(stack, depth, 0);
}

static const char *direction(const struct io_buffer_chunk *chunk)
{
	if (!device_writes(chunk))
		return "TO_DEVICE";
	return device_reads(chunk) ? "BIDIRECTIONAL" : "FROM_DEVICE";
}

/* One report for each place that maps and each fault */
static noinline void report(const struct io_buffer_chunk *chunk,
			    const struct io_buffer_life *life, u32 start,
			    u32 len, const struct finding *f)
{
	struct place *place = &places[life->place];

	if (f->changed) {
		atomic_inc(&nr_changes);
		atomic_long_inc(&place->changed);
	}
	if (!f->fault || test_and_set_bit(f->fault, &place->reported))
		return;
	atomic_inc(&nr_reports);
	pr_err("%.*s %.*s: %s: offset %zd, size %zu, mapped %u bytes %s at %pS\n",
	       (int)sizeof(life->dev), life->dev,
	       (int)sizeof(life->driver), life->driver, fault_names[f->fault],
	       (ssize_t)(f->offset - start), f->size, len, direction(chunk),
	       (void *)place->ip);
	print_stacks(life->stack, f->other);
}

/* While the caller has the slot, who uses it does not change. */
static void conclude(const struct io_buffer *buf, const struct finding *f)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	if (unlikely(f->fault || f->changed))
		report(buf->chunk, &slot->life, slot->start, slot->len, f);
}

/**
 * __io_bounce_check_begin - a slot begins to stand for a mapping
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @buf: its slot, whose start and length are known
 *
 * Context: any but NMI.
 */
void __io_bounce_check_begin(struct io_bounce *bounce, struct device *dev,
			     const struct io_buffer *buf)
{
	struct io_buffer_life life = { .checked = true, .since = jiffies };
	unsigned long stack[STACK_DEPTH];
	unsigned int depth;

	if (!io_buffer_slot(buf)->len)
		return;

	depth = stack_trace_save(stack, ARRAY_SIZE(stack), 1);
	life.place = find_place(stack, depth);
	if (!buf->chunk->guards) {
		atomic_long_inc(&places[life.place].escaped[ESCAPE_MEMORY]);
		return;
	}
	strscpy(life.dev, dev_name(dev));
	strscpy(life.driver, dev_driver_string(dev));
	life.stack = stack_depot_save(stack, depth, GFP_NOWAIT | __GFP_NOWARN);
	atomic_long_inc(&places[life.place].checked);
	scoped_guard(raw_spinlock_irqsave, &check_lock)
		io_buffer_slot(buf)->life = life;
	if (!delayed_work_pending(&bounce->aged))
		queue_delayed_work(system_freezable_wq, &bounce->aged,
				   AGE_PERIOD);
}

/**
 * __io_bounce_check_link - say what lies behind part of a slot
 * @buf: the slot
 * @offset: from its start, in bytes
 * @phys: the memory, whose offset in the granule is that of @offset
 * @len: in bytes
 *
 * Must come before the memory is copied into the slot: another mapping may have
 * poisoned it.
 *
 * Context: any but NMI.
 */
void __io_bounce_check_link(const struct io_buffer *buf, size_t offset,
			    phys_addr_t phys, size_t len)
{
	phys_addr_t granule = phys - (phys & (granule_size(buf->chunk) - 1));
	struct io_buffer_guard *g;
	struct finding f = {};
	size_t from, to;

	if (buf->chunk->pool->overwrite)
		memset(io_buffer_vaddr(buf) + offset, POISON, len);
	scoped_guard(raw_spinlock_irqsave, &check_lock) {
		for_each_guard(buf, g, offset, len, from, to) {
			link_guard(g, granule, from, to, &f);
			granule += granule_size(buf->chunk);
		}
	}
	conclude(buf, &f);
}

/* Find what lies outside of the mapping, and make it lie inside. */
static void clamp_range(const struct io_buffer *buf, enum fault fault,
			size_t *offset, size_t *len, struct finding *f)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	size_t end = slot->start + slot->len;

	if (*offset >= slot->start && *offset <= end && *len <= end - *offset)
		return;
	note_fault(f, fault, *offset, *len);
	*offset = clamp_t(size_t, *offset, slot->start, end);
	*len = min(*len, end - *offset);
}

/**
 * __io_bounce_check_own - part of a mapping is handed to the device
 * @buf: the slot, which holds a copy
 * @offset: from its start, in bytes
 * @len: in bytes
 *
 * Context: any but NMI.
 */
void __io_bounce_check_own(const struct io_buffer *buf, size_t offset,
			   size_t len)
{
	struct finding ignored = {};
	struct io_buffer_guard *g;
	size_t from, to;

	clamp_range(buf, FAULT_SYNC_RANGE, &offset, &len, &ignored);
	guard(raw_spinlock_irqsave)(&check_lock);

	for_each_guard(buf, g, offset, len, from, to) {
		u64 blocks;

		if (!is_mapped(g))
			continue;
		g->synced &= ~blocks_touched(g, from, to);
		/* What user space has is not in the slot, and must not get lost. */
		if (g->shared || original_freed(g) ||
		    (g->mutable && buf->chunk->pool->overwrite))
			continue;
		blocks = blocks_covered(g, from, to);
		g->owned |= blocks;
		if (device_writes(buf->chunk))
			poison(g, blocks);
	}
}

static bool take_range(const struct io_buffer *buf, size_t offset, size_t len,
		       bool check, struct finding *f)
{
	struct io_buffer_guard *g;
	bool there = true;
	size_t from, to;

	for_each_guard(buf, g, offset, len, from, to) {
		if (!is_mapped(g))
			continue;
		if (check && !original_freed(g))
			verify_synced(g, from, to, f);
		if (check && buf->chunk->pool->overwrite)
			verify_overwritten(g, from, to, f);
		if (!take_back(g, blocks_touched(g, from, to), check, f))
			there = false;
	}
	return there;
}

/**
 * __io_bounce_check_for_cpu - part of a mapping is given back to the CPU
 * @buf: the slot
 * @offset: from its start, in bytes
 * @len: in bytes
 *
 * Context: any but NMI.
 * Return: false if the memory is gone.
 */
bool __io_bounce_check_for_cpu(const struct io_buffer *buf, size_t offset,
			       size_t len)
{
	struct finding f = {};
	bool there;

	clamp_range(buf, FAULT_SYNC_RANGE, &offset, &len, &f);
	scoped_guard(raw_spinlock_irqsave, &check_lock)
		there = take_range(buf, offset, len, true, &f);
	conclude(buf, &f);
	return there;
}

/**
 * __io_bounce_check_synced - part of a mapping was synced for the CPU
 * @buf: the slot
 * @offset: from its start, in bytes
 * @len: in bytes
 *
 * Context: any but NMI.
 */
void __io_bounce_check_synced(const struct io_buffer *buf, size_t offset,
			      size_t len)
{
	struct finding ignored = {};
	struct io_buffer_guard *g;
	size_t from, to;

	if (!device_writes(buf->chunk))
		return;
	clamp_range(buf, FAULT_SYNC_RANGE, &offset, &len, &ignored);
	guard(raw_spinlock_irqsave)(&check_lock);

	for_each_guard(buf, g, offset, len, from, to)
		if (is_mapped(g) && !g->shared && !original_freed(g))
			sum_synced(g, blocks_touched(g, from, to) & ~g->owned);
}

/* What the CPU wrote is about to be copied in: nothing of the poison may be. */
static bool prepare_copy_in(const struct io_buffer *buf, size_t offset,
			    size_t len, struct finding *f)
{
	struct io_buffer_guard *g;
	size_t from, to;
	u64 blocks;

	for_each_guard(buf, g, offset, len, from, to) {
		if (!is_mapped(g))
			continue;
		if (original_freed(g))
			return take_back(g, 0, false, f);
		if (!device_writes(buf->chunk))
			continue;
		blocks = g->owned & blocks_touched(g, from, to);
		verify(g, blocks, f);
		if (!device_reads(buf->chunk))
			continue;
		restore_unwritten(g, blocks);
		g->owned &= ~blocks;
	}
	return true;
}

/**
 * __io_bounce_check_for_device - part of a mapping is about to be handed over
 * @buf: the slot
 * @offset: from its start, in bytes
 * @len: in bytes
 *
 * Of DMA_TO_DEVICE the CPU may have written it without a sync for the CPU before:
 * all that makes it visible to the device is this sync.
 *
 * Context: any but NMI.
 * Return: false if the memory is gone.
 */
bool __io_bounce_check_for_device(const struct io_buffer *buf, size_t offset,
				  size_t len)
{
	struct finding f = {};
	bool there;

	clamp_range(buf, FAULT_SYNC_RANGE, &offset, &len, &f);
	scoped_guard(raw_spinlock_irqsave, &check_lock)
		there = prepare_copy_in(buf, offset, len, &f);
	conclude(buf, &f);
	return there;
}

/**
 * __io_bounce_check_unmap - a mapping in one place is unmapped
 * @buf: the slot
 * @offset: from its start to what is unmapped, in bytes
 * @len: in bytes
 * @attrs: with DMA_ATTR_SKIP_CPU_SYNC, nothing is compared
 *
 * The memory is given back in full, whatever the driver named.
 *
 * Context: any but NMI.
 * Return: false if the memory is gone.
 */
bool __io_bounce_check_unmap(const struct io_buffer *buf, size_t offset,
			     size_t len, unsigned long attrs)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	struct finding f = {};
	bool there;

	if (offset != slot->start || len != slot->len)
		note_fault(&f, FAULT_UNMAP_SIZE, offset, len);
	scoped_guard(raw_spinlock_irqsave, &check_lock)
		there = take_range(buf, slot->start, slot->len,
				   !(attrs & DMA_ATTR_SKIP_CPU_SYNC), &f);
	conclude(buf, &f);
	return there;
}

/**
 * __io_bounce_check_unlink - part of a DMA IOVA state is unlinked
 * @buf: the slot
 * @offset: from its start, in bytes
 * @len: in bytes
 *
 * What was to be compared was, by __io_bounce_check_for_cpu().
 *
 * Context: any but NMI.
 */
void __io_bounce_check_unlink(const struct io_buffer *buf, size_t offset,
			      size_t len)
{
	struct io_buffer_guard *g;
	struct finding f = {};
	size_t from, to;

	scoped_guard(raw_spinlock_irqsave, &check_lock) {
		for_each_guard(buf, g, offset, len, from, to) {
			if (!is_mapped(g))
				continue;
			if (from <= g->from && to >= g->to)
				drop_guard(g, &f);
			else
				take_back(g, blocks_touched(g, from, to), false,
					  &f);
		}
	}
	conclude(buf, &f);
}

/**
 * __io_bounce_check_end - a slot is about to be given back
 * @buf: the slot
 *
 * Restores what was not synced, for it must not stay poisoned.
 *
 * Context: any but NMI.
 */
void __io_bounce_check_end(const struct io_buffer *buf)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);
	struct io_buffer_guard *g;
	struct finding f = {};
	size_t from, to;

	scoped_guard(raw_spinlock_irqsave, &check_lock) {
		for_each_guard(buf, g, slot->start, slot->len, from, to)
			if (is_mapped(g))
				drop_guard(g, &f);
		io_buffer_slot(buf)->life.checked = false;
	}
	conclude(buf, &f);
}

#define ATTRS_ESCAPE	(DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_LONG_LIVED | \
			 DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT | \
			 DMA_ATTR_CC_SHARED | DMA_ATTR_PRIVILEGED)

/**
 * __io_bounce_check_escaped - count a mapping that was not bounced
 * @bounce: the bounce buffers of the domain
 * @size: in bytes
 * @dir: direction
 * @attrs: DMA_ATTR_*
 *
 * Context: any but NMI.
 */
void __io_bounce_check_escaped(struct io_bounce *bounce, size_t size,
			       enum dma_data_direction dir, unsigned long attrs)
{
	unsigned long stack[STACK_DEPTH];
	enum escape why = ESCAPE_MISS;
	unsigned int depth;

	if (attrs & ATTRS_ESCAPE)
		why = ESCAPE_ATTRS;
	else if (size > READ_ONCE(bounce->limit.max))
		why = ESCAPE_SIZE;
	depth = stack_trace_save(stack, ARRAY_SIZE(stack), 1);
	atomic_long_inc(&places[find_place(stack, depth)].escaped[why]);
}

/*
 * Copy the slot of a checked mapping. Slots of other mappings are written without the
 * lock, so nothing but @checked, which stays false there, may be read.
 */
static bool read_checked(const struct io_buffer *buf, struct io_buffer_slot *copy)
{
	const struct io_buffer_slot *slot = io_buffer_slot(buf);

	lockdep_assert_held(&check_lock);
	/* Others may write it, without the lock, but never set it. */
	if (!data_race(slot->life.checked))
		return false;
	*copy = *slot;
	return true;
}

/* Report the mapping in the slot that holds @iova, if there is one. */
static void report_address(struct io_bounce *bounce, dma_addr_t iova)
{
	struct finding f = {};
	struct io_buffer_slot slot;
	struct io_buffer buf;

	/* Nobody may have mapped that. */
	guard(rcu)();
	if (!is_io_buffer_addr(&bounce->mgr, iova) ||
	    !io_buffer_lookup(&bounce->mgr, iova, &buf))
		return;
	scoped_guard(raw_spinlock_irqsave, &check_lock)
		if (!read_checked(&buf, &slot))
			return;
	note_fault(&f, FAULT_IOVA_TO_PHYS, io_buffer_offset_in_slot(&buf, iova), 1);
	report(buf.chunk, &slot.life, slot.start, slot.len, &f);
}

/**
 * __io_bounce_check_iova_to_phys - somebody asks what lies behind an address
 * @domain: the domain
 * @iova: the address
 *
 * Behind a slot lies a copy, not what the caller mapped.
 *
 * Context: any but NMI.
 */
void __io_bounce_check_iova_to_phys(struct iommu_domain *domain,
				    dma_addr_t iova)
{
	struct io_bounce *bounce = iommu_dma_get_bounce(domain, NULL);

	if (bounce && io_bounce_checks(bounce))
		report_address(bounce, iova);
}

/* Their owner may give the slot back, and somebody else take it, at any time. */
static unsigned int scan_chunk(struct io_buffer_chunk *chunk,
			       unsigned long born_before)
{
	unsigned int nr, old = 0;

	for (nr = 0; nr < chunk->size >> chunk->slot_shift; nr++) {
		struct io_buffer buf = io_buffer_nr(chunk, nr);
		struct io_buffer_slot slot;
		struct finding f = {};
		bool found = false;

		scoped_guard(raw_spinlock_irqsave, &check_lock) {
			if (read_checked(&buf, &slot) && !slot.life.old &&
			    time_before(slot.life.since, born_before)) {
				io_buffer_slot(&buf)->life.old = true;
				found = true;
			}
		}
		if (!found)
			continue;
		old++;
		note_fault(&f, FAULT_AGE, slot.start, slot.len);
		report(chunk, &slot.life, slot.start, slot.len, &f);
	}
	return old;
}

/**
 * io_bounce_check_scan - report what has lived too long
 * @bounce: the bounce buffers of the domain
 *
 * Context: may sleep.
 * Return: how many mappings were found that had not been found before.
 */
unsigned int io_bounce_check_scan(struct io_bounce *bounce)
{
	struct io_buffer_manager *mgr = &bounce->mgr;
	unsigned int nr, i, old = 0;
	struct io_buffer_pool *pool;
	unsigned long born_before;

	born_before = jiffies - min_t(u64, (u64)READ_ONCE(report_after_s) * HZ,
				      MAX_JIFFY_OFFSET);

	/* No chunk goes meanwhile. Growing waits: no I/O in here. */
	guard(mutex)(&mgr->lock);
	for_each_io_buffer_pool(mgr, nr, pool) {
		for (i = READ_ONCE(pool->end); i--;) {
			struct io_buffer_chunk *chunk;

			chunk = io_buffer_pool_chunk(pool, i);
			if (chunk && chunk->guards)
				old += scan_chunk(chunk, born_before);
		}
	}
	return old;
}

static void aged_work(struct work_struct *work)
{
	struct io_bounce *bounce =
		container_of(to_delayed_work(work), struct io_bounce, aged);

	if (READ_ONCE(report_after_s))
		io_bounce_check_scan(bounce);
	if (io_buffer_manager_used(&bounce->mgr))
		queue_delayed_work(system_freezable_wq, &bounce->aged,
				   AGE_PERIOD);
}

/**
 * __io_bounce_check_setup - prepare to check the mappings of a domain
 * @bounce: the bounce buffers of the domain
 *
 * Context: may sleep.
 */
void __io_bounce_check_setup(struct io_bounce *bounce)
{
	bounce->check = check_wanted;
	INIT_DELAYED_WORK(&bounce->aged, aged_work);
}

/**
 * __io_bounce_check_teardown - undo io_bounce_check_setup()
 * @bounce: the bounce buffers; no device may reach them any more
 *
 * Context: may sleep.
 */
void __io_bounce_check_teardown(struct io_bounce *bounce)
{
	cancel_delayed_work_sync(&bounce->aged);
}

/**
 * __io_bounce_check_wanted - does the command line ask for the checker
 *
 * Return: true if so.
 */
bool __io_bounce_check_wanted(void)
{
	return check_wanted;
}

/**
 * io_bounce_check_enable - begin to check, if the command line says so
 *
 * Context: may sleep; before any domain has bounce buffers.
 */
void io_bounce_check_enable(void)
{
	if (!check_wanted)
		return;
	/* Where that fails, no stack is saved. */
	stack_depot_init();
	static_branch_enable(&io_bounce_check_key);
	pr_info("buffers are poisoned while devices own them\n");
}

/**
 * io_bounce_check_reports - how many reports there were
 *
 * Return: that, since boot.
 */
unsigned int io_bounce_check_reports(void)
{
	return atomic_read(&nr_reports);
}

/**
 * io_bounce_check_changes - how often memory changed that may change
 *
 * Return: the number of unmaps and syncs that found it, since boot.
 */
unsigned int io_bounce_check_changes(void)
{
	return atomic_read(&nr_changes);
}

/**
 * io_bounce_check_escapes - how many mappings were not checked
 *
 * Return: that, since boot.
 */
unsigned long io_bounce_check_escapes(void)
{
	unsigned long sum = 0;
	unsigned int i, why;

	for (i = 0; i < NR_PLACES; i++)
		for (why = 0; why < NR_ESCAPES; why++)
			sum += atomic_long_read(&places[i].escaped[why]);
	return sum;
}

/**
 * io_bounce_check_forget - report once more what was reported, for tests
 */
void io_bounce_check_forget(void)
{
	unsigned int i;

	for (i = 0; i < NR_PLACES; i++)
		WRITE_ONCE(places[i].reported, 0);
}

static int check_setup(char *str)
{
	if (!str || kstrtobool(str, &check_wanted))
		pr_warn("iommu.bounce_check=%s: expected 0 or 1\n", str ?: "");
	return 0;
}
early_param("iommu.bounce_check", check_setup);

static int check_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	for (i = 0; i < NR_PLACES; i++) {
		const struct place *place = &places[i];
		long missed = atomic_long_read(&place->escaped[ESCAPE_MISS]);
		long attrs = atomic_long_read(&place->escaped[ESCAPE_ATTRS]);
		long size = atomic_long_read(&place->escaped[ESCAPE_SIZE]);
		long memory = atomic_long_read(&place->escaped[ESCAPE_MEMORY]);
		long checked = atomic_long_read(&place->checked);
		long escaped = missed + attrs + size + memory;

		if (!checked && !escaped)
			continue;
		seq_printf(m, "%pS checked %ld escaped %ld miss %ld attrs %ld size %ld memory %ld changed %ld faults %lu\n",
			   (void *)place->ip, checked, escaped, missed, attrs,
			   size, memory,
			   atomic_long_read(&place->changed),
			   hweight_long(READ_ONCE(place->reported)));
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(check);

/**
 * __io_bounce_check_debugfs - show who was checked
 * @root: the directory of all bounce buffers
 */
void __io_bounce_check_debugfs(struct dentry *root)
{
	if (!check_wanted)
		return;
	debugfs_create_file("check", 0444, root, NULL, &check_fops);
	debugfs_create_u32("report_after_s", 0644, root, &report_after_s);
}
