/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "worker/attendant.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MESSAGES 32

struct message {
	enum notice_priority priority;
	char text[NOTICE_TEXT];
};

struct attendant {
	struct attendant_ops ops;
	pthread_t thread;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t wanted;
	bool poked, ending;
	unsigned first, count; /* of message: a ring */
	unsigned dropped;
	struct message message[MESSAGES];
};

/* Takes the oldest message (lock held); false when there is none. */
static bool take(struct attendant *a, struct message *out)
{
	if (a->count == 0 && a->dropped == 0)
		return false;
	if (a->count == 0) {
		out->priority = NOTICE_WARNING;
		snprintf(out->text, sizeof(out->text), "%u messages came too fast and were dropped", a->dropped);
		a->dropped = 0;
		return true;
	}
	*out = a->message[a->first];
	a->first = (a->first + 1) % MESSAGES;
	a->count--;
	return true;
}

static void say_all(struct attendant *a)
{
	struct message m;

	while (take(a, &m)) {
		pthread_mutex_unlock(&a->lock);
		a->ops.say(m.priority, m.text);
		pthread_mutex_lock(&a->lock);
	}
}

static void wait_until(struct attendant *a, const struct timespec *until)
{
	if (until)
		pthread_cond_timedwait(&a->wanted, &a->lock, until);
	else
		pthread_cond_wait(&a->wanted, &a->lock);
}

static bool passed(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

static void *attend(void *arg)
{
	struct attendant *a = arg;
	struct timespec until;
	bool timed = false;

	pthread_mutex_lock(&a->lock);
	while (!a->ending) {
		int ms;

		say_all(a);
		if (!a->poked && !(timed && passed(&until))) {
			if (!a->ending)
				wait_until(a, timed ? &until : NULL);
			continue;
		}
		a->poked = false;
		pthread_mutex_unlock(&a->lock);
		ms = a->ops.work(a->ops.arg);
		pthread_mutex_lock(&a->lock);
		timed = ms >= 0;
		if (timed) {
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_sec += ms / 1000;
			until.tv_nsec += ms % 1000 * 1000000L;
			if (until.tv_nsec >= 1000000000L) {
				until.tv_nsec -= 1000000000L;
				until.tv_sec++;
			}
		}
	}
	say_all(a);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

struct attendant *attendant_create(const struct attendant_ops *ops, struct errbuf *e)
{
	struct attendant *a = calloc(1, sizeof(*a));
	pthread_condattr_t monotonic;
	int code;

	if (!a) {
		err_set(e, ENOMEM, "no memory for the thread that attends to errors");
		return NULL;
	}
	a->ops = *ops;
	a->poked = true;
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&a->wanted, &monotonic);
	pthread_condattr_destroy(&monotonic);
	code = pthread_create(&a->thread, NULL, attend, a);
	if (code) {
		pthread_cond_destroy(&a->wanted);
		pthread_mutex_destroy(&a->lock);
		free(a);
		err_set(e, code, "cannot start the thread that attends to errors");
		return NULL;
	}
	return a;
}

void attendant_free(struct attendant *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->ending = true;
	pthread_cond_signal(&a->wanted);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	pthread_cond_destroy(&a->wanted);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void attendant_say(struct attendant *a, enum notice_priority priority, const char *text)
{
	pthread_mutex_lock(&a->lock);
	if (a->count == MESSAGES) {
		a->dropped++;
	} else {
		struct message *m = &a->message[(a->first + a->count++) % MESSAGES];

		m->priority = priority;
		snprintf(m->text, sizeof(m->text), "%s", text);
	}
	pthread_cond_signal(&a->wanted);
	pthread_mutex_unlock(&a->lock);
}

void attendant_poke(struct attendant *a)
{
	pthread_mutex_lock(&a->lock);
	a->poked = true;
	pthread_cond_signal(&a->wanted);
	pthread_mutex_unlock(&a->lock);
}
