/* SPDX-License-Identifier: BSD-3-Clause */
/* The fake daemon's configuration and backing files. */
#include "config.h"

#include "store/backing.h"
#include "tests/fuzz/fakedaemon.h"
#include "tests/fuzz/fakeparts.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SIZE (64u << 10) /* the smallest that the configuration takes */

static void put_text(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", fuzz_dir(), name);
	f = fopen(path, "we");
	promise(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s cannot be written", path);
}

void fake_config(unsigned which)
{
	static const char listen_[] = "listen = unix:%D/listen\n";
	static const struct {
		const char *server, *exports;
	} configs[FAKE_CONFIGS] = {
		{ listen_, "[export a]\nfile = %D/a\ndescription = first\n[export b]\nfile = %D/b\nsize = 64K\n"
			   "[export m]\nfile = %D/m\nprovision = never\n" },
		{ listen_, "[export a]\nfile = %D/a\nretry-time = 5\n" }, /* two removed, a description changed */
		{ listen_, "[export a]\nfile = %D/b\nsize = 64K\n[export b]\nfile = %D/a\n" },  /* exchanged */
		{ listen_, "[export n]\nfile = %D/a\n[export b]\nfile = %D/b\nsize = 64K\n" }, /* renamed */
		{ listen_, "[export a]\nfile = %D/a\nsize = 68K\n[export \xe4]\nfile = %D/\xe4\ndescription = \xe4\n" },
		{ "listen = unix:%D/elsewhere\n", "[export a]\nfile = %D/a\n[export b]\nfile = %D/b\nsize = 64K\nseal = aes-256-gcm\n" },
		{ "threads = 3\n", "[export a]\nfile = %D/a\n" }, /* needs a restart */
		{ listen_, "[export a\n" }, { listen_, "[\xe4]\n" },
	};
	const char *parts[] = { "[server]\ncontrol = %D/control\nnbdkit = /bin/false\n", configs[which].server, configs[which].exports };
	char text[2048], *out = text;

	for (unsigned i = 0; i < 3; i++)
		for (const char *s = parts[i]; *s; s++)
			if (*s == '%')
				out += sprintf(out, "%s", fuzz_dir()), s++;
			else
				*out++ = *s;
	*out = '\0';
	put_text("conf", text);
}

/* Files as they are to be at the beginning: "a" activated once and ended cleanly. */
void fake_files(void)
{
	static char *image;
	static size_t size;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/m", fuzz_dir());
	unlink(path);
	snprintf(path, sizeof(path), "%s/b", fuzz_dir());
	unlink(path);
	snprintf(path, sizeof(path), "%s/a", fuzz_dir());
	if (!image) {
		struct backing_options opt = { .size = SIZE, .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true };
		struct backing *b;
		struct table *t;
		struct errbuf e;

		promise(backing_activate(path, &opt, &b, NULL, &e) == 0 && backing_begin(b, &t, &e) == 0 &&
			backing_end(b, t, &e) == 0, "%s: %s", path, e.text);
		table_free(t);
		backing_close(b);
		f = fopen(path, "re");
		image = malloc(2 * SIZE);
		size = fread(image, 1, 2 * SIZE, f);
		fclose(f);
	}
	f = fopen(path, "r+e"); /* the same inode, which its trailer names */
	promise(f && fwrite(image, 1, size, f) == size && fclose(f) == 0 && truncate(path, (off_t)size) == 0, "%s", path);
}
