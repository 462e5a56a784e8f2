// SPDX-License-Identifier: GPL-2.0
/*
 * A disk whose driver maps requests as nvme-pci does, for a controller that has
 * scatter-gather lists: one segment by dma_map_bvec(), more of them by
 * blk_rq_dma_map_iter_start(), and lists of descriptors from a dma_pool. Reads say
 * that the device overwrites the buffer, and those that failed skip the sync.
 * Submission, batches and completion follow nvme-pci as well.
 *
 * Commands are executed when the interrupt is taken, in the order in which they were
 * submitted, so that the submission queue is a completion queue, too.
 */
#include <linux/blk-mq.h>
#include <linux/blk-mq-dma.h>
#include <linux/blkdev.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/file.h>
#include <linux/hardirq.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "disk.h"

#define QUEUE_DEPTH	256
#define MAX_BYTES	SZ_8M
#define MAX_SEGMENTS	(SZ_4K / sizeof(struct disk_segment))
/* What NVMe calls its controller page, whatever that of the CPU */
#define DEVICE_PAGE	SZ_4K

struct disk_segment {
	u64 addr;
	u64 len;
};

/* As large as a command of NVMe */
struct disk_command {
	u16 tag;
	bool write;
	bool list;			/* the segment is that of a list */
	u32 sectors;
	u64 sector;
	struct disk_segment segment;
	u64 reserved[4];
};
static_assert(sizeof(struct disk_command) == 64);

/**
 * struct disk_queue - of one CPU
 * @lock: guards @tail and the commands that are put there
 * @tail: where the next command goes
 * @head: the next one to be executed, only used with interrupts disabled
 * @commands: a ring
 */
struct disk_queue {
	spinlock_t lock;
	u16 tail;
	u16 head;
	struct disk_command *commands;
};

struct disk {
	struct device *dev;
	struct gendisk *gendisk;
	struct file *file;
	struct blk_mq_tag_set tags;
	struct dma_pool *lists;
	const struct disk_bus *bus;
	u8 *memory;
	sector_t bad_sector;
	atomic_t faults;
	struct disk_queue *queues;
};

/* What the driver remembers of a request */
struct disk_iod {
	struct disk_command cmd;
	struct dma_iova_state state;
	struct disk_segment *list;
	unsigned int total_len;
	u16 segments;		/* in the list */
	bool single;
	bool failed;
};

/* The driver: mapping. See nvme_map_attrs() and nvme_unmap_attrs(). */

static unsigned int map_attrs(struct request *req)
{
	return req_op(req) == REQ_OP_READ ? DMA_ATTR_OVERWRITE : 0;
}

static unsigned int unmap_attrs(struct request *req)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);

	return req_op(req) == REQ_OP_READ && iod->failed ?
	       DMA_ATTR_SKIP_CPU_SYNC : 0;
}

static void unmap_list(struct disk *disk, struct request *req,
		       unsigned int attrs)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);
	unsigned int i;

	for (i = 0; i < iod->segments; i++)
		dma_unmap_phys(disk->dev, iod->list[i].addr, iod->list[i].len,
			       rq_dma_dir(req), attrs);
}

static void unmap_data(struct disk *disk, struct request *req,
		       unsigned int attrs)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);

	if (iod->single) {
		dma_unmap_page_attrs(disk->dev, iod->cmd.segment.addr,
				     iod->total_len, rq_dma_dir(req), attrs);
		return;
	}
	if (!blk_rq_dma_unmap(req, disk->dev, &iod->state, iod->total_len,
			      PCI_P2PDMA_MAP_NONE, attrs))
		unmap_list(disk, req, attrs);
	if (iod->list)
		dma_pool_free(disk->lists, iod->list, iod->cmd.segment.addr);
}

static blk_status_t map_single(struct disk *disk, struct request *req)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);
	struct bio_vec bv = req_bvec(req);
	dma_addr_t addr = dma_map_bvec(disk->dev, &bv, rq_dma_dir(req),
				       map_attrs(req));

	if (dma_mapping_error(disk->dev, addr))
		return BLK_STS_RESOURCE;
	iod->single = true;
	iod->total_len = bv.bv_len;
	iod->cmd.segment = (struct disk_segment){ addr, bv.bv_len };
	return BLK_STS_OK;
}

