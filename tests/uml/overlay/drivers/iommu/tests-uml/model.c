// SPDX-License-Identifier: GPL-2.0
/*
 * Random traffic on one device, every byte of it predicted.
 *
 * Two threads, one on each CPU, share a set of jobs. A job is a piece of memory
 * that is mapped in one of many ways, used by the device, synced back and forth
 * and unmapped, one step at a time, each step on whichever CPU picks the job.
 *
 * For each job two arrays have the expected content: one by the CPU in its buffer,
 * one by the device at its DMA addresses. Mapping and sync_for_device carry
 * bytes from the first to the second, sync_for_cpu and unmapping from the second
 * to the first. Bytes that changed hands without a sync may read as either.
 * All memory around the buffer holds one value that no data ever has: it must
 * neither change nor come into the device's sight through a bounce buffer.
 */
#include <kunit/test.h>
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/swiotlb.h>
#include <linux/vmalloc.h>

#include "mock-iommu.h"
#include "model.h"

#define NR_JOBS		24
#define NR_ACTORS	2
#define MAX_SEGS	64
#define MAX_LEN		(160 * SZ_1K)
#define MEM_SIZE	SZ_256K

enum kind { SINGLE, PAGE, PHYS, SG, SGTABLE, IOVA, NR_KINDS };

static const char * const kind_names[] = {
	"single", "page", "phys", "sg", "sgtable", "iova"
};

/* A piece of the buffer as the CPU sees it, and one as the device sees it. */
struct cpu_seg {
	u8 *p;
	size_t len;
};

struct dev_seg {
	dma_addr_t addr;
	size_t len;
};

/*
 * @busy: bit 0 is held by the thread that works on the job
 * @mapped: the device owns the buffer, and what follows is valid
 * @total: bytes of the buffer; positions in it run over its segments
 * @split: the DMA IOVA API declined, each segment was mapped on its own
 * @cpu_sees, @dev_sees: the model
 */
struct job {
	unsigned long busy;
	unsigned int nr;
	u8 *mem;
	u8 *cpu_sees;
	u8 *dev_sees;

	bool mapped;
	enum kind kind;
	enum dma_data_direction dir;
	unsigned long attrs;
	size_t total;
	unsigned int nr_segs;
	unsigned int nr_dev_segs;
	struct cpu_seg seg[MAX_SEGS];
	struct dev_seg dev_seg[MAX_SEGS];

	struct scatterlist sgl[MAX_SEGS];
	struct sg_table sgt;
	struct dma_iova_state iova;
	bool split;
};

struct model {
	struct kunit *test;
	struct device *dev;
	const struct mock_profile *profile;
	const struct model_params *params;
	struct job *jobs;
	bool strict;
	atomic_t errors;
	atomic_t failed_maps;
};

struct actor {
	struct model *m;
	struct rnd_state rnd;
	u8 *data;
	struct completion done;
	unsigned int nr_maps;
	unsigned int nr_steps;
};

/* The first few are enough to go by. */
static __printf(3, 4) void job_error(struct model *m, const struct job *job,
				     const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	if (atomic_inc_return(&m->errors) > 10)
		return;
	va_start(args, fmt);
	vaf.va = &args;
	kunit_err(m->test, "job %u (%s, direction %d, attributes %#lx)\n",
		  job->nr, kind_names[job->kind], job->dir, job->attrs);
	kunit_err(m->test, "%zu bytes at %#lx in %u segments: %pV\n",
		  job->total, offset_in_page(job->seg[0].p), job->nr_segs,
		  &vaf);
	va_end(args);
}

static u32 below(struct actor *a, u32 limit)
{
	return prandom_u32_state(&a->rnd) % limit;
}

static bool one_in(struct actor *a, u32 n)
{
	return !below(a, n);
}

static size_t granule(struct model *m)
{
	return BIT(m->profile->granule_shift ?: PAGE_SHIFT);
}

static bool dev_reads(const struct job *job)
{
	return job->dir != DMA_FROM_DEVICE;
}

static bool dev_writes(const struct job *job)
{
	return job->dir != DMA_TO_DEVICE;
}

static bool is_list(const struct job *job)
{
	return job->kind == SG || job->kind == SGTABLE;
}

/* New bytes for somebody to write: no byte of it looks like the secret. */
static u8 *new_data(struct actor *a, size_t len)
{
	u64 *word = (u64 *)a->data, *end = (u64 *)(a->data + len);
	u64 x = prandom_u32_state(&a->rnd);

	for (; word < end; word++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		*word = (x >> 3) & 0x7f7f7f7f7f7f7f7fULL;
	}
	return a->data;
}

