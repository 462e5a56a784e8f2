// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shows what the bounce buffers of each IOMMU group do. It reads debugfs and
 * sysfs, and changes nothing.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "iommu-bounce.h"

#define MIN_INTERVAL	0.1
#define MAX_INTERVAL	86400

static const char usage_text[] =
"usage: iommu-bounce [options]\n"
"Shows the IOMMU groups that have bounce buffers: totals since each group's\n"
"domain was set up or, with -t, what is done in a second.\n"
"  -t, --top [SECONDS]  again and again, that far apart (1); on a terminal in place\n"
"  -n, --count N        with -t: end after N times\n"
"  -j, --json           a JSON document each time, with all counters there are\n"
"  -g, --group N[,N]    only these groups\n"
"  -d, --device NAME    only the group of this device, as 0000:00:03.0\n"
"      --root DIR       look below DIR instead of /\n"
"  -h, --help           this\n"
"\n"
"TO, FROM  largest mapping bounced: to the device; from it, or both ways\n"
"HELD, OF  memory held, and the most there may be\n"
"HIT%      of the mappings that could be bounced, those that were\n"
"SKIP%     of all mappings, those that are not for bouncing: larger than the\n"
"          limit, or left alone for other reasons\n"
"IN, OUT   copied for the device, and for the CPU\n"
"AVOIDED   operations of the IOMMU: a map and an unmap for each hit\n"
"\n"
"Ends with 0, with 1 if there is nothing to show, with 2 if told nonsense.\n";

struct options {
	bool top;
	bool json;
	double interval;
	unsigned long count;
	unsigned int *groups;
	size_t nr_groups;
	const char **devices;
	size_t nr_devices;
};

static void misused(const char *what, const char *arg)
{
	errx(2, "%s '%s'; -h lists the options", what, arg);
}

static unsigned long to_number(const char *arg, unsigned long max)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(arg, &end, 10);
	if (!isdigit((unsigned char)*arg) || *end || errno || n > max)
		misused("not a number:", arg);
	return n;
}

static double to_interval(const char *arg)
{
	char *end;
	double seconds = strtod(arg, &end);

	/* Not-a-number is neither. */
	if (end == arg || *end ||
	    !(seconds >= MIN_INTERVAL && seconds <= MAX_INTERVAL))
		misused("not 0.1 to 86400 seconds:", arg);
	return seconds;
}

static void add_groups(struct options *o, char *list)
{
	char *word;

	while ((word = strsep(&list, ","))) {
		o->groups = resize(o->groups, o->nr_groups + 1,
				   sizeof(*o->groups));
		o->groups[o->nr_groups++] = to_number(word, 999999999);
	}
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option names[] = {
		{ "top", optional_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "group", required_argument, NULL, 'g' },
		{ "device", required_argument, NULL, 'd' },
		{ "root", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "t::n:jg:d:h", names, NULL)) >= 0) {
		switch (opt) {
		case 't':
			o->top = true;
			/* The seconds may be a word of their own. */
			if (!optarg && optind < argc && *argv[optind] != '-')
				optarg = argv[optind++];
			if (optarg)
				o->interval = to_interval(optarg);
			break;
		case 'n':
			o->count = to_number(optarg, 1000000000);
			if (!o->count)
				misused("not a number of times:", optarg);
			break;
		case 'j':
			o->json = true;
			break;
		case 'g':
			add_groups(o, optarg);
			break;
		case 'd':
			o->devices = resize(o->devices, o->nr_devices + 1,
					    sizeof(*o->devices));
			o->devices[o->nr_devices++] = optarg;
			break;
		case 'r':
			root = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			exit(0);
		default:
			fputs(usage_text, stderr);
			exit(2);
		}
	}
	if (optind < argc)
		misused("what is", argv[optind]);
	if (o->count && !o->top)
		misused("without -t there is no", "-n");
}

static bool has_device(const struct group *group, const char *name)
{
	size_t i;

	for (i = 0; i < group->nr_devices; i++)
		if (!strcmp(group->devices[i], name))
			return true;
	return false;
}

