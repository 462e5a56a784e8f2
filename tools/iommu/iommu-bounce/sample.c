// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading what there is. Groups may come and go at any time, and a newer kernel
 * may count what this program has never heard of.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "iommu-bounce.h"

/* No stats file is near that; what is beyond is not read. */
#define MAX_TEXT	1048576
#define MAX_COUNTERS	4096

/* What stands in front of all paths */
const char *root = "";

void *resize(void *old, size_t nr, size_t size)
{
	void *new = reallocarray(old, nr, size);

	if (!new)
		errx(1, "out of memory");
	return new;
}

/* Both are to be freed. */
char *below_root(const char *path)
{
	char *all;

	if (asprintf(&all, "%s%s", root, path) < 0)
		errx(1, "out of memory");
	return all;
}

static char *group_path(const char *dir, unsigned int id, const char *name)
{
	char *all;

	if (asprintf(&all, "%s%s/%u/%s", root, dir, id, name) < 0)
		errx(1, "out of memory");
	return all;
}

/* All of a file, up to MAX_TEXT, with a NUL behind it. Frees @path. */
static char *read_text(char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0, room = 0;
	char *text = NULL;
	ssize_t got;

	free(path);
	if (fd < 0)
		return NULL;
	do {
		if (len == room) {
			room = room ? 2 * room : 4096;
			text = resize(text, room + 1, 1);
		}
		got = read(fd, text + len, room - len);
		if (got > 0)
			len += got;
	} while (got > 0 && len < MAX_TEXT);
	close(fd);
	if (got < 0) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

static bool is_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

/* How many names a directory has, or a negative error number */
int count_entries(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);
	int nr = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		nr += is_entry(entry);
	closedir(dir);
	return nr;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char * const *)a, *(char * const *)b);
}

static void read_devices(struct group *group)
{
	char *path = group_path(GROUPS_DIR, group->id, "devices");
	struct dirent *entry;
	DIR *dir = opendir(path);

	free(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		char *name;

		if (!is_entry(entry))
			continue;
		name = strdup(entry->d_name);
		if (!name)
			errx(1, "out of memory");
		group->devices = resize(group->devices, group->nr_devices + 1,
					sizeof(*group->devices));
		group->devices[group->nr_devices++] = name;
	}
	closedir(dir);
	if (group->nr_devices)
		qsort(group->devices, group->nr_devices,
		      sizeof(*group->devices), compare_names);
}

static const struct counter *find_counter(const struct group *group,
					  const char *name)
{
	size_t i;

	for (i = 0; i < group->nr_counters; i++)
		if (!strcmp(group->counters[i].name, name))
			return &group->counters[i];
	return NULL;
}

/* Cut the text into lines, and these into a name and the rest. */
static void parse(struct group *group)
{
	char *line, *rest, *next = group->text;

	while ((line = strsep(&next, "\n")) &&
	       group->nr_counters < MAX_COUNTERS) {
		line += strspn(line, " \t\r");
		rest = line + strcspn(line, " \t\r");
		if (*rest)
			*rest++ = '\0';
		if (!*line || find_counter(group, line))
			continue;
		group->counters = resize(group->counters,
					 group->nr_counters + 1,
					 sizeof(*group->counters));
		group->counters[group->nr_counters++] =
			(struct counter){ .name = line, .values = rest };
	}
}

/* The type of a group's domain, to be freed, or NULL. */
char *group_type(unsigned int id)
{
	char *type = read_text(group_path(GROUPS_DIR, id, "type"));

	if (type)
		type[strcspn(type, "\n")] = '\0';
	return type;
}

void free_group(struct group *group)
{
	size_t i;

	for (i = 0; i < group->nr_devices; i++)
		free(group->devices[i]);
	free(group->devices);
	free(group->counters);
	free(group->text);
	free(group->type);
}

void free_sample(struct sample *sample)
{
	size_t i;

	for (i = 0; i < sample->nr; i++)
		free_group(&sample->groups[i]);
	free(sample->groups);
	*sample = (struct sample){};
}