/* Walks over the pieces of a buffer. */

static unsigned int seg_at(const struct job *job, size_t *pos)
{
	unsigned int i = 0;

	while (*pos >= job->seg[i].len)
		*pos -= job->seg[i++].len;
	return i;
}

static unsigned int dev_seg_at(const struct job *job, size_t *pos)
{
	unsigned int i = 0;

	while (*pos >= job->dev_seg[i].len)
		*pos -= job->dev_seg[i++].len;
	return i;
}

static void cpu_write(struct job *job, size_t pos, const u8 *data, size_t len)
{
	unsigned int i = seg_at(job, &pos);

	for (; len; i++, pos = 0) {
		size_t part = min(len, job->seg[i].len - pos);

		memcpy(job->seg[i].p + pos, data, part);
		data += part;
		len -= part;
	}
}

static void cpu_read(struct job *job, size_t pos, u8 *data, size_t len)
{
	unsigned int i = seg_at(job, &pos);

	for (; len; i++, pos = 0) {
		size_t part = min(len, job->seg[i].len - pos);

		memcpy(data, job->seg[i].p + pos, part);
		data += part;
		len -= part;
	}
}

static int dev_access(struct model *m, struct job *job, size_t pos, u8 *data,
		      size_t len, int prot)
{
	unsigned int i = dev_seg_at(job, &pos);

	for (; len; i++, pos = 0) {
		size_t part = min(len, job->dev_seg[i].len - pos);
		dma_addr_t addr = job->dev_seg[i].addr + pos;
		int ret;

		if (prot == IOMMU_READ)
			ret = mock_dev_read(m->dev, addr, data, part);
		else
			ret = mock_dev_write(m->dev, addr, data, part);
		if (ret)
			return ret;
		data += part;
		len -= part;
	}
	return 0;
}

/* The comparisons. */

static void check_cpu(struct actor *a, struct job *job, size_t pos, size_t len,
		      const char *when)
{
	size_t i;

	cpu_read(job, pos, a->data, len);
	if (!memcmp(a->data, job->cpu_sees + pos, len))
		return;
	for (i = 0; a->data[i] == job->cpu_sees[pos + i]; i++)
		;
	job_error(a->m, job, "%s the CPU sees %#x at byte %zu, expected %#x",
		  when, a->data[i], pos + i, job->cpu_sees[pos + i]);
}

/*
 * With the checker of DMA ownership on, what the CPU has not taken back is poison, or what
 * the device wrote some time ago: it is not for it to look at.
 */
static bool checked;
module_param(checked, bool, 0444);
MODULE_PARM_DESC(checked, "the checker of DMA ownership is on");

/* The same for bytes that may or may not have been carried over. */
static void check_cpu_either(struct actor *a, struct job *job, size_t pos,
			     size_t len, const char *when)
{
	size_t i;

	cpu_read(job, pos, a->data, len);
	for (i = 0; i < len; i++) {
		u8 b = a->data[i];

		if (b == job->cpu_sees[pos + i] ||
		    b == job->dev_sees[pos + i] || checked)
			continue;
		job_error(a->m, job, "%s byte %zu is %#x, neither old nor new",
			  when, pos + i, b);
		return;
	}
}

static void check_dev(struct actor *a, struct job *job, size_t pos, size_t len)
{
	size_t i;

	if (dev_access(a->m, job, pos, a->data, len, IOMMU_READ)) {
		job_error(a->m, job, "the device may not read %zu + %zu", pos,
			  len);
		return;
	}
	if (!memcmp(a->data, job->dev_sees + pos, len))
		return;
	for (i = 0; a->data[i] == job->dev_sees[pos + i]; i++)
		;
	job_error(a->m, job, "the device sees %#x at byte %zu, expected %#x",
		  a->data[i], pos + i, job->dev_sees[pos + i]);
}

static void check_guard(struct model *m, struct job *job, u8 *from, u8 *to)
{
	u8 *bad = memchr_inv(from, MOCK_SECRET, to - from);

	if (bad)
		job_error(m, job, "guard byte %zd of the memory became %#x",
			  bad - job->mem, *bad);
}

static void check_guards(struct model *m, struct job *job)
{
	u8 *p = job->mem;
	unsigned int i;

	for (i = 0; i < job->nr_segs; i++) {
		check_guard(m, job, p, job->seg[i].p);
		p = job->seg[i].p + job->seg[i].len;
	}
	check_guard(m, job, p, job->mem + MEM_SIZE);
}

