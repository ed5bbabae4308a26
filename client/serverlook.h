/* SPDX-License-Identifier: BSD-3-Clause */
/* Is the server of a device still there with what was swapped out?  Asked of everything but the device itself, whose reads could wait for as long
 * as the dead-link timeout: the state that attach kept, the watch, the kernel's list of connections, and a trial connection with a deadline.
 */
#ifndef NBDSWAP_CLIENT_SERVERLOOK_H
#define NBDSWAP_CLIENT_SERVERLOOK_H

#include "client/state.h"
#include "common/errbuf.h"

enum server_look {
	SERVER_THERE, /* its connection stands */
	SERVER_BACK,  /* its connection is dead, but the server has the same content: it goes on, by itself, in a moment */
	SERVER_GONE,
};

/* dir: of the states.  *why says what is known, unless it is SERVER_THERE. */
enum server_look server_look(const char *dir, const struct attach_state *s, struct errbuf *why);

#endif
