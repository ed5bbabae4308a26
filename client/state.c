/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/state.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define STATE_VERSION 3

static void cleanup_json_(json_t **j)
{
	json_decref(*j);
}

#define CLEANUP_JSON __attribute__((cleanup(cleanup_json_)))

int state_dir_prepare(const char *dir, struct errbuf *e)
{
	struct stat st;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_errno(e, "cannot make the directory %s for what is attached", dir);
	if (lstat(dir, &st) < 0)
		return err_errno(e, "cannot look at %s", dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "%s is not a directory; remove it", dir);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(e, EPERM, "%s could be written to by others; run `chown root %s; chmod 0700 %s`",
			       dir, dir, dir);
	return 0;
}

int state_lock(const char *dir, int timeout_s, struct errbuf *e)
{
	/* The directory itself carries the lock, so no lock file stays behind. */
	CLEANUP_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, "cannot open %s", dir);
	for (int tries = timeout_s * 10;; tries--) {
		const struct timespec pause = { .tv_nsec = 100000000L };

		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return steal_fd(&fd);
		if (errno != EWOULDBLOCK)
			return err_errno(e, "cannot lock %s", dir);
		if (tries <= 0)
			return err_set(e, EBUSY,
				       "another nbdswap is attaching or detaching (%s is locked); "
				       "wait for it to end and try again",
				       dir);
		nanosleep(&pause, NULL);
	}
}

static void path_of(const char *dir, const struct nbddev *dev, const char *suffix, char *out, size_t size)
{
	snprintf(out, size, "%s/%s.json%s", dir, dev->name, suffix);
}

int state_save(const char *dir, const struct attach_state *s, struct errbuf *e)
{
	char path[512], fresh[520], generation[GENERATION_TEXT] = "";
	CLEANUP_JSON json_t *j = NULL;
	CLEANUP_CLOSE int fd = -1;

	if (s->generation.activation)
		generation_format(&s->generation, generation);
	path_of(dir, &s->dev, "", path, sizeof(path));
	path_of(dir, &s->dev, ".new", fresh, sizeof(fresh));
	j = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:I, s:i, s:i, s:I, s:i, s:I, s:s, s:s, s:i, s:i, s:s}",
		      "version", STATE_VERSION, "device", s->dev.name, "uri", s->uri, "host", s->host, "port",
		      s->port, "export", s->export, "client", s->client, "size", (json_int_t)s->size, "label",
		      s->label, "uuid", s->uuid, "discard", s->discard, "dead_link_timeout",
		      (json_int_t)s->dead_link_timeout, "io_timeout_before", s->queue_before.io_timeout_ms,
		      "rotational_before", s->queue_before.rotational, "link_inode", (json_int_t)s->link_inode,
		      "link_port", (int)s->link_port, "attached_at", (json_int_t)s->attached_at,
		      "generation", generation, "servers", s->servers, "swap_type", s->swap_type, "flags",
		      (int)s->flags, "scheduler_before", s->queue_before.scheduler);
	if (!j)
		return err_set(e, EINVAL, "cannot write %s: a name is not UTF-8", path);
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, "cannot create %s", fresh);
	if (json_dumpfd(j, fd, JSON_INDENT(1)) < 0 || fsync(fd) < 0 || rename(fresh, path) < 0) {
		err_errno(e, "cannot write %s", path);
		unlink(fresh);
		return -1;
	}
	return 0;
}

