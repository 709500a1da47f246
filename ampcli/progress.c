/*
 * ampcli/progress.c - the one line in which a scan says how far it is (see
 * progress.h).
 */
#include "progress.h"

#include "clock.h"
#include "out.h"
#include "scan_view.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

#define BAR	    20
#define AT_LEAST    12	 /* columns of a path that are worth it */
#define SMOOTH	    0.2	 /* weight of the newest sample */
#define PATH_SHOWN  4096 /* bytes of an escaped path */
#define STEP_LEAST  (AMP_NS_PER_SEC / 10)
#define LEFT_MOST_S 8640000 /* a hundred days: no estimate any more */

void progress_sample(struct progress_rate *r, const Amp__CliScan *s, int64_t now_ns)
{
	int64_t span = now_ns - r->at_ns;
	double now;

	if (r->begun && span < STEP_LEAST)
		return;
	/* A successor may have gone back to its last mark; a pause has no rate. */
	if (r->begun && s->files >= r->files && strcmp(s->state, "running") == 0) {
		now = (double)(s->files - r->files) * (double)AMP_NS_PER_SEC / (double)span;
		r->per_second = r->per_second > 0 ? r->per_second + SMOOTH * (now - r->per_second) : now;
	} else if (r->begun) {
		r->per_second = 0;
	}
	r->begun = true;
	r->at_ns = now_ns;
	r->files = s->files;
}

int64_t progress_left_ns(const struct progress_rate *r, const Amp__CliScan *s)
{
	double seconds;

	if (r->per_second <= 0 || s->expected <= s->files)
		return -1;
	seconds = (double)(s->expected - s->files) / r->per_second;
	return seconds < LEFT_MOST_S ? (int64_t)(seconds * (double)AMP_NS_PER_SEC) : -1;
}

struct line {
	char *buf;
	size_t bytes, columns, width;
};

static size_t columns_of(unsigned char lead)
{
	return lead < 0x80 ? 1 : (lead & 0xc0) == 0x80 ? 0 : 2;
}

static size_t columns(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += columns_of((unsigned char)*text);
	return n;
}

/* The text, two spaces before it. False: it does not fit, and nothing was added. */
static bool add(struct line *l, const char *text)
{
	size_t gap = l->columns ? 2 : 0, n = columns(text), bytes = strlen(text);

	if (l->columns + gap + n > l->width || l->bytes + gap + bytes > (size_t)PROGRESS_WIDTH_MAX * 4)
		return false;
	memcpy(l->buf + l->bytes, "  ", gap);
	memcpy(l->buf + l->bytes + gap, text, bytes + 1);
	l->bytes += gap + bytes;
	l->columns += gap + n;
	return true;
}

/* Not the whole of it before it is the end: what is expected is an estimate. */
static void add_bar(struct line *l, const Amp__CliScan *s)
{
	char text[BAR + 16];
	unsigned percent, full;

	if (s->expected == 0)
		return;
	percent = s->files < s->expected ? (unsigned)((double)s->files * 100 / (double)s->expected) : 99;
	full = percent * BAR / 100;
	text[0] = '[';
	memset(text + 1, '#', full);
	memset(text + 1 + full, '-', BAR - full);
	snprintf(text + 1 + BAR, sizeof(text) - 1 - BAR, "] %2u %%", percent);
	if (!add(l, text))
		add(l, text + 1 + BAR + 2);
}

static void add_numbers(struct line *l, const Amp__CliScan *s, const struct progress_rate *r)
{
	char text[96], n[48], of[40];
	int64_t left = progress_left_ns(r, s);

	if (s->expected)
		snprintf(text, sizeof(text), "%s/%s", out_number(s->files, n, sizeof(n)),
			 out_count(s->expected, "file", of, sizeof(of)));
	else
		out_count(s->files, "file", text, sizeof(text));
	if (!add(l, text) || !add(l, out_count(s->threats, "threat", n, sizeof(n))) ||
	    !add(l, scan_bytes(s->bytes, n, sizeof(n))))
		return;
	if (strcmp(s->state, "running") != 0) {
		amp_text_escape(s->state, strlen(s->state), text, sizeof(text));
		add(l, text);
		return;
	}
	snprintf(text, sizeof(text), "%.0f/s", r->per_second);
	if (!add(l, text) || left < 0)
		return;
	snprintf(text, sizeof(text), "%s left", scan_span(left, n, sizeof(n)));
	add(l, text);
}

/* As much of its end as there is room for. */
static void add_path(struct line *l, const Amp__CliScan *s)
{
	char text[PATH_SHOWN + 4], *from = text + 3;
	size_t bytes = s->at.len < PATH_SHOWN / 4 ? s->at.len : PATH_SHOWN / 4;
	size_t room = l->width > l->columns + 2 ? l->width - l->columns - 2 : 0, n;

	if (s->at.len == 0 || room < AT_LEAST)
		return;
	amp_text_escape(s->at.data + s->at.len - bytes, bytes, from, PATH_SHOWN);
	n = columns(from);
	if (n > room || bytes < s->at.len) {
		while (*from && (n + 3 > room || ((unsigned char)*from & 0xc0) == 0x80))
			n -= columns_of((unsigned char)*from++);
		memcpy(from -= 3, "...", 3);
	}
	add(l, from);
}

size_t progress_line(const Amp__CliScan *s, const struct progress_rate *r, size_t width, char *buf)
{
	struct line l = {.buf = buf, .width = width < PROGRESS_WIDTH_MAX ? width : PROGRESS_WIDTH_MAX};

	buf[0] = '\0';
	add_bar(&l, s);
	add_numbers(&l, s, r);
	add_path(&l, s);
	return l.columns;
}
