/*
 * lib/log.h - the log of a component: a ring and one writing thread.
 *
 * Owns: formatting, levels, the rate limit, the ring, the thread that writes
 * to one descriptor. A full ring drops and counts (counter "log.dropped"); no
 * caller ever waits for a disk. Must not own: opening or rotating files
 * (ampmon/logs.c does, and hands a new descriptor over).
 */
#ifndef AMP_LOG_H
#define AMP_LOG_H

#include <stdbool.h>

enum amp_log_level { AMP_LOG_ERROR = 0, AMP_LOG_WARN, AMP_LOG_INFO, AMP_LOG_DEBUG };

/*
 * Sets component name and level; lines go straight to fd until
 * amp_log_start_thread(). fd stays the caller's (AMP_FD_LOG in a room).
 */
void amp_log_open(const char *component, int fd, enum amp_log_level level);

/*
 * From here on callers never wait: one thread writes. Returns when it runs, so
 * that a filter may follow. 0, or -1 and errno. A child made by fork(2) has no
 * such thread: its lines go straight to the descriptor.
 */
int amp_log_start_thread(void);

/*
 * For who forks: there will be no thread, and every line is written by its caller, here
 * and in the children, who wait for the disk then. 0, or -1 and errno.
 */
int amp_log_stay_single(void);

void amp_log_set_level(enum amp_log_level level);

/* Lines written from now on go to fd (dup3'd over the old descriptor, which keeps
 * its number); fd stays the caller's to close. 0, or -1 and errno. */
int amp_log_replace_fd(int fd);

/*
 * A line: time, component, level, text. Control bytes of the text are escaped
 * (a hostile path cannot forge a line). At most 8 KiB, cut with "...". The
 * same call site (format string) more than 20 times in 10 s is counted and
 * summed up in one line. errno is left as it was, %m works. Give paths as they
 * are (%s): what was escaped before would be escaped twice.
 */
void amp_log(enum amp_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define amp_error(...) amp_log(AMP_LOG_ERROR, __VA_ARGS__)
#define amp_warn(...)  amp_log(AMP_LOG_WARN, __VA_ARGS__)
#define amp_info(...)  amp_log(AMP_LOG_INFO, __VA_ARGS__)
#define amp_debug(...) amp_log(AMP_LOG_DEBUG, __VA_ARGS__)

/* Environment or start-up is broken: logs, drains, exit(1). */
void amp_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Waits at most ms milliseconds for the ring to be written. */
void amp_log_drain(unsigned ms);

#endif
