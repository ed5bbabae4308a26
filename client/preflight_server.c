/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/preflight_server.h"

#include "common/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define SIZE_MIN (1024 * 1024)
#define LATENCY_READS 15
#define LATENCY_WARN_US 5000

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void look_at_reads(struct session *s, const struct nbd_uri *uri, struct server_facts *out,
			  struct findings *f)
{
	uint64_t took[LATENCY_READS];
	char page[BLOCK];
	struct errbuf e;

	for (int i = 0; i < LATENCY_READS; i++) {
		if (session_read(s, page, sizeof(page), 0, &took[i], &e) == 0)
			continue;
		if (e.code == ENOTCONN || e.code == ETIMEDOUT) {
			finding_refuse(f, EX_UNREACHABLE, "latency", "%s: %s", uri->text, e.text);
			return;
		}
		out->header_unreadable = true;
	}
	qsort(took, LATENCY_READS, sizeof(took[0]), compare);
	out->latency_us = took[LATENCY_READS / 2] / 1000;
	if (out->latency_us > LATENCY_WARN_US)
		finding_warn(f, "latency",
			     "a read of one page takes %" PRIu64 ".%" PRIu64 " ms; each page fault will wait "
									     "as "
			     "long, so expect slow swap; a nearer server or a faster network helps",
			     out->latency_us / 1000, out->latency_us % 1000 / 100);
	else
		finding_ok(f, "latency", "a read of one page takes %" PRIu64 " us", out->latency_us);
}

static void look_at_facts(const struct nbd_uri *uri, const struct export_facts *x, struct findings *f)
{
	char text[SIZE_TEXT];

	if (x->size < SIZE_MIN)
		finding_refuse(f, EX_REFUSED, "size",
			       "%s: the export has %" PRIu64 " bytes, less than 1 MiB; make it larger "
			       "on the server",
			       uri->text, x->size);
	else if (x->size % BLOCK)
		finding_refuse(f, EX_REFUSED, "size",
			       "%s: the export's size of %" PRIu64 " bytes is not a multiple of a page "
			       "(%d); change it on the server to %" PRIu64,
			       uri->text, x->size, BLOCK, x->size / BLOCK * BLOCK);
	else
		finding_ok(f, "size", "%s", size_format(x->size, text));
	if (x->block_min > BLOCK)
		finding_refuse(f, EX_REFUSED, "block-size",
			       "%s: the server takes no request below %" PRIu64 " bytes, and swap "
			       "moves pages of %d; set its block size to %d",
			       uri->text, x->block_min, BLOCK, BLOCK);
	if (x->block_max && x->block_max < 128 * 1024)
		finding_refuse(f, EX_REFUSED, "block-size",
			       "%s: the server takes no request above %" PRIu64 " bytes, and the "
			       "kernel sends up to 128 KiB whatever the server says; raise its maximum",
			       uri->text, x->block_max);
	if (x->read_only)
		finding_refuse(f, EX_REFUSED, "writable",
			       "%s: the export is read-only; make it writable on the server", uri->text);
	if (!x->trim)
		finding_warn(f, "trim",
			     "the server takes no discards: pages that are free again stay written there");
	if (!x->flush)
		finding_warn(f, "flush",
			     "the server takes no flushes: whether pages are safe there cannot be asked");
	finding_ok(f, "flags", "%s%s%s%s", x->read_only ? "read-only" : "writable", x->flush ? ", flush" : "",
		   x->trim ? ", trim" : "", x->multi_conn ? ", several connections" : "");
	if (!x->identified)
		finding_warn(f, "identity",
			     "the server does not take a client's identity, so it cannot keep a second machine "
			     "off this export; make sure that no other machine uses it");
}

void preflight_server(const struct nbd_uri *uri, const char *client_id, struct server_facts *out,
		      struct findings *f)
{
	struct session *s = NULL;
	struct errbuf e = { 0 };

	memset(out, 0, sizeof(*out));
	switch (session_open(uri, client_id, &s, &out->export, &e)) {
	case OPEN_OK:
		break;
	case OPEN_UNREACHABLE:
		finding_refuse(f, EX_UNREACHABLE, "reach", "%s", e.text);
		return;
	case OPEN_NO_EXPORT:
		finding_refuse(f, EX_REFUSED, "export", "%s", e.text);
		return;
	case OPEN_REFUSED:
		finding_refuse(f, EX_BUSY, "export", "%s", e.text);
		return;
	case OPEN_FAILED:
		finding_refuse(f, EX_FAIL, "export", "%s", e.text);
		return;
	}
	finding_ok(f, "export", "%s", out->export.request);
	look_at_facts(uri, &out->export, f);
	if (out->export.size >= BLOCK)
		look_at_reads(s, uri, out, f);
	session_close(s);
	if (out->header_unreadable)
		out->knows_clients = out->export.identified && session_server_knows_clients(uri);
}
