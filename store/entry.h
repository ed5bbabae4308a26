/* SPDX-License-Identifier: BSD-3-Clause */
/* One entry of the page table: how it lies in memory, and how it changes.
 *
 * An entry is a mark (what the page's content is recognised by) and a word (what is known of the page), 8 bytes that change at once:
 *
 *   bits  0..31  change number: rises with every write and discard
 *   bits 32..39  state (enum page_state)
 *   bit  40      in flight: a write of this page is at the backend
 *   bits 48..63  self-check over the rest of the word, the page number, and the mark as far as the state uses it
 *
 * So a scribbled entry is seen, and is lost rather than zero.  While the page is in flight the self-check leaves the mark out: the
 * writer stores it without a lock, and what the page was before lies in the write's slot (slots.h).
 *
 * Every change of a word is a compare-and-swap or happens where the in-flight bit keeps others away, for another process
 * may use the table too: the daemon's scrub marks a page lost while a worker serves it.
 */
#ifndef NBDSWAP_STORE_ENTRY_H
#define NBDSWAP_STORE_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum page_state {
	PAGE_FRESH = 0x5a,   /* never written, or discarded since: reads as zeros, no I/O */
	PAGE_SAME = 0x35,    /* all of it is one 64-bit value, which the mark holds: no I/O */
	PAGE_WRITTEN = 0xa6, /* in the file; the mark tells whether what is read is it */
	PAGE_LOST = 0xc9,    /* content not known: EIO until written or discarded.  Any other value counts as lost too */
};

/* By what a page's content is recognised. */
struct page_mark {
	/* WRITTEN: the check (0: none was made) or, sealed, the nonce counter.  SAME: the value. */
	uint64_t value;
	/* Sealed and WRITTEN: salt of the nonce (4 bytes), tag (12 bytes). */
	union {
		uint64_t more[2];
		struct {
			uint32_t salt;
			uint8_t tag[12];
		};
	};
};
_Static_assert(sizeof(struct page_mark) == 24, "the mark and the word are 32 bytes");

struct page_entry {
	_Atomic uint64_t word;
	_Atomic uint64_t value;
	_Atomic uint64_t more[]; /* 2 where pages are sealed, else none */
};

#define ENTRY_BYTES 16u
#define ENTRY_BYTES_SEALED 32u

/* A table's entries, as those see them who change them. */
struct entries {
	unsigned char *base;
	uint32_t stride; /* ENTRY_BYTES or ENTRY_BYTES_SEALED */
	uint64_t seed;	 /* of this table, for the self-checks */
};

/* What a word says. */
struct page_view {
	uint64_t word; /* as read, for a compare-and-swap */
	uint32_t change;
	enum page_state state; /* PAGE_LOST when the entry's self-check fails */
	bool in_flight;	       /* false when the self-check fails */
	bool valid;	       /* the self-check held */
};

#define ENTRY_IN_FLIGHT (UINT64_C(1) << 40)
#define ENTRY_SELF_SHIFT 48

static inline struct page_entry *entry_at(const struct entries *x, uint64_t page)
{
	return (struct page_entry *)(x->base + page * x->stride);
}