static blk_status_t map_list(struct disk *disk, struct request *req,
			     struct blk_dma_iter *iter)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);
	dma_addr_t list_addr;

	iod->list = dma_pool_alloc(disk->lists, GFP_ATOMIC, &list_addr);
	if (!iod->list) {
		if (!blk_rq_dma_unmap(req, disk->dev, &iod->state, iter->len,
				      PCI_P2PDMA_MAP_NONE,
				      DMA_ATTR_SKIP_CPU_SYNC))
			dma_unmap_phys(disk->dev, iter->addr, iter->len,
				       rq_dma_dir(req), DMA_ATTR_SKIP_CPU_SYNC);
		return BLK_STS_RESOURCE;
	}
	do {
		iod->list[iod->segments++] =
			(struct disk_segment){ iter->addr, iter->len };
		iod->total_len += iter->len;
	} while (blk_rq_dma_map_iter_next(req, disk->dev, iter));

	iod->cmd.list = true;
	iod->cmd.segment = (struct disk_segment){ list_addr, iod->segments };
	if (iter->status)
		unmap_data(disk, req, DMA_ATTR_SKIP_CPU_SYNC);
	return iter->status;
}

static blk_status_t map_data(struct disk *disk, struct request *req)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);
	struct blk_dma_iter iter;

	if (blk_rq_nr_phys_segments(req) == 1)
		return map_single(disk, req);
	if (!blk_rq_dma_map_iter_start(req, disk->dev, &iod->state, &iter,
				       map_attrs(req)))
		return iter.status;
	if (!blk_rq_dma_map_coalesce(&iod->state))
		return map_list(disk, req, &iter);
	iod->total_len = iter.len;
	iod->cmd.segment = (struct disk_segment){ iter.addr, iter.len };
	return BLK_STS_OK;
}

/* The driver: submission */

static blk_status_t prepare(struct disk *disk, struct request *req)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);
	blk_status_t status;

	if (req_op(req) != REQ_OP_READ && req_op(req) != REQ_OP_WRITE)
		return BLK_STS_NOTSUPP;
	iod->list = NULL;
	iod->total_len = 0;
	iod->segments = 0;
	iod->single = false;
	iod->failed = false;
	iod->cmd = (struct disk_command){
		.tag = req->tag, .write = req_op(req) == REQ_OP_WRITE,
		.sector = blk_rq_pos(req), .sectors = blk_rq_sectors(req),
	};
	status = map_data(disk, req);
	if (status == BLK_STS_OK)
		blk_mq_start_request(req);
	return status;
}

static void put_command(struct disk_queue *queue, struct request *req)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);

	queue->commands[queue->tail] = iod->cmd;
	queue->tail = (queue->tail + 1) % QUEUE_DEPTH;
}

static blk_status_t disk_queue_rq(struct blk_mq_hw_ctx *hctx,
				  const struct blk_mq_queue_data *bd)
{
	struct disk_queue *queue = hctx->driver_data;
	blk_status_t status = prepare(hctx->queue->queuedata, bd->rq);

	if (status)
		return status;
	spin_lock(&queue->lock);
	put_command(queue, bd->rq);
	spin_unlock(&queue->lock);
	return BLK_STS_OK;
}

static void put_commands(struct disk_queue *queue, struct rq_list *list)
{
	struct request *req;

	if (rq_list_empty(list))
		return;
	spin_lock(&queue->lock);
	while ((req = rq_list_pop(list)))
		put_command(queue, req);
	spin_unlock(&queue->lock);
}

static void disk_queue_rqs(struct rq_list *list)
{
	struct rq_list ready = { }, refused = { };
	struct disk_queue *queue = NULL;
	struct request *req;

	while ((req = rq_list_pop(list))) {
		if (queue && queue != req->mq_hctx->driver_data)
			put_commands(queue, &ready);
		queue = req->mq_hctx->driver_data;
		if (prepare(req->q->queuedata, req) == BLK_STS_OK)
			rq_list_add_tail(&ready, req);
		else
			rq_list_add_tail(&refused, req);
	}
	if (queue)
		put_commands(queue, &ready);
	*list = refused;
}

/* The driver: completion */

static void unmap_request(struct request *req)
{
	unmap_data(req->q->queuedata, req, unmap_attrs(req));
}

static void disk_complete_rq(struct request *req)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);

	unmap_request(req);
	/* The errors here are meant. */
	req->rq_flags |= RQF_QUIET;
	blk_mq_end_request(req, iod->failed ? BLK_STS_IOERR : BLK_STS_OK);
}

