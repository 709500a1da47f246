/*
 * ampscand/contents.h - the content cache: what the engine said of a SHA-256.
 *
 * Owns: SHA-256 -> result, signature, generation of the signatures, serial of the
 * worker. Clean words of an older generation are asked again when they are
 * needed; convictions stay. That content is unscannable holds for a minute, and
 * twice as long each time it turns out again: it may have been the machine's
 * trouble. TOO_LARGE is never in it: that is the policy's matter.
 * Must not own: decisions; files (verdicts.h).
 */
#ifndef AMPSCAND_CONTENTS_H
#define AMPSCAND_CONTENTS_H

#include "cache.h"
#include "sha256.h"

enum content_result {
	CONTENT_NONE,
	CONTENT_CLEAN,
	CONTENT_INFECTED,   /* two witnesses say so */
	CONTENT_PARTIAL,    /* a limit was reached: never taken for clean */
	CONTENT_UNSCANNABLE /* each worker that looked at it came to harm */
};

struct content {
	struct cache_node node;
	uint8_t sha256[AMP_SHA256_SIZE];
	enum content_result result;
	uint64_t generation; /* of the signatures */
	uint64_t worker;     /* serial: whose word it is; 0: nobody's who can be doubted */
	int64_t until_ns;    /* monotonic, UNSCANNABLE: tried again after that */
	unsigned failures;   /* likewise: so often in a row */
	bool told;	     /* an event was recorded of it */
	bool doubted;	     /* INFECTED: only as long as these signatures are in use */
	char *name;	     /* INFECTED: signature; else what is to be told, or NULL */
};

struct contents {
	struct cache cache;
};

int contents_init(struct contents *c, size_t max);
void contents_free(struct contents *c);
/* NULL: nothing is known that holds under this generation of signatures. */
const struct content *contents_find(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE],
				    uint64_t generation);
/* The entry; NULL: no memory. name may be NULL. */
const struct content *contents_store(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE],
				     enum content_result result, uint64_t generation, uint64_t worker,
				     const char *name);
/* That it is infected was not acted upon: when other signatures are in use, it is asked again. */
void contents_doubt(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE]);
/* True, once an entry: an event is to be recorded of it. */
bool contents_tell(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE]);
/* That it is clean, as far as it could be looked at, is known by this worker's word. */
bool contents_rests_on(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE], uint64_t worker);
uint64_t contents_hash(const uint8_t sha256[AMP_SHA256_SIZE]); /* of a cache by content */
/* All such words of a worker are void: they are forgotten. How many. */
size_t contents_void(struct contents *c, uint64_t worker);

#endif
