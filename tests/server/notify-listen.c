/* SPDX-License-Identifier: BSD-3-Clause */
/* Stands in for the service manager: prints what is sent to the notification socket.
 * Usage: notify-listen SOCKET
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char text[4096];
	ssize_t n;

	if (argc != 2 || strlen(argv[1]) >= sizeof(un.sun_path))
		return 2;
	strcpy(un.sun_path, argv[1]);
	if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		perror(argv[1]);
		return 1;
	}
	while ((n = recv(fd, text, sizeof(text) - 1, 0)) >= 0) {
		text[n] = '\0';
		puts(text);
		fflush(stdout);
	}
	return 1;
}
