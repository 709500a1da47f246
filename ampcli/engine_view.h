/*
 * ampcli/engine_view.h - the offline engine as ampscand tells of it, for more
 * than one command.
 *
 * Owns: the questions, what makes an answer believable, ages of signatures.
 * Must not own: what is printed of it.
 */
#ifndef AMPCLI_ENGINE_VIEW_H
#define AMPCLI_ENGINE_VIEW_H

#include "client.h"
#include "proto/cli.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

extern const struct client_request definitions_request;
extern const struct client_request brake_request;

bool definitions_sound(const Amp__CliDefinitionsReply *r);
/* The newest of its sets; 0: none. */
int64_t definitions_time(const Amp__CliDefinitionsReply *r);
/* "3 hours old" in buf. */
void definitions_age(int64_t time_ns, char *buf, size_t size);

#endif
