/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/livesessions.h"

#include "server/engine/sessmem.h"
#include "server/holds.h"
#include "server/jsontext.h"
#include "server/log.h"
#include "server/opens.h"
#include "server/sessions.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t now_ms(void)
{
	struct lease_clock now;

	lease_clock_now(&now);
	return now.ms;
}

struct session *session_add(struct sessions *s, struct export *x, const char *client, const char *peer, int sock, int memory, void *locked)
{
	struct session *i = calloc(1, sizeof(*i));

	if (!i)
		abort();
	i->id = ++s->last_id;
	i->x = x;
	snprintf(i->client, sizeof(i->client), "%s", client);
	snprintf(i->peer, sizeof(i->peer), "%s", peer);
	i->since = time(NULL);
	i->activation = backing_activation(x->backing);
	i->sock = sock;
	i->memory = memory;
	i->locked = locked;
	i->next = s->first;
	s->first = i;
	return i;
}

struct session *session_adopt(struct sessions *s, struct export *x, uint64_t id)
{
	struct session *i = calloc(1, sizeof(*i)), **p;

	if (!i)
		abort();
	i->id = id;
	i->x = x;
	i->sock = i->memory = -1;
	for (p = &s->first; *p; p = &(*p)->next)
		;
	*p = i;
	return i;
}

/* Has its transmission begun?  Until then the worker may still answer its client that it cannot be had. */
static bool begun(const struct session *i)
{
	uint32_t value = 0;

	return i->memory >= 0 && pread(i->memory, &value, sizeof(value), offsetof(struct sess_mem, begun)) == sizeof(value) && value;
}

void session_shut(const struct session *i)
{
	if (i->sock >= 0)
		shutdown(i->sock, SHUT_RDWR);
}

void session_end(struct sessions *s, struct session *i, bool cut)
{
	struct export *x = i->x;
	struct lease_clock now;
	struct session **p;

	for (p = &s->first; *p != i; p = &(*p)->next)
		;
	*p = i->next;
	holds_session_over(s, i);
	if (cut || begun(i))
		session_shut(i);
	if (i->sock >= 0)
		close(i->sock);
	if (i->memory >= 0)
		close(i->memory);
	if (i->locked)
		munmap(i->locked, SESSMEM_BYTES);
	free(i);
	lease_clock_now(&now);
	if (cut)
		lease_lose(&x->lease, &now, SESSIONS_KEEP_MS);
	else
		lease_close(&x->lease, &now);
	if (x->removed && !sessions_held(x) && x->state == EXPORT_READY)
		sessions_release(s, x);
}