static int load_one(const char *path, const struct nbddev *dev, struct attach_state *out, struct errbuf *e)
{
	const char *uri, *host, *port, *export, *client, *label, *uuid, *discard, *generation, *servers, *scheduler = ""; /* the last may be of a version before */
	json_int_t size, dead, inode, at;
	CLEANUP_JSON json_t *j = NULL;
	int version, link_port, flags;
	json_error_t je;

	memset(out, 0, sizeof(*out));
	out->dev = *dev;
	j = json_load_file(path, 0, &je);
	if (!j)
		return err_set(e, EINVAL, "%s cannot be read: %s; if %s is not in use as swap, remove the file",
			       path, je.text, dev->name);
	if (json_unpack_ex(j, &je, 0,
			   "{s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:I, s:i, s:i, s:I, s:i, s:I, s:s, s:s, s:i, s:i, s?:s}",
			   "version", &version, "uri", &uri, "host", &host, "port", &port, "export", &export,
			   "client", &client, "size", &size, "label", &label, "uuid", &uuid, "discard",
			   &discard, "dead_link_timeout", &dead, "io_timeout_before",
			   &out->queue_before.io_timeout_ms, "rotational_before", &out->queue_before.rotational,
			   "link_inode", &inode, "link_port", &link_port, "attached_at", &at, "generation",
			   &generation, "servers", &servers, "swap_type", &out->swap_type, "flags", &flags, "scheduler_before",
			   &scheduler) < 0 ||
	    (generation[0] && !generation_parse(generation, &out->generation, NULL)) ||
	    version != STATE_VERSION)
		return err_set(e, EINVAL, "%s is not in the format of this version of nbdswap", path);
	snprintf(out->uri, sizeof(out->uri), "%s", uri);
	snprintf(out->host, sizeof(out->host), "%s", host);
	snprintf(out->port, sizeof(out->port), "%s", port);
	snprintf(out->export, sizeof(out->export), "%s", export);
	snprintf(out->servers, sizeof(out->servers), "%s", servers);
	snprintf(out->client, sizeof(out->client), "%s", client);
	snprintf(out->label, sizeof(out->label), "%s", label);
	snprintf(out->uuid, sizeof(out->uuid), "%s", uuid);
	snprintf(out->discard, sizeof(out->discard), "%s", discard);
	snprintf(out->queue_before.scheduler, sizeof(out->queue_before.scheduler), "%s", scheduler);
	out->size = (uint64_t)size;
	out->dead_link_timeout = (uint64_t)dead;
	out->link_inode = out->now_inode = (uint64_t)inode;
	out->link_port = out->now_port = (uint16_t)link_port;
	out->attached_at = at;
	out->flags = (uint16_t)flags;
	return 0;
}

static int by_index(const void *a, const void *b)
{
	return ((const struct attach_state *)a)->dev.index - ((const struct attach_state *)b)->dev.index;
}

int state_load_all(const char *dir, struct state_list *out, struct errbuf *e)
{
	CLEANUP_CLOSEDIR DIR *d = opendir(dir);
	struct dirent *entry;

	out->count = 0;
	if (!d)
		return errno == ENOENT ? 0 : err_errno(e, "cannot open %s%s", dir,
							errno == EACCES ? " (only root can)" : "");
	while ((entry = readdir(d)) != NULL) {
		char path[600], name[16];
		struct nbddev dev;
		size_t n = strlen(entry->d_name);

		if (n < 6 || n - 5 >= sizeof(name) || strcmp(entry->d_name + n - 5, ".json") != 0)
			continue;
		memcpy(name, entry->d_name, n - 5);
		name[n - 5] = '\0';
		if (nbddev_parse(name, &dev, NULL) < 0)
			continue;
		if (out->count == STATES_MAX)
			return err_set(e, E2BIG, "%s has more than %d devices", dir, STATES_MAX);
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (load_one(path, &dev, &out->states[out->count], e) < 0) {
			/* Detached between readdir and open. */
			if (access(path, F_OK) < 0 && errno == ENOENT)
				continue;
			return -1;
		}
		out->count++;
	}
	qsort(out->states, out->count, sizeof(out->states[0]), by_index);
	return 0;
}

int state_remove(const char *dir, const struct nbddev *dev, struct errbuf *e)
{
	char path[512];

	path_of(dir, dev, "", path, sizeof(path));
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, "cannot remove %s", path);
	return 0;
}

const struct attach_state *state_by_device(const struct state_list *list, int index)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->states[i].dev.index == index)
			return &list->states[i];
	return NULL;
}

const struct attach_state *state_by_uri(const struct state_list *list, const char *uri)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->states[i].uri, uri) == 0)
			return &list->states[i];
	return NULL;
}

const struct attach_state *state_by_uuid(const struct state_list *list, const char *uuid)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->states[i].uuid, uuid) == 0)
			return &list->states[i];
	return NULL;
}
