// SPDX-License-Identifier: GPL-2.0-only
/*
 * The policy of bouncing: boot parameters, sysfs attributes, and what devices and
 * mappings must fulfil.
 */

#define pr_fmt(fmt) "iommu: bounce: " fmt

#include <linux/crash_dump.h>
#include <linux/ctype.h>
#include <linux/dma-map-ops.h>
#include <linux/init.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/pm_runtime.h>
#include <linux/seq_buf.h>
#include <linux/string.h>
#include <linux/swiotlb.h>
#include <linux/sysfs.h>

#include "io-bounce-internal.h"

DEFINE_STATIC_KEY_FALSE(io_bounce_key);

#define LIMIT_MAX	IO_BUFFER_MAX_SLOT
#define MEMORY_MIN	IO_BUFFER_MIN_CHUNK
#define MEMORY_MAX	(SIZE_MAX / 8)

/* A queue of 1024 requests of 64 KiB, but at most 1/MEMORY_SHARE of the memory */
#define MEMORY_DEFAULT	SZ_64M
#define MEMORY_SHARE	16
#define MEMORY_TOTAL_SHARE	8

/* The automatic limit: initial value and maximum */
#define LIMIT_START	SZ_64K
#define LIMIT_AUTO_MAX	SZ_256K

const char * const io_bounce_modes[] = {
	[BOUNCE_OFF]	= "off",
	[BOUNCE_AUTO]	= "auto",
	[BOUNCE_ON]	= "on",
	[BOUNCE_FORCE]	= "force",
};

static enum io_bounce_mode boot_mode __ro_after_init =
	IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS_DEFAULT_ON) ? BOUNCE_ON :
	IS_ENABLED(CONFIG_IOMMU_BOUNCE_BUFFERS_DEFAULT_AUTO) ? BOUNCE_AUTO :
	BOUNCE_OFF;
/* The limit in bytes; 0: automatic */
static size_t boot_limit __ro_after_init;
/* The budget of a domain in bytes; 0 until the default is known */
size_t io_bounce_memory __ro_after_init;
/* The budget of all domains in bytes; 0: default */
static size_t memory_total __initdata;

static int __init bounce_setup(char *str)
{
	int mode = str ? match_string(io_bounce_modes,
				      ARRAY_SIZE(io_bounce_modes), str) :
			 -EINVAL;

	if (mode >= 0)
		boot_mode = mode;
	else
		pr_warn("iommu.bounce=%s ignored: expected off, auto, on or force\n",
			str ?: "");
	return 0;
}
early_param("iommu.bounce", bounce_setup);

/* Parse a size with an optional suffix. Returns false, without effect, if invalid. */
static bool parse_size(const char *str, size_t min, u64 max, size_t *size)
{
	u64 value;
	char *end;

	if (!str || !isdigit(*str))
		return false;
	/* memparse() does not detect overflows. */
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
		boot_limit = 0;
	else if (!parse_size(str, 1, LIMIT_MAX, &boot_limit))
		pr_warn("iommu.bounce_limit=%s ignored: expected auto or 1 to %u bytes\n",
			str ?: "", LIMIT_MAX);
	return 0;
}
early_param("iommu.bounce_limit", bounce_limit_setup);

static int __init bounce_memory_setup(char *str)
{
	if (!parse_size(str, MEMORY_MIN, MEMORY_MAX, &io_bounce_memory))
		pr_warn("iommu.bounce_memory=%s ignored: expected %u to %zu bytes\n",
			str ?: "", MEMORY_MIN, MEMORY_MAX);
	return 0;
}
early_param("iommu.bounce_memory", bounce_memory_setup);

static int __init bounce_memory_total_setup(char *str)
{
	if (!parse_size(str, MEMORY_MIN, MEMORY_MAX, &memory_total))
		pr_warn("iommu.bounce_memory_total=%s ignored: expected %u to %zu bytes\n",
			str ?: "", MEMORY_MIN, MEMORY_MAX);
	return 0;
}
early_param("iommu.bounce_memory_total", bounce_memory_total_setup);

static size_t __init memory_share(unsigned int share, u64 max)
{
	u64 bytes = (u64)totalram_pages() << PAGE_SHIFT;

	do_div(bytes, share);
	return clamp_t(u64, bytes, MEMORY_MIN, max);
}

