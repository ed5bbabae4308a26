/* SPDX-License-Identifier: BSD-3-Clause */
/* A lobby on loopback sockets and its clients, all in one thread, for cmocka tests: whoever waits lets the loop run. */
#ifndef NBDSWAP_TESTS_ENGINE_LOBBYWORLD_H
#define NBDSWAP_TESTS_ENGINE_LOBBYWORLD_H

#include "tests/engine/talk.h"

#include <ev.h>
#include <stdbool.h>

#define FIXED (NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)

struct world {
	struct ev_loop *loop;
	ev_timer tick; /* so that the loop comes back to look */
	struct owner owner;
	struct lobby *lobby;
	int listener;
};

extern struct talk talk; /* what the next client says */
void say_go(void);	 /* fills it in: wants to use the export "ws1" */

/* family: AF_INET, AF_INET6 or AF_UNIX.  false: this machine has no such loopback. */
bool world_begin(struct world *w, int family, unsigned places, double seconds);
void world_end(struct world *w);

double now_s(void);
/* Lets the loop run until done(arg); the test fails when that takes half a minute. */
void run_until(struct world *w, bool (*done)(void *arg), void *arg);
void run_for(struct world *w, double seconds);

/* A client, connected (not accepted yet).  from: for AF_INET the last byte of its address, 127.0.0.from; else 0. */
int client_connect(struct world *w, unsigned char from);
/* Sends all of the talk, letting the loop run while the socket is full. */
void client_say(struct world *w, int fd);
/* Receives exactly so much, letting the loop run.  Fails the test at the end of the stream. */
void client_receive(struct world *w, int fd, void *to, size_t bytes);
void client_receive_greeting(struct world *w, int fd);
/* The next reply; its data goes to data (up to 4096 bytes). */
struct answer client_receive_answer(struct world *w, int fd, unsigned char *data);
/* Has the server closed it (nothing unread is left)?  Looks without waiting. */
bool client_is_closed(int fd);
void wait_closed(struct world *w, int fd);
/* Waits until begin() was called so many times in all. */
void wait_begun(struct world *w, unsigned times);

unsigned open_descriptors(void);

#endif