static bool phys_is_ours(const struct job *job, phys_addr_t phys)
{
	phys_addr_t mem = virt_to_phys(job->mem);

	return phys >= mem && phys < mem + MEM_SIZE;
}

/* The rest of the granule next to the buffer: empty, or another's old data. */
static void check_padding(struct actor *a, struct job *job, dma_addr_t from,
			  dma_addr_t to)
{
	struct model *m = a->m;
	phys_addr_t phys;
	size_t i;

	if (!mock_dev_reaches(m->dev, from, IOMMU_READ, &phys) ||
	    phys_is_ours(job, phys) || swiotlb_find_pool(m->dev, phys) ||
	    mock_dev_read(m->dev, from, a->data, to - from))
		return;
	for (i = 0; i < to - from; i++) {
		if (MOCK_IS_DATA(a->data[i]))
			continue;
		job_error(m, job, "the device sees a byte around the buffer: %#x",
			  a->data[i]);
		return;
	}
}

static void check_paddings(struct actor *a, struct job *job)
{
	size_t g = granule(a->m);
	struct dev_seg *first = &job->dev_seg[0];
	struct dev_seg *last = &job->dev_seg[job->nr_dev_segs - 1];
	dma_addr_t end = last->addr + last->len;

	if (!expect_bounce || !dev_reads(job))
		return;
	check_padding(a, job, ALIGN_DOWN(first->addr, g), first->addr);
	check_padding(a, job, end, ALIGN(end, g));
}

/* The permission must be the direction's. */
static void check_permission(struct actor *a, struct job *job)
{
	size_t pos = below(a, job->total);
	unsigned int i = dev_seg_at(job, &pos);
	dma_addr_t addr = job->dev_seg[i].addr + pos;
	bool reads, writes;
	phys_addr_t phys;

	reads = mock_dev_reaches(a->m->dev, addr, IOMMU_READ, &phys);
	writes = mock_dev_reaches(a->m->dev, addr, IOMMU_WRITE, &phys);
	if (reads != dev_reads(job) || writes != dev_writes(job))
		job_error(a->m, job, "the device may%s read and may%s write",
			  reads ? "" : " not", writes ? "" : " not");
}

static void check_flushed(struct model *m, struct job *job, const char *when)
{
	if (mock_unflushed_by_us())
		job_error(m, job, "no wait for cache maintenance %s", when);
}

/* What came back from a map. */

static void check_addr(struct model *m, struct job *job, const u8 *p,
		       dma_addr_t addr, size_t len)
{
	u64 limit = min_not_zero(m->profile->mask, m->profile->bus_limit);
	u64 mask = m->profile->min_align;

	if (addr + len - 1 > limit || addr < m->profile->aperture_start)
		job_error(m, job, "bad address %pad", &addr);
	if ((addr ^ virt_to_phys((void *)p)) & mask)
		job_error(m, job, "address %pad lost its alignment", &addr);
	if ((addr ^ virt_to_phys((void *)p)) & (granule(m) - 1))
		job_error(m, job, "address %pad lost its offset", &addr);
}

static void check_segment(struct model *m, struct job *job,
			  const struct dev_seg *seg)
{
	u64 mask = dma_get_seg_boundary(m->dev);

	if (seg->len > dma_get_max_seg_size(m->dev))
		job_error(m, job, "a segment of %zu bytes", seg->len);
	if ((seg->addr & ~mask) != ((seg->addr + seg->len - 1) & ~mask))
		job_error(m, job, "segment %pad + %zu crosses a boundary",
			  &seg->addr, seg->len);
	if (seg->addr + seg->len - 1 > m->profile->mask)
		job_error(m, job, "segment %pad above the mask", &seg->addr);
}

static void check_segments(struct model *m, struct job *job)
{
	size_t sum = 0;
	unsigned int i;

	for (i = 0; i < job->nr_dev_segs; i++) {
		sum += job->dev_seg[i].len;
		check_segment(m, job, &job->dev_seg[i]);
	}
	if (sum != job->total)
		job_error(m, job, "segments add up to %zu", sum);
	check_addr(m, job, job->seg[0].p, job->dev_seg[0].addr, 1);
}

static bool may_fail(struct model *m, struct job *job, unsigned int failed)
{
	if (failed == mock_failed_here()) {
		job_error(m, job, "failed though the IOMMU did not");
		return false;
	}
	atomic_inc(&m->failed_maps);
	return true;
}

/* Mapping. Interrupts are off in some of these. */