static int __init io_bounce_init(void)
{
	io_buffer_set_total_max(memory_total ?:
				memory_share(MEMORY_TOTAL_SHARE, MEMORY_MAX));
	if (!io_bounce_memory)
		io_bounce_memory = memory_share(MEMORY_SHARE, MEMORY_DEFAULT);
	if (io_bounce_check_wanted())
		boot_mode = BOUNCE_FORCE;
	if (boot_mode == BOUNCE_OFF)
		return 0;

	/* Memory is short there, and devices may be attached in atomic context. */
	if (is_kdump_kernel()) {
		pr_info("disabled in kdump kernel\n");
		boot_mode = BOUNCE_OFF;
		return 0;
	}

	static_branch_enable(&io_bounce_key);
	if (io_bounce_check_wanted())
		io_bounce_check_enable();
	pr_info("%s: mappings up to %zu bytes%s, up to %zu KiB per domain\n",
		io_bounce_modes[boot_mode],
		boot_limit ?: (boot_mode == BOUNCE_FORCE ? LIMIT_MAX : LIMIT_AUTO_MAX),
		boot_limit || boot_mode == BOUNCE_FORCE ? "" : " (automatic)",
		io_bounce_memory / SZ_1K);
	return 0;
}

/* Before any IOMMU driver sets up a domain */
arch_initcall(io_bounce_init);

/**
 * io_bounce_enabled_at_boot - do domains have bounce buffers by default
 *
 * Return: false if only sysfs enables them.
 */
bool io_bounce_enabled_at_boot(void)
{
	return boot_mode != BOUNCE_OFF;
}

/**
 * io_bounce_set_mode - set mode and limit of a domain
 * @bounce: the bounce buffers of the domain
 * @mode: the mode
 * @max: the limit in bytes; 0: automatic, or with %BOUNCE_FORCE all that fits a slot
 *
 * Context: may sleep; serialised by the mutex of the group.
 */
void io_bounce_set_mode(struct io_bounce *bounce, enum io_bounce_mode mode,
			size_t max)
{
	struct io_bounce_limit *limit = &bounce->limit;

	if (mode != bounce->mode)
		WRITE_ONCE(bounce->reported, false);
	WRITE_ONCE(bounce->mode, mode);
	bounce->max = max;
	if (mode == BOUNCE_OFF)
		io_bounce_limit_fixed(limit, 0);
	else if (mode == BOUNCE_AUTO)
		io_bounce_limit_auto(limit, bounce->expensive ? LIMIT_START : 0,
				     max ?: LIMIT_AUTO_MAX);
	else if (max || mode == BOUNCE_FORCE)
		io_bounce_limit_fixed(limit, max ?: LIMIT_MAX);
	else
		io_bounce_limit_auto(limit, LIMIT_START, LIMIT_AUTO_MAX);
}

/**
 * io_bounce_init_mode - set mode and limit of a new domain
 * @bounce: the bounce buffers of the domain
 */
void io_bounce_init_mode(struct io_bounce *bounce)
{
	io_bounce_set_mode(bounce, boot_mode, boot_limit);
}

static u64 window_limit(const struct io_bounce *bounce, struct device *dev)
{
	const struct iommu_domain_geometry *geo = &bounce->mgr.domain->geometry;
	u64 limit = device_dma_limit(dev);

	return geo->force_aperture ? min_t(u64, limit, geo->aperture_end) :
				     limit;
}

/*
 * iommu_dev->dev is a class device; runtime PM applies to its parent. Without a driver
 * the parent is not suspended, although PCI enables runtime PM for all functions.
 */
static bool unmap_needs_rpm(struct device *dev)
{
	struct iommu_device *iommu = dev->iommu ? dev->iommu->iommu_dev : NULL;
	struct device *parent = iommu && iommu->dev ? iommu->dev->parent : NULL;

	return parent && parent->driver && pm_runtime_enabled(parent);
}

/**
 * io_bounce_limits - the limits of a device, for the manager
 * @bounce: the bounce buffers of its domain
 * @dev: the device
 *
 * Return: the limits.
 */
struct io_buffer_limits io_bounce_limits(const struct io_bounce *bounce,
					 struct device *dev)
{
	return (struct io_buffer_limits) {
		.dma_limit = window_limit(bounce, dev),
		.prefer_32bit = dev->iommu && dev->iommu->pci_32bit_workaround,
		.prot = bounce->coherent ? IOMMU_CACHE : 0,
		.unmap_needs_rpm = unmap_needs_rpm(dev),
		.nid = dev_to_node(dev),
	};
}

