// SPDX-License-Identifier: GPL-2.0
/*
 * usage: reads lay DISK
 *        reads DISK THREADS SECONDS
 *        reads stop RESOURCE
 *
 * Does a read that fails show what its buffer did not hold before? "lay" writes sectors
 * that tell where they are. Then threads read them by O_DIRECT into buffers filled with
 * one byte, until the time is up or the disk is gone. A sector of a read that succeeded
 * must be the right one; one of a read that failed must be so or be untouched. Prints
 * what was found; the status is 0 unless there was anything else.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECTOR	512
/* Where the other jobs do not write: from 32 MiB on */
#define FIRST	(32ULL << 20)
#define BYTES	(16UL << 20)
#define LARGEST	(64UL << 10)
#define BEFORE	0x5a

static int fd;
static time_t end;
static unsigned long good, failed, foreign;

static void *aligned(size_t bytes)
{
	void *p;

	if (posix_memalign(&p, LARGEST, bytes))
		errx(1, "no memory");
	return p;
}

static void make_sector(uint64_t *sector, uint64_t number)
{
	for (unsigned int i = 0; i < SECTOR / sizeof(*sector); i++)
		sector[i] = (number << 8 | i) * 0x9e3779b97f4a7c15ULL;
}

static void lay(void)
{
	unsigned char *p = aligned(BYTES);

	for (size_t at = 0; at < BYTES; at += SECTOR)
		make_sector((uint64_t *)(p + at), (FIRST + at) / SECTOR);
	for (size_t at = 0; at < BYTES; at += LARGEST)
		if (pwrite(fd, p + at, LARGEST, FIRST + at) != LARGEST)
			err(1, "pwrite");
}

/* CC.EN */
static void stop(void)
{
	volatile uint32_t *registers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (registers == MAP_FAILED)
		err(1, "mmap");
	registers[0x14 / 4] &= ~1;
}

static void count(unsigned long *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void look(const unsigned char *p, off_t at, size_t size, int ok)
{
	uint64_t right[SECTOR / 8], before[SECTOR / 8];

	memset(before, BEFORE, SECTOR);
	for (size_t i = 0; i < size; i += SECTOR) {
		make_sector(right, (at + i) / SECTOR);
		if (!memcmp(p + i, right, SECTOR) || (!ok && !memcmp(p + i, before, SECTOR)))
			continue;
		printf("%s read of %zu at %lld: sector %zu holds %016llx, not %016llx\n", ok ? "good" : "failed", size,
		       (long long)at, i / SECTOR, *(unsigned long long *)(p + i), (unsigned long long)right[0]);
		count(&foreign);
		break;
	}
}

static void *reader(void *arg)
{
	static const size_t sizes[] = { 4096, 16384, 512, LARGEST };
	unsigned int seed = (uintptr_t)arg, n = 0;
	unsigned char *p = aligned(LARGEST);

	while (time(NULL) < end) {
		size_t size = sizes[n++ % 4];
		off_t at = FIRST + rand_r(&seed) % (BYTES / LARGEST) * LARGEST;
		ssize_t got;

		memset(p, BEFORE, LARGEST);
		got = pread(fd, p, size, at);
		/* Gone: it has no size, or no driver. */
		if (!got || (got < 0 && (errno == ENXIO || errno == ENODEV))) {
			look(p, at, size, 0);
			break;
		}
		look(p, at, size, got == (ssize_t)size);
		count(got == (ssize_t)size ? &good : &failed);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned int threads = argc == 4 ? atoi(argv[2]) : 0;
	const char *file = argc == 3 ? argv[2] : argv[1];
	pthread_t thread[64];

	if (argc != 3 && (!threads || threads > 64))
		errx(2, "see the source");
	fd = argc == 4 ? open(file, O_RDONLY | O_DIRECT) :
	     open(file, strcmp(argv[1], "stop") ? O_RDWR | O_DIRECT : O_RDWR | O_SYNC);
	if (fd < 0)
		err(1, "%s", file);
	if (argc == 3) {
		strcmp(argv[1], "stop") ? lay() : stop();
		return 0;
	}
	end = time(NULL) + atoi(argv[3]);
	for (unsigned int i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, reader, (void *)(uintptr_t)(i + 1)))
			errx(1, "no thread");
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	printf("good=%lu failed=%lu foreign=%lu\n", good, failed, foreign);
	return foreign ? 1 : 0;
}
