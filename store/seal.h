/* SPDX-License-Identifier: BSD-3-Clause */
/* Encrypts and authenticates pages: AES-256-GCM of OpenSSL under the subkey of one activation (store/sealkey.h).
 *
 * Nonce, 96 bits: counter (64, big-endian), salt (32, big-endian).  It never repeats under a key, because
 *  - a subkey belongs to one activation of one file: HKDF over the file's uuid and the activation number, which rises
 *    whenever the content was lost or made anew, so also after every unclean end but one that records outlive;
 *  - with records (survive = host) an unclean end does not change the activation: then the counter goes on from a mark above all that could have been
 *    given out, which is durable before the use begins (backing_host.c);
 *  - inside an activation the counter, in the table's shared header, rises by an atomic addition before each page is
 *    encrypted and is never put back, not for a failed write nor for one done again; the death of a worker does not
 *    touch it.  It is written with the table at a clean end, which keeps the activation, and goes on from there; 2^64
 *    pages are not reached;
 *  - should somebody bring back an older copy of the whole file, with its older counter and the same activation, the
 *    salt differs: it is drawn at random at each start of a use (backing_begin), so a repetition needs two starts
 *    with the same 32 random bits. That case is outside honest use; the salt keeps even then a nonce from repeating
 *    but for one chance in 2^32.
 * SP 800-38D (8.2.1) calls this the deterministic construction; the salt is its fixed field.
 *
 * Associated data: page number, activation, uuid.  A page that is found in another place, of another activation or in
 * another file does not verify; an older version of the same page does not, because counter, salt and tag are in the
 * table, not in the file.
 *
 * Tag, 96 bits (SP 800-38D permits it): an entry of the table is then 32 bytes.  One try at a forgery of a page
 * succeeds with less than 2^-87.
 *
 * Nothing is allocated per page: a fixed number of contexts ("lanes") with the key set is made by seal_create(), a
 * call takes one, gives it a new nonce and puts it back.  The expanded keys in them are ordinary memory of this
 * process: seal_create() makes the process undumpable (common/procself.h), locking all of its memory is the program's
 * part (common/memlock.h), and seal_free() wipes them.
 *
 * All functions but create and free may be called from any thread, and wait while all lanes are in use (about a
 * microsecond).
 */
#ifndef NBDSWAP_SEAL_H
#define NBDSWAP_SEAL_H

#include "common/errbuf.h"
#include "store/sealkey.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAL_NONCE_BYTES 12
#define SEAL_TAG_BYTES 12

struct seal;

/* key: a subkey, needed only during the call.  lanes: how many threads can be at work at once, at least 1;
 * seal_lanes() is a good number. NULL with *e on failure.
 */
struct seal *seal_create(const struct sealkey *key, unsigned lanes, struct errbuf *e);

/* As many as there are processors, within reason: more threads than that cannot encrypt at the same time. */
unsigned seal_lanes(void);

/* Reads what the functions here would read of files at their first use (OpenSSL's configuration, the number of processors): for a process that
 * will soon be able to open none.
 */
void seal_prepare(void);

/* Nobody may be using it. NULL is fine. */
void seal_free(struct seal *s);

/* One page of PAGE_BYTES from in to out (the same, or not overlapping).  Returns false only when OpenSSL fails; out
 * is not to be used then.
 */
bool seal_page(struct seal *s, uint64_t page, uint64_t counter, uint32_t salt, const void *in, void *out,
	       uint8_t tag[SEAL_TAG_BYTES]);

/* The way back.  Returns false when it does not verify: out is zeros then, never unverified content. */
bool unseal_page(struct seal *s, uint64_t page, uint64_t counter, uint32_t salt, const void *in, void *out,
		 const uint8_t tag[SEAL_TAG_BYTES]);

/* The same for anything else, in memory of any length, under the same key: the nonce must come from the same counter. */
bool seal_bytes(struct seal *s, const uint8_t nonce[SEAL_NONCE_BYTES], const void *aad, size_t aad_bytes, const void *in, void *out,
		size_t bytes, uint8_t tag[SEAL_TAG_BYTES]);
bool unseal_bytes(struct seal *s, const uint8_t nonce[SEAL_NONCE_BYTES], const void *aad, size_t aad_bytes, const void *in, void *out,
		  size_t bytes, const uint8_t tag[SEAL_TAG_BYTES]);

void seal_nonce(uint64_t counter, uint32_t salt, uint8_t nonce[SEAL_NONCE_BYTES]);

#endif
