// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is bounced: the boot parameters and what the device and the mapping must
 * be like.
 */

#define pr_fmt(fmt) "iommu: bounce: " fmt

#include <linux/crash_dump.h>
#include <linux/ctype.h>
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/init.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/seq_buf.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "io-bounce-internal.h"
#include "iommu-priv.h"

DEFINE_STATIC_KEY_FALSE(io_bounce_key);

/* Limits on the parameters: see io-buffer-manager.h */
#define LIMIT_MAX	IO_BUFFER_MAX_SLOT
#define MEMORY_MIN	IO_BUFFER_MIN_CHUNK
#define MEMORY_MAX	(SIZE_MAX / 8)

/*
 * 64 MiB hold a queue of 1024 requests of 64 KiB, or of 512 each way. Small
 * machines keep most of their memory for other uses.
 */
#define MEMORY_DEFAULT	SZ_64M
#define MEMORY_SHARE	16

const char * const io_bounce_modes[] = {
	[BOUNCE_OFF]	= "off",
	[BOUNCE_AUTO]	= "auto",
	[BOUNCE_ON]	= "on",
	[BOUNCE_FORCE]	= "force",
};

static enum bounce_mode bounce_mode __ro_after_init =
	IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS_DEFAULT_ON) ? BOUNCE_ON :
	IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS_DEFAULT_AUTO) ? BOUNCE_AUTO :
	BOUNCE_OFF;
/* The largest mapping that is bounced, in bytes; 0: measure. */
static size_t bounce_limit __ro_after_init;
/* The most memory a domain takes, in bytes; 0: decide at boot. */
size_t io_bounce_memory __ro_after_init;

/*
 * Where the limit is measured: what to begin with, and how far it may go. One
 * domain is not to fill its budget with a few large mappings.
 */
#define LIMIT_START	SZ_64K
#define LIMIT_AUTO_MAX	SZ_256K

static int __init bounce_setup(char *str)
{
	int mode = str ? match_string(io_bounce_modes,
				      ARRAY_SIZE(io_bounce_modes), str) :
			 -EINVAL;

	if (mode >= 0)
		bounce_mode = mode;
	else
		pr_warn("iommu.bounce=%s: expected off, auto, on or force, keeping %s\n",
			str ?: "", io_bounce_modes[bounce_mode]);
	return 0;
}
early_param("iommu.bounce", bounce_setup);

/**
 * io_bounce_parse_size - read a size with an optional suffix
 * @str: what somebody said, or NULL
 * @min: the least that makes sense, in bytes
 * @max: the most
 * @size: filled in, or left as it was
 *
 * Return: false if that makes no sense.
 */
bool io_bounce_parse_size(const char *str, size_t min, u64 max, size_t *size)
{
	u64 value;
	char *end;

	if (!str || !isdigit(*str))
		return false;
	/* More digits than that would wrap round in memparse(). */
	if (strlen(str) > 16)
		return false;
	value = memparse(str, &end);
	if (*end || value < min || value > max)
		return false;
	*size = value;
	return true;
}

static int __init bounce_limit_setup(char *str)
{
	if (str && !strcmp(str, "auto"))
		bounce_limit = 0;
	else if (io_bounce_parse_size(str, 1, LIMIT_MAX, &bounce_limit))
		return 0;
	else if (bounce_limit)
		pr_warn("iommu.bounce_limit=%s: expected auto or 1 to %u bytes, keeping %zu\n",
			str ?: "", LIMIT_MAX, bounce_limit);
	else
		pr_warn("iommu.bounce_limit=%s: expected auto or 1 to %u bytes, keeping auto\n",
			str ?: "", LIMIT_MAX);
	return 0;
}
early_param("iommu.bounce_limit", bounce_limit_setup);

static int __init bounce_memory_setup(char *str)
{
	if (io_bounce_parse_size(str, MEMORY_MIN, MEMORY_MAX, &io_bounce_memory))
		return 0;
	if (io_bounce_memory)
		pr_warn("iommu.bounce_memory=%s: expected %u to %zu bytes, keeping %zu\n",
			str ?: "", MEMORY_MIN, MEMORY_MAX, io_bounce_memory);
	else
		pr_warn("iommu.bounce_memory=%s: expected %u to %zu bytes, keeping the default\n",
			str ?: "", MEMORY_MIN, MEMORY_MAX);
	return 0;
}
early_param("iommu.bounce_memory", bounce_memory_setup);

