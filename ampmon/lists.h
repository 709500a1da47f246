/*
 * ampmon/lists.h - the text lists of a policy: hashes and exclusions.
 *
 * Owns: the form of a line, the checks of an entry, what is wrong with it by
 * line. Must not own: which lists a policy has, sending them, decisions.
 */
#ifndef AMPMON_LISTS_H
#define AMPMON_LISTS_H

#include "proto/control.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_LIST_FILE_MAX     (128U * 1024U * 1024U)
#define MON_LIST_ENTRIES_MAX  (1024U * 1024U) /* of a policy */
#define MON_LIST_TEXT_MAX     32768U	      /* AMP_PATH_MAX */
#define MON_LIST_NAME_MAX     255U	      /* of a detection or extension */
#define MON_LIST_PROBLEMS_MAX 100U	      /* the rest is counted */

struct mon_entry {
	Amp__PolicyEntry__Kind kind;
	uint32_t line;
	uint32_t uid; /* EXCLUDE_PROCESS with has_uid */
	bool has_uid;
	uint8_t sha256[32];
	uint32_t text_length;
	char *text; /* bytes, NUL behind them; NULL: none */
};

struct mon_list {
	struct mon_entry *entries;
	size_t count, room;
	char **problems; /* "file:line: what; remedy", NULL-terminated */
	size_t problem_count, problems_more;
};

/* Uid of a name or number as `process PATH user X` has it. 0 or -1. NULL: /etc/passwd itself. */
typedef int mon_list_user(const char *name, uint32_t *uid);

/* What a file's lines are: BLOCKED, ALLOWED, or EXCLUDE_PATH for all exclusions.
 * Adds entries and problems. 0, or -1 ENOMEM. */
int mon_list_parse(struct mon_list *l, const char *file, Amp__PolicyEntry__Kind kind, const char *text,
		   size_t length, mon_list_user *user);
/* Reads the file (root's alone) and parses it. One that cannot be read is a problem. 0, or -1 ENOMEM. */
int mon_list_read(struct mon_list *l, const char *path, const char *name, Amp__PolicyEntry__Kind kind);
/* A problem of the caller's: line 0 for none. 0, or -1 ENOMEM. */
int mon_list_problem(struct mon_list *l, const char *file, uint32_t line, const char *what);
/* Appends "and N more" if problems were only counted. 0, or -1 ENOMEM. */
int mon_list_finish(struct mon_list *l);
void mon_list_free(struct mon_list *l);

#endif
