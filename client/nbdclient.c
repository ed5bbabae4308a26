/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/nbdclient.h"

#include "client/run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NBD_CLIENT_SECONDS 60

/* Lines that nbd-client says in any case are no reason for a failure. */
static void keep_reasons(char *output)
{
	char kept[400] = "";
	char *save = NULL;

	for (char *line = strtok_r(output, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
		size_t n = strlen(kept);

		if (strncmp(line, "Warning: the oldstyle", 21) == 0 || strcmp(line, "Negotiation: ..") == 0 ||
		    strncmp(line, "timeout=", 8) == 0 || !line[0])
			continue;
		snprintf(kept + n, sizeof(kept) - n, "%s%s", n ? "; " : "", line);
	}
	strcpy(output, kept);
}

int nbdclient_connect(const char *program, const struct nbd_uri *uri, const char *request,
		      const struct nbddev *dev, struct errbuf *e)
{
	/* Netlink, which is the default here, is what lets the dead-link time be set afterwards.  Not
	 * given: -swap (without effect in netlink mode), -persist (no callers in it), -timeout (a
	 * request that the server holds would cut a healthy link).  No "--" before the options:
	 * nbd-client would then ignore them. The name cannot be taken for an option, since it is the
	 * argument of -N.
	 */
	char *argv[] = { (char *)program,   (char *)"-b",      (char *)"4096",	  (char *)"-N", (char *)request,
			 (char *)uri->host, (char *)uri->port, (char *)dev->path, NULL };
	char output[1024];
	int rc = run_program(argv, output, sizeof(output), NBD_CLIENT_SECONDS, e);

	if (rc < 0)
		return -1;
	if (rc == 0 && nbddev_connected(dev))
		return 0;
	keep_reasons(output);
	return err_set(e, EIO, "nbd-client could not connect %s to %s (exit code %d): %s", dev->name, uri->text,
		       rc, output[0] ? output : "it said nothing; see dmesg");
}
