// SPDX-License-Identifier: GPL-2.0
/*
 * Streaming DMA with a real engine: QEMU's "edu" device, whose DMA copies up to
 * 4 KiB between memory and a buffer of its own.
 *
 * Probing runs all tests, prints KTAP to the log and fails with -ENODEV, so that
 * the module can be loaded, or the device rebound, to run them again. They run
 * twice: bounce buffers, if there are any, miss at first and hit later.
 *
 * A transfer takes 100 ms whatever its length. So the device's buffer is split:
 * the lower half keeps a pattern to write from, the upper half takes what was
 * read, and big mappings are only touched here and there.
 */
#include <linux/delay.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/hmm-dma.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include "edu.h"

static unsigned int dma_bits = 28;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "address bits of the device, as its dma_mask property says");

static char *only = "";
module_param(only, charp, 0444);
MODULE_PARM_DESC(only, "run only tests whose names begin with this");

static bool break_rules;
module_param(break_rules, bool, 0444);
MODULE_PARM_DESC(break_rules, "instead of the tests, break each rule of DMA ownership, for the checker to find");


/* QEMU before 9.0 aborts if a transfer ends where the device's buffer does. */
#define PATTERN_SIZE	SZ_2K
#define INBOX		SZ_2K
#define INBOX_SIZE	(SZ_2K - 1)

#define BUF_SIZE	SZ_256K
/* Mappings in flight at once */
#define MANY		64
#define BIG		(200 * SZ_1K + 17)

/*
 * @shared: memory the device always reaches, for its pattern and its inbox
 * @buf: memory to map; @want: its expected content
 */
struct edu {
	struct device *dev;
	void __iomem *regs;
	u8 *shared;
	dma_addr_t shared_addr;
	u8 pattern[PATTERN_SIZE];
	u8 *buf;
	u8 *want;
	const char *why;
};

struct edu_test {
	const char *name;
	int (*run)(struct edu *edu);
};

/* Every test returns 0, -ENODATA to be skipped, or an error with its reason. */
static int fail(struct edu *edu, const char *why)
{
	edu->why = why;
	return -EIO;
}

static int skip(struct edu *edu, const char *why)
{
	edu->why = why;
	return -ENODATA;
}

static int edu_transfer(struct edu *edu, u64 src, u64 dst, size_t len, u32 cmd)
{
	if (edu_dma(edu->regs, src, dst, len, cmd))
		return fail(edu, "the device does not finish");
	return 0;
}

/* The device writes @len bytes of its pattern to memory. */
static int edu_write(struct edu *edu, dma_addr_t addr, size_t len)
{
	return edu_transfer(edu, EDU_BUFFER, addr, len, EDU_CMD_TO_RAM);
}

/* The device reads memory, and must find @want there. */
static int edu_expect(struct edu *edu, dma_addr_t addr, const u8 *want,
		      size_t len)
{
	int ret;

	len = min_t(size_t, len, INBOX_SIZE);
	ret = edu_transfer(edu, addr, EDU_BUFFER + INBOX, len, 0);
	if (!ret)
		ret = edu_transfer(edu, EDU_BUFFER + INBOX,
				   edu->shared_addr + INBOX, len,
				   EDU_CMD_TO_RAM);
	if (!ret && memcmp(edu->shared + INBOX, want, len))
		ret = fail(edu, "the device read something else");
	return ret;
}

static int edu_load_pattern(struct edu *edu)
{
	get_random_bytes(edu->pattern, PATTERN_SIZE);
	memcpy(edu->shared, edu->pattern, PATTERN_SIZE);
	return edu_transfer(edu, edu->shared_addr, EDU_BUFFER, PATTERN_SIZE, 0);
}

static void refill(struct edu *edu)
{
	get_random_bytes(edu->buf, BUF_SIZE);
	memcpy(edu->want, edu->buf, BUF_SIZE);
}

/* What the device wrote must be in the buffer, and no other byte may change. */
static void want_pattern(struct edu *edu, size_t at, size_t len)
{
	memcpy(edu->want + at, edu->pattern, len);
}

static int check(struct edu *edu)
{
	if (memcmp(edu->buf, edu->want, BUF_SIZE))
		return fail(edu, "wrong bytes in memory");
	return 0;
}

static int map(struct edu *edu, size_t at, size_t len,
	       enum dma_data_direction dir, dma_addr_t *addr)
{
	*addr = dma_map_single(edu->dev, edu->buf + at, len, dir);
	if (dma_mapping_error(edu->dev, *addr))
		return fail(edu, "not mapped");
	if (*addr + len - 1 > dma_get_mask(edu->dev)) {
		dma_unmap_single(edu->dev, *addr, len, dir);
		return fail(edu, "address above the mask");
	}
	return 0;
}

/* dma_map_single, _page and _phys, three directions */

static int single_to_device(struct edu *edu)
{
	dma_addr_t addr;
	int ret = map(edu, 77, 1500, DMA_TO_DEVICE, &addr);

	if (ret)
		return ret;
	ret = edu_expect(edu, addr, edu->want + 77, 1500);
	dma_unmap_single(edu->dev, addr, 1500, DMA_TO_DEVICE);
	return ret ?: check(edu);
}

static int single_short_write(struct edu *edu)
{
	dma_addr_t addr;
	int ret = map(edu, 4090, 3000, DMA_FROM_DEVICE, &addr);

	if (ret)
		return ret;
	ret = edu_write(edu, addr, 1001);
	dma_unmap_single(edu->dev, addr, 3000, DMA_FROM_DEVICE);
	want_pattern(edu, 4090, 1001);
	return ret ?: check(edu);
}

