/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/fdstore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

bool fdstore_there(void)
{
	const char *socket = getenv("NOTIFY_SOCKET");

	return socket && *socket;
}

int fdstore_put(int fd, const char *name, struct errbuf *e)
{
	char text[64 + FDSTORE_NAME];
	int r;

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	r = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
	if (r > 0)
		return 0;
	return err_set(e, r < 0 ? -r : ENOENT, "descriptors are kept by nobody: %s", r < 0 ? strerror(-r) : "no NOTIFY_SOCKET");
}

void fdstore_remove(const char *name)
{
	sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

void fdstore_inherit(struct inherited *in)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	*in = (struct inherited){ 0 };
	if (n <= 0)
		return;
	in->item = calloc((size_t)n, sizeof(*in->item));
	if (!in->item)
		abort();
	in->count = (size_t)n;
	for (int i = 0; i < n; i++) {
		in->item[i].fd = SD_LISTEN_FDS_START + i;
		if (strlen(names[i]) < FDSTORE_NAME)
			strcpy(in->item[i].name, names[i]);
		free(names[i]);
	}
	free(names);
}

int fdstore_take(struct inherited *in, const char *name)
{
	for (size_t i = 0; i < in->count; i++)
		if (in->item[i].fd >= 0 && strcmp(in->item[i].name, name) == 0) {
			int fd = in->item[i].fd;

			in->item[i].fd = -1;
			return fd;
		}
	return -1;
}

void fdstore_drop(struct inherited *in)
{
	for (size_t i = 0; i < in->count; i++) {
		if (in->item[i].fd < 0)
			continue;
		close(in->item[i].fd);
		if (in->item[i].name[0])
			fdstore_remove(in->item[i].name);
	}
	free(in->item);
	*in = (struct inherited){ 0 };
}