/**
 * io_bounce_enable_reserve - keep a reserve if a miss would be an error
 * @bounce: the bounce buffers of the domain
 * @dev: a device of the domain
 *
 * That is for untrusted devices without SWIOTLB. Non-coherent devices need none:
 * without SWIOTLB, kmalloc() does not let buffers share cache lines.
 *
 * Context: may sleep.
 */
void io_bounce_enable_reserve(struct io_bounce *bounce, struct device *dev)
{
	struct io_buffer_limits limits;

	if (!READ_ONCE(bounce->wipe) || bounce->mode == BOUNCE_OFF ||
	    is_swiotlb_active(dev))
		return;
	limits = io_bounce_limits(bounce, dev);
	io_buffer_enable_reserve(&bounce->mgr, &limits);
}

/**
 * io_bounce_supported - can a mandatory bounce use a slot
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @attrs: DMA_ATTR_*
 *
 * Return: false to use SWIOTLB.
 */
bool io_bounce_supported(const struct io_bounce *bounce, struct device *dev,
			 unsigned long attrs)
{
	return READ_ONCE(bounce->mode) != BOUNCE_OFF &&
	       !(attrs & IO_BOUNCE_ATTRS_UNSUPPORTED) &&
	       io_bounce_device_supported(bounce, dev);
}

static void note_unpromised(struct io_bounce *bounce, struct device *dev)
{
	if (READ_ONCE(bounce->mode) == BOUNCE_OFF ||
	    READ_ONCE(bounce->reported) || READ_ONCE(bounce->unpromised))
		return;
	get_device(dev);
	if (cmpxchg(&bounce->unpromised, NULL, dev))
		put_device(dev);
	else
		queue_work(system_dfl_wq, &bounce->work);
}

/**
 * io_bounce_count_ineligible - count why a mapping is not eligible for an optional bounce
 * @bounce: the bounce buffers of the domain
 * @dev: the device
 * @attrs: DMA_ATTR_*
 *
 * Context: any but NMI.
 */
void io_bounce_count_ineligible(struct io_bounce *bounce, struct device *dev,
				unsigned long attrs)
{
	if (attrs & (IO_BOUNCE_ATTRS_UNSUPPORTED | IO_BOUNCE_ATTRS_MANDATORY_ONLY)) {
		io_bounce_count(bounce, IO_BOUNCE_DIRECT_ATTRS, 1);
	} else if (!io_bounce_promised(bounce, dev)) {
		io_bounce_count(bounce, IO_BOUNCE_DIRECT_UNPROMISED, 1);
		note_unpromised(bounce, dev);
	} else {
		io_bounce_count(bounce, IO_BOUNCE_DIRECT_DEVICE, 1);
	}
}

/**
 * __io_bounce_decide - what to do with a mapping that may not be bounced
 * @bounce: the bounce buffers of the domain
 * @size: in bytes
 * @nr_segs: physically contiguous segments, at least 1
 * @dir: DMA direction
 * @way: from io_bounce_get_way()
 *
 * Context: any but NMI.
 * Return: the verdict, see io_bounce_measure(); direct mappings are counted.
 */
struct io_bounce_verdict __io_bounce_decide(struct io_bounce *bounce,
					    size_t size, unsigned int nr_segs,
					    enum dma_data_direction dir,
					    enum io_bounce_way way)
{
	struct io_bounce_verdict verdict = {};

	if (way == IO_BOUNCE_MEASURE)
		verdict = io_bounce_measure(&bounce->limit, size, nr_segs, dir);
	if (!verdict.bounce)
		io_bounce_count(bounce, IO_BOUNCE_DIRECT_LIMIT, 1);
	return verdict;
}