/* See nvme_complete_batch(). */
static void complete_batch(struct io_comp_batch *iob)
{
	struct request *req;

	rq_list_for_each(&iob->req_list, req)
		unmap_request(req);
	blk_mq_end_request_batch(iob);
}

static int disk_init_hctx(struct blk_mq_hw_ctx *hctx, void *data,
			  unsigned int index)
{
	struct disk *disk = data;

	hctx->driver_data = &disk->queues[index];
	return 0;
}

/* Each CPU has the queue of its number. */
static void disk_map_queues(struct blk_mq_tag_set *set)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		set->map[HCTX_TYPE_DEFAULT].mq_map[cpu] = cpu;
}

static const struct blk_mq_ops disk_mq_ops = {
	.queue_rq = disk_queue_rq,
	.queue_rqs = disk_queue_rqs,
	.complete = disk_complete_rq,
	.init_hctx = disk_init_hctx,
	.map_queues = disk_map_queues,
};

/* The device */

static int move_segment(struct disk *disk, bool write, u8 *memory,
			const struct disk_segment *segment)
{
	if (write)
		return disk->bus->read(disk->dev, segment->addr, memory,
				       segment->len);
	return disk->bus->write(disk->dev, segment->addr, memory, segment->len);
}

static int move_list(struct disk *disk, const struct disk_command *cmd,
		     u8 *memory)
{
	unsigned int i;
	int ret;

	for (i = 0; i < cmd->segment.len; i++) {
		struct disk_segment segment;

		ret = disk->bus->read(disk->dev,
				      cmd->segment.addr + i * sizeof(segment),
				      &segment, sizeof(segment));
		ret = ret ?: move_segment(disk, cmd->write, memory, &segment);
		if (ret)
			return ret;
		memory += segment.len;
	}
	return 0;
}

/* Returns whether the command failed. */
static bool execute(struct disk *disk, const struct disk_command *cmd)
{
	u8 *memory = disk->memory + (cmd->sector << SECTOR_SHIFT);
	int ret;

	if (!disk->bus)
		return false;
	if (disk->bad_sector >= cmd->sector &&
	    disk->bad_sector - cmd->sector < cmd->sectors)
		return true;
	ret = cmd->list ? move_list(disk, cmd, memory) :
	      move_segment(disk, cmd->write, memory, &cmd->segment);
	if (ret)
		atomic_inc(&disk->faults);
	return ret;
}

/* See nvme_handle_cqe(). */
static void end_command(struct disk *disk, struct request *req, bool failed,
			struct io_comp_batch *iob)
{
	struct disk_iod *iod = blk_mq_rq_to_pdu(req);

	iod->failed = failed;
	if (blk_mq_complete_request_remote(req))
		return;
	if (!blk_mq_add_to_batch(req, iob, failed, complete_batch))
		disk_complete_rq(req);
}

static void irq_handler(struct disk *disk, unsigned int index,
			unsigned int most)
{
	struct disk_queue *queue = &disk->queues[index];
	DEFINE_IO_COMP_BATCH(iob);

	while (most-- && queue->head != READ_ONCE(queue->tail)) {
		struct disk_command *cmd = &queue->commands[queue->head];
		struct request *req = blk_mq_tag_to_rq(disk->tags.tags[index],
						       cmd->tag);

		queue->head = (queue->head + 1) % QUEUE_DEPTH;
		end_command(disk, req, execute(disk, cmd), &iob);
	}
	if (!rq_list_empty(&iob.req_list))
		complete_batch(&iob);
}

void disk_interrupt(struct disk *disk, unsigned int most)
{
	unsigned long flags;

	local_irq_save(flags);
	irq_enter();
	irq_handler(disk, smp_processor_id(), most);
	irq_exit();
	local_irq_restore(flags);
}

void disk_set_bad_sector(struct disk *disk, sector_t sector)
{
	disk->bad_sector = sector;
}

unsigned int disk_faults(struct disk *disk)
{
	return atomic_read(&disk->faults);
}

/* Coming and going */

