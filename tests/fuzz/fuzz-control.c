/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket and what stands behind it.  The input is a list of pieces with 0xff (which no JSON has) between them; the first
 * byte of a piece says what happens:
 *   1 2 3  the rest is sent to the control socket by this client       x    the rest's first byte, 1 2 3: this client goes
 *   L      this client (1 2 3) sends a long line: so many bytes (0 to 9) about as may be, and an end of line if a third byte is there
 *   w W    the rest is a packet from the worker; W with descriptors    e    the worker ends       T  its timer runs out
 *   j k    a job is run; a run job is completed                        f F  no worker can be started; it can
 *   t l    a second passes; with all patience at its end               m    the minute's look at the files
 *   c      the rest's first byte, 0 to 8: the configuration there now   h s  SIGHUP, SIGTERM
 */
#include "config.h"

#include "server/control.h"
#include "tests/fuzz/fakedaemon.h"
#include "tests/fuzz/fuzz.h"

#include <signal.h>
#include <string.h>

static void long_line(unsigned client, unsigned about, bool end)
{
	static char line[CONTROL_LINE_MAX + 10];
	size_t n = CONTROL_LINE_MAX - 5 + about % 10;

	memset(line, 'x', sizeof(line));
	line[n] = '\n';
	fake_control_send(client, line, n + end);
}

static void piece(char what, const uint8_t *rest, size_t n)
{
	unsigned number = n ? *rest : '0';

	switch (what) {
	case '1':
	case '2':
	case '3':
		fake_control_send((unsigned)what - '1', rest, n);
		break;
	case 'x':
		if (number >= '1' && number <= '3')
			fake_control_close(number - '1');
		break;
	case 'L':
		if (n >= 2 && number >= '1' && number <= '3')
			long_line(number - '1', rest[1], n > 2);
		break;
	case 'w':
	case 'W':
		fake_worker_send(rest, n, what == 'W' ? 3 : 0);
		break;
	case 'e':
		fake_worker_exit(number == '0' ? SIGKILL : 0x100);
		break;
	case 'T':
		fake_worker_timer();
		break;
	case 'j':
		fake_job_run();
		break;
	case 'k':
		fake_job_done();
		break;
	case 'f':
	case 'F':
		fake_spawn_fails(what == 'f');
		break;
	case 't':
	case 'l':
		fake_tick(what == 'l');
		break;
	case 'm':
		fake_recheck();
		break;
	case 'c':
		fake_config((number - (unsigned)'0') % FAKE_CONFIGS);
		break;
	case 'h':
		fake_hup();
		break;
	case 's':
		fake_term();
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *at = data, *end = data + size;
	unsigned pieces = 0;

	fake_begin();
	while (at < end && !fake_ended() && pieces++ < 100) {
		const uint8_t *next = memchr(at, 0xff, (size_t)(end - at));

		if (!next)
			next = end;
		if (next > at) {
			piece((char)*at, at + 1, (size_t)(next - at) - 1);
			if (!fake_ended())
				fake_run();
		}
		at = next + 1;
	}
	fake_end();
	return 0;
}
