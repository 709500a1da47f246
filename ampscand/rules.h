/*
 * ampscand/rules.h - the policy in force: lists, exclusions, their hits.
 *
 * Owns: the entries as ampmon sends them, look-up, hit counters, the check
 * that nobody but root can change what a process exclusion names. Must not
 * own: what is done with an answer.
 */
#ifndef AMPSCAND_RULES_H
#define AMPSCAND_RULES_H

#include "restored.h"
#include "who.h"

#include "proto/cli.pb-c.h"
#include "proto/control.pb-c.h"
#include "sha256.h"

#define RULES_MAX      4000000U
#define RULES_SCHEDULE 16U /* times of scans */

struct rule {
	Amp__PolicyEntry__Kind kind;
	uint8_t sha256[AMP_SHA256_SIZE];
	char *text; /* NUL-terminated; detection name, path, pattern, extension; may be NULL */
	bool has_uid;
	uid_t uid;
	uint32_t line;
	uint64_t hits;
	const char *warning; /* NULL, or why the exclusion is unsafe */
	/* EXCLUDE_PROCESS: the program's inode, looked up again after a second. */
	int64_t checked_ns;
	uint64_t dev, ino; /* 0: not there, or not only root's */
};

struct rules {
	uint64_t epoch;
	char *name;
	uint32_t serial;
	bool protect;
	bool engine; /* what is on no list goes to it */
	uint64_t max_file_size, max_archive_size;
	char **schedule; /* scans on demand */
	size_t schedule_count;
	unsigned scan_cpu; /* percent of the processors that these may take */
	struct rule *rule;
	size_t count, capacity;
	uint32_t *index; /* open addressing over the hash lists: rule number + 1 */
	size_t index_size;
	size_t exclusion_count;
	size_t *exclusions; /* numbers of the rules that exclude */
	/* Not the policy's, and not freed with it; NULL: none. */
	const struct restored *restored;
	struct rule as_restored; /* what such content is on */
};

/* An empty set in construction. NULL: bounds broken or ENOMEM. */
struct rules *rules_new(const Amp__PolicyBegin *begin);
/* 0, or -1: breaks the protocol. */
int rules_add(struct rules *r, const Amp__PolicyEntry *entry);
/* All are in: builds the index. 0, or -1 ENOMEM. */
int rules_seal(struct rules *r);
void rules_free(struct rules *r);

/* Entry of a hash; restored content is allowed, and allowed wins over blocked. NULL: on no
 * list. Who decides by it counts the hit. */
struct rule *rules_lookup(struct rules *r, const uint8_t sha256[AMP_SHA256_SIZE]);
/* The answer stands for restored content: no list's. */
bool rule_is_restored(const struct rules *r, const struct rule *rule);
/* First exclusion that covers the path (NULL: unknown) or, for what a process wrote, the process. */
struct rule *rules_exclude(struct rules *r, const char *path, const struct who *who, bool by_process);

/* For ampcli. */
const char *rule_kind_name(const struct rule *r);

#endif