static void map_one(struct model *m, struct job *job, const struct cpu_seg *seg)
{
	struct dev_seg *out = &job->dev_seg[job->nr_dev_segs];
	struct page *page = virt_to_page(job->mem);

	out->len = seg->len;
	if (job->kind == SINGLE)
		out->addr = dma_map_single_attrs(m->dev, seg->p, seg->len,
						 job->dir, job->attrs);
	else if (job->kind == PAGE)
		out->addr = dma_map_page_attrs(m->dev, page, seg->p - job->mem,
					       seg->len, job->dir, job->attrs);
	else
		out->addr = dma_map_phys(m->dev, virt_to_phys(seg->p), seg->len,
					 job->dir, job->attrs);
}

static bool map_linear(struct model *m, struct job *job)
{
	job->nr_dev_segs = 0;
	map_one(m, job, &job->seg[0]);
	job->nr_dev_segs = 1;
	return !dma_mapping_error(m->dev, job->dev_seg[0].addr);
}

static void unmap_one(struct model *m, struct job *job,
		      const struct dev_seg *seg, unsigned long attrs)
{
	if (job->kind == SINGLE)
		dma_unmap_single_attrs(m->dev, seg->addr, seg->len, job->dir,
				       attrs);
	else if (job->kind == PAGE)
		dma_unmap_page_attrs(m->dev, seg->addr, seg->len, job->dir,
				     attrs);
	else
		dma_unmap_phys(m->dev, seg->addr, seg->len, job->dir, attrs);
}

static void list_init(struct job *job, bool far_offsets)
{
	struct page *head = virt_to_page(job->mem);
	unsigned int i;

	sg_init_table(job->sgl, job->nr_segs);
	for (i = 0; i < job->nr_segs; i++) {
		struct cpu_seg *seg = &job->seg[i];

		if (far_offsets)
			sg_set_page(&job->sgl[i], head, seg->len,
				    seg->p - job->mem);
		else
			sg_set_buf(&job->sgl[i], seg->p, seg->len);
	}
	job->sgt = (struct sg_table) {
		.sgl = job->sgl, .orig_nents = job->nr_segs,
	};
}

static void list_check(struct model *m, struct job *job)
{
	unsigned int i;

	for (i = 0; i < job->nr_segs; i++)
		if (sg_virt(&job->sgl[i]) != job->seg[i].p ||
		    job->sgl[i].length != job->seg[i].len)
			job_error(m, job, "entry %u of the list changed", i);
}

static bool map_list(struct model *m, struct job *job)
{
	struct scatterlist *sg;
	int i, ret;

	if (job->kind == SG) {
		ret = dma_map_sg_attrs(m->dev, job->sgl, job->nr_segs, job->dir,
				       job->attrs);
		job->sgt.nents = ret;
		ret = ret ? 0 : -EIO;
	} else {
		ret = dma_map_sgtable(m->dev, &job->sgt, job->dir, job->attrs);
	}
	if (ret)
		return false;

	job->nr_dev_segs = job->sgt.nents;
	if (job->sgt.nents > job->nr_segs) {
		job_error(m, job, "%u segments returned", job->sgt.nents);
		job->nr_dev_segs = job->nr_segs;
	}
	for_each_sgtable_dma_sg(&job->sgt, sg, i)
		job->dev_seg[i] = (struct dev_seg) {
			sg_dma_address(sg), sg_dma_len(sg)
		};
	if (job->nr_dev_segs < job->nr_segs &&
	    sg_dma_len(&job->sgl[job->nr_dev_segs]))
		job_error(m, job, "the list does not end where it should");
	return true;
}

static void unmap_list(struct model *m, struct job *job, unsigned long attrs)
{
	if (job->kind == SG)
		dma_unmap_sg_attrs(m->dev, job->sgl, job->nr_segs, job->dir,
				   attrs);
	else
		dma_unmap_sgtable(m->dev, &job->sgt, job->dir, attrs);
}

static void unmap_split(struct model *m, struct job *job, unsigned long attrs)
{
	unsigned int i;

	for (i = 0; i < job->nr_dev_segs; i++)
		unmap_one(m, job, &job->dev_seg[i], attrs);
}

/* What users of the DMA IOVA API do when they are turned down. */
static bool map_split(struct model *m, struct job *job)
{
	job->split = true;
	for (job->nr_dev_segs = 0; job->nr_dev_segs < job->nr_segs;
	     job->nr_dev_segs++) {
		map_one(m, job, &job->seg[job->nr_dev_segs]);
		if (dma_mapping_error(m->dev,
				      job->dev_seg[job->nr_dev_segs].addr)) {
			unmap_split(m, job, job->attrs);
			return false;
		}
	}
	return true;
}

