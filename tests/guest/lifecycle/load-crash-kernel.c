// SPDX-License-Identifier: GPL-2.0
/*
 * usage: load-crash-kernel IMAGE INITRD PARAMETERS
 *
 * Have a kernel ready for the crash of this one.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int image, initrd;

	if (argc != 4)
		errx(2, "usage: load-crash-kernel IMAGE INITRD PARAMETERS");
	image = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	if (image < 0 || initrd < 0)
		err(1, "%s or %s", argv[1], argv[2]);
	if (syscall(SYS_kexec_file_load, image, initrd, strlen(argv[3]) + 1,
		    argv[3], KEXEC_FILE_ON_CRASH))
		err(1, "kexec_file_load");
	return 0;
}