/* Mixing as in splitmix64's finaliser (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output. */
static inline uint64_t entry_mix(uint64_t v)
{
	v = (v ^ (v >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ (v >> 27)) * UINT64_C(0x94d049bb133111eb);
	return v ^ (v >> 31);
}

static inline uint64_t entry_self(const struct entries *x, uint64_t page, uint64_t word, const struct page_mark *m)
{
	uint64_t low = word & ((UINT64_C(1) << ENTRY_SELF_SHIFT) - 1), h = x->seed ^ entry_mix(low + page * UINT64_C(0x9e3779b97f4a7c15));
	unsigned state = (word >> 32) & 0xff;

	if (!(word & ENTRY_IN_FLIGHT) && (state == PAGE_WRITTEN || state == PAGE_SAME)) {
		h = entry_mix(h ^ m->value);
		if (x->stride == ENTRY_BYTES_SEALED && state == PAGE_WRITTEN)
			h = entry_mix(entry_mix(h ^ m->more[0]) ^ m->more[1]);
	}
	return h >> ENTRY_SELF_SHIFT;
}

/* Acquiring, so that a word that is read after it was not read before it. */
static inline void entry_load_mark(const struct entries *x, uint64_t page, struct page_mark *m)
{
	struct page_entry *p = entry_at(x, page);

	m->value = atomic_load_explicit(&p->value, memory_order_acquire);
	m->more[0] = m->more[1] = 0;
	if (x->stride == ENTRY_BYTES_SEALED) {
		m->more[0] = atomic_load_explicit(&p->more[0], memory_order_acquire);
		m->more[1] = atomic_load_explicit(&p->more[1], memory_order_acquire);
	}
}

/* The page must be in flight, and by the caller's doing. */
static inline void entry_store_mark(const struct entries *x, uint64_t page, const struct page_mark *m)
{
	struct page_entry *p = entry_at(x, page);

	atomic_store_explicit(&p->value, m->value, memory_order_relaxed);
	if (x->stride == ENTRY_BYTES_SEALED) {
		atomic_store_explicit(&p->more[0], m->more[0], memory_order_relaxed);
		atomic_store_explicit(&p->more[1], m->more[1], memory_order_relaxed);
	}
}

static inline uint64_t entry_word(const struct entries *x, uint64_t page, uint32_t change, enum page_state state,
				  bool in_flight, const struct page_mark *m)
{
	uint64_t word = change | (uint64_t)state << 32 | (in_flight ? ENTRY_IN_FLIGHT : 0);

	return word | entry_self(x, page, word, m) << ENTRY_SELF_SHIFT;
}

/* What word, with mark, says of the page. */
static inline struct page_view entry_decode(const struct entries *x, uint64_t page, uint64_t word,
					    const struct page_mark *m)
{
	struct page_view v = { .word = word, .change = (uint32_t)word, .state = PAGE_LOST };

	v.valid = word >> ENTRY_SELF_SHIFT == entry_self(x, page, word, m);
	if (v.valid) {
		unsigned state = (word >> 32) & 0xff;

		v.in_flight = word & ENTRY_IN_FLIGHT;
		if (state == PAGE_FRESH || state == PAGE_SAME || state == PAGE_WRITTEN)
			v.state = (enum page_state)state;
	}
	return v;
}

/* The entry as it is, mark into *m.  One that another process changes just now is read again; one that stays as it is and fails its
 * self-check is scribbled.
 */
static inline struct page_view entry_read(const struct entries *x, uint64_t page, struct page_mark *m)
{
	struct page_entry *p = entry_at(x, page);

	for (;;) {
		uint64_t word = atomic_load_explicit(&p->word, memory_order_acquire);
		struct page_view v;

		entry_load_mark(x, page, m);
		v = entry_decode(x, page, word, m);
		if (v.valid || atomic_load_explicit(&p->word, memory_order_relaxed) == word)
			return v;
	}
}

/* Copies entries as they are, pages * stride bytes. */
static inline void entry_save(const struct entries *x, uint64_t page, uint32_t pages, void *out)
{
	unsigned char *from = x->base + page * x->stride, *to = out;

	for (size_t i = 0; i < (size_t)pages * x->stride; i += sizeof(uint64_t)) {
		uint64_t v = atomic_load_explicit((_Atomic uint64_t *)(from + i), memory_order_relaxed);

		memcpy(to + i, &v, sizeof(v));
	}
}

/* Changes the word from what v saw; m is the mark that the new word goes with.  False: somebody else changed it. */
static inline bool entry_swap(const struct entries *x, uint64_t page, const struct page_view *v, uint32_t change,
			      enum page_state state, bool in_flight, const struct page_mark *m)
{
	uint64_t expected = v->word;

	return atomic_compare_exchange_strong_explicit(&entry_at(x, page)->word, &expected,
						       entry_word(x, page, change, state, in_flight, m),
						       memory_order_acq_rel, memory_order_acquire);
}

#endif
