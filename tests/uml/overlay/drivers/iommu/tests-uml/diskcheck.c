// SPDX-License-Identifier: GPL-2.0
/*
 * Is data right on a disk that moves it through the IOMMU? Each of 64 requests owns a
 * region of the disk, writes and reads there at random and knows what was written.
 * All memory around the buffer must stay as it is, and so must the buffer of a read
 * that fails.
 */
#include <linux/blkdev.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/vmalloc.h>

#include "disk.h"
#include "diskbench.h"
#include "diskio.h"
#include "null-iommu.h"

#define REGION_SECTORS	(DISKIO_MAX >> SECTOR_SHIFT)
/* The last one separates regions, else requests of two of them could be merged. */
#define USED_SECTORS	(REGION_SECTORS - 1)
#define DISK_BYTES	((size_t)DISKIO_DEPTH * DISKIO_MAX)
/* No data looks like this, see value_of(). */
#define POISON		0xa5
/* Requests that are longer may be split, and then half of them fails. */
#define MAX_FAILING	SZ_64K
#define BATCH		7

struct check {
	struct diskio_queue *queue;
	struct disk *disk;
	u32 (*written)[REGION_SECTORS];	/* by region: number of the write */
	struct {
		bool bad;	/* meets the bad sector */
		u32 number;	/* of the write, or of the last one */
	} doing[DISKIO_DEPTH];
	struct rnd_state rnd;
	u64 bytes;
	unsigned int failing;
	unsigned int errors;
};

#define check_error(check, fmt, ...) do {				\
	if (check->errors++ < 5)					\
		pr_err("bench: disk: " fmt "\n", ##__VA_ARGS__);	\
} while (0)

static u32 below(struct check *check, u32 limit)
{
	return prandom_u32_state(&check->rnd) % limit;
}

static unsigned int index_of(struct check *check, struct diskio *io)
{
	return io - check->queue->ios;
}

/* Bit 7 is never set. Memory that was never written is zero. */
static u8 value_of(u64 pos, u32 number)
{
	return number ? (pos * 7 + (pos >> SECTOR_SHIFT) * 13 + number * 31) & 0x7f : 0;
}

/* What is to be in the buffer: before a write, and after a command */
static u8 expected(struct check *check, struct diskio *io, u64 pos)
{
	unsigned int region = index_of(check, io);
	u32 sector = (pos >> SECTOR_SHIFT) % REGION_SECTORS;

	if (io->write)
		return value_of(pos, check->doing[region].number);
	if (check->doing[region].bad)
		return POISON;
	return value_of(pos, check->written[region][sector]);
}

typedef bool (*byte_fn)(struct check *check, struct diskio *io, u8 *byte,
			u64 pos);

/* Call @fn for each byte of the buffer until it returns false. */
static void for_each_byte(struct check *check, struct diskio *io, byte_fn fn)
{
	u64 pos = io->pos;
	unsigned int i, at;

	for (i = 0; i < io->nr_vecs; i++) {
		u8 *memory = bvec_virt(&io->vecs[i]);

		for (at = 0; at < io->vecs[i].bv_len; at++)
			if (!fn(check, io, memory + at, pos++))
				return;
	}
}

static bool fill_byte(struct check *check, struct diskio *io, u8 *byte, u64 pos)
{
	*byte = expected(check, io, pos);
	return true;
}

static const char *name_of(struct check *check, struct diskio *io)
{
	if (check->doing[index_of(check, io)].bad)
		return io->write ? "failing write" : "failing read";
	return io->write ? "write" : "read";
}

static bool compare_byte(struct check *check, struct diskio *io, u8 *byte,
			 u64 pos)
{
	u8 want = expected(check, io, pos);

	if (*byte == want)
		return true;
	check_error(check, "%s of %zu at %#llx: byte %llu is %#x, not %#x",
		    name_of(check, io), io->len, io->pos, pos - io->pos, *byte,
		    want);
	return false;
}

static bool poison_byte(struct check *check, struct diskio *io, u8 *byte,
			u64 pos)
{
	*byte = POISON;
	return true;
}

static bool is_poisoned(struct diskio *io)
{
	unsigned int i;

	for (i = 0; i < DISKIO_NR_PAGES; i++)
		if (memchr_inv(page_address(io->pages[i]), POISON, PAGE_SIZE))
			return false;
	return !memchr_inv(io->memory, POISON, DISKIO_NR_PAGES * PAGE_SIZE);
}

static void poison(struct diskio *io)
{
	unsigned int i;

	for (i = 0; i < DISKIO_NR_PAGES; i++)
		memset(page_address(io->pages[i]), POISON, PAGE_SIZE);
	memset(io->memory, POISON, DISKIO_NR_PAGES * PAGE_SIZE);
}

/* Returns how many sectors a buffer has room for, at most. */
static u32 room(enum diskio_layout layout, unsigned int offset)
{
	if (layout == DISKIO_GAPS)
		return (DISKIO_NR_PAGES * (PAGE_SIZE - offset)) >> SECTOR_SHIFT;
	return REGION_SECTORS;
}