static bool map_iova(struct model *m, struct job *job)
{
	size_t linked = 0;
	unsigned int i;

	if (!iova_try_alloc(m->dev, &job->iova, virt_to_phys(job->seg[0].p),
			    job->total, job->nr_segs, job->dir, job->attrs)) {
		if (!expect_bounce && dma_kmalloc_safe(m->dev, job->dir))
			job_error(m, job, "no IOVA space");
		return map_split(m, job);
	}
	job->split = false;
	for (i = 0; i < job->nr_segs; i++) {
		if (dma_iova_link(m->dev, &job->iova,
				  virt_to_phys(job->seg[i].p), linked,
				  job->seg[i].len, job->dir, job->attrs))
			goto destroy;
		linked += job->seg[i].len;
	}
	if (dma_iova_sync(m->dev, &job->iova, 0, linked))
		goto destroy;
	if (dma_iova_size(&job->iova) != job->total)
		job_error(m, job, "the IOVA state forgot its size");
	job->dev_seg[0] = (struct dev_seg) { job->iova.addr, job->total };
	job->nr_dev_segs = 1;
	return true;
destroy:
	dma_iova_destroy(m->dev, &job->iova, linked, job->dir, job->attrs);
	return false;
}

/* Segment by segment from the front or from the back, then the space itself. */
static void unlink_all(struct model *m, struct job *job, unsigned long attrs,
		       bool backwards)
{
	size_t pos = backwards ? job->total : 0;
	unsigned int i;

	for (i = 0; i < job->nr_segs; i++) {
		unsigned int n = backwards ? job->nr_segs - 1 - i : i;

		if (backwards)
			pos -= job->seg[n].len;
		dma_iova_unlink(m->dev, &job->iova, pos, job->seg[n].len,
				job->dir, attrs);
		if (!backwards)
			pos += job->seg[n].len;
	}
	dma_iova_free(m->dev, &job->iova);
}

static void unmap_iova(struct actor *a, struct job *job, unsigned long attrs)
{
	if (job->split)
		unmap_split(a->m, job, attrs);
	else if (one_in(a, 2))
		dma_iova_destroy(a->m->dev, &job->iova, job->total, job->dir,
				 attrs);
	else
		unlink_all(a->m, job, attrs, one_in(a, 2));
}

/* The shape of a job. */

static size_t pick_len(struct actor *a)
{
	static const u32 corners[] = {
		1, SZ_4K - 1, SZ_4K, SZ_4K + 1, SZ_16K, SZ_64K - 1, SZ_64K,
		SZ_64K + 1, MAX_LEN
	};

	switch (below(a, 10)) {
	case 0:
		return 1 + below(a, 64);
	case 1:
		return corners[below(a, ARRAY_SIZE(corners))];
	case 2 ... 4:
		return 1 + below(a, SZ_4K);
	case 5 ... 7:
		return 1 + below(a, SZ_16K);
	case 8:
		return 1 + below(a, SZ_64K);
	default:
		return 1 + below(a, MAX_LEN);
	}
}

static size_t pick_offset(struct actor *a)
{
	return one_in(a, 3) ? 0 : below(a, PAGE_SIZE);
}

static size_t seg_room(struct model *m, size_t offset)
{
	size_t room = min_not_zero(m->profile->max_seg, (u32)SZ_32K);

	if (m->profile->boundary)
		room = min(room, (size_t)m->profile->boundary + 1 - offset);
	return room;
}

static bool add_seg(struct job *job, size_t at, size_t len)
{
	if (!len || job->nr_segs == MAX_SEGS || at + len > MEM_SIZE - 1)
		return false;
	job->seg[job->nr_segs++] = (struct cpu_seg) { job->mem + at, len };
	job->total += len;
	return true;
}

static void shape_linear(struct actor *a, struct job *job)
{
	add_seg(job, SZ_4K + pick_offset(a), pick_len(a));
}

/* Entries anywhere, of any length, at least one guard byte apart. */
static void shape_odd(struct actor *a, struct job *job)
{
	unsigned int n = 1 + (one_in(a, 3) ? below(a, MAX_SEGS) : below(a, 6));
	size_t left = pick_len(a), at = pick_offset(a), len;

	while (n-- && left) {
		len = n ? 1 + below(a, 1 + 2 * left / (n + 1)) : left;
		len = min3(len, left, seg_room(a->m, offset_in_page(at)));
		if (!add_seg(job, at, len))
			break;
		left -= len;
		at += len + 1 + below(a, 400);
	}
}

/*
 * Entries that meet at granules, so that the DMA address range has no holes:
 * only the first may start and only the last may end elsewhere.
 */
