/*
 * ampscand/verdicts.h - the verdict cache: what content a file was found with.
 *
 * Owns: (file system, handle) -> SHA-256, identity, epoch. A write, rename or
 * create event removes an entry; a broken chain of events empties it. Must not
 * own: decisions; what a SHA-256 means is asked of the rules in force each time.
 */
#ifndef AMPSCAND_VERDICTS_H
#define AMPSCAND_VERDICTS_H

#include "cache.h"
#include "fileid.h"
#include "sha256.h"

/* What became of this content of the file. */
enum verdict_mark {
	VERDICT_AUDITED = 1 << 0, /* convicted under Audit: a change to Protect does not move it */
	VERDICT_TAKEN = 1 << 1,	  /* ampquard has it in hand */
	VERDICT_LEFT = 1 << 2	  /* a signature's word was not acted upon, and that is recorded */
};

struct verdict {
	struct cache_node node;
	uint64_t epoch; /* of the policy it was last judged under */
	struct amp_identity identity;
	uint8_t sha256[AMP_SHA256_SIZE];
	unsigned marks;	       /* enum verdict_mark */
	bool script, archive;  /* what it begins like */
	bool racy;	       /* changed so shortly before that its times need not tell of another change */
	struct amp_fileid *id; /* behind the struct, as long as its handle */
};

struct verdicts {
	struct cache cache;
};

int verdicts_init(struct verdicts *v, size_t max);
void verdicts_free(struct verdicts *v);
const struct verdict *verdicts_find(struct verdicts *v, const struct amp_fileid *id);
void verdicts_store(struct verdicts *v, const struct amp_fileid *id, const struct amp_identity *identity,
		    const uint8_t sha256[AMP_SHA256_SIZE], bool script, bool archive, uint64_t epoch);
/* Of the file's entry, if its content is that. Stored again, the same content stays audited. */
void verdicts_mark(struct verdicts *v, const struct amp_fileid *id, const uint8_t sha256[AMP_SHA256_SIZE],
		   enum verdict_mark mark);
bool verdicts_marked(struct verdicts *v, const struct amp_fileid *id, const uint8_t sha256[AMP_SHA256_SIZE],
		     enum verdict_mark mark);
void verdicts_remove(struct verdicts *v, const struct amp_fileid *id);
void verdicts_forget(struct verdicts *v, uint64_t fsid); /* all of a file system */
void verdicts_clear(struct verdicts *v);

#endif
