/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "plugin/params.h"

#include "common/allow.h"
#include "common/size.h"
#include "store/page.h"

#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define RETRY_TIME_MAX 86400u
#define POOL_MIN (1u << 20)
#define POOL_MAX (UINT64_C(1) << 36)

static int refuse(const char *key, const char *value, const char *why)
{
	nbdkit_error("%s=%s: %s", key, value, why);
	return -1;
}

static int set_path(const char *key, char **out, char *path)
{
	if (!path)
		return -1;
	if (*out) {
		free(path);
		return refuse(key, *out, "is given twice; one nbdkit serves one of it");
	}
	*out = path;
	return 0;
}

static int set_bool(const char *key, const char *value, bool *out)
{
	int b = nbdkit_parse_bool(value);

	if (b < 0)
		return refuse(key, value, "write true or false");
	*out = b;
	return 0;
}

static int set_size(const char *key, const char *value, uint64_t *out)
{
	if (size_parse(value, out) < 0 || *out == 0 || *out % PAGE_BYTES)
		return refuse(key, value, "is not a size in whole pages of 4096 bytes; write for example 4G or 512M");
	return 0;
}

static int set_pool(const char *value, uint64_t *out)
{
	if (set_size("pool", value, out) < 0)
		return -1;
	if (*out < POOL_MIN || *out > POOL_MAX)
		return refuse("pool", value, "is not between 1M and 64G");
	return 0;
}

static int set_retry_time(const char *value, uint32_t *out)
{
	if (nbdkit_parse_uint32_t("retry-time", value, out) < 0)
		return -1;
	return *out > RETRY_TIME_MAX ? refuse("retry-time", value, "is more than a day (86400 seconds)") : 0;
}

static int set_allow(const char *value, unsigned *allow)
{
	unsigned bits = allow_list(value);

	*allow |= bits;
	return bits ? 0 : refuse("allow", value, "has something else than " ALLOW_WORDS);
}

static int set_check(const char *value, struct params *p)
{
	p->check = true;
	if (strcmp(value, "xxh3") == 0)
		p->local.check = CHECK_XXH3;
	else if (strcmp(value, "none") == 0)
		p->local.check = CHECK_NONE;
	else
		return refuse("check", value, "is not one of xxh3, none");
	return 0;
}

static int set_seal(const char *value, enum page_seal *out)
{
	if (strcmp(value, "none") == 0)
		*out = PAGE_SEAL_NONE;
	else if (strcmp(value, "aes-256-gcm") == 0)
		*out = PAGE_SEAL_AES_256_GCM;
	else
		return refuse("seal", value, "is not one of none, aes-256-gcm");
	return 0;
}

static int set_survive(const char *value, struct params *p)
{
	p->survive = true;
	if (strcmp(value, "process") == 0)
		p->local.survive = SURVIVE_PROCESS;
	else if (strcmp(value, "host") == 0)
		p->local.survive = SURVIVE_HOST;
	else
		return refuse("survive", value, "is not one of process, host");
	return 0;
}

static int set_key(const char *value, bool *given)
{
	*given = true;
	return strcmp(value, "ephemeral") == 0 ? 0 : refuse("key", value, "is not ephemeral; a key of your own goes into a file (key-file=)");
}

static int set_broker(const char *value, int *fd)
{
	if (nbdkit_parse_int("broker", value, fd) < 0)
		return -1;
	return *fd < 0 ? refuse("broker", value, "is not a descriptor; it is for nbdswapd to give") : 0;
}

int params_set(struct params *p, const char *key, const char *value)
{
	if (strcmp(key, "file") == 0)
		return set_path(key, &p->file, nbdkit_absolute_path(value));
	if (strcmp(key, "dir") == 0)
		return set_path(key, &p->dir, nbdkit_realpath(value));
	if (strcmp(key, "size") == 0)
		return set_size(key, value, &p->local.size);
	if (strcmp(key, "pool") == 0)
		return set_pool(value, &p->pool);
	if (strcmp(key, "retry-time") == 0)
		return set_retry_time(value, &p->local.retry_s);
	if (strcmp(key, "rewrite") == 0)
		return set_bool(key, value, &p->local.rewrite);
	if (strcmp(key, "force") == 0)
		return set_bool(key, value, &p->local.force);
	if (strcmp(key, "allow") == 0)
		return set_allow(value, &p->allow);
	if (strcmp(key, "check") == 0)
		return set_check(value, p);
	if (strcmp(key, "seal") == 0)
		return set_seal(value, &p->local.seal);
	if (strcmp(key, "survive") == 0)
		return set_survive(value, p);
	if (strcmp(key, "key") == 0)
		return set_key(value, &p->key);
	if (strcmp(key, "key-file") == 0)
		return set_path(key, &p->key_file, nbdkit_absolute_path(value));
	if (strcmp(key, "broker") == 0)
		return set_broker(value, &p->broker_fd);
	return refuse(key, value, "is not a parameter of this plugin; see nbdkit-swap-plugin(1)");
}

int params_complete(struct params *p)
{
	int given = !!p->file + !!p->dir + (p->broker_fd >= 0);

	if (given != 1) {
		nbdkit_error("%s: give one of file=PATH and dir=DIR", given ? "too many sources of pages" : "nothing to serve");
		return -1;
	}
	if (p->local.size && !p->file) {
		nbdkit_error("size= goes with file= only: what clients name is never created; make the files with "
			     "`nbdswapctl activate --file`, or with nbdkit, file= and size=");
		return -1;
	}
	if (p->local.force && !p->local.size) {
		nbdkit_error("force= goes with size= only: without a size nothing is overwritten");
		return -1;
	}
	if (p->key && p->key_file) {
		nbdkit_error("key= and key-file= contradict each other: give one of them");
		return -1;
	}
	if (p->local.seal == PAGE_SEAL_NONE && (p->key || p->key_file)) {
		nbdkit_error("there is a key, but pages are not sealed: add seal=aes-256-gcm, or leave the key out");
		return -1;
	}
	if (p->check && p->broker_fd >= 0) {
		nbdkit_error("check= does not go with broker=: nbdswapd has the rules of each export (nbdswapd.conf)");
		return -1;
	}
	if (p->local.seal != PAGE_SEAL_NONE && p->broker_fd >= 0) {
		nbdkit_error("seal= does not go with broker=: nbdswapd has the rules of each export (nbdswapd.conf)");
		return -1;
	}
	if (p->survive && p->broker_fd >= 0) {
		nbdkit_error("survive= does not go with broker=: nbdswapd has the rules of each export (nbdswapd.conf)");
		return -1;
	}
	p->local.file = p->file;
	p->local.dir = p->dir;
	p->local.key_file = p->key_file;
	p->local.allow_unlocked = p->allow & ALLOW_MEMLOCK;
	return 0;
}

void params_free(struct params *p)
{
	free(p->file);
	free(p->dir);
	free(p->key_file);
	p->file = p->dir = p->key_file = NULL;
}