static void shape_aligned(struct actor *a, struct job *job)
{
	size_t left = pick_len(a), at = pick_offset(a), g = granule(a->m);
	size_t len, room;

	while (left) {
		len = g * (1 + below(a, 4)) - at % g;
		room = seg_room(a->m, offset_in_page(at));
		if (len > room)
			len = room - (at + room) % g;
		len = min(len, left);
		if (!add_seg(job, at, len))
			break;
		left -= len;
		at = ALIGN(at + len, g) + g * below(a, 3);
	}
}

static void shape(struct actor *a, struct job *job)
{
	job->kind = below(a, NR_KINDS);
	job->dir = below(a, 3);
	job->nr_segs = 0;
	job->total = 0;
	if (job->kind == IOVA || (is_list(job) && one_in(a, 2)))
		shape_aligned(a, job);
	else if (is_list(job))
		shape_odd(a, job);
	else
		shape_linear(a, job);

	job->attrs = 0;
	if (one_in(a, 16) && !a->m->profile->noncoherent)
		job->attrs |= DMA_ATTR_REQUIRE_COHERENT;
	else if (one_in(a, 12) && job->kind != IOVA)
		job->attrs |= DMA_ATTR_SKIP_CPU_SYNC;
}

static void fill(struct actor *a, struct job *job)
{
	memset(job->mem, MOCK_SECRET, MEM_SIZE);
	memcpy(job->cpu_sees, new_data(a, job->total), job->total);
	cpu_write(job, 0, job->cpu_sees, job->total);
	memcpy(job->dev_sees, job->cpu_sees, job->total);
}

static void sync_all_for_device(struct model *m, struct job *job)
{
	if (is_list(job))
		dma_sync_sg_for_device(m->dev, job->sgl, job->nr_segs,
				       job->dir);
	else
		dma_sync_single_for_device(m->dev, job->dev_seg[0].addr,
					   job->total, job->dir);
}

static bool do_map(struct model *m, struct job *job)
{
	if (is_list(job))
		return map_list(m, job);
	return job->kind == IOVA ? map_iova(m, job) : map_linear(m, job);
}

static void step_map(struct actor *a, struct job *job)
{
	unsigned int failed = mock_failed_here();
	struct model *m = a->m;
	unsigned long flags;
	bool irqs_off;

	shape(a, job);
	fill(a, job);
	if (is_list(job))
		list_init(job, one_in(a, 4));

	irqs_off = one_in(a, 4);
	if (irqs_off)
		local_irq_save(flags);
	job->mapped = do_map(m, job);
	if (irqs_off)
		local_irq_restore(flags);

	if (is_list(job))
		list_check(m, job);
	if (!job->mapped) {
		may_fail(m, job, failed);
		check_cpu(a, job, 0, job->total, "after a failed map");
		check_guards(m, job);
		return;
	}
	a->nr_maps++;
	check_flushed(m, job, "at map");
	if (is_list(job))
		check_segments(m, job);
	else
		check_addr(m, job, job->seg[0].p, job->dev_seg[0].addr,
			   job->dev_seg[0].len);
	if (job->attrs & DMA_ATTR_SKIP_CPU_SYNC)
		sync_all_for_device(m, job);
	check_permission(a, job);
	check_paddings(a, job);
}

/* The device at work. */

static void pick_range(struct actor *a, struct job *job, size_t *pos,
		       size_t *len)
{
	*pos = one_in(a, 3) ? 0 : below(a, job->total);
	*len = one_in(a, 3) ? job->total - *pos :
			      1 + below(a, job->total - *pos);
}

static void step_read(struct actor *a, struct job *job)
{
	size_t pos, len;

	check_permission(a, job);
	if (!dev_reads(job))
		return;
	pick_range(a, job, &pos, &len);
	check_dev(a, job, pos, len);
}

static void step_write(struct actor *a, struct job *job)
{
	size_t pos, len;

	if (!dev_writes(job))
		return;
	pick_range(a, job, &pos, &len);
	memcpy(job->dev_sees + pos, new_data(a, len), len);
	if (dev_access(a->m, job, pos, job->dev_sees + pos, len, IOMMU_WRITE))
		job_error(a->m, job, "the device may not write %zu + %zu", pos,
			  len);
}

/*
 * Back to the CPU and to the device again. A range shorter than the buffer is
 * named by its DMA address, and lies within one segment on both sides.
 */