/* The driver of a virtio device is bound to a child of the device that maps. */
static int append_driver(struct device *dev, void *names)
{
	/* Without a lock, as in dev_driver_string() */
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
 * io_bounce_log_unpromised - log why a device is not bounced
 * @bounce: the bounce buffers of its domain
 *
 * Otherwise "on" would silently have no effect. Once for each domain and mode.
 *
 * Context: may sleep; the worker of @bounce.
 */
void io_bounce_log_unpromised(struct io_bounce *bounce)
{
	struct device *dev = xchg(&bounce->unpromised, NULL);
	DECLARE_SEQ_BUF(names, 64);

	if (!dev)
		return;
	/* Another device may be noted while this one is logged. */
	if (!READ_ONCE(bounce->reported)) {
		driver_names(dev, &names);
		dev_info(dev, "iommu: bounce: mapped directly: %s does not promise strict DMA ownership (see iommu.bounce=force)\n",
			 seq_buf_str(&names));
		WRITE_ONCE(bounce->reported, true);
	}
	put_device(dev);
}

/**
 * __io_bounce_active - are bounce buffers enabled
 * @bounce: the bounce buffers of the domain
 *
 * Context: any.
 * Return: false if sysfs has disabled them; no new mapping uses them then.
 */
bool __io_bounce_active(const struct io_bounce *bounce)
{
	return READ_ONCE(bounce->mode) != BOUNCE_OFF;
}

static int parse_limit(const char *buf)
{
	char text[32];
	size_t bytes;

	if (sysfs_streq(buf, "auto"))
		return 0;
	if (strscpy(text, buf) < 0)
		return -EINVAL;
	if (!parse_size(strim(text), 1, LIMIT_MAX, &bytes))
		return -EINVAL;
	return bytes;
}

/**
 * io_bounce_parse - parse a write to a sysfs attribute
 * @attr: the attribute
 * @buf: what was written
 *
 * Return: a value for io_bounce_store(), or -EINVAL.
 */
int io_bounce_parse(enum io_bounce_attr attr, const char *buf)
{
	return attr == IO_BOUNCE_MODE ? sysfs_match_string(io_bounce_modes, buf) :
					parse_limit(buf);
}

/**
 * io_bounce_show - show a sysfs attribute
 * @bounce: the bounce buffers of the domain, or NULL
 * @attr: the attribute
 * @buf: a page
 *
 * Context: process; the mutex of the group is held.
 * Return: the number of characters.
 */
int io_bounce_show(const struct io_bounce *bounce, enum io_bounce_attr attr,
		   char *buf)
{
	if (attr == IO_BOUNCE_MODE)
		return sysfs_emit(buf, "%s\n",
				  io_bounce_modes[bounce ? bounce->mode : BOUNCE_OFF]);
	if (!bounce || !bounce->max)
		return sysfs_emit(buf, "auto\n");
	return sysfs_emit(buf, "%u\n", bounce->max);
}

/**
 * io_bounce_show_device - show whether a device is bounced
 * @bounce: the bounce buffers of its domain, or NULL
 * @dev: the device
 * @buf: a page
 * @at: where in @buf to write
 *
 * Context: process; the mutex of the group is held.
 * Return: the number of characters.
 */
int io_bounce_show_device(const struct io_bounce *bounce, struct device *dev,
			  char *buf, int at)
{
	DECLARE_SEQ_BUF(names, 64);
	const char *how;

	if (!bounce || bounce->mode == BOUNCE_OFF)
		how = "off";
	else if (!io_bounce_device_supported(bounce, dev))
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
 * io_bounce_store - set a sysfs attribute
 * @bounce: the bounce buffers of the domain, or NULL
 * @dev: a device of the domain
 * @attr: the attribute
 * @value: from io_bounce_parse()
 *
 * Existing mappings stay valid.
 *
 * Context: process; the mutex of the group is held.
 * Return: 0, or -EOPNOTSUPP without bounce buffers.
 */
int io_bounce_store(struct io_bounce *bounce, struct device *dev,
		    enum io_bounce_attr attr, int value)
{
	if (!bounce)
		return -EOPNOTSUPP;

	/*
	 * All unmaps and syncs must test addresses before the first bounce. Stays
	 * enabled, because there may be bounced mappings from now on.
	 */
	if ((attr == IO_BOUNCE_MODE ? value : bounce->mode) != BOUNCE_OFF)
		static_branch_enable(&io_bounce_key);

	if (attr == IO_BOUNCE_MODE)
		io_bounce_set_mode(bounce, value, bounce->max);
	else
		io_bounce_set_mode(bounce, bounce->mode, value);

	if (bounce->mode == BOUNCE_OFF)
		io_buffer_free_unused(&bounce->mgr);
	else
		io_bounce_enable_reserve(bounce, dev);
	return 0;
}
