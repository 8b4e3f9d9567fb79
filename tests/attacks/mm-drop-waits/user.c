// SPDX-License-Identifier: GPL-2.0
/* user COMMAND COUNT: calls a command of dropwaits.ko. The notifiers are on this process. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
int main(int argc, char **argv)
{
	int d = open("/dev/dropwaits", O_RDWR);
	if (d < 0 || ioctl(d, 0x100 + atoi(argv[1]), atol(argv[2]))) { perror("dropwaits"); return 1; }
	return 0;
}
