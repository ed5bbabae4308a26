/* SPDX-License-Identifier: BSD-3-Clause */
/* A TCP connection of the test's own, over loopback. */
#ifndef NBDSWAP_TESTS_ENGINE_TCPPAIR_H
#define NBDSWAP_TESTS_ENGINE_TCPPAIR_H

#include <stdbool.h>

struct tcp_pair {
	int ours;  /* accepted; non-blocking */
	int peers; /* connected; non-blocking */
};

struct tcp_kind {
	const char *name;
	bool ip6;
	int buffers; /* SO_RCVBUF and SO_SNDBUF of both ends; 0: as the system has them */
};

/* 0; -1 when this machine has no such loopback (no IPv6). Anything else ends the program. */
int tcp_pair(const struct tcp_kind *kind, struct tcp_pair *out);

#endif