static int page_both_ways(struct edu *edu)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;
	int ret;

	addr = dma_map_page(edu->dev, virt_to_page(edu->buf), 300, SZ_8K, dir);
	if (dma_mapping_error(edu->dev, addr))
		return fail(edu, "not mapped");
	ret = edu_expect(edu, addr + 4000, edu->want + 4300, 1000);
	if (!ret)
		ret = edu_write(edu, addr + 5000, 500);
	dma_unmap_page(edu->dev, addr, SZ_8K, dir);
	want_pattern(edu, 5300, 500);
	return ret ?: check(edu);
}

static int phys_both_ways(struct edu *edu)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;
	int ret;

	addr = dma_map_phys(edu->dev, virt_to_phys(edu->buf) + SZ_16K, SZ_64K,
			    dir, 0);
	if (dma_mapping_error(edu->dev, addr))
		return fail(edu, "not mapped");
	ret = edu_expect(edu, addr + SZ_32K - 9, edu->want + SZ_16K + SZ_32K - 9,
			 700);
	if (!ret)
		ret = edu_write(edu, addr + SZ_64K - 1, 1);
	dma_unmap_phys(edu->dev, addr, SZ_64K, dir, 0);
	want_pattern(edu, SZ_16K + SZ_64K - 1, 1);
	return ret ?: check(edu);
}

static int above_any_limit(struct edu *edu)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;
	int ret = map(edu, 1, BIG, dir, &addr);

	if (ret)
		return ret;
	ret = edu_expect(edu, addr + SZ_128K, edu->want + 1 + SZ_128K, 1024);
	if (!ret)
		ret = edu_write(edu, addr + BIG - 100, 100);
	dma_unmap_single(edu->dev, addr, BIG, dir);
	want_pattern(edu, 1 + BIG - 100, 100);
	return ret ?: check(edu);
}

/* Syncs */

static int partial_sync(struct edu *edu)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;
	int ret = map(edu, 10, 6000, dir, &addr);

	if (ret)
		return ret;
	ret = edu_write(edu, addr + 2000, 2000);
	if (ret)
		goto unmap;

	dma_sync_single_range_for_cpu(edu->dev, addr, 2500, 333, dir);
	want_pattern(edu, 2010, 2000);
	if (memcmp(edu->buf + 2510, edu->want + 2510, 333))
		ret = fail(edu, "the synced range is wrong");

	memset(edu->buf + 2600, 0x5a, 20);
	memset(edu->want + 2600, 0x5a, 20);
	dma_sync_single_range_for_device(edu->dev, addr, 2590, 20, dir);
	ret = ret ?: edu_expect(edu, addr + 2400, edu->want + 2410, 400);
unmap:
	dma_unmap_single(edu->dev, addr, 6000, dir);
	return ret ?: check(edu);
}

static int long_lived(struct edu *edu)
{
	dma_addr_t addr;
	int i, ret = map(edu, 64, SZ_2K, DMA_FROM_DEVICE, &addr);

	for (i = 1; !ret && i <= 4; i++) {
		dma_sync_single_for_cpu(edu->dev, addr, SZ_2K,
					DMA_FROM_DEVICE);
		refill(edu);
		dma_sync_single_for_device(edu->dev, addr, SZ_2K,
					   DMA_FROM_DEVICE);
		ret = edu_write(edu, addr, i * 300);
		dma_sync_single_for_cpu(edu->dev, addr, i * 300,
					DMA_FROM_DEVICE);
		want_pattern(edu, 64, i * 300);
		/* What was not synced still is the device's. */
		if (!ret && (memcmp(edu->buf, edu->want, 64 + i * 300) ||
			     memcmp(edu->buf + 64 + SZ_2K, edu->want + 64 + SZ_2K,
				    BUF_SIZE - 64 - SZ_2K)))
			ret = fail(edu, "wrong bytes in memory");
	}
	if (ret != -EIO || addr)
		dma_unmap_single_attrs(edu->dev, addr, SZ_2K, DMA_FROM_DEVICE,
				       DMA_ATTR_SKIP_CPU_SYNC);
	return ret;
}

static int unmap_without_sync(struct edu *edu)
{
	dma_addr_t addr;
	int ret = map(edu, 5, 900, DMA_FROM_DEVICE, &addr);

	if (ret)
		return ret;
	ret = edu_write(edu, addr, 900);
	dma_sync_single_for_cpu(edu->dev, addr, 900, DMA_FROM_DEVICE);
	want_pattern(edu, 5, 900);
	ret = ret ?: check(edu);
	/* From here on the bytes are ours and no unmap may touch them. */
	memset(edu->buf + 5, 0x33, 900);
	memset(edu->want + 5, 0x33, 900);
	dma_unmap_single_attrs(edu->dev, addr, 900, DMA_FROM_DEVICE,
			       DMA_ATTR_SKIP_CPU_SYNC);
	return ret ?: check(edu);
}

/* Lists */

static const struct {
	u32 at, len;
} list_entry[] = {
	{ 3, 701 }, { SZ_4K + 4001, 1234 }, { SZ_16K, SZ_4K }, { 40001, 1 },
	{ 50000, 2047 },
};

#define LIST_LEN ARRAY_SIZE(list_entry)

static void list_init(struct edu *edu, struct scatterlist *sgl)
{
	int i;

	sg_init_table(sgl, LIST_LEN);
	for (i = 0; i < LIST_LEN; i++)
		sg_set_buf(&sgl[i], edu->buf + list_entry[i].at,
			   list_entry[i].len);
}

static u8 *list_byte(u8 *buf, size_t pos)
{
	int i;

	for (i = 0; pos >= list_entry[i].len; i++)
		pos -= list_entry[i].len;
	return buf + list_entry[i].at + pos;
}

