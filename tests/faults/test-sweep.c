/* SPDX-License-Identifier: BSD-3-Clause */
/* A life (activate, begin, write, discard, read, end) is lived with the Nth call that it makes of the system failing, for every N until a
 * life passes without a hit; for each state that a file can be found in and each way to fail.  After each:
 *
 *   - what failed said so, and named the file;
 *   - what was not said to have failed did not: after an end without an error every page is right at the next activation;
 *   - whatever happened, the next activation gives right pages, lost pages or a refusal, never wrong ones, and lost ones never under
 *     the generation of before;
 *   - a file with a hole is not activated because the look at it failed;
 *   - no descriptor, and with it no lock, is left.
 */
#include "config.h"

#include "tests/faults/life.h"

#include "store/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is swept.  honest: the call tells that it failed, or kills; else it lies. */
struct sweep {
	const char *name, *rule;
	bool honest;
	unsigned seeds; /* runs of each N, with seeds from 1 */
};

static const struct sweep sweeps[] = {
	{ "EIO", "*:errno=EIO", true, 1 },
	{ "EIO, done all the same", "*:errno=EIO,done", true, 1 },
	{ "ENOSPC", "*:errno=ENOSPC", true, 1 },
	{ "EINTR", "*:errno=EINTR", true, 1 },
	{ "EACCES", "*:errno=EACCES", true, 1 },
	{ "ENOENT", "*:errno=ENOENT", true, 1 },
	{ "short trailer write", "trailer.write:short", true, 2 },
	{ "short trailer read", "trailer.read:short", true, 2 },
	{ "short image write", "image.write:short", true, 2 },
	{ "short image read", "image.read:short", true, 2 },
	{ "short allocation", "alloc.write:short", true, 2 },
	{ "short write", "rw.write:short", true, 2 },
	{ "short read", "rw.read:short", true, 2 },
	{ "kill", "*:kill", true, 1 },
	{ "kill after", "*:kill,done", true, 1 },
	{ "kill in a torn trailer write", "trailer.write:torn,kill,done", true, 2 },
	{ "kill in a torn image write", "image.write:torn,kill,done", true, 4 },
	{ "kill in a torn write", "rw.write:torn,kill,done", true, 4 },
	{ "kill in a torn allocation", "alloc.write:torn,kill,done", true, 4 },
	{ "torn trailer write", "trailer.write:torn", false, 2 },
	{ "lost trailer write", "trailer.write:lost", false, 1 },
	{ "flipped trailer write", "trailer.write:flip=304", false, 6 },
	{ "flipped trailer read", "trailer.read:flip=304", false, 6 },
	{ "flipped trailer write, killed later", "rw.write:kill,nth=3;trailer.write:flip=304", false, 4 },
	{ "lost trailer write, killed later", "rw.write:kill,nth=3;trailer.write:lost", false, 1 },
	{ "misdirected trailer read", "trailer.read:misdirect", false, 4 },
	{ "torn image write", "image.write:torn", false, 4 },
	{ "lost image write", "image.write:lost", false, 1 },
	{ "flipped image write", "image.write:flip", false, 6 },
	{ "flipped image read", "image.read:flip", false, 6 },
	{ "misdirected image read", "image.read:misdirect", false, 4 },
	{ "torn allocation", "alloc.write:torn", false, 4 },
	{ "lost allocation", "alloc.write:lost", false, 1 },
	{ "misdirected allocation", "alloc.write:misdirect", false, 4 },
	{ "lost sync", "*.sync:lost", false, 1 },
};

static unsigned lives, hits, refusals, lost_pages;

/* Failures here must not be passed over: without what they were asked for nothing is known. */
static const enum sys_point must_tell[] = {
	POINT_TRAILER_READ, POINT_TRAILER_WRITE, POINT_TRAILER_SYNC, POINT_IMAGE_READ, POINT_IMAGE_WRITE,  POINT_IMAGE_SYNC,
	POINT_ALLOC_WRITE,  POINT_ALLOC_SYNC,	 POINT_ALLOC_TRUNCATE, POINT_LOCK_TAKE, POINT_OPEN,	   POINT_SPACE,
	POINT_FLAGS,	    POINT_SEEK,
};

