/*
 * ampmon/logs.h - the log files of the suite.
 *
 * Owns: opening them (log_dir/NAME.log and events.json, 0600), rotation by
 * size, the lines of ampcli.log. Must not own: what a room writes, or waiting
 * for a disk: after start, renames and writes are done by the I/O thread.
 */
#ifndef AMPMON_LOGS_H
#define AMPMON_LOGS_H

#include "iothread.h"
#include "role.h"

#include <stddef.h>
#include <stdint.h>

struct mon_logs;

/* Which file: the log of a role has the role's number. */
enum mon_log {
	MON_LOG_CLI = AMP_ROLE_NONE,
	MON_LOG_EVENTS = AMP_ROLE_COUNT, /* events.json: read back by who writes it */
	MON_LOG_COUNT
};

struct mon_logs_ops {
	/* A file was rotated: fd, the same number as before, is the new one and stays the logs'. */
	void (*replaced)(unsigned file, int fd, void *arg);
	void *arg;
};

/* Opens every file; before the loop. NULL and a sentence in err. */
struct mon_logs *mon_logs_new(const char *dir, const struct mon_logs_ops *ops, char *err, size_t size);
/* After the I/O thread's end. */
void mon_logs_free(struct mon_logs *l);
int mon_logs_fd(const struct mon_logs *l, unsigned file);
/* The events.json before this one, for reading; -1: there is none. */
int mon_logs_events_before(const struct mon_logs *l);
/* Rotates what has grown above max_size, keeping `keep` old ones. */
void mon_logs_check(struct mon_logs *l, struct amp_iothread *io, uint64_t max_size, unsigned keep);
/* One line of ampcli.log: who asked for which change. */
void mon_logs_cli(struct mon_logs *l, struct amp_iothread *io, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The two file operations beneath (for tests): a descriptor, or -1 and errno. */
int mon_log_file_open(int dir, const char *name, bool readable);
/* NAME becomes NAME.1, NAME.1 NAME.2 .. up to keep; a new NAME. */
int mon_log_file_rotate(int dir, const char *name, unsigned keep, bool readable);

#endif
