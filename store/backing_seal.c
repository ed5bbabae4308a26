/* SPDX-License-Identifier: BSD-3-Clause */
/* The seal of a backing file: which keys it takes, which files may be opened with them, and its table's image on disk.
 *
 * What lies in the file of a sealed export tells nothing of a page: pages are sealed, and so is the image of the
 * table, in which same-value pages have their values and which, unsealed, would also let somebody put an old entry
 * beside an old page.  An ephemeral key is gone with the use, so its image says of every page only whether it was in
 * use; it is not sealed.
 */
#include "config.h"

#include "store/backing_priv.h"
#include "store/seal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define MAKE_ANEW "make it anew with `nbdswapctl activate --rewrite`, or remove it (its pages are lost then)"

/* What the sealed image is bound to. */
struct image_aad {
	char label[16];
	uint8_t uuid[16];
	uint64_t activation, bytes; /* of the export */
};
_Static_assert(sizeof(struct image_aad) == 48, "no padding is authenticated");

static enum trailer_seal kind(const struct backing *b)
{
	return b->seal == PAGE_SEAL_NONE ? TRAILER_SEAL_NONE : b->ephemeral ? TRAILER_SEAL_EPHEMERAL : TRAILER_SEAL_KEY_FILE;
}

int backing_seal_open(struct backing *b, const struct backing_options *opt, struct errbuf *e)
{
	b->seal = opt->seal;
	b->ephemeral = opt->seal != PAGE_SEAL_NONE && !opt->key_file;
	if (opt->seal == PAGE_SEAL_NONE || b->ephemeral)
		return 0;
	b->master = sealkey_load(opt->key_file, opt->allow_unlocked, e);
	return b->master ? 0 : -1;
}

int backing_seal_match(const struct backing *b, struct errbuf *e)
{
	const struct trailer *t = &b->trailer;
	uint8_t id[SEALKEY_ID_BYTES];
	bool in_use = t->state == TRAILER_IN_USE;

	if (!in_use && t->table != TRAILER_TABLE_IMAGE && t->table != TRAILER_TABLE_RECORDS)
		return 0; /* never used */
	if (t->seal == TRAILER_SEAL_NONE && b->seal != PAGE_SEAL_NONE)
		return err_set(e, EINVAL, "%s: was used without a seal, so pages lie in it as they were; " MAKE_ANEW
			       ", or use it without a seal", b->name);
	/* After an unclean end without records there is nothing left that a key could open. */
	if (t->seal != TRAILER_SEAL_KEY_FILE || (in_use && t->table != TRAILER_TABLE_RECORDS))
		return 0;
	if (!b->master)
		return err_set(e, EINVAL, "%s: its pages are sealed with the key of a key file; give that key-file, or "
			       MAKE_ANEW, b->name);
	if (sealkey_id(b->master, t->uuid, id, e) < 0)
		return err_prefix(e, "%s", b->name);
	if (memcmp(id, t->key_id, sizeof(id)) != 0)
		return err_set(e, EINVAL, "%s: its pages are sealed with another key than the one in the key file; give the key "
			       "file that it was last used with, or " MAKE_ANEW, b->name);
	return 0;
}

bool backing_seal_same(const struct backing *b)
{
	return b->trailer.seal == (uint32_t)kind(b);
}

int backing_seal_unlock(struct backing *b, struct table *table, struct errbuf *e)
{
	const struct table_spec *spec = table_spec(table);

	if (b->seal == PAGE_SEAL_NONE)
		return 0;
	sealkey_free(b->key);
	b->key = NULL;
	if (!b->master)
		b->master = sealkey_create_ephemeral(b->allow_unlocked, e);
	if (b->master)
		b->key = sealkey_derive(b->master, spec->uuid, spec->activation, b->allow_unlocked, e);
	if (!b->key || table_unlock_seal(table, b->key, e) < 0)
		return err_prefix(e, "%s", b->name);
	return 0;
}

int backing_seal_salt(const struct backing *b, uint32_t *salt, struct errbuf *e)
{
	if (b->seal != PAGE_SEAL_NONE && getrandom(salt, sizeof(*salt), 0) != sizeof(*salt))
		return err_errno(e, "%s: no random numbers for its seal", b->name);
	return 0;
}

int backing_seal_stamp(struct backing *b, struct errbuf *e)
{
	struct trailer *t = &b->trailer;

	t->seal = kind(b);
	memset(t->key_id, 0, sizeof(t->key_id));
	if (t->seal == TRAILER_SEAL_KEY_FILE && sealkey_id(b->master, t->uuid, t->key_id, e) < 0)
		return err_prefix(e, "%s", b->name);
	return 0;
}

static struct image_aad image_aad(const struct trailer *t)
{
	struct image_aad aad = { .label = "nbdswap image", .activation = t->activation, .bytes = t->data_size };

	memcpy(aad.uuid, t->uuid, sizeof(aad.uuid));
	return aad;
}

int backing_seal_image(struct backing *b, struct table *table, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	struct image_aad aad = image_aad(t);
	uint8_t nonce[SEAL_NONCE_BYTES];
	uint64_t bytes;
	void *image = table_image(table, &bytes);

	if (kind(b) != TRAILER_SEAL_KEY_FILE)
		return 0;
	t->nonce = atomic_fetch_add(table_nonce(table), 1) + 1;
	t->image_salt = table_spec(table)->salt;
	seal_nonce(t->nonce, t->image_salt, nonce);
	if (!seal_bytes(table_seal(table), nonce, &aad, sizeof(aad), image, image, bytes, t->image_tag))
		return err_set(e, EIO, "%s: its page table could not be sealed", b->name);
	return 0;
}

bool backing_unseal_image(const struct backing *b, struct table *table)
{
	const struct trailer *t = &b->trailer;
	struct image_aad aad = image_aad(t);
	uint8_t nonce[SEAL_NONCE_BYTES];
	uint64_t bytes;
	void *image = table_image(table, &bytes);

	if (kind(b) != TRAILER_SEAL_KEY_FILE)
		return true;
	atomic_store(table_nonce(table), t->nonce);
	seal_nonce(t->nonce, t->image_salt, nonce);
	return unseal_bytes(table_seal(table), nonce, &aad, sizeof(aad), image, image, bytes, t->image_tag);
}

void backing_seal_close(struct backing *b)
{
	sealkey_free(b->key);
	sealkey_free(b->master);
	b->key = b->master = NULL;
}

int backing_key_fd(const struct backing *b)
{
	return b->key ? sealkey_fd(b->key) : -1;
}
