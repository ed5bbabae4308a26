/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "worker/closer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct closer {
	pthread_t thread;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	bool ending;
	unsigned first, count; /* of fd: a ring */
	int fd[CLOSER_MAX];
};

static void *run(void *arg)
{
	struct closer *c = arg;

	pthread_mutex_lock(&c->lock);
	while (c->count || !c->ending) {
		int fd = c->fd[c->first];

		if (c->count == 0) {
			pthread_cond_wait(&c->changed, &c->lock);
			continue;
		}
		c->first = (c->first + 1) % CLOSER_MAX;
		c->count--;
		pthread_mutex_unlock(&c->lock);
		close(fd);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

struct closer *closer_create(struct errbuf *e)
{
	struct closer *c = calloc(1, sizeof(*c));
	int code;

	if (!c) {
		err_set(e, ENOMEM, "no memory for the thread that closes files");
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	code = pthread_create(&c->thread, NULL, run, c);
	if (code == 0)
		return c;
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
	err_set(e, code, "cannot start the thread that closes files");
	return NULL;
}

void closer_free(struct closer *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->ending = true;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void closer_put(struct closer *c, int fd)
{
	bool taken;

	pthread_mutex_lock(&c->lock);
	taken = c->count < CLOSER_MAX;
	if (taken)
		c->fd[(c->first + c->count++) % CLOSER_MAX] = fd;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
	if (!taken)
		close(fd);
}
