/* SPDX-License-Identifier: BSD-3-Clause */
/* Makes a connected device into a swap area, or keeps the one that is there; never overwrites
 * anything that is not swap unless told to.
 */
#ifndef NBDSWAP_CLIENT_SWAPAREA_H
#define NBDSWAP_CLIENT_SWAPAREA_H

#include "client/nbddev.h"
#include "client/procswaps.h"
#include "client/state.h"
#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

struct area_wishes {
	const char *label; /* NULL: what is there, else default_label */
	const char *default_label; /* cut to what a header holds */
	const struct state_list *attached; /* what this machine has attached: its swap areas are left alone, force or not */
	const struct swap_list *swaps; /* and what swap is on here: likewise, where that can be read */
	bool force; /* overwrite whatever is there */
	bool can_discard; /* the server takes discards */
	bool lost_is_fresh; /* unreadable pages are an nbdswap server's lost pages: nothing that could be kept */
};

struct area_result {
	char label[16], uuid[40];
	bool refused; /* set on failure when it was a refusal and nothing was written */
	char notes[400]; /* "" or sentences for a person */
};

/* size: of the device in bytes.  *out is always initialised.  0, or -1 with *e. */
int swaparea_prepare(const struct nbddev *dev, uint64_t size, const struct area_wishes *w,
		     struct area_result *out, struct errbuf *e);

#endif
