// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O on a disk, from kernel threads: through the functions that io_uring
 * calls for a block device and registered buffers, without system calls,
 * which cost microseconds in user-mode Linux.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "disk.h"
#include "diskio.h"

static void put_idle(struct diskio *io)
{
	struct diskio_queue *queue = io->queue;

	io->next = queue->idle;
	queue->idle = io;
	queue->nr_idle++;
}

struct diskio *diskio_get_idle(struct diskio_queue *queue)
{
	struct diskio *io = queue->idle;

	queue->idle = io->next;
	queue->nr_idle--;
	return io;
}

/* On the queue's CPU, within diskio_wait() or diskio_submit() */
static void end_io(struct kiocb *kiocb, long ret)
{
	struct diskio *io = container_of(kiocb, struct diskio, kiocb);

	io->ret = ret;
	io->queue->completed++;
	io->queue->failed += ret != io->len;
	put_idle(io);
}

void diskio_submit(struct diskio *io)
{
	struct file *file = disk_file(io->queue->disk);
	struct iov_iter iter;
	ssize_t ret;

	iov_iter_bvec(&iter, io->write ? ITER_SOURCE : ITER_DEST, io->vecs,
		      io->nr_vecs, io->len);
	io->kiocb = (struct kiocb){
		.ki_filp = file, .ki_pos = io->pos, .ki_flags = IOCB_DIRECT,
		.ki_complete = end_io,
	};
	ret = io->write ? vfs_iocb_iter_write(file, &io->kiocb, &iter) :
			  vfs_iocb_iter_read(file, &io->kiocb, &iter);
	if (ret != -EIOCBQUEUED)
		end_io(&io->kiocb, ret);
}

void diskio_wait(struct diskio_queue *queue, unsigned int most)
{
	disk_interrupt(queue->disk, most);
	cond_resched();
}

void diskio_start(struct diskio_queue *queue, struct disk *disk,
		  unsigned int depth)
{
	unsigned int i;

	queue->disk = disk;
	queue->depth = depth;
	queue->idle = NULL;
	queue->nr_idle = 0;
	queue->completed = 0;
	queue->failed = 0;
	for (i = 0; i < depth; i++)
		put_idle(&queue->ios[i]);
}

static void add_vec(struct diskio *io, struct page *page, unsigned int len,
		    unsigned int offset)
{
	bvec_set_page(&io->vecs[io->nr_vecs++], page, len, offset);
}

void diskio_set_buffer(struct diskio *io, unsigned int offset, size_t len,
		       enum diskio_layout layout)
{
	struct page **page = io->pages;

	io->nr_vecs = 0;
	io->len = len;
	if (layout == DISKIO_CONTIGUOUS) {
		add_vec(io, virt_to_page(io->memory), len, offset);
		return;
	}
	while (len) {
		unsigned int part = min(len, PAGE_SIZE - offset);

		add_vec(io, *page++, part, offset);
		len -= part;
		if (layout == DISKIO_PAGES)
			offset = 0;
	}
}

/* Every second page of blocks of two, so that no two are neighbours */
static int alloc_pages_apart(struct page **pages)
{
	unsigned int i;

	for (i = 0; i < DISKIO_NR_PAGES; i++) {
		pages[i] = alloc_pages(GFP_KERNEL, 1);
		if (!pages[i])
			return -ENOMEM;
	}
	return 0;
}

static int alloc_io(struct diskio *io, struct diskio_queue *queue)
{
	io->queue = queue;
	io->pages = kzalloc_objs(*io->pages, DISKIO_NR_PAGES);
	io->vecs = kzalloc_objs(*io->vecs, DISKIO_NR_PAGES);
	io->memory = alloc_pages_exact(DISKIO_NR_PAGES * PAGE_SIZE, GFP_KERNEL);
	if (!io->pages || !io->vecs || !io->memory)
		return -ENOMEM;
	return alloc_pages_apart(io->pages);
}

static void free_io(struct diskio *io)
{
	unsigned int i;

	for (i = 0; io->pages && i < DISKIO_NR_PAGES && io->pages[i]; i++)
		__free_pages(io->pages[i], 1);
	if (io->memory)
		free_pages_exact(io->memory, DISKIO_NR_PAGES * PAGE_SIZE);
	kfree(io->pages);
	kfree(io->vecs);
}

void diskio_free(struct diskio_queue *queue)
{
	unsigned int i;

	for (i = 0; i < DISKIO_DEPTH; i++)
		free_io(&queue->ios[i]);
	kfree(queue);
}

struct diskio_queue *diskio_alloc(void)
{
	struct diskio_queue *queue = kzalloc_obj(*queue);
	unsigned int i;

	if (!queue)
		return NULL;
	for (i = 0; i < DISKIO_DEPTH; i++) {
		if (alloc_io(&queue->ios[i], queue)) {
			diskio_free(queue);
			return NULL;
		}
	}
	return queue;
}
