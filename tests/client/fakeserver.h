/* SPDX-License-Identifier: BSD-3-Clause */
/* Servers of a test's own on the loopback: what they say is given beforehand, and they say it at once or
 * slowly, to one client after the other.
 */
#ifndef NBDSWAP_TESTS_CLIENT_FAKESERVER_H
#define NBDSWAP_TESTS_CLIENT_FAKESERVER_H

#include "client/reach.h"
#include "tests/engine/talk.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum fake_manner {
	FAKE_SPEAKS,   /* says everything, and keeps the connection until the client ends it */
	FAKE_ENDS,     /* says everything, takes the request and ends the connection */
	FAKE_RESETS,   /* says everything, takes the request and resets the connection */
	FAKE_TRICKLES, /* one byte after the other, without an end: the last one again and again */
	FAKE_SILENT,   /* accepts nothing: the kernel does */
	FAKE_FULL,     /* not even the kernel does: its backlog is full */
	FAKE_REFUSES,  /* nobody listens on the port, and nobody else can have it */
};

struct fake {
	enum fake_manner manner;
	union reach_address address;
	int listening;
	struct talk says;
	pthread_t thread;
	bool has_thread, stop;
	unsigned ended;	 /* connections that are over; by __atomic */
	int filling[16]; /* the backlog */
};

/* family: AF_INET or AF_INET6 (then false when there is none here).  f->says must be filled before. */
bool fake_start(struct fake *f, int family, enum fake_manner manner);
void fake_stop(struct fake *f);

#endif