/* The device reads the first part of each segment it was given. */
static int list_to_device(struct edu *edu)
{
	struct scatterlist sgl[LIST_LEN], *sg;
	size_t pos = 0, len;
	int i, j, n, ret = 0;

	list_init(edu, sgl);
	n = dma_map_sg(edu->dev, sgl, LIST_LEN, DMA_TO_DEVICE);
	if (!n)
		return fail(edu, "not mapped");
	for_each_sg(sgl, sg, n, i) {
		u8 *gathered = edu->shared;

		len = min_t(size_t, sg_dma_len(sg), INBOX_SIZE);
		for (j = 0; j < len; j++)
			gathered[j] = *list_byte(edu->want, pos + j);
		ret = ret ?: edu_expect(edu, sg_dma_address(sg), gathered, len);
		pos += sg_dma_len(sg);
	}
	dma_unmap_sg(edu->dev, sgl, LIST_LEN, DMA_TO_DEVICE);
	return ret ?: check(edu);
}

/* It writes the last part of each segment: whatever the list's layout was. */
static int list_from_device(struct edu *edu)
{
	struct scatterlist sgl[LIST_LEN], *sg;
	struct sg_table sgt = { .sgl = sgl, .orig_nents = LIST_LEN };
	size_t end = 0, len;
	int i, j, ret;

	list_init(edu, sgl);
	if (dma_map_sgtable(edu->dev, &sgt, DMA_FROM_DEVICE, 0))
		return fail(edu, "not mapped");
	ret = 0;
	for_each_sgtable_dma_sg(&sgt, sg, i) {
		end += sg_dma_len(sg);
		len = min_t(size_t, sg_dma_len(sg), PATTERN_SIZE);
		ret = ret ?: edu_write(edu, sg_dma_address(sg) +
				       sg_dma_len(sg) - len, len);
		for (j = 0; j < len; j++)
			*list_byte(edu->want, end - len + j) = edu->pattern[j];
	}
	dma_sync_sgtable_for_cpu(edu->dev, &sgt, DMA_FROM_DEVICE);
	ret = ret ?: check(edu);
	dma_unmap_sgtable(edu->dev, &sgt, DMA_FROM_DEVICE, 0);
	return ret ?: check(edu);
}

/* The DMA IOVA API: pages from all over the place as one range */

static const u8 iova_page[] = { 20, 3, 4, 11 };

#define IOVA_LEN (ARRAY_SIZE(iova_page) * SZ_4K - 1000)

static u8 *iova_byte(u8 *buf, size_t pos)
{
	return buf + iova_page[pos / SZ_4K] * SZ_4K + pos % SZ_4K;
}

static int iova_map(struct edu *edu, struct dma_iova_state *state,
		    enum dma_data_direction dir)
{
	size_t linked = 0;
	int ret;

	if (!dma_iova_try_alloc(edu->dev, state, 0, IOVA_LEN,
				ARRAY_SIZE(iova_page), dir, 0))
		return skip(edu, "no DMA IOVA API for this device");
	while (linked < IOVA_LEN) {
		size_t len = min_t(size_t, IOVA_LEN - linked, SZ_4K);

		ret = dma_iova_link(edu->dev, state,
				    virt_to_phys(iova_byte(edu->buf, linked)),
				    linked, len, dir, 0);
		if (ret)
			goto destroy;
		linked += len;
	}
	ret = dma_iova_sync(edu->dev, state, 0, linked);
	if (!ret)
		return 0;
destroy:
	dma_iova_destroy(edu->dev, state, linked, dir, 0);
	return fail(edu, "cannot link");
}

static int iova_to_device(struct edu *edu)
{
	struct dma_iova_state state;
	int i, ret = iova_map(edu, &state, DMA_TO_DEVICE);

	if (ret)
		return ret;
	/* Across a page boundary that is one only in memory. */
	for (i = 0; i < 1000; i++)
		edu->shared[i] = *iova_byte(edu->want, SZ_4K - 500 + i);
	ret = edu_expect(edu, state.addr + SZ_4K - 500, edu->shared, 1000);
	dma_iova_destroy(edu->dev, &state, IOVA_LEN, DMA_TO_DEVICE, 0);
	return ret ?: check(edu);
}

static int iova_from_device(struct edu *edu)
{
	struct dma_iova_state state;
	int i, ret = iova_map(edu, &state, DMA_FROM_DEVICE);
	size_t at = 3 * SZ_4K - 1024;

	if (ret)
		return ret;
	ret = edu_write(edu, state.addr + at, 2048);
	for (i = 0; i < 2048; i++)
		*iova_byte(edu->want, at + i) = edu->pattern[i];
	for (i = 0; i < ARRAY_SIZE(iova_page); i++)
		dma_iova_unlink(edu->dev, &state, i * SZ_4K,
				min_t(size_t, SZ_4K, IOVA_LEN - i * SZ_4K),
				DMA_FROM_DEVICE, 0);
	dma_iova_free(edu->dev, &state);
	return ret ?: check(edu);
}

static int iova_unused(struct edu *edu)
{
	struct dma_iova_state state;
	int i;

	for (i = 0; i < 10000; i++)
		if (dma_iova_try_alloc(edu->dev, &state, 0, SZ_64K, 1,
				       i % 2 ? DMA_TO_DEVICE : DMA_NONE, 0))
			dma_iova_free(edu->dev, &state);
	return 0;
}

/*
 * Mapped and never synced, as a GPU driver does with the pages of an object:
 * what the CPU writes after mapping the device must find, and what the device
 * writes the CPU, by the memory alone. That is only so if it is not bounced.
 */

#define STAYS_AT	(3 * SZ_4K)
#define STAYS_LEN	SZ_8K