/* The most memory all domains take together, in bytes; 0: decide at boot. */
static size_t bounce_memory_total __initdata;

static int __init bounce_memory_total_setup(char *str)
{
	if (!io_bounce_parse_size(str, MEMORY_MIN, MEMORY_MAX, &bounce_memory_total))
		pr_warn("iommu.bounce_memory_total=%s: expected %u to %zu bytes, keeping the default\n",
			str ?: "", MEMORY_MIN, MEMORY_MAX);
	return 0;
}
early_param("iommu.bounce_memory_total", bounce_memory_total_setup);

static int __init io_bounce_init(void)
{
	io_buffer_set_total_max(bounce_memory_total ?:
				clamp_t(u64, (u64)totalram_pages() << PAGE_SHIFT >> 3,
					MEMORY_MIN, MEMORY_MAX));
	if (!io_bounce_memory) {
		u64 share = (u64)totalram_pages() << PAGE_SHIFT;

		do_div(share, MEMORY_SHARE);
		io_bounce_memory = clamp_t(u64, share, MEMORY_MIN,
					   MEMORY_DEFAULT);
	}
	if (io_bounce_check_wanted())
		bounce_mode = BOUNCE_FORCE;
	if (bounce_mode == BOUNCE_OFF)
		return 0;

	/*
	 * A crash kernel has little memory, and its devices are attached to
	 * their domains as late as by the first ordinary mapping.
	 */
	if (is_kdump_kernel()) {
		pr_info("off in a crash kernel\n");
		bounce_mode = BOUNCE_OFF;
		return 0;
	}

	static_branch_enable(&io_bounce_key);
	io_bounce_check_enable();
	if (bounce_mode == BOUNCE_FORCE)
		pr_info("mappings of all devices of up to %zu bytes, whether or not their drivers allow for it, up to %zu KiB per domain\n",
			bounce_limit ?: LIMIT_MAX, io_bounce_memory / SZ_1K);
	else if (bounce_mode == BOUNCE_ON && bounce_limit)
		pr_info("mappings of up to %zu bytes, up to %zu KiB per domain\n",
			bounce_limit, io_bounce_memory / SZ_1K);
	else
		pr_info("mappings of up to %zu bytes as far as it pays, up to %zu KiB per domain\n",
			bounce_limit ?: LIMIT_AUTO_MAX,
			io_bounce_memory / SZ_1K);
	return 0;
}

/* Before any IOMMU driver sets up a domain. */
arch_initcall(io_bounce_init);

/**
 * io_bounce_by_default - do the parameters want bounce buffers
 *
 * Return: false if only a group that asks for them is to have them.
 */
bool io_bounce_by_default(void)
{
	return bounce_mode != BOUNCE_OFF;
}

/**
 * io_bounce_hint - what the IOMMU driver says of a device
 * @dev: the device
 *
 * Return: the hint; an IOMMU that shadows its tables on every flush is costly.
 */
enum iommu_bounce_hint io_bounce_hint(struct device *dev)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);

	if (ops->bounce_hint)
		return ops->bounce_hint(dev);
	return dev->iommu->shadow_on_flush ? IOMMU_BOUNCE_COSTLY :
					     IOMMU_BOUNCE_NEUTRAL;
}

/**
 * io_bounce_follow - have the bounce buffers of a domain do as they are told
 * @bounce: the bounce buffers of the domain
 * @mode: which mappings are bounced by choice
 * @max: the largest mapping to bounce, in bytes; 0: as far as it pays
 *
 * With %BOUNCE_FORCE and no limit, everything that fits a slot is bounced.
 *
 * Context: may sleep; serialised per domain by the group's mutex.
 */
