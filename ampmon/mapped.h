/*
 * ampmon/mapped.h - the files that processes run and map.
 *
 * Owns: reading /proc/PID/exe and /proc/PID/maps in a short-lived child, so that
 * a process whose memory is locked hangs that child and not ampmon; each path
 * once. Must not own: what the paths are for (foundation.c, control.c).
 */
#ifndef AMPMON_MAPPED_H
#define AMPMON_MAPPED_H

#include <event2/event.h>
#include <stddef.h>
#include <sys/types.h>

#define MAPPED_PIDS_MAX 128U

struct mapped_job;

/* What was found: n bytes of paths, each with a NUL behind it. error: "" or what is missing.
 * Valid during the call, with which the job ends. */
typedef void mapped_done(const char *paths, size_t n, const char *error, void *arg);

/*
 * Of these processes (count 0: of all that see the host's files as ampmon does; names of
 * other mount namespaces would mean other files here). done is called from the event loop.
 * NULL and errno: not started.
 */
struct mapped_job *mapped_start(struct event_base *base, const pid_t *pids, size_t count, mapped_done *done,
				void *arg);
void mapped_cancel(struct mapped_job *job);

/* The path behind *p, which goes on; NULL: there are no more. */
const char *mapped_next(const char **p, const char *end);

#endif