/* @at: where in the buffer the device's @addr is */
static int take_turns(struct edu *edu, size_t at, dma_addr_t addr)
{
	int ret;

	/* From the CPU to the device ... */
	get_random_bytes(edu->buf + at + 100, 1000);
	memcpy(edu->want + at + 100, edu->buf + at + 100, 1000);
	ret = edu_expect(edu, addr + 50, edu->want + at + 50, 1100);
	/* ... and back. */
	ret = ret ?: edu_write(edu, addr + 2000, 700);
	want_pattern(edu, at + 2000, 700);
	ret = ret ?: check(edu);
	/* What the CPU writes last, unmapping may not undo. */
	memset(edu->buf + at + 2100, 0x3c, 500);
	memset(edu->want + at + 2100, 0x3c, 500);
	return ret;
}

static int never_synced_single(struct edu *edu, unsigned long attrs)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;
	int ret;

	addr = dma_map_single_attrs(edu->dev, edu->buf + STAYS_AT, STAYS_LEN,
				    dir, attrs);
	if (dma_mapping_error(edu->dev, addr))
		return fail(edu, "not mapped");
	ret = take_turns(edu, STAYS_AT, addr);
	dma_unmap_single_attrs(edu->dev, addr, STAYS_LEN, dir, attrs);
	return ret ?: check(edu);
}

static int never_synced_page(struct edu *edu)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	dma_addr_t addr;
	int ret;

	addr = dma_map_page_attrs(edu->dev, virt_to_page(edu->buf), 0, SZ_4K,
				  dir, DMA_ATTR_SKIP_CPU_SYNC);
	if (dma_mapping_error(edu->dev, addr))
		return fail(edu, "not mapped");
	ret = take_turns(edu, 0, addr);
	dma_unmap_page_attrs(edu->dev, addr, SZ_4K, dir,
			     DMA_ATTR_SKIP_CPU_SYNC);
	return ret ?: check(edu);
}

static int never_synced_skip(struct edu *edu)
{
	return never_synced_single(edu, DMA_ATTR_SKIP_CPU_SYNC);
}

static int never_synced_stays(struct edu *edu)
{
	return never_synced_single(edu, DMA_ATTR_LONG_LIVED);
}

/* The pages of an object, in no order */
static int never_synced_list(struct edu *edu, unsigned long attrs,
			     unsigned long unmap_attrs)
{
	static const u8 pages[] = { 9, 2, 30, 3 };
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	struct scatterlist sgl[ARRAY_SIZE(pages)], *sg;
	size_t pos = 0;
	int i, n, ret = 0;

	sg_init_table(sgl, ARRAY_SIZE(sgl));
	for_each_sg(sgl, sg, ARRAY_SIZE(sgl), i)
		sg_set_page(sg, virt_to_page(edu->buf + pages[i] * SZ_4K),
			    SZ_4K, 0);
	n = dma_map_sg_attrs(edu->dev, sgl, ARRAY_SIZE(sgl), dir, attrs);
	if (!n)
		return fail(edu, "not mapped");
	/* The last page of each segment, whatever the list's layout became */
	for_each_sg(sgl, sg, n, i) {
		pos += sg_dma_len(sg);
		ret = ret ?: take_turns(edu, pages[pos / SZ_4K - 1] * SZ_4K,
					sg_dma_address(sg) + sg_dma_len(sg) -
					SZ_4K);
	}
	dma_unmap_sg_attrs(edu->dev, sgl, ARRAY_SIZE(sgl), dir, unmap_attrs);
	return ret ?: check(edu);
}

/*
 * With the attributes of i915, which unmaps with none. It also says that it needs
 * no kernel mapping, but only when mapping, which DMA_API_DEBUG does not like.
 */
static int never_synced_list_skip(struct edu *edu)
{
	return never_synced_list(edu, DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_NO_WARN,
				 0);
}

static int never_synced_list_stays(struct edu *edu)
{
	return never_synced_list(edu, DMA_ATTR_LONG_LIVED, DMA_ATTR_LONG_LIVED);
}

static int never_synced_iova(struct edu *edu)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	struct dma_iova_state state;
	int ret;

	if (!dma_iova_try_alloc(edu->dev, &state, 0, STAYS_LEN, 1, dir,
				DMA_ATTR_LONG_LIVED))
		return skip(edu, "no DMA IOVA API for this device");
	ret = dma_iova_link(edu->dev, &state,
			    virt_to_phys(edu->buf + STAYS_AT), 0, STAYS_LEN,
			    dir, DMA_ATTR_LONG_LIVED);
	if (ret) {
		dma_iova_free(edu->dev, &state);
		return fail(edu, "cannot link");
	}
	ret = dma_iova_sync(edu->dev, &state, 0, STAYS_LEN);
	if (!ret)
		ret = take_turns(edu, STAYS_AT, state.addr);
	dma_iova_destroy(edu->dev, &state, STAYS_LEN, dir, DMA_ATTR_LONG_LIVED);
	return ret ?: check(edu);
}

/*
 * Small kmalloc() buffers: on a device that is not coherent they share cache lines
 * with what lies next to them, and must be bounced if the device writes.
 */

static const u8 small_size[] = { 8, 16, 24, 32, 64, 96, 128, 192 };

#define NR_SMALL	ARRAY_SIZE(small_size)

/* The device's, between two that are not */
struct small {
	u8 *buf[3];
	size_t len;
	u8 want[3][256];
};

static void small_free(struct small *small)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(small->buf); i++)
		kfree(small->buf[i]);
}

static int small_alloc(struct edu *edu, struct small *small, size_t len)
{
	int i;

	small->len = len;
	for (i = 0; i < ARRAY_SIZE(small->buf); i++) {
		small->buf[i] = kmalloc(len, GFP_KERNEL);
		if (small->buf[i])
			get_random_bytes(small->buf[i], len);
		else
			return fail(edu, "no memory");
		memcpy(small->want[i], small->buf[i], len);
	}
	return 0;
}