static void sync_range(struct actor *a, struct job *job, size_t pos, size_t len,
		       bool for_cpu)
{
	struct device *dev = a->m->dev;
	unsigned int i;

	if (len == job->total && is_list(job)) {
		if (for_cpu)
			dma_sync_sg_for_cpu(dev, job->sgl, job->nr_segs,
					    job->dir);
		else
			dma_sync_sg_for_device(dev, job->sgl, job->nr_segs,
					       job->dir);
		return;
	}
	i = dev_seg_at(job, &pos);
	if (for_cpu)
		dma_sync_single_range_for_cpu(dev, job->dev_seg[i].addr, pos,
					      len, job->dir);
	else
		dma_sync_single_range_for_device(dev, job->dev_seg[i].addr, pos,
						 len, job->dir);
}

static void pick_sync_range(struct actor *a, struct job *job, size_t *pos,
			    size_t *len)
{
	size_t in_seg, in_dev_seg, room;
	unsigned int i;

	*pos = 0;
	*len = job->total;
	if (one_in(a, 2))
		return;
	*pos = below(a, job->total);
	in_seg = *pos;
	i = seg_at(job, &in_seg);
	room = job->seg[i].len - in_seg;
	in_dev_seg = *pos;
	i = dev_seg_at(job, &in_dev_seg);
	room = min(room, job->dev_seg[i].len - in_dev_seg);
	*len = 1 + below(a, room);
}

static void step_sync(struct actor *a, struct job *job)
{
	size_t pos, len;

	if (job->kind == IOVA)
		return;
	pick_sync_range(a, job, &pos, &len);

	sync_range(a, job, pos, len, true);
	check_flushed(a->m, job, "at sync for the CPU");
	memcpy(job->cpu_sees + pos, job->dev_sees + pos, len);
	check_cpu(a, job, pos, len, "after a sync");
	if (job->total <= SZ_8K)
		check_cpu_either(a, job, 0, job->total, "after a partial sync");

	if (dev_reads(job) && one_in(a, 2)) {
		memcpy(job->cpu_sees + pos, new_data(a, len), len);
		cpu_write(job, pos, job->cpu_sees + pos, len);
		memcpy(job->dev_sees + pos, job->cpu_sees + pos, len);
	}
	sync_range(a, job, pos, len, false);
	check_flushed(a->m, job, "at sync for the device");
}

/* Unmapping. */

static void do_unmap(struct actor *a, struct job *job, unsigned long attrs)
{
	if (is_list(job))
		unmap_list(a->m, job, attrs);
	else if (job->kind == IOVA)
		unmap_iova(a, job, attrs);
	else
		unmap_one(a->m, job, &job->dev_seg[0], attrs);
}

/* In strict mode nothing the CPU has back may be in the device's reach. */
static void check_unreachable(struct actor *a, struct job *job)
{
	size_t pos = below(a, job->total);
	unsigned int i = dev_seg_at(job, &pos);
	phys_addr_t phys;

	if (!a->m->strict ||
	    !mock_dev_reaches(a->m->dev, job->dev_seg[i].addr + pos, 0, &phys))
		return;
	if (phys_is_ours(job, phys))
		job_error(a->m, job, "still in the device's reach");
}

/*
 * A driver that will unmap without sync may have taken the buffer back before,
 * and use it already.
 */
static void take_back(struct actor *a, struct job *job)
{
	sync_range(a, job, 0, job->total, true);
	memcpy(job->cpu_sees, new_data(a, job->total), job->total);
	cpu_write(job, 0, job->cpu_sees, job->total);
	memcpy(job->dev_sees, job->cpu_sees, job->total);
}

static void step_unmap(struct actor *a, struct job *job)
{
	unsigned long flags, attrs = job->attrs;
	bool irqs_off = one_in(a, 4);

	if (one_in(a, 8))
		attrs |= DMA_ATTR_SKIP_CPU_SYNC;
	else if (one_in(a, 2))
		attrs &= ~DMA_ATTR_SKIP_CPU_SYNC;
	if ((attrs & DMA_ATTR_SKIP_CPU_SYNC) && job->kind != IOVA &&
	    one_in(a, 2))
		take_back(a, job);

	if (irqs_off)
		local_irq_save(flags);
	do_unmap(a, job, attrs);
	if (irqs_off)
		local_irq_restore(flags);

	job->mapped = false;
	check_flushed(a->m, job, "at unmap");
	check_unreachable(a, job);
	if (attrs & DMA_ATTR_SKIP_CPU_SYNC) {
		check_cpu_either(a, job, 0, job->total,
				 "after an unmap without sync");
	} else {
		memcpy(job->cpu_sees, job->dev_sees, job->total);
		check_cpu(a, job, 0, job->total, "after unmap");
	}
	check_guards(a->m, job);
	if (is_list(job))
		list_check(a->m, job);
}

