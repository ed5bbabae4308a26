/* SPDX-License-Identifier: BSD-3-Clause */
/* A short life of a backing file, lived by a child process with rules of faults, and what its successor finds. */
#ifndef NBDSWAP_TESTS_FAULTS_LIFE_H
#define NBDSWAP_TESTS_FAULTS_LIFE_H

#include "tests/store/support.h"

#include "store/backing.h"

#define LIFE_PAGES 24

/* What the file is when the life begins. */
enum life_start {
	START_NONE,	  /* there is none */
	START_EMPTY,	  /* 0 bytes */
	START_FRESH,	  /* allocated, never used */
	START_USED,	  /* ended cleanly, with pages */
	START_UNCLEAN,	  /* its last use did not end */
	START_ALLOCATING, /* its allocation was interrupted */
	START_HOLED,	  /* as START_USED, but a page of it was punched out */
	START_COUNT
};

struct life_spec {
	enum life_start start;
	enum provision provision;
	bool loses; /* in the midst of it the content is given up (backing_lost) */
};

/* What the child says, in memory that outlives it. */
struct life_told {
	struct {
		uint8_t value;	 /* last acknowledged; 0: zeros */
		uint8_t tried;	 /* of a write that was begun and not acknowledged, if trying */
		bool trying;	 /* ... it may be there too, or the page be lost */
		bool lost_only;	 /* a write of it failed: it must not read at all */
	} page[LIFE_PAGES];
	bool anew;	/* being made anew: pages may read as before, as zeros or not at all */
	bool activated, began, ended;
	bool filled;	/* this life wrote every page itself */
	uint64_t generation; /* 0: none was ever handed out */
	bool said; /* that something failed */
	int descriptors_left;
	char unnamed[800], wrong[200];
};

struct life_found {
	bool activated;
	uint64_t generation;
	unsigned lost;
	char wrong[200];
};

/* Where the file will be: in memory if there is such a place, or where TMPDIR says.  False when nbdswap does not serve that place. */
bool life_place(bool on_disk);

int life_setup(void **state); /* after life_place() */
int life_setup_sealed(void **state); /* all of it with pages sealed by a key file */
int life_teardown(void **state);

/* Puts the file into the state that the spec begins with. */
void life_stage(const struct life_spec *spec);

/* Lives it in a child with these faults; true when at least one hit. */
bool life_live(const struct life_spec *spec, const char *rules);

const struct life_told *life_told(void);
const char *life_spec_name(const struct life_spec *spec);

/* Activates it as a successor would, without faults, and compares every page with what was told; made whole again where it is refused. */
void life_inspect(const struct life_spec *spec, struct life_found *found);

#endif
