/*
 * ampscand/ampread/snapshot.h - the bytes that were hashed, kept as a sealed memfd.
 *
 * Owns: the memfd while it is filled, its sealing, what a shortage costs: the
 * snapshot (counted), never the hash.
 * Must not own: how many there may be (ampscand asks for them), who sends them.
 */
#ifndef AMP_SNAPSHOT_H
#define AMP_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: there is none. */
struct amp_snapshot {
	bool there;
	int fd;
	uint64_t size;
};

/* An empty one. A shortage leaves none. */
void amp_snapshot_begin(struct amp_snapshot *s);

/* More bytes at its end; nothing without one. */
void amp_snapshot_add(struct amp_snapshot *s, const void *data, size_t n);

/* Nobody can change it any more. The descriptor, now the caller's; -1: there is none. */
int amp_snapshot_seal(struct amp_snapshot *s);

/* Harmless without one. */
void amp_snapshot_drop(struct amp_snapshot *s);

#endif
