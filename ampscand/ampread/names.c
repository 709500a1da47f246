/*
 * ampscand/ampread/names.c - names in order, in bounded memory (see names.h).
 */
#include "names.h"

#include <stdlib.h>
#include <string.h>

static bool comes_before(const struct amp_names *s, uint32_t a, uint32_t b)
{
	return strcmp(s->text + s->at[a], s->text + s->at[b]) < 0;
}

static void swap(struct amp_names *s, uint32_t a, uint32_t b)
{
	uint32_t was = s->at[a];

	s->at[a] = s->at[b];
	s->at[b] = was;
}

/* Of a heap of n with the last name on top: puts right what is at i. */
static void sink(struct amp_names *s, uint32_t i, uint32_t n)
{
	for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && comes_before(s, child, child + 1))
			child++;
		if (!comes_before(s, i, child))
			return;
		swap(s, i, child);
	}
}

/* In place. qsort(3) asks the kernel how much memory there is, a call that ampread has not. */
static void sort(struct amp_names *s)
{
	for (uint32_t i = s->count / 2; i-- > 0;)
		sink(s, i, s->count);
	for (uint32_t n = s->count; n-- > 1;) {
		swap(s, 0, n);
		sink(s, 0, n);
	}
}

int amp_names_begin(struct amp_names *s, size_t limit, const char *from, bool with_from)
{
	char *copy = from ? strdup(from) : NULL;

	if (from && !copy)
		return -1;
	amp_names_free(s);
	s->limit = limit;
	s->from = copy;
	s->with_from = with_from;
	return 0;
}

void amp_names_again(struct amp_names *s)
{
	s->size = 0;
	s->count = s->next = 0;
	s->more = false;
}

/* What comes first of the sorted names, about half of their bytes, into a text of its own. */
static int keep_half(struct amp_names *s)
{
	char *text = malloc(s->room);
	uint32_t kept = 0;
	size_t size = 0;

	if (!text)
		return -1;
	sort(s);
	do {
		size_t n = strlen(s->text + s->at[kept]) + 1;

		memcpy(text + size, s->text + s->at[kept], n);
		s->at[kept++] = (uint32_t)size;
		size += n;
	} while (kept + 1 < s->count && size < s->size / 2);
	free(s->text);
	s->text = text;
	s->more = true;
	s->count = kept;
	s->size = size;
	s->top = s->at[kept - 1];
	return 0;
}

static int text_room(struct amp_names *s, size_t n)
{
	size_t room = s->room ? s->room : 1024;
	char *bigger;

	while (room < s->size + n)
		room *= 2;
	if (room == s->room)
		return 0;
	bigger = realloc(s->text, room);
	if (!bigger)
		return -1;
	s->text = bigger;
	s->room = room;
	return 0;
}

static int index_room(struct amp_names *s)
{
	uint32_t room = s->at_room ? s->at_room * 2 : 64;
	uint32_t *bigger;

	if (s->count < s->at_room)
		return 0;
	bigger = realloc(s->at, room * sizeof(*bigger));
	if (!bigger)
		return -1;
	s->at = bigger;
	s->at_room = room;
	return 0;
}

static size_t used(const struct amp_names *s)
{
	return s->size + s->count * sizeof(*s->at);
}

/* Before where these begin. */
static bool too_early(const struct amp_names *s, const char *name)
{
	int order = s->from ? strcmp(name, s->from) : 1;

	return order < 0 || (order == 0 && !s->with_from);
}

static bool too_late(const struct amp_names *s, const char *name)
{
	return s->more && strcmp(name, s->text + s->top) >= 0;
}

int amp_names_add(struct amp_names *s, const char *name)
{
	size_t n = strlen(name) + 1;

	if (too_early(s, name) || too_late(s, name))
		return 0;
	if (s->count > 1 && used(s) + n + sizeof(*s->at) > s->limit) {
		if (keep_half(s) < 0)
			return -1;
		if (too_late(s, name))
			return 0;
	}
	if (text_room(s, n) < 0 || index_room(s) < 0)
		return -1;
	memcpy(s->text + s->size, name, n);
	s->at[s->count++] = (uint32_t)s->size;
	s->size += n;
	s->sorted = false;
	return 0;
}

void amp_names_end(struct amp_names *s)
{
	char *text = s->size ? realloc(s->text, s->size) : NULL;
	uint32_t *at = s->count ? realloc(s->at, s->count * sizeof(*at)) : NULL;

	/* It stays as long as the directories below it are walked. */
	if (text) {
		s->text = text;
		s->room = s->size;
	}
	if (at) {
		s->at = at;
		s->at_room = s->count;
	}
	if (!s->sorted)
		sort(s);
	s->sorted = true;
}

const char *amp_names_next(struct amp_names *s)
{
	const char *last = amp_names_last(s);

	/* A directory that is changed while it is read may tell a name twice. */
	while (last && s->next < s->count && strcmp(last, s->text + s->at[s->next]) == 0)
		s->next++;
	return s->next < s->count ? s->text + s->at[s->next++] : NULL;
}

const char *amp_names_last(const struct amp_names *s)
{
	return s->next > 0 ? s->text + s->at[s->next - 1] : NULL;
}

size_t amp_names_bytes(const struct amp_names *s)
{
	return s->room + s->at_room * sizeof(*s->at);
}

void amp_names_free(struct amp_names *s)
{
	free(s->text);
	free(s->at);
	free(s->from);
	memset(s, 0, sizeof(*s));
}
