/*
 * lib/iothread.h - the one thread of a room that may wait for a disk.
 *
 * Owns: a queue of jobs, the thread, the way back into the event loop (a
 * socketpair: no write(2) is needed), the step counter that the heartbeat
 * shows. Must not own: what a job does. A job works in small steps and calls amp_io_step().
 */
#ifndef AMP_IOTHREAD_H
#define AMP_IOTHREAD_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct amp_iothread;

struct amp_io_job {
	/* In the thread. Returns true: done; false: put at the queue's end and
	 * run again (a long job shares the thread with short ones). */
	bool (*run)(struct amp_io_job *job);
	/* In the event loop, after run() returned true. May free the job. */
	void (*done)(struct amp_io_job *job);
	struct amp_io_job *next; /* the thread's */
};

/* Makes the queue and its event; no thread yet. NULL and errno. */
struct amp_iothread *amp_iothread_new(struct event_base *base);
/* Starts the thread (before seccomp). 0, or -1 and errno. */
int amp_iothread_start(struct amp_iothread *io);
void amp_iothread_submit(struct amp_iothread *io, struct amp_io_job *job);
/* From run(): progress was made. */
void amp_io_step(struct amp_iothread *io);
uint64_t amp_iothread_steps(const struct amp_iothread *io);
bool amp_iothread_busy(const struct amp_iothread *io);
/* Waits for what is queued and ends the thread. */
void amp_iothread_free(struct amp_iothread *io);

#endif
