// SPDX-License-Identifier: GPL-2.0-only
/*
 * Front end of the dma_bench module: measures every combination of the values
 * it is given and prints one JSON object a line. Calls cost nanoseconds, or
 * instructions where the clock counts these.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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

int main(int argc, char **argv)
{
	/* In the order of the nesting, the first one outermost */
	enum { OP, DIR, NENTS, THREADS, CROSS, BUFFERS, SIZE, NR_LISTS };
	struct list lists[NR_LISTS] = {
		[OP] = { 1, { DMA_BENCH_SINGLE } },
		[DIR] = { 1, { 1 } },
		[NENTS] = { 1, { 1 } },
		[THREADS] = { 1, { 1 } },
		[CROSS] = { 1, { 0 } },
		[BUFFERS] = { 1, { 0 } },
		[SIZE] = { 1, { 4096 } },
	};
	unsigned int window = 32, rounds = 100, irqs_off = 0;
	unsigned int at[NR_LISTS] = {};
	int fd, opt, i, failed = 0;

	while ((opt = getopt(argc, argv, "o:d:s:n:t:x:b:w:r:ih")) != -1) {
		switch (opt) {
		case 'o':
			lists[OP] = parse(optarg, op_names);
			break;
		case 'd':
			lists[DIR] = parse(optarg, dir_names);
			break;
		case 's':
			lists[SIZE] = parse(optarg, NULL);
			break;
		case 'n':
			lists[NENTS] = parse(optarg, NULL);
			break;
		case 't':
			lists[THREADS] = parse(optarg, NULL);
			break;
		case 'x':
			lists[CROSS] = parse(optarg, NULL);
			break;
		case 'b':
			lists[BUFFERS] = parse(optarg, NULL);
			break;
		case 'w':
			window = to_number(optarg);
			break;
		case 'r':
			rounds = to_number(optarg);
			break;
		case 'i':
			irqs_off = 1;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default:
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

	do {
		unsigned int cross = lists[CROSS].val[at[CROSS]];
		unsigned int buffers = lists[BUFFERS].val[at[BUFFERS]];
		struct dma_bench_run run = {
			.op = lists[OP].val[at[OP]],
			.dir = lists[DIR].val[at[DIR]],
			.size = lists[SIZE].val[at[SIZE]],
			.nents = lists[NENTS].val[at[NENTS]],
			.threads = lists[THREADS].val[at[THREADS]],
			.cross_cpu = cross,
			.buffers = buffers ? buffers : window,
			.window = window,
			.rounds = rounds,
			.irqs_off = irqs_off && !cross,
		};

		failed |= measure(fd, &run);
		/* The next combination, as an odometer counts */
		for (i = NR_LISTS - 1; i >= 0; i--) {
			if (++at[i] < lists[i].nr)
				break;
			at[i] = 0;
		}
	} while (i >= 0);
	return failed;
}
