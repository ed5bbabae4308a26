/* SPDX-License-Identifier: BSD-3-Clause */
/* The trailer at the end of a backing file: the proof that every page was written by us, the in-use mark, the
 * generation, the owner and the table's image.  It is allocated with the file, so that writing it at deactivation allocates nothing.
 *
 *   0 .. data_size                    the pages of the export
 *   data_size .. +table_bytes         image of the page table, or its records (records.h): 34 bytes per page, whole pages: room for those of
 *                                     a sealed one, so that an export can be sealed later in the file that it has
 *   end - 8192, end - 4096            two header slots; a header is written to the slot that does not hold
 *                                     the newest one, so a torn write leaves the older header
 *
 * Headers and image are little-endian as the machine is; another byte order is refused by the magic.
 */
#ifndef NBDSWAP_TRAILER_H
#define NBDSWAP_TRAILER_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

#define TRAILER_SLOTS 2
#define TRAILER_VERSION 4u
#define TRAILER_MAGIC UINT64_C(0x31505753444e424e) /* "NBNDSWP1" */

enum trailer_state {
	TRAILER_ALLOCATING = 1, /* pages up to allocated are written */
	TRAILER_CLEAN = 2,	/* not in use; the table is as table says */
	TRAILER_IN_USE = 3,	/* since owner.since; if nobody holds the lock: an unclean end, after which only records tell of pages */
};

/* How the pages were sealed when the file was last used. */
enum trailer_seal { TRAILER_SEAL_NONE = 0, TRAILER_SEAL_EPHEMERAL = 1, TRAILER_SEAL_KEY_FILE = 2 };

enum trailer_table {
	TRAILER_TABLE_NONE = 0,
	TRAILER_TABLE_FRESH = 1,
	TRAILER_TABLE_IMAGE = 2,
	TRAILER_TABLE_RECORDS = 3, /* of the file in use, too */
};

#define TRAILER_HOLDER 96 /* as LEASE_HOLDER_MAX */

/* At most 512 bytes, so that it lies in one sector. */
struct trailer {
	uint64_t magic;
	uint32_t version; /* TRAILER_VERSION */
	uint32_t state;	  /* enum trailer_state */
	uint64_t sequence; /* of header writes; the higher slot counts */
	uint64_t data_size, table_offset, table_bytes, file_size;
	uint64_t allocated;  /* bytes from the start that were written and synced */
	uint64_t activation; /* rises whenever the content was lost or rewritten (trailer_renew), and */
	uint64_t lease;	     /* whenever it passed to another client: the generation (common/generation.h) */
	uint64_t inode;	     /* of the file when it was allocated: a copy is not proof of allocation */
	uint64_t table_check[2]; /* XXH3-128 of the image */
	uint32_t table;	     /* enum trailer_table */
	uint32_t stride;     /* bytes of an entry in the image */
	uint32_t seal;	     /* enum trailer_seal */
	uint32_t owner_pid;
	uint64_t owner_since;	/* seconds since 1970 */
	uint8_t uuid[16];
	/* TRAILER_SEAL_KEY_FILE: */
	uint8_t key_id[16];	 /* of the key file's key (sealkey_id) */
	uint64_t nonce;		 /* the last counter given out; with records and in use: one that is not reached */
	uint32_t image_salt;	 /* the rest of the image's nonce */
	uint8_t image_tag[12];	 /* the image is sealed */
	char owner_host[64];
	char owner_boot[40]; /* boot id */
	char lease_holder[TRAILER_HOLDER]; /* who it passed to under this lease; "": not known.  Kept up with records only */
	uint64_t check;	     /* XXH3-64 of all before it */
};
_Static_assert(sizeof(struct trailer) <= 512, "a header must not cross a sector");

/* Computes the layout for an export of data_size bytes (a multiple of 4096, not 0): offsets and file_size of *t. */
void trailer_layout(struct trailer *t, uint64_t data_size);

/* The largest data size whose layout fits into file_size bytes (0 when none does). */
uint64_t trailer_fit(uint64_t file_size);

/* Reads the newest valid header of a file of file_size bytes.  Returns 1 found, 0 none, -1 error (EPROTO: of another version). */
int trailer_read(int fd, const char *path, uint64_t file_size, struct trailer *t, struct errbuf *e);

/* Raises t->sequence, computes the check, writes the header with direct I/O and makes it durable. 0 or -1. */
int trailer_write(int fd, const char *path, struct trailer *t, struct errbuf *e);

/* As trailer_write, to both slots one after the other.  A state that takes trust away is written so: were the newest header damaged
 * later, the one before it would give the trust back.
 */
int trailer_write_both(int fd, const char *path, struct trailer *t, struct errbuf *e);

/* Gives the content a new activation number: higher than the one it has, and starting at the time, so that a file made anew at the
 * same place does not come back to a number that was in use.
 */
void trailer_renew(struct trailer *t);

/* Enters this machine and process as owner. */
void trailer_own(struct trailer *t);

/* Was its owner a process of this machine since it was booted? */
bool trailer_owned_since_boot(const struct trailer *t);
bool trailer_owned_here(const struct trailer *t); /* of this machine, at any time */

#endif