/* An interrupted call may be made again, and a short one go on. */
static bool may_go_on(const struct sweep *s)
{
	return !s->honest || !strstr(s->rule, "errno=") || strstr(s->rule, "EINTR");
}

static void judge(const struct life_spec *spec, const struct sweep *s, const char *where)
{
	const struct life_told *told = life_told();
	struct life_found found;

	if (told->unnamed[0])
		fail_msg("%s: an error that does not name the file: \"%s\"", where, told->unnamed);
	if (told->wrong[0])
		fail_msg("%s: %s", where, told->wrong);
	if (told->descriptors_left)
		fail_msg("%s: %d descriptors are left open", where, told->descriptors_left);
	if (spec->start == START_HOLED && told->activated && !told->filled)
		fail_msg("%s: a file with a hole was activated", where);
	for (size_t i = 0; told->ended && !told->said && !may_go_on(s) && i < sizeof(must_tell) / sizeof(must_tell[0]); i++)
		if (fault_hits_at(must_tell[i]))
			fail_msg("%s: %s failed and nobody said so", where, fault_point_name(must_tell[i]));
	life_inspect(spec, &found);
	if (found.wrong[0])
		fail_msg("%s: at the next activation %s", where, found.wrong);
	if (!found.activated) {
		refusals++;
		return;
	}
	lost_pages += found.lost;
	if (found.lost && told->generation && found.generation <= told->generation)
		fail_msg("%s: pages are lost under the generation of before", where);
	if (told->ended && s->honest && found.lost)
		fail_msg("%s: ended without an error, but %u pages are lost", where, found.lost);
}

/* A child is ten times as slow under a sanitizer, and what it looks for it finds at the first seed and in few states. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SEEDS(s) 1u
#define FIRST_PROVISION PROVISION_CREATE
#define LAST_PROVISION PROVISION_CREATE
#define STARTS(s) ((s) == START_NONE || (s) == START_USED)
#define SOME_OF(specs) 1u
#else
#define SEEDS(s) ((s)->seeds)
#define FIRST_PROVISION PROVISION_NEVER
#define LAST_PROVISION PROVISION_RENEW
#define STARTS(s) true
#define SOME_OF(specs) (sizeof(specs) / sizeof((specs)[0]))
#endif

/* One way to fail, at every call. */
static void sweep_one(const struct life_spec *spec, const struct sweep *s)
{
	char when[60], rule[160], where[300];

	for (unsigned n = 1;; n++) {
		bool hit = false;

		/* A rule of two has a hit in each life; the file has no more than these calls of one kind. */
		if (strchr(s->rule, ';') && n > 12)
			return;
		for (unsigned seed = 1; seed <= SEEDS(s); seed++) {
			snprintf(when, sizeof(when), "nth=%u,seed=%u", n, seed);
			snprintf(rule, sizeof(rule), "%s,%s", s->rule, when);
			snprintf(where, sizeof(where), "%s, %s at call %u, seed %u", life_spec_name(spec), s->name, n, seed);
			life_stage(spec);
			if (life_live(spec, rule)) {
				hit = true;
				hits++;
			}
			lives++;
			judge(spec, s, where);
		}
		if (!hit)
			return;
	}
}

static void every_call(void **state)
{
	struct life_spec spec;

	(void)state;
	for (int start = 0; start < START_COUNT; start++)
		for (int provision = FIRST_PROVISION; STARTS(start) && provision <= LAST_PROVISION; provision++) {
			spec = (struct life_spec){ .start = (enum life_start)start, .provision = (enum provision)provision };
			for (size_t i = 0; i < sizeof(sweeps) / sizeof(sweeps[0]); i++)
				sweep_one(&spec, &sweeps[i]);
		}
	print_message("%u lives, %u faults, %u refused afterwards, %u pages lost\n", lives, hits, refusals, lost_pages);
	assert_true(hits > 500);
}

