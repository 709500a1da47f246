/*
 * ampcloudd/ecs.h - a row of events.db as one line of JSON, with the field
 * names of the Elastic Common Schema (docs/configuration.md, "events.json").
 *
 * Owns: the form of the line; valid JSON whatever bytes are in the row; how a
 * line is told by its end. Must not own: files, the database.
 */
#ifndef AMPCLOUDD_ECS_H
#define AMPCLOUDD_ECS_H

#include "proto/cli.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ECS_NAME_SIZE 17 /* of a database: 16 hex digits and a NUL */
#define ECS_END_MAX   64 /* bytes that ecs_ending() has to see */

/* A text that grows; zeroes are an empty one. ecs_free() when it is needed no longer. */
struct ecs_text {
	char *data;
	size_t size, room;
	bool failed; /* no memory: what was added last is not there */
};
void ecs_free(struct ecs_text *t);

struct ecs_source {
	const char *host_id;
	const char *database; /* its name; numbers are its */
	int64_t now_ns;	      /* event.created */
};

/* Replaces *t by the line, its newline included. 0, or -1 ENOMEM. */
int ecs_line(struct ecs_text *t, const Amp__CliHistoryEntry *e, const struct ecs_source *from);

/*
 * Whether the n bytes are the end of a whole line, without its newline: then its
 * database and number. Nothing in a row can look like it, torn or not: quotes
 * of a row's texts are escaped.
 */
bool ecs_ending(const void *bytes, size_t n, char database[ECS_NAME_SIZE], uint64_t *number);

#endif
