/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's table of swap areas, and with it the addresses and devices it names. */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "client/swaptab.h"

#include <string.h>

static void check_entry(const struct swaptab_entry *t, const struct swaptab_entry *before)
{
	struct nbd_uri again;
	struct errbuf e;

	promise_text(t->uri.text, sizeof(t->uri.text));
	promise(memchr(t->label, '\0', sizeof(t->label)), "a label without an end");
	promise(memchr(t->device, '\0', sizeof(t->device)), "a device without an end");
	promise(t->priority == PRIORITY_KERNEL || (t->priority >= 0 && t->priority <= PRIORITY_MAX), "priority %d", t->priority);
	promise(t->line > 0 && (!before || t->line > before->line), "line %u", t->line);
	/* The normal form is a fixed point. */
	promise(uri_parse(t->uri.text, URI_TCP_ONLY, &again, &e) == 0, "%s is refused: %s", t->uri.text, e.text);
	promise(strcmp(again.text, t->uri.text) == 0, "%s becomes %s", t->uri.text, again.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct swaptab tab;
	FILE *in = size ? fmemopen((void *)data, size, "r") : fopen("/dev/null", "re");
	struct errbuf e = { .code = 0 };

	promise(in, "no stream over the input");
	if (swaptab_parse(in, "swaptab", &tab, &e) < 0) {
		promise(e.code != 0, "refused without a reason");
		promise(strncmp(e.text, "swaptab", 7) == 0, "\"%s\" does not name the file", e.text);
	} else {
		promise(tab.count <= SWAPTAB_MAX, "%zu entries", tab.count);
		for (size_t i = 0; i < tab.count; i++)
			check_entry(&tab.entries[i], i ? &tab.entries[i - 1] : NULL);
	}
	fclose(in);
	return 0;
}
