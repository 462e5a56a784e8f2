// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much memory I/O buffers may take: those of one domain, and those of all.
 */

#define pr_fmt(fmt) "iommu: bounce: " fmt

#include <linux/atomic.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/printk.h>

#include "io-buffer-manager.h"

/* While there is a reserve, this part of a domain's budget is not for others. */
#define MANDATORY_SHARE		4

static atomic_long_t total_pages;
static atomic_long_t total_refused;
static long total_max_pages = LONG_MAX >> PAGE_SHIFT;

/**
 * io_buffer_budget - what chunks of a domain may take together
 * @mgr: the manager of the domain
 * @nr: number of the pool that is to grow
 *
 * A budget that is too small for the reserve does not count, and pools that do
 * not belong to it leave something to those that do.
 *
 * Return: the most that may be in use, in bytes.
 */
size_t io_buffer_budget(const struct io_buffer_manager *mgr, unsigned int nr)
{
	size_t max = mgr->memory_max;

	if (!READ_ONCE(mgr->keep))
		return max;
	max = max(max, IO_BUFFER_RESERVE);
	return nr < IO_BUFFER_NR_POOLS ? max - max / MANDATORY_SHARE : max;
}

/**
 * io_buffer_region_budget - how many regions may hold a chunk
 * @mgr: the manager of the domain
 * @nr: number of the pool that is to grow
 *
 * A chunk takes up a region, however small it is: pools that do not belong to the
 * reserve leave some of them to those that do, too.
 *
 * Return: the most that may be in use.
 */
unsigned int io_buffer_region_budget(const struct io_buffer_manager *mgr,
				     unsigned int nr)
{
	unsigned int max = mgr->nr_regions;

	return READ_ONCE(mgr->keep) && nr < IO_BUFFER_NR_POOLS ?
	       max - max / MANDATORY_SHARE : max;
}

/**
 * io_buffer_set_total_max - set the budget of all domains together
 * @bytes: in bytes; what is in use stays in use
 */
void io_buffer_set_total_max(size_t bytes)
{
	WRITE_ONCE(total_max_pages, bytes >> PAGE_SHIFT);
}

/* The budget of all domains together, in bytes */
size_t io_buffer_total_max(void)
{
	return (size_t)READ_ONCE(total_max_pages) << PAGE_SHIFT;
}

/* What all domains hold now, in bytes */
size_t io_buffer_total(void)
{
	return (size_t)atomic_long_read(&total_pages) << PAGE_SHIFT;
}

/* How often a domain could not grow because of the budget of all */
unsigned long io_buffer_total_refused(void)
{
	return atomic_long_read(&total_refused);
}

/**
 * io_buffer_charge - take a part of the budget of all domains
 * @bytes: how much, in bytes
 * @mandatory: it is counted, but not refused: the alternative is an I/O error,
 *	and each domain has a budget of its own
 *
 * Context: any.
 * Return: false if the budget is exhausted.
 */
bool io_buffer_charge(size_t bytes, bool mandatory)
{
	long pages = bytes >> PAGE_SHIFT;

	if (atomic_long_add_return(pages, &total_pages) <=
	    READ_ONCE(total_max_pages) || mandatory)
		return true;

	atomic_long_sub(pages, &total_pages);
	atomic_long_inc(&total_refused);
	pr_notice_once("the budget of %zu KiB for all domains is exhausted, mappings that find no buffer fall back; iommu.bounce_memory_total= sets it\n",
		       io_buffer_total_max() / SZ_1K);
	return false;
}

/**
 * io_buffer_uncharge - undo io_buffer_charge()
 * @bytes: how much, in bytes
 *
 * Context: any.
 */
void io_buffer_uncharge(size_t bytes)
{
	atomic_long_sub(bytes >> PAGE_SHIFT, &total_pages);
}
