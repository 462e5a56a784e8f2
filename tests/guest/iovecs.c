// SPDX-License-Identifier: GPL-2.0
/*
 * usage: iovecs read|write DISK BYTES MIB
 *
 * The first MIB of DISK to stdout, or from stdin to it, by O_DIRECT vectors of BYTES each:
 * as many of them at a time as come to 64 KiB, and no more than 120. Each lies in pages of
 * its own and begins at another sector of the first one, so that nothing of the list can
 * be merged and hardly anything of it is aligned to more than a sector.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR	512
#define PAGE	4096
#define VECTORS	120
#define AT_ONCE	(64 << 10)

static struct iovec vectors[VECTORS];

/* Lay out @bytes of vectors of @size, the last one shorter; returns how many. */
static int lay_out(char *memory, size_t size, size_t bytes)
{
	size_t stride = (size + SECTOR * 7 + PAGE - 1) / PAGE * PAGE;
	int n;

	for (n = 0; bytes; n++) {
		vectors[n].iov_base = memory + n * stride + n % 7 * SECTOR;
		vectors[n].iov_len = bytes < size ? bytes : size;
		bytes -= vectors[n].iov_len;
	}
	return n;
}

static void through_stdio(int writing, int n)
{
	for (int i = 0; i < n; i++) {
		size_t length = vectors[i].iov_len;

		if (writing ? fread(vectors[i].iov_base, 1, length, stdin) != length
			    : fwrite(vectors[i].iov_base, 1, length, stdout) != length)
			errx(1, "stdin or stdout ended early");
	}
}

int main(int argc, char **argv)
{
	size_t size, at_once, total, done = 0;
	int writing, disk;
	char *memory;

	if (argc != 5)
		errx(2, "usage: iovecs read|write DISK BYTES MIB");
	writing = !strcmp(argv[1], "write");
	size = strtoul(argv[3], NULL, 0);
	total = strtoul(argv[4], NULL, 0) << 20;
	if (!size || size % SECTOR || size > AT_ONCE)
		errx(2, "%s bytes are not sectors, or too many", argv[3]);
	at_once = AT_ONCE / size * size;
	if (at_once > VECTORS * size)
		at_once = VECTORS * size;

	disk = open(argv[2], (writing ? O_WRONLY : O_RDONLY) | O_DIRECT);
	if (disk < 0)
		err(1, "%s", argv[2]);
	/* More than all strides of any size. */
	if (posix_memalign((void **)&memory, PAGE, VECTORS * 4 * PAGE + AT_ONCE * 3))
		errx(1, "no memory");
	while (done < total) {
		size_t bytes = total - done < at_once ? total - done : at_once;
		int n = lay_out(memory, size, bytes);
		ssize_t moved;

		/* What nobody wrote shows. */
		memset(memory, 0x5a, VECTORS * 4 * PAGE + AT_ONCE * 3);
		if (writing)
			through_stdio(writing, n);
		moved = writing ? pwritev(disk, vectors, n, done) : preadv(disk, vectors, n, done);
		if (moved != (ssize_t)bytes)
			err(1, "%zd of %zu bytes at %zu", moved, bytes, done);
		if (!writing)
			through_stdio(writing, n);
		done += bytes;
	}
	return fflush(stdout) ? 1 : 0;
}
