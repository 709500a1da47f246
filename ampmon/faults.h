/*
 * ampmon/faults.h - the faults that stand.
 *
 * Owns: the list, keyed by (number, source), since when, and telling of each
 * raise and clear. Must not own: texts and remedies (lib/fault.c), sending (events.c).
 */
#ifndef AMPMON_FAULTS_H
#define AMPMON_FAULTS_H

#include "fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MON_FAULTS_MAX 128

struct mon_fault {
	enum amp_fault_number number;
	char source[32]; /* label of a room, or ampmon's own word for it */
	char detail[256];
	int64_t since_ns; /* realtime */
	uint64_t seq;	  /* never twice in a boot */
	int64_t clear_ns; /* monotonic: goes by itself then; 0: stays */
	bool stale;	  /* its room died and has not said it again */
};

struct mon_faults;

/* told: of every fault that comes up (raised) or goes. */
struct mon_faults *mon_faults_new(void (*told)(const struct mon_fault *f, bool raised, void *arg), void *arg);
void mon_faults_free(struct mon_faults *fs);
/* Raised again: the detail is the new one, nothing is told. Unknown numbers and a full list: -1. */
int mon_fault_raise(struct mon_faults *fs, unsigned number, const char *source, const char *detail);
/* True if it stood. */
bool mon_fault_clear(struct mon_faults *fs, unsigned number, const char *source);
/* Clears it `after_ns` from now unless it is raised again meanwhile. */
void mon_fault_clear_later(struct mon_faults *fs, unsigned number, const char *source, int64_t after_ns);
/* True if rooms may say it of themselves (FAULT); the others are ampmon's finding. */
bool mon_fault_is_rooms(unsigned number);
bool mon_fault_stands(struct mon_faults *fs, unsigned number, const char *source);
/* A room died: what it said is stale until its successor says it again. */
void mon_faults_stale(struct mon_faults *fs, const char *source);
/* Its successor has had the time to say it again. */
void mon_faults_drop_stale(struct mon_faults *fs, const char *source);
void mon_faults_tick(struct mon_faults *fs);
size_t mon_faults_count(const struct mon_faults *fs);
const struct mon_fault *mon_faults_at(const struct mon_faults *fs, size_t i); /* oldest first */

#endif
