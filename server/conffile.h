/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's configuration as read from its file: complete and valid, or not there at all. */
#ifndef NBDSWAP_CONFFILE_H
#define NBDSWAP_CONFFILE_H

#include "common/exportname.h"
#include "server/listen.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONF_LISTEN_MAX 16
#define CONF_EXPORTS_MAX 1024
#define CONF_DEFAULT_PATH SYSCONFDIR "/nbdswap/nbdswapd.conf"

enum conf_engine { ENGINE_NATIVE, ENGINE_NBDKIT };

struct conf_server {
	struct listen_addr listen[CONF_LISTEN_MAX];
	size_t nlisten;
	char control[108]; /* fits sockaddr_un */
	uint64_t engine; /* enum conf_engine */
	char native[PATH_MAX];
	uint64_t connections;
	char nbdkit[PATH_MAX];
	char plugin[PATH_MAX];
	uint64_t threads;
	uint64_t allow;	       /* bits of enum allow */
	uint64_t stop_timeout; /* seconds */
	uint64_t pool;	       /* bytes */
	uint64_t priority;     /* a nice value of less by so much */
};

struct conf_export {
	char name[EXPORT_NAME_MAX + 1];
	char file[PATH_MAX];
	uint64_t size;	 /* bytes; 0: as the file says */
	uint64_t create; /* 1: a missing file is created, an empty one filled */
	uint64_t check;	 /* enum page_check */
	uint64_t seal;	 /* enum page_seal */
	uint64_t survive; /* enum page_survive */
	uint64_t key;	 /* 0: ephemeral, the only kind beside a file so far */
	char key_file[PATH_MAX]; /* "": the key is ephemeral */
	uint64_t retry_time;	 /* seconds */
	char description[256];
	unsigned line; /* of its section, for messages */
};

struct conf {
	char path[PATH_MAX]; /* the file it came from */
	struct conf_server server;
	struct conf_export *exports;
	size_t nexports;
};

/* All that is wrong with a file, each "FILE:LINE: ..." */
struct conf_errors {
	char **text;
	size_t count;
};

/* Reads and validates path.  Returns the configuration (conf_free it), or NULL with at least one entry in *errors
 * (conf_errors_free it in any case).  No backing file is looked at: its storage may be away, and who serves others must not wait for it.
 */
struct conf *conf_load(const char *path, struct conf_errors *errors);

/* Adds to errors, which conf_load left empty, what only the backing files tell: two names of one file.  (An activation finds that by its lock.)  May
 * block for as long as a backend does.
 */
void conf_check_files(struct conf *c, struct conf_errors *errors);
void conf_free(struct conf *c); /* NULL is fine */
void conf_errors_free(struct conf_errors *errors);

const struct conf_export *conf_find(const struct conf *c, const char *name); /* NULL when there is none */

#endif