static int small_check(struct edu *edu, const struct small *small)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(small->buf); i++)
		if (memcmp(small->buf[i], small->want[i], small->len))
			return fail(edu, i == 1 ? "wrong bytes in the buffer" :
						  "wrong bytes beside the buffer");
	return 0;
}

/* Does the device get at memory other than the buffer's, if it must? */
static int small_bounced(struct edu *edu, void *buf, size_t len,
			 dma_addr_t addr, enum dma_data_direction dir)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(edu->dev);

	if (!dma_kmalloc_needs_bounce(edu->dev, len, dir) ||
	    !domain || !iommu_is_dma_domain(domain))
		return 0;
	if (iommu_iova_to_phys(domain, addr) == virt_to_phys(buf))
		return fail(edu, "not bounced");
	return 0;
}

/* All but the first and the last byte, while neighbours are written by the CPU */
static int small_single(struct edu *edu, size_t len,
			enum dma_data_direction dir)
{
	struct small small = {};
	dma_addr_t addr;
	int ret;

	ret = small_alloc(edu, &small, len);
	if (ret)
		goto out;
	addr = dma_map_single(edu->dev, small.buf[1], len, dir);
	if (dma_mapping_error(edu->dev, addr)) {
		ret = fail(edu, "not mapped");
		goto out;
	}
	ret = small_bounced(edu, small.buf[1], len, addr, dir);
	if (!ret && dir != DMA_FROM_DEVICE)
		ret = edu_expect(edu, addr, small.want[1], len);
	if (!ret && dir != DMA_TO_DEVICE) {
		ret = edu_write(edu, addr + 1, len - 2);
		memcpy(small.want[1] + 1, edu->pattern, len - 2);
	}
	get_random_bytes(small.buf[0], len);
	memcpy(small.want[0], small.buf[0], len);
	get_random_bytes(small.buf[2], len);
	memcpy(small.want[2], small.buf[2], len);
	dma_unmap_single(edu->dev, addr, len, dir);
	ret = ret ?: small_check(edu, &small);
out:
	small_free(&small);
	return ret;
}

static int small_sizes(struct edu *edu, enum dma_data_direction dir)
{
	int i, ret = 0;

	for (i = 0; i < NR_SMALL && !ret; i++)
		ret = small_single(edu, small_size[i], dir);
	return ret;
}

static int small_to_device(struct edu *edu)
{
	return small_sizes(edu, DMA_TO_DEVICE);
}

static int small_from_device(struct edu *edu)
{
	return small_sizes(edu, DMA_FROM_DEVICE);
}

static int small_both_ways(struct edu *edu)
{
	return small_sizes(edu, DMA_BIDIRECTIONAL);
}

/*
 * One byte of each entry is written, the first, wherever the list put it. Not the
 * last: QEMU 7.2's virtio-iommu may take the last byte of a page for one of the
 * page that is mapped after it.
 */
static int small_list(struct edu *edu)
{
	struct scatterlist sgl[NR_SMALL], *sg;
	enum dma_data_direction dir = DMA_FROM_DEVICE;
	struct small *small;
	unsigned int i, entry = 0;
	size_t pos, end = 0;
	int n, ret = 0;

	small = kcalloc(NR_SMALL, sizeof(*small), GFP_KERNEL);
	if (!small)
		return fail(edu, "no memory");
	sg_init_table(sgl, NR_SMALL);
	for (i = 0; i < NR_SMALL && !ret; i++) {
		ret = small_alloc(edu, &small[i], small_size[i]);
		if (!ret)
			sg_set_buf(&sgl[i], small[i].buf[1], small_size[i]);
	}
	if (ret)
		goto out;
	n = dma_map_sg(edu->dev, sgl, NR_SMALL, dir);
	if (!n) {
		ret = fail(edu, "not mapped");
		goto out;
	}
	for_each_sg(sgl, sg, n, i) {
		pos = 0;
		end += sg_dma_len(sg);
		while (end && !ret) {
			size_t len = small_size[entry];

			if (!pos)
				ret = small_bounced(edu, small[entry].buf[1],
						    len, sg_dma_address(sg), dir);
			ret = ret ?: edu_write(edu, sg_dma_address(sg) + pos, 1);
			small[entry].want[1][0] = edu->pattern[0];
			pos += len;
			end -= len;
			entry++;
		}
	}
	dma_unmap_sg(edu->dev, sgl, NR_SMALL, dir);
	if (!ret && entry != NR_SMALL)
		ret = fail(edu, "the list became shorter");
	for (i = 0; i < NR_SMALL; i++)
		ret = ret ?: small_check(edu, &small[i]);
out:
	for (i = 0; i < NR_SMALL; i++)
		small_free(&small[i]);
	kfree(small);
	return ret;
}

static int small_linked(struct edu *edu, size_t len)
{
	enum dma_data_direction dir = DMA_BIDIRECTIONAL;
	struct dma_iova_state state;
	struct small small = {};
	phys_addr_t phys;
	int ret;

	ret = small_alloc(edu, &small, len);
	if (ret)
		goto out;
	phys = virt_to_phys(small.buf[1]);
	if (!dma_iova_try_alloc(edu->dev, &state, phys, len, 1, dir, 0)) {
		ret = skip(edu, "no DMA IOVA API for this buffer");
		goto out;
	}
	ret = dma_iova_link(edu->dev, &state, phys, 0, len, dir, 0);
	if (ret) {
		dma_iova_free(edu->dev, &state);
		ret = fail(edu, "cannot link");
		goto out;
	}
	ret = dma_iova_sync(edu->dev, &state, 0, len);
	ret = ret ?: small_bounced(edu, small.buf[1], len, state.addr, dir);
	ret = ret ?: edu_expect(edu, state.addr, small.want[1], len);
	ret = ret ?: edu_write(edu, state.addr + 1, len - 2);
	memcpy(small.want[1] + 1, edu->pattern, len - 2);
	dma_iova_destroy(edu->dev, &state, len, dir, 0);
	ret = ret ?: small_check(edu, &small);
out:
	small_free(&small);
	return ret;
}

