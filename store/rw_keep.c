/* SPDX-License-Identifier: BSD-3-Clause */
/* survive = host: what a write or discard still does when its pages are in the file and in the table.
 *
 * Of each block of records that has its entries a content must have been written that was taken after they had changed.  One content of a block is
 * written at a time, so that none lands after a later one; who finds that going on waits, and then one writes for all.  After
 * that comes a flush which begins after the write has ended: one at a time again, and all who come meanwhile share the next.  So with many requests in flight there
 * are few writes of records and fewer flushes; and alone a request waits for nobody.
 *
 * A flush that fails may have thrown away what it was to make durable, and need not fail a second time: whoever counted on it, or had pages in the file by then, gets an error,
 * and a later flush that ends well says nothing of what came before (its pages stay what they are in the table, and if the machine
 * ends, what the records tell of them).
 */
#include "config.h"

#include "store/store_priv.h"

#include "store/records.h"

#include <errno.h>

static struct record_flushes *flushes(const struct store *s)
{
	return table_record_flushes(s->table);
}

/* Whatever is found there, for it may be scribbled: what is not known to be durable is written and flushed again, and nobody waits for ever. */
void keep_init(struct store *s)
{
	for (uint64_t i = 0; i < table_record_blocks(s->table); i++) {
		struct record_block *b = table_record_block(s->table, i);

		b->dirty = b->dirty || b->writing || b->done != b->taken;
		b->done = b->taken;
		b->writing = 0;
		if (b->flush > flushes(s)->next)
			b->flush = flushes(s)->next;
	}
	for (uint32_t i = 0; i < RECORD_WRITERS; i++)
		s->writers[s->free_writers++] = i;
	s->keeping_end = &s->keeping;
}

/* ---- who waits; lock held ---- */

static enum rw_next wait_for(struct rw *rw, enum rw_keep_wait what)
{
	struct store *s = rw->store;

	rw->keep.wait = what;
	rw->keep.woken = false;
	rw->next = NULL;
	*s->keeping_end = rw;
	s->keeping_end = &rw->next;
	return RW_WAIT;
}

static void wait_no_more(struct rw *rw)
{
	struct store *s = rw->store;
	struct rw **p = &s->keeping;

	if (rw->keep.wait == KEEP_WAITS_NOT)
		return;
	while (*p != rw)
		p = &(*p)->next;
	*p = rw->next;
	if (!*p)
		s->keeping_end = p;
	rw->keep.wait = KEEP_WAITS_NOT;
}

static void wake(struct rw *w)
{
	if (!w->keep.woken)
		w->wake(w);
	w->keep.woken = true;
}

void rw_keep_wake_all(struct store *s, const struct rw_session *session)
{
	for (struct rw *w = s->keeping; w; w = w->next)
		if (!session || w->session == session)
			wake(w);
}

/* Of those who wait for a buffer, or to begin the next flush, the first: who has had its turn, or gives it up, calls this again. */
static void pass_on(struct store *s)
{
	bool writer = s->free_writers > 0, flush = !s->flushing;

	for (struct rw *w = s->keeping; w && (writer || flush); w = w->next) {
		bool *turn = w->keep.wait == KEEP_WAITS_WRITER ? &writer : w->keep.wait == KEEP_WAITS_FLUSH ? &flush : NULL;

		if (!turn || !*turn)
			continue;
		wake(w);
		*turn = false;
	}
}

/* ---- records; lock held ---- */

static struct record_block *block_at(const struct rw *rw, uint64_t i)
{
	return table_record_block(rw->store->table, rw->keep.block + i);
}

/* The flush of this number is one that the request needs. */
static void need(struct rw *rw, uint64_t number)
{
	const struct record_flushes *f = flushes(rw->store);
	struct rw_keep *k = &rw->keep;

	if (number == 0 || (number <= f->durable && number > f->failed))
		return;
	if (!k->flush_first || number < k->flush_first)
		k->flush_first = number;
	if (number > k->flush_last)
		k->flush_last = number;
}

static bool may_write(const struct record_block *b)
{
	return b->dirty && !b->writing;
}

static void take_content(struct record_block *b)
{
	b->taken++;
	b->dirty = 0;
	b->writing = 1;
}

static enum rw_next begin_records(struct rw *rw)
{
	struct store *s = rw->store;
	struct rw_keep *k = &rw->keep;

