/* SPDX-License-Identifier: BSD-3-Clause */
/* A key of 256 bits in one locked page of a memfd, so that it can be handed to another process as a descriptor without ever
 * being in a message, a file or an argument.
 *
 * There are two kinds.  A master is what an export's key is made of: random and kept nowhere (ephemeral), or the
 * content of the administrator's key file.  It stays with the process that activates.  A subkey is made from it for
 * one activation of one file, so no two activations encrypt under the same key, and the worker that is handed a
 * subkey learns nothing of others.  A master passes only to the successor of a daemon that died.
 *
 * The page is locked, left out of core dumps and wiped by its owner (the process that made it) at sealkey_free().
 * The memory is shared, so a fork copies nothing, and wiping it wipes it for every process that has it;
 * MADV_WIPEONFORK exists for private memory alone, and a program that goes into the background must keep its key.  A
 * process that was handed the descriptor can only read it: the memfd is sealed against other sizes and against new
 * writers.
 *
 * No locks: a struct sealkey does not change after it was made.
 */
#ifndef NBDSWAP_SEALKEY_H
#define NBDSWAP_SEALKEY_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

#define SEALKEY_BYTES 32
#define SEALKEY_ID_BYTES 16

struct sealkey;

/* All functions that make one return NULL with *e on failure; release with sealkey_free().  allow_unlocked: go on
 * when the page cannot be locked in memory.
 */

/* A random master. */
struct sealkey *sealkey_create_ephemeral(bool allow_unlocked, struct errbuf *e);

/* The master in a key file: 32 bytes, or 64 hexadecimal digits with or without a newline.  Links are followed; it
 * must be a regular file of root or of the process's user, closed to group and others (EACCES), and of this form
 * (EINVAL).
 */
struct sealkey *sealkey_load(const char *path, bool allow_unlocked, struct errbuf *e);

/* The subkey for one activation of the file with this uuid: HKDF-SHA256 of the master, info "nbdswap seal v1", uuid,
 * and activation as 8 bytes little-endian.  EINVAL when key is no master.
 */
struct sealkey *sealkey_derive(const struct sealkey *master, const uint8_t uuid[16], uint64_t activation, bool allow_unlocked,
			       struct errbuf *e);

/* One that another process made (fd is not consumed); read-only.  EPROTO when it is not a key of this version. */
struct sealkey *sealkey_map(int fd, bool allow_unlocked, struct errbuf *e);

/* The same with a master that its process left behind: nobody wipes it any more, it goes with its last descriptor. */
struct sealkey *sealkey_map_master(int fd, bool allow_unlocked, struct errbuf *e);

int sealkey_fd(const struct sealkey *k);		/* borrowed */
const uint8_t *sealkey_bytes(const struct sealkey *k); /* SEALKEY_BYTES, valid until sealkey_free(); must not be copied to where it stays */

/* Of a subkey: what it was made for (a master was made for nothing: false, zeros, 0). */
bool sealkey_is_for(const struct sealkey *k, const uint8_t uuid[16], uint64_t activation);
const uint8_t *sealkey_uuid(const struct sealkey *k); /* 16 bytes */
uint64_t sealkey_activation(const struct sealkey *k);

/* By which a master is known again when the file comes back: HKDF-SHA256 with an info of its own, so that it tells
 * nothing about the key; it may lie in the file.  0, or -1 with *e.
 */
int sealkey_id(const struct sealkey *master, const uint8_t uuid[16], uint8_t id[SEALKEY_ID_BYTES], struct errbuf *e);

/* Unmaps and closes; the owner wipes it first.  NULL is fine. */
void sealkey_free(struct sealkey *k);

#endif