/*
 * SWIOTLB keeps the offset in the page, which this API needs, only for devices
 * that ask for it.
 */
static int small_iova(struct edu *edu)
{
	int i, ret = 0;

	dma_set_min_align_mask(edu->dev, SZ_4K - 1);
	for (i = 0; i < NR_SMALL && !ret; i++)
		ret = small_linked(edu, small_size[i]);
	dma_set_min_align_mask(edu->dev, 0);
	return ret;
}

/*
 * A device that is not trusted sees zeroes around a buffer: neither what lies next
 * to it in memory, nor what was mapped there before.
 */
static int untrusted_padding(struct edu *edu, enum dma_data_direction dir)
{
	static const u8 zeroes[INBOX_SIZE];
	const size_t at = 300, len = 1000;
	dma_addr_t addr;
	int i, ret;

	if (!to_pci_dev(edu->dev)->untrusted)
		return skip(edu, "the device is trusted");
	/* Something for the slots, and for the pages, to remember */
	for (i = 0; i < 64; i++) {
		ret = map(edu, i % 8, SZ_4K - 8, dir, &addr);
		if (ret)
			return ret;
		dma_unmap_single(edu->dev, addr, SZ_4K - 8, dir);
	}
	ret = map(edu, at, len, dir, &addr);
	if (ret)
		return ret;
	ret = edu_expect(edu, addr, edu->want + at, len);
	ret = ret ?: edu_expect(edu, addr - at, zeroes, at);
	ret = ret ?: edu_expect(edu, addr + len, zeroes, INBOX_SIZE);
	dma_unmap_single(edu->dev, addr, len, dir);
	return ret ?: check(edu);
}

static int untrusted_reads(struct edu *edu)
{
	return untrusted_padding(edu, DMA_TO_DEVICE);
}

static int untrusted_reads_and_writes(struct edu *edu)
{
	return untrusted_padding(edu, DMA_BIDIRECTIONAL);
}

/* Contexts */

static int from_atomic_context(struct edu *edu)
{
	static DEFINE_SPINLOCK(lock);
	unsigned long flags;
	dma_addr_t addr;
	int ret;

	spin_lock_irqsave(&lock, flags);
	ret = map(edu, 2000, 5000, DMA_BIDIRECTIONAL, &addr);
	spin_unlock_irqrestore(&lock, flags);
	if (ret)
		return ret;
	ret = edu_write(edu, addr + 100, 1000);
	spin_lock_irqsave(&lock, flags);
	dma_unmap_single(edu->dev, addr, 5000, DMA_BIDIRECTIONAL);
	spin_unlock_irqrestore(&lock, flags);
	want_pattern(edu, 2100, 1000);
	return ret ?: check(edu);
}

struct elsewhere {
	struct edu *edu;
	dma_addr_t addr;
	size_t len;
};

static int unmap_here(void *data)
{
	struct elsewhere *e = data;

	dma_unmap_single(e->edu->dev, e->addr, e->len, DMA_FROM_DEVICE);
	return 0;
}

static int unmap_on_another_cpu(struct edu *edu)
{
	struct elsewhere e = { .edu = edu, .len = SZ_4K };
	unsigned int here, there;
	int ret;

	here = get_cpu();
	put_cpu();
	there = cpumask_any_but(cpu_online_mask, here);
	if (there >= nr_cpu_ids)
		return skip(edu, "only one CPU");
	ret = map(edu, SZ_8K, e.len, DMA_FROM_DEVICE, &e.addr);
	if (ret)
		return ret;
	ret = edu_write(edu, e.addr + 33, 2000);
	smp_call_on_cpu(there, unmap_here, &e, false);
	want_pattern(edu, SZ_8K + 33, 2000);
	return ret ?: check(edu);
}

/* Many mappings at once, side by side, without the device. */
static int many_in_flight(struct edu *edu)
{
	const size_t room = BUF_SIZE / MANY;
	static const enum dma_data_direction dirs[] = {
		DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE
	};
	dma_addr_t addr[MANY];
	size_t len[MANY];
	int round, i, ret = 0;

	for (round = 0; round < 50 && !ret; round++) {
		for (i = 0; i < ARRAY_SIZE(addr); i++) {
			len[i] = 1 + (round * MANY + i) * 2741 % room;
			ret = map(edu, i * room, len[i], dirs[i % 3], &addr[i]);
			if (ret)
				break;
		}
		while (i--)
			dma_unmap_single(edu->dev, addr[i], len[i],
					 dirs[i % 3]);
		msleep(20);
	}
	return ret ?: check(edu);
}

#if IS_ENABLED(CONFIG_HMM_MIRROR)
static int hmm_after_bounces(struct edu *edu)
{
	struct hmm_dma_map map = {};

	/* HMM wants devices without address limits. */
	if (dma_addressing_limited(edu->dev))
		return skip(edu, "HMM wants devices that reach all memory");
	if (hmm_dma_map_alloc(edu->dev, &map, 16, PAGE_SIZE))
		return fail(edu, "HMM refuses the device");
	hmm_dma_map_free(edu->dev, &map);
	return 0;
}
#else
static int hmm_after_bounces(struct edu *edu)
{
	return skip(edu, "this kernel has no HMM_MIRROR");
}
#endif

