// SPDX-License-Identifier: GPL-2.0
/*
 * Writes to a disk and reads back, as tests/guest/iovecs.c does, but with memory of the
 * kernel: the ownership checker reports who touches that, and lets memory of user space
 * change. Loading fails if what is read is not what was written.
 *
 * Each bio has up to 120 pieces of size bytes, each in pages of its own.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/sizes.h>

#define PIECES	120
#define PIECE_MEMORY	SZ_8K
#define AT_ONCE	SZ_64K
#define TOTAL	SZ_1M

static char *disk;
module_param(disk, charp, 0444);
static unsigned int size = 512;
module_param(size, uint, 0444);

static void *memory[PIECES];

static u8 *piece(unsigned int nr)
{
	return memory[nr] + nr % 7 * SECTOR_SIZE;
}

static u8 pattern(sector_t sector, unsigned int nr, unsigned int i)
{
	return sector * 131 + nr * 31 + i * 7 + i / 256;
}

static void fill(sector_t sector, unsigned int nr_pieces)
{
	unsigned int nr, i;

	for (nr = 0; nr < nr_pieces; nr++)
		for (i = 0; i < size; i++)
			piece(nr)[i] = pattern(sector, nr, i);
}

static bool is_filled(sector_t sector, unsigned int nr_pieces)
{
	unsigned int nr, i;

	for (nr = 0; nr < nr_pieces; nr++)
		for (i = 0; i < size; i++)
			if (piece(nr)[i] != pattern(sector, nr, i))
				return false;
	return true;
}

static int transfer(struct block_device *bdev, sector_t sector,
		    unsigned int nr_pieces, blk_opf_t op)
{
	struct bio *bio = bio_alloc(bdev, nr_pieces, op, GFP_KERNEL);
	unsigned int nr;
	int ret;

	bio->bi_iter.bi_sector = sector;
	for (nr = 0; nr < nr_pieces; nr++)
		bio_add_virt_nofail(bio, piece(nr), size);
	ret = submit_bio_wait(bio);
	bio_put(bio);
	return ret;
}

static int write_and_read(struct block_device *bdev)
{
	unsigned int nr_pieces = min(PIECES, AT_ONCE / size), nr;
	sector_t sector, step = nr_pieces * size / SECTOR_SIZE;
	int ret;

	for (sector = 0; sector < TOTAL / SECTOR_SIZE; sector += step) {
		fill(sector, nr_pieces);
		ret = transfer(bdev, sector, nr_pieces, REQ_OP_WRITE);
		if (ret)
			return ret;
		for (nr = 0; nr < nr_pieces; nr++)
			memset(piece(nr), 0x5a, size);
		ret = transfer(bdev, sector, nr_pieces, REQ_OP_READ);
		if (ret)
			return ret;
		if (!is_filled(sector, nr_pieces)) {
			pr_info("bio_pieces: %s: other bytes at sector %llu\n", disk, sector);
			return -EILSEQ;
		}
	}
	return 0;
}

static void free_memory(void)
{
	unsigned int nr;

	for (nr = 0; nr < PIECES; nr++)
		if (memory[nr])
			free_pages_exact(memory[nr], PIECE_MEMORY);
}

static int __init bio_pieces_init(void)
{
	struct file *file;
	unsigned int nr;
	int ret = 0;

	if (!disk || !size || size % SECTOR_SIZE || size > PIECE_MEMORY - 6 * SECTOR_SIZE)
		return -EINVAL;
	file = bdev_file_open_by_path(disk, BLK_OPEN_READ | BLK_OPEN_WRITE, NULL, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	for (nr = 0; nr < PIECES && !ret; nr++) {
		memory[nr] = alloc_pages_exact(PIECE_MEMORY, GFP_KERNEL);
		ret = memory[nr] ? 0 : -ENOMEM;
	}
	if (!ret)
		ret = write_and_read(file_bdev(file));
	free_memory();
	bdev_fput(file);
	return ret;
}
module_init(bio_pieces_init);

static void __exit bio_pieces_exit(void)
{
}
module_exit(bio_pieces_exit);

MODULE_DESCRIPTION("Disk I/O in small pieces of the kernel's memory");
MODULE_LICENSE("GPL");
