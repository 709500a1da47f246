/*
 * ampscand/buffers.c - see buffers.h.
 */
#include "buffers.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct buffers {
	struct amp_buffers_head *head;
	struct amp_parked *parked;
	struct amp_buffer *buffer;
	size_t size;
	unsigned count, parked_count;
	unsigned *open; /* events of each buffer not concluded; UINT_MAX: being filled */
	unsigned *free_parked;
	unsigned free_parked_count;
};

#define FILLING UINT32_MAX

/* An event begins with its length, of which any byte may be zero, but not all. */
static bool is_blank(const struct amp_buffer *buf)
{
	uint32_t event_len;

	memcpy(&event_len, buf->data, sizeof(event_len));
	return buf->used == 0 && event_len == 0;
}

/* A predecessor's time: "long ago" only makes a later repair look further back. */
static void check_time(int64_t *ns, int64_t now)
{
	if (*ns <= 0 || *ns > now)
		*ns = *ns <= 0 ? 1 : now;
}

static void check_times(struct buffers *b)
{
	int64_t now = amp_clock_realtime();

	for (unsigned i = 0; i < b->parked_count; i++)
		check_time(&b->parked[i].read_ns, now);
	for (unsigned i = 0; i < b->count; i++)
		check_time(&b->buffer[i].read_ns, now);
}

struct buffers *buffers_map(int fd, unsigned count, unsigned parked, bool *inherited)
{
	size_t size = amp_buffers_size(count, parked);
	struct buffers *b = NULL;
	struct stat st;
	void *map;

	if (count == 0 || count > AMP_BUFFERS_MAX || parked == 0 || parked > AMP_BUFFERS_PARKED ||
	    fstat(fd, &st) != 0 || (size_t)st.st_size != size) {
		close(fd);
		errno = EINVAL;
		return NULL;
	}
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return NULL;
	b = calloc(1, sizeof(*b));
	if (b) {
		b->open = calloc(count, sizeof(*b->open));
		b->free_parked = calloc(parked, sizeof(*b->free_parked));
	}
	if (!b || !b->open || !b->free_parked) {
		munmap(map, size);
		if (b) {
			free(b->open);
			free(b->free_parked);
		}
		free(b);
		return NULL;
	}
	b->head = map;
	b->parked = (struct amp_parked *)((uint8_t *)map + 4096);
	b->buffer = (struct amp_buffer *)(b->parked + parked);
	b->size = size;
	b->count = count;
	b->parked_count = parked;
	*inherited = b->head->magic == AMP_BUFFERS_MAGIC;
	b->head->magic = AMP_BUFFERS_MAGIC;
	b->head->count = count;
	b->head->parked = parked;
	for (unsigned i = parked; i-- > 0;)
		if (b->parked[i].used != 1)
			b->free_parked[b->free_parked_count++] = i;
	/* What a predecessor left is looked at before a buffer may be used again. */
	for (unsigned i = 0; i < count; i++)
		b->open[i] = is_blank(&b->buffer[i]) ? 0 : FILLING;
	if (*inherited)
		check_times(b);
	return b;
}

void buffers_free(struct buffers *b)
{
	if (!b)
		return;
	munmap(b->head, b->size);
	free(b->open);
	free(b->free_parked);
	free(b);
}

static int find_free(const struct buffers *b)
{
	for (unsigned i = 0; i < b->count; i++)
		if (b->open[i] == 0)
			return (int)i;
	return -1;
}

bool buffers_have_free(const struct buffers *b)
{
	return find_free(b) >= 0;
}

static void wipe(struct amp_buffer *buf)
{
	size_t used = buf->used <= AMP_BUFFER_SIZE ? buf->used : AMP_BUFFER_SIZE;

	/* A predecessor may have died between read(2) and noting its length. */
	memset(buf->data, 0, used ? used : AMP_BUFFER_SIZE);
	memset(buf->state, 0, sizeof(buf->state));
	buf->used = 0;
}

ssize_t buffers_read(struct buffers *b, int group, unsigned *index, const uint8_t **data)
{
	int i = find_free(b);
	struct amp_buffer *buf;
	ssize_t n;

	if (i < 0) {
		errno = ENOBUFS;
		return -1;
	}
	buf = &b->buffer[i];
	if (!is_blank(buf))
		wipe(buf);
	buf->read_ns = amp_clock_realtime();
	n = read(group, buf->data, AMP_BUFFER_SIZE);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
	buf->used = (uint32_t)n;
	b->open[i] = FILLING;
	*index = (unsigned)i;
	*data = buf->data;
	return n;
}

void buffers_filled(struct buffers *b, unsigned index, unsigned count)
{
	unsigned open = 0;

	for (unsigned i = 0; i < count && i < AMP_BUFFER_EVENTS; i++)
		if (!(b->buffer[index].state[i] & AMP_EVENT_CONCLUDED))
			open++;
	b->open[index] = open;
	if (open == 0)
		wipe(&b->buffer[index]);
}

