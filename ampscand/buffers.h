/*
 * ampscand/buffers.h - events in hand, in memory that outlives this process.
 *
 * Owns: the layout of the memfd that ampmon keeps for ampscand's successor: raw
 * read buffers with one state word an event, and parked records for events that
 * take long. Must not own: what an event means.
 * The content is our predecessor's: every count in it is checked.
 */
#ifndef AMPSCAND_BUFFERS_H
#define AMPSCAND_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AMP_BUFFER_SIZE	   65536U /* one read(2) of the group */
#define AMP_BUFFER_EVENTS  2730U  /* of the smallest event, 24 bytes */
#define AMP_BUFFERS_MAX	   256U
#define AMP_BUFFERS_PARKED 2048U /* slots */
#define AMP_PARKED_SIZE	   1024U /* of a slot */
#define AMP_BUFFERS_MAGIC  0x41425546U

#define AMP_EVENT_CONCLUDED 0x80000000U
#define AMP_EVENT_IN_HAND   0x40000000U
#define AMP_EVENT_TRIES	    0x000000ffU

struct amp_buffers_head {
	uint32_t magic, count, parked, reserved;
};

struct amp_buffer {
	uint32_t used; /* bytes read; only a hint for zeroing */
	uint32_t reserved;
	int64_t read_ns; /* realtime of the read */
	uint32_t state[AMP_BUFFER_EVENTS];
	uint8_t data[AMP_BUFFER_SIZE];
};

_Static_assert(offsetof(struct amp_buffer, data) % 8 == 0, "events are read in place");

struct amp_parked {
	uint32_t used;	/* 1: an event is here */
	uint32_t state; /* as of an event */
	int64_t read_ns;
	uint32_t length;
	uint8_t data[AMP_PARKED_SIZE - 20];
};
_Static_assert(sizeof(struct amp_parked) == AMP_PARKED_SIZE, "parked slot");

/* Bytes of the memfd; ampmon makes it of this size and seals it. */
static inline size_t amp_buffers_size(unsigned count, unsigned parked)
{
	return 4096 + (size_t)parked * sizeof(struct amp_parked) + (size_t)count * sizeof(struct amp_buffer);
}

struct buffers;

/* Where an event is kept. kind 0: nowhere (repairs, descriptors). */
struct event_slot {
	uint8_t kind; /* SLOT_NONE, SLOT_BUFFER, SLOT_PARKED */
	uint16_t buffer;
	uint16_t index; /* of the event in its buffer, or of the parked slot */
};
enum { SLOT_NONE = 0, SLOT_BUFFER, SLOT_PARKED };

/* Maps fd (taken over). NULL and errno. *inherited: a predecessor used it. */
struct buffers *buffers_map(int fd, unsigned count, unsigned parked, bool *inherited);
void buffers_free(struct buffers *b);

/* Reads the group into a free buffer. Returns bytes; 0: nothing to read; -1 and
 * errno (ENOBUFS: every buffer is busy). *index: the buffer. */
ssize_t buffers_read(struct buffers *b, int group, unsigned *index, const uint8_t **data);
/* All events of the buffer are on the way: count tells how many. */
void buffers_filled(struct buffers *b, unsigned index, unsigned count);
/* The event was concluded; its buffer or slot is freed with its last. */
void buffers_conclude(struct buffers *b, struct event_slot slot);
/* Around handling that could kill us; the third death on one event convicts it. */
void buffers_in_hand(struct buffers *b, struct event_slot slot, bool in_hand);
unsigned buffers_tries(const struct buffers *b, struct event_slot slot);
/* Moves the event out of its read buffer: record is kept instead. 0, or -1 ENOSPC. */
int buffers_park(struct buffers *b, struct event_slot *slot, const void *record, size_t n);
/* Time an event's buffer was read, realtime ns. */
int64_t buffers_time(const struct buffers *b, struct event_slot slot);
/* Oldest time in hand; 0: nothing. */
int64_t buffers_oldest(const struct buffers *b);
unsigned buffers_parked(const struct buffers *b);
bool buffers_have_free(const struct buffers *b);

/* The predecessor's: buffers with events, then parked slots. False: no (more). */
bool buffers_inherited(struct buffers *b, unsigned *cursor, unsigned *index, const uint8_t **data, size_t *n);
bool buffers_inherited_parked(struct buffers *b, unsigned *cursor, struct event_slot *slot,
			      const uint8_t **data, size_t *n);
bool buffers_is_concluded(const struct buffers *b, struct event_slot slot);

#endif