static const struct edu_test tests[] = {
	{ "single to device", single_to_device },
	{ "single from device, short write", single_short_write },
	{ "page, bidirectional", page_both_ways },
	{ "phys, bidirectional, 64 KiB", phys_both_ways },
	{ "above any limit", above_any_limit },
	{ "partial sync", partial_sync },
	{ "long-lived mapping", long_lived },
	{ "unmap without sync", unmap_without_sync },
	{ "scatterlist to device, odd offsets", list_to_device },
	{ "scatterlist from device, odd offsets", list_from_device },
	{ "DMA IOVA API to device", iova_to_device },
	{ "DMA IOVA API from device", iova_from_device },
	{ "DMA IOVA API, space not used", iova_unused },
	{ "maps, never syncs: single", never_synced_skip },
	{ "maps, never syncs: page", never_synced_page },
	{ "maps, never syncs: list, as i915", never_synced_list_skip },
	{ "maps, never syncs: long-lived, single", never_synced_stays },
	{ "maps, never syncs: long-lived, list", never_synced_list_stays },
	{ "maps, never syncs: long-lived, DMA IOVA API", never_synced_iova },
	{ "kmalloc() of 8 to 192 bytes, to device", small_to_device },
	{ "kmalloc() of 8 to 192 bytes, from device", small_from_device },
	{ "kmalloc() of 8 to 192 bytes, bidirectional", small_both_ways },
	{ "kmalloc() of 8 to 192 bytes, list", small_list },
	{ "kmalloc() of 8 to 192 bytes, DMA IOVA API", small_iova },
	{ "zeroes around a buffer, to device", untrusted_reads },
	{ "zeroes around a buffer, bidirectional", untrusted_reads_and_writes },
	{ "mapped and unmapped in atomic context", from_atomic_context },
	{ "unmap on another CPU", unmap_on_another_cpu },
	{ "many mappings in flight", many_in_flight },
	{ "HMM after bounces", hmm_after_bounces },
};

/*
 * The rules of DMA ownership, each broken in a function of its own, which a report
 * names. Nothing is returned: it is for the checker to find.
 */

static void cannot(struct edu *edu, const char *what)
{
	pr_info("# cannot map to break: %s\n", what);
}

static noinline void breaks_write_from_device(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf + 100, 1500,
					 DMA_FROM_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	edu_write(edu, addr, 10);
	edu->buf[100 + 1234] = 1;
	dma_unmap_single(edu->dev, addr, 1500, DMA_FROM_DEVICE);
}

static noinline void breaks_write_bidirectional(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf, SZ_8K,
					 DMA_BIDIRECTIONAL);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	edu->buf[SZ_8K - 1] = 1;
	dma_sync_single_for_cpu(edu->dev, addr, SZ_8K, DMA_BIDIRECTIONAL);
	dma_unmap_single(edu->dev, addr, SZ_8K, DMA_BIDIRECTIONAL);
}

static noinline void breaks_change_to_device(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf + 7, 3000,
					 DMA_TO_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	edu->buf[7 + 2999]++;
	dma_unmap_single(edu->dev, addr, 3000, DMA_TO_DEVICE);
}

static noinline void breaks_write_synced(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf, SZ_8K,
					 DMA_FROM_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	dma_sync_single_for_cpu(edu->dev, addr + SZ_4K, 100, DMA_FROM_DEVICE);
	edu->buf[SZ_4K + 99]++;
	dma_unmap_single(edu->dev, addr, SZ_8K, DMA_FROM_DEVICE);
}

static noinline void breaks_unmap_shorter(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf, 1000,
					 DMA_FROM_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	dma_unmap_single(edu->dev, addr, 999, DMA_FROM_DEVICE);
}

static noinline void breaks_unmap_longer(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf, 1000,
					 DMA_TO_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	dma_unmap_single(edu->dev, addr, 1001, DMA_TO_DEVICE);
}

static noinline void breaks_sync_outside(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf, 1000,
					 DMA_FROM_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	dma_sync_single_for_cpu(edu->dev, addr + 500, 501, DMA_FROM_DEVICE);
	dma_unmap_single(edu->dev, addr, 1000, DMA_FROM_DEVICE);
}

static noinline void breaks_asks_iommu(struct edu *edu)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(edu->dev);
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf, 1000,
					 DMA_FROM_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	iommu_iova_to_phys(domain, addr);
	dma_unmap_single(edu->dev, addr, 1000, DMA_FROM_DEVICE);
}

static noinline void breaks_free_mapped(struct edu *edu)
{
	u8 *p = kmalloc(1000, GFP_KERNEL);
	dma_addr_t addr;

	if (!p)
		return;
	addr = dma_map_single(edu->dev, p, 1000, DMA_TO_DEVICE);
	kfree(p);
	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	dma_unmap_single(edu->dev, addr, 1000, DMA_TO_DEVICE);
}

static noinline void breaks_map_twice(struct edu *edu)
{
	dma_addr_t addr[2];
	int i;

	for (i = 0; i < 2; i++)
		addr[i] = dma_map_single(edu->dev, edu->buf + i * 500, 1000,
					 DMA_FROM_DEVICE);
	for (i = 0; i < 2; i++)
		if (dma_mapping_error(edu->dev, addr[i]))
			cannot(edu, __func__);
		else
			dma_unmap_single(edu->dev, addr[i], 1000,
					 DMA_FROM_DEVICE);
}

static noinline void breaks_write_list(struct edu *edu)
{
	struct scatterlist sgl[LIST_LEN];

	list_init(edu, sgl);
	if (!dma_map_sg(edu->dev, sgl, LIST_LEN, DMA_FROM_DEVICE))
		return cannot(edu, __func__);
	edu->buf[list_entry[1].at] = 1;
	dma_unmap_sg(edu->dev, sgl, LIST_LEN, DMA_FROM_DEVICE);
}