static uint32_t *state_of(const struct buffers *b, struct event_slot s)
{
	if (s.kind == SLOT_BUFFER && s.buffer < b->count && s.index < AMP_BUFFER_EVENTS)
		return &b->buffer[s.buffer].state[s.index];
	if (s.kind == SLOT_PARKED && s.index < b->parked_count)
		return &b->parked[s.index].state;
	return NULL;
}

void buffers_conclude(struct buffers *b, struct event_slot s)
{
	uint32_t *state = state_of(b, s);

	if (!state || (*state & AMP_EVENT_CONCLUDED))
		return;
	*state |= AMP_EVENT_CONCLUDED;
	if (s.kind == SLOT_PARKED) {
		b->parked[s.index].used = 0;
		b->free_parked[b->free_parked_count++] = s.index;
		return;
	}
	if (b->open[s.buffer] == FILLING || b->open[s.buffer] == 0)
		return;
	if (--b->open[s.buffer] == 0)
		wipe(&b->buffer[s.buffer]);
}

void buffers_in_hand(struct buffers *b, struct event_slot s, bool in_hand)
{
	uint32_t *state = state_of(b, s);

	if (!state || (*state & AMP_EVENT_CONCLUDED))
		return;
	if (in_hand)
		*state |= AMP_EVENT_IN_HAND;
	else
		*state &= ~AMP_EVENT_IN_HAND;
}

unsigned buffers_tries(const struct buffers *b, struct event_slot s)
{
	const uint32_t *state = state_of(b, s);

	return state ? *state & AMP_EVENT_TRIES : 0;
}

bool buffers_is_concluded(const struct buffers *b, struct event_slot s)
{
	const uint32_t *state = state_of(b, s);

	return state && (*state & AMP_EVENT_CONCLUDED);
}

int64_t buffers_time(const struct buffers *b, struct event_slot s)
{
	if (s.kind == SLOT_BUFFER && s.buffer < b->count)
		return b->buffer[s.buffer].read_ns;
	if (s.kind == SLOT_PARKED && s.index < b->parked_count)
		return b->parked[s.index].read_ns;
	return amp_clock_realtime();
}

int buffers_park(struct buffers *b, struct event_slot *slot, const void *record, size_t n)
{
	struct amp_parked *p;
	unsigned i;

	if (slot->kind != SLOT_BUFFER || n > sizeof(p->data) || b->free_parked_count == 0) {
		errno = ENOSPC;
		return -1;
	}
	i = b->free_parked[--b->free_parked_count];
	p = &b->parked[i];
	memcpy(p->data, record, n);
	p->length = (uint32_t)n;
	p->read_ns = buffers_time(b, *slot);
	p->state = buffers_tries(b, *slot);
	p->used = 1; /* last: from here a successor finds it here (as well) */
	buffers_conclude(b, *slot);
	*slot = (struct event_slot){.kind = SLOT_PARKED, .index = (uint16_t)i};
	return 0;
}

int64_t buffers_oldest(const struct buffers *b)
{
	int64_t oldest = 0;

	for (unsigned i = 0; i < b->count; i++)
		if (b->open[i] && (oldest == 0 || b->buffer[i].read_ns < oldest))
			oldest = b->buffer[i].read_ns;
	for (unsigned i = 0; i < b->parked_count; i++)
		if (b->parked[i].used == 1 && (oldest == 0 || b->parked[i].read_ns < oldest))
			oldest = b->parked[i].read_ns;
	return oldest;
}

unsigned buffers_parked(const struct buffers *b)
{
	return b->parked_count - b->free_parked_count;
}

/* An event that was in hand when our predecessor died has cost one life. */
static void count_try(uint32_t *state)
{
	if (!(*state & AMP_EVENT_IN_HAND))
		return;
	*state &= ~AMP_EVENT_IN_HAND;
	if ((*state & AMP_EVENT_TRIES) < AMP_EVENT_TRIES)
		(*state)++;
}

bool buffers_inherited(struct buffers *b, unsigned *cursor, unsigned *index, const uint8_t **data, size_t *n)
{
	while (*cursor < b->count) {
		unsigned i = (*cursor)++;
		struct amp_buffer *buf = &b->buffer[i];

		if (b->open[i] != FILLING)
			continue;
		for (unsigned e = 0; e < AMP_BUFFER_EVENTS; e++)
			count_try(&buf->state[e]);
		*index = i;
		*data = buf->data;
		*n = buf->used && buf->used <= AMP_BUFFER_SIZE ? buf->used : AMP_BUFFER_SIZE;
		return true;
	}
	return false;
}

bool buffers_inherited_parked(struct buffers *b, unsigned *cursor, struct event_slot *slot,
			      const uint8_t **data, size_t *n)
{
	while (*cursor < b->parked_count) {
		unsigned i = (*cursor)++;
		struct amp_parked *p = &b->parked[i];

		if (p->used != 1)
			continue;
		count_try(&p->state);
		p->state &= ~AMP_EVENT_CONCLUDED;
		*slot = (struct event_slot){.kind = SLOT_PARKED, .index = (uint16_t)i};
		*data = p->data;
		*n = p->length <= sizeof(p->data) ? p->length : 0;
		return true;
	}
	return false;
}