void io_bounce_follow(struct io_bounce *bounce, enum bounce_mode mode,
		      size_t max)
{
	struct io_bounce_limit *limit = &bounce->limit;

	if (bounce->hint == IOMMU_BOUNCE_NEVER)
		mode = BOUNCE_OFF;
	if (mode != bounce->mode)
		WRITE_ONCE(bounce->reported, false);
	WRITE_ONCE(bounce->mode, mode);
	bounce->max = max;
	if (mode == BOUNCE_OFF)
		io_bounce_limit_change(limit, false, 0, 0);
	else if (mode == BOUNCE_AUTO)
		io_bounce_limit_change(limit, true,
				       bounce->hint == IOMMU_BOUNCE_COSTLY ?
				       LIMIT_START : 0, max ?: LIMIT_AUTO_MAX);
	else if (max || mode == BOUNCE_FORCE)
		io_bounce_limit_change(limit, false, 0, max ?: LIMIT_MAX);
	else
		io_bounce_limit_change(limit, true, LIMIT_START, LIMIT_AUTO_MAX);
}

/**
 * io_bounce_default - have the bounce buffers of a domain do as the parameters say
 * @bounce: the bounce buffers of the domain, new
 */
void io_bounce_default(struct io_bounce *bounce)
{
	io_bounce_follow(bounce, bounce_mode, bounce_limit);
}

/*
 * Copying breaks drivers that touch a buffer while the device owns it, and only
 * their authors and a run under the checker can tell which do not.
 */
static __always_inline bool may_choose(const struct io_bounce *bounce,
				       struct device *dev)
{
	return dev_dma_strict_ownership(dev) ||
	       READ_ONCE(bounce->mode) == BOUNCE_FORCE;
}

/* Not normal memory, or memory that may not be copied behind the caller's back */
#define ATTRS_NOT_BOUNCED	(DMA_ATTR_MMIO | DMA_ATTR_REQUIRE_COHERENT | \
				 DMA_ATTR_CC_SHARED | DMA_ATTR_PRIVILEGED)
/*
 * A mapping that stays: bouncing it would save nothing and cost copies. With
 * DMA_ATTR_SKIP_CPU_SYNC, its owner syncs by hand or not at all.
 */
#define ATTRS_NO_CHOICE		(DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_LONG_LIVED)

/*
 * Confidential guests need decrypted slots: they keep to the ways they have
 * today. So do devices that dma-iommu would refuse, and those whose coherence
 * is not that of the slots.
 */
static bool device_possible(const struct io_bounce *bounce, struct device *dev)
{
	return !force_dma_unencrypted(dev) &&
	       dev_is_dma_coherent(dev) == bounce->coherent &&
	       !(dma_get_min_align_mask(dev) >> bounce->mgr.granule_shift);
}

/**
 * io_bounce_possible - may a mapping be bounced if it must
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @attrs: DMA_ATTR_*
 *
 * Return: true if it may.
 */
bool io_bounce_possible(const struct io_bounce *bounce, struct device *dev,
			unsigned long attrs)
{
	return READ_ONCE(bounce->mode) != BOUNCE_OFF &&
	       !(attrs & ATTRS_NOT_BOUNCED) && device_possible(bounce, dev);
}

/* A mapping with an attribute that matters, perhaps one that must be bounced. */
static noinline bool allowed_by_attrs(struct io_bounce *bounce,
				      struct device *dev, unsigned long attrs)
{
	enum io_bounce_counter why;

	if (attrs & ATTRS_NOT_BOUNCED || !(attrs & IO_BOUNCE_MUST))
		why = IO_BOUNCE_SKIP_ATTRS;
	else if (!device_possible(bounce, dev))
		why = IO_BOUNCE_SKIP_DEVICE;
	else if (READ_ONCE(bounce->mode) == BOUNCE_OFF)
		why = IO_BOUNCE_SKIP_LIMIT;
	else
		return true;

	io_bounce_count(bounce, why, 1);
	return false;
}

/**
 * io_bounce_no_choice - is a mapping never to be bounced by choice
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @attrs: DMA_ATTR_*
 *
 * Return: true if it is bounced only if it must.
 */
bool io_bounce_no_choice(const struct io_bounce *bounce, struct device *dev,
			 unsigned long attrs)
{
	return attrs & ATTRS_NO_CHOICE || !may_choose(bounce, dev);
}

