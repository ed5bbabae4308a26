/* SPDX-License-Identifier: BSD-3-Clause */
/* The native worker, started by nbdswapd:
 *
 *   nbdswap-engine interface=N broker=FD pool-fd=FD pool=BYTES connections=N [allow=WORD,...]
 *
 * with the listening sockets as descriptors from 3 on and LISTEN_FDS in the environment.
 */
#include "config.h"

#include "common/allow.h"
#include "common/broker.h"
#include "common/exitcodes.h"
#include "server/engine/engine.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_FD = 3, LISTEN_MAX = 64 };

static bool number(const char *text, unsigned long long max, unsigned long long *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && *out <= max;
}

static bool set(struct engine_options *o, const char *arg)
{
	const char *value = strchr(arg, '=');
	size_t n = value ? (size_t)(value++ - arg) : 0;
	unsigned long long v;

#define IS(key) (n == sizeof(key) - 1 && memcmp(arg, key, n) == 0)
	if (n == 0)
		return false;
	if (IS("allow"))
		return (o->allow = allow_list(value)) != 0;
	if (!number(value, 1ull << 40, &v))
		return false;
	if (IS("broker"))
		o->broker = (int)v;
	else if (IS("pool-fd"))
		o->pool_fd = (int)v;
	else if (IS("pool"))
		o->pool = v;
	else if (IS("connections"))
		o->connections = (unsigned)v;
	else
		return false;
	return true;
#undef IS
}

/* Before anything else is believed that the daemon says. */
static bool same_interface(int argc, char **argv)
{
	unsigned long long v;

	if (argc < 2 || strncmp(argv[1], "interface=", strlen("interface=")) != 0 || !number(strchr(argv[1], '=') + 1, UINT_MAX, &v)) {
		fprintf(stderr, "nbdswap-engine: nbdswapd starts it; see nbdswapd(8)\n");
		return false;
	}
	if (v != ENGINE_INTERFACE)
		fprintf(stderr, "nbdswap-engine: the running nbdswapd is of another version (its interface is %llu, this program's %d); put the"
				" program back that it was started with, or detach the clients and restart nbdswapd\n", v, ENGINE_INTERFACE);
	return v == ENGINE_INTERFACE;
}

int main(int argc, char **argv)
{
	struct engine_options o = { .broker = -1, .pool_fd = -1 };
	const char *listen = getenv("LISTEN_FDS");
	int fds[LISTEN_MAX];
	unsigned long long n;
	struct errbuf e;

	if (!same_interface(argc, argv))
		return EX_USAGE_;
	for (int i = 2; i < argc; i++)
		if (!set(&o, argv[i])) {
			fprintf(stderr, "nbdswap-engine: \"%s\" is no parameter of it; nbdswapd starts it, see nbdswapd(8)\n", argv[i]);
			return EX_USAGE_;
		}
	if (o.broker < 0 || o.pool_fd < 0 || o.pool == 0 || o.connections == 0 || !listen || !number(listen, LISTEN_MAX, &n)) {
		fprintf(stderr, "nbdswap-engine: nbdswapd starts it; see nbdswapd(8)\n");
		return EX_USAGE_;
	}
	for (unsigned i = 0; i < n; i++) {
		fds[i] = FIRST_FD + (int)i;
		fcntl(fds[i], F_SETFD, FD_CLOEXEC);
	}
	o.listen_fds = fds;
	o.nlisten = (unsigned)n;
	if (engine_run(&o, &e) < 0) {
		fprintf(stderr, "nbdswap-engine: %s\n", e.text);
		return e.code == ENOSYS ? BROKER_NO_URING : EX_FAIL;
	}
	return EX_OK_;
}
