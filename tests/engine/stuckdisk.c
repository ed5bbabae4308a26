/* SPDX-License-Identifier: BSD-3-Clause */
/* One local disk is stuck under direct writes; another's writes, flushed each, go on.
 *
 *   stuckdisk DIR	DIR is on a file system of its own, that is frozen meanwhile
 */
#include "config.h"

#include "tests/engine/moverworld.h"

#include "common/nbdproto.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PAGES = 64, STUCK = 48, GOOD = 5, SECONDS = 20 };

static int dir = -1;

static void thaw(void)
{
	ioctl(dir, FITHAW, 0);
}

static int written_file(void)
{
	static _Alignas(4096) unsigned char page[PAGE_BYTES] = { 1 };
	int fd = openat(dir, "stuck", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (int i = 0; i < PAGES; i++)
		assert_int_equal(pwrite(fd, page, PAGE_BYTES, (off_t)i * PAGE_BYTES), PAGE_BYTES);
	assert_int_equal(fsync(fd), 0);
	return fd;
}

static void a_stuck_disk_stops_no_other(void **state)
{
	const struct timeval limit = { .tv_sec = SECONDS };
	struct visitor stuck, good;
	struct world w;
	bool went_on = true;

	(void)state;
	world_make(&w);
	world_add(&w, 0, written_file(), PAGES, false);
	world_add(&w, 1, scratch_file(PAGES * PAGE_BYTES), PAGES, false);
	visitor_come(&w, &stuck, 0);
	visitor_come(&w, &good, 1);
	assert_int_equal(setsockopt(good.pair.peers, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	if (ioctl(dir, FIFREEZE, 0) < 0)
		fail_msg("it cannot be frozen: %s", strerror(errno));
	for (uint32_t i = 0; i < STUCK; i++)
		visitor_write(&stuck, i, 0);
	for (uint32_t i = 0; i < GOOD && went_on; i++) {
		visitor_write(&good, i, NBD_CMD_FLAG_FUA);
		went_on = visitor_replies(&good, 0, 1);
	}
	thaw();
	assert_true(went_on);
	assert_true(visitor_replies(&stuck, 0, STUCK));
	visitor_leave(&w, &stuck);
	visitor_leave(&w, &good);
	world_take_away(&w, 0);
	world_take_away(&w, 1);
	world_end(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_stuck_disk_stops_no_other) };

	if (argc != 2 || (dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		fprintf(stderr, "usage: stuckdisk DIR\n");
		return 2;
	}
	atexit(thaw);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