/* Leave a device alone whose driver does not promise; the worker says so once. */
static noinline void skip_unpromised(struct io_bounce *bounce,
				     struct device *dev)
{
	io_bounce_count(bounce, IO_BOUNCE_SKIP_UNPROMISED, 1);
	if (READ_ONCE(bounce->mode) == BOUNCE_OFF ||
	    READ_ONCE(bounce->reported) || READ_ONCE(bounce->unpromised))
		return;
	get_device(dev);
	if (cmpxchg(&bounce->unpromised, NULL, dev))
		put_device(dev);
	else
		queue_work(system_dfl_wq, &bounce->work);
}

/* The driver of a virtio device is not the one of the device that maps. */
static int append_driver(struct device *dev, void *names)
{
	/* As unlocked as in dev_driver_string() */
	const struct device_driver *drv = READ_ONCE(dev->driver);

	if (drv)
		seq_buf_printf(names, " %s", drv->name);
	return 0;
}

static void driver_names(struct device *dev, struct seq_buf *names)
{
	seq_buf_printf(names, "%s", dev_driver_string(dev));
	device_for_each_child(dev, names, append_driver);
}

/**
 * io_bounce_show_device - how a device is bounced, for sysfs
 * @bounce: the bounce buffers of its domain, or NULL
 * @dev: the device
 * @buf: a page
 * @at: where in @buf to write
 *
 * Context: process; the group's mutex is held.
 * Return: the number of characters.
 */
int io_bounce_show_device(const struct io_bounce *bounce, struct device *dev,
			  char *buf, int at)
{
	DECLARE_SEQ_BUF(names, 64);
	const char *how;

	if (!bounce || bounce->mode == BOUNCE_OFF)
		how = "off";
	else if (!device_possible(bounce, dev))
		how = "mapped directly: not supported for this device";
	else if (dev_dma_strict_ownership(dev))
		how = "bounced";
	else if (bounce->mode == BOUNCE_FORCE)
		how = "bounced: forced";
	else
		how = "mapped directly: no promise of strict DMA ownership";
	driver_names(dev, &names);
	return sysfs_emit_at(buf, at, "%s %s: %s\n", dev_name(dev),
			     seq_buf_str(&names), how);
}

/**
 * io_bounce_report_unpromised - name the driver that keeps a device from bouncing
 * @bounce: the bounce buffers of the domain
 *
 * Otherwise "on" would silently do nothing. One line for each domain.
 *
 * Context: may sleep; from the worker of @bounce.
 */
void io_bounce_report_unpromised(struct io_bounce *bounce)
{
	struct device *dev = xchg(&bounce->unpromised, NULL);
	DECLARE_SEQ_BUF(names, 64);

	if (!dev)
		return;
	/* One more may come while the first is reported. */
	if (!READ_ONCE(bounce->reported)) {
		driver_names(dev, &names);
		dev_info(dev, "iommu: bounce: mapped directly: %s does not promise strict DMA ownership (iommu.bounce=force bounces all the same)\n",
			 seq_buf_str(&names));
		WRITE_ONCE(bounce->reported, true);
	}
	put_device(dev);
}

/**
 * io_bounce_allowed - the policy: may this mapping be bounced
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @size: bytes to be mapped in one operation
 * @pieces: places in memory that they lie in, at least 1
 * @dir: direction
 * @attrs: DMA_ATTR_*, and perhaps IO_BOUNCE_MUST: then do not ask whether it pays
 *
 * Return: true if it may; counts the reason if not.
 */
bool io_bounce_allowed(struct io_bounce *bounce, struct device *dev,
		       size_t size, unsigned int pieces,
		       enum dma_data_direction dir, unsigned long attrs)
{
	enum io_bounce_counter why;

	if (unlikely(attrs & (ATTRS_NOT_BOUNCED | ATTRS_NO_CHOICE |
			      IO_BOUNCE_MUST)))
		return allowed_by_attrs(bounce, dev, attrs);

	if (unlikely(!may_choose(bounce, dev))) {
		skip_unpromised(bounce, dev);
		return false;
	}
	if (unlikely(!device_possible(bounce, dev))) {
		why = IO_BOUNCE_SKIP_DEVICE;
	} else if (unlikely(!io_bounce_within(&bounce->limit, size, pieces,
					      dir))) {
		why = IO_BOUNCE_SKIP_LIMIT;
		io_bounce_ordinary(bounce, dev, size, pieces, dir);
	} else {
		return true;
	}

	io_bounce_count(bounce, why, 1);
	return false;
}