	if (s->free_writers == 0)
		return wait_for(rw, KEEP_WAITS_WRITER);
	k->writer = s->writers[--s->free_writers];
	for (k->blocks = 0; k->blocks < RECORD_SPAN && k->block + k->blocks < k->end && may_write(block_at(rw, k->blocks)); k->blocks++)
		take_content(block_at(rw, k->blocks));
	k->stage = KEEP_RECORDS;
	rw->io_done = 0;
	rw->stuck = false;
	s->at_backend++;
	return RW_IO;
}

/* The blocks in hand are given back, written or not. */
static void end_records(struct rw *rw, bool written)
{
	struct store *s = rw->store;
	struct rw_keep *k = &rw->keep;

	for (uint32_t i = 0; i < k->blocks; i++) {
		struct record_block *b = block_at(rw, i);

		b->writing = 0;
		if (written) {
			b->flush = flushes(s)->next;
			b->done = b->taken;
		} else {
			b->dirty = 1;
		}
	}
	s->writers[s->free_writers++] = k->writer;
	for (struct rw *w = s->keeping; w; w = w->next)
		if (w->keep.wait == KEEP_WAITS_BLOCK && w->keep.block - k->block < k->blocks)
			wake(w);
}

/* ---- the flush; lock held ---- */

static enum rw_next begin_flush(struct rw *rw)
{
	struct store *s = rw->store;

	if (s->flushing)
		return wait_for(rw, KEEP_WAITS_FLUSH);
	s->flushing = true;
	rw->keep.stage = KEEP_FLUSH;
	rw->keep.flush = flushes(s)->next++;
	s->at_backend++;
	return RW_SYNC;
}

static void end_flush(struct rw *rw)
{
	struct store *s = rw->store;
	const struct record_flushes *f = flushes(s);

	s->flushing = false;
	for (struct rw *w = s->keeping; w; w = w->next)
		if (w->keep.wait == KEEP_WAITS_FLUSH && (w->keep.flush_last <= f->durable || w->keep.flush_first <= f->failed))
			wake(w);
}

/* ---- steps ---- */

static void off_backend(struct rw *rw)
{
	struct store *s = rw->store;

	if (!rw->held && --s->at_backend == 0)
		pthread_cond_broadcast(&s->idle);
	rw->held = false;
}

/* RW_DONE: rw->error says how.  Lock held. */
static enum rw_next look(struct rw *rw)
{
	struct store *s = rw->store;
	struct rw_keep *k = &rw->keep;

	rw->cause = rw_refusal(rw);
	rw->error = rw->cause ? EIO : 0;
	if (rw->cause)
		return RW_DONE;
	if (s->draining || s->reopening)
		return wait_for(rw, KEEP_WAITS_STORE);
	for (; k->block < k->end; k->block++, k->ticketed = false) {
		const struct record_block *b = block_at(rw, 0);

		if (!k->ticketed)
			k->ticket = b->taken + b->dirty;
		k->ticketed = true;
		if ((int32_t)(b->done - k->ticket) >= 0)
			need(rw, b->flush);
		else
			return b->writing ? wait_for(rw, KEEP_WAITS_BLOCK) : begin_records(rw);
	}
	if ((k->flush_first && k->flush_first <= flushes(s)->failed) || (rw->data_flush && rw->data_flush <= flushes(s)->failed))
		rw->error = rw->cause = EIO;
	else if (k->flush_last > flushes(s)->durable)
		return begin_flush(rw);
	return RW_DONE;
}

/* What is at the backend next, as far as it is not there. */
static enum rw_next describe(struct rw *rw)
{
	struct store *s = rw->store;
	struct rw_keep *k = &rw->keep;
	unsigned char *buffer = table_record_buffer(s->table, k->writer);

	rw->fd = s->fd;
	rw->file = s->file;
	rw->aside = true;
	if (k->stage == KEEP_FLUSH)
		return RW_SYNC;
	/* The trailer's table begins where the pages end. */
	rw->position = (off_t)(store_size(s) + k->block * PAGE_BYTES + rw->io_done);
	rw->iov[0].iov_base = buffer + rw->io_done;
	rw->iov[0].iov_len = k->blocks * PAGE_BYTES - rw->io_done;
	rw->iovcnt = 1;
	return RW_IO;
}

