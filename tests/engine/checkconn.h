/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection of nbdcheck: negotiation, requests out, replies in.  Whatever the server does that it may not ends the program, by wrong(). */
#ifndef NBDSWAP_TESTS_ENGINE_CHECKCONN_H
#define NBDSWAP_TESTS_ENGINE_CHECKCONN_H

#include "store/page.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK_DEPTH 256u     /* at most, of a connection */
#define CHECK_PAGES 64u	     /* at most, of a read or write */
#define CHECK_OUT (1u << 20) /* bytes that wait to be sent */
#define CHECK_IN (256u << 10)

struct check_request {
	bool used;
	uint16_t type, flags;
	uint32_t first, pages;
	uint64_t version; /* written; VERSION_ZEROS: trimmed or zeroed */
	uint64_t begun;	  /* model time */
	uint64_t cookie;
	double since;
};

struct check_conn {
	unsigned number;
	int fd;
	uint64_t size;	/* of the export, bytes */
	uint16_t flags; /* of transmission */

	struct check_request request[CHECK_DEPTH];
	unsigned in_flight;
	uint32_t made; /* makes cookies unlike */

	unsigned char out[CHECK_OUT];
	size_t out_from, out_to;

	unsigned char in[CHECK_IN];
	size_t in_bytes;
	struct check_request *reading; /* data of this one comes; NULL: a header comes next */
	uint32_t read_pages;

	double deaf_until; /* does not receive until then */
	double heard;	   /* when it last received something, or began to wait for something */
	double longest_pause, longest_request;
};

struct check_ops {
	/* A page that was read; and: the request was answered, without an error. */
	void (*page)(void *arg, struct check_conn *c, const struct check_request *r, uint32_t page, const void *data);
	void (*answered)(void *arg, struct check_conn *c, const struct check_request *r);
	void *arg;
};

double check_now(void); /* seconds */

/* Something that must not be: says so, with the requests in flight of c (unless NULL), and ends the program with exit code 1. */
void wrong(const struct check_conn *c, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* fd: connected, blocking; non-blocking afterwards. */
void check_negotiate(struct check_conn *c, int fd, const char *name);

/* Is there room for one of so many bytes? */
bool check_room(const struct check_conn *c, unsigned depth, size_t payload);

/* Puts one into the queue: type, flags, first, pages, version and begun are the caller's.  For a write *data is where its pages go. */
void check_put(struct check_conn *c, const struct check_request *r, unsigned char **data);

/* At most so many bytes of the queue.  Returns those that went. */
size_t check_send(struct check_conn *c, size_t most);

/* What has come. */
void check_receive(struct check_conn *c, const struct check_ops *ops);

/* Says goodbye and waits for the end of the stream; nothing may come before it. */
void check_goodbye(struct check_conn *c);

#endif
