/*
 * ampquard/say.c - what the I/O thread wants to be said in the loop.
 *
 * Owns: effects, and that one about a state waits for the commit of that state.
 * Must not own: sending them (room.c).
 */
#include "quard.h"

#include "log.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct effect *effect_new(enum effect_to to)
{
	struct effect *e = calloc(1, sizeof(*e));

	if (e)
		e->to = to;
	return e;
}

void effect_free(struct effect *e)
{
	if (e->body)
		protobuf_c_message_free_unpacked(e->body, NULL);
	free(e);
}

void effects_drop(struct effects *list)
{
	struct effect *e;

	while ((e = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, link);
		effect_free(e);
	}
}

static void say(struct keeper *k, struct effect *e, bool after_commit)
{
	if (after_commit && k->in_transaction)
		STAILQ_INSERT_TAIL(&k->after_commit, e, link);
	else
		STAILQ_INSERT_TAIL(&k->effects, e, link);
}

ProtobufCMessage *message_copy(const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *buf = malloc(n ? n : 1);
	ProtobufCMessage *copy;

	if (!buf)
		return NULL;
	protobuf_c_message_pack(m, buf);
	copy = protobuf_c_message_unpack(m->descriptor, NULL, n, buf);
	free(buf);
	return copy;
}

void say_scand(struct keeper *k, uint16_t type, uint64_t id, ProtobufCMessage *body, bool after_commit)
{
	struct effect *e = body && k->link ? effect_new(EFFECT_SCAND) : NULL;

	if (!e) {
		if (body)
			protobuf_c_message_free_unpacked(body, NULL);
		return; /* whoever waits asks again on the next link */
	}
	e->type = type;
	e->id = id;
	e->serial = k->link;
	e->body = body;
	say(k, e, after_commit);
}

void say_client(struct keeper *k, const struct request *r, uint16_t type, ProtobufCMessage *body,
		bool after_commit)
{
	struct effect *e = body ? effect_new(EFFECT_CLIENT) : NULL;

	if (!e) {
		if (body)
			protobuf_c_message_free_unpacked(body, NULL);
		return;
	}
	e->type = type;
	e->id = r->id;
	e->serial = r->serial;
	e->body = body;
	say(k, e, after_commit);
}

void say_error(struct keeper *k, const struct request *r, int code, const char *fmt, ...)
{
	struct effect *e = effect_new(EFFECT_ERROR);
	char text[sizeof(e->text)];
	va_list ap;

	if (!e)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	amp_text_escape(text, strlen(text), e->text, sizeof(e->text));
	e->code = code;
	e->id = r->id;
	e->serial = r->serial;
	say(k, e, false);
}

void say_fault(struct keeper *k, enum amp_fault_number n, bool raised, const char *text)
{
	struct effect *e = effect_new(EFFECT_FAULT);

	if (!e)
		return;
	e->fault = n;
	e->raised = raised;
	amp_text_escape(text, strlen(text), e->text, sizeof(e->text));
	say(k, e, false);
}