static void choose(struct check *check, struct diskio *io)
{
	unsigned int region = index_of(check, io);
	enum diskio_layout layout = below(check, DISKIO_NR_LAYOUTS);
	unsigned int offset = below(check, 2) ? 0 : below(check, 8) << SECTOR_SHIFT;
	u32 first = below(check, USED_SECTORS);
	u32 most;

	/* The first region has the bad sector. */
	if (region == 0 && below(check, 2))
		first = 0;
	most = min(USED_SECTORS - first, room(layout, offset));
	if (region == 0 && first == 0)
		most = min_t(u32, most, MAX_FAILING >> SECTOR_SHIFT);
	/* Half of them are short. */
	if (below(check, 2))
		most = min(most, 16U);
	io->pos = ((u64)region * REGION_SECTORS + first) << SECTOR_SHIFT;
	io->write = below(check, 2);
	check->doing[region].bad = io->pos == 0;
	check->doing[region].number += io->write;
	diskio_set_buffer(io, offset, (1 + below(check, most)) << SECTOR_SHIFT,
			  layout);
	if (io->write)
		for_each_byte(check, io, fill_byte);
}

static void remember_write(struct check *check, struct diskio *io)
{
	unsigned int region = index_of(check, io);
	u32 first = (io->pos >> SECTOR_SHIFT) % REGION_SECTORS;
	u32 i;

	for (i = 0; i < io->len >> SECTOR_SHIFT; i++)
		check->written[region][first + i] = check->doing[region].number;
}

static void compare(struct check *check, struct diskio *io)
{
	for_each_byte(check, io, compare_byte);
	for_each_byte(check, io, poison_byte);
	if (is_poisoned(io))
		return;
	check_error(check, "%s of %zu at %#llx: memory around the buffer has changed",
		    name_of(check, io), io->len, io->pos);
	poison(io);
}

static void finish(struct check *check, struct diskio *io)
{
	bool bad = check->doing[index_of(check, io)].bad;

	if (!io->len)	/* has not done anything yet */
		return;
	if (io->ret != (bad ? -EIO : (long)io->len))
		check_error(check, "%s of %zu at %#llx returned %ld",
			    name_of(check, io), io->len, io->pos, io->ret);
	compare(check, io);
	if (io->write && !bad)
		remember_write(check, io);
	check->bytes += io->len;
	check->failing += bad;
}

static void run_steps(struct check *check, unsigned int steps)
{
	struct diskio_queue *queue = check->queue;
	struct blk_plug plug;
	unsigned int i;

	for (i = 0; i < DISKIO_DEPTH; i++) {
		queue->ios[i].len = 0;
		poison(&queue->ios[i]);
	}
	diskio_start(queue, check->disk, DISKIO_DEPTH);
	for (i = 0; i < steps; ) {
		blk_start_plug(&plug);
		for (; queue->nr_idle && i < steps; i++) {
			struct diskio *io = diskio_get_idle(queue);

			finish(check, io);
			choose(check, io);
			diskio_submit(io);
		}
		blk_finish_plug(&plug);
		diskio_wait(queue, BATCH);
	}
	while (queue->nr_idle < DISKIO_DEPTH)
		diskio_wait(queue, BATCH);
	while (queue->nr_idle)
		finish(check, diskio_get_idle(queue));
}

static int run_check(struct check *check, struct device *dev,
		     unsigned int steps)
{
	u64 operations = null_iommu_operations();

	disk_set_bad_sector(check->disk, 0);
	run_steps(check, steps);
	if (disk_faults(check->disk))
		check_error(check, "%u faults of the IOMMU",
			    disk_faults(check->disk));
	pr_info("bench: {\"requests\": %u, \"bytes\": %llu, \"failing\": %u, \"errors\": %u, \"operations\": %llu}\n",
		steps, check->bytes, check->failing, check->errors,
		null_iommu_operations() - operations);
	return check->errors ? -EIO : 0;
}

int diskcheck_run(struct device *dev, unsigned int steps)
{
	static const struct disk_bus bus = {
		.read = null_iommu_read, .write = null_iommu_write
	};
	struct check *check = kvzalloc_obj(*check);
	int ret = -ENOMEM;

	if (!check)
		return ret;
	prandom_seed_state(&check->rnd, 1);
	check->written = vzalloc(array_size(DISKIO_DEPTH,
					    sizeof(*check->written)));
	check->queue = diskio_alloc();
	check->disk = disk_add(dev, DISK_BYTES, &bus);
	if (check->written && check->queue && !IS_ERR(check->disk))
		ret = run_check(check, dev, steps);
	if (!IS_ERR(check->disk))
		disk_del(check->disk);
	if (check->queue)
		diskio_free(check->queue);
	vfree(check->written);
	kvfree(check);
	return ret;
}