static void step(struct actor *a, struct job *job)
{
	/* A map that fails need not wait for what it has started. */
	arch_sync_dma_flush();
	if (!job->mapped) {
		step_map(a, job);
		return;
	}
	switch (below(a, 6)) {
	case 0:
		step_read(a, job);
		break;
	case 1:
		step_write(a, job);
		break;
	case 2:
		step_sync(a, job);
		break;
	default:
		step_unmap(a, job);
	}
}

static int actor_run(void *data)
{
	struct actor *a = data;
	struct model *m = a->m;
	unsigned int i;

	for (i = 0; i < m->params->steps && !atomic_read(&m->errors); i++) {
		struct job *job = &m->jobs[below(a, NR_JOBS)];

		if (!test_and_set_bit_lock(0, &job->busy)) {
			step(a, job);
			clear_bit_unlock(0, &job->busy);
			a->nr_steps++;
		}
		cond_resched();
	}
	complete(&a->done);
	return 0;
}

static int actors_start(struct actor *actors, struct model *m)
{
	struct task_struct *task;
	unsigned int cpu, i = 0;

	for_each_online_cpu(cpu) {
		struct actor *a = &actors[i];

		a->m = m;
		a->data = kunit_kzalloc(m->test, MAX_LEN + 8, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(m->test, a->data);
		init_completion(&a->done);
		prandom_seed_state(&a->rnd, m->params->seed + i);
		task = kthread_create_on_cpu(actor_run, a, cpu, "dma-model/%u");
		KUNIT_ASSERT_FALSE(m->test, IS_ERR(task));
		wake_up_process(task);
		if (++i == NR_ACTORS)
			break;
	}
	return i;
}

static void jobs_init(struct model *m)
{
	struct kunit *test = m->test;
	unsigned int i;

	m->jobs = kunit_kcalloc(test, NR_JOBS, sizeof(*m->jobs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->jobs);
	for (i = 0; i < NR_JOBS; i++) {
		struct job *job = &m->jobs[i];
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_COMP,
						get_order(MEM_SIZE));

		job->nr = i;
		job->mem = page ? page_address(page) : NULL;
		job->cpu_sees = kunit_kmalloc(test, MAX_LEN, GFP_KERNEL);
		job->dev_sees = kunit_kmalloc(test, MAX_LEN, GFP_KERNEL);
		KUNIT_ASSERT_TRUE(test, job->mem && job->cpu_sees &&
				  job->dev_sees);
	}
}

static void jobs_finish(struct model *m, struct actor *a)
{
	unsigned int i;

	for (i = 0; i < NR_JOBS; i++)
		if (m->jobs[i].mapped)
			step_unmap(a, &m->jobs[i]);
}

static void jobs_free(struct model *m)
{
	unsigned int i;

	/* Only now: in lazy mode the device could still reach them. */
	for (i = 0; i < NR_JOBS; i++)
		free_pages((unsigned long)m->jobs[i].mem, get_order(MEM_SIZE));
}

void model_run(struct kunit *test, const struct model_params *params)
{
	const struct mock_profile *profile = &mock_profiles[params->profile];
	struct device *dev = mock_device(params->profile);
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);
	unsigned int errors = mock_errors();
	unsigned int i, n, maps = 0, steps = 0;
	struct actor *actors;
	struct model *m;

	KUNIT_ASSERT_NOT_NULL(test, domain);
	KUNIT_ASSERT_TRUE(test, iommu_is_dma_domain(domain));
	m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m);
	*m = (struct model) {
		.test = test, .dev = dev, .profile = profile, .params = params,
		.strict = domain->type == IOMMU_DOMAIN_DMA,
	};
	actors = kunit_kcalloc(test, NR_ACTORS, sizeof(*actors), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, actors);
	jobs_init(m);

	mock_fail_maps(params->fail_every);
	n = actors_start(actors, m);
	for (i = 0; i < n; i++)
		wait_for_completion(&actors[i].done);
	mock_fail_maps(0);
	migrate_disable();
	jobs_finish(m, &actors[0]);
	migrate_enable();
	for (i = 0; i < n; i++) {
		maps += actors[i].nr_maps;
		steps += actors[i].nr_steps;
	}
	jobs_free(m);

	kunit_info(test, "seed %llu: %u CPUs, %u steps, %u maps, %u failed\n",
		   params->seed, n, steps, maps, atomic_read(&m->failed_maps));
	KUNIT_EXPECT_EQ(test, atomic_read(&m->errors), 0);
	KUNIT_EXPECT_EQ(test, mock_errors(), errors);
	KUNIT_EXPECT_GT(test, maps, 0);
}
