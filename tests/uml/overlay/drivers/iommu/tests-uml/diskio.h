/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Direct I/O on a disk, from kernel threads.
 */
#ifndef DISKIO_H
#define DISKIO_H

#include <linux/bvec.h>
#include <linux/fs.h>
#include <linux/sizes.h>

struct disk;

/* Pages of a buffer: room for an offset */
#define DISKIO_NR_PAGES	(DISKIO_MAX / PAGE_SIZE + 1)
/* The longest request, and the most of them that a queue may have in flight */
#define DISKIO_MAX	SZ_256K
#define DISKIO_DEPTH	64U

/**
 * struct diskio - one request at a time
 * @kiocb: what the block device is given
 * @queue: its queue
 * @next: the next one that is idle
 * @pages: %DISKIO_NR_PAGES pages, of which no two are neighbours
 * @memory: as many that are contiguous
 * @vecs: what of them is used, see diskio_set_buffer()
 * @nr_vecs: number of @vecs
 * @write: direction
 * @pos: position on the disk
 * @len: bytes
 * @ret: its result, once it has completed
 */
struct diskio {
	struct kiocb kiocb;
	struct diskio_queue *queue;
	struct diskio *next;
	struct page **pages;
	u8 *memory;
	struct bio_vec *vecs;
	unsigned int nr_vecs;
	bool write;
	loff_t pos;
	size_t len;
	long ret;
};

/**
 * struct diskio_queue - of one CPU, whose threads alone use it
 * @disk: disk
 * @ios: all of them
 * @depth: how many of @ios are used
 * @idle: those that are not in flight
 * @nr_idle: number of them
 * @completed: number of requests that have completed
 * @failed: of these, those that did not transfer all of their bytes
 */
struct diskio_queue {
	struct disk *disk;
	struct diskio ios[DISKIO_DEPTH];
	unsigned int depth;
	struct diskio *idle;
	unsigned int nr_idle;
	u64 completed;
	u64 failed;
};

struct diskio_queue *diskio_alloc(void);
void diskio_free(struct diskio_queue *queue);

/* Use @depth requests at a time on this disk, from now on. */
void diskio_start(struct diskio_queue *queue, struct disk *disk,
		  unsigned int depth);

/**
 * enum diskio_layout - which memory a buffer is
 * @DISKIO_CONTIGUOUS: contiguous memory
 * @DISKIO_PAGES: single pages, all of each but the first and the last
 * @DISKIO_GAPS: single pages, of none the beginning, so that the DMA API cannot give
 *	them contiguous addresses
 * @DISKIO_NR_LAYOUTS: number of these
 */
enum diskio_layout {
	DISKIO_CONTIGUOUS,
	DISKIO_PAGES,
	DISKIO_GAPS,
	DISKIO_NR_LAYOUTS
};

/* The buffer is @len bytes, which begin @offset bytes into the page. */
void diskio_set_buffer(struct diskio *io, unsigned int offset, size_t len,
		       enum diskio_layout layout);

/* Take an idle request. The caller fills it in and submits it. */
struct diskio *diskio_get_idle(struct diskio_queue *queue);
void diskio_submit(struct diskio *io);

/* Take one interrupt, and let the other threads of this CPU have their turn. */
void diskio_wait(struct diskio_queue *queue, unsigned int most);

#endif /* DISKIO_H */