/* Entries may change meanwhile: who changes them has another content taken. */
static bool encode(struct rw *rw)
{
	unsigned char *buffer = table_record_buffer(rw->store->table, rw->keep.writer);

	for (uint32_t i = 0; i < rw->keep.blocks; i++)
		if (!records_encode(rw->store->table, rw->keep.block + i, buffer + (size_t)i * PAGE_BYTES))
			return false;
	return true;
}

enum rw_next rw_keep(struct rw *rw)
{
	struct store *s = rw->store;
	enum rw_next next;

	if (rw->held)
		return rw_resume(rw, &next) ? describe(rw) : next;
	pthread_mutex_lock(&s->lock);
	wait_no_more(rw);
	next = look(rw);
	pass_on(s);
	pthread_mutex_unlock(&s->lock);
	if (next == RW_DONE)
		return rw_done(rw, rw->error);
	if (next == RW_WAIT)
		return next;
	if (next == RW_IO && !encode(rw)) {
		rw_say(rw, ERR_LASTING, ENOKEY);
		return rw_fail(rw, ENOKEY);
	}
	return describe(rw);
}

void rw_keep_data(struct rw *rw)
{
	struct store *s = rw->store;

	/* One that is at the backend just now may do to these pages what it does to those before. */
	if (s->keeps && !rw->data_flush)
		rw->data_flush = flushes(s)->next - (s->flushing ? 1 : 0);
}

enum rw_next rw_keep_begin(struct rw *rw)
{
	uint64_t end = rw_first_page(rw);
	struct table *t = rw->store->table;

	if (rw->first_page >= end)
		return rw_done(rw, 0);
	rw->keep = (struct rw_keep){ .stage = KEEP_LOOK, .block = records_block_of(t, rw->first_page),
				     .end = records_block_of(t, end - 1) + 1 };
	return rw_keep(rw);
}

void rw_keep_abandon(struct rw *rw)
{
	struct store *s = rw->store;

	wait_no_more(rw);
	if (rw->keep.stage == KEEP_RECORDS)
		end_records(rw, false);
	if (rw->keep.stage != KEEP_LOOK)
		off_backend(rw);
	if (rw->keep.stage == KEEP_FLUSH)
		end_flush(rw);
	rw->keep.stage = KEEP_LOOK;
	pass_on(s);
}

static enum rw_next flushed(struct rw *rw, int code)
{
	struct store *s = rw->store;
	struct record_flushes *f = flushes(s);

	/* What says nothing of the data is tried again. */
	if (code == EINTR || (code && s->stale && errclass_of(code, s->kind) == ERR_STALE))
		return rw_backend_error(rw, code);
	if (rw->retry.tries)
		rw_not_held(rw, code == 0);
	if (code)
		rw_say(rw, ERR_LASTING, code);
	pthread_mutex_lock(&s->lock);
	if (code)
		f->failed = rw->keep.flush;
	else
		f->durable = rw->keep.flush;
	off_backend(rw);
	end_flush(rw);
	rw->keep.stage = KEEP_LOOK;
	pthread_mutex_unlock(&s->lock);
	return rw_keep(rw);
}

enum rw_next rw_keep_completed(struct rw *rw, ssize_t result)
{
	struct store *s = rw->store;
	uint32_t bytes = rw->keep.blocks * PAGE_BYTES, whole;

	if (rw->keep.stage == KEEP_FLUSH)
		return flushed(rw, result < 0 ? (int)-result : 0);
	if (result < 0)
		return rw_backend_error(rw, (int)-result);
	whole = (uint32_t)result / PAGE_BYTES * PAGE_BYTES;
	if (whole && rw->retry.tries)
		rw_not_held(rw, true);
	if (rw->io_done + (uint32_t)result < bytes) {
		if (whole == 0 && (result == 0 || rw->stuck)) {
			rw->stuck = false;
			return rw_backend_error(rw, ENOSPC);
		}
		rw->stuck = whole == 0;
		rw->io_done += whole;
		return describe(rw);
	}
	pthread_mutex_lock(&s->lock);
	end_records(rw, true);
	off_backend(rw);
	rw->keep.stage = KEEP_LOOK;
	pthread_mutex_unlock(&s->lock);
	return rw_keep(rw);
}
