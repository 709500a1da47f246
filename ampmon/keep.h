/*
 * ampmon/keep.h - records of ampscand that outlive it and the machine.
 *
 * Owns: <etc_dir>/keep, one file a record, each replaced as a whole and synced
 * before ampscand is told. Must not own: what a record says; it is bytes here.
 */
#ifndef AMPMON_KEEP_H
#define AMPMON_KEEP_H

#include "iothread.h"

#include "proto/control.pb-c.h"

#include <stddef.h>
#include <stdint.h>

struct mon_keep;

struct mon_keep_ops {
	/* The record that was put with this id by this process is on disk, or error says why not. */
	void (*kept)(unsigned generation, uint64_t id, const char *name, int error, void *arg);
	void *arg;
};

/* Reads what is there; what is no record of ours is left out and logged. NULL, and err. */
struct mon_keep *mon_keep_new(const char *etc_dir, struct amp_iothread *io, const struct mon_keep_ops *ops,
			      char *err, size_t size);
/* After the I/O thread has ended. */
void mon_keep_free(struct mon_keep *k);

/* generation: of the ampscand that asks. 0; -1: the request breaks the protocol. */
int mon_keep_put(struct mon_keep *k, unsigned generation, uint64_t id, const Amp__Keep *keep);

/* All that is kept, the newest of each name. */
void mon_keep_each(const struct mon_keep *k,
		   void (*fn)(const char *name, const uint8_t *record, size_t size, void *arg), void *arg);

#endif
