/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/faultrules.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(kind) (1u << (kind))
#define DATA_KINDS (BIT(FAULT_SHORT) | BIT(FAULT_MISDIRECT) | BIT(FAULT_FLIP))
#define SECTOR_BYTES 512
#define MOST_DELAY_MS 600000
#define MOST_BYTES (UINT64_C(1) << 40)

static bool reads_data(enum sys_point p)
{
	return p == POINT_RW_READ || p == POINT_SETTLE_READ || p == POINT_SCRUB_READ || p == POINT_TRAILER_READ ||
	       p == POINT_IMAGE_READ;
}

static bool writes_data(enum sys_point p)
{
	return p == POINT_RW_WRITE || p == POINT_RECORD_WRITE || p == POINT_TRAILER_WRITE || p == POINT_IMAGE_WRITE || p == POINT_ALLOC_WRITE;
}

static bool syncs(enum sys_point p)
{
	return p == POINT_RW_SYNC || p == POINT_RECORD_SYNC || p == POINT_TRAILER_SYNC || p == POINT_IMAGE_SYNC || p == POINT_ALLOC_SYNC;
}

/* A fault that could do nothing at its point would be a test that tests nothing. */
static uint32_t kinds_of(enum sys_point p)
{
	uint32_t kinds = BIT(FAULT_ERRNO) | BIT(FAULT_DELAY) | BIT(FAULT_HANG) | BIT(FAULT_KILL) | BIT(FAULT_DONE);

	if (reads_data(p))
		kinds |= DATA_KINDS;
	if (writes_data(p))
		kinds |= DATA_KINDS | BIT(FAULT_TORN) | BIT(FAULT_LOST);
	if (syncs(p))
		kinds |= BIT(FAULT_LOST);
	return kinds;
}

static int error_number(const char *name)
{
	for (int n = 1; n < 256; n++) {
		const char *s = strerrorname_np(n);

		if (s && strcmp(s, name) == 0)
			return n;
	}
	return 0;
}

static bool number(const char *s, uint64_t least, uint64_t most, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(s, &end, 10);
	return s[0] >= '0' && s[0] <= '9' && !*end && !errno && *out >= least && *out <= most;
}

static bool rate(const char *s, struct fault_rule *r)
{
	char *end;
	double p = strtod(s, &end);

	if (end == s || *end || !(p >= 0 && p <= 1))
		return false;
	r->always = p == 1;
	r->threshold = r->always ? 0 : (uint64_t)(p * 18446744073709551616.0);
	return true;
}

/* A word without a value that names a kind. */
static bool plain_kind(const char *word, struct fault_rule *r)
{
	static const enum fault_kind plain[] = { FAULT_SHORT, FAULT_TORN, FAULT_LOST, FAULT_MISDIRECT,
						 FAULT_FLIP,  FAULT_HANG, FAULT_KILL, FAULT_DONE };

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (strcmp(word, fault_kind_name(plain[i])) == 0) {
			r->kinds |= BIT(plain[i]);
			return true;
		}
	return false;
}

static bool parse_word(char *word, struct fault_rule *r)
{
	char *value = strchr(word, '=');
	uint64_t n;

	if (!value)
		return plain_kind(word, r);
	*value++ = '\0';
	if (strcmp(word, "errno") == 0) {
		r->kinds |= BIT(FAULT_ERRNO);
		r->error = error_number(value);
		return r->error != 0;
	}
	if (strcmp(word, "delay") == 0) {
		r->kinds |= BIT(FAULT_DELAY);
		if (!number(value, 1, MOST_DELAY_MS, &n))
			return false;
		r->delay_ms = (unsigned)n;
		return true;
	}
	if (strcmp(word, "flip") == 0) {
		r->kinds |= BIT(FAULT_FLIP);
		return number(value, 1, MOST_BYTES, &r->flip_bytes);
	}
	if (strcmp(word, "short") == 0) {
		r->kinds |= BIT(FAULT_SHORT);
		return number(value, 1, MOST_BYTES, &r->short_unit);
	}
	if (strcmp(word, "nth") == 0)
		return number(value, 1, UINT64_MAX, &r->nth);
	if (strcmp(word, "from") == 0)
		return number(value, 1, UINT64_MAX, &r->from);
	if (strcmp(word, "every") == 0)
		return number(value, 1, UINT64_MAX, &r->every);
	if (strcmp(word, "seed") == 0)
		return number(value, 0, UINT64_MAX, &r->seed);
	if (strcmp(word, "rate") == 0)
		return rate(value, r);
	return strcmp(word, "trigger") == 0 && *value &&
	       snprintf(r->trigger, sizeof(r->trigger), "%s", value) < (int)sizeof(r->trigger);
}

static int parse_points(const char *pattern, struct fault_rule *r, struct errbuf *e)
{
	for (int p = 0; p < SYS_POINT_COUNT; p++) {
		if (fnmatch(pattern, fault_point_name((enum sys_point)p), 0) != 0)
			continue;
		r->points |= UINT64_C(1) << p;
		if (r->kinds & ~kinds_of((enum sys_point)p))
			return err_set(e, EINVAL, "\"%s\" cannot have one of the faults of its rule", fault_point_name((enum sys_point)p));
	}
	return r->points ? 0 : err_set(e, EINVAL, "no point is called \"%s\"", pattern);
}

static int parse_rule(char *text, struct fault_rule *r, struct errbuf *e)
{
	char *words = strchr(text, ':'), *word;

	r->always = true;
	r->short_unit = SECTOR_BYTES;
	if (!words)
		return err_set(e, EINVAL, "\"%s\" has no colon after its points", text);
	*words++ = '\0';
	while ((word = strsep(&words, ",")))
		if (!parse_word(word, r))
			return err_set(e, EINVAL, "\"%s\" is no word of a rule, or has a wrong value", word);
	if (!(r->kinds & ~BIT(FAULT_DONE)))
		return err_set(e, EINVAL, "the rule of \"%s\" does not say what is to happen", text);
	if ((r->kinds & BIT(FAULT_HANG)) && !r->trigger[0])
		return err_set(e, EINVAL, "\"hang\" needs a trigger file, or nothing would ever end it");
	return parse_points(text, r, e);
}

int fault_rules_parse(const char *text, struct fault_rule *rules, struct errbuf *e)
{
	CLEANUP_FREE char *copy = strdup(text);
	char *rest = copy, *rule;
	int n = 0;

	if (!copy)
		return err_set(e, ENOMEM, "no memory for the rules of faults");
	while ((rule = strsep(&rest, ";"))) {
		if (!*rule)
			continue;
		if (n == FAULT_RULES)
			return err_set(e, EINVAL, "there are more than %d rules of faults", FAULT_RULES);
		if (parse_rule(rule, &rules[n++], e) < 0)
			return -1;
	}
	return n;
}
