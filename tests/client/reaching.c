/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/client/reaching.h"
#include "tests/client/unit.h"

#include <errno.h>
#include <time.h>

struct fake fakes[3];
struct reach r;
struct errbuf e;
int64_t took_ms;

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void say_good(struct talk *t)
{
	say_greeting(t, FIXED);
	say_export(t, SIZE, FLAGS);
	say_block_size(t, 4096, 4096, 256 << 10);
	say_text(t, NBD_INFO_DESCRIPTION, "the first gen=5&lease=2");
	say_ack(t);
}

void say_refusal(struct talk *t, uint32_t reply, const char *text)
{
	say_greeting(t, FIXED);
	say_reply(t, reply, text, strlen(text));
}

struct reach_wishes wishes;

int try(size_t count, int64_t ms)
{
	static union reach_address addresses[3];
	int64_t began = now_ms();
	int fd;

	for (size_t i = 0; i < count; i++)
		addresses[i] = fakes[i].address;
	wishes.addresses = addresses;
	wishes.count = count;
	wishes.deadline_ns = (began + ms) * 1000000;
	e.code = 0;
	fd = reach(&r, &wishes, &e);
	took_ms = now_ms() - began;
	return fd;
}

void must_fail(int fd, int code, const char *words)
{
	if (fd >= 0)
		fail_msg("it was reached");
	if (e.code != code || !strstr(e.text, words))
		fail_msg("%s: %s; and not %s: %s", strerrorname_np(e.code), e.text, strerrorname_np(code),
			 words);
}

void must_name(size_t i)
{
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u: ", ntohs(fakes[i].address.v4.sin_port));
	if (!strstr(e.text, text))
		fail_msg("%s is not named: %s", text, e.text);
}

int setup(void **state)
{
	wishes = (struct reach_wishes){ .request = "ws1?client=a",
					.user_timeout_ms = 7000,
					.keepalive_s = 3 };
	return 0;
}

void must_take(int64_t ms)
{
	if (took_ms < ms - 1 || took_ms > ms + 10000)
		fail_msg("it took %lld ms, and not %lld", (long long)took_ms, (long long)ms);
}
