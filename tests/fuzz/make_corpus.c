/*
 * tests/fuzz/make_corpus.c - first inputs for fuzz_message and fuzz_cli:
 * every message type empty and with each field filled, by its descriptor.
 *
 *     make_corpus tests/fuzz/corpus
 *
 * Owns: the files it writes below DIR/message and DIR/cli.
 */
#include "tables.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS 2

static uint8_t sample_bytes[] = {'/', 's', 'r', 'v', '/', 0xe4, 0x00, 0x7f};
static char sample_string[] = "sample \xc3\xa4";
static const char *corpus;

/* Zeroed, from one block that lives as long as the program, which is short. */
static void *allocate(size_t n)
{
	static _Alignas(16) uint8_t block[1024 * 1024];
	static size_t used;
	void *p = block + used;

	if (n > sizeof(block) - used - 16)
		exit(1);
	used += (n + 15) / 16 * 16;
	return p;
}

static ProtobufCMessage *filled(const ProtobufCMessageDescriptor *d);

static size_t width(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	default:
		return sizeof(uint32_t);
	}
}

static void fill_scalar(const ProtobufCFieldDescriptor *f, void *at)
{
	const ProtobufCEnumDescriptor *e = f->descriptor;
	uint64_t value = 0x123456789U;
	int small = f->type == PROTOBUF_C_TYPE_BOOL ? 1 : 0x4321;

	if (f->type == PROTOBUF_C_TYPE_ENUM)
		small = e->values[e->n_values - 1].value;
	if (width(f->type) == sizeof(value))
		memcpy(at, &value, sizeof(value));
	else
		memcpy(at, &small, sizeof(small));
}

static void fill_element(const ProtobufCFieldDescriptor *f, void *at)
{
	ProtobufCBinaryData bytes = {sizeof(sample_bytes), sample_bytes};
	char *string = sample_string;
	ProtobufCMessage *sub;

	switch (f->type) {
	case PROTOBUF_C_TYPE_BYTES:
		memcpy(at, &bytes, sizeof(bytes));
		break;
	case PROTOBUF_C_TYPE_STRING:
		memcpy(at, &string, sizeof(string));
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		sub = filled(f->descriptor);
		memcpy(at, &sub, sizeof(sub));
		break;
	default:
		fill_scalar(f, at);
	}
}

static void fill_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	uint8_t *base = (uint8_t *)m, *array;
	size_t n = REPEATS;

	if (f->label != PROTOBUF_C_LABEL_REPEATED) {
		fill_element(f, base + f->offset);
		return;
	}
	array = allocate(n * width(f->type));
	for (size_t i = 0; i < n; i++)
		fill_element(f, array + i * width(f->type));
	memcpy(base + f->quantifier_offset, &n, sizeof(n));
	memcpy(base + f->offset, &array, sizeof(array));
}

static ProtobufCMessage *filled(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = allocate(d->sizeof_message);

	d->message_init(m);
	for (unsigned i = 0; i < d->n_fields; i++)
		fill_field(m, &d->fields[i]);
	return m;
}

static void write_file(const char *kind, const char *name, const char *suffix, const uint8_t *data, size_t n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s-%s", corpus, kind, name, suffix);
	f = fopen(path, "w");
	if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
}

static void write_message(const struct amp_dispatch *row, const char *suffix, const ProtobufCMessage *m)
{
	static uint8_t buf[FUZZ_MESSAGE_PREFIX + AMP_MSG_MAX];
	size_t n = amp_message_pack(buf + FUZZ_MESSAGE_PREFIX, AMP_MSG_MAX, row->type, 1, m);

	buf[0] = row->states ? (uint8_t)row->states : 1;
	buf[1] = row->max_fds;
	write_file("message", row->descriptor->short_name, suffix, buf, FUZZ_MESSAGE_PREFIX + n);
}

static size_t add_datagram(uint8_t *to, const struct amp_dispatch *row, const ProtobufCMessage *m,
			   uint8_t fds)
{
	size_t n = amp_message_pack(to + FUZZ_CLI_PREFIX, AMP_MSG_MAX, row->type, 1, m);

	to[0] = (uint8_t)n;
	to[1] = (uint8_t)(n >> 8);
	to[2] = fds;
	return FUZZ_CLI_PREFIX + n;
}

/* A request by itself, twice in a row, and one with a descriptor. */
static void write_cli(const struct amp_dispatch *row, const ProtobufCMessage *m)
{
	static uint8_t buf[2 * (FUZZ_CLI_PREFIX + AMP_MSG_MAX)];
	size_t n = add_datagram(buf, row, m, 0);

	write_file("cli", row->descriptor->short_name, "one", buf, n);
	n += add_datagram(buf + n, row, m, 0);
	write_file("cli", row->descriptor->short_name, "two", buf, n);
	n = add_datagram(buf, row, m, 1);
	write_file("cli", row->descriptor->short_name, "fd", buf, n);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make_corpus DIRECTORY\n");
		return 2;
	}
	corpus = argv[1];
	for (size_t i = 0; i < FUZZ_ROWS; i++) {
		const struct amp_dispatch *row = &fuzz_rows[i];
		ProtobufCMessage *empty = allocate(row->descriptor->sizeof_message);

		row->descriptor->message_init(empty);
		write_message(row, "empty", empty);
		if (row->descriptor->n_fields > 0)
			write_message(row, "full", filled(row->descriptor));
		if (row->type >> 8 == AMP_MSG_CLI_STATUS >> 8)
			write_cli(row, filled(row->descriptor));
	}
	return 0;
}
