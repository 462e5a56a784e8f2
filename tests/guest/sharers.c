// SPDX-License-Identifier: GPL-2.0
/*
 * usage: sharers reads|writes DISK
 *        sharers file FILE
 *
 * What user space may do to memory that is being transferred:
 *
 *   reads   two threads read different blocks of DISK into one buffer, by O_DIRECT
 *   writes  a thread changes a buffer that another one writes to DISK, by O_DIRECT
 *   file    a thread changes the pages of FILE, which it has mapped, while another one
 *           has them written back
 *
 * What comes of it is nobody's promise, but that it ends well is.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES	(64 << 10)
/* A page must be written to again before the device is done with all of them. */
#define FILE_BYTES	(1 << 20)
#define TIMES	100

static char *buffer;
static unsigned int bytes = BYTES;
static int fd;
static int ended;

static void *read_again(void *unused)
{
	(void)unused;
	for (int n = 0; n < TIMES; n++)
		if (pread(fd, buffer, BYTES, (n % 8 + 8) * BYTES) != BYTES)
			err(1, "pread");
	return NULL;
}

static void *scribble(void *unused)
{
	(void)unused;
	for (unsigned int n = 0; !__atomic_load_n(&ended, __ATOMIC_RELAXED); n++)
		*(volatile char *)(buffer + n * 509ULL % bytes) = n;
	return NULL;
}

static void with(void *(*other)(void *), void (*once)(int n))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, other, NULL))
		errx(1, "no thread");
	for (int n = 0; n < TIMES; n++)
		once(n);
	__atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

static void read_once(int n)
{
	if (pread(fd, buffer, BYTES, n % 8 * BYTES) != BYTES)
		err(1, "pread");
}

static void write_once(int n)
{
	if (pwrite(fd, buffer, BYTES, n % 8 * BYTES) != BYTES)
		err(1, "pwrite");
}

static void write_back(int n)
{
	(void)n;
	if (msync(buffer, bytes, MS_SYNC))
		err(1, "msync");
}

int main(int argc, char **argv)
{
	int file = argc == 3 && !strcmp(argv[1], "file");

	if (argc != 3)
		errx(2, "usage: sharers reads|writes|file PATH");
	fd = open(argv[2], file ? O_RDWR | O_CREAT : O_RDWR | O_DIRECT, 0600);
	if (fd < 0)
		err(1, "%s", argv[2]);
	if (file) {
		bytes = FILE_BYTES;
		if (ftruncate(fd, bytes))
			err(1, "ftruncate");
		buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	} else {
		buffer = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	if (buffer == MAP_FAILED)
		err(1, "mmap");
	if (file)
		with(scribble, write_back);
	else if (!strcmp(argv[1], "writes"))
		with(scribble, write_once);
	else
		with(read_again, read_once);
	return 0;
}
