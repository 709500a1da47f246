/*
 * ampquard/storerow.c - columns and packed messages read with suspicion (see
 * store_private.h): the file may have been changed by others, so every type,
 * length and range is looked at before it is used.
 */
#include "store_private.h"

#include "arena.h"
#include "channel.h"
#include "text.h"

#include "eventcheck.h"

#include <stdlib.h>
#include <string.h>

#define UNPACKED_MAX (1U << 20) /* as a channel allows a body */

static void is_ill(struct store_row *r, int column)
{
	if (!r->ill)
		r->ill = sqlite3_column_name(r->stmt, column);
	if (!r->ill) /* no memory for the name */
		r->ill = "a column";
}

int64_t store_row_number(struct store_row *r, int column, int64_t min, int64_t max)
{
	int64_t value = sqlite3_column_int64(r->stmt, column);

	if (sqlite3_column_type(r->stmt, column) == SQLITE_INTEGER && value >= min && value <= max)
		return value;
	is_ill(r, column);
	return min;
}

uint64_t store_row_bits(struct store_row *r, int column)
{
	return (uint64_t)store_row_number(r, column, INT64_MIN, INT64_MAX);
}

/* A text with a NUL in it is none: its length is SQLite's, not the NUL's. */
void store_row_text(struct store_row *r, int column, char *buf, size_t size)
{
	const unsigned char *text;
	size_t n;

	buf[0] = '\0';
	if (sqlite3_column_type(r->stmt, column) != SQLITE_TEXT) {
		is_ill(r, column);
		return;
	}
	text = sqlite3_column_text(r->stmt, column);
	n = (size_t)sqlite3_column_bytes(r->stmt, column);
	if (!text || n >= size || !amp_text_is_utf8(text, n)) {
		is_ill(r, column);
		return;
	}
	memcpy(buf, text, n);
	buf[n] = '\0';
}

void store_row_uuid(struct store_row *r, int column, char buf[VAULT_ID_SIZE])
{
	store_row_text(r, column, buf, VAULT_ID_SIZE);
	if (!store_is_uuid(buf)) {
		is_ill(r, column);
		buf[0] = '\0';
	}
}

const uint8_t *store_row_blob(struct store_row *r, int column, size_t max, size_t *size)
{
	const void *data = NULL;

	*size = 0;
	if (sqlite3_column_type(r->stmt, column) == SQLITE_BLOB) {
		data = sqlite3_column_blob(r->stmt, column);
		*size = (size_t)sqlite3_column_bytes(r->stmt, column);
		if (*size == 0)
			return (const uint8_t *)"";
	}
	if (data && *size <= max)
		return data;
	is_ill(r, column);
	*size = 0;
	return (const uint8_t *)"";
}

void store_row_exact(struct store_row *r, int column, uint8_t *buf, size_t size)
{
	size_t n;
	const uint8_t *data = store_row_blob(r, column, size, &n);

	if (n == size)
		memcpy(buf, data, size);
	else
		is_ill(r, column);
}

bool store_is_uuid(const char *text)
{
	return amp_event_uuid_valid(text);
}

bool store_is_path(const void *path, size_t size)
{
	return size <= AMP_PATH_MAX && (size == 0 || !memchr(path, 0, size));
}

bool store_is_name(const void *name, size_t size)
{
	const char *text = name;

	if (size == 0)
		return true;
	if (size > AMP_NAME_MAX || memchr(text, 0, size) || memchr(text, '/', size))
		return false;
	return text[0] != '.' || !(size == 1 || (size == 2 && text[1] == '.'));
}

/* --- packed messages --------------------------------------------------- */

/* The blob as a datagram: the checks of a channel are the ones of the database. */
static const char *check_packed(const struct amp_dispatch *row, const uint8_t *datagram, size_t length,
				struct amp_arena *arena)
{
	const struct amp_dispatch *found;
	const ProtobufCMessage *body;
	struct amp_wire_header header;
	const char *why = "";

	if (amp_message_check(row, 1, 0, datagram, length, 0, arena, &found, &header, &body, &why))
		return why;
	return NULL;
}

ProtobufCMessage *store_unpack(const ProtobufCMessageDescriptor *d, const void *data, size_t size,
			       const char **why)
{
	const struct amp_dispatch row = {.type = AMP_MSG_EVENT,
					 .descriptor = d,
					 .max_length = AMP_MSG_MAX - sizeof(struct amp_wire_header)};
	struct amp_wire_header header = {
		.version = AMP_WIRE_VERSION, .type = AMP_MSG_EVENT, .length = (uint32_t)size};
	ProtobufCMessage *m = NULL;
	struct amp_arena arena;
	uint8_t *datagram;

	*why = size > row.max_length ? "longer than a message" : NULL;
	if (*why || amp_arena_init(&arena, UNPACKED_MAX))
		return NULL;
	datagram = malloc(sizeof(header) + size);
	if (datagram) {
		memcpy(datagram, &header, sizeof(header));
		memcpy(datagram + sizeof(header), data, size);
		*why = check_packed(&row, datagram, sizeof(header) + size, &arena);
		if (!*why)
			m = protobuf_c_message_unpack(d, NULL, size, data);
	}
	free(datagram);
	amp_arena_free(&arena);
	return m;
}

uint8_t *store_pack(const ProtobufCMessage *m, size_t *size)
{
	uint8_t *data;

	*size = protobuf_c_message_get_packed_size(m);
	if (*size > AMP_MSG_MAX - sizeof(struct amp_wire_header)) {
		*size = 0;
		return NULL;
	}
	data = malloc(*size + 1); /* an empty message is no lack of memory */
	if (data)
		protobuf_c_message_pack(m, data);
	return data;
}
