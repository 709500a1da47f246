/*
 * ampmon/logs.h - the log files of the suite.
 *
 * Owns: opening them (log_dir/NAME.log, 0600), rotation by size, the lines of
 * ampcli.log. Must not own: what a room writes, or waiting for a disk: after
 * start, renames and writes are done by the I/O thread.
 */
#ifndef AMPMON_LOGS_H
#define AMPMON_LOGS_H

#include "iothread.h"
#include "role.h"

#include <stddef.h>
#include <stdint.h>

struct mon_logs;

struct mon_logs_ops {
	/* A file was rotated: fd, the same number as before, is the new one and stays the logs'. */
	void (*replaced)(enum amp_role_id role, int fd, void *arg);
	void *arg;
};

/* Opens every file; before the loop. NULL and a sentence in err. */
struct mon_logs *mon_logs_new(const char *dir, const struct mon_logs_ops *ops, char *err, size_t size);
/* After the I/O thread's end. */
void mon_logs_free(struct mon_logs *l);
int mon_logs_fd(const struct mon_logs *l, enum amp_role_id role);
/* Rotates what has grown above max_size, keeping `keep` old ones. */
void mon_logs_check(struct mon_logs *l, struct amp_iothread *io, uint64_t max_size, unsigned keep);
/* One line of ampcli.log: who asked for which change. */
void mon_logs_cli(struct mon_logs *l, struct amp_iothread *io, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The two file operations beneath (for tests): a descriptor, or -1 and errno. */
int mon_log_file_open(int dir, const char *name);
/* NAME becomes NAME.1, NAME.1 NAME.2 .. up to keep; a new NAME. */
int mon_log_file_rotate(int dir, const char *name, unsigned keep);

#endif