static bool socket_ended(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

/* Ends one that cannot go on, and says so.  A client that has left is not kept waiting for, nor one that has come back for its place. */
static void lose(struct sessions *s, struct session *i, const char *why)
{
	uint64_t id = i->id;

	if (socket_ended(i->sock)) {
		log_line(LOG_NOTE, "export %s: session %llu of %s (%s) has ended: its client closed the connection in the pause",
			 i->x->conf.name, (unsigned long long)i->id, i->client, i->peer);
		session_end(s, i, false);
	} else {
		log_line(LOG_ERROR, "export %s: session %llu of %s (%s) is cut: %s", i->x->conf.name, (unsigned long long)i->id, i->client,
			 i->peer, why);
		s->resumption.lost++;
		session_end(s, i, true);
	}
	opens_session_ended(s, id);
}

/* Has its client asked for anything that was not answered, or not even looked at? */
static bool in_hand(const struct session *i)
{
	static struct sess_request request[SESSMEM_REQUESTS];
	struct tcp_info info;
	socklen_t n = sizeof(info);
	uint64_t base, parsed;

	if (pread(i->memory, request, sizeof(request), offsetof(struct sess_mem, request)) != sizeof(request) ||
	    pread(i->memory, &base, sizeof(base), offsetof(struct sess_mem, rx_base)) != sizeof(base) ||
	    pread(i->memory, &parsed, sizeof(parsed), offsetof(struct sess_mem, parsed)) != sizeof(parsed) ||
	    getsockopt(i->sock, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
		return true;
	for (unsigned k = 0; k < SESSMEM_REQUESTS; k++)
		if (request[k].use)
			return true;
	return info.tcpi_bytes_received - base != parsed;
}

/* The worker that had it ended by itself: may that be because of it? */
static bool is_suspect(struct session *i, const struct worker_end *end)
{
	if (i->place == SESSION_KEPT)
		return false; /* it never got there */
	i->deaths = in_hand(i) ? i->deaths + 1 : 0;
	if (end->served_ms >= SESSIONS_DEATHS_MS && i->deaths > 1)
		i->deaths = 1;
	return i->deaths >= SESSIONS_DEATHS_MAX;
}

/* Is nobody left who waits for a worker? */
static void see_whether_all_are_back(struct sessions *s)
{
	struct resumption *r = &s->resumption;

	if (!r->under_way)
		return;
	for (const struct session *i = s->first; i; i = i->next)
		if (i->place != SESSION_SERVED)
			return;
	r->under_way = false;
	r->ms = now_ms() - r->since_ms;
	log_line(r->lost ? LOG_WARN : LOG_NOTE, "%u sessions go on, %u were cut; the pause was %lld ms", r->resumed, r->lost,
		 (long long)r->ms);
}

void livesessions_worker_died(struct sessions *s, const struct worker_end *end)
{
	struct resumption *r = &s->resumption;
	bool blame = !end->killed && !end->drained;

	for (struct session *i = s->first, *next; i; i = next) {
		bool suspect = blame && i->sock >= 0 && begun(i) && is_suspect(i, end);

		next = i->next;
		/* One that is still being negotiated is cut as by any server that ends: nothing has been asked of it. */
		if (s->closing || i->ending || i->sock < 0 || !begun(i)) {
			session_end(s, i, true);
			continue;
		}
		if (i->place != SESSION_KEPT) /* else this worker never had it */
			i->blame = blame;
		i->place = SESSION_KEPT;
		i->request = 0;
		i->x->incomplete = true;
		if (!r->under_way) /* else the worker before had not yet taken them all */
			*r = (struct resumption){ .under_way = true, .since_ms = now_ms(), .ms = -1 };
		if (suspect)
			lose(s, i, "its requests were in hand at three deaths of workers in a row");
	}
}

static void send_resume(struct sessions *s, struct session *i)
{
	struct export *x = i->x;
	int fds[5] = { i->sock, i->memory, backing_worker_fd(x->backing), table_fd(x->table), backing_key_fd(x->backing) };
	json_t *msg = json_pack("{s:s, s:I, s:s, s:I, s:s, s:o, s:i, s:o, s:b, s:b}", "cmd", "resume", "session", (json_int_t)i->id, "name",
				x->conf.name, "size", (json_int_t)backing_data_size(x->backing), "backend",
				backing_backend(x->backing)->name, "path", json_text(backing_path(x->backing)), "reserve", x->reserve,
				"peer", json_text(i->peer), "blame", i->blame, "lost", x->file_lost[0] != '\0');

	i->place = SESSION_RESUMING;
	i->resume_until_ms = now_ms() + SESSIONS_RESUME_MS;
	x->used = true;
	worker_send(s->worker, msg, fds, fds[4] >= 0 ? 5 : 4);
}

static void tell_complete(struct sessions *s)
{
	bool told = false;

	if (!worker_serves(s->worker))
		return;
	for (const struct session *i = s->first; i; i = i->next)
		i->x->awaits |= i->place == SESSION_KEPT;
	for (struct export *x = s->exports->first; x; x = x->next) {
		if (x->incomplete && !x->awaits && x->state != EXPORT_ADOPTING) {
			x->incomplete = false;
			told = true;
			worker_send(s->worker, json_pack("{s:s, s:s}", "cmd", "complete", "export", x->conf.name), NULL, 0);
		}
		x->awaits = false;
	}
	if (told)
		opens_complete(s);
}

void livesessions_resume(struct sessions *s)
{
	unsigned under_way = 0;

	if (!worker_serves(s->worker) || s->closing)
		return;
	for (const struct session *i = s->first; i; i = i->next)
		under_way += i->place == SESSION_RESUMING;
	for (struct session *i = s->first, *next; i && under_way < SESSIONS_RESUME_WINDOW; i = next) {
		next = i->next;
		if (i->place != SESSION_KEPT || i->x->state != EXPORT_READY)
			continue;
		/* What it read before may be gone, and what it wrote: its client is to hear of the new generation. */
		if (i->activation != backing_activation(i->x->backing)) {
			lose(s, i, "the content of its export was lost and began anew");
			continue;
		}
		send_resume(s, i);
		under_way++;
	}
	tell_complete(s);
	see_whether_all_are_back(s);
}

static void end_in_worker(struct sessions *s, json_int_t session)
{
	worker_send(s->worker, json_pack("{s:s, s:I}", "cmd", "end", "session", session), NULL, 0);
}

/* Of a session that the worker was being told of its predecessor does not know whether it has heard.  One that it had and does not name it is about to
 * close.
 */
void livesessions_here(struct sessions *s, const json_t *msg)
{
	const json_t *list = json_object_get(msg, "sessions"), *id;
	size_t k;

	json_array_foreach(list, k, id) {
		struct session *i = sessions_find(s, (uint64_t)json_integer_value(id));

		if (!i) {
			end_in_worker(s, json_integer_value(id));
		} else if (i->place != SESSION_SERVED) {
			i->place = SESSION_SERVED;
			holds_session_resumed(i);
			s->resumption.resumed++;
		}
	}
	for (struct session *i = s->first; i; i = i->next) {
		if (i->place == SESSION_RESUMING)
			i->place = SESSION_KEPT;
		if (i->ending && !i->over)
			end_in_worker(s, (json_int_t)i->id);
	}
}

void livesessions_resumed(struct sessions *s, const json_t *msg)
{
	uint64_t id = (uint64_t)json_integer_value(json_object_get(msg, "session"));
	const char *error = json_string_value(json_object_get(msg, "error"));
	bool ok = json_is_true(json_object_get(msg, "ok"));
	struct session *i = sessions_find(s, id);

	if (!i && ok) /* nobody waited for it so long */
		end_in_worker(s, (json_int_t)id);
	if (!i || i->place != SESSION_RESUMING)
		return;
	if (ok) {
		i->place = SESSION_SERVED;
		holds_session_resumed(i);
		s->resumption.resumed++;
	} else {
		lose(s, i, error ? error : "the worker did not say why");
	}
	livesessions_resume(s);
}

void livesessions_tick(struct sessions *s)
{
	int64_t now = now_ms();

	for (struct session *i = s->first, *next; i; i = next) {
		next = i->next;
		if (i->place == SESSION_KEPT && socket_ended(i->sock))
			lose(s, i, "its client closed the connection");
		else if (i->place == SESSION_RESUMING && now >= i->resume_until_ms)
			lose(s, i, "the worker does not go on with it");
	}
	livesessions_resume(s); /* whose turn came by that */
	see_whether_all_are_back(s); /* also while there is no worker */
}

void livesessions_end_all(struct sessions *s)
{
	while (s->first)
		session_end(s, s->first, true);
}

const char *session_state_name(const struct session *i)
{
	static const char *const names[] = {
		[SESSION_SERVED] = "served", [SESSION_KEPT] = "kept", [SESSION_RESUMING] = "resuming",
	};

	return i->ending ? "ending" : names[i->place];
}
