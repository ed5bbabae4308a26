/* SPDX-License-Identifier: BSD-3-Clause */
/* A message of sd_notify(3) as its receiver reads it: lines of VARIABLE=VALUE, of which the keeper heeds those below and passes over all others
 * (STATUS=, RELOADING=1, WATCHDOG=1, ...).
 */
#ifndef NBDSWAP_KEEPER_MESSAGE_H
#define NBDSWAP_KEEPER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#define KEEPER_MESSAGE_MAX 4096 /* bytes, as systemd has it */
#define KEEPER_MESSAGE_FDS 253	/* descriptors with one message: SCM_MAX_FD of the kernel */
#define KEEPER_NAME_MAX 255	/* bytes of FDNAME= */

struct keeper_message {
	bool barrier;  /* BARRIER=1, alone: its descriptor is to be closed, once all that was sent before has been done */
	bool ready;    /* READY=1 */
	bool stopping; /* STOPPING=1 */
	bool store;    /* FDSTORE=1: its descriptors are to be kept */
	bool remove;   /* FDSTOREREMOVE=1, which goes before FDSTORE=1 */
	bool poll;     /* no FDPOLL=0: what poll(2) says has ended is not kept any longer */
	char name[KEEPER_NAME_MAX + 1]; /* the first FDNAME=; "": none, or not a name */
};

/* Reads len bytes.  false: it is no message (empty, too long, with a NUL in its midst, BARRIER=1 with something else), and is to be dropped. */
bool keeper_message_read(const char *text, size_t len, struct keeper_message *m);

#endif
