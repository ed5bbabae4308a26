/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/keeper_message.h"

#include <string.h>

static bool is(const char *line, size_t len, const char *wanted)
{
	return len == strlen(wanted) && memcmp(line, wanted, len) == 0;
}

/* Printable ASCII without the colon, which stands between names in LISTEN_FDNAMES.  systemd lets an empty name pass, but what it makes of it
 * there cannot be read back.
 */
static void read_name(struct keeper_message *m, const char *value, size_t len)
{
	if (len > KEEPER_NAME_MAX)
		return;
	for (size_t i = 0; i < len; i++)
		if (value[i] < ' ' || value[i] > '~' || value[i] == ':')
			return;
	memcpy(m->name, value, len);
	m->name[len] = '\0';
}

bool keeper_message_read(const char *text, size_t len, struct keeper_message *m)
{
	static const char name_is[] = "FDNAME=";
	const size_t prefix = sizeof(name_is) - 1;
	bool named = false;
	size_t lines = 0;

	*m = (struct keeper_message){ .poll = true };
	if (len > KEEPER_MESSAGE_MAX)
		return false;
	if (len > 0 && text[len - 1] == '\0')
		len--;
	if (memchr(text, '\0', len))
		return false;
	for (size_t at = 0, n; at < len; at += n + 1) {
		const char *line = text + at;
		const char *end = memchr(line, '\n', len - at);

		n = end ? (size_t)(end - line) : len - at;
		if (n == 0)
			continue;
		lines++;
		if (n >= prefix && memcmp(line, name_is, prefix) == 0) {
			if (!named)
				read_name(m, line + prefix, n - prefix);
			named = true;
		}
		m->barrier |= is(line, n, "BARRIER=1");
		m->ready |= is(line, n, "READY=1");
		m->stopping |= is(line, n, "STOPPING=1");
		m->store |= is(line, n, "FDSTORE=1");
		m->remove |= is(line, n, "FDSTOREREMOVE=1");
		m->poll &= !is(line, n, "FDPOLL=0");
	}
	return lines > 0 && (!m->barrier || lines == 1);
}
