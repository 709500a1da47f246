/*
 * ampcli/out.h - how things are shown: hostile bytes escaped for a terminal,
 * whole and exact in JSON.
 *
 * Owns: escaping, times, hex, numbers, the form of what several commands show.
 * Must not own: asking.
 */
#ifndef AMPCLI_OUT_H
#define AMPCLI_OUT_H

#include "proto/cli.pb-c.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Text; whatever it holds, a terminal sees printable text. */
void out_text(FILE *f, const char *text);
void out_bytes(FILE *f, const ProtobufCBinaryData *bytes);
void out_padded(FILE *f, const char *text, int width);
void out_time(FILE *f, int64_t realtime_ns); /* "-" for 0 */
void out_hex(FILE *f, const void *bytes, size_t n);

/* "12,345" in buf; returns buf. */
const char *out_number(uint64_t n, char *buf, size_t size);
/* "1 file", "12,345 files" in buf: n of what takes an s; returns buf. */
const char *out_count(uint64_t n, const char *what, char *buf, size_t size);

/* Members of a JSON object. */
void out_json_text(json_object *o, const char *key, const char *text);
void out_json_number(json_object *o, const char *key, uint64_t n);
void out_json_bool(json_object *o, const char *key, bool is);
void out_json_time(json_object *o, const char *key, int64_t realtime_ns); /* null for 0 */
void out_json_hex(json_object *o, const char *key, const ProtobufCBinaryData *bytes);
/* Bytes that need not be UTF-8: then `key` is escaped and key_bytes is exact, in hex. */
void out_json_bytes(json_object *o, const char *key, const ProtobufCBinaryData *bytes);
void out_json_texts(json_object *o, const char *key, char **texts, size_t n);
/* Likewise a list: key_bytes, where one is not UTF-8, has all of them. */
void out_json_bytes_list(json_object *o, const char *key, const ProtobufCBinaryData *list, size_t n);

/* Prints the one document of a command and frees it. */
void out_json_print(FILE *f, json_object *o);

/* An array by hand, as its items come: json-c would need the whole of it in memory. Frees o. */
void out_json_item(FILE *f, json_object *o, bool first);
void out_json_end(FILE *f, bool empty);

#endif
