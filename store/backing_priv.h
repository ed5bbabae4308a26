/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a backing file's life share: backing.c (activation), backing_check.c, provision.c, backing_use.c and foreign.c. */
#ifndef NBDSWAP_BACKING_PRIV_H
#define NBDSWAP_BACKING_PRIV_H

#include "store/backend.h"
#include "store/backing.h"
#include "store/sealkey.h"
#include "store/trailer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct backing {
	int fd;
	struct stat st;
	uint64_t size; /* of the file, or of the device in whole pages */
	struct backend backend;
	bool behind; /* trailer may be older than the file's, of the same use: it is its predecessor's (adopt.c) */
	unsigned reopened; /* how often fd has become another description (reopen.c) */
	int worker_fd; /* barrier_worker_fd(); -1: none */
	struct trailer trailer; /* as last read or written */
	struct trailer before; /* from backing_load() to backing_mark(): as the file has it */
	bool has_trailer;
	bool leave_locked; /* backing_leave_locked */
	bool locked;  /* by us: only then may a file that we created be removed again */
	bool fresh;   /* the use began with a file that was only allocated */
	bool unclean; /* the trailer said "in use" when we came */
	bool allow_unlocked;
	bool force;   /* write over what others put there */
	enum page_check check;
	enum page_seal seal;
	enum page_survive survive;
	bool records; /* the file has records, and the table was made of them */
	bool resumed; /* the trailer said "in use" when we came, and had records */
	bool ephemeral;		/* sealed, and not with the key of a file */
	struct sealkey *master; /* of the key file; an ephemeral one: since the use began */
	struct sealkey *key;	/* of the present activation */
	bool file_lost;		/* what the path leads to is not our file any more (reopen.c): it is not touched again */
	int64_t stale_since_ms; /* the file is being looked for since then; 0: it is not */
	char name[4096];
};

/* backing_check.c */
int backing_refresh(struct backing *b, struct errbuf *e); /* looks at the file again */
bool backing_is_original(const struct backing *b);	  /* was the trailer written for this very file, not for one it was copied from? */
void backing_check_place(const struct backing *b, bool direct, struct report *r); /* what can be known before a byte is written */
void backing_check_content(const struct backing *b, struct report *r);
int backing_refuse_if_failed(const struct report *r, struct errbuf *e); /* the first refusal becomes the error */
void backing_describe_owner(const struct trailer *t, char *out, size_t size);

/* backing_seal.c */
int backing_seal_open(struct backing *b, const struct backing_options *opt, struct errbuf *e); /* takes the rules, loads the key file */
int backing_seal_match(const struct backing *b, struct errbuf *e); /* may the file, as its trailer tells, be used so? */
bool backing_seal_same(const struct backing *b);		   /* was it last used with the same kind of seal? */
int backing_seal_salt(const struct backing *b, uint32_t *salt, struct errbuf *e);
int backing_seal_unlock(struct backing *b, struct table *table, struct errbuf *e); /* makes the activation's key and unlocks table */
int backing_seal_stamp(struct backing *b, struct errbuf *e);			    /* enters the kind of seal into the trailer */
int backing_seal_image(struct backing *b, struct table *table, struct errbuf *e); /* in place, before it is written */
bool backing_unseal_image(const struct backing *b, struct table *table);	   /* false: it is not what was sealed */
void backing_seal_close(struct backing *b);					   /* wipes the keys */

/* backing_host.c */
int backing_host_check(const struct backing *b, struct errbuf *e); /* may survive = host be promised here? */
bool backing_has_records(const struct backing *b);		    /* does the trailer have records that can be read as we were told to? */
bool backing_host_lock_tells(const struct backing *b); /* that a machine which had it is gone for good? */
int backing_host_load(struct backing *b, struct table *table, struct errbuf *e); /* the table of them */
int backing_host_begin(struct backing *b, struct table *table, bool there, struct errbuf *e); /* there: they are what the table is */
int backing_host_end(struct backing *b, struct table *table, struct errbuf *e);

/* adopt.c */
bool backing_same_use(const struct trailer *now, const struct trailer *before); /* sequence and activation may be later ones */

/* reopen.c */
bool backing_patience_ends(struct backing *b, uint32_t patience_s); /* it is looked for so long; begins to count with the first call */

/* foreign.c */
/* Refuses (EEXIST) a clean file whose pages were written by somebody else; table as the trailer has it.  0, or -1 with *e. */
int backing_refuse_foreign(const struct backing *b, struct table *table, struct errbuf *e);

/* provision.c */
int provide_nocow(const struct backing *b, struct errbuf *e); /* on an empty file only: before the first byte */
/* Brings the content in order as far as opt allows; *r then has the findings on the final state. 0, or -1 with *e. */
int provide_content(struct backing *b, const struct backing_options *opt, struct report *r, struct errbuf *e);

#endif