static int alloc_queues(struct disk *disk)
{
	unsigned int i;

	disk->queues = kzalloc_objs(*disk->queues, nr_cpu_ids);
	if (!disk->queues)
		return -ENOMEM;
	for (i = 0; i < nr_cpu_ids; i++) {
		spin_lock_init(&disk->queues[i].lock);
		disk->queues[i].commands =
			kzalloc_objs(struct disk_command, QUEUE_DEPTH);
		if (!disk->queues[i].commands)
			return -ENOMEM;
	}
	return 0;
}

static void disk_free(struct disk *disk)
{
	unsigned int i;

	if (disk->tags.ops)
		blk_mq_free_tag_set(&disk->tags);
	dma_pool_destroy(disk->lists);
	for (i = 0; disk->queues && i < nr_cpu_ids; i++)
		kfree(disk->queues[i].commands);
	kfree(disk->queues);
	vfree(disk->memory);
	kfree(disk);
}

static struct disk *disk_alloc(struct device *dev, size_t bytes,
			       const struct disk_bus *bus)
{
	struct disk *disk = kzalloc_obj(*disk);

	if (!disk)
		return NULL;
	disk->dev = dev;
	disk->bus = bus;
	disk->bad_sector = ~(sector_t)0;
	disk->memory = bus ? vzalloc(bytes) : NULL;
	disk->lists = dma_pool_create("disk", dev, SZ_4K, SZ_4K, 0);
	if (alloc_queues(disk) || !disk->lists || (bus && !disk->memory)) {
		disk_free(disk);
		return NULL;
	}
	return disk;
}

static int alloc_tags(struct disk *disk)
{
	int ret;

	disk->tags.ops = &disk_mq_ops;
	disk->tags.nr_hw_queues = nr_cpu_ids;
	/* One place in the ring stays free. */
	disk->tags.queue_depth = QUEUE_DEPTH - 1;
	disk->tags.numa_node = NUMA_NO_NODE;
	disk->tags.cmd_size = sizeof(struct disk_iod);
	disk->tags.driver_data = disk;
	ret = blk_mq_alloc_tag_set(&disk->tags);
	if (ret)
		disk->tags.ops = NULL;
	return ret;
}

static const struct block_device_operations disk_fops = {
	.owner = THIS_MODULE,
};

static int add_gendisk(struct disk *disk, size_t bytes)
{
	struct queue_limits limits = {
		.dma_alignment = 3,
		.max_hw_sectors = min_t(size_t, MAX_BYTES,
					dma_opt_mapping_size(disk->dev)) >>
				  SECTOR_SHIFT,
		.max_segments = MAX_SEGMENTS,
		.max_segment_size = UINT_MAX,
	};
	struct gendisk *gendisk = blk_mq_alloc_disk(&disk->tags, &limits, disk);

	if (IS_ERR(gendisk))
		return PTR_ERR(gendisk);
	disk->gendisk = gendisk;
	gendisk->flags |= GENHD_FL_NO_PART;
	strscpy(gendisk->disk_name, dev_name(disk->dev));
	gendisk->fops = &disk_fops;
	set_capacity(gendisk, bytes >> SECTOR_SHIFT);
	return add_disk(gendisk);
}

static int open_file(struct disk *disk)
{
	struct file *file = bdev_file_open_by_dev(disk_devt(disk->gendisk),
						  BLK_OPEN_READ |
						  BLK_OPEN_WRITE, NULL, NULL);

	if (IS_ERR(file))
		return PTR_ERR(file);
	disk->file = file;
	return 0;
}

struct disk *disk_add(struct device *dev, size_t bytes,
		      const struct disk_bus *bus)
{
	struct disk *disk;
	int ret;

	dma_set_min_align_mask(dev, DEVICE_PAGE - 1);
	disk = disk_alloc(dev, bytes, bus);
	if (!disk)
		return ERR_PTR(-ENOMEM);
	ret = alloc_tags(disk);
	ret = ret ?: add_gendisk(disk, bytes);
	ret = ret ?: open_file(disk);
	if (!ret)
		return disk;
	/* It was never added, or nothing but its file is missing. */
	if (disk->gendisk && disk_live(disk->gendisk))
		del_gendisk(disk->gendisk);
	if (disk->gendisk)
		put_disk(disk->gendisk);
	disk_free(disk);
	return ERR_PTR(ret);
}

void disk_del(struct disk *disk)
{
	__fput_sync(disk->file);
	del_gendisk(disk->gendisk);
	put_disk(disk->gendisk);
	disk_free(disk);
}

struct file *disk_file(struct disk *disk)
{
	return disk->file;
}