static bool wanted(const struct options *o, const struct group *group)
{
	size_t i;

	if (!o->nr_groups && !o->nr_devices)
		return true;
	for (i = 0; i < o->nr_groups; i++)
		if (o->groups[i] == group->id)
			return true;
	for (i = 0; i < o->nr_devices; i++)
		if (has_device(group, o->devices[i]))
			return true;
	return false;
}

static void keep_wanted(const struct options *o, struct sample *sample)
{
	size_t i, kept = 0;

	for (i = 0; i < sample->nr; i++) {
		if (wanted(o, &sample->groups[i]))
			sample->groups[kept++] = sample->groups[i];
		else
			free_group(&sample->groups[i]);
	}
	sample->nr = kept;
}

/* There is no directory of bounce buffers: say why. */
static void explain(int error)
{
	char *debugfs = below_root(DEBUGFS), *groups = below_root(GROUPS_DIR);
	int entries = count_entries(debugfs);

	if (error == EACCES || error == EPERM || entries == -EACCES)
		errx(1, "%s: permission denied; only root may look there", debugfs);
	if (error != ENOENT)
		errx(1, "%s: %s", debugfs, strerror(error));
	if (entries == -ENOENT)
		errx(1, "no %s: this kernel has no debugfs", debugfs);
	/* A file system of its own is never empty. */
	if (!entries)
		errx(1, "debugfs is not mounted: mount -t debugfs none %s", debugfs);
	if (count_entries(groups) <= 0)
		errx(1, "no IOMMU is in use: %s is empty", groups);
	errx(1, "bounce buffers are off, or not built in; boot with iommu.bounce=on");
}

/* What was asked for by name must be there, at first. */
static void require(const struct options *o, const struct sample *sample)
{
	size_t i, j;

	for (i = 0; i < o->nr_groups; i++) {
		unsigned int id = o->groups[i];
		char *type;

		if (find_group(sample, id))
			continue;
		type = group_type(id);
		if (!type)
			errx(1, "there is no IOMMU group %u", id);
		errx(1, "IOMMU group %u has no bounce buffers; its type is %s",
		     id, type);
	}
	for (i = 0; i < o->nr_devices; i++) {
		for (j = 0; j < sample->nr; j++)
			if (has_device(&sample->groups[j], o->devices[i]))
				break;
		if (j == sample->nr)
			errx(1, "no IOMMU group with bounce buffers has a device %s",
			     o->devices[i]);
	}
	if (!sample->nr)
		errx(1, "no IOMMU group has bounce buffers now");
}

static void show(const struct options *o, const struct sample *now,
		 const struct sample *then)
{
	if (o->json)
		show_json(now, then);
	else
		show_table(now, then, o->top && isatty(STDOUT_FILENO));
	if (fflush(stdout) || ferror(stdout))
		err(1, "cannot write");
}

static void pause_for(double seconds)
{
	struct timespec left = { .tv_sec = seconds };

	left.tv_nsec = (seconds - left.tv_sec) * 1e9;
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void top(const struct options *o, struct sample *then)
{
	struct sample now;
	unsigned long i;
	int error;

	if (!o->json && isatty(STDOUT_FILENO))
		fputs("\033[2J", stdout);
	for (i = 0; !o->count || i < o->count; i++) {
		pause_for(o->interval);
		error = take_sample(&now);
		/* All groups may go; they may come back, too. */
		if (error && error != ENOENT)
			explain(error);
		keep_wanted(o, &now);
		show(o, &now, then);
		free_sample(then);
		*then = now;
	}
}

int main(int argc, char **argv)
{
	struct options o = { .interval = 1 };
	struct sample sample;
	int error;

	parse(&o, argc, argv);
	error = take_sample(&sample);
	if (error)
		explain(error);
	require(&o, &sample);
	keep_wanted(&o, &sample);
	if (o.top)
		top(&o, &sample);
	else
		show(&o, &sample, NULL);
	free_sample(&sample);
	free(o.groups);
	free(o.devices);
	return 0;
}
