// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be set for each group at run time, in
 * /sys/kernel/iommu_groups/<group>/bounce and bounce_limit. The files themselves
 * are in iommu.c.
 */

#include <linux/string.h>
#include <linux/sysfs.h>

#include "io-bounce-internal.h"

static int parse_limit(const char *buf)
{
	char text[32];
	size_t bytes;

	if (sysfs_streq(buf, "auto"))
		return 0;
	if (strscpy(text, buf) < 0)
		return -EINVAL;
	if (!io_bounce_parse_size(strim(text), 1, IO_BUFFER_MAX_SLOT, &bytes))
		return -EINVAL;
	return bytes;
}

/**
 * io_bounce_parse - what somebody wants a knob to be
 * @knob: the knob
 * @buf: what was written
 *
 * Return: a value for io_bounce_store(), or -EINVAL.
 */
int io_bounce_parse(enum io_bounce_knob knob, const char *buf)
{
	return knob == IO_BOUNCE_MODE ? sysfs_match_string(io_bounce_modes, buf) :
					parse_limit(buf);
}

/**
 * io_bounce_show - what a knob is
 * @bounce: the bounce buffers of the domain, or NULL
 * @knob: the knob
 * @buf: a page
 *
 * Context: process; the group's mutex is held.
 * Return: the number of characters.
 */
int io_bounce_show(const struct io_bounce *bounce, enum io_bounce_knob knob,
		   char *buf)
{
	if (knob == IO_BOUNCE_MODE)
		return sysfs_emit(buf, "%s\n",
				  io_bounce_modes[bounce ? bounce->mode : BOUNCE_OFF]);
	if (!bounce || !bounce->max)
		return sysfs_emit(buf, "auto\n");
	return sysfs_emit(buf, "%u\n", bounce->max);
}

/**
 * io_bounce_store - set a knob
 * @bounce: the bounce buffers of the domain, or NULL
 * @dev: a device of the domain
 * @knob: the knob
 * @value: of io_bounce_parse()
 *
 * What is mapped stays so until it is unmapped. Switched off, memory goes back as
 * it falls out of use.
 *
 * Context: process; the group's mutex is held.
 * Return: 0, or -EOPNOTSUPP where there are no bounce buffers.
 */
int io_bounce_store(struct io_bounce *bounce, struct device *dev,
		    enum io_bounce_knob knob, int value)
{
	if (!bounce || bounce->hint == IOMMU_BOUNCE_NEVER)
		return -EOPNOTSUPP;

	/*
	 * The places that ask whose an address is are patched one by one: each
	 * has to ask before anything is bounced. Never to be disabled, for there
	 * may be bounced mappings from now on.
	 */
	if ((knob == IO_BOUNCE_MODE ? value : bounce->mode) != BOUNCE_OFF)
		static_branch_enable(&io_bounce_key);

	if (knob == IO_BOUNCE_MODE)
		io_bounce_follow(bounce, value, bounce->max);
	else
		io_bounce_follow(bounce, bounce->mode, value);

	if (bounce->mode == BOUNCE_OFF) {
		io_buffer_drop(&bounce->mgr);
		return 0;
	}
	io_bounce_reserve(bounce, dev);
	return 0;
}