static int compare_groups(const void *a, const void *b)
{
	unsigned int x = ((const struct group *)a)->id;
	unsigned int y = ((const struct group *)b)->id;

	return x < y ? -1 : x > y;
}

/* The number that is all of a name, as group numbers are written. */
static bool group_number(const char *name, unsigned int *id)
{
	size_t len = strlen(name);

	if (!len || len > 9 || strspn(name, "0123456789") != len ||
	    (*name == '0' && len > 1))
		return false;
	*id = strtoul(name, NULL, 10);
	return true;
}

/* Returns 0, or an error number if there is no directory of them. */
int take_sample(struct sample *sample)
{
	char *path = below_root(BOUNCE_DIR);
	struct dirent *entry;
	DIR *dir = opendir(path);
	struct timespec now;
	int error = errno;

	free(path);
	clock_gettime(CLOCK_MONOTONIC, &now);
	*sample = (struct sample){ .time = now.tv_sec + now.tv_nsec / 1e9 };
	if (!dir)
		return error;
	while ((entry = readdir(dir))) {
		struct group group = {};

		if (!group_number(entry->d_name, &group.id))
			continue;
		group.text = read_text(group_path(BOUNCE_DIR, group.id,
						  "stats"));
		/* Gone since we looked */
		if (!group.text)
			continue;
		parse(&group);
		group.type = group_type(group.id);
		read_devices(&group);
		sample->groups = resize(sample->groups, sample->nr + 1,
					sizeof(group));
		sample->groups[sample->nr++] = group;
	}
	closedir(dir);
	if (sample->nr)
		qsort(sample->groups, sample->nr, sizeof(*sample->groups),
		      compare_groups);
	return 0;
}

const struct group *find_group(const struct sample *sample, unsigned int id)
{
	const struct group key = { .id = id };

	if (!sample->nr)
		return NULL;
	return bsearch(&key, sample->groups, sample->nr,
		       sizeof(*sample->groups), compare_groups);
}

/* The first value of a counter, if it has one that is a number. */
static bool get_value(const struct counter *counter, unsigned long long *value)
{
	const char *word = counter->values + strspn(counter->values, " \t\r");
	unsigned long long n;
	char *end;

	if (!isdigit((unsigned char)*word))
		return false;
	errno = 0;
	n = strtoull(word, &end, 10);
	if (errno || (*end && !strchr(" \t\r", *end)))
		return false;
	*value = n;
	return true;
}

bool find_value(const struct group *group, const char *name, unsigned long long *value)
{
	const struct counter *counter = find_counter(group, name);

	return counter && get_value(counter, value);
}

/* The sum of those whose names begin that way, so also of those to come. */
static unsigned long long sum(const struct group *group, const char *prefix)
{
	unsigned long long value, all = 0;
	size_t i;

	for (i = 0; i < group->nr_counters; i++) {
		const struct counter *counter = &group->counters[i];

		if (!strncmp(counter->name, prefix, strlen(prefix)) &&
		    get_value(counter, &value))
			all += value;
	}
	return all;
}

/* A domain that was made anew begins again at zero. */
static unsigned long long since(unsigned long long now, unsigned long long then)
{
	return now < then ? now : now - then;
}

/* Those of @now, less those of @then if there are any. */
struct figures get_figures(const struct group *now, const struct group *then)
{
	struct figures f = {
		.hits = sum(now, "hits_"),
		.misses = sum(now, "miss_"),
		.skips = sum(now, "skip_"),
	};

	find_value(now, "bytes_in", &f.in);
	find_value(now, "bytes_out", &f.out);
	find_value(now, "memory", &f.memory);
	find_value(now, "memory_max", &f.memory_max);
	if (then) {
		struct figures old = get_figures(then, NULL);

		f.hits = since(f.hits, old.hits);
		f.misses = since(f.misses, old.misses);
		f.skips = since(f.skips, old.skips);
		f.in = since(f.in, old.in);
		f.out = since(f.out, old.out);
	}
	return f;
}
