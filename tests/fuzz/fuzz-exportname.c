/* SPDX-License-Identifier: BSD-3-Clause */
/* Export names as clients ask for them. */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "common/exportname.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size); /* exactly as long as it is: a byte too far is seen */
	struct export_request request;
	struct errbuf e = { .code = 0 };

	if (!text)
		abort();
	export_request_is_probe(text);
	if (export_request_parse(text, &request, &e) < 0) {
		promise(e.code != 0, "refused without a reason");
		promise_text(e.text, sizeof(e.text));
		free(text);
		return 0;
	}
	promise(export_name_check(request.name, &e) == 0, "a name that is none: %s", e.text);
	promise(strncmp(text, request.name, strlen(request.name)) == 0, "the name is not what was asked for");
	promise(!strpbrk(request.name, "/?\n") && request.name[0] != '.', "a name that would leave its directory");
	promise(strlen(request.client) <= CLIENT_ID_MAX && !strpbrk(request.client, " \t\n?&/%"), "a bad client id");
	promise(request.slots <= EXPORT_SLOTS_MAX && (request.slots ? request.slot < request.slots && request.client[0] : !request.slot),
		"a bad slot");
	if (request.client[0]) {
		char slot[32] = "", generation[1 + GENERATION_TEXT] = "";

		if (request.slots)
			snprintf(slot, sizeof(slot), "&slot=%u/%u", request.slot, request.slots);
		promise(!request.looks || (!request.resumes && request.generation.activation == 0), "a look is another thing");
		if (request.resumes || request.looks) {
			generation[0] = '&';
			generation_format(&request.generation, generation + 1);
		}
		promise(strlen(text) == strlen(request.name) + strlen("?client=") + strlen(request.client) + strlen(slot) + strlen(generation),
			"something was left out");
	} else {
		promise(strcmp(text, request.name) == 0, "something was left out");
	}
	free(text);
	return 0;
}
