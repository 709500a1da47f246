/*
 * ampcli/out.c - how things are shown (see out.h).
 */
#include "out.h"

#include "clock.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

static void escaped(FILE *f, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	char buf[512];
	size_t taken;

	for (; n > 0; p += taken, n -= taken) {
		fwrite(buf, 1, amp_text_escape_some(p, n, buf, sizeof(buf), &taken), f);
		if (taken == 0)
			return;
	}
}

void out_text(FILE *f, const char *text)
{
	escaped(f, text, strlen(text));
}

void out_bytes(FILE *f, const ProtobufCBinaryData *bytes)
{
	escaped(f, bytes->data, bytes->len);
}

void out_padded(FILE *f, const char *text, int width)
{
	char buf[512];
	size_t taken, n = strlen(text);

	amp_text_escape_some(text, n, buf, sizeof(buf), &taken);
	fprintf(f, "%-*s", width, buf);
	/* Longer than any column: whole all the same. */
	escaped(f, text + taken, n - taken);
}

void out_time(FILE *f, int64_t realtime_ns)
{
	char buf[32];

	fputs(realtime_ns ? amp_clock_rfc3339(realtime_ns, buf, sizeof(buf)) : "-", f);
}

const char *out_number(uint64_t n, char *buf, size_t size)
{
	char digits[24];
	size_t length = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), to = 0;

	for (size_t i = 0; i < length && to + 2 < size; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			buf[to++] = ',';
		buf[to++] = digits[i];
	}
	buf[to] = '\0';
	return buf;
}

const char *out_count(uint64_t n, const char *what, char *buf, size_t size)
{
	char number[32];

	snprintf(buf, size, "%s %s%s", out_number(n, number, sizeof(number)), what, n == 1 ? "" : "s");
	return buf;
}

void out_hex(FILE *f, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++)
		fprintf(f, "%02x", p[i]);
}

void out_json_text(json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

void out_json_number(json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

void out_json_bool(json_object *o, const char *key, bool is)
{
	json_object_object_add(o, key, json_object_new_boolean(is));
}

void out_json_time(json_object *o, const char *key, int64_t realtime_ns)
{
	char buf[32];

	json_object_object_add(
		o, key,
		realtime_ns ? json_object_new_string(amp_clock_rfc3339(realtime_ns, buf, sizeof(buf)))
			    : NULL);
}

/* Hex of bytes, malloc'd. NULL: no memory. */
static char *hex_of(const ProtobufCBinaryData *bytes)
{
	char *text = malloc(2 * bytes->len + 1);

	if (!text)
		return NULL;
	text[0] = '\0';
	for (size_t i = 0; i < bytes->len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes->data[i]);
	return text;
}

static void add_owned(json_object *o, const char *key, char *text)
{
	json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
	free(text);
}

void out_json_hex(json_object *o, const char *key, const ProtobufCBinaryData *bytes)
{
	add_owned(o, key, hex_of(bytes));
}

static json_object *string_of(const ProtobufCBinaryData *bytes)
{
	return json_object_new_string_len((const char *)bytes->data, (int)bytes->len);
}

/* Whole but escaped, malloc'd. NULL: no memory. */
static char *escaped_of(const ProtobufCBinaryData *bytes)
{
	size_t room = 4 * bytes->len + 1;
	char *text = malloc(room);

	if (text)
		amp_text_escape(bytes->data, bytes->len, text, room);
	return text;
}

void out_json_bytes(json_object *o, const char *key, const ProtobufCBinaryData *bytes)
{
	char exact[64];

	if (amp_text_is_utf8(bytes->data, bytes->len)) {
		json_object_object_add(o, key, string_of(bytes));
		return;
	}
	add_owned(o, key, escaped_of(bytes));
	snprintf(exact, sizeof(exact), "%s_bytes", key);
	out_json_hex(o, exact, bytes);
}

void out_json_texts(json_object *o, const char *key, char **texts, size_t n)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, json_object_new_string(texts[i]));
	json_object_object_add(o, key, list);
}

static void append_owned(json_object *list, char *text)
{
	json_object_array_add(list, text ? json_object_new_string(text) : NULL);
	free(text);
}

void out_json_bytes_list(json_object *o, const char *key, const ProtobufCBinaryData *list, size_t n)
{
	json_object *shown = json_object_new_array(), *exact = json_object_new_array();
	char name[64];
	bool all = true;

	for (size_t i = 0; i < n; i++) {
		bool utf8 = amp_text_is_utf8(list[i].data, list[i].len);

		if (utf8)
			json_object_array_add(shown, string_of(&list[i]));
		else
			append_owned(shown, escaped_of(&list[i]));
		append_owned(exact, hex_of(&list[i]));
		all = all && utf8;
	}
	json_object_object_add(o, key, shown);
	snprintf(name, sizeof(name), "%s_bytes", key);
	if (all)
		json_object_put(exact);
	else
		json_object_object_add(o, name, exact);
}

void out_json_print(FILE *f, json_object *o)
{
	fputs(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
							JSON_C_TO_STRING_NOSLASHESCAPE),
	      f);
	fputc('\n', f);
	json_object_put(o);
}

void out_json_item(FILE *f, json_object *o, bool first)
{
	fputs(first ? "[\n" : ",\n", f);
	fputs(json_object_to_json_string_ext(o, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE), f);
	json_object_put(o);
}

void out_json_end(FILE *f, bool empty)
{
	fputs(empty ? "[]\n" : "\n]\n", f);
}
