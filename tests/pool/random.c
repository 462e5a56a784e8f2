// SPDX-License-Identifier: GPL-2.0-only
/*
 * usage: random RUNS [FIRST]
 *
 * Drives the fuzz target without libFuzzer: with bytes that follow from the
 * number of the run alone.
 */

#include <sanitizer/common_interface_defs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long run;

static void say_which(void)
{
	fprintf(stderr, "in run %lu: TRACE=1 random 1 %lu\n", run, run);
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	unsigned long first = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;

	__sanitizer_set_death_callback(say_which);
	for (run = first; run < first + runs; run++) {
		uint64_t state = run * 0x9e3779b97f4a7c15ULL;
		uint8_t data[512];
		size_t i;

		for (i = 0; i < sizeof(data); i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			data[i] = state >> 32;
		}
		LLVMFuzzerTestOneInput(data, 16 + state % (sizeof(data) - 15));
	}
	printf("%lu runs\n", runs);
	return 0;
}
