/*
 * lib/eventcheck.h - is an event what the protocol allows?
 * Owns: the bounds of every field (docs/protocol.md, "Limits"). Must not own:
 * what follows for the sender.
 */
#ifndef AMP_EVENTCHECK_H
#define AMP_EVENTCHECK_H

#include "proto/event.pb-c.h"

#include <stdbool.h>

#define AMP_EVENT_UID_MAX    128
#define AMP_EVENT_WORD_MAX   32 /* type, mode, cause */
#define AMP_EVENT_NAME_MAX   255
#define AMP_EVENT_DETAIL_MAX 4096
#define AMP_EVENT_EXE_MAX    8192 /* link text of /proc/PID/exe */

/* NULL: sound; else the name of the first field that is not. */
const char *amp_event_check(const Amp__Event *e);

/* [a-z_]{1,32} */
bool amp_event_type_valid(const char *type);
/* 8-4-4-4-12 hex digits. */
bool amp_event_uuid_valid(const char *text);

#endif
