// SPDX-License-Identifier: GPL-2.0-only
/*
 * Front end of the dma_bench module: measures every combination of the values
 * it is given and prints one JSON object a line. Calls cost nanoseconds, or
 * instructions where the clock counts these.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dma_bench.h"

#define MAX_VALUES	32

struct list {
	unsigned int nr;
	unsigned int val[MAX_VALUES];
};

static const char * const op_names[] = { "single", "sg", "iova", NULL };
static const char * const dir_names[] = {
	"bidirectional", "to_device", "from_device", NULL
};

static const char usage_text[] =
"usage: dmabench [options] FILE\n"
"FILE is dma_bench/<address> in debugfs. Options with several values take a\n"
"comma list; each combination is measured.\n"
"  -o OP       single, sg, iova (single)\n"
"  -d DIR      to_device, from_device, bidirectional (to_device)\n"
"  -s BYTES    size of a mapping (4096)\n"
"  -n NENTS    pieces of a mapping, for sg and iova (1)\n"
"  -t THREADS  (1)\n"
"  -x 0|1      unmap on another CPU (0)\n"
"  -b BUFFERS  buffers each thread cycles through; 0: as -w (0)\n"
"  -w WINDOW   mappings in flight in a thread (32)\n"
"  -r ROUNDS   windows in a measurement (100)\n"
"  -i          with interrupts off\n";

static unsigned int bad(const char *what, const char *arg)
{
	fprintf(stderr, "dmabench: %s '%s'\n%s", what, arg, usage_text);
	exit(2);
}

static unsigned int to_number(const char *arg)
{
	unsigned long val;
	char *end;

	errno = 0;
	val = strtoul(arg, &end, 0);
	if (errno || end == arg || *end || *arg == '-' || val > 1U << 30)
		bad("not a number:", arg);
	return val;
}

static unsigned int name(const char * const *names, const char *arg)
{
	unsigned int i;

	for (i = 0; names[i]; i++)
		if (!strcmp(names[i], arg))
			return i;
	return bad("unknown", arg);
}

static struct list parse(char *arg, const char * const *names)
{
	struct list list = {};
	char *word;

	for (word = strtok(arg, ","); word; word = strtok(NULL, ",")) {
		if (list.nr == MAX_VALUES)
			bad("too many values:", word);
		list.val[list.nr++] = names ? name(names, word) : to_number(word);
	}
	if (!list.nr)
		bad("no value in", arg);
	return list;
}

static int measure(int fd, struct dma_bench_run *run)
{
	double calls;

	if (ioctl(fd, DMA_BENCH_RUN, run)) {
		fprintf(stderr, "dmabench: %s of %u bytes in %u: %s\n",
			op_names[run->op], run->size, run->nents,
			strerror(errno));
		return 1;
	}
	calls = run->calls;
	printf("{\"op\": \"%s\", \"dir\": \"%s\", \"size\": %u, ",
	       op_names[run->op], dir_names[run->dir], run->size);
	printf("\"nents\": %u, \"threads\": %u, \"cross_cpu\": %s, ",
	       run->nents, run->threads, run->cross_cpu ? "true" : "false");
	printf("\"buffers\": %u, \"map\": %.2f, \"unmap\": %.2f, ",
	       run->buffers, run->map / calls, run->unmap / calls);
	printf("\"sync\": %.2f, \"copy\": %.2f}\n", run->sync / calls,
	       (run->copy_map + run->copy_unmap) / calls);
	fflush(stdout);
	return 0;
}

/* In the order of the nesting, the first one outermost */
enum { OP, DIR, NENTS, THREADS, CROSS, BUFFERS, SIZE, NR_LISTS };

struct options {
	struct list lists[NR_LISTS];
	unsigned int window;
	unsigned int rounds;
	unsigned int irqs_off;
};

/* Every combination; returns whether one failed. */
static int measure_all(int fd, const struct options *o)
{
	unsigned int at[NR_LISTS] = {};
	int i, failed = 0;

	do {
		unsigned int cross = o->lists[CROSS].val[at[CROSS]];
		unsigned int buffers = o->lists[BUFFERS].val[at[BUFFERS]];
		struct dma_bench_run run = {
			.op = o->lists[OP].val[at[OP]],
			.dir = o->lists[DIR].val[at[DIR]],
			.size = o->lists[SIZE].val[at[SIZE]],
			.nents = o->lists[NENTS].val[at[NENTS]],
			.threads = o->lists[THREADS].val[at[THREADS]],
			.cross_cpu = cross,
			.buffers = buffers ? buffers : o->window,
			.window = o->window,
			.rounds = o->rounds,
			.irqs_off = o->irqs_off && !cross,
		};

		failed |= measure(fd, &run);
		/* The next combination, as an odometer counts */
		for (i = NR_LISTS - 1; i >= 0; i--) {
			if (++at[i] < o->lists[i].nr)
				break;
			at[i] = 0;
		}
	} while (i >= 0);
	return failed;
}

/* One option; false if there is none of that name. */
static bool take_option(struct options *o, int opt, char *arg)
{
	static const char letters[NR_LISTS + 1] = "odntxbs";
	const char *found = strchr(letters, opt);

	if (found) {
		int which = found - letters;

		o->lists[which] = parse(arg, which == OP ? op_names :
					     which == DIR ? dir_names : NULL);
		return true;
	}
	switch (opt) {
	case 'w':
		o->window = to_number(arg);
		return true;
	case 'r':
		o->rounds = to_number(arg);
		return true;
	case 'i':
		o->irqs_off = 1;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct options o = {
		.lists = {
			[OP] = { 1, { DMA_BENCH_SINGLE } },
			[DIR] = { 1, { 1 } },
			[NENTS] = { 1, { 1 } },
			[THREADS] = { 1, { 1 } },
			[CROSS] = { 1, { 0 } },
			[BUFFERS] = { 1, { 0 } },
			[SIZE] = { 1, { 4096 } },
		},
		.window = 32,
		.rounds = 100,
	};
	int fd, opt;

	while ((opt = getopt(argc, argv, "o:d:s:n:t:x:b:w:r:ih")) != -1) {
		if (opt == 'h') {
			fputs(usage_text, stdout);
			return 0;
		}
		if (!take_option(&o, opt, optarg)) {
			fputs(usage_text, stderr);
			return 2;
		}
	}
	if (optind != argc - 1) {
		fputs(usage_text, stderr);
		return 2;
	}
	fd = open(argv[optind], O_RDWR);
	if (fd < 0) {
		perror(argv[optind]);
		return 1;
	}
	return measure_all(fd, &o);
}
