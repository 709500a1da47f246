/*
 * ampscand/restored.h - content that was given back: it counts as allowed
 * whatever the lists say, until that is revoked.
 *
 * Owns: the set as ampquard tells it, which is no part of a policy and outlives
 * them. A list that comes anew replaces the old one when it is whole; until
 * then what either has counts. Must not own: what follows.
 */
#ifndef AMPSCAND_RESTORED_H
#define AMPSCAND_RESTORED_H

#include "sha256.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESTORED_MAX 100000U

struct restored;

/* Empty. NULL: ENOMEM. */
struct restored *restored_new(void);
void restored_free(struct restored *r);

/* A whole list follows. 0, or -1 ENOMEM (nothing changed). */
int restored_begin(struct restored *r);
/* 0 (also if it was there), or -1: ENOMEM, ENOSPC. */
int restored_add(struct restored *r, const uint8_t sha256[AMP_SHA256_SIZE]);
void restored_end(struct restored *r);
/* True: it was there. */
bool restored_remove(struct restored *r, const uint8_t sha256[AMP_SHA256_SIZE]);
bool restored_has(const struct restored *r, const uint8_t sha256[AMP_SHA256_SIZE]);
size_t restored_count(const struct restored *r);

#endif