static void every_call_of(const struct life_spec *specs, size_t count)
{
	unsigned before = hits;

	for (size_t k = 0; k < count; k++)
		for (size_t i = 0; i < sizeof(sweeps) / sizeof(sweeps[0]); i++)
			sweep_one(&specs[k], &sweeps[i]);
	print_message("%u faults\n", hits - before);
	assert_true(hits - before > 300);
}

static void every_call_sealed(void **state)
{
	static const struct life_spec specs[] = {
		{ START_USED, PROVISION_NEVER, false }, { START_NONE, PROVISION_CREATE, false }, { START_UNCLEAN, PROVISION_NEVER, false },
		{ START_USED, PROVISION_RENEW, false }, { START_USED, PROVISION_NEVER, true },
	};

	(void)state;
	every_call_of(specs, SOME_OF(specs));
}

static void every_call_when_given_up(void **state)
{
	static const struct life_spec specs[] = {
		{ START_USED, PROVISION_NEVER, true }, { START_FRESH, PROVISION_NEVER, true }, { START_UNCLEAN, PROVISION_NEVER, true },
	};

	(void)state;
	every_call_of(specs, SOME_OF(specs));
}

/* Where the file system tells more about the file, and can be asked for more. */
static void every_call_on_disk(void **state)
{
	static const struct life_spec specs[] = {
		{ START_NONE, PROVISION_CREATE, false }, { START_USED, PROVISION_NEVER, false },
		{ START_HOLED, PROVISION_NEVER, false }, { START_HOLED, PROVISION_RENEW, false },
	};
	unsigned before = hits;

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		sweep_one(&specs[i], &sweeps[0]);
	print_message("%u faults on disk\n", hits - before);
	assert_true(hits - before > 100);
}

static int setup_on_disk(void **state)
{
	return life_place(true) ? life_setup(state) : -1;
}

/* From the Nth call on everything of one kind fails, as when a server goes away or a disk is full for good. */
static void from_every_call_on(void **state)
{
	static const struct sweep lasting[] = {
		{ "EIO for good", "[!r]*:errno=EIO", true, 1 },
		{ "ENOSPC for good", "[!r]*:errno=ENOSPC", true, 1 },
		{ "EROFS for good", "[!r]*:errno=EROFS", true, 1 },
	};
	struct life_spec spec;
	char when[60], rule[160], where[300];
	unsigned before = hits;

	(void)state;
	for (int start = 0; start < START_COUNT; start++)
		for (int provision = FIRST_PROVISION; STARTS(start) && provision <= LAST_PROVISION; provision++)
			for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++) {
				bool hit = true;

				spec = (struct life_spec){ .start = (enum life_start)start, .provision = (enum provision)provision };
				for (unsigned n = 1; hit; n++) {
					snprintf(when, sizeof(when), "from=%u", n);
					snprintf(rule, sizeof(rule), "%s,%s", lasting[i].rule, when);
					snprintf(where, sizeof(where), "%s, %s from call %u on", life_spec_name(&spec),
						 lasting[i].name, n);
					life_stage(&spec);
					hit = life_live(&spec, rule);
					hits += hit;
					judge(&spec, &lasting[i], where);
				}
			}
	print_message("%u faults for good\n", hits - before);
	assert_true(hits - before > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_call, life_setup, life_teardown),
		cmocka_unit_test_setup_teardown(every_call_sealed, life_setup_sealed, life_teardown),
		cmocka_unit_test_setup_teardown(every_call_when_given_up, life_setup, life_teardown),
		cmocka_unit_test_setup_teardown(from_every_call_on, life_setup, life_teardown),
		cmocka_unit_test_setup_teardown(every_call_on_disk, setup_on_disk, life_teardown),
	};

	if (!life_place(true) || !life_place(false)) {
		puts("SKIP: TMPDIR or /dev/shm is on a file system that is not served");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
