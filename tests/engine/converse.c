/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/converse.h"

#include "common/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct talk talk;
struct course course;
struct answers answers;
struct answer x;

static void hold(struct course *c, const struct talk *t, size_t piece)
{
	static struct negotiation n;
	static const struct peer who = { .address = "192.0.2.1:999" };
	const unsigned char *at = t->bytes;
	size_t left = t->count, room, bytes;
	const char *told;

	memset(&n, 0xaa, sizeof(n));
	c->out_bytes = c->answer_bytes = 0;
	c->told[0] = '\0';
	negotiate_start(&n, &c->owner.ops, &who, CONVERSE_SOCK);
	for (;;) {
		const void *out = negotiate_output(&n, &bytes);
		void *to;

		told = negotiate_told(&n);
		if (told)
			snprintf(c->told, sizeof(c->told), "%s", told);
		to = negotiate_room(&n, &room);
		if (bytes) {
			assert_int_equal(room, 0);
			assert_int_equal(negotiate_state(&n), NEGOTIATE_GOES_ON);
			if (bytes > piece)
				bytes = piece;
			assert_true(c->out_bytes + bytes <= sizeof(c->out));
			memcpy(c->out + c->out_bytes, out, bytes);
			c->out_bytes += bytes;
			negotiate_sent(&n, bytes);
			continue;
		}
		if (negotiate_state(&n) != NEGOTIATE_GOES_ON || left == 0)
			break;
		assert_true(room > 0);
		bytes = room < piece ? room : piece;
		if (bytes > left)
			bytes = left;
		memcpy(to, at, bytes);
		at += bytes;
		left -= bytes;
		negotiate_received(&n, bytes);
	}
	c->state = negotiate_state(&n);
	c->taken = t->count - left;
	c->completed = n.completed;
	if (c->state == NEGOTIATE_BEGIN) {
		const void *answer = negotiate_answer(&n, &c->answer_bytes);

		assert_true(c->answer_bytes <= sizeof(c->answer));
		memcpy(c->answer, answer, c->answer_bytes);
		assert_ptr_equal(n.export.session, &c->owner);
	} else {
		negotiate_room(&n, &room);
		assert_int_equal(room == 0, c->state == NEGOTIATE_END);
	}
}

void converse_with(const struct owner *o)
{
	static struct course again;
	static const size_t pieces[] = { 1, 7, 4096 };

	course.owner = *o;
	course.owner.ops.arg = &course.owner;
	hold(&course, &talk, SIZE_MAX);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		again.owner = *o;
		again.owner.ops.arg = &again.owner;
		hold(&again, &talk, pieces[i]);
		assert_int_equal(again.state, course.state);
		assert_int_equal(again.taken, course.taken);
		assert_int_equal(again.completed, course.completed);
		assert_int_equal(again.out_bytes, course.out_bytes);
		assert_memory_equal(again.out, course.out, course.out_bytes);
		assert_int_equal(again.answer_bytes, course.answer_bytes);
		assert_memory_equal(again.answer, course.answer, course.answer_bytes);
		assert_string_equal(again.told, course.told);
		assert_int_equal(again.owner.opened, course.owner.opened);
	}
	answers = (struct answers){ .at = course.out, .left = course.out_bytes };
	assert_true(answers_greeting(&answers));
}

void converse(void)
{
	static struct owner o;

	owner_init(&o);
	o.listed = 3;
	converse_with(&o);
}

void expect_error(uint32_t option, uint32_t type, const char *words)
{
	char text[1024];

	assert_true(answers_next(&answers, &x));
	assert_int_equal(x.option, option);
	assert_int_equal(x.type, type);
	assert_true(x.bytes > 0 && x.bytes < sizeof(text));
	memcpy(text, x.data, x.bytes);
	text[x.bytes] = '\0';
	assert_int_equal(utf8_span(text), x.bytes);
	if (!strstr(text, words))
		fail_msg("\"%s\" has no \"%s\"", text, words);
}

void expect_ack(uint32_t option)
{
	assert_true(answers_next(&answers, &x));
	assert_int_equal(x.option, option);
	assert_int_equal(x.type, NBD_REP_ACK);
	assert_int_equal(x.bytes, 0);
}

void expect_info(uint32_t option, uint16_t info, uint32_t bytes)
{
	assert_true(answers_next(&answers, &x));
	assert_int_equal(x.option, option);
	assert_int_equal(x.type, NBD_REP_INFO);
	assert_int_equal(x.bytes, bytes);
	assert_int_equal(answer_u16(&x, 0), info);
}

void expect_export(uint32_t option, uint16_t flags)
{
	expect_info(option, NBD_INFO_EXPORT, 12);
	assert_int_equal(answer_u64(&x, 2), OWNER_SIZE);
	assert_int_equal(answer_u16(&x, 10), flags);
}

void expect_goes_on(void)
{
	assert_int_equal(answers.left, 0);
	assert_int_equal(course.state, NEGOTIATE_GOES_ON);
	assert_int_equal(course.taken, talk.count);
}

void expect_end(const char *told)
{
	assert_int_equal(answers.left, 0);
	assert_int_equal(course.state, NEGOTIATE_END);
	if (!strstr(course.told, told))
		fail_msg("\"%s\" has no \"%s\"", course.told, told);
}

void expect_begin(void)
{
	assert_int_equal(answers.left, 0);
	assert_int_equal(course.state, NEGOTIATE_BEGIN);
	answers = (struct answers){ .at = course.answer, .left = course.answer_bytes };
}
