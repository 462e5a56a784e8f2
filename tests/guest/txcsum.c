// SPDX-License-Identifier: GPL-2.0
/*
 * txcsum NIC on|off: who computes the checksums of what is sent, the card or the kernel.
 * What "ethtool -K NIC tx on|off" does; the guest has no ethtool.
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct ethtool_value value = { .cmd = ETHTOOL_STXCSUM };
	struct ifreq ifr = { .ifr_data = (char *)&value };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 3 || fd < 0)
		return 2;
	value.data = !strcmp(argv[2], "on");
	strncpy(ifr.ifr_name, argv[1], sizeof(ifr.ifr_name) - 1);
	if (ioctl(fd, SIOCETHTOOL, &ifr)) {
		perror("SIOCETHTOOL");
		return 1;
	}
	return 0;
}
