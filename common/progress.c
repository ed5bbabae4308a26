/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/progress.h"

#include "common/size.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS 24
#define DRAW_EVERY_MS 100

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, FILE *out, const char *label, uint64_t total)
{
	*p = (struct progress){ .label = label, .total = total, .began_ms = now_ms() };
	if (out && isatty(fileno(out)))
		p->out = out;
}

char *progress_line(const char *label, uint64_t done, uint64_t total, uint64_t done_since, int64_t elapsed_ms,
		    char out[PROGRESS_TEXT])
{
	char done_text[SIZE_TEXT], total_text[SIZE_TEXT], rate_text[SIZE_TEXT], left_text[32] = "";
	uint64_t rate = elapsed_ms > 0 ? done_since * 1000 / (uint64_t)elapsed_ms : 0;
	char bar[BAR_CELLS + 1];
	unsigned cells, percent;

	if (done > total && total)
		done = total;
	if (!total) {
		snprintf(out, PROGRESS_TEXT, "%.30s %s  %s/s", label, size_format(done, done_text),
			 size_format(rate, rate_text));
		return out;
	}
	cells = (unsigned)((double)done / (double)total * BAR_CELLS);
	percent = (unsigned)((double)done / (double)total * 100);
	memset(bar, '.', BAR_CELLS);
	memset(bar, '#', cells);
	bar[BAR_CELLS] = '\0';
	if (rate && done < total) {
		uint64_t left = (total - done + rate - 1) / rate;

		if (left < 360000)
			snprintf(left_text, sizeof(left_text), "  %" PRIu64 ":%02u left", left / 60,
				 (unsigned)(left % 60));
	}
	snprintf(out, PROGRESS_TEXT, "%.30s [%s] %3u %%  %s of %s  %s/s%s", label, bar, percent,
		 size_format(done, done_text), size_format(total, total_text), size_format(rate, rate_text),
		 left_text);
	return out;
}

void progress_update(struct progress *p, uint64_t done)
{
	char line[PROGRESS_TEXT];
	int64_t now;

	if (!p->out)
		return;
	if (!p->started) {
		p->started = true;
		p->first = done;
	}
	now = now_ms();
	if (p->drawn && now - p->drawn_ms < DRAW_EVERY_MS)
		return;
	p->drawn = true;
	p->drawn_ms = now;
	fprintf(p->out, "\r%s\033[K",
		progress_line(p->label, done, p->total, done > p->first ? done - p->first : 0,
			      now - p->began_ms, line));
	fflush(p->out);
}

void progress_end(struct progress *p)
{
	if (p->out && p->drawn) {
		fputs("\r\033[K", p->out);
		fflush(p->out);
	}
	p->out = NULL;
}
