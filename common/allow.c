/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/allow.h"

#include <string.h>

unsigned allow_of(const char *word, size_t n)
{
	static const struct {
		const char *name;
		enum allow bit;
	} words[] = { { "memlock", ALLOW_MEMLOCK }, { "oom", ALLOW_OOM }, { "io-flusher", ALLOW_IO_FLUSHER },
		    { "confine", ALLOW_CONFINE } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].name) == n && memcmp(words[i].name, word, n) == 0)
			return words[i].bit;
	return 0;
}

unsigned allow_list(const char *words)
{
	unsigned all = 0;

	for (;;) {
		size_t n = strcspn(words, ",");
		unsigned bit = allow_of(words, n);

		if (!bit)
			return 0;
		all |= bit;
		if (words[n] == '\0')
			return all;
		words += n + 1;
	}
}