static noinline void breaks_write_synced_list(struct edu *edu)
{
	struct scatterlist sgl[LIST_LEN];

	list_init(edu, sgl);
	if (!dma_map_sg(edu->dev, sgl, LIST_LEN, DMA_FROM_DEVICE))
		return cannot(edu, __func__);
	dma_sync_sg_for_cpu(edu->dev, sgl, LIST_LEN, DMA_FROM_DEVICE);
	edu->buf[list_entry[1].at]++;
	dma_unmap_sg(edu->dev, sgl, LIST_LEN, DMA_FROM_DEVICE);
}

static noinline void breaks_write_linked(struct edu *edu)
{
	struct dma_iova_state state;
	phys_addr_t phys = virt_to_phys(edu->buf);

	if (!dma_iova_try_alloc(edu->dev, &state, 0, SZ_8K, 1, DMA_FROM_DEVICE, 0))
		return cannot(edu, __func__);
	if (dma_iova_link(edu->dev, &state, phys, 0, SZ_8K, DMA_FROM_DEVICE, 0))
		return dma_iova_free(edu->dev, &state);
	dma_iova_sync(edu->dev, &state, 0, SZ_8K);
	edu->buf[SZ_4K] = 1;
	dma_iova_destroy(edu->dev, &state, SZ_8K, DMA_FROM_DEVICE, 0);
}

/* The checker must have been told that a second is long. */
static noinline void breaks_keep_mapped(struct edu *edu)
{
	dma_addr_t addr = dma_map_single(edu->dev, edu->buf, 1000,
					 DMA_TO_DEVICE);

	if (dma_mapping_error(edu->dev, addr))
		return cannot(edu, __func__);
	msleep(4000);
	dma_unmap_single(edu->dev, addr, 1000, DMA_TO_DEVICE);
}

static void (* const breakers[])(struct edu *edu) = {
	breaks_write_from_device,
	breaks_write_bidirectional,
	breaks_change_to_device,
	breaks_write_synced,
	breaks_unmap_shorter,
	breaks_unmap_longer,
	breaks_sync_outside,
	breaks_asks_iommu,
	breaks_free_mapped,
	breaks_map_twice,
	breaks_write_list,
	breaks_write_synced_list,
	breaks_write_linked,
	breaks_keep_mapped,
};

/* Several times: at first there are no buffers to bounce through. */
static void break_all(struct edu *edu)
{
	unsigned int i, again;

	for (i = 0; i < ARRAY_SIZE(breakers); i++) {
		for (again = 0; again < 4; again++) {
			refill(edu);
			breakers[i](edu);
			msleep(50);
		}
	}
	pr_info("# edu: %zu rules were broken\n", ARRAY_SIZE(breakers));
}

static const char * const rounds[] = { "cold", "warm" };

static bool run_one(struct edu *edu, unsigned int nr, const char *round,
		    const struct edu_test *test)
{
	int ret;

	refill(edu);
	edu->why = "";
	ret = test->run(edu);
	if (ret && ret != -ENODATA)
		pr_info("# %s\n", edu->why);
	pr_info("%sok %u - edu: %s, %s%s%s\n",
		ret && ret != -ENODATA ? "not " : "", nr, test->name, round,
		ret == -ENODATA ? " # SKIP " : "",
		ret == -ENODATA ? edu->why : "");
	return !ret || ret == -ENODATA;
}

static void run_all(struct edu *edu)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(edu->dev);
	unsigned int round, i, nr = 0, failed = 0;

	pr_info("# edu: %u-bit addresses, %s\n", dma_bits,
		domain && iommu_is_dma_domain(domain) ? "translated" :
							"not translated");
	pr_info("KTAP version 1\n");
	if (!*only)
		pr_info("1..%zu\n", ARRAY_SIZE(rounds) * ARRAY_SIZE(tests));
	for (round = 0; round < ARRAY_SIZE(rounds); round++)
		for (i = 0; i < ARRAY_SIZE(tests); i++)
			if (str_has_prefix(tests[i].name, only) || !*only)
				failed += !run_one(edu, ++nr, rounds[round],
						   &tests[i]);
	pr_info("# edu: %u passed, %u failed\n", nr - failed, failed);
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct edu *edu = devm_kzalloc(dev, sizeof(*edu), GFP_KERNEL);
	int ret;

	if (!edu)
		return -ENOMEM;
	edu->dev = dev;
	edu->regs = edu_enable(pdev);
	if (IS_ERR(edu->regs))
		return PTR_ERR(edu->regs);
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(dma_bits));
	if (ret)
		return ret;
	pci_set_master(pdev);

	edu->shared = dmam_alloc_coherent(dev, SZ_4K, &edu->shared_addr,
					  GFP_KERNEL);
	edu->buf = (void *)devm_get_free_pages(dev, GFP_KERNEL,
					       get_order(BUF_SIZE));
	edu->want = (void *)devm_get_free_pages(dev, GFP_KERNEL,
						get_order(BUF_SIZE));
	if (!edu->shared || !edu->buf || !edu->want)
		return -ENOMEM;

	ret = edu_load_pattern(edu);
	if (ret)
		pr_info("not ok - edu: %s\n", edu->why);
	else if (break_rules)
		break_all(edu);
	else
		run_all(edu);
	pci_clear_master(pdev);
	return -ENODEV;
}

static const struct pci_device_id edu_ids[] = {
	{ EDU_ID },
	{}
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu_dma",
	.id_table = edu_ids,
	.probe = edu_probe,
	.dma_strict_ownership = true,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("Streaming DMA tests on QEMU's edu device");
MODULE_LICENSE("GPL");
