/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "plugin/peer.h"

#include "worker/peer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

int peer_find(struct peer *out)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof(a);

	if (nbdkit_peer_name((struct sockaddr *)&a, &n) < 0)
		return -1;
	out->tls = nbdkit_is_tls() > 0;
	out->sock = -1;
	peer_address(&a, out->address);
	return 0;
}

static bool is_connected_to(int fd, const struct sockaddr_storage *a, socklen_t length)
{
	struct sockaddr_storage b;
	socklen_t n = sizeof(b);

	return getpeername(fd, (struct sockaddr *)&b, &n) == 0 && n == length && memcmp(a, &b, n) == 0;
}

int peer_socket(void)
{
	struct sockaddr_storage a = { .ss_family = AF_UNSPEC };
	socklen_t n = sizeof(a);
	int found = -1, matches = 0;
	struct dirent *entry;
	DIR *dir;

	if (nbdkit_peer_name((struct sockaddr *)&a, &n) < 0 || (a.ss_family != AF_INET && a.ss_family != AF_INET6))
		return -1;
	dir = opendir("/proc/self/fd");
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || !is_connected_to(fd, &a, n))
			continue;
		found = fd;
		matches++;
	}
	closedir(dir);
	return matches == 1 ? fcntl(found, F_DUPFD_CLOEXEC, 0) : -1;
}
