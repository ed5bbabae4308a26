/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/hibernation.h"

#include "common/cleanup.h"

#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define NBD_MAJOR 43

/* Does a line of the file, without its blanks at both ends, say key=no (as systemd takes a boolean)? */
static bool says_no(const char *path, const char *key)
{
	static const char *const words[] = { "no", "n", "false", "f", "off", "0" };
	CLEANUP_FCLOSE FILE *in = fopen(path, "re");
	char line[512], name[64], value[64];

	while (in && fgets(line, sizeof(line), in))
		for (size_t i = 0; sscanf(line, " %63[A-Za-z] = %63s", name, value) == 2 && i < sizeof(words) / sizeof(words[0]); i++)
			if (strcmp(name, key) == 0 && strcasecmp(value, words[i]) == 0)
				return true;
	return false;
}

static bool systemd_forbids(const char *root)
{
	static const char *const places[] = { "/etc/systemd/sleep.conf", "/etc/systemd/sleep.conf.d/*.conf" };
	bool forbidden = false;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char pattern[PATH_MAX];
		glob_t g;

		snprintf(pattern, sizeof(pattern), "%s%s", root, places[i]);
		if (glob(pattern, 0, NULL, &g) != 0)
			continue;
		for (size_t k = 0; k < g.gl_pathc; k++)
			forbidden |= says_no(g.gl_pathv[k], "AllowHibernation");
		globfree(&g);
	}
	return forbidden;
}

static bool read_line(const char *root, const char *file, char *line, size_t size)
{
	CLEANUP_FCLOSE FILE *in = NULL;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s", root, file);
	in = fopen(path, "re");
	return in && fgets(line, (int)size, in);
}

enum hibernation hibernation_look(const char *root)
{
	unsigned major = 0, minor = 0;
	char line[256];

	if (!read_line(root, "/sys/power/state", line, sizeof(line)) || !strstr(line, "disk"))
		return HIBERNATION_OFF;
	if (systemd_forbids(root))
		return HIBERNATION_FORBIDDEN;
	if (read_line(root, "/sys/power/resume", line, sizeof(line)) && sscanf(line, "%u:%u", &major, &minor) == 2 && major != 0 &&
	    major != NBD_MAJOR)
		return HIBERNATION_ELSEWHERE;
	return HIBERNATION_HERE;
}
