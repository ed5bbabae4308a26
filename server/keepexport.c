/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/keepexport.h"

#include "server/jsontext.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static json_t *conf_json(const struct conf_export *c)
{
	return json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o}", "name", c->name, "file", json_text(c->file), "size",
			 (json_int_t)c->size, "create", (json_int_t)c->create, "check", (json_int_t)c->check, "seal", (json_int_t)c->seal,
			 "survive", (json_int_t)c->survive, "key", (json_int_t)c->key, "key_file", json_text(c->key_file), "retry_time", (json_int_t)c->retry_time,
			 "description", json_text(c->description));
}

static json_t *lease_json(const struct lease *l)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:o}", "holder", json_text(l->holder), "peer", json_text(l->peer), "since",
			 (json_int_t)l->since, "kept_until_ms", (json_int_t)l->kept_until_ms, "number", (json_int_t)l->number, "last",
			 json_text(l->last));
}

static json_t *in_use_json(struct keep *k, const struct export *x)
{
	static const char digits[] = "0123456789abcdef";
	const struct export_kept *kept = x->kept;
	const unsigned char *t = (const unsigned char *)&kept->trailer;
	char hex[2 * sizeof(kept->trailer) + 1];

	for (size_t i = 0; i < sizeof(kept->trailer); i++) {
		hex[2 * i] = digits[t[i] >> 4];
		hex[2 * i + 1] = digits[t[i] & 15];
	}
	hex[2 * sizeof(kept->trailer)] = '\0';
	return json_pack("{s:o, s:o, s:o, s:b, s:b, s:s, s:o, s:o, s:o, s:o, s:o}", "file", keep_named(k, kept->file), "table", keep_named(k, kept->table), "master",
			 keep_named(k, kept->master), "ephemeral", kept->ephemeral, "resumed", kept->resumed, "trailer", hex, "path", json_text(kept->path),
			 "backend", json_text(kept->backend.name), "mount_point", json_text(kept->backend.mount_point), "mount_source",
			 json_text(kept->backend.mount_source), "mount_options", json_text(kept->backend.mount_options));
}

static json_t *export_json(struct keep *k, const struct export *x)
{
	json_t *o = json_pack("{s:o, s:i, s:i, s:b, s:b, s:o}", "conf", conf_json(&x->conf), "state", (int)x->state, "reserve", x->reserve, "removed",
			      x->removed, "deactivated", x->deactivated, "lease", lease_json(&x->lease));

	if (!x->kept)
		return o;
	json_object_set_new(o, "active_file", json_text(x->active_file));
	json_object_set_new(o, "in_use", in_use_json(k, x));
	json_object_set_new(o, "used", json_boolean(x->used));
	json_object_set_new(o, "dirty", json_boolean(x->dirty));
	json_object_set_new(o, "orphans", json_boolean(x->orphans));
	json_object_set_new(o, "lost", json_text(x->file_lost));
	json_object_set_new(o, "blocked", json_boolean(x->blocked));
	json_object_set_new(o, "again", x->again ? json_pack("{s:i, s:b}", "provision", (int)x->provision, "force", x->force) : json_null());
	if (x->adopting)
		json_object_set_new(o, "was", json_integer(x->adopting->release ? EXPORT_RELEASING : x->adopting->forget ? EXPORT_FORGETTING :
							       x->adopting->marking ? EXPORT_ACTIVATING : 0));
	return o;
}

static uint64_t add(uint64_t print, const void *data, size_t bytes)
{
	return XXH3_64bits_withSeed(data, bytes, print);
}

static uint64_t add_text(uint64_t print, const char *text)
{
	return add(print, text, strlen(text) + 1);
}

uint64_t keepexport_print(const struct export *x)
{
	const struct conf_export *c = &x->conf;
	const uint64_t conf[] = { c->size, c->create, c->check, c->seal, c->survive, c->key, c->retry_time };
	const int64_t rest[] = { x->state, x->reserve, x->removed, x->deactivated, x->used, x->dirty, x->orphans, x->blocked, x->again, x->provision,
				 x->force, x->adopting && x->adopting->release, x->adopting && x->adopting->forget,
				 x->adopting && x->adopting->marking };
	uint64_t print = add(add(0, conf, sizeof(conf)), rest, sizeof(rest));

	print = add_text(add_text(add_text(print, c->name), c->file), c->key_file);
	print = add_text(add_text(add_text(print, c->description), x->active_file), x->file_lost);
	print = add(print, &x->lease, sizeof(x->lease));
	if (x->kept)
		print = add_text(add(print, x->kept, offsetof(struct export_kept, path)), x->kept->path);
	return print;
}

static void name_all(struct keep *k, const struct export_kept *kept)
{
	json_decref(keep_named(k, kept->file));
	json_decref(keep_named(k, kept->table));
	json_decref(keep_named(k, kept->master));
}

const char *keepexport_text(struct keep *k, struct export *x)
{
	uint64_t print = keepexport_print(x);
	json_t *o;

	if (x->kept_text && x->kept_print == print) {
		if (x->kept)
			name_all(k, x->kept);
		return x->kept_text;
	}
	o = export_json(k, x);
	free(x->kept_text);
	x->kept_text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!x->kept_text)
		abort();
	x->kept_print = print;
	return x->kept_text;
}
