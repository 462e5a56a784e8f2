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
#include <linux/pci.h>
#include <linux/string.h>

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
		pr_warn("iommu.bounce=%s: expected off, auto or on, keeping %s\n",
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

static int __init io_bounce_init(void)
{
	if (!io_bounce_memory) {
		u64 share = (u64)totalram_pages() << PAGE_SHIFT;

		do_div(share, MEMORY_SHARE);
		io_bounce_memory = clamp_t(u64, share, MEMORY_MIN,
					   MEMORY_DEFAULT);
	}
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
	if (bounce_mode == BOUNCE_ON && bounce_limit)
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
 * @mode: off, auto or on
 * @max: the largest mapping to bounce, in bytes; 0: as far as it pays
 *
 * Context: may sleep; serialised per domain by the group's mutex.
 */
void io_bounce_follow(struct io_bounce *bounce, enum bounce_mode mode,
		      size_t max)
{
	struct io_bounce_limit *limit = &bounce->limit;

	if (bounce->hint == IOMMU_BOUNCE_NEVER)
		mode = BOUNCE_OFF;
	WRITE_ONCE(bounce->mode, mode);
	bounce->max = max;
	if (mode == BOUNCE_OFF)
		io_bounce_limit_change(limit, false, 0, 0);
	else if (mode == BOUNCE_AUTO)
		io_bounce_limit_change(limit, true,
				       bounce->hint == IOMMU_BOUNCE_COSTLY ?
				       LIMIT_START : 0, max ?: LIMIT_AUTO_MAX);
	else if (max)
		io_bounce_limit_change(limit, false, 0, max);
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
 * Drivers of GPUs and accelerators share memory of user space and of their own
 * with the device for as long as an object lives, without syncing and mostly
 * without saying so. Small transfers are not what these devices are for.
 */
static bool dev_shares_memory(struct device *dev)
{
	unsigned int base;

	if (!dev_is_pci(dev))
		return false;
	base = to_pci_dev(dev)->class >> 16;
	return base == PCI_BASE_CLASS_DISPLAY ||
	       base == PCI_BASE_CLASS_ACCELERATOR;
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
 * @dev: the device
 * @attrs: DMA_ATTR_*
 *
 * Return: true if it is bounced only if it must.
 */
bool io_bounce_no_choice(struct device *dev, unsigned long attrs)
{
	return attrs & ATTRS_NO_CHOICE || dev_shares_memory(dev);
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

	if (unlikely(!device_possible(bounce, dev) ||
		     dev_shares_memory(dev))) {
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
