/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bounce buffers of each IOMMU group, as debugfs and sysfs tell of them.
 */
#ifndef IOMMU_BOUNCE_H
#define IOMMU_BOUNCE_H

#include <stdbool.h>
#include <stddef.h>

/**
 * struct counter - one line of a stats file
 * @name: its first word
 * @values: the rest, words with blanks between them; none are possible, too
 */
struct counter {
	const char *name;
	const char *values;
};

/**
 * struct group - an IOMMU group with bounce buffers
 * @id: its number
 * @type: of its domain, as sysfs calls it
 * @devices: names of its devices, sorted
 * @nr_devices: how many
 * @text: what @counters point into
 * @counters: all lines of its stats file, in their order, each name once
 * @nr_counters: how many
 */
struct group {
	unsigned int id;
	char *type;
	char **devices;
	size_t nr_devices;
	char *text;
	struct counter *counters;
	size_t nr_counters;
};

/**
 * struct sample - all groups at one time
 * @time: seconds, by a clock that is never set
 * @groups: sorted by their numbers
 * @nr: how many
 */
struct sample {
	double time;
	struct group *groups;
	size_t nr;
};

/**
 * struct figures - what the counters of a group add up to
 * @hits: mappings that were bounced
 * @misses: mappings that could have been, had there been a slot
 * @skips: mappings that are not for bouncing
 * @in: bytes copied for the device
 * @out: bytes copied for the CPU
 * @memory: bytes held
 * @memory_max: bytes that may be held
 */
struct figures {
	unsigned long long hits;
	unsigned long long misses;
	unsigned long long skips;
	unsigned long long in;
	unsigned long long out;
	unsigned long long memory;
	unsigned long long memory_max;
};

/* Each bounced mapping does without a map and an unmap. */
#define OPERATIONS_PER_HIT	2

#define DEBUGFS		"/sys/kernel/debug"
#define BOUNCE_DIR	DEBUGFS "/iommu_bounce"
#define GROUPS_DIR	"/sys/kernel/iommu_groups"

extern const char *root;

void *resize(void *old, size_t nr, size_t size);
char *below_root(const char *path);
int count_entries(const char *path);
char *group_type(unsigned int id);
int take_sample(struct sample *sample);
void free_group(struct group *group);
void free_sample(struct sample *sample);

const struct group *find_group(const struct sample *sample, unsigned int id);
bool find_value(const struct group *group, const char *name, unsigned long long *value);
struct figures get_figures(const struct group *now, const struct group *then);

void show_table(const struct sample *now, const struct sample *then,
		bool in_place);
void show_json(const struct sample *now, const struct sample *then);

#endif /* IOMMU_BOUNCE_H */
