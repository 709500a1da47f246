/*
 * ampcloudd/check.h - is an event what the protocol allows?
 * Owns: the bounds of every field (docs/protocol.md, "Limits"). Must not own:
 * what follows for the sender.
 */
#ifndef AMPCLOUDD_CHECK_H
#define AMPCLOUDD_CHECK_H

#include "proto/event.pb-c.h"

#include <stdbool.h>

#define CHECK_UID_MAX	 128
#define CHECK_WORD_MAX	 32 /* type, mode, cause */
#define CHECK_NAME_MAX	 255
#define CHECK_DETAIL_MAX 4096
#define CHECK_EXE_MAX	 8192 /* link text of /proc/PID/exe */

/* NULL: sound; else the name of the first field that is not. */
const char *check_event(const Amp__Event *e);

/* [a-z_]{1,32} */
bool check_type(const char *type);
/* 8-4-4-4-12 hex digits. */
bool check_uuid(const char *text);

#endif
