/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/mark.h"

#include "store/page.h"
#include "store/seal.h"

#include <openssl/crypto.h>
#include <string.h>
#include <xxhash.h>
#ifdef HAVE_XXH3_64BITS_WITHSEED_DISPATCH
#include <xxh_x86dispatch.h> /* puts its own functions in the place of the names used below; their values are the same */
#endif

void marker_init(struct marker *m, struct table *table)
{
	m->spec = table_spec(table);
	m->seal = table_seal(table);
	m->nonce = table_nonce(table);
	m->seed = entry_mix(table_entries(table)->seed); /* another one than the entries' own, from the same identity */
}

/* 0 says that no check was made. */
static uint64_t check(const struct marker *m, uint64_t page, const void *data)
{
	uint64_t h = XXH3_64bits_withSeed(data, PAGE_BYTES, m->seed ^ entry_mix(page + 1));

	return h ? h : 1;
}

/* The counter rises for every page that is sealed and never falls, so no nonce comes twice (seal.h). */
static bool seal_one(const struct marker *m, uint64_t page, const void *data, void *buffer, struct page_mark *mark)
{
	if (!m->seal)
		return false;
	mark->value = atomic_fetch_add_explicit(m->nonce, 1, memory_order_relaxed) + 1;
	mark->salt = m->spec->salt;
	return seal_page(m->seal, page, mark->value, mark->salt, data, buffer, mark->tag);
}

static bool unseal_one(const struct marker *m, uint64_t page, const struct page_mark *mark, const void *buffer, void *data)
{
	unsigned char scratch[PAGE_BYTES];
	bool good;

	if (!m->seal)
		return false;
	if (data)
		return unseal_page(m->seal, page, mark->value, mark->salt, buffer, data, mark->tag);
	good = unseal_page(m->seal, page, mark->value, mark->salt, buffer, scratch, mark->tag);
	OPENSSL_cleanse(scratch, sizeof(scratch));
	return good;
}

bool mark_make(const struct marker *m, uint64_t page, const void *data, void *buffer, struct page_mark *mark)
{
	*mark = (struct page_mark){ .value = 0 };
	if (m->spec->seal != PAGE_SEAL_NONE)
		return seal_one(m, page, data, buffer, mark);
	if (buffer)
		memcpy(buffer, data, PAGE_BYTES);
	if (m->spec->check == CHECK_XXH3)
		mark->value = check(m, page, data);
	return true;
}

bool mark_verify(const struct marker *m, uint64_t page, const struct page_mark *mark, const void *buffer, void *data)
{
	if (m->spec->seal != PAGE_SEAL_NONE)
		return unseal_one(m, page, mark, buffer, data);
	/* Whether there is a check is told by the mark: the rule may have been another when the page was written. */
	if (mark->value && mark->value != check(m, page, buffer))
		return false;
	if (data)
		memcpy(data, buffer, PAGE_BYTES);
	return true;
}

bool page_is_same(const void *data, uint64_t *value)
{
	const unsigned char *p = data;

	/* Equal to itself moved by one word: memcmp ends at the first difference, for most pages at once. */
	if (memcmp(p, p + sizeof(*value), PAGE_BYTES - sizeof(*value)) != 0)
		return false;
	memcpy(value, p, sizeof(*value));
	return true;
}

void page_fill_same(void *data, uint64_t value)
{
	unsigned char *p = data;

	if (value == 0) {
		memset(p, 0, PAGE_BYTES);
		return;
	}
	for (size_t i = 0; i < PAGE_BYTES; i += sizeof(value))
		memcpy(p + i, &value, sizeof(value));
}
